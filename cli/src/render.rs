//! The only place of the tool that prints.
//!
//! Data goes to stdout: as text for people, or with `--json` as the JSON of the API. Talk goes to stderr, each line
//! marked `tetryx-cli:`. A reader that went away is no failure.

use std::io::{self, IsTerminal as _, Write as _};

use anyhow::Result;
use serde::Serialize;
use tetryx_protocol::time::UtcTime;

/// How this run prints.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Render {
    json: bool,
}

impl Render {
    /// Text, or JSON.
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether data is printed as JSON.
    pub(crate) fn is_json(self) -> bool {
        self.json
    }

    /// A line of talk on stderr.
    pub(crate) fn talk(self, line: &str) {
        // Nobody is left to tell if stderr is gone.
        drop(writeln!(io::stderr().lock(), "tetryx-cli: {}", line.trim_end()));
    }

    /// Lines of data on stdout.
    pub(crate) fn data(self, text: &str) -> Result<()> {
        let mut out = io::stdout().lock();
        writeln!(out, "{}", text.trim_end_matches('\n'))?;
        Ok(out.flush()?)
    }

    /// Data for a program.
    pub(crate) fn json<T: Serialize + ?Sized>(self, value: &T) -> Result<()> {
        self.data(&serde_json::to_string_pretty(value)?)
    }

    /// `value` as JSON, or what `text` makes of it.
    pub(crate) fn either<T: Serialize + ?Sized>(
        self,
        value: &T,
        text: impl FnOnce(&T) -> String,
    ) -> Result<()> {
        if self.json {
            self.json(value)
        } else {
            self.data(&text(value))
        }
    }

    /// Begins a list of data for a program whose items are printed as they come.
    pub(crate) fn json_list(self) -> JsonList {
        JsonList {
            out: io::BufWriter::new(io::stdout()),
            is_empty: true,
        }
    }

    /// Asks on the terminal; `None` if there is none.
    pub(crate) fn ask(self, question: &str) -> Result<Option<String>> {
        if !io::stdin().is_terminal() {
            return Ok(None);
        }
        write!(io::stderr().lock(), "tetryx-cli: {question} ")?;
        let mut answer = String::new();
        io::stdin().read_line(&mut answer)?;
        Ok(Some(answer.trim().to_owned()))
    }
}

/// A JSON array on stdout, an item on each line.
#[derive(Debug)]
pub(crate) struct JsonList {
    out: io::BufWriter<io::Stdout>,
    is_empty: bool,
}

impl JsonList {
    /// The next item.
    pub(crate) fn push<T: Serialize>(&mut self, item: &T) -> Result<()> {
        self.out
            .write_all(if self.is_empty { b"[\n  " } else { b",\n  " })?;
        self.is_empty = false;
        Ok(serde_json::to_writer(&mut self.out, item).map_err(io::Error::from)?)
    }

    /// No more items.
    pub(crate) fn end(mut self) -> Result<()> {
        self.out
            .write_all(if self.is_empty { b"[]\n" } else { b"\n]\n" })?;
        Ok(self.out.flush()?)
    }
}

/// Whether stderr is a terminal, where progress can be drawn.
pub(crate) fn stderr_is_terminal() -> bool {
    io::stderr().is_terminal()
}

/// Help and version go to stdout, a usage error goes to stderr, marked like everything there.
pub(crate) fn usage(error: &clap::Error) {
    // Nobody is left to tell if the stream is gone.
    if error.use_stderr() {
        let text = error.render().to_string();
        Render::new(false).talk(text.trim_start_matches("error: ").trim_end());
    } else {
        drop(error.print());
    }
}

/// A table with a head; columns are as wide as their widest cell, the last one is not padded.
pub(crate) fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = head.map(|cell| cell.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: [&str; N]| {
        let mut line = String::new();
        for (index, (cell, width)) in cells.into_iter().zip(widths).enumerate() {
            let pad = if index + 1 == N {
                0
            } else {
                width + 2 - cell.chars().count()
            };
            line.push_str(cell);
            line.push_str(&" ".repeat(pad));
        }
        line.truncate(line.trim_end().len());
        line
    };
    let mut lines = vec![line(head)];
    lines.extend(
        rows.iter()
            .map(|row| line(std::array::from_fn(|i| row[i].as_str()))),
    );
    lines.join("\n")
}

/// `Name: value` lines with the names right-aligned.
pub(crate) fn fields(fields: &[(&str, String)]) -> String {
    let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let lines: Vec<String> = fields
        .iter()
        .map(|(name, value)| format!("{name:>width$}: {value}"))
        .collect();
    lines.join("\n")
}

/// A moment for people, to the second; the column or text says that it is UTC.
pub(crate) fn utc(time: UtcTime) -> String {
    time.to_string()
        .chars()
        .take(19)
        .collect::<String>()
        .replace('T', " ")
}

/// `1 path`, `2 paths`.
pub(crate) fn count(number: u64, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

/// A number of bytes for people, with one decimal.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    #[expect(clippy::cast_precision_loss, reason = "it is printed with one decimal")]
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_aligned_and_have_no_blanks_at_the_ends() {
        let rows = [
            ["a".to_owned(), "long cell".to_owned(), "x".to_owned()],
            ["bb".to_owned(), String::new(), String::new()],
        ];
        assert_eq!(
            table(["ONE", "TWO", "THREE"], &rows),
            "ONE  TWO        THREE\na    long cell  x\nbb"
        );
    }

    #[test]
    fn names_of_fields_are_right_aligned() {
        assert_eq!(
            fields(&[("Public", "true".into()), ("Key", "k".into())]),
            "Public: true\n   Key: k"
        );
    }

    #[test]
    fn times_are_printed_to_the_second() {
        assert_eq!(
            utc(UtcTime::from_unix_ms(1_772_452_990_123)),
            "2026-03-02 12:03:10"
        );
    }

    #[test]
    fn bytes_are_printed_with_a_fitting_unit() {
        assert_eq!(bytes(0), "0.0 KiB");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(3 << 20), "3.0 MiB");
        assert_eq!(bytes((1 << 30) - 1), "1.0 GiB");
        assert_eq!(bytes(5 << 40), "5.0 TiB");
    }
}
