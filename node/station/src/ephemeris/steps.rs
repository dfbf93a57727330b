//! When to sample: steps that are even in the eccentric anomaly, so that a perigee gets as many as it needs.

use std::f64::consts::TAU;

use crate::frames::Teme;
use crate::vector::{dot, minus, norm, scaled};

/// Gravitational parameter of WGS72 in km³/s².
const MU: f64 = 398_600.8;

/// An ellipse in time: when the eccentric anomaly reaches a value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Steps {
    eccentricity: f64,
    mean_motion: f64,
    anomaly: f64,
    step: f64,
}

impl Steps {
    /// Along the ellipse that a state lies on, `per_turn` steps a turn (more in an eccentric orbit), with the mean motion
    /// in radians a second.
    pub(super) fn from_state(state: &Teme, mean_motion: f64, per_turn: f64) -> Self {
        let (r, v) = (state.position_km, state.velocity_km_s);
        let (distance, speed_squared) = (norm(r), dot(v, v));
        let inverse_axis = 2.0 / distance - speed_squared / MU;
        let along = dot(r, v);
        let pericenter = minus(
            scaled(r, speed_squared / MU - 1.0 / distance),
            scaled(v, along / MU),
        );
        let eccentricity = norm(pericenter);
        // What is below that is the Earth's flattening more than the orbit's.
        let usable = inverse_axis > 0.0 && (0.003..0.995).contains(&eccentricity);
        if !usable {
            return Self {
                eccentricity: 0.0,
                mean_motion,
                anomaly: 0.0,
                step: TAU / per_turn,
            };
        }
        let anomaly = (along * (inverse_axis / MU).sqrt()).atan2(1.0 - distance * inverse_axis);
        // At perigee the true anomaly runs so many times faster than the eccentric one.
        let crowding = ((1.0 + eccentricity) / (1.0 - eccentricity)).sqrt();
        Self {
            eccentricity,
            mean_motion,
            anomaly,
            step: TAU / (per_turn * crowding),
        }
    }

    /// Seconds from the state to the step of that number, negative before it.
    pub(super) fn seconds(&self, number: f64) -> f64 {
        let mean = |anomaly: f64| anomaly - self.eccentricity * anomaly.sin();
        (mean(self.anomaly + number * self.step) - mean(self.anomaly)) / self.mean_motion
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_crowd_at_perigee() {
        // At perigee of an orbit of eccentricity 0.7: 7,000 km away, at right angles.
        let speed = (MU / 7_000.0 * 1.7_f64).sqrt();
        let state = Teme {
            position_km: [7_000.0, 0.0, 0.0],
            velocity_km_s: [0.0, speed, 0.0],
        };
        let axis: f64 = 7_000.0 / 0.3;
        let mean_motion = (MU / axis.powi(3)).sqrt();
        let steps = Steps::from_state(&state, mean_motion, 20.0);
        let period = TAU / mean_motion;
        let count = 20.0 * (1.7_f64 / 0.3).sqrt();
        assert!((steps.seconds(count) - period).abs() < 1e-6);
        assert!(steps.seconds(1.0) < 0.35 * period / count);
        assert_eq!(steps.seconds(0.0), 0.0);
    }
}
