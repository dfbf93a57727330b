//! The tool's own configuration: which servers there are, and the token for each.
//!
//! The file is `$XDG_CONFIG_HOME/tetryx/config.toml`, mode 0600 because it holds tokens:
//!
//! ```toml
//! default_server = "local"
//!
//! [servers.local]
//! url = "http://localhost:8080"
//! token = "eyJ…"            # or: token_file = "/run/secrets/tetryx-token"
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use crate::files;
use crate::reference::ServerName;

/// The file's content.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// The server that commands talk to when none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) default_server: Option<ServerName>,
    /// The servers by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) servers: BTreeMap<ServerName, ServerConfig>,
}

/// One server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServerConfig {
    /// The address, without a slash at the end.
    pub(crate) url: String,
    /// The token itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<String>,
    /// A file that holds the token, read at each command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) token_file: Option<PathBuf>,
}

impl ServerConfig {
    /// The token, from whichever place it is kept in.
    pub(crate) fn token(&self) -> Result<Option<String>> {
        if let Some(token) = &self.token {
            return Ok(Some(token.clone()));
        }
        let Some(file) = &self.token_file else {
            return Ok(None);
        };
        let text = files::read_if_present(file)?.with_context(|| {
            format!(
                "the token file {} does not exist; log in again or restore it",
                file.display()
            )
        })?;
        Ok(Some(text.trim().to_owned()))
    }
}

/// Where the configuration lives.
pub(crate) fn path() -> Result<PathBuf> {
    Ok(files::config_home()?.join("tetryx/config.toml"))
}

impl Config {
    /// Reads the configuration; a missing file is an empty one.
    pub(crate) fn load(path: &Path) -> Result<Self> {
        let Some(text) = files::read_if_present(path)? else {
            return Ok(Self::default());
        };
        toml::from_str(&text).with_context(|| {
            format!(
                "{} is not a valid configuration; correct it, or move it away and log in again",
                path.display()
            )
        })
    }

    /// Writes the configuration in one step.
    pub(crate) fn save(&self, path: &Path) -> Result<()> {
        let text = toml::to_string(self).context("the configuration cannot be written as TOML")?;
        files::replace(path, &text, 0o600)
    }

    /// The server of this name, or the default one.
    pub(crate) fn server(&self, name: Option<&ServerName>) -> Result<(&ServerName, &ServerConfig)> {
        let Some(name) = name.or(self.default_server.as_ref()) else {
            bail!(
                "no server is known; run 'tetryx-cli login NAME URL TOKEN' (tetryx-node prints this line at its first start)"
            );
        };
        match self.servers.get_key_value(name) {
            Some(found) => Ok(found),
            None => {
                let known: Vec<&str> = self.servers.keys().map(ServerName::as_str).collect();
                let known = if known.is_empty() {
                    "none".to_owned()
                } else {
                    known.join(", ")
                };
                bail!("no server is named '{name}' (known: {known}); run 'tetryx-cli login {name} URL TOKEN'")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> ServerName {
        text.parse().unwrap()
    }

    fn config() -> Config {
        let local = ServerConfig {
            url: "http://localhost:8080".into(),
            token: Some("t".into()),
            token_file: None,
        };
        Config {
            default_server: Some(name("local")),
            servers: BTreeMap::from([(name("local"), local)]),
        }
    }

    #[test]
    fn what_is_saved_is_loaded_again_and_is_private() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tetryx/config.toml");
        assert_eq!(Config::load(&path).unwrap(), Config::default());
        config().save(&path).unwrap();
        assert_eq!(Config::load(&path).unwrap(), config());
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }

    #[test]
    fn an_unknown_key_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        std::fs::write(&path, "defualt_server = \"x\"\n").unwrap();
        let error = format!("{:#}", Config::load(&path).unwrap_err());
        assert!(
            error.contains("config.toml") && error.contains("defualt_server"),
            "{error}"
        );
    }

    #[test]
    fn a_missing_server_is_named_with_what_to_do() {
        let error = Config::default().server(None).unwrap_err().to_string();
        assert!(error.contains("tetryx-cli login"), "{error}");
        let error = config().server(Some(&name("west"))).unwrap_err().to_string();
        assert!(
            error.contains("'west'") && error.contains("known: local"),
            "{error}"
        );
    }

    #[test]
    fn a_token_may_live_in_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        std::fs::write(&file, "secret\n").unwrap();
        let server = ServerConfig {
            url: String::new(),
            token: None,
            token_file: Some(file.clone()),
        };
        assert_eq!(server.token().unwrap().as_deref(), Some("secret"));
        std::fs::remove_file(&file).unwrap();
        assert!(server.token().unwrap_err().to_string().contains("token"));
    }
}
