//! A piece of the path: polynomials of degree seven for position and time between two samples.
//!
//! # Invariants
//! - At both ends it has the samples' values and first three derivatives, so that neighbours join smoothly.

/// Earth-fixed x, y, z in km, and seconds since the window's start.
pub(crate) type Point = [f64; 4];

/// A sample with what its neighbours say about its derivatives by the step from sample to sample.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) value: Point,
    slope: Point,
    curvature: Point,
    jerk: Point,
}

/// Central differences over fifteen points, exact for polynomials of degree fourteen (weights as by Fornberg,
/// Mathematics of Computation 51, 1988): the first three derivatives from a point and the ones one to seven steps away.
const SLOPE: [f64; REACH] = [
    7.0 / 8.0,
    -7.0 / 24.0,
    7.0 / 72.0,
    -7.0 / 264.0,
    7.0 / 1_320.0,
    -7.0 / 10_296.0,
    1.0 / 24_024.0,
];
const CURVATURE: [f64; REACH] = [
    7.0 / 4.0,
    -7.0 / 24.0,
    7.0 / 108.0,
    -7.0 / 528.0,
    7.0 / 3_300.0,
    -7.0 / 30_888.0,
    1.0 / 84_084.0,
];
const CURVATURE_HERE: f64 = -266_681.0 / 88_200.0;
const JERK: [f64; REACH] = [
    -90_281.0 / 33_600.0,
    222_581.0 / 100_800.0,
    -247_081.0 / 302_400.0,
    31_957.0 / 138_600.0,
    -2_077.0 / 44_352.0,
    20_137.0 / 3_326_400.0,
    -59.0 / 158_400.0,
];

/// How many samples on each side the differences need.
pub(super) const REACH: usize = 7;

impl Sample {
    /// The sample in the middle of fifteen.
    pub(super) fn of(points: &[Point; 2 * REACH + 1]) -> Self {
        let value = points[REACH];
        let mut slope = [0.0; 4];
        let mut curvature = value.map(|v| v * CURVATURE_HERE);
        let mut jerk = [0.0; 4];
        for step in 1..=REACH {
            let (before, after) = (&points[REACH - step], &points[REACH + step]);
            for lane in 0..4 {
                let (odd, even) = (after[lane] - before[lane], after[lane] + before[lane]);
                slope[lane] += SLOPE[step - 1] * odd;
                curvature[lane] += CURVATURE[step - 1] * even;
                jerk[lane] += JERK[step - 1] * odd;
            }
        }
        Self {
            value,
            slope,
            curvature,
            jerk,
        }
    }
}

/// The path between two samples, over `u` from 0 to 1.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    coefficients: [Point; 8],
    /// No second derivative of the position by `u` is longer, in km.
    pub(crate) bend: f64,
    /// No first derivative of the position by `u` is longer, in km.
    pub(crate) speed: f64,
    /// Nothing of it is nearer to the Earth's centre, in km.
    pub(crate) radius_min: f64,
    /// Nothing of it is farther from the Earth's centre, in km.
    pub(crate) radius_max: f64,
}

