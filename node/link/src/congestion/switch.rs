//! The controller that quinn sees: one of several, chosen late.

use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use quinn::congestion::{BbrConfig, Controller, ControllerFactory, ControllerMetrics, CubicConfig};
use quinn_proto::RttEstimator;

use super::Paced;
use crate::{Congestion, LinkSettings};

/// With a longer round trip than this, [`Congestion::Auto`] means [`Paced`].
const LONG_RTT: Duration = Duration::from_millis(200);

/// With a shorter one it means cubic again: the first round trips may have been slow for other reasons.
const SHORT_RTT: Duration = Duration::from_millis(150);

/// Makes the controllers of one connection, and may be told about its link at any time.
#[derive(Debug, Clone, Default)]
pub(crate) struct Selector {
    settings: Arc<Mutex<Option<LinkSettings>>>,
}

impl Selector {
    /// What is known of the link from the beginning.
    pub(crate) fn new(settings: LinkSettings) -> Self {
        Self {
            settings: Arc::new(Mutex::new(Some(settings))),
        }
    }

    /// The other side is known now. Takes effect with the next packets that are acknowledged.
    pub(crate) fn select(&self, settings: LinkSettings) {
        *self.settings.lock() = Some(settings);
    }
}

impl ControllerFactory for Selector {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        Box::new(Switch::new((*self).clone(), now, current_mtu))
    }
}

/// Cubic, BBR or [`Paced`].
pub(crate) struct Switch {
    selector: Selector,
    /// What the choice below was made from; `None` until the link is known.
    settings: Option<LinkSettings>,
    chosen: Chosen,
    /// The shortest round trip measured.
    rtt: Option<Duration>,
    mtu: u16,
}

enum Chosen {
    Cubic(Box<dyn Controller>),
    Bbr(Box<dyn Controller>),
    Paced(Box<Paced>),
}

impl Switch {
    fn new(selector: Selector, now: Instant, mtu: u16) -> Self {
        let mut switch = Self {
            selector,
            settings: None,
            chosen: Chosen::Cubic(Arc::new(CubicConfig::default()).build(now, mtu)),
            rtt: None,
            mtu,
        };
        switch.choose(now);
        switch
    }

    /// Chooses again if something was learnt.
    fn choose(&mut self, now: Instant) {
        let settings = *self.selector.settings.lock();
        let news = settings != self.settings;
        self.settings = settings;
        let settings = settings.unwrap_or_default();
        let rtt = self.rtt.or(settings.rtt);
        let wanted = match settings.congestion {
            Congestion::Auto if settings.rate.is_some() => Congestion::Paced,
            Congestion::Auto => match (&self.chosen, rtt) {
                (_, Some(rtt)) if rtt > LONG_RTT => Congestion::Paced,
                (Chosen::Paced(_), Some(rtt)) if rtt >= SHORT_RTT => Congestion::Paced,
                _ => Congestion::Cubic,
            },
            fixed => fixed,
        };
        match (wanted, &mut self.chosen) {
            (Congestion::Paced, Chosen::Paced(paced)) => {
                if news {
                    paced.set_limit(settings.rate);
                }
            }
            (Congestion::Paced, _) => {
                let paced = Paced::new(now, self.mtu, settings, self.rtt);
                self.chosen = Chosen::Paced(Box::new(paced));
            }
            (Congestion::Bbr, Chosen::Bbr(_)) | (Congestion::Cubic | Congestion::Auto, Chosen::Cubic(_)) => {}
            (Congestion::Bbr, _) => {
                self.chosen = Chosen::Bbr(Arc::new(BbrConfig::default()).build(now, self.mtu));
            }
            (Congestion::Cubic | Congestion::Auto, _) => {
                self.chosen = Chosen::Cubic(Arc::new(CubicConfig::default()).build(now, self.mtu));
            }
        }
    }

    fn controller(&self) -> &dyn Controller {
        match &self.chosen {
            Chosen::Cubic(controller) | Chosen::Bbr(controller) => controller.as_ref(),
            Chosen::Paced(paced) => paced.as_ref(),
        }
    }

    fn controller_mut(&mut self) -> &mut dyn Controller {
        match &mut self.chosen {
            Chosen::Cubic(controller) | Chosen::Bbr(controller) => controller.as_mut(),
            Chosen::Paced(paced) => paced.as_mut(),
        }
    }
}

