//! Passes as a calendar (iCalendar, RFC 5545): an event for each.

use std::time::Duration;

use chrono::{DateTime, Utc};
use icalendar::{Calendar, Component as _, Event, EventLike as _, Property};
use tetryx_protocol::api::{PassInfo, PassList};
use tetryx_protocol::time::UtcTime;

/// The calendar as text, with the line ends of RFC 5545. `now` is when it was made.
///
/// A pass that is listed again has the same UID, so that a calendar replaces it instead of showing it twice.
pub(super) fn of(list: &PassList, now: UtcTime) -> String {
    let mut calendar = Calendar::empty();
    calendar
        .append_property(Property::new("VERSION", "2.0"))
        .append_property(Property::new("PRODID", "-//Tetryx//tetryx-cli//EN"))
        .append_property(Property::new("CALSCALE", "GREGORIAN"));
    let end = list.from.plus(Duration::from_secs_f64(list.hours * 3_600.0));
    for pass in &list.passes {
        calendar.push(event(pass, list.from, end, now));
    }
    calendar.to_string()
}

fn event(pass: &PassInfo, from: UtcTime, to: UtcTime, now: UtcTime) -> Event {
    let antennas: Vec<&str> = pass.antennas.iter().map(|name| name.as_str()).collect();
    let mut text = format!(
        "TCA {} UTC, elevation {:.1}°, azimuth {:.0}°, range {:.0} km",
        pass.tca, pass.elevation_deg_max, pass.azimuth_deg_tca, pass.range_km_tca
    );
    if let (Some(aos), Some(los)) = (pass.azimuth_deg_aos, pass.azimuth_deg_los) {
        text.push_str(&format!("\nfrom azimuth {aos:.0}° to {los:.0}°"));
    }
    if let Some(reason) = &pass.maintenance {
        text.push_str(&format!("\nmaintenance: {reason}"));
    }
    let minute = pass.tca.unix_seconds().div_euclid(60);
    Event::new()
        .uid(
            &format!(
                "{}-{}-{}-{minute}@tetryx",
                pass.catalogue_number,
                pass.station,
                antennas.join("+")
            )
            .replace(' ', "_"),
        )
        .timestamp(moment(now))
        .starts(moment(pass.aos.unwrap_or(from)))
        .ends(moment(pass.los.unwrap_or(to)))
        .summary(&format!(
            "{} over {} ({:.0}°)",
            pass.satellite, pass.station, pass.elevation_deg_max
        ))
        .location(pass.station.as_str())
        .description(&text)
        .done()
}

/// To the second, as RFC 5545 has it.
fn moment(time: UtcTime) -> DateTime<Utc> {
    DateTime::from_timestamp(time.unix_seconds(), 0).unwrap_or(DateTime::UNIX_EPOCH)
}
