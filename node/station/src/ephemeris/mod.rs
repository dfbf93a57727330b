//! The path of one satellite over a window, sampled once and shared by all stations and horizon masks.
//!
//! SGP4 is asked for positions only, at steps that are even in the eccentric anomaly. Its velocities are not the slopes
//! of its positions (centimetres a second in low orbits, metres a second in eccentric ones), which would cost metres in
//! between; so the slopes, and two more derivatives, are taken from fifteen positions around each sample, and
//! Hermite interpolation joins them, to a few centimetres.
//!
//! # Invariants
//! - Nothing is told of a time after SGP4's first error in the window, or after the satellite came down.
//! - Halfway between samples, where it is checked, the path is within [`ERROR_KM_MAX`] of SGP4, or steps were shortened as
//!   often as [`REFINEMENTS_MAX`].

mod cell;
mod steps;

use crate::frames::EarthRotation;
use crate::propagator::{GROUND_KM, Propagator};
use crate::time::SkyTime;
use crate::vector::{minus, norm};
pub(crate) use cell::{Cell, Point};
use cell::{REACH, Sample};
use steps::Steps;

/// Samples a turn of a circular orbit.
const PER_TURN: f64 = 17.0;
/// How far the path may be from SGP4 where that is checked, in km.
const ERROR_KM_MAX: f64 = 1e-4;
/// How often the steps may be shortened by a third.
const REFINEMENTS_MAX: u32 = 4;
/// How many places are checked.
const CHECKS: usize = 5;

/// Where a satellite is over a window.
#[derive(Debug)]
pub(crate) struct Ephemeris {
    /// When the window begins.
    pub(crate) start: SkyTime,
    /// Seconds from there to where the window, or what SGP4 can tell, ends.
    pub(crate) seconds: f64,
    /// One after the other from the start; the last one may reach beyond the end.
    pub(crate) cells: Vec<Cell>,
    /// Where cells meet: one more than there are cells.
    pub(crate) nodes: Vec<Point>,
}

impl Ephemeris {
    /// Samples the satellite over `seconds` from `start`. Without cells if it has no state even at the start.
    pub(crate) fn sample(
        propagator: &Propagator,
        earth: EarthRotation,
        start: SkyTime,
        seconds: f64,
    ) -> Self {
        let nothing = Self {
            start,
            seconds: 0.0,
            cells: Vec::new(),
            nodes: Vec::new(),
        };
        let Ok(state) = propagator.state(start) else {
            return nothing;
        };
        let sampler = Sampler {
            propagator,
            earth,
            start,
            seconds,
        };
        let mut per_turn = PER_TURN;
        let mut path = nothing;
        for _ in 0..=REFINEMENTS_MAX {
            let steps = Steps::from_state(&state, propagator.mean_motion_rad_s(), per_turn);
            let (found, whole) = sampler.path(&steps);
            path = found;
            // At an end that SGP4 makes, slopes come from one side only, and need shorter steps.
            if (whole || per_turn > PER_TURN) && sampler.is_close(&path) {
                break;
            }
            per_turn *= 1.5;
        }
        path
    }
}

/// What is sampled.
struct Sampler<'a> {
    propagator: &'a Propagator,
    earth: EarthRotation,
    start: SkyTime,
    seconds: f64,
}

