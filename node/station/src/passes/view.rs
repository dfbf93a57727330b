//! What one site sees of a path, as functions of the position in a cell.

use crate::ephemeris::{Cell, Point};
use crate::site::Site;
use crate::vector::{Vector, dot, minus, norm};

/// A site, and the elevation that counts as its horizon.
#[derive(Clone, Copy, Debug)]
pub(super) struct View {
    position: Vector,
    up: Vector,
    /// Sine of the elevation.
    sine: f64,
}

/// How far a satellite is over the horizon, and how that changes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Over {
    /// `up·ρ - sin(mask)·|ρ|` in km: not negative if and only if the satellite is not below the mask.
    pub(super) height: f64,
    /// Its derivative by the position in the cell.
    pub(super) rise: f64,
    /// Of the same sign as the derivative of the elevation.
    pub(super) climb: f64,
    /// Sine of the elevation.
    pub(super) sine: f64,
    /// Distance in km.
    pub(super) range: f64,
}

/// How the height over the horizon can bend within a cell, by the square of the position in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bend {
    /// The second derivative is nowhere lower than the negative of this.
    pub(super) down: f64,
    /// The second derivative is nowhere higher.
    pub(super) up: f64,
}

impl View {
    pub(super) fn new(site: &Site, elevation_deg: f64) -> Self {
        Self {
            position: site.position_km(),
            up: site.up(),
            sine: elevation_deg.to_radians().sin(),
        }
    }

    /// Height over the horizon of a point.
    #[inline]
    pub(super) fn height(&self, point: &Point) -> f64 {
        let line = minus([point[0], point[1], point[2]], self.position);
        dot(line, self.up) - self.sine * norm(line)
    }

    /// Height over the horizon and more, in a cell.
    #[inline]
    pub(super) fn over(&self, cell: &Cell, u: f64) -> Over {
        let (value, slope) = cell.at_with_slope(u);
        let line = minus([value[0], value[1], value[2]], self.position);
        let velocity = [slope[0], slope[1], slope[2]];
        let range = norm(line);
        let (high, rising) = (dot(line, self.up), dot(velocity, self.up));
        let receding = dot(line, velocity) / range;
        Over {
            height: high - self.sine * range,
            rise: rising - self.sine * receding,
            climb: rising * range - high * receding,
            sine: high / range,
            range,
        }
    }

    /// Bounds for the height's second derivative between two places of the cell, from the ranges there.
    ///
    /// The range's own second derivative lies between `-bend` and `speed²/range + bend`.
    pub(super) fn bend(&self, cell: &Cell, width: f64, range: f64) -> Bend {
        let nearest = (range - 0.5 * cell.speed * width)
            .max(cell.radius_min - norm(self.position))
            .max(1.0);
        let curved = self.sine.abs() * (cell.speed * cell.speed / nearest + cell.bend);
        let straight = self.sine.abs() * cell.bend;
        if self.sine >= 0.0 {
            Bend {
                down: cell.bend + curved,
                up: cell.bend + straight,
            }
        } else {
            Bend {
                down: cell.bend + straight,
                up: cell.bend + curved,
            }
        }
    }
}

/// For each cell, how high above a site's plane of no elevation a satellite must come at one of the cell's ends if it is
/// to be over a mask anywhere in it, in km. The same for all sites, which it knows only as somewhere on the Earth.
#[derive(Debug)]
pub(super) struct Reach {
    pub(super) elevation_deg: f64,
    thresholds: Vec<f64>,
}

impl Reach {
    /// For the cells of a path and the lowest elevation of a mask.
    pub(super) fn new(cells: &[Cell], elevation_deg: f64) -> Self {
        /// No site is nearer to the Earth's centre, and none is farther, in km.
        const SITE_RADIUS: (f64, f64) = (6_350.0, 6_395.0);
        /// More than a plumb line deviates from the direction of the centre, in radians.
        const DEVIATION: f64 = 0.0034;
        let mask = elevation_deg.to_radians();
        let low = (mask - DEVIATION).max(-std::f64::consts::FRAC_PI_2);
        let sine = (low - DEVIATION).sin();
        // The farther the site is out, the less high a satellite is at one elevation; below the plane it is the reverse.
        let ground = if sine >= 0.0 { SITE_RADIUS.1 } else { SITE_RADIUS.0 };
        let height = |radius: f64| {
            // Distance to a point of that radius at the elevation over the sphere.
            let squared = radius * radius - (ground * low.cos()).powi(2);
            let range = squared.max(0.0).sqrt() - ground * low.sin();
            range.max(0.0) * sine
        };
        let thresholds = cells
            .iter()
            .map(|cell| {
                // Between the ends it may be higher by an eighth of the bend; the rest is for roundings.
                height(cell.radius_min).min(height(cell.radius_max)) - 1.0 - cell.bend / 8.0
            })
            .collect();
        Self {
            elevation_deg,
            thresholds,
        }
    }

    /// Cells in which the satellite may be over the mask of the site, as ranges of neighbours.
    pub(super) fn candidates(&self, view: &View, nodes: &[Point], found: &mut Vec<(usize, usize)>) {
        found.clear();
        let base = dot(view.up, view.position);
        let high = |node: &Point| node[0] * view.up[0] + node[1] * view.up[1] + node[2] * view.up[2] - base;
        let Some((first, rest)) = nodes.split_first() else {
            return;
        };
        let mut before = high(first);
        let mut begun = None;
        for (index, (node, threshold)) in rest.iter().zip(&self.thresholds).enumerate() {
            let after = high(node);
            match (before.max(after) >= *threshold, begun) {
                (true, None) => begun = Some(index),
                (false, Some(begin)) => {
                    found.push((begin, index));
                    begun = None;
                }
                _ => {}
            }
            before = after;
        }
        if let Some(begin) = begun {
            found.push((begin, self.thresholds.len()));
        }
    }
}
