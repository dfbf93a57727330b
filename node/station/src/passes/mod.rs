//! Every pass of a satellite over a site.
//!
//! A pass is a maximal interval in which the elevation is at or above the horizon mask, within the window that was asked
//! for. What begins before the window has no AOS, what lasts beyond its end, or is up when SGP4 can tell no more, has no
//! LOS. The TCA is when the elevation is greatest.
//!
//! # Invariants
//! - Passes over one site come in order and do not overlap: `aos <= tca <= los`, and each `los` before the next `aos`.
//! - At an AOS or LOS the elevation is that of the mask there.
//!
//! # Non-goals
//! - Which pass is worth flying: that is the schedule's.

mod crossings;
mod culmination;
mod intervals;
mod masked;
mod network;
mod predict;
mod view;

pub use network::{Network, Target};
pub use predict::{Observer, Window, passes};

use crate::site::Direction;
use crate::time::SkyTime;

/// A moment of a pass, and where the satellite is then.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sight {
    /// When.
    pub time: SkyTime,
    /// Where, from the interpolated path: its range rate is the slope of SGP4's positions.
    pub direction: Direction,
}

/// A satellite over a horizon mask.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pass {
    /// When it comes up; `None` if it is up when the window begins.
    pub aos: Option<Sight>,
    /// When it is highest. At the window's edge if it is still rising or already sinking there.
    pub tca: Sight,
    /// When it goes down; `None` if it is up when the window, or what SGP4 can tell, ends.
    pub los: Option<Sight>,
    /// Seconds that it is up within the window.
    pub seconds: f64,
    /// How often it culminates.
    pub culminations: u32,
}
