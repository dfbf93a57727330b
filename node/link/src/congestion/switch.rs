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
    Paced(Paced),
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
        switch.choose(now, None);
        switch
    }

    /// Chooses again if something was learnt.
    fn choose(&mut self, now: Instant, rtt: Option<Duration>) {
        let settings = *self.selector.settings.lock();
        let news = settings != self.settings;
        self.settings = settings;
        let settings = settings.unwrap_or_default();
        let long = rtt.or(settings.rtt).is_some_and(|rtt| rtt > LONG_RTT);
        let wanted = match settings.congestion {
            Congestion::Auto if long || settings.rate.is_some() => Congestion::Paced,
            Congestion::Auto => match self.chosen {
                // Once long, it stays: a controller that changes its mind is worse than either.
                Chosen::Paced(_) => Congestion::Paced,
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
                self.chosen = Chosen::Paced(Paced::new(now, self.mtu, settings, rtt));
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
            Chosen::Paced(paced) => paced,
        }
    }

    fn controller_mut(&mut self) -> &mut dyn Controller {
        match &mut self.chosen {
            Chosen::Cubic(controller) | Chosen::Bbr(controller) => controller.as_mut(),
            Chosen::Paced(paced) => paced,
        }
    }
}

impl Controller for Switch {
    fn on_sent(&mut self, now: Instant, bytes: u64, last_packet_number: u64) {
        // Told who has dialled, between two packets: no need to wait for what comes back.
        self.choose(now, self.rtt);
        self.controller_mut().on_sent(now, bytes, last_packet_number);
    }

    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64, app_limited: bool, rtt: &RttEstimator) {
        self.rtt = Some(rtt.min());
        self.choose(now, self.rtt);
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
