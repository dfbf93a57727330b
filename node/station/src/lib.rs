//! Orbits and passes: element sets in, every pass over every antenna out.
//!
//! [`elements::read`] takes an OMM or a TLE in any form, [`propagator::Propagator`] is SGP4 for one element set,
//! [`passes::passes`] finds when it is over a horizon mask, [`passes::Network`] does so for many satellites and sites at
//! once, and [`look::Tracker`] tells a controller where to point.
//!
//! # Invariants
//! - No clock, no randomness, no disk, no network (`clippy.toml`): the same input gives the same passes on the same
//!   machine. Sines may differ in the last digit on another, so passes are computed once and carried as values;
//!   replicas never recompute an orbit.
//! - Every number that comes in is checked where it comes in; behind that, quantities are finite and angles in their
//!   circle.
//!
//! # Non-goals
//! - Refraction, light time, polar motion: a pass is geometry, to well within what element sets are worth.
//! - Which pass is flown, and moving the antenna.

pub mod antenna;
pub mod elements;
mod ephemeris;
mod error;
pub mod frames;
pub mod look;
pub mod mask;
pub mod passes;
pub mod propagator;
pub mod site;
pub mod sun;
pub mod time;
pub mod units;
mod vector;

pub use error::StationError;
