//! Names as typed on the command line: servers, caches on servers, paths of a cache, nodes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use tetryx_protocol::ProtocolError;
use tetryx_protocol::cache::CacheName;
use tetryx_protocol::id::NodeId;
use tetryx_protocol::store_path::{StorePath, StorePathHash};

/// The name a server was given at login: letters, digits, `-` and `_`, at most 50.
///
/// The alphabet is that of a netrc login and of the user part of a URL, where `use` writes it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct ServerName(String);

impl ServerName {
    /// The name as text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ServerName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fits = (1..=50).contains(&text.len())
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !text.starts_with('-');
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!(
                "'{text}' is no server name; use 1 to 50 letters, digits, '-' and '_'"
            ))
        }
    }
}

impl TryFrom<String> for ServerName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<ServerName> for String {
    fn from(name: ServerName) -> Self {
        name.0
    }
}

/// A cache, and the server it is on when one is named: `CACHE` or `SERVER:CACHE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CacheRef {
    /// The server, if the text names one.
    pub(crate) server: Option<ServerName>,
    /// The cache.
    pub(crate) cache: CacheName,
}

impl FromStr for CacheRef {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (server, cache) = match text.split_once(':') {
            Some((server, cache)) => (Some(server.parse()?), cache),
            None => (None, text),
        };
        let cache = cache.parse().map_err(|error: ProtocolError| error.to_string())?;
        Ok(Self { server, cache })
    }
}

/// A path of a cache: an absolute store path (or a file below one), a base name, or the hash alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PathRef {
    /// The hash, which is all a cache needs.
    pub(crate) hash: StorePathHash,
    /// What was typed, for messages.
    pub(crate) text: String,
}

impl FromStr for PathRef {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let hash = text
            .split('/')
            .find_map(|part| part.parse::<StorePath>().ok().map(|path| path.hash))
            .or_else(|| text.parse::<StorePathHash>().ok())
            .ok_or_else(|| {
                format!("'{text}' is no store path; give it as /nix/store/HASH-NAME, HASH-NAME or HASH (32 characters)")
            })?;
        Ok(Self {
            hash,
            text: text.to_owned(),
        })
    }
}

/// A node of the cluster: its name, or the beginning of its id in hex.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NodeRef(String);

impl NodeRef {
    /// What was typed.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the id begins so.
    pub(crate) fn begins_id(&self, node: &NodeId) -> bool {
        node.to_string().starts_with(&self.0.to_ascii_lowercase())
    }
}

impl fmt::Display for NodeRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for NodeRef {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Err("a node has a name; 'tetryx-cli node list' shows them".to_owned());
        }
        Ok(Self(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "r5d7217c0rjd5iiz1g2nhvd15frck9x2";

    #[test]
    fn a_cache_may_name_its_server() {
        let plain: CacheRef = "mission-alpha".parse().unwrap();
        assert_eq!(plain.server, None);
        let on_server: CacheRef = "local:mission-alpha".parse().unwrap();
        assert_eq!(on_server.server.unwrap().as_str(), "local");
        assert_eq!(on_server.cache.to_string(), "mission-alpha");
    }

    #[test]
    fn a_bad_cache_or_server_name_is_refused_by_name() {
        assert!("local:".parse::<CacheRef>().is_err());
        assert!("a b:x".parse::<CacheRef>().unwrap_err().contains("'a b'"));
        assert!("../etc".parse::<CacheRef>().unwrap_err().contains("\"../etc\""));
    }

    #[test]
    fn a_path_may_be_absolute_a_base_name_a_file_below_or_a_hash() {
        for text in [
            format!("/nix/store/{HASH}-tetryx-0.1.0"),
            format!("/nix/store/{HASH}-tetryx-0.1.0/bin/tetryx"),
            format!("{HASH}-tetryx-0.1.0"),
            HASH.to_owned(),
        ] {
            assert_eq!(text.parse::<PathRef>().unwrap().hash.to_string(), HASH, "{text}");
        }
        assert!("/nix/store".parse::<PathRef>().is_err());
    }
}
