//! Where cargo put the programs under test.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

/// The daemon.
///
/// # Errors
/// When it was not built.
pub fn node() -> Result<PathBuf> {
    find("tetryx-node")
}

/// The operator's tool.
///
/// # Errors
/// When it was not built.
pub fn cli() -> Result<PathBuf> {
    find("tetryx-cli")
}

/// Cargo's target folder, as far as it can be told from where this program lies.
///
/// # Errors
/// When this program does not lie in one.
pub fn target_folder() -> Result<PathBuf> {
    let profile = profile_folder()?;
    let target = profile
        .parent()
        .with_context(|| format!("{} has no parent", profile.display()))?;
    Ok(target.to_owned())
}

/// `target/PROFILE`: tests lie in its `deps`, programs in itself.
fn profile_folder() -> Result<PathBuf> {
    let me = env::current_exe().context("cannot tell where this program lies")?;
    let folder = me
        .parent()
        .with_context(|| format!("{} has no folder", me.display()))?;
    let is_deps = folder.file_name().is_some_and(|name| name == "deps");
    Ok(if is_deps {
        folder.parent().unwrap_or(folder)
    } else {
        folder
    }
    .to_owned())
}

fn find(name: &str) -> Result<PathBuf> {
    let folder = match env::var_os("TETRYX_BIN_DIR") {
        Some(folder) => PathBuf::from(folder),
        None => profile_folder()?,
    };
    let path = folder.join(name);
    if !path.is_file() {
        bail!(
            "{name} is not in {}; build it with 'cargo build --workspace --bins{}'",
            folder.display(),
            if is_release(&folder) { " --release" } else { "" }
        );
    }
    Ok(path)
}

fn is_release(folder: &Path) -> bool {
    folder.file_name().is_some_and(|name| name == "release")
}
