//! Which bytes of a representation a request asks for: `Range`, `If-Range` and `If-None-Match` (RFC 9110).
//!
//! # Invariants
//! - A selected part is never empty and lies within the representation.
//! - What is not understood is ignored, as the RFC demands: the answer is then the whole representation.
//!
//! # Non-goals
//! - Several ranges in one request: answered with the whole, which every client must accept.
//! - Dates: a representation here is named by its content, it has no time of change.

use std::ops::Range;

use http::HeaderMap;
use http::header;

/// The part of a representation that a request selects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Selection {
    /// All of it (200).
    Whole,
    /// One part, never empty (206).
    Part(Range<u64>),
    /// The range lies outside (416).
    Unsatisfiable,
}

/// Reads `Range` and `If-Range` of a `GET` for a representation of `len` bytes whose strong entity tag is `etag`
/// (quotes included).
pub(crate) fn selection(headers: &HeaderMap, etag: &str, len: u64) -> Selection {
    let Some(range) = headers.get(header::RANGE).and_then(|value| value.to_str().ok()) else {
        return Selection::Whole;
    };
    // If-Range compares strongly, and a date never equals a tag: in doubt the client gets the whole.
    if headers
        .get(header::IF_RANGE)
        .is_some_and(|value| value.as_bytes() != etag.as_bytes())
    {
        return Selection::Whole;
    }
    parse_range(range, len).unwrap_or(Selection::Whole)
}

/// Whether `If-None-Match` names `etag`, so that the answer is 304.
pub(crate) fn not_modified(headers: &HeaderMap, etag: &str) -> bool {
    let mut values = headers.get_all(header::IF_NONE_MATCH).iter();
    values.any(|value| {
        let Ok(value) = value.to_str() else { return false };
        value
            .split(',')
            .map(str::trim)
            .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
    })
}

/// `None` for anything but one well-formed byte range.
fn parse_range(value: &str, len: u64) -> Option<Selection> {
    let (unit, set) = value.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") || set.contains(',') {
        return None;
    }
    let (first, last) = set.trim().split_once('-')?;
    let part = match (number(first)?, number(last)?) {
        (None, None) => return None,
        (None, Some(suffix)) => len.saturating_sub(suffix)..len,
        (Some(first), None) => first..len,
        (Some(first), Some(last)) if last < first => return None,
        (Some(first), Some(last)) => first..last.saturating_add(1).min(len),
    };
    Some(if part.is_empty() {
        Selection::Unsatisfiable
    } else {
        Selection::Part(part)
    })
}

/// `Some(None)` for an absent position, `None` for one that is not a number. A number beyond 64 bits is beyond every
/// representation, so it saturates.
fn number(text: &str) -> Option<Option<u64>> {
    if text.is_empty() {
        return Some(None);
    }
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(Some(text.parse().unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const ETAG: &str = "\"tag\"";

    fn headers(pairs: &[(header::HeaderName, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap()))
            .collect()
    }

    #[test]
    fn one_byte_range_selects_its_part_and_anything_else_the_whole() {
        let cases = [
            ("bytes=0-0", Selection::Part(0..1)),
            ("bytes=10-19", Selection::Part(10..20)),
            ("bytes=90-", Selection::Part(90..100)),
            ("bytes=90-1000", Selection::Part(90..100)),
            ("bytes=0-18446744073709551615", Selection::Part(0..100)),
            ("bytes=99-99999999999999999999999", Selection::Part(99..100)),
            ("Bytes=-10", Selection::Part(90..100)),
            ("bytes=-1000", Selection::Part(0..100)),
            ("bytes=100-", Selection::Unsatisfiable),
            ("bytes=99999999999999999999999-", Selection::Unsatisfiable),
            ("bytes=-0", Selection::Unsatisfiable),
            ("bytes=0-1,5-6", Selection::Whole),
            ("bytes=9-3", Selection::Whole),
            ("bytes=-", Selection::Whole),
            ("bytes=a-b", Selection::Whole),
            ("bytes=+1-2", Selection::Whole),
            ("lines=1-2", Selection::Whole),
            ("bytes", Selection::Whole),
        ];
        for (value, expected) in cases {
            assert_eq!(
                selection(&headers(&[(header::RANGE, value)]), ETAG, 100),
                expected,
                "{value}"
            );
        }
        assert_eq!(selection(&HeaderMap::new(), ETAG, 100), Selection::Whole);
    }

    #[test]
    fn a_range_counts_only_while_if_range_names_the_same_bytes() {
        let cases = [
            (ETAG, Selection::Part(5..10)),
            ("\"other\"", Selection::Whole),
            ("W/\"tag\"", Selection::Whole),
            ("Sun, 22 Nov 2026 10:00:00 GMT", Selection::Whole),
        ];
        for (if_range, expected) in cases {
            let headers = headers(&[(header::RANGE, "bytes=5-9"), (header::IF_RANGE, if_range)]);
            assert_eq!(selection(&headers, ETAG, 100), expected, "{if_range}");
        }
    }

    #[test]
    fn if_none_match_compares_weakly_within_a_list() {
        for value in [ETAG, "*", "W/\"tag\"", "\"a\", \"tag\""] {
            assert!(
                not_modified(&headers(&[(header::IF_NONE_MATCH, value)]), ETAG),
                "{value}"
            );
        }
        for value in ["\"a\"", "tag", ""] {
            assert!(
                !not_modified(&headers(&[(header::IF_NONE_MATCH, value)]), ETAG),
                "{value}"
            );
        }
        assert!(!not_modified(&HeaderMap::new(), ETAG));
    }
}
