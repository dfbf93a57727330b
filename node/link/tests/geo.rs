//! Real endpoints over a simulated long path, in simulated time.

#[path = "../examples/geo/flow.rs"]
mod flow;
#[path = "../examples/geo/net.rs"]
mod net;

use std::time::Duration;

use tetryx_link::{Congestion, LinkSettings};

use crate::flow::Flow;
use crate::net::{Network, Path, PathSettings};

/// A geostationary hop with a bottleneck one way.
const GEO: PathSettings = PathSettings {
    delay: Duration::from_millis(300),
    loss: 0.01,
    rate: Some(20e6),
    queue: 750_000.0,
};

const ENDLESS: u64 = 1 << 40;

fn paths(there: PathSettings) -> (Path, Path) {
    let back = PathSettings { rate: None, ..there };
    (Path::new(there, 1), Path::new(back, 2))
}

fn given(rate: Option<u64>) -> LinkSettings {
    LinkSettings {
        rate,
        ..LinkSettings::default()
    }
}

/// Payload bits per second over so many seconds, while the flow runs on.
async fn rate_over(flow: &Flow, seconds: u64) -> f64 {
    let before = flow.received();
    tokio::select! {
        _ = flow.fetch(ENDLESS) => unreachable!("it is endless"),
        () = tokio::time::sleep(Duration::from_secs(seconds)) => {}
    }
    (flow.received() - before) as f64 * 8.0 / seconds as f64
}

#[tokio::test(start_paused = true)]
async fn a_long_lossy_path_is_filled_whether_its_rate_is_given_or_not() {
    for settings in [given(None), given(Some(20_000_000))] {
        let network = Network::default();
        let (there, back) = paths(GEO);
        let flow = Flow::new(&network, 1, settings, &there, &back);

        // The first seconds are for finding the rate; what was on the way when they end is lost to the second fetch.
        let first = rate_over(&flow, 12).await;
        let then = rate_over(&flow, 20).await;

        assert!(first > 0.5 * 20e6, "{settings:?}: {first} at first");
        assert!(then > 0.85 * 20e6, "{settings:?}: {then} then");
    }
}

#[tokio::test(start_paused = true)]
async fn a_configured_rate_is_not_exceeded() {
    let network = Network::default();
    let (there, back) = paths(PathSettings { loss: 0.0, ..GEO });
    let flow = Flow::new(&network, 1, given(Some(5_000_000)), &there, &back);

    rate_over(&flow, 5).await;
    let rate = rate_over(&flow, 20).await;

    assert!((4.0e6..5.0e6).contains(&rate), "{rate}");
}

#[tokio::test(start_paused = true)]
async fn beside_a_flow_like_tcps_it_takes_at_most_60_percent_and_is_not_starved() {
    let network = Network::default();
    let (there, back) = paths(PathSettings { loss: 0.0, ..GEO });
    let cubic = LinkSettings {
        congestion: Congestion::Cubic,
        ..LinkSettings::default()
    };
    let ours = Flow::new(&network, 1, given(None), &there, &back);
    let other = Flow::new(&network, 2, cubic, &there, &back);

    let both = async {
        tokio::join!(rate_over(&ours, 40), rate_over(&other, 40));
        tokio::join!(rate_over(&ours, 60), rate_over(&other, 60))
    };
    let (ours, other) = both.await;

    let share = ours / (ours + other);
    assert!((0.25..=0.60).contains(&share), "{ours} of {}", ours + other);
    assert!(ours + other > 0.8 * 20e6);
}

#[tokio::test(start_paused = true)]
async fn after_a_blackout_the_rate_is_back_within_seconds() {
    let network = Network::default();
    let (there, back) = paths(GEO);
    let flow = Flow::new(&network, 1, given(None), &there, &back);
    let story = async {
        tokio::time::sleep(Duration::from_secs(15)).await;
        there.set(PathSettings { loss: 1.0, ..GEO });
        tokio::time::sleep(Duration::from_secs(6)).await;
        there.set(GEO);
        tokio::time::sleep(Duration::from_secs(15)).await;
        let before = flow.received();
        tokio::time::sleep(Duration::from_secs(10)).await;
        (flow.received() - before) as f64 * 8.0 / 10.0
    };

    let rate = tokio::select! {
        _ = flow.fetch(ENDLESS) => unreachable!("it is endless"),
        rate = story => rate,
    };

    assert!(rate > 0.8 * 20e6, "{rate}");
}
