//! Frequencies as people type them: `137.1MHz`, `2.2 GHz`, or a bare number of hertz.

/// The units, the largest last.
const UNITS: [(&str, f64); 4] = [("hz", 1.0), ("khz", 1e3), ("mhz", 1e6), ("ghz", 1e9)];
/// No link is above that, in hertz: the end of the radio spectrum.
const HZ_MAX: f64 = 3e12;

/// Parses a frequency to whole hertz.
///
/// # Errors
/// A sentence that names the text and gives an example.
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    let refused =
        |why: &str| format!("'{text}' is not a frequency ({why}); write for example 137.1MHz or 2.2GHz");
    let lower = text.trim().to_ascii_lowercase();
    let unit_at = lower
        .find(|c: char| c.is_ascii_alphabetic() && c != 'e')
        .unwrap_or(lower.len());
    let (number, unit) = lower.split_at(unit_at);
    let scale = match unit.trim() {
        "" => 1.0,
        unit => {
            let known = UNITS.iter().find(|(name, _)| *name == unit);
            known.ok_or_else(|| refused("the unit is Hz, kHz, MHz or GHz"))?.1
        }
    };
    let number: f64 = number.trim().parse().map_err(|_| refused("it has no number"))?;
    let hertz = (number * scale).round();
    if !(1.0..=HZ_MAX).contains(&hertz) {
        return Err(refused("it lies outside 1 Hz to 3 THz"));
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is a whole number of at most 3e12"
    )]
    Ok(hertz as u64)
}

/// Prints a frequency in the largest unit that leaves a number before the point.
pub(crate) fn print(hertz: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "frequencies are below 2^53 Hz")]
    let value = hertz as f64;
    let unit = UNITS.iter().rev().find(|(_, scale)| value >= *scale);
    let (name, scale) = unit.copied().unwrap_or(UNITS[0]);
    let name = match name {
        "khz" => "kHz",
        "mhz" => "MHz",
        "ghz" => "GHz",
        _ => "Hz",
    };
    format!("{} {name}", value / scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frequencies_are_read_with_and_without_a_unit() {
        for (text, hertz) in [
            ("137.1MHz", 137_100_000),
            ("2.2 GHz", 2_200_000_000),
            ("437500", 437_500),
            ("1.2e9", 1_200_000_000),
            ("9.6khz", 9_600),
        ] {
            assert_eq!(parse(text), Ok(hertz), "{text}");
        }
        assert_eq!(print(137_100_000), "137.1 MHz");
        assert_eq!(print(parse("2.2GHz").unwrap()), "2.2 GHz");
    }

    #[test]
    fn what_is_no_frequency_is_told_with_an_example() {
        for text in ["", "MHz", "1 parsec", "-5", "0", "NaN", "9THz"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert_eq!(
            parse("5 km").unwrap_err(),
            "'5 km' is not a frequency (the unit is Hz, kHz, MHz or GHz); write for example 137.1MHz or 2.2GHz"
        );
    }
}
