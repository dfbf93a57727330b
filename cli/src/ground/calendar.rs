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
        "TCA {}, elevation {:.1}°, azimuth {:.0}°, range {:.0} km",
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

#[cfg(test)]
mod tests {
    use super::*;

    fn list(station: &str) -> PassList {
        let pass = format!(
            r#"{{"satellite":"NOAA 19","catalogue_number":33591,"station":"{station}","antennas":[],"aos":null,
            "tca":"2026-03-02T12:03:10.001Z","los":"2026-03-02T12:08:10.999Z","duration_s":490.0,
            "elevation_deg_max":61.4,"azimuth_deg_aos":null,"azimuth_deg_tca":90.5,"azimuth_deg_los":352.25,
            "range_km_tca":912.5,"range_rate_km_s_aos":null,"range_rate_km_s_tca":0.1,"range_rate_km_s_los":6.5}}"#
        );
        let list =
            format!(r#"{{"from":"2026-03-02T12:00:00.000Z","hours":24.0,"passes":[{pass}],"warnings":[]}}"#);
        serde_json::from_str(&list).expect("a list")
    }

    #[test]
    fn lines_end_and_are_folded_as_rfc_5545_has_it() {
        let long = "x".repeat(64);
        let text = of(&list(&long), UtcTime::UNIX_EPOCH);
        assert!(
            text.starts_with("BEGIN:VCALENDAR\r\nVERSION:2.0\r\n") && text.ends_with("END:VCALENDAR\r\n")
        );
        assert_eq!(text.matches('\n').count(), text.matches("\r\n").count());
        assert!(text.split("\r\n").all(|line| line.len() <= 75), "{text}");
        assert!(text.contains("DTSTAMP:19700101T000000Z\r\n"), "{text}");
    }

    #[test]
    fn what_the_window_cuts_begins_and_ends_with_the_window() {
        let mut list = list("north");
        list.passes[0].los = None;
        let text = of(&list, UtcTime::UNIX_EPOCH);
        assert!(text.contains("DTSTART:20260302T120000Z\r\n"), "{text}");
        assert!(text.contains("DTEND:20260303T120000Z\r\n"), "{text}");
    }

    #[test]
    fn a_pass_keeps_its_id_when_it_is_listed_from_another_moment() {
        let id = |list: &PassList| {
            let text = of(list, UtcTime::UNIX_EPOCH);
            let line = text.lines().find(|line| line.starts_with("UID:"));
            line.expect("an event has an id").to_owned()
        };
        let mut later = list("north");
        later.from = later.from.plus(Duration::from_secs(60));
        assert_eq!(id(&list("north")), id(&later));
        assert_ne!(id(&list("north")), id(&list("south")));
    }
}