impl Cell {
    /// Hermite interpolation of values and three derivatives at both ends.
    #[expect(
        clippy::needless_range_loop,
        reason = "a lane runs through eight arrays at once"
    )]
    pub(super) fn between(a: &Sample, b: &Sample) -> Self {
        let mut c = [[0.0; 4]; 8];
        for lane in 0..4 {
            let (c0, c1) = (a.value[lane], a.slope[lane]);
            let (c2, c3) = (a.curvature[lane] / 2.0, a.jerk[lane] / 6.0);
            // What the first four leave to the others at the far end: of the value and of each derivative.
            let value = b.value[lane] - (c0 + c1 + c2 + c3);
            let slope = b.slope[lane] - (c1 + 2.0 * c2 + 3.0 * c3);
            let curvature = b.curvature[lane] - (2.0 * c2 + 6.0 * c3);
            let jerk = b.jerk[lane] - 6.0 * c3;
            c[0][lane] = c0;
            c[1][lane] = c1;
            c[2][lane] = c2;
            c[3][lane] = c3;
            c[4][lane] = 35.0 * value - 15.0 * slope + 2.5 * curvature - jerk / 6.0;
            c[5][lane] = -84.0 * value + 39.0 * slope - 7.0 * curvature + jerk / 2.0;
            c[6][lane] = 70.0 * value - 34.0 * slope + 6.5 * curvature - jerk / 2.0;
            c[7][lane] = -20.0 * value + 10.0 * slope - 2.0 * curvature + jerk / 6.0;
        }
        let bend = Self::bend_of(&c);
        let (ra, rb) = (length(a.value), length(b.value));
        let speed = length(a.slope).min(length(b.slope)) + bend;
        // |r|'' lies between -bend and speed²/r + bend.
        let nearest = ra.min(rb);
        Self {
            coefficients: c,
            bend,
            speed,
            radius_min: nearest - (speed * speed / nearest + bend) / 8.0,
            radius_max: ra.max(rb) + bend / 8.0,
        }
    }

    /// The second derivative is a polynomial of degree five, which stays among its six Bernstein points.
    fn bend_of(c: &[Point; 8]) -> f64 {
        let mut longest = 0.0_f64;
        for weights in [
            [2.0, 0.0, 0.0, 0.0, 0.0, 0.0],
            [2.0, 1.2, 0.0, 0.0, 0.0, 0.0],
            [2.0, 2.4, 1.2, 0.0, 0.0, 0.0],
            [2.0, 3.6, 3.6, 2.0, 0.0, 0.0],
            [2.0, 4.8, 7.2, 8.0, 6.0, 0.0],
            [2.0, 6.0, 12.0, 20.0, 30.0, 42.0],
        ] {
            let mut point = [0.0; 4];
            for (weight, coefficient) in weights.iter().zip(&c[2..]) {
                for lane in 0..4 {
                    point[lane] += weight * coefficient[lane];
                }
            }
            longest = longest.max(length(point));
        }
        longest
    }

    /// Position and time at `u`.
    #[inline]
    pub(crate) fn at(&self, u: f64) -> Point {
        let mut value = self.coefficients[7];
        for coefficient in self.coefficients[..7].iter().rev() {
            for lane in 0..4 {
                value[lane] = value[lane] * u + coefficient[lane];
            }
        }
        value
    }

    /// Position and time at `u`, and their first derivatives by `u`.
    #[inline]
    pub(crate) fn at_with_slope(&self, u: f64) -> (Point, Point) {
        let mut value = self.coefficients[7];
        let mut slope = [0.0; 4];
        for coefficient in self.coefficients[..7].iter().rev() {
            for lane in 0..4 {
                slope[lane] = slope[lane] * u + value[lane];
                value[lane] = value[lane] * u + coefficient[lane];
            }
        }
        (value, slope)
    }

    /// The `u` of a time within the cell, in seconds since the window's start.
    pub(crate) fn when(&self, seconds: f64) -> f64 {
        let (begin, end) = (self.at(0.0)[3], self.at(1.0)[3]);
        let mut u = ((seconds - begin) / (end - begin)).clamp(0.0, 1.0);
        // The time is smooth and grows, so Newton's steps settle at once.
        for _ in 0..8 {
            let (value, slope) = self.at_with_slope(u);
            let step = (seconds - value[3]) / slope[3];
            u = (u + step).clamp(0.0, 1.0);
            if step.abs() < 1e-14 {
                break;
            }
        }
        u
    }
}

fn length(point: Point) -> f64 {
    (point[0] * point[0] + point[1] * point[1] + point[2] * point[2]).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A circle of radius 7,000 km, `steps` samples a turn.
    fn circle(index: f64, steps: f64) -> Point {
        let angle = index / steps * std::f64::consts::TAU;
        [7_000.0 * angle.cos(), 7_000.0 * angle.sin(), 0.0, index * 10.0]
    }

    fn sample(middle: f64, steps: f64) -> Sample {
        let mut at = middle - 8.0;
        Sample::of(&std::array::from_fn(|_| {
            at += 1.0;
            circle(at, steps)
        }))
    }

    #[test]
    fn a_circle_is_followed_to_a_millimetre_by_twenty_samples_a_turn() {
        let cell = Cell::between(&sample(0.0, 20.0), &sample(1.0, 20.0));
        for step in 0..=10 {
            let u = f64::from(step) / 10.0;
            let (found, expected) = (cell.at(u), circle(u, 20.0));
            let error = length(std::array::from_fn(|i| found[i] - expected[i]));
            assert!(error < 1e-6, "{error} km at {u}");
        }
    }

    #[test]
    fn bounds_hold_everywhere_in_the_cell() {
        let cell = Cell::between(&sample(3.0, 20.0), &sample(4.0, 20.0));
        for step in 0..=50 {
            let (value, slope) = cell.at_with_slope(f64::from(step) / 50.0);
            assert!((cell.radius_min..=cell.radius_max).contains(&length(value)));
            assert!(length(slope) <= cell.speed);
        }
        let turn = std::f64::consts::TAU / 20.0;
        assert!(cell.bend >= 7_000.0 * turn * turn && cell.bend < 7_200.0 * turn * turn);
    }

    #[test]
    fn a_time_is_found_again() {
        let cell = Cell::between(&sample(3.0, 20.0), &sample(4.0, 20.0));
        assert!((cell.when(cell.at(0.3)[3]) - 0.3).abs() < 1e-12);
        assert_eq!((cell.when(-1.0), cell.when(1e9)), (0.0, 1.0));
    }
}
