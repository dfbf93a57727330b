//! How fast the corpus goes in.

use anyhow::Result;

use super::fill;
use super::setting::{CACHE, Setting};
use super::table::{Table, Unit, median};

/// The name of the cache that the filled station gets the corpus in.
const LATER: &str = "later";
/// Corpora of other bytes that are there before.
const FILLINGS: u8 = 9;

pub(super) fn run(setting: &Setting) -> Result<Table> {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..setting.rounds {
        let bench = setting.empty()?;
        ours.push(setting.corpus.mib() / setting.push(&bench.user, CACHE)?);
        drop(bench);
        theirs.push(setting.corpus.mib() / setting.nix_copy()?.seconds);
    }
    let (ours, theirs) = (median(ours), median(theirs));

    let mut table = Table::new("Push");
    let peer = "`nix copy --to file://…?compression=zstd`";
    table.row("empty cache, 5 jobs", Unit::MibPerSecond, ours, peer, theirs);
    let full = full(setting)?;
    table.row(
        "nine corpora are there already",
        Unit::MibPerSecond,
        full,
        peer,
        theirs,
    );
    table.row(
        "the same, against the empty cache",
        Unit::MibPerSecond,
        full,
        "Tetryx, empty cache",
        ours,
    );
    Ok(table)
}

/// The rate into a station that has nine times as much already. Filling it takes longer than the measurement, so it
/// is filled once, and the corpus destroyed again between rounds.
fn full(setting: &Setting) -> Result<f64> {
    let mut bench = setting.empty()?;
    for filling in 1..=FILLINGS {
        fill::push_variant(setting, &bench, filling)?;
    }
    let mut rates = Vec::new();
    for _ in 0..setting.rounds {
        setting.make_cache(&bench.user, LATER)?;
        rates.push(setting.corpus.mib() / setting.push(&bench.user, LATER)?);
        bench
            .user
            .cli(["cache", "destroy", LATER, "--no-confirm"])?
            .ok()?;
        bench.station.stop()?;
        bench.station.collect_garbage()?;
        bench.station.restart()?;
    }
    Ok(median(rates))
}
