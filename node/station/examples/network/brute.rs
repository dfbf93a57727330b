//! The same passes the slow way: SGP4 every 10 s, and bisection on SGP4.

use std::fmt::Write as _;

use rayon::prelude::*;
use tetryx_station::passes::{Network, Window};
use tetryx_station::propagator::Propagator;
use tetryx_station::site::Site;

const STEP_S: f64 = 10.0;

/// AOS and LOS in seconds after the start, each `None` where the window cuts, and the height over the mask.
struct Brute {
    aos: Option<f64>,
    los: Option<f64>,
    highest: f64,
}

struct Sky<'a> {
    propagator: &'a Propagator,
    window: &'a Window,
    mask: f64,
}

impl Sky<'_> {
    fn over(&self, site: &Site, seconds: f64) -> Option<f64> {
        let at = self.window.start().plus_seconds(seconds);
        let state = self.propagator.state(at).ok()?;
        let direction = site.direction(&self.window.earth().earth_fixed(at, &state));
        Some(direction.elevation.degrees() - self.mask)
    }

    fn crossing(&self, site: &Site, mut a: f64, mut b: f64) -> f64 {
        let up = self.over(site, a) >= Some(0.0);
        while b - a > 1e-6 {
            let middle = 0.5 * (a + b);
            if (self.over(site, middle) >= Some(0.0)) == up {
                a = middle;
            } else {
                b = middle;
            }
        }
        0.5 * (a + b)
    }

    fn passes(&self, site: &Site, grid: &[Option<tetryx_station::frames::EarthFixed>]) -> Vec<Brute> {
        let mut found: Vec<Brute> = Vec::new();
        let mut open: Option<Brute> = None;
        let mut seconds = 0.0;
        for (index, state) in grid.iter().enumerate() {
            let Some(state) = state else { break };
            let over = site.direction(state).elevation.degrees() - self.mask;
            let before = seconds;
            seconds = (index as f64 * STEP_S).min(self.window.seconds());
            if over >= 0.0 {
                let pass = open.get_or_insert_with(|| Brute {
                    aos: (index > 0).then(|| self.crossing(site, before, seconds)),
                    los: None,
                    highest: over,
                });
                pass.highest = pass.highest.max(over);
            } else if let Some(mut pass) = open.take() {
                pass.los = Some(self.crossing(site, before, seconds));
                found.push(pass);
            }
        }
        found.extend(open);
        found
    }
}

/// Of one satellite: how far edges are off, and how many passes are missing, shorter than the step, and invented.
type Found = (Vec<f64>, u32, u32, u32);

/// Compares, and tells the result in words.
pub(crate) fn compare(satellites: &[Propagator], network: &Network, window: &Window, mask: f64) -> String {
    let results: Vec<_> = satellites
        .par_iter()
        .map(|propagator| {
            let sky = Sky {
                propagator,
                window,
                mask,
            };
            let grid: Vec<_> = (0..=(window.seconds() / STEP_S).ceil() as u32)
                .map(|step| {
                    let at = window
                        .start()
                        .plus_seconds((f64::from(step) * STEP_S).min(window.seconds()));
                    propagator
                        .state(at)
                        .ok()
                        .map(|state| window.earth().earth_fixed(at, &state))
                })
                .collect();
            let ours = network.passes_of(propagator, window);
            let mut off = Vec::new();
            let (mut missing, mut short, mut extra) = (0, 0, 0);
            for (index, observer) in network.observers().iter().enumerate() {
                let mut mine: Vec<_> = ours
                    .iter()
                    .filter(|(at, _)| *at == index)
                    .map(|(_, pass)| pass)
                    .collect();
                for brute in sky.passes(&observer.site, &grid) {
                    let start = |edge: Option<f64>| edge.unwrap_or(0.0);
                    let position = mine.iter().position(|pass| {
                        let aos = pass.aos.map(|sight| sight.time.seconds_since(window.start()));
                        (start(aos) - start(brute.aos)).abs() < 30.0
                    });
                    let Some(position) = position else {
                        missing += 1;
                        continue;
                    };
                    let pass = mine.remove(position);
                    for (found, expected) in [(pass.aos, brute.aos), (pass.los, brute.los)] {
                        match (found, expected) {
                            (Some(found), Some(expected)) => {
                                off.push((found.time.seconds_since(window.start()) - expected).abs());
                            }
                            (None, None) => {}
                            _ => missing += 1,
                        }
                    }
                }
                for pass in mine {
                    // One that fits between two looks is seen by the finer search only.
                    if pass.seconds < STEP_S {
                        short += 1
                    } else {
                        extra += 1
                    }
                }
            }
            (off, missing, short, extra)
        })
        .collect();
    let mut off: Vec<f64> = results
        .iter()
        .flat_map(|result| result.0.iter().copied())
        .collect();
    off.sort_by(f64::total_cmp);
    let sum = |pick: fn(&Found) -> u32| results.iter().map(pick).sum::<u32>();
    let at = |share: f64| {
        off.get(((off.len() as f64 - 1.0) * share) as usize)
            .copied()
            .unwrap_or(0.0)
            * 1e3
    };
    let mut text = String::new();
    let beyond = off.iter().filter(|off| **off > 1e-3).count();
    writeln!(
        text,
        "beside SGP4 every {STEP_S} s and bisection, {} satellites, {} AOS and LOS: off by p50 {:.4} ms, p99 {:.4} ms, \
         max {:.4} ms, {beyond} by more than 1 ms; {} missing, {} invented, {} shorter than the step and found by us only",
        satellites.len(), off.len(), at(0.5), at(0.99), at(1.0), sum(|r| r.1), sum(|r| r.3), sum(|r| r.2),
    )
    .expect("a string takes every line");
    text
}
