//! OMMs as `KEY = VALUE [unit]` lines (CCSDS 502.0-B-3, section 7).

use super::Elements;
use super::fields::{Fields, Origin};
use super::location::Source;
use super::problem::{ElementsError, Problem};
use super::read::Format;

/// The keys that begin a message, and, in lists without heads, an element set.
const BEGINS: [&str; 2] = ["CCSDS_OMM_VERS", "OBJECT_NAME"];

pub(super) fn read(source: &Source<'_>) -> Vec<Result<Elements, ElementsError>> {
    let lines: Vec<_> = source.lines().collect();
    let key_of = |line: &str| {
        line.split('=')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_uppercase()
    };
    let has_heads = lines.iter().any(|(_, line)| key_of(line) == BEGINS[0]);
    let begins = BEGINS[usize::from(!has_heads)];
    let mut starts: Vec<usize> = (0..lines.len())
        .filter(|index| key_of(lines[*index].1) == begins)
        .collect();
    match starts.first_mut() {
        // Comments above the first message belong to it.
        Some(first) => *first = 0,
        None => starts.push(0),
    }
    let ends = starts
        .iter()
        .skip(1)
        .copied()
        .chain([lines.len()])
        .collect::<Vec<_>>();
    starts
        .into_iter()
        .zip(ends)
        .map(|(start, end)| message(source, &lines[start..end]))
        .collect()
}

fn message(source: &Source<'_>, lines: &[(std::ops::Range<usize>, &str)]) -> Result<Elements, ElementsError> {
    let begin = lines.first().map_or(0, |(span, _)| span.start);
    let end = lines.last().map_or(begin, |(span, _)| span.end);
    let text = source.text[begin..end].trim_end();
    let mut fields = Fields::new(
        source,
        Origin {
            format: Format::OmmKvn,
            begin,
            text,
        },
    );
    for (span, line) in lines {
        let line = line.trim_end();
        let first = line.split_whitespace().next().unwrap_or_default();
        if line.trim().is_empty() || line.starts_with('#') || first.eq_ignore_ascii_case("COMMENT") {
            continue;
        }
        // META_START and its like have no value.
        if !line.contains('=') && (first.ends_with("_START") || first.ends_with("_STOP")) {
            continue;
        }
        let Some((key, value)) = line.split_once('=') else {
            let reason = format!("{:?} has no '='", line.chars().take(40).collect::<String>());
            return Err(fields.error(
                span.start,
                Problem::Syntax {
                    format: "KVN",
                    reason,
                },
            ));
        };
        let at = span.start + key.len() + 1 + (value.len() - value.trim_start().len());
        let (value, unit) = match value
            .trim()
            .strip_suffix(']')
            .and_then(|value| value.rsplit_once('['))
        {
            Some((value, unit)) => (value, Some(unit)),
            None => (value, None),
        };
        fields.take(key, value, unit, at)?;
    }
    fields.finish()
}
