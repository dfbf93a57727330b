//! The intervals in which a satellite is over a flat horizon.

use super::crossings::{End, crossings};
use super::view::View;
use crate::ephemeris::Ephemeris;

/// A place on a path: a cell, and how far in it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Place {
    pub(super) cell: usize,
    pub(super) u: f64,
}

/// From one place to another; whether it is cut off at an end by the window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Interval {
    pub(super) begin: Place,
    pub(super) end: Place,
    pub(super) begin_is_cut: bool,
    pub(super) end_is_cut: bool,
}

/// A crossing ends the interval that is open, or opens one. `open` is its begin, and whether the window cuts that off.
pub(super) fn cross(open: &mut Option<(Place, bool)>, at: Place, found: &mut Vec<Interval>) {
    match open.take() {
        Some((begin, begin_is_cut)) => found.push(Interval {
            begin,
            end: at,
            begin_is_cut,
            end_is_cut: false,
        }),
        None => *open = Some((at, false)),
    }
}

/// Memory that searches share.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    pub(super) candidates: Vec<(usize, usize)>,
    roots: Vec<f64>,
}

/// Finds every interval over the horizon of the view, among runs of cells where that is possible.
pub(super) fn intervals(path: &Ephemeris, view: &View, scratch: &mut Scratch, found: &mut Vec<Interval>) {
    found.clear();
    let Scratch { candidates, roots } = scratch;
    for (begin, end) in candidates.iter().copied() {
        let mut open: Option<(Place, bool)> = None;
        let mut up = view.height(&path.nodes[begin]) >= 0.0;
        if up {
            // Only the window's start can find it up: cells that were passed over have it down at both ends.
            open = Some((Place { cell: begin, u: 0.0 }, begin == 0));
        }
        let mut first = End::at(view, &path.cells[begin], 0.0);
        for index in begin..end {
            let cell = &path.cells[index];
            let (last_u, is_end) = match path.nodes[index + 1][3] >= path.seconds {
                true => (cell.when(path.seconds), true),
                false => (1.0, false),
            };
            let last = End::at(view, cell, last_u);
            roots.clear();
            crossings(view, cell, &first, &last, roots);
            for u in roots.iter().copied() {
                let place = Place { cell: index, u };
                cross(&mut open, place, found);
                up = !up;
            }
            // Neighbours share value and slope where they meet.
            first = End {
                u: 0.0,
                over: last.over,
            };
            // The node's sign as both neighbours see it, should a crossing fall on it to the last digit.
            let now = last.over.height >= 0.0;
            if now != up {
                let place = Place {
                    cell: index,
                    u: last_u,
                };
                cross(&mut open, place, found);
                up = now;
            }
            if is_end {
                if let Some((begin, begin_is_cut)) = open.take() {
                    let end = Place {
                        cell: index,
                        u: last_u,
                    };
                    found.push(Interval {
                        begin,
                        end,
                        begin_is_cut,
                        end_is_cut: true,
                    });
                }
                return;
            }
        }
        if let Some((begin, begin_is_cut)) = open {
            let last = Place {
                cell: end - 1,
                u: 1.0,
            };
            found.push(Interval {
                begin,
                end: last,
                begin_is_cut,
                end_is_cut: false,
            });
        }
    }
}
