//! Two-line element sets, with or without a line for the name, with Alpha-5 numbers.
//!
//! Columns as in Hoots and Roehrich, "Spacetrack Report No. 3" (1980), and on celestrak.org/NORAD/documentation.
//! CR LF, trailing blanks, empty lines and lines that begin with `#` do no harm; neither does what follows column 69
//! after a blank (the SGP4 verification set has its time steps there).

use std::ops::Range;

use super::Elements;
use super::catalogue_number::CatalogueNumber;
use super::fields::{Field, Fields, Origin};
use super::location::Source;
use super::problem::{ElementsError, Problem};
use super::read::Format;
use crate::time::SkyTime;

const LINE_CHARS: usize = 69;

/// Whether a line is meant as line 1 or 2 of a TLE, and not as a name.
pub(super) fn is_numbered(line: &str, number: char) -> bool {
    let mut chars = line.chars();
    chars.next() == Some(number)
        && matches!(chars.next(), Some(' ' | '\t'))
        && line.trim_end().chars().count() >= 24
        && line.chars().filter(char::is_ascii_digit).count() >= 8
}

pub(super) fn read(source: &Source<'_>) -> Vec<Result<Elements, ElementsError>> {
    let mut entries = Vec::new();
    let mut name: Option<(Range<usize>, &str)> = None;
    let mut lines = source
        .lines()
        .filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'))
        .peekable();
    while let Some((span, line)) = lines.next() {
        if is_numbered(line, '2') {
            entries.push(Err(source.error(span.start, None, Problem::NoLineOne)));
            name = None;
        } else if is_numbered(line, '1') {
            let title = name.take();
            match lines.next_if(|(_, next)| is_numbered(next, '2')) {
                Some(second) => entries.push(entry(source, title, (span, line), second)),
                None => {
                    let object = title.map(|(_, title)| plain_name(title).to_owned());
                    entries.push(Err(source.error(span.end, object, Problem::NoLineTwo)));
                }
            }
        } else {
            if let Some((span, lost)) = name.take() {
                entries.push(Err(unknown(source, &span, lost)));
            }
            name = Some((span, line));
        }
    }
    if let Some((span, lost)) = name {
        entries.push(Err(unknown(source, &span, lost)));
    }
    entries
}

/// A line that is neither of the two, nor the name above them.
fn unknown(source: &Source<'_>, span: &Range<usize>, line: &str) -> ElementsError {
    let found = line.chars().take(40).collect();
    source.error(span.start, None, Problem::UnknownFormat { found })
}

/// A name without the `0` that some catalogues put before it.
fn plain_name(line: &str) -> &str {
    line.strip_prefix("0 ").unwrap_or(line).trim()
}

fn entry(
    source: &Source<'_>,
    title: Option<(Range<usize>, &str)>,
    first: (Range<usize>, &str),
    second: (Range<usize>, &str),
) -> Result<Elements, ElementsError> {
    let begin = title.as_ref().map_or(first.0.start, |(span, _)| span.start);
    let text = &source.text[begin..second.0.end];
    let name = title
        .map(|(_, line)| plain_name(line).to_owned())
        .filter(|name| !name.is_empty());
    let one = Line::check(source, 1, first, name.as_deref())?;
    let two = Line::check(source, 2, second, name.as_deref())?;
    let (number, again) = (one.number()?, two.number()?);
    if number != again {
        let problem = Problem::TwoObjects {
            first: number.to_string(),
            second: again.to_string(),
        };
        return Err(two.error(2, problem));
    }
    let mut fields = Fields::new(
        source,
        Origin {
            format: Format::Tle,
            begin: one.start,
            text,
        },
    );
    fields.name = name;
    fields.designator = designator(one.cut(9..17));
    fields.set_number(number);
    fields.set_epoch(one.epoch()?);
    fields.set(Field::Bstar, one.exponent(Field::Bstar, 53..61)?, one.start + 53)?;
    if let Some('4') = one.cut(62..63).chars().next() {
        let problem = Problem::Unsupported {
            field: "EPHEMERIS_TYPE",
            value: "4".to_owned(),
            expected: "SGP4 (type 0)",
        };
        return Err(one.error(62, problem));
    }
    for (field, columns) in [
        (Field::Inclination, 8..16),
        (Field::AscendingNode, 17..25),
        (Field::Pericenter, 34..42),
        (Field::MeanAnomaly, 43..51),
        (Field::MeanMotion, 52..63),
    ] {
        let value = two.plain(field, columns.clone())?;
        fields.set(field, value, two.start + columns.start)?;
    }
    fields.set(Field::Eccentricity, two.fraction()?, two.start + 26)?;
    fields.finish()
}

