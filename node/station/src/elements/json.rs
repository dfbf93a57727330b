//! OMMs as JSON: an object, an array of them, or one after the other.
//!
//! The text is first cut into its objects by their braces, so that one which is no valid JSON costs no other; each is
//! then read by `serde_json`.

use std::ops::Range;

use serde_json::Value;

use super::Elements;
use super::fields::{Fields, Origin};
use super::location::Source;
use super::problem::{ElementsError, Problem};
use super::read::Format;

pub(super) fn read(source: &Source<'_>) -> Vec<Result<Elements, ElementsError>> {
    let bytes = source.text.as_bytes();
    let mut entries = Vec::new();
    let mut at = source.text.len() - source.text.trim_start_matches('\u{feff}').len();
    let mut depth_open = false;
    while at < bytes.len() {
        match bytes[at] {
            b'{' => {
                let end = value_end(bytes, at);
                match end {
                    Some(end) => entries.push(object(source, at..end)),
                    None => {
                        // Where the next object seems to begin, if there is one: this one may only lack its brace.
                        let next = next_object(source.text, at + 1);
                        let problem = Problem::CutOff { format: "JSON" };
                        entries.push(Err(source.error(next.unwrap_or(bytes.len()), None, problem)));
                        at = next.unwrap_or(bytes.len());
                        continue;
                    }
                }
                at = end.unwrap_or(bytes.len());
            }
            b'[' if !depth_open => {
                depth_open = true;
                at += 1;
            }
            b']' | b'}' | b',' => at += 1,
            byte if byte.is_ascii_whitespace() => at += 1,
            _ => {
                // Something that is no object, or what is left of one that was broken and has its error.
                if !matches!(entries.last(), Some(Err(_))) {
                    let rest = &source.text[at..];
                    let length = rest.find([',', ']', '{', '\n']).unwrap_or(rest.len());
                    let found = rest[..length].trim().chars().take(40).collect();
                    entries.push(Err(source.error(at, None, Problem::NotAnObject { found })));
                }
                at = next_object(source.text, at).unwrap_or(bytes.len());
            }
        }
    }
    if entries.is_empty() {
        entries.push(Err(source.error(0, None, Problem::Empty)));
    }
    entries
}

/// Where an object that was not closed gives way to the next: a brace that begins a line or follows a comma.
fn next_object(text: &str, from: usize) -> Option<usize> {
    text[from..]
        .match_indices('{')
        .map(|(at, _)| from + at)
        .find(|at| {
            text[..*at]
                .trim_end_matches([' ', '\t', '\r'])
                .ends_with([',', '\n'])
        })
}

/// The end of an object or array, `None` if it has none before another begins at the start of a line.
fn value_end(bytes: &[u8], start: usize) -> Option<usize> {
    let mut depth = 0_usize;
    let mut in_string = false;
    let mut at = start;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if in_string => at += 1,
            b'"' => in_string = !in_string,
            // No string of JSON holds a line's end.
            b'\n' if in_string => return None,
            b'{' | b'[' if !in_string => depth += 1,
            b'}' | b']' if !in_string => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return (bytes[at] == b'}').then_some(at + 1);
                }
            }
            _ => {}
        }
        at += 1;
    }
    None
}

fn object(source: &Source<'_>, span: Range<usize>) -> Result<Elements, ElementsError> {
    let text = &source.text[span.clone()];
    let parsed: Value = serde_json::from_str(text).map_err(|error| {
        let (line, _) = source.position(span.start);
        let begin = if error.line() == 1 {
            span.start
        } else {
            source.line_start(line + error.line() - 1)
        };
        let byte = begin + error.column().saturating_sub(1);
        let reason = error.to_string();
        let reason = reason.split(" at line ").next().unwrap_or_default().to_owned();
        source.error(
            byte,
            name_in(text),
            Problem::Syntax {
                format: "JSON",
                reason,
            },
        )
    })?;
    let mut fields = Fields::new(
        source,
        Origin {
            format: Format::OmmJson,
            begin: span.start,
            text,
        },
    );
    let Value::Object(_) = parsed else {
        return Err(fields.error(
            span.start,
            Problem::NotAnObject {
                found: text.chars().take(40).collect(),
            },
        ));
    };
    for (key, value, at) in members(text) {
        let key: String = serde_json::from_str(key).unwrap_or_default();
        let text = match serde_json::from_str(value) {
            Ok(Value::String(text)) => text,
            Ok(Value::Null) => String::new(),
            // Digits as written: a number is not rounded on its way.
            _ => value.to_owned(),
        };
        fields.take(&key, &text, None, span.start + at)?;
    }
    fields.finish()
}

/// The name in an object that is no JSON, for its error.
fn name_in(text: &str) -> Option<String> {
    let rest = &text[text.find("\"OBJECT_NAME\"")? + 13..];
    let rest = rest
        .trim_start()
        .strip_prefix(':')?
        .trim_start()
        .strip_prefix('"')?;
    rest.split('"').next().map(str::to_owned)
}

/// Keys and values of a valid object as written, with where the value is.
fn members(text: &str) -> Vec<(&str, &str, usize)> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut at = 1;
    while let Some(key_start) = text
        .get(at..)
        .and_then(|rest| rest.find('"'))
        .map(|offset| at + offset)
    {
        let key_end = string_end(bytes, key_start);
        let Some(colon) = text[key_end..].find(':').map(|offset| key_end + offset + 1) else {
            break;
        };
        let value_start = colon + (text[colon..].len() - text[colon..].trim_start().len());
        let value_end = match bytes.get(value_start) {
            Some(b'"') => string_end(bytes, value_start),
            Some(b'{' | b'[') => nested_end(bytes, value_start),
            _ => text[value_start..]
                .find([',', '}'])
                .map_or(text.len(), |offset| value_start + offset),
        };
        found.push((
            &text[key_start..key_end],
            text[value_start..value_end].trim(),
            value_start,
        ));
        at = value_end;
    }
    found
}

/// After the closing quote of a string.
fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < bytes.len() && bytes[at] != b'"' {
        at += 1 + usize::from(bytes[at] == b'\\');
    }
    (at + 1).min(bytes.len())
}

/// After the closing bracket of a value within a valid object.
fn nested_end(bytes: &[u8], start: usize) -> usize {
    let mut depth = 0_usize;
    let mut at = start;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => {
                at = string_end(bytes, at);
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
        at += 1;
    }
    bytes.len()
}
