//! The intervals over a mask that is not the same in every direction.
//!
//! Within an interval over the mask's lowest elevation the path is cut where its azimuth meets a point of the mask, and
//! further until no piece turns by more than [`TURN_DEG`]. In a piece the mask is then straight and the path nearly so,
//! and the elevation over the mask has at most one extremum.

use super::crossings::sign_change;
use super::intervals::{Interval, Place, cross};
use super::predict::Observer;
use crate::ephemeris::{Cell, Ephemeris};
use crate::vector::{dot, minus, norm};

/// How far a piece may turn, in degrees.
const TURN_DEG: f64 = 2.0;
/// How narrow a piece may become, as a share of its cell.
const NARROWEST: f64 = 1e-9;
/// How wide a piece may be, as a share of its cell.
const WIDEST: f64 = 1.0 / 16.0;

/// One place of a cell as the observer sees it.
#[derive(Clone, Copy, Debug)]
struct Look {
    u: f64,
    azimuth: f64,
    /// Degrees over the mask.
    over: f64,
}

/// Adds the parts of `interval` in which the satellite is over the observer's mask to `found`.
pub(super) fn over_mask(
    path: &Ephemeris,
    observer: &Observer,
    interval: &Interval,
    found: &mut Vec<Interval>,
) {
    let mut open: Option<(Place, bool)> = None;
    let mut crossings = Vec::new();
    for index in interval.begin.cell..=interval.end.cell {
        let cell = &path.cells[index];
        let is_first = index == interval.begin.cell;
        let is_last = index == interval.end.cell;
        let from = if is_first { interval.begin.u } else { 0.0 };
        let to = if is_last { interval.end.u } else { 1.0 };
        let watch = Watch { cell, observer };
        let (first, last) = (watch.look(from), watch.look(to));
        if is_first && first.is_up() {
            open = Some((interval.begin, interval.begin_is_cut));
        }
        crossings.clear();
        watch.cut(&first, &last, &mut crossings);
        for u in crossings.iter().copied() {
            let place = Place { cell: index, u };
            cross(&mut open, place, found);
        }
    }
    if let Some((begin, begin_is_cut)) = open {
        let end = interval.end;
        found.push(Interval {
            begin,
            end,
            begin_is_cut,
            end_is_cut: interval.end_is_cut,
        });
    }
}

impl Look {
    /// On the mask counts as up, to a part of a billion of a degree.
    fn is_up(&self) -> bool {
        self.over >= -1e-9
    }
}

struct Watch<'a> {
    cell: &'a Cell,
    observer: &'a Observer,
}

impl Watch<'_> {
    fn look(&self, u: f64) -> Look {
        let [x, y, z, _] = self.cell.at(u);
        let site = &self.observer.site;
        let line = minus([x, y, z], site.position_km());
        let azimuth = site.azimuth_deg([x, y, z]);
        let elevation = (dot(line, site.up()) / norm(line))
            .clamp(-1.0, 1.0)
            .asin()
            .to_degrees();
        Look {
            u,
            azimuth,
            over: elevation - self.observer.mask.elevation_deg_min(azimuth),
        }
    }

    /// Cuts until pieces are simple, then adds the crossings of each.
    fn cut(&self, a: &Look, b: &Look, found: &mut Vec<f64>) {
        let turn = turn_deg(a.azimuth, b.azimuth);
        let width = b.u - a.u;
        let middle = 0.5 * (a.u + b.u);
        if width > NARROWEST && (turn.abs() > TURN_DEG || width > WIDEST) {
            let look = self.look(middle);
            self.cut(a, &look, found);
            self.cut(&look, b, found);
            return;
        }
        // The mask's points on the way, in the order in which they are met.
        let mut corners: Vec<f64> = self
            .observer
            .mask
            .points()
            .iter()
            .map(|point| turn_deg(a.azimuth, point.0))
            .filter(|at| {
                if turn > 0.0 {
                    *at > 0.0 && *at < turn
                } else {
                    *at < 0.0 && *at > turn
                }
            })
            .collect();
        corners.sort_by(|x, y| x.abs().total_cmp(&y.abs()));
        let mut from = *a;
        for corner in corners {
            let offset = |u: f64| turn_deg(a.azimuth, self.look(u).azimuth) - corner;
            let (low, high) = (offset(from.u), turn - corner);
            if width <= NARROWEST || (low > 0.0) == (high > 0.0) {
                continue;
            }
            let at = self.look(sign_change(from.u, low, b.u, high, offset));
            if at.u > from.u && at.u < b.u {
                self.piece(&from, &at, found);
                from = at;
            }
        }
        self.piece(&from, b, found);
    }

    /// The crossings of a piece with at most one extremum.
    fn piece(&self, a: &Look, b: &Look, found: &mut Vec<f64>) {
        if a.is_up() != b.is_up() {
            found.push(self.crossing(a, b));
            return;
        }
        let top = self.extremum(a, b);
        if top.is_up() != a.is_up() {
            found.push(self.crossing(a, &top));
            found.push(self.crossing(&top, b));
        }
    }

    fn crossing(&self, a: &Look, b: &Look) -> f64 {
        let over = |u: f64| self.look(u).over;
        match (a.over > 0.0) == (b.over > 0.0) {
            true => {
                if a.is_up() {
                    b.u
                } else {
                    a.u
                }
            }
            false => sign_change(a.u, a.over, b.u, b.over, over),
        }
    }

    /// Where the elevation over the mask is farthest towards the other side, if the parabola through three places says
    /// that it might get there.
    fn extremum(&self, a: &Look, b: &Look) -> Look {
        let toward = if a.is_up() { -1.0 } else { 1.0 };
        let middle = self.look(0.5 * (a.u + b.u));
        let mut best = if toward * (middle.over - a.over) > 0.0 {
            middle
        } else {
            *a
        };
        if toward * (b.over - best.over) > 0.0 {
            best = *b;
        }
        let bow = (middle.over - 0.5 * (a.over + b.over)).abs();
        if best.is_up() != a.is_up() || best.over.abs() > 4.0 * bow + 1e-9 {
            return best;
        }
        // Golden section; a piece is narrow, so this is rare and short.
        const GOLDEN: f64 = 0.618_033_988_749_895;
        let (mut low, mut high) = (a.u, b.u);
        for _ in 0..40 {
            let (x, y) = (high - GOLDEN * (high - low), low + GOLDEN * (high - low));
            let (lx, ly) = (self.look(x), self.look(y));
            for look in [lx, ly] {
                if toward * (look.over - best.over) > 0.0 {
                    best = look;
                }
            }
            if best.is_up() != a.is_up() {
                break;
            }
            if toward * (lx.over - ly.over) > 0.0 {
                high = y;
            } else {
                low = x;
            }
        }
        best
    }
}

/// The shortest way from one azimuth to another, in degrees; positive to the east.
fn turn_deg(from: f64, to: f64) -> f64 {
    (to - from + 180.0).rem_euclid(360.0) - 180.0
}
