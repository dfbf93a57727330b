//! Periods as people type them: `3 months`, `90d`, `1s`, or a bare number of seconds.

use std::time::Duration;

/// Parses a period.
///
/// Units are those of the `humantime` crate: a month is 30.44 days and a year 365.25 days. A bare number is
/// seconds, as attic reads it.
///
/// # Errors
/// A sentence that names the text and gives an example.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.trim().parse::<u64>() {
        return Ok(Duration::from_secs(seconds));
    }
    humantime::parse_duration(text.trim()).map_err(|error| {
        format!("'{text}' is not a period ({error}); write for example '3 months', '90d' or '12h'")
    })
}

/// Prints a period as [`parse`] reads it.
pub(crate) fn print(period: Duration) -> String {
    humantime::format_duration(period).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_is_words_or_bare_seconds() {
        assert_eq!(parse("1s"), Ok(Duration::from_secs(1)));
        assert_eq!(parse(" 90 "), Ok(Duration::from_secs(90)));
        assert_eq!(parse("3 months").map(|d| d.as_secs() / 86_400), Ok(91));
        assert_eq!(parse("2y").map(|d| d.as_secs()), Ok(2 * 31_557_600));
    }

    #[test]
    fn a_wrong_period_is_named_with_an_example() {
        let error = parse("soon").unwrap_err();
        assert!(
            error.contains("'soon'") && error.contains("'3 months'"),
            "{error}"
        );
    }

    #[test]
    fn what_is_printed_parses_again() {
        for seconds in [1, 90, 86_400, 7_889_231] {
            let period = Duration::from_secs(seconds);
            assert_eq!(parse(&print(period)), Ok(period));
        }
    }
}
