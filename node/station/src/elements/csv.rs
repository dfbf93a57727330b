//! OMMs as rows of a table, as CelesTrak and Space-Track write CSV.

use csv::{ByteRecord, ReaderBuilder};

use super::Elements;
use super::fields::{Fields, Origin};
use super::location::Source;
use super::problem::{ElementsError, Problem};
use super::read::Format;

/// Names of which a head has some.
pub(super) const KNOWN: [&str; 4] = ["NORAD_CAT_ID", "MEAN_MOTION", "EPOCH", "ECCENTRICITY"];

pub(super) fn read(source: &Source<'_>) -> Vec<Result<Elements, ElementsError>> {
    let skipped = source.text.len() - source.text.trim_start_matches('\u{feff}').len();
    let mut reader = ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .comment(Some(b'#'))
        .from_reader(&source.text.as_bytes()[skipped..]);
    let mut head: Option<Vec<String>> = None;
    let mut entries = Vec::new();
    let mut record = ByteRecord::new();
    while let Ok(true) = reader.read_byte_record(&mut record) {
        let begin = record
            .position()
            .map_or(0, |p| usize::try_from(p.byte()).unwrap_or(usize::MAX))
            + skipped;
        // The reader tells where it began to look; blank lines and comments may come first.
        let begin = content_start(source.text, begin);
        let end = usize::try_from(reader.position().byte()).unwrap_or(usize::MAX) + skipped;
        let text = source
            .text
            .get(begin..end.min(source.text.len()))
            .unwrap_or_default();
        let cells: Vec<String> = record
            .iter()
            .map(|cell| String::from_utf8_lossy(cell).trim().to_owned())
            .collect();
        if cells.iter().all(String::is_empty) {
            continue;
        }
        match &head {
            None => head = Some(cells),
            Some(head) => entries.push(row(source, begin, text.trim_end(), head, &cells)),
        }
    }
    if entries.is_empty() {
        entries.push(Err(source.error(source.text.len(), None, Problem::Empty)));
    }
    entries
}

fn row(
    source: &Source<'_>,
    begin: usize,
    text: &str,
    head: &[String],
    cells: &[String],
) -> Result<Elements, ElementsError> {
    // Without its head a row says nothing.
    let alone = format!("{}\n{text}", head.join(","));
    let mut fields = Fields::new(
        source,
        Origin {
            format: Format::OmmCsv,
            begin,
            text: &alone,
        },
    );
    if cells.len() != head.len() {
        let name = head
            .iter()
            .position(|key| key.eq_ignore_ascii_case("OBJECT_NAME"));
        fields.name = name.and_then(|at| cells.get(at)).cloned();
        let problem = Problem::RowLength {
            found: cells.len(),
            expected: head.len(),
        };
        return Err(fields.error(begin + text.len(), problem));
    }
    for (index, (key, value)) in head.iter().zip(cells).enumerate() {
        fields.take(key, value, None, begin + cell_start(text, index))?;
    }
    fields.finish()
}

/// Past blank lines and comments.
fn content_start(text: &str, mut at: usize) -> usize {
    while let Some(rest) = text.get(at..) {
        let line = rest.split_inclusive('\n').next().unwrap_or_default();
        if line.is_empty() || !(line.trim().is_empty() || line.starts_with('#')) {
            break;
        }
        at += line.len();
    }
    at
}

/// Where a cell of a row begins; commas within quotes divide nothing.
fn cell_start(row: &str, index: usize) -> usize {
    let mut quoted = false;
    let mut left = index;
    for (at, c) in row.char_indices() {
        if left == 0 {
            return at;
        }
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => left -= 1,
            _ => {}
        }
    }
    row.len()
}
