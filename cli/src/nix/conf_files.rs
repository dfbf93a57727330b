//! Which configuration files Nix reads here, and what they say together.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::conf::NixConf;
use crate::files;

/// The files and variables that decide Nix's settings, strongest first.
#[derive(Debug, Clone)]
pub(crate) struct ConfFiles {
    /// The file of the user, which `use` edits: the first of `$NIX_USER_CONF_FILES`, or
    /// `$XDG_CONFIG_HOME/nix/nix.conf`.
    pub(crate) user: PathBuf,
    /// The folder of the system's `nix.conf` and default netrc: `$NIX_CONF_DIR`, or `/etc/nix`.
    pub(crate) system_dir: PathBuf,
    /// `$NIX_CONFIG`, which beats every file.
    pub(crate) environment: NixConf,
}

impl ConfFiles {
    /// Reads the environment.
    pub(crate) fn find() -> Result<Self> {
        let first_user_file = std::env::var("NIX_USER_CONF_FILES")
            .ok()
            .and_then(|list| list.split(':').find(|file| !file.is_empty()).map(PathBuf::from));
        let user = match first_user_file {
            Some(file) => file,
            None => files::config_home()?.join("nix/nix.conf"),
        };
        let system_dir = std::env::var_os("NIX_CONF_DIR")
            .filter(|v| !v.is_empty())
            .map_or("/etc/nix".into(), PathBuf::from);
        let environment = NixConf::parse(&std::env::var("NIX_CONFIG").unwrap_or_default());
        Ok(Self {
            user,
            system_dir,
            environment,
        })
    }

    /// The value that the system's configuration gives to a setting.
    pub(crate) fn system_value(&self, name: &str) -> Result<Option<String>> {
        value_with_includes(&self.system_dir.join("nix.conf"), name, 8)
    }

    /// The value that the user's file gives to a setting, followed through its includes.
    pub(crate) fn user_value(&self, name: &str) -> Result<Option<String>> {
        value_with_includes(&self.user, name, 8)
    }
}

/// The value of a setting in a file; its own lines count more than those of what it includes.
///
/// Nix applies an include where it stands. Here the file's own lines win, which differs only when a file sets a
/// value and then includes another that sets it too.
fn value_with_includes(path: &Path, name: &str, depth: u8) -> Result<Option<String>> {
    let Some(text) = files::read_if_present(path)? else {
        return Ok(None);
    };
    let conf = NixConf::parse(&text);
    if let Some(value) = conf.get(name) {
        return Ok(Some(value.to_owned()));
    }
    if depth == 0 {
        return Ok(None);
    }
    let folder = path.parent().unwrap_or(Path::new("/"));
    for (include, _) in conf.includes() {
        if let Some(value) = value_with_includes(&folder.join(include), name, depth - 1)? {
            return Ok(Some(value));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_found_through_includes() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(
            dir.path().join("nix.conf"),
            "cores = 1\n!include more.conf\n!include absent.conf\n",
        )
        .unwrap();
        std::fs::write(dir.path().join("more.conf"), "netrc-file = /run/netrc\n").unwrap();
        let files = ConfFiles {
            user: dir.path().join("nix.conf"),
            system_dir: dir.path().to_owned(),
            environment: NixConf::parse(""),
        };
        assert_eq!(
            files.user_value("netrc-file").unwrap().as_deref(),
            Some("/run/netrc")
        );
        assert_eq!(files.system_value("cores").unwrap().as_deref(), Some("1"));
        assert_eq!(files.system_value("max-jobs").unwrap(), None);
    }
}
