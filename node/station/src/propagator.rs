//! SGP4: where elements say an object is.
//!
//! The theory of Hoots and Roehrich as revised by Vallado, Crawford, Hujsak and Kelso, "Revisiting Spacetrack Report #3"
//! (AIAA 2006-6753), with the WGS72 constants that published elements are fitted with, in the improved mode.
//!
//! # Invariants
//! - A state has finite numbers and lies outside the Earth: an object that has come down has no state any more.

use std::f64::consts::PI;

use sgp4::{Constants, MinutesSinceEpoch, Orbit, WGS72};
use thiserror::Error;

use crate::elements::Elements;
use crate::frames::Teme;
use crate::time::SkyTime;
use crate::vector::norm;

/// Why an object has no state at a time.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum PropagationError {
    /// SGP4's drag or the Moon has driven the eccentricity out of [0, 1).
    #[error("its eccentricity has left the range of closed orbits; the elements do not reach that far")]
    Eccentricity,
    /// SGP4's orbit has shrunk to nothing.
    #[error("its orbit has no size left; the elements do not reach that far")]
    Size,
    /// It is below the Earth's surface.
    #[error("it has come down")]
    Decayed,
}

/// An element set, ready to be propagated.
#[derive(Clone, Debug)]
pub struct Propagator {
    constants: Constants,
    epoch: SkyTime,
    mean_motion_rad_s: f64,
}

impl Propagator {
    /// Prepares elements. Those that came from [`crate::elements::read`] always work.
    ///
    /// # Errors
    /// When SGP4 cannot start from them, in its words.
    pub fn new(elements: &Elements) -> Result<Self, String> {
        let orbit = Orbit::from_kozai_elements(
            &WGS72,
            elements.inclination_deg.to_radians(),
            elements.ascending_node_deg.to_radians(),
            elements.eccentricity,
            elements.pericenter_deg.to_radians(),
            elements.mean_anomaly_deg.to_radians(),
            elements.mean_motion_rev_day * (PI / 720.0),
        )
        .map_err(|error| error.to_string())?;
        if !orbit.mean_motion.is_finite() {
            return Err("the mean motion at the epoch is not finite".to_owned());
        }
        let constants = Constants::new(
            WGS72,
            sgp4::iau_epoch_to_sidereal_time,
            elements.epoch.julian_years_since_j2000(),
            elements.bstar,
            orbit,
        )
        .map_err(|error| error.to_string())?;
        Ok(Self {
            constants,
            epoch: elements.epoch,
            mean_motion_rad_s: elements.mean_motion_rev_day * (PI / 43_200.0),
        })
    }

    /// When the elements are from.
    pub const fn epoch(&self) -> SkyTime {
        self.epoch
    }

    /// Mean motion at the epoch, in radians a second.
    pub(crate) const fn mean_motion_rad_s(&self) -> f64 {
        self.mean_motion_rad_s
    }

    /// The state at a time, before or after the epoch.
    ///
    /// # Errors
    /// When there is none: the elements do not reach that far, or the object has come down.
    pub fn state(&self, at: SkyTime) -> Result<Teme, PropagationError> {
        let state = self.state_even_underground(at.seconds_since(self.epoch))?;
        if norm(state.position_km) < WGS72.ae {
            return Err(PropagationError::Decayed);
        }
        Ok(state)
    }

    /// The state so many seconds after the epoch, also where the path goes on below the surface.
    pub(crate) fn state_even_underground(&self, seconds: f64) -> Result<Teme, PropagationError> {
        let state = self
            .constants
            .propagate(MinutesSinceEpoch(seconds / 60.0))
            .map_err(|error| match error {
                sgp4::Error::NegativeSemiLatusRectum { .. } => PropagationError::Size,
                _ => PropagationError::Eccentricity,
            })?;
        let numbers = state.position.iter().chain(&state.velocity);
        if numbers.into_iter().all(|number| number.is_finite()) {
            Ok(Teme {
                position_km: state.position,
                velocity_km_s: state.velocity,
            })
        } else {
            Err(PropagationError::Size)
        }
    }
}

/// Where SGP4 says that an object has come down: the Earth's radius of WGS72 in km.
pub(crate) const GROUND_KM: f64 = WGS72.ae;
