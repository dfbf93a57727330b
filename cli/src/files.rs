//! Files of the user that the tool writes: whole or not at all, and never readable by others when new.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

/// `$XDG_CONFIG_HOME`, or `$HOME/.config`, as Nix and the XDG specification find it.
///
/// # Errors
/// When neither variable is set.
pub(crate) fn config_home() -> Result<PathBuf> {
    let set = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    set("XDG_CONFIG_HOME")
        .filter(|dir| dir.is_absolute())
        .or_else(|| set("HOME").map(|home| home.join(".config")))
        .context(
            "neither XDG_CONFIG_HOME nor HOME is set; set one of them so that the configuration has a place",
        )
}

/// The text of a file; `None` if it does not exist.
///
/// # Errors
/// When it exists and cannot be read as UTF-8 text.
pub(crate) fn read_if_present(path: &Path) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Replaces a file in one step; a reader sees the old text or the new one.
///
/// A new file gets `mode_if_new`; an existing one keeps its mode. A symbolic link is followed, so that the file it
/// points to is replaced and the link stays.
///
/// # Errors
/// When the folder cannot be made or written, or when the file lives in the Nix store, where nothing may be changed.
pub(crate) fn replace(path: &Path, text: &str, mode_if_new: u32) -> Result<()> {
    let target = match (fs::canonicalize(path), fs::read_link(path)) {
        (Ok(real), _) => real,
        // A link to nowhere: what it points to will be made.
        (Err(_), Ok(link)) => path.parent().unwrap_or(Path::new("")).join(link),
        (Err(_), Err(_)) => path.to_owned(),
    };
    if target.starts_with("/nix/store") {
        bail!(
            "{} is managed by Nix ({}) and cannot be edited; add the settings where that file is generated",
            path.display(),
            target.display()
        );
    }
    let mode = fs::metadata(&target).map_or(mode_if_new, |metadata| metadata.permissions().mode() & 0o7777);
    let folder = target
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let write = || -> io::Result<()> {
        let mut file = tempfile::Builder::new()
            .prefix(".tetryx-")
            .permissions(fs::Permissions::from_mode(0o600))
            .tempfile_in(folder)?;
        file.write_all(text.as_bytes())?;
        file.as_file().set_permissions(fs::Permissions::from_mode(mode))?;
        file.as_file().sync_all()?;
        file.persist(&target).map_err(|error| error.error)?;
        fs::File::open(folder)?.sync_all()
    };
    write().with_context(|| format!("cannot write {}", target.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_new_file_is_private_and_an_existing_one_keeps_its_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b.conf");
        replace(&path, "one", 0o600).unwrap();
        assert_eq!(
            (fs::read_to_string(&path).unwrap().as_str(), mode(&path)),
            ("one", 0o600)
        );

        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        replace(&path, "two", 0o600).unwrap();
        assert_eq!(
            (fs::read_to_string(&path).unwrap().as_str(), mode(&path)),
            ("two", 0o640)
        );
    }

    #[test]
    fn a_link_is_followed_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (real, link) = (dir.path().join("real"), dir.path().join("link"));
        fs::write(&real, "old").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        replace(&link, "new", 0o600).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&real).unwrap(), "new");
    }

    #[test]
    fn no_temporary_file_is_left_behind() {
        let dir = tempfile::tempdir().unwrap();
        replace(&dir.path().join("x"), "1", 0o600).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
