//! What the corpus takes on disk.

use anyhow::{Context as _, Result};

use super::setting::Setting;
use super::table::{Table, Unit, mib};
use crate::folders;

pub(super) fn run(setting: &Setting) -> Result<Table> {
    let mut bench = setting.filled()?;
    let status = bench.station.root().get_json("/api/v1/status")?;
    let packs = status["store"]["pack_bytes"]
        .as_u64()
        .context("the status has pack_bytes")?;
    // With everything written back: index, log and state count as well.
    bench.station.stop()?;
    let all = folders::bytes_on_disk(bench.station.data_dir())?;
    let copy = setting.nix_copy()?;
    let mut table = Table::new("Bytes stored");
    let peer = "`nix copy --to file://…?compression=zstd`";
    table.row("packs", Unit::Mib, mib(packs), peer, mib(copy.nar_bytes()?));
    let theirs = folders::bytes_on_disk(&copy.path())?;
    table.row("everything on disk", Unit::Mib, mib(all), peer, mib(theirs));
    table.row(
        "packs, against raw NARs",
        Unit::Mib,
        mib(packs),
        "raw NARs",
        setting.corpus.mib(),
    );
    Ok(table)
}