impl Controller for Switch {
    fn on_sent(&mut self, now: Instant, bytes: u64, last_packet_number: u64) {
        // Told who has dialled, between two packets: no need to wait for what comes back.
        self.choose(now);
        self.controller_mut().on_sent(now, bytes, last_packet_number);
    }

    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64, app_limited: bool, rtt: &RttEstimator) {
        self.rtt = Some(rtt.min());
        self.choose(now);
        self.controller_mut().on_ack(now, sent, bytes, app_limited, rtt);
    }

    fn on_end_acks(&mut self, now: Instant, in_flight: u64, app_limited: bool, largest: Option<u64>) {
        self.controller_mut()
            .on_end_acks(now, in_flight, app_limited, largest);
    }

    fn on_congestion_event(&mut self, now: Instant, sent: Instant, persistent: bool, lost_bytes: u64) {
        self.controller_mut()
            .on_congestion_event(now, sent, persistent, lost_bytes);
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.mtu = new_mtu;
        self.controller_mut().on_mtu_update(new_mtu);
    }

    fn window(&self) -> u64 {
        self.controller().window()
    }

    fn metrics(&self) -> ControllerMetrics {
        self.controller().metrics()
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(Self {
            selector: self.selector.clone(),
            settings: self.settings,
            chosen: match &self.chosen {
                Chosen::Cubic(controller) => Chosen::Cubic(controller.clone_box()),
                Chosen::Bbr(controller) => Chosen::Bbr(controller.clone_box()),
                Chosen::Paced(paced) => Chosen::Paced(paced.clone()),
            },
            rtt: self.rtt,
            mtu: self.mtu,
        })
    }

    fn initial_window(&self) -> u64 {
        self.controller().initial_window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

#[cfg(test)]
mod tests {
    use quinn::{Runtime, TokioRuntime};

    use super::*;

    const GEO: Duration = Duration::from_millis(600);
    const FIBRE: Duration = Duration::from_millis(20);

    fn switch(selector: &Selector) -> Switch {
        Switch::new(selector.clone(), TokioRuntime.now(), 1200)
    }

    fn measures(switch: &mut Switch, rtt: Duration) {
        switch.rtt = Some(rtt);
        switch.choose(TokioRuntime.now());
    }

    fn name(switch: &Switch) -> &'static str {
        match switch.chosen {
            Chosen::Cubic(_) => "cubic",
            Chosen::Bbr(_) => "bbr",
            Chosen::Paced(_) => "paced",
        }
    }

    #[tokio::test]
    async fn fibre_stays_with_cubic_and_a_long_path_does_not() {
        let mut short = switch(&Selector::default());
        let mut long = switch(&Selector::default());

        measures(&mut short, FIBRE);
        measures(&mut long, GEO);

        assert_eq!((name(&short), name(&long)), ("cubic", "paced"));
    }

    #[tokio::test]
    async fn a_slow_first_answer_on_fibre_is_forgotten() {
        let mut switch = switch(&Selector::default());

        measures(&mut switch, GEO);
        measures(&mut switch, FIBRE);

        assert_eq!(name(&switch), "cubic");
    }

    #[tokio::test]
    async fn a_rate_that_is_told_after_the_handshake_counts_at_once() {
        let selector = Selector::default();
        let mut switch = switch(&selector);
        measures(&mut switch, FIBRE);

        selector.select(LinkSettings {
            rate: Some(80_000_000),
            ..LinkSettings::default()
        });
        switch.on_sent(TokioRuntime.now(), 1200, 1);

        assert_eq!(name(&switch), "paced");
        // 80 Mbit/s for 20 ms are 200 kB; it begins with four fifths, and headers take their part.
        let window = switch.window();
        assert!((150_000..200_000).contains(&window), "{window}");
    }

    #[tokio::test]
    async fn what_is_configured_counts_more_than_what_is_measured() {
        let choice = |congestion| {
            Selector::new(LinkSettings {
                congestion,
                ..LinkSettings::default()
            })
        };
        let (mut cubic, mut bbr) = (
            switch(&choice(Congestion::Cubic)),
            switch(&choice(Congestion::Bbr)),
        );

        measures(&mut cubic, GEO);
        measures(&mut bbr, GEO);

        assert_eq!((name(&cubic), name(&bbr)), ("cubic", "bbr"));
    }
}