/// `98067A` as `1998-067A`; `None` if the columns are blank.
fn designator(columns: &str) -> Option<String> {
    let text = columns.trim();
    let (year, rest) = (text.get(..2)?, text.get(2..)?);
    let two_digits: u32 = year.parse().ok()?;
    let century = if two_digits < 57 { 20 } else { 19 };
    Some(format!("{century}{year}-{rest}"))
}

/// A line whose length, blanks and check sum are right.
struct Line<'a> {
    source: &'a Source<'a>,
    number: u8,
    start: usize,
    text: &'a str,
    object: Option<String>,
}

impl<'a> Line<'a> {
    fn check(
        source: &'a Source<'a>,
        number: u8,
        (span, text): (Range<usize>, &'a str),
        name: Option<&str>,
    ) -> Result<Self, ElementsError> {
        let object = name.map(str::to_owned).or_else(|| {
            let word = text.get(2..)?.trim_start().split(' ').next()?;
            CatalogueNumber::parse(word.trim_end_matches(['U', 'C', 'S'])).map(|n| n.to_string())
        });
        let line = Self {
            source,
            number,
            start: span.start,
            text,
            object,
        };
        line.characters()?;
        line.blanks()?;
        line.check_sum()?;
        Ok(line)
    }

    fn characters(&self) -> Result<(), ElementsError> {
        if let Some((at, found)) = self
            .text
            .char_indices()
            .find(|(_, c)| *c == '\t' || !c.is_ascii())
        {
            return Err(self.error(
                at,
                match found {
                    '\t' => Problem::Tab { number: self.number },
                    _ => Problem::NotAscii {
                        number: self.number,
                        found,
                    },
                },
            ));
        }
        if let Some(value) = self.number_too_long() {
            return Err(self.error(2, Problem::NumberTooLong { value }));
        }
        let length = self.text.trim_end().len();
        let beyond = self.text.get(LINE_CHARS..).and_then(|rest| rest.chars().next());
        if length < LINE_CHARS || beyond.is_some_and(|c| c != ' ') {
            let problem = Problem::LineLength {
                number: self.number,
                length,
            };
            return Err(self.error(length.min(LINE_CHARS), problem));
        }
        Ok(())
    }

    /// A number of more than five characters, which moved everything behind it.
    fn number_too_long(&self) -> Option<String> {
        let word = self.text.get(2..)?.split(' ').next()?;
        let digits = word.trim_end_matches(['U', 'C', 'S']);
        let long = digits.len() > 5 && digits.bytes().all(|b| b.is_ascii_digit());
        long.then(|| digits.to_owned())
    }

    fn blanks(&self) -> Result<(), ElementsError> {
        let columns: &[usize] = match self.number {
            1 => &[1, 8, 17, 32, 43, 52, 61, 63],
            _ => &[1, 7, 16, 25, 33, 42, 51],
        };
        for at in columns {
            match self.text.as_bytes()[*at] {
                b' ' => {}
                byte => {
                    let problem = Problem::NotBlank {
                        number: self.number,
                        found: char::from(byte),
                    };
                    return Err(self.error(*at, problem));
                }
            }
        }
        Ok(())
    }

    /// Digits add up, a minus counts 1; the last digit of the sum.
    fn check_sum(&self) -> Result<(), ElementsError> {
        let expected = self.text[..LINE_CHARS - 1]
            .chars()
            .map(|c| c.to_digit(10).unwrap_or(u32::from(c == '-')))
            .sum::<u32>()
            % 10;
        let found = char::from(self.text.as_bytes()[LINE_CHARS - 1]);
        if found.to_digit(10) == Some(expected) {
            Ok(())
        } else {
            let problem = Problem::CheckSum {
                number: self.number,
                found,
                expected,
            };
            Err(self.error(LINE_CHARS - 1, problem))
        }
    }

    fn error(&self, at: usize, problem: Problem) -> ElementsError {
        self.source.error(self.start + at, self.object.clone(), problem)
    }

    fn cut(&self, columns: Range<usize>) -> &'a str {
        &self.text[columns]
    }

