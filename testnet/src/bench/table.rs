//! A markdown table of figures beside their peers'.

use anyhow::Result;

use crate::talk::say;

/// What one benchmark found.
#[derive(Debug)]
pub(super) struct Table {
    title: &'static str,
    rows: Vec<[String; 5]>,
}

/// Whether more is better.
#[derive(Clone, Copy, Debug)]
pub(super) enum Unit {
    /// MiB a second.
    MibPerSecond,
    /// Requests a second.
    PerSecond,
    /// MiB, of which fewer are better.
    Mib,
    /// Seconds, of which fewer are better.
    Seconds,
    /// Milliseconds, of which fewer are better.
    Milliseconds,
    /// Megabits a second.
    MegabitPerSecond,
}

impl Unit {
    fn text(self, figure: f64) -> String {
        match self {
            Self::MibPerSecond => format!("{figure:.0} MiB/s"),
            Self::PerSecond => format!("{figure:.0} /s"),
            Self::Mib => format!("{figure:.1} MiB"),
            Self::Seconds => format!("{figure:.2} s"),
            Self::Milliseconds => format!("{figure:.1} ms"),
            Self::MegabitPerSecond => format!("{figure:.1} Mbit/s"),
        }
    }
}

impl Table {
    pub(super) fn new(title: &'static str) -> Self {
        Self {
            title,
            rows: Vec::new(),
        }
    }

    /// A figure of ours and the same of a peer, in the same unit; the ratio is ours to theirs.
    pub(super) fn row(&mut self, what: &str, unit: Unit, ours: f64, peer: &str, theirs: f64) {
        self.rows.push([
            what.to_owned(),
            unit.text(ours),
            peer.to_owned(),
            unit.text(theirs),
            format!("{:.2}", ours / theirs),
        ]);
    }

    pub(super) fn print(&self) -> Result<()> {
        say(&format!(
            "\n### {}\n\n| what | Tetryx | peer | peer's figure | ratio |\n|---|---|---|---|---|",
            self.title
        ))?;
        self.rows
            .iter()
            .try_for_each(|row| say(&format!("| {} |", row.join(" | "))))
    }
}

/// The one in the middle.
pub(super) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Bytes as MiB.
#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
pub(super) fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