impl Sampler<'_> {
    /// Earth-fixed position so many seconds after the start, below the ground too.
    fn point(&self, seconds: f64) -> Option<Point> {
        let at = self.start.plus_seconds(seconds);
        let since_epoch = self.start.seconds_since(self.propagator.epoch()) + seconds;
        let teme = self.propagator.state_even_underground(since_epoch).ok()?;
        let (sin, cos) = self.earth.sidereal_angle(at).sin_cos();
        let [x, y, z] = teme.position_km;
        Some([cos * x + sin * y, cos * y - sin * x, z, seconds])
    }

    /// The path by these steps, and whether SGP4 had an answer everywhere.
    fn path(&self, steps: &Steps) -> (Ephemeris, bool) {
        let mut samples = Vec::new();
        let mut number = -(REACH as f64);
        let mut first = None;
        let mut beyond = 0;
        let mut end = self.seconds;
        let mut whole = true;
        while beyond <= REACH {
            let seconds = steps.seconds(number);
            number += 1.0;
            match self.point(seconds) {
                Some(point) => samples.push(point),
                // Before the start, where only slopes need it, a gap is filled from what follows.
                None if seconds < 0.0 => {
                    whole = false;
                    samples.clear();
                    first = Some(number);
                    continue;
                }
                None => {
                    whole = false;
                    end = end.min(self.last_answer(samples.last().map_or(0.0, |p| p[3]), seconds));
                    break;
                }
            }
            if seconds >= self.seconds {
                beyond += 1;
            }
        }
        if let Some(first) = first {
            let missing = first + REACH as f64;
            for ahead in 1..=REACH {
                if (ahead as f64) <= missing {
                    let before = extrapolated(
                        samples.iter().take(2 * REACH + 1),
                        steps.seconds(first - ahead as f64),
                    );
                    samples.insert(0, before);
                }
            }
        }
        if beyond <= REACH && samples.len() > REACH {
            for ahead in 0..=REACH {
                let seconds = steps.seconds(number - 1.0 + ahead as f64);
                let next = extrapolated(samples.iter().rev().take(2 * REACH + 1), seconds);
                samples.push(next);
            }
        }
        (self.joined(&samples, end), whole)
    }

    /// Cells through the samples, up to the end or to the ground.
    fn joined(&self, samples: &[Point], end: f64) -> Ephemeris {
        let mut path = Ephemeris {
            start: self.start,
            seconds: end,
            cells: Vec::new(),
            nodes: Vec::new(),
        };
        let mut before: Option<Sample> = None;
        for around in samples.windows(2 * REACH + 1) {
            let around = around.try_into().expect("windows have that length");
            let sample = Sample::of(around);
            if let Some(before) = before {
                let cell = Cell::between(&before, &sample);
                let landing = (cell.radius_min < GROUND_KM).then(|| landing(&cell)).flatten();
                path.cells.push(cell);
                path.nodes.push(sample.value);
                if let Some(seconds) = landing {
                    path.seconds = path.seconds.min(seconds);
                }
            } else {
                path.nodes.push(sample.value);
            }
            if sample.value[3] >= path.seconds {
                break;
            }
            before = Some(sample);
        }
        // Without a sample at the end nothing is known there.
        path.seconds = path.nodes.last().map_or(0.0, |node| node[3].min(path.seconds));
        path
    }

    /// The last time between two, in seconds, at which SGP4 still answers.
    fn last_answer(&self, mut good: f64, mut bad: f64) -> f64 {
        while bad - good > 1e-4 {
            let middle = 0.5 * (good + bad);
            match self.point(middle) {
                Some(_) => good = middle,
                None => bad = middle,
            }
        }
        good
    }

    /// Whether the path is where SGP4 says, halfway between samples, at its nearest to the Earth and here and there.
    fn is_close(&self, path: &Ephemeris) -> bool {
        let nearest = (0..path.cells.len())
            .min_by(|a, b| path.cells[*a].radius_min.total_cmp(&path.cells[*b].radius_min));
        let spread = (0..CHECKS - 1).map(|check| path.cells.len() * (2 * check + 1) / (2 * (CHECKS - 1)));
        spread
            .chain(nearest)
            .filter_map(|index| path.cells.get(index))
            .all(|cell| {
                let found = cell.at(0.5);
                self.point(found[3]).is_none_or(|exact| {
                    norm(minus(
                        [found[0], found[1], found[2]],
                        [exact[0], exact[1], exact[2]],
                    )) <= ERROR_KM_MAX
                })
            })
    }
}

/// When a path meets the ground within a cell, in seconds since the start.
fn landing(cell: &Cell) -> Option<f64> {
    const PIECES: u32 = 16;
    let below = |u: f64| {
        let [x, y, z, _] = cell.at(u);
        norm([x, y, z]) < GROUND_KM
    };
    let first = (0..=PIECES).find(|piece| below(f64::from(*piece) / f64::from(PIECES)))?;
    let mut under = f64::from(first) / f64::from(PIECES);
    let mut over = (under - 1.0 / f64::from(PIECES)).max(0.0);
    for _ in 0..40 {
        let middle = 0.5 * (under + over);
        if below(middle) {
            under = middle;
        } else {
            over = middle;
        }
    }
    Some(cell.at(over)[3])
}

/// What the next sample would be if the path went on as its nearest samples do, nearest first.
fn extrapolated<'a>(nearest: impl Iterator<Item = &'a Point>, seconds: f64) -> Point {
    let nearest: Vec<&Point> = nearest.collect();
    let mut next = [0.0; 4];
    // Of equal steps the highest difference vanishes: alternating binomials.
    let count = nearest.len() as f64;
    let mut binomial = -1.0;
    for (point, index) in nearest.iter().zip(1_u32..) {
        let index = f64::from(index);
        binomial *= -(count - index + 1.0) / index;
        for lane in 0..4 {
            next[lane] += binomial * point[lane];
        }
    }
    next[3] = seconds;
    next
}
