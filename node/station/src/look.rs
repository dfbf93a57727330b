//! Where to point, at any time: for the controller of an antenna, and for Doppler.
//!
//! Directions come from SGP4 itself, not from an interpolated path.

use crate::frames::EarthRotation;
use crate::propagator::{PropagationError, Propagator};
use crate::site::{Direction, Site};
use crate::time::SkyTime;
use crate::units::{Hertz, KmPerSecond};

/// Speed of light in km/s (exact, by the definition of the metre).
const LIGHT_KM_S: f64 = 299_792.458;
/// Half the step of the difference quotient for accelerations, in seconds.
const HALF_STEP_S: f64 = 0.5;

/// One satellite as one site sees it, at any time.
#[derive(Clone, Debug)]
pub struct Tracker {
    propagator: Propagator,
    site: Site,
    earth: EarthRotation,
}

/// Where a satellite is seen, and how that changes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Look {
    /// When.
    pub time: SkyTime,
    /// Where.
    pub direction: Direction,
    /// Growth of the azimuth in degrees a second; without bound at the zenith.
    pub azimuth_rate_deg_s: f64,
    /// Growth of the elevation in degrees a second.
    pub elevation_rate_deg_s: f64,
    /// Growth of the range rate in km/s².
    pub range_acceleration_km_s2: f64,
}

impl Tracker {
    /// Looks from a site.
    pub const fn new(propagator: Propagator, site: Site, earth: EarthRotation) -> Self {
        Self {
            propagator,
            site,
            earth,
        }
    }

    /// Where the satellite is seen at a time, above the horizon or below.
    ///
    /// # Errors
    /// When the satellite has no position then.
    pub fn look(&self, at: SkyTime) -> Result<Look, PropagationError> {
        let state = self.earth.earth_fixed(at, &self.propagator.state(at)?);
        let direction = self.site.direction(&state);
        let turning = self.site.turning(&state);
        let range_rate = |at: SkyTime| {
            let state = self.propagator.state(at)?;
            Ok(self
                .site
                .direction(&self.earth.earth_fixed(at, &state))
                .range_rate
                .get())
        };
        let after = range_rate(at.plus_seconds(HALF_STEP_S))?;
        let before = range_rate(at.plus_seconds(-HALF_STEP_S))?;
        Ok(Look {
            time: at,
            direction,
            azimuth_rate_deg_s: turning.azimuth_deg_s,
            elevation_rate_deg_s: turning.elevation_deg_s,
            range_acceleration_km_s2: (after - before) / (2.0 * HALF_STEP_S),
        })
    }
}

/// Which way a link goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the satellite.
    Down,
    /// To the satellite.
    Up,
}

/// A radio link: a carrier's frequency at whoever sends it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Link {
    /// Which way it goes.
    pub way: Way,
    /// The frequency sent by the satellite, or to be received by it.
    pub frequency: Hertz,
}

impl Link {
    /// How much higher than `frequency` a station receives the satellite (down), or must send so that the satellite
    /// receives `frequency` (up); of first order in v/c, the rest is below a ten-millionth of the shift's own size.
    pub fn shift(&self, range_rate: KmPerSecond) -> Hertz {
        let down = -self.frequency.get() * range_rate.get() / LIGHT_KM_S;
        Hertz::new(match self.way {
            Way::Down => down,
            Way::Up => -down,
        })
        .unwrap_or_default()
    }

    /// How fast that changes, in hertz a second.
    pub fn shift_rate(&self, look: &Look) -> Hertz {
        let acceleration = KmPerSecond::new(look.range_acceleration_km_s2).unwrap_or_default();
        self.shift(acceleration)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elements;

    fn tracker() -> Tracker {
        let text = "1 25544U 98067A   08264.51782528 -.00002182  00000-0 -11606-4 0  2927\n\
                    2 25544  51.6416 247.4627 0006703 130.5360 325.0288 15.72125391563537\n";
        let propagator = Propagator::new(&elements::read_one(text).unwrap()).unwrap();
        Tracker::new(
            propagator,
            Site::new(47.0, 8.0, 500.0).unwrap(),
            EarthRotation::default(),
        )
    }

    #[test]
    fn rates_are_the_slopes_of_what_they_belong_to() {
        let tracker = tracker();
        let at: SkyTime = "2008-09-20T13:00:00Z".parse().unwrap();
        let (look, later) = (
            tracker.look(at).unwrap(),
            tracker.look(at.plus_seconds(0.1)).unwrap(),
        );
        let slope = |pick: fn(&Look) -> f64| (pick(&later) - pick(&look)) / 0.1;
        assert!((slope(|l| l.direction.azimuth.degrees()) - look.azimuth_rate_deg_s).abs() < 1e-4);
        assert!((slope(|l| l.direction.elevation.degrees()) - look.elevation_rate_deg_s).abs() < 1e-4);
        assert!((slope(|l| l.direction.range_rate.get()) - look.range_acceleration_km_s2).abs() < 1e-4);
    }

    #[test]
    fn what_comes_nearer_is_received_higher_and_must_be_sent_lower() {
        let frequency = Hertz::new(437e6).unwrap();
        let approach = KmPerSecond::new(-7.0).unwrap();
        let down = Link {
            way: Way::Down,
            frequency,
        }
        .shift(approach)
        .get();
        let up = Link {
            way: Way::Up,
            frequency,
        }
        .shift(approach)
        .get();
        assert!((down - 10_203.7).abs() < 0.1, "{down}");
        assert_eq!(up, -down);
    }
}
