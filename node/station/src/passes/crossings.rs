//! Where a satellite crosses a horizon: by bounds, so that no crossing is missed between two looks.
//!
//! The height over the horizon cannot bend more than a bound that follows from the path ([`View::bend`]). A piece of a
//! cell is done with when the bound shows that it holds no crossing, or exactly one; otherwise it is split, at an
//! extremum if its ends tell of one, else in the middle. Pieces narrower than [`NARROW`] (1.3 degrees of a turn)
//! are taken to have at most one extremum.

use super::view::{Over, View};
use crate::ephemeris::Cell;

/// The share of a cell below which a piece is taken to be simple.
const NARROW: f64 = 1.0 / 16.0;

/// An end of a piece of a cell.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    pub(super) u: f64,
    pub(super) over: Over,
}

impl End {
    pub(super) fn at(view: &View, cell: &Cell, u: f64) -> Self {
        Self {
            u,
            over: view.over(cell, u),
        }
    }

    fn is_up(&self) -> bool {
        self.over.height >= 0.0
    }
}

/// Adds every crossing between two places of a cell to `found`, in order. The satellite changes sides at each.
pub(super) fn crossings(view: &View, cell: &Cell, a: &End, b: &End, found: &mut Vec<f64>) {
    let width = b.u - a.u;
    let bend = view.bend(cell, width, a.over.range.min(b.over.range));
    let sag = width * width / 8.0;
    let narrow = width <= NARROW;
    match (a.is_up(), b.is_up()) {
        (false, false) => {
            if a.over.height.max(b.over.height) + bend.down * sag < 0.0 {
                return;
            }
            if a.over.rise > 0.0 && b.over.rise < 0.0 {
                split_at_extremum(view, cell, a, b, found);
            } else if !narrow {
                split(view, cell, a, b, 0.5 * (a.u + b.u), found);
            }
        }
        (true, true) => {
            if a.over.height.min(b.over.height) - bend.up * sag >= 0.0 {
                return;
            }
            if a.over.rise < 0.0 && b.over.rise > 0.0 {
                split_at_extremum(view, cell, a, b, found);
            } else if !narrow {
                split(view, cell, a, b, 0.5 * (a.u + b.u), found);
            }
        }
        (up, _) => {
            let (first, last) = if up {
                (-a.over.rise, -b.over.rise)
            } else {
                (a.over.rise, b.over.rise)
            };
            // The slope cannot reach zero in between if both ends hold it up.
            let monotone = first > 0.0 && last > 0.0 && first + last > bend.down.max(bend.up) * width;
            if monotone || narrow {
                found.push(root(a, b, |u| {
                    let over = view.over(cell, u);
                    (over.height, over.rise)
                }));
            } else {
                split(view, cell, a, b, 0.5 * (a.u + b.u), found);
            }
        }
    }
}

fn split(view: &View, cell: &Cell, a: &End, b: &End, u: f64, found: &mut Vec<f64>) {
    let middle = End::at(view, cell, u);
    crossings(view, cell, a, &middle, found);
    crossings(view, cell, &middle, b, found);
}

/// The ends' slopes point at an extremum between them: if that is on the other side, there are two crossings.
fn split_at_extremum(view: &View, cell: &Cell, a: &End, b: &End, found: &mut Vec<f64>) {
    let u = sign_change(a.u, a.over.rise, b.u, b.over.rise, |u| view.over(cell, u).rise);
    let middle = End::at(view, cell, u);
    if middle.is_up() != a.is_up() {
        let height = |u: f64| {
            let over = view.over(cell, u);
            (over.height, over.rise)
        };
        if b.u - a.u <= NARROW {
            found.push(root(a, &middle, height));
            found.push(root(&middle, b, height));
            return;
        }
    } else if b.u - a.u <= NARROW {
        return;
    }
    // Both halves may still hold more; an end without width would never narrow.
    if middle.u - a.u > NARROW / 64.0 && b.u - middle.u > NARROW / 64.0 {
        crossings(view, cell, a, &middle, found);
        crossings(view, cell, &middle, b, found);
    } else {
        split(view, cell, a, b, 0.5 * (a.u + b.u), found);
    }
}

/// Where the height is zero between two ends on different sides: Newton's steps, kept inside a shrinking bracket.
fn root(a: &End, b: &End, height: impl Fn(f64) -> (f64, f64)) -> f64 {
    let (mut low, mut high) = (a.u, b.u);
    let up_first = a.over.height >= 0.0;
    // From the end whose tangent points better.
    let share = a.over.height / (a.over.height - b.over.height);
    let mut u = a.u + share.clamp(0.05, 0.95) * (b.u - a.u);
    for _ in 0..60 {
        let (value, slope) = height(u);
        if (value >= 0.0) == up_first {
            low = u;
        } else {
            high = u;
        }
        // A millionth of a metre, or nothing left of the bracket.
        if value.abs() < 1e-9 || high - low < 1e-14 {
            break;
        }
        let next = u - value / slope;
        u = if next > low && next < high {
            next
        } else {
            0.5 * (low + high)
        };
    }
    u
}

/// Where a function changes its sign between two places where its signs differ: regula falsi in the variant of
/// Anderson and Björck (BIT 13, 1973), with a bisection when that does not gain.
pub(super) fn sign_change(a: f64, fa: f64, b: f64, fb: f64, f: impl Fn(f64) -> f64) -> f64 {
    let (mut x0, mut f0, mut x1, mut f1) = (a, fa, b, fb);
    for round in 0..80 {
        let width = (x1 - x0).abs();
        if width < 1e-13 || f1 == 0.0 {
            break;
        }
        let x2 = if round % 8 == 7 {
            0.5 * (x0 + x1)
        } else {
            x1 - f1 * (x1 - x0) / (f1 - f0)
        };
        let f2 = f(x2);
        if (f2 > 0.0) == (f1 > 0.0) {
            let shrink = 1.0 - f2 / f1;
            f0 *= if shrink > 0.0 { shrink } else { 0.5 };
        } else {
            (x0, f0) = (x1, f1);
        }
        let moved = (x2 - x1).abs();
        (x1, f1) = (x2, f2);
        if moved < 1e-11 {
            break;
        }
    }
    x1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_change_is_found() {
        let f = |x: f64| (x - 0.3).powi(3) + 0.1 * (x - 0.3);
        assert!((sign_change(0.0, f(0.0), 1.0, f(1.0), f) - 0.3).abs() < 1e-10);
        let step = |x: f64| if x < 0.7 { -1.0 } else { 1.0 };
        assert!((sign_change(0.0, -1.0, 1.0, 1.0, step) - 0.7).abs() < 1e-6);
    }
}
