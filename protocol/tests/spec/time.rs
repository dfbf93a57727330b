//! Moments and elapsed time.

use std::time::Duration;

use proptest::prelude::*;
use tetryx_protocol::time::{Elapsed, UtcTime};

#[test]
fn a_moment_is_written_with_milliseconds_and_z() {
    let moment = UtcTime::from_unix_ms(1_772_452_990_001);
    assert_eq!(moment.to_string(), "2026-03-02T12:03:10.001Z");
    assert_eq!(UtcTime::UNIX_EPOCH.to_string(), "1970-01-01T00:00:00.000Z");
    assert_eq!(UtcTime::from_unix_ms(-1).to_string(), "1969-12-31T23:59:59.999Z");
}

#[test]
fn a_moment_is_read_with_any_offset_and_any_number_of_digits() {
    let moment = UtcTime::from_unix_ms(1_772_452_990_001);
    for text in [
        "2026-03-02T12:03:10.001Z",
        "2026-03-02T12:03:10.0019Z",
        "2026-03-02T14:03:10.001+02:00",
        "2026-03-02 12:03:10.001Z",
    ] {
        assert_eq!(text.parse::<UtcTime>().unwrap(), moment, "{text}");
    }
    for text in [
        "",
        "2026-03-02",
        "12:03:10Z",
        "2026-02-30T00:00:00Z",
        "2026-03-02T12:03:10.001",
        "1772452990",
    ] {
        assert!(text.parse::<UtcTime>().is_err(), "{text}");
    }
}

#[test]
fn moments_beyond_four_digit_years_stop_at_the_ends() {
    assert_eq!(UtcTime::from_unix_ms(i64::MAX), UtcTime::MAX);
    assert_eq!(UtcTime::from_unix_ms(i64::MIN), UtcTime::MIN);
    assert_eq!(UtcTime::MAX.plus(Duration::MAX), UtcTime::MAX);
    assert_eq!(UtcTime::MIN.minus(Duration::MAX), UtcTime::MIN);
    assert_eq!(UtcTime::MIN.to_string(), "0000-01-01T00:00:00.000Z");
    assert_eq!(UtcTime::MAX.to_string(), "9999-12-30T00:00:00.000Z");
}

#[test]
fn since_an_earlier_moment_is_positive_and_since_a_later_one_zero() {
    let moment = UtcTime::from_unix_ms(5_000);
    let later = moment.plus(Duration::from_millis(250));
    assert_eq!(later.since(moment), Duration::from_millis(250));
    assert_eq!(moment.since(later), Duration::ZERO);
    assert_eq!(later.minus(Duration::from_millis(250)), moment);
    assert_eq!((moment.unix_seconds(), moment.unix_day()), (5, 0));
    assert_eq!(UtcTime::from_unix_ms(86_400_000 * 3 - 1).unix_day(), 2);
}

#[test]
fn elapsed_time_never_goes_below_zero_or_over_the_top() {
    let (early, late) = (Elapsed::from_nanos(5), Elapsed::from_nanos(9));
    assert_eq!(late.saturating_sub(early), Duration::from_nanos(4));
    assert_eq!(early.saturating_sub(late), Duration::ZERO);
    assert_eq!(early.plus(Duration::from_nanos(4)), late);
    assert_eq!(late.plus(Duration::MAX).as_nanos(), u64::MAX);
}

proptest! {
    #[test]
    fn every_moment_round_trips_through_text_and_bytes(ms in any::<i64>()) {
        let moment = UtcTime::from_unix_ms(ms);
        prop_assert_eq!(moment.to_string().parse::<UtcTime>().unwrap(), moment);
        let bytes = postcard::to_allocvec(&moment).unwrap();
        prop_assert_eq!(postcard::from_bytes::<UtcTime>(&bytes).unwrap(), moment);
    }

    #[test]
    fn a_stored_moment_beyond_the_ends_is_refused(ms in any::<i64>()) {
        let bytes = postcard::to_allocvec(&ms).unwrap();
        let inside = (UtcTime::MIN.unix_ms()..=UtcTime::MAX.unix_ms()).contains(&ms);
        prop_assert_eq!(postcard::from_bytes::<UtcTime>(&bytes).is_ok(), inside);
    }

    #[test]
    fn no_text_makes_reading_a_moment_panic(text in ".{0,40}") {
        let _ = text.parse::<UtcTime>();
    }
}
