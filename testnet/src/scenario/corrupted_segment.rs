//! Bits rot on one disk.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use super::Story;
use crate::cluster::{Ledger, name};

pub(super) fn run(story: &Story) -> Result<()> {
    let mut cluster = story.cluster(3)?;
    let pusher = cluster.pusher();
    let mut ledger = Ledger::default();
    pusher.push_all(1, &cluster.make_paths("paths", 8, 600_000)?, &mut ledger)?;
    cluster.wait_until_copied()?;

    cluster.station_mut(1).stop()?;
    let packs = packs(&cluster.station(1).data_dir().join("store"))?;
    let flipped = packs.iter().map(|pack| rot(pack)).sum::<Result<u64>>()?;
    story.when(&format!(
        "{flipped} bits flip in the {} pack segments of {}",
        packs.len(),
        name(1)
    ))?;
    ensure!(flipped > 20, "there is too little to damage");
    cluster.station_mut(1).start_again()?;
    cluster.station(1).wait_ready()?;
    story.then(
        "Nix gets every path from it, whole: what is damaged comes from the others",
        || ledger.expect_served(&cluster, 1),
    )?;
    story.ends_well(&cluster, &ledger)?;
    story.when("the two others are killed")?;
    for other in [0, 2] {
        cluster.station_mut(other).kill()?;
    }
    story.then(
        "Nix gets every path from it still: what was damaged is healed on its disk",
        || ledger.expect_served(&cluster, 1),
    )
}

/// The pack files in a folder.
pub(super) fn packs(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in folder
        .read_dir()
        .with_context(|| format!("cannot list {}", folder.display()))?
    {
        let path = entry.context("cannot list a folder")?.path();
        let mut magic = [0; 6];
        let file = File::open(&path).context("cannot open a file of a store")?;
        if file.read_exact_at(&mut magic, 0).is_ok() && &magic == b"txpack" {
            found.push(path);
        }
    }
    Ok(found)
}

/// Flips a bit in every 64 KiB but the first; how many.
pub(super) fn rot(file: &Path) -> Result<u64> {
    const APART: u64 = 64 << 10;
    let file = File::options()
        .read(true)
        .write(true)
        .open(file)
        .context("cannot open a pack")?;
    let length = file.metadata().context("cannot look at a pack")?.len();
    let mut flipped = 0;
    for at in (1..length / APART).map(|part| part * APART + 4_321) {
        let mut byte = [0];
        if file.read_exact_at(&mut byte, at).is_ok() && byte != [0] {
            file.write_all_at(&[byte[0] ^ 4], at)
                .context("cannot damage a pack")?;
            flipped += 1;
        }
    }
    Ok(flipped)
}
