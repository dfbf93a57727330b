//! Which format a text is in, and all its element sets.

use std::fmt;

use super::location::Source;
use super::problem::{ElementsError, Problem};
use super::{Elements, csv, json, kvn, tle, xml};

/// The forms in which elements are published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    /// OMMs as JSON objects, in an array or one after the other, as CelesTrak and Space-Track write them.
    OmmJson,
    /// OMMs as rows of a table with a head.
    OmmCsv,
    /// OMMs as `KEY = VALUE` lines.
    OmmKvn,
    /// An OMM, or an NDM of them, in XML.
    OmmXml,
    /// Two lines, or three with the name.
    Tle,
}

impl fmt::Display for Format {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::OmmJson => "OMM (JSON)",
            Self::OmmCsv => "OMM (CSV)",
            Self::OmmKvn => "OMM (KVN)",
            Self::OmmXml => "OMM (XML)",
            Self::Tle => "TLE",
        })
    }
}

impl Format {
    /// What a text looks like; `None` if it is empty or like nothing that is known.
    pub fn of(text: &str) -> Option<Self> {
        let text = text.trim_start_matches('\u{feff}').trim_start();
        let first = text
            .lines()
            .find(|line| !line.trim().is_empty() && !line.starts_with('#'))?;
        match first.chars().next()? {
            '{' | '[' => return Some(Self::OmmJson),
            '<' => return Some(Self::OmmXml),
            _ => {}
        }
        if text
            .lines()
            .any(|line| tle::is_numbered(line, '1') || tle::is_numbered(line, '2'))
        {
            return Some(Self::Tle);
        }
        let keyed = |line: &str| {
            line.split_once('=')
                .is_some_and(|(key, _)| !key.trim().is_empty() && !key.contains(','))
        };
        let upper = first.to_ascii_uppercase();
        if keyed(first) || upper.trim_start().starts_with("COMMENT") {
            Some(Self::OmmKvn)
        } else if upper.contains(',') && csv::KNOWN.iter().any(|known| upper.contains(known)) {
            Some(Self::OmmCsv)
        } else {
            None
        }
    }
}

/// Every element set of a text, in its order; each either read or refused.
pub fn read(text: &str) -> Vec<Result<Elements, ElementsError>> {
    let source = Source::new(text);
    match Format::of(text) {
        Some(Format::OmmJson) => json::read(&source),
        Some(Format::OmmXml) => xml::read(&source),
        Some(Format::OmmKvn) => kvn::read(&source),
        Some(Format::OmmCsv) => csv::read(&source),
        Some(Format::Tle) => tle::read(&source),
        None if text.trim_start_matches('\u{feff}').trim().is_empty() => {
            vec![Err(source.error(0, None, Problem::Empty))]
        }
        None => {
            let found = text.trim().chars().take(40).collect();
            vec![Err(source.error(0, None, Problem::UnknownFormat { found }))]
        }
    }
}

/// The same for bytes that may not be text.
pub fn read_bytes(bytes: &[u8]) -> Vec<Result<Elements, ElementsError>> {
    match std::str::from_utf8(bytes) {
        Ok(text) => read(text),
        Err(error) => {
            let valid = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
            let source = Source::new(&valid);
            vec![Err(source.error(valid.len(), None, Problem::NotUtf8))]
        }
    }
}

/// The first element set of a text that should have one.
///
/// # Errors
/// When it cannot be read, or when there is none.
pub fn read_one(text: &str) -> Result<Elements, ElementsError> {
    read(text)
        .into_iter()
        .next()
        .unwrap_or_else(|| Err(Source::new(text).error(0, None, Problem::Empty)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_text_are_refused_where_they_begin() {
        let read = read_bytes(b"ISS\n1 25544U\xff");
        let error = read.into_iter().find_map(Result::err).unwrap();
        assert_eq!(
            (error.line, error.column, error.problem),
            (2, 9, Problem::NotUtf8)
        );
    }
}
