//! Catalogue numbers, from one digit to nine.

use std::fmt;

/// A NORAD catalogue number of one to nine digits.
///
/// In a TLE, numbers from 100000 to 339999 are written as Alpha-5: a letter for the first two digits, without I and O
/// (A is 10, Z is 33), as on space-track.org.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CatalogueNumber(u32);

impl CatalogueNumber {
    /// The most digits that the OMM standard allows.
    pub const DIGITS_MAX: usize = 9;
    const MAX: u32 = 999_999_999;
    const LETTERS: &'static str = "ABCDEFGHJKLMNPQRSTUVWXYZ";

    /// The number, or `None` if it has more than nine digits.
    pub const fn new(number: u32) -> Option<Self> {
        if number <= Self::MAX {
            Some(Self(number))
        } else {
            None
        }
    }

    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// Reads digits or Alpha-5.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let digits = |text: &str| {
            let valid =
                (1..=Self::DIGITS_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
            valid.then(|| text.parse::<u32>().ok()).flatten()
        };
        let first = text.chars().next()?;
        let letter = Self::LETTERS
            .chars()
            .zip(10..)
            .find(|(letter, _)| *letter == first);
        match letter {
            Some((_, tens)) if text.len() == 5 => Some(Self(tens * 10_000 + digits(&text[1..])?)),
            Some(_) => None,
            None => digits(text).map(Self),
        }
    }
}

impl fmt::Display for CatalogueNumber {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alpha_5_skips_two_letters() {
        for (text, number) in [
            ("A0000", 100_000),
            ("H9999", 179_999),
            ("J0000", 180_000),
            ("P1234", 231_234),
            ("Z9999", 339_999),
        ] {
            assert_eq!(
                CatalogueNumber::parse(text).map(CatalogueNumber::get),
                Some(number),
                "{text}"
            );
        }
        for text in ["I0000", "O0000", "a0000", "A000", "A00000", "A00x0"] {
            assert_eq!(CatalogueNumber::parse(text), None, "{text}");
        }
    }

    #[test]
    fn up_to_nine_digits_are_read() {
        assert_eq!(CatalogueNumber::parse("    5").map(CatalogueNumber::get), Some(5));
        assert_eq!(
            CatalogueNumber::parse("799500766").map(CatalogueNumber::get),
            Some(799_500_766)
        );
        assert_eq!(CatalogueNumber::parse("1234567890"), None);
        assert_eq!(CatalogueNumber::parse("-5"), None);
        assert_eq!(CatalogueNumber::parse(""), None);
    }
}
