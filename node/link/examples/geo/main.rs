//! Throughput over a long, lossy path, with each congestion controller; and beside a flow like TCP's on a clean one.
//!
//! `cargo run --release -p tetryx-link --example geo [-- MIB [SECONDS]]`: a transfer of MIB (default 256) over 600 ms
//! round trip, 1 % loss and 50 Mbit/s, and SECONDS (default 120) of sharing. Time is simulated.
#![allow(clippy::print_stdout, reason = "a program whose output is its purpose")]

mod flow;
mod net;

use std::time::Duration;

use tetryx_link::{Congestion, LinkSettings};

use crate::flow::Flow;
use crate::net::{Network, Path, PathSettings};

const RATE: f64 = 50e6;
const ROUND_TRIP: Duration = Duration::from_millis(600);

/// A transfer that takes longer is measured as far as it has come.
const TIME_MAX: Duration = Duration::from_secs(240);

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime")
}

/// Both directions; the way there has the bottleneck. `queue` in round trips of the rate.
fn paths(loss: f64, round_trip: Duration, queue: f64) -> (Path, Path) {
    let one_way = PathSettings {
        delay: round_trip / 2,
        loss,
        rate: Some(RATE),
        queue: RATE / 8.0 * round_trip.as_secs_f64() * queue,
    };
    let back = PathSettings {
        rate: None,
        ..one_way
    };
    (Path::new(one_way, 11), Path::new(back, 12))
}

fn settings(congestion: Congestion, rate: Option<u64>) -> LinkSettings {
    LinkSettings {
        rate,
        rtt: None,
        congestion,
    }
}

/// One transfer alone. Returns payload bits per second.
fn alone(settings: LinkSettings, mib: u64, loss: f64, queue: f64) -> f64 {
    runtime().block_on(async {
        let network = Network::default();
        let (there, back) = paths(loss, ROUND_TRIP, queue);
        let flow = Flow::new(&network, 1, settings, &there, &back);
        let took = tokio::time::timeout(TIME_MAX, flow.fetch(mib << 20)).await;
        let took = took.unwrap_or(TIME_MAX);
        flow.received() as f64 * 8.0 / took.as_secs_f64()
    })
}

/// Ours beside cubic, which has `head_start` on the link. Returns payload bits per second of ours and of the other.
fn beside(ours: LinkSettings, round_trip: Duration, queue: f64, seconds: u64, head_start: u64) -> (f64, f64) {
    runtime().block_on(async {
        let network = Network::default();
        let (there, back) = paths(0.0, round_trip, queue);
        let endless = 1 << 40;
        let other = Flow::new(&network, 2, settings(Congestion::Cubic, None), &there, &back);
        let flow = Flow::new(&network, 1, ours, &there, &back);
        let (mut before, mut after) = ((0, 0), (0, 0));
        let settle = Duration::from_secs(60);
        let measure = async {
            tokio::time::sleep(Duration::from_secs(head_start) + settle).await;
            before = (flow.received(), other.received());
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            after = (flow.received(), other.received());
        };
        let ours = async {
            tokio::time::sleep(Duration::from_secs(head_start)).await;
            flow.fetch(endless).await;
        };
        tokio::select! {
            () = measure => {}
            () = ours => {}
            _ = other.fetch(endless) => {}
        }
        let rate = |after: u64, before: u64| (after - before) as f64 * 8.0 / seconds as f64;
        (rate(after.0, before.0), rate(after.1, before.1))
    })
}

fn main() {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse().ok());
    let mib = arguments.next().flatten().unwrap_or(256);
    let seconds = arguments.next().flatten().unwrap_or(120);
    let kinds = [
        ("cubic", settings(Congestion::Cubic, None)),
        ("bbr", settings(Congestion::Bbr, None)),
        ("paced, rate probed", settings(Congestion::Auto, None)),
        ("paced, rate given", settings(Congestion::Auto, Some(RATE as u64))),
    ];
    println!("{mib} MiB alone over 600 ms, 50 Mbit/s (payload, connecting included)");
    println!("controller           loss  queue   Mbit/s  of the link");
    for (loss, queue) in [(0.01, 0.5), (0.01, 0.1), (0.0, 0.5), (0.0, 0.05)] {
        for (name, settings) in kinds {
            let rate = alone(settings, mib, loss, queue);
            let share = rate / RATE * 100.0;
            println!(
                "{name:<20} {:>3.0} %  {queue:>5.2}  {:>7.2}  {share:>9.1} %",
                loss * 100.0,
                rate / 1e6
            );
        }
    }
    println!();
    println!("{seconds} s beside one cubic flow on a clean link of 50 Mbit/s");
    println!("controller           round trip  queue  first    ours  cubic  share of ours  link used");
    for round_trip in [600, 100] {
        for queue in [1.0, 0.14, 0.05] {
            for (name, settings) in &kinds[2..] {
                for head_start in [0, 60] {
                    let (ours, other) = beside(
                        LinkSettings {
                            congestion: Congestion::Paced,
                            ..*settings
                        },
                        Duration::from_millis(round_trip),
                        queue,
                        seconds,
                        head_start,
                    );
                    println!(
                        "{name:<20} {round_trip:>7} ms  {queue:>5.2}  {:<5}  {:>6.2} {:>6.2}  {:>11.1} %  {:>7.1} %",
                        if head_start == 0 { "both" } else { "cubic" },
                        ours / 1e6,
                        other / 1e6,
                        ours / (ours + other) * 100.0,
                        (ours + other) / RATE * 100.0,
                    );
                }
            }
        }
    }
}
