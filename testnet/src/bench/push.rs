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
    let mut full = setting.empty()?;
    for filling in 1..=FILLINGS {
        fill::push_variant(setting, &full, filling)?;
    }
    // One after the other in each round, so that whatever the machine does meanwhile meets all of them.
    let (mut into_empty, mut into_full, mut peers) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..setting.rounds {
        Setting::settle()?;
        peers.push(setting.corpus.mib() / setting.nix_copy()?.seconds);
        let empty = setting.empty()?;
        Setting::settle()?;
        into_empty.push(setting.corpus.mib() / setting.push(&empty.user, CACHE)?);
        drop(empty);
        setting.make_cache(&full.user, LATER)?;
        Setting::settle()?;
        into_full.push(setting.corpus.mib() / setting.push(&full.user, LATER)?);
        full.user.cli(["cache", "destroy", LATER, "--no-confirm"])?.ok()?;
        full.station.stop()?;
        full.station.collect_garbage()?;
        full.station.restart()?;
    }
    let (into_empty, into_full, peers) = (median(into_empty), median(into_full), median(peers));

    let mut table = Table::new("Push");
    let peer = "`nix copy --to file://…?compression=zstd`";
    table.row("empty cache, 5 jobs", Unit::MibPerSecond, into_empty, peer, peers);
    table.row(
        "nine corpora are there already",
        Unit::MibPerSecond,
        into_full,
        peer,
        peers,
    );
    let what = "the same, against the empty cache";
    table.row(
        what,
        Unit::MibPerSecond,
        into_full,
        "Tetryx, empty cache",
        into_empty,
    );
    Ok(table)
}
