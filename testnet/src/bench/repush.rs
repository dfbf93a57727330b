//! What crosses the wire when most of it is there already.

use std::fs;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};

use super::setting::{CACHE, Setting};
use super::table::{Table, Unit, mib};
use crate::clock::Stopwatch;
use crate::folders;
use crate::user::User;
use crate::wire::Wire;
use crate::world::log_in;

/// One file in so many is edited, and the largest one.
const ONE_IN: usize = 50;

pub(super) fn run(setting: &Setting) -> Result<Table> {
    let bench = setting.filled()?;
    let wire = Wire::to(bench.station.address())?;
    let user = User::new(Arc::clone(&setting.corpus.store))?;
    log_in(&user, "local", &wire.url(), bench.station.root_token())?;
    let mut table = Table::new("Push again");

    let next = next_version(setting, &user)?;
    let before = wire.sent();
    user.cli(["push", CACHE, &next])?.ok()?;
    let sent = wire.sent() - before;
    let whole = compressed_size(&user, &next)?;
    let what = "a changed version of the largest path: bytes sent";
    table.row(what, Unit::Mib, mib(sent), "the whole NAR, zstd", mib(whole));

    setting.make_cache(&user, "other")?;
    Setting::settle()?;
    let before = wire.sent();
    let watch = Stopwatch::start();
    setting.push(&user, "other")?;
    let seconds = watch.seconds();
    let sent = wire.sent() - before;
    Setting::settle()?;
    let copy = setting.nix_copy()?;
    let peer = "`nix copy --to file://…?compression=zstd`";
    table.row(
        "the corpus into another cache: bytes sent",
        Unit::Mib,
        mib(sent),
        peer,
        mib(copy.nar_bytes()?),
    );
    table.row("the same: time", Unit::Seconds, seconds, peer, copy.seconds);
    Ok(table)
}

/// The largest path of the corpus with 16 bytes changed in the middle of every 50th file and of the largest.
fn next_version(setting: &Setting, user: &User) -> Result<String> {
    let largest = setting
        .corpus
        .items
        .iter()
        .max_by_key(|item| item.nar_size)
        .context("an empty corpus")?;
    let from = setting.corpus.store.on_disk(&largest.path)?;
    let work = folders::temporary("version-")?;
    let copy = work.path().join("next-version");
    let mut command = user.command("cp");
    command.arg("--recursive").arg(&from).arg(&copy);
    crate::process::Finished::run(command)?.ok()?;
    let mut files = Vec::new();
    list(&copy, &mut files)?;
    files.sort();
    let largest = files.iter().max_by_key(|(_, length)| *length).cloned();
    let edited = files.iter().step_by(ONE_IN).cloned().chain(largest);
    for (file, length) in edited.filter(|(_, length)| *length >= 32) {
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644))?;
        let open = fs::File::options()
            .write(true)
            .open(&file)
            .with_context(|| format!("{}", file.display()))?;
        open.write_all_at(b"sixteen bytes, !", length / 2)?;
    }
    let copy = copy.to_str().context("a folder is UTF-8")?;
    user.nix(["store", "add-path", "--name", "next-version", copy])?
        .ok()
}

fn list(folder: &Path, found: &mut Vec<(std::path::PathBuf, u64)>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        if metadata.is_dir() {
            fs::set_permissions(entry.path(), fs::Permissions::from_mode(0o755))?;
            list(&entry.path(), found)?;
        } else if metadata.is_file() {
            found.push((entry.path(), metadata.len()));
        }
    }
    Ok(())
}

/// The size of a path's NAR as plain Nix would upload it.
fn compressed_size(user: &User, path: &str) -> Result<u64> {
    let folder = folders::temporary("whole-")?;
    let to = format!("file://{}?compression=zstd", folder.path().display());
    user.nix(["copy", "--to", &to, path])?.ok()?;
    let entries = fs::read_dir(folder.path().join("nar"))?;
    entries.map(|entry| Ok(entry?.metadata()?.len())).sum()
}
