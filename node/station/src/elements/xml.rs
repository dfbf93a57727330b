//! OMMs in XML (CCSDS 505.0-B), alone or in an NDM.
//!
//! The text is first cut into its `<omm>` elements, so that one with a broken tag costs no other; each is then read by
//! `quick-xml`.

use std::ops::Range;

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::Elements;
use super::fields::{Fields, Origin};
use super::location::Source;
use super::problem::{ElementsError, Problem};
use super::read::Format;

pub(super) fn read(source: &Source<'_>) -> Vec<Result<Elements, ElementsError>> {
    let text = source.text;
    let starts: Vec<usize> = text
        .match_indices("<omm")
        .map(|(at, _)| at)
        .filter(|at| text[at + 4..].starts_with(|c: char| c.is_whitespace() || c == '>' || c == '/'))
        .collect();
    if starts.is_empty() {
        let problem = if text.contains("<ndm") && text.contains("</ndm>") {
            Problem::Empty
        } else {
            Problem::Missing { field: "<omm>" }
        };
        return vec![Err(source.error(text.len(), None, problem))];
    }
    let ends = starts.iter().skip(1).copied().chain([text.len()]);
    starts
        .iter()
        .copied()
        .zip(ends)
        .map(|(start, end)| message(source, start..end))
        .collect()
}

fn message(source: &Source<'_>, span: Range<usize>) -> Result<Elements, ElementsError> {
    const CLOSE: &str = "</omm>";
    let piece = &source.text[span.clone()];
    let length = piece.find(CLOSE).map_or(piece.len(), |at| at + CLOSE.len());
    let text = &piece[..length];
    let mut fields = Fields::new(
        source,
        Origin {
            format: Format::OmmXml,
            begin: span.start,
            text,
        },
    );
    let mut reader = Reader::from_str(text);
    let mut open: Option<Tag> = None;
    let position = |reader: &Reader<&[u8]>| {
        span.start
            + usize::try_from(reader.buffer_position())
                .unwrap_or(usize::MAX)
                .min(length)
    };
    loop {
        let before = position(&reader);
        let broken = |fields: &Fields<'_>, byte: usize, reason: String| {
            Err(fields.error(
                byte,
                Problem::Syntax {
                    format: "XML",
                    reason,
                },
            ))
        };
        match reader.read_event() {
            Ok(Event::Start(start)) => {
                open = Some(Tag::of(&start, position(&reader)));
            }
            Ok(Event::Empty(start)) => {
                let tag = Tag::of(&start, before);
                fields.take(&tag.name, "", None, before)?;
            }
            Ok(Event::Text(content)) => {
                if let Some(tag) = &mut open {
                    tag.value.push_str(&content);
                }
            }
            Ok(Event::CData(content)) => {
                if let Some(tag) = &mut open {
                    tag.value.push_str(&content);
                }
            }
            Ok(Event::GeneralRef(entity)) => {
                if let Some(tag) = &mut open {
                    tag.value.push_str(&resolved(&entity));
                }
            }
            Ok(Event::End(_)) => {
                if let Some(tag) = open.take() {
                    let blank = tag.value.len() - tag.value.trim_start().len();
                    fields.take(&tag.name, &tag.value, tag.unit.as_deref(), tag.at + blank)?;
                }
            }
            Ok(Event::Eof) => {
                if length < CLOSE.len() || !text.ends_with(CLOSE) {
                    return Err(fields.error(span.start + length, Problem::CutOff { format: "XML" }));
                }
                return fields.finish();
            }
            Ok(_) => {}
            Err(_) if !text.ends_with(CLOSE) => {
                return Err(fields.error(span.start + length, Problem::CutOff { format: "XML" }));
            }
            Err(error) => {
                let byte = span.start
                    + usize::try_from(reader.error_position())
                        .unwrap_or(usize::MAX)
                        .min(length);
                return broken(&fields, byte, error.to_string());
            }
        }
    }
}

/// An element that is being read.
struct Tag {
    name: String,
    unit: Option<String>,
    value: String,
    /// Where its content begins.
    at: usize,
}

impl Tag {
    fn of(start: &BytesStart<'_>, at: usize) -> Self {
        let unit = start
            .try_get_attribute("units")
            .ok()
            .flatten()
            .map(|attribute| attribute.value.into_owned());
        Self {
            name: start.local_name().as_ref().to_owned(),
            unit,
            value: String::new(),
            at,
        }
    }
}

/// The five named characters of XML; others stay as they are written.
fn resolved(entity: &str) -> String {
    match entity {
        "amp" => "&".to_owned(),
        "lt" => "<".to_owned(),
        "gt" => ">".to_owned(),
        "quot" => "\"".to_owned(),
        "apos" => "'".to_owned(),
        other => format!("&{other};"),
    }
}
