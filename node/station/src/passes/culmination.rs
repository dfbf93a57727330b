//! When a satellite is highest.

use super::crossings::sign_change;
use super::intervals::{Interval, Place};
use super::view::View;
use crate::ephemeris::Ephemeris;

/// Where it is highest in an interval, and how many culminations there are.
pub(super) fn highest(path: &Ephemeris, view: &View, interval: &Interval, pieces: u32) -> (Place, u32) {
    let mut best = (interval.begin, f64::NEG_INFINITY);
    let mut culminations = 0;
    let begin = interval.begin;
    // Neighbours share value and slope where they meet.
    let mut before = (begin.u, view.over(&path.cells[begin.cell], begin.u));
    consider(&mut best, begin.cell, before.0, before.1.sine);
    for index in interval.begin.cell..=interval.end.cell {
        let cell = &path.cells[index];
        let from = if index == interval.begin.cell {
            interval.begin.u
        } else {
            0.0
        };
        let to = if index == interval.end.cell {
            interval.end.u
        } else {
            1.0
        };
        before.0 = from;
        for piece in 1..=pieces {
            let u = from + (to - from) * f64::from(piece) / f64::from(pieces);
            let over = view.over(cell, u);
            if before.1.climb > 0.0 && over.climb <= 0.0 {
                let top = sign_change(before.0, before.1.climb, u, over.climb, |u| {
                    view.over(cell, u).climb
                });
                culminations += 1;
                consider(&mut best, index, top, view.over(cell, top).sine);
            }
            before = (u, over);
        }
        consider(&mut best, index, before.0, before.1.sine);
    }
    (best.0, culminations)
}

fn consider(best: &mut (Place, f64), cell: usize, u: f64, sine: f64) {
    if sine > best.1 {
        *best = (Place { cell, u }, sine);
    }
}
