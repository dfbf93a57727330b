//! Where in a text something is.

use std::ops::Range;

use super::problem::{ElementsError, Problem};

/// A text, and where its lines begin.
#[derive(Debug)]
pub(super) struct Source<'a> {
    pub(super) text: &'a str,
    line_starts: Vec<usize>,
}

impl<'a> Source<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let line_starts = std::iter::once(0)
            .chain(text.match_indices('\n').map(|(at, _)| at + 1))
            .collect();
        Self { text, line_starts }
    }

    /// Line and column of a byte, counted from 1; the column in characters.
    pub(super) fn position(&self, byte: usize) -> (usize, usize) {
        let byte = byte.min(self.text.len());
        let line = self.line_starts.partition_point(|start| *start <= byte);
        let start = self.line_starts[line - 1];
        let column = self
            .text
            .get(start..byte)
            .map_or(byte - start, |before| before.chars().count());
        (line, column + 1)
    }

    /// The byte where a line begins, counted from 1.
    pub(super) fn line_start(&self, line: usize) -> usize {
        self.line_starts
            .get(line.saturating_sub(1))
            .copied()
            .unwrap_or(self.text.len())
    }

    pub(super) fn error(&self, byte: usize, object: Option<String>, problem: Problem) -> ElementsError {
        let (line, column) = self.position(byte);
        ElementsError {
            line,
            column,
            object,
            problem,
        }
    }

    /// Lines with the bytes they span, without their ends.
    pub(super) fn lines(&self) -> impl Iterator<Item = (Range<usize>, &'a str)> {
        let text = self.text;
        self.line_starts.iter().enumerate().map(move |(index, start)| {
            let end = self
                .line_starts
                .get(index + 1)
                .map_or(text.len(), |next| next - 1);
            let line = text[*start..end].trim_end_matches('\r');
            (*start..start + line.len(), line)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_is_told_by_line_and_column() {
        let source = Source::new("ab\r\nµc\nd");
        assert_eq!(source.position(0), (1, 1));
        assert_eq!(source.position(4), (2, 1));
        assert_eq!(source.position(6), (2, 2));
        assert_eq!(source.position(99), (3, 2));
        let lines: Vec<_> = source.lines().map(|(_, line)| line).collect();
        assert_eq!(lines, ["ab", "µc", "d"]);
    }
}