    fn number(&self) -> Result<CatalogueNumber, ElementsError> {
        let value = self.cut(2..7);
        CatalogueNumber::parse(value).ok_or_else(|| {
            self.error(
                2,
                Problem::CatalogueNumber {
                    value: value.to_owned(),
                },
            )
        })
    }

    /// `YYDDD.DDDDDDDD`: two digits of the year (57 is 1957), day of the year from 1, and a fraction of it.
    fn epoch(&self) -> Result<SkyTime, ElementsError> {
        let value = self.cut(18..32);
        let refused = || {
            self.error(
                18,
                Problem::Epoch {
                    value: value.to_owned(),
                },
            )
        };
        let digits = |text: &str| {
            let text = text.trim_start();
            let valid = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            valid.then(|| text.parse::<i64>().ok()).flatten()
        };
        let (year, rest) = value.trim_end().split_at(2);
        let (day, fraction) = rest.split_once('.').unwrap_or((rest, "0"));
        let year = digits(year).ok_or_else(refused)?;
        let day = digits(day).ok_or_else(refused)?;
        let fraction = format!("{fraction:0<14}");
        let fraction = digits(&fraction[..14]).ok_or_else(refused)?;
        let year = if year < 57 { 2000 + year } else { 1900 + year };
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        if !(1..=365 + i64::from(leap)).contains(&day) {
            return Err(refused());
        }
        let january = format!("{year:04}-01-01T00:00:00Z")
            .parse::<SkyTime>()
            .map_err(|_| refused())?;
        // 1e-14 of a day is 0.864 ns.
        let ns = i128::from(fraction) * 864 / 1_000;
        let ns = i64::try_from(ns).map_err(|_| refused())? + (day - 1) * 86_400_000_000_000;
        Ok(SkyTime::from_unix_ns(january.unix_ns() + ns))
    }

    fn plain(&self, field: Field, columns: Range<usize>) -> Result<f64, ElementsError> {
        let text = self.cut(columns.clone());
        self.parse(field, columns.start, text, text.trim())
    }

    /// Seven digits behind an assumed decimal point.
    fn fraction(&self) -> Result<f64, ElementsError> {
        let text = self.cut(26..33);
        if text.bytes().all(|b| b.is_ascii_digit()) {
            self.parse(Field::Eccentricity, 26, text, &format!("0.{text}"))
        } else {
            let value = text.to_owned();
            Err(self.error(
                26,
                Problem::NotANumber {
                    field: Field::Eccentricity.name(),
                    value,
                },
            ))
        }
    }

    /// ` 28098-4`: sign, five digits behind an assumed decimal point, exponent.
    fn exponent(&self, field: Field, columns: Range<usize>) -> Result<f64, ElementsError> {
        let text = self.cut(columns.clone());
        let (mantissa, exponent) = text.split_at(6);
        let (sign, digits) = match mantissa.split_at(1) {
            ("-", digits) => ("-", digits),
            (" " | "+", digits) => ("", digits),
            _ => ("x", mantissa),
        };
        let digits = digits.trim_start();
        let exponent = exponent.trim().trim_start_matches('+');
        let exponent = if exponent.is_empty() { "0" } else { exponent };
        self.parse(
            field,
            columns.start,
            text,
            &format!("{sign}0.{digits}e{exponent}"),
        )
    }

    fn parse(&self, field: Field, at: usize, written: &str, number: &str) -> Result<f64, ElementsError> {
        if written.trim().is_empty() {
            return Err(self.error(at, Problem::NoValue { field: field.name() }));
        }
        number.parse().map_err(|_| {
            let problem = Problem::NotANumber {
                field: field.name(),
                value: written.trim().to_owned(),
            };
            self.error(at, problem)
        })
    }
}
