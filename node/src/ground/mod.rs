//! The registered ground segment at the edge: texts and degrees become values of the state, and back.
//!
//! # Invariants
//! - What is proposed can be propagated and lies on Earth: the state machine checks only sizes and references.
//! - No orbit is computed where commands are applied. Passes are computed anew whenever somebody asks.

pub(crate) mod convert;
pub(crate) mod passes;
pub(crate) mod refresh;

use tetryx_protocol::api::ErrorName;
use tetryx_protocol::ground::{NewElements, SatelliteName};
use tetryx_protocol::time::UtcTime;
use tetryx_raft::StateView;
use tetryx_state::{ground, query};
use tetryx_station::elements::{self, Elements};
use tetryx_station::time::SkyTime;

use crate::http::error::HttpError;

/// Elements of low orbits older than that are warned about, in days: SGP4 drifts by one to three kilometres a day there.
const AGE_DAYS_MAX_LOW: f64 = 7.0;
/// Those of higher orbits.
const AGE_DAYS_MAX_HIGH: f64 = 30.0;
/// Orbits with more revolutions a day are low: below some 2,000 km.
const LOW_REV_DAY: f64 = 11.25;

/// That every member understands what would be proposed.
///
/// # Errors
/// 503 as long as some do not.
pub(crate) fn require_level(view: &StateView) -> Result<(), HttpError> {
    let level = query::cluster(view)?.map_or(0, |cluster| cluster.feature_level);
    if level >= ground::FEATURE_LEVEL {
        return Ok(());
    }
    Err(HttpError::new(
        ErrorName::NeedsUpgrade,
        "missions, satellites, stations and grants for them are not known to every node yet; upgrade them all",
    ))
}

/// The one element set of a text, as it is proposed.
///
/// # Errors
/// 400 with line and column when it cannot be used, or when there is not exactly one.
pub(crate) fn one_element_set(text: &str) -> Result<NewElements, HttpError> {
    let mut sets = elements::read(text).into_iter();
    let first = sets
        .next()
        .ok_or_else(|| HttpError::bad_request("there are no elements; give an OMM or a TLE"))?
        .map_err(|error| HttpError::bad_request(format!("the elements cannot be used: {error}")))?;
    let more = sets.count();
    if more > 0 {
        return Err(HttpError::bad_request(format!(
            "there are {} element sets; give the one of this satellite, or send all of them to /api/v1/elements",
            more + 1
        )));
    }
    Ok(new_elements(&first))
}

fn new_elements(elements: &Elements) -> NewElements {
    NewElements {
        catalogue_number: elements.catalogue_number.get(),
        epoch_ns: elements.epoch.unix_ns(),
        source: elements.source.to_string(),
    }
}

/// What is wrong with the age of elements, and what to do.
pub(crate) fn age_warning(name: &SatelliteName, elements: &Elements, now: UtcTime) -> Option<String> {
    let age = elements.age_days(SkyTime::from(now));
    let (limit, orbits) = if elements.mean_motion_rev_day > LOW_REV_DAY {
        (AGE_DAYS_MAX_LOW, "low orbits")
    } else {
        (AGE_DAYS_MAX_HIGH, "high orbits")
    };
    (age > limit).then(|| {
        format!(
            "the elements of {name} are {age:.1} days old (limit {limit} for {orbits}); \
             run 'tetryx-cli elements refresh'"
        )
    })
}
