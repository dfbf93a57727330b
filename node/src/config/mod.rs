//! The node's configuration: `node.toml`, typed.
//!
//! # Invariants
//! - Every key has a default; an empty file is a valid configuration.
//! - A key that is not known is refused, never ignored: a misspelt limit must not silently be the default.
//! - The generated file ([`generated`]) lists every key with its documentation and parses to the defaults.
//!
//! # Non-goals
//! - Reloading while the node runs: a change takes effect at the next start.

mod keys;
mod load;
mod peers;
mod size;

use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::keys::generated;
pub use self::load::{ConfigError, load, parse};
pub use self::peers::{Advertised, GOSSIP_PORT, LinkOverride, P2P_PORT, P2p, Rate, Replication};
pub use self::size::Size;

/// Everything `node.toml` can say.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// What people call this node; the machine's host name when unset.
    pub name: Option<String>,
    /// Where the node stands; copies are spread over zones.
    pub zone: Zone,
    /// Where everything durable lives; `$XDG_DATA_HOME/tetryx` when unset.
    pub data_dir: Option<PathBuf>,
    pub http: Http,
    pub limits: Limits,
    pub uploads: Uploads,
    pub store: Store,
    pub gc: Gc,
    pub scrub: Scrub,
    pub p2p: P2p,
    pub replication: Replication,
    pub raft: Raft,
    pub log: Log,
}

impl Config {
    /// What people call this node.
    pub fn name_or_host(&self) -> String {
        let host_name = || rustix::system::uname().nodename().to_string_lossy().into_owned();
        self.name.clone().unwrap_or_else(host_name)
    }
}

/// A zone name: 1 to 50 letters, digits, `-`, `_` or `.`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Zone(String);

/// The HTTP listener.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// Where to listen. Port 0 takes any free port and prints it.
    pub listen: SocketAddr,
    /// The address clients reach this node by, when it is not the one they ask for (behind a proxy).
    pub public_url: Option<String>,
    /// Connections served at once; more wait in the kernel's queue.
    pub connections_max: usize,
    /// How long a client may take to send a request's head, and how long an idle connection is kept.
    #[serde(with = "humantime_serde")]
    pub header_read_timeout: Duration,
    /// How long an answer may take to begin, for every route but the NAR streams.
    #[serde(with = "humantime_serde")]
    pub request_timeout: Duration,
    /// How long a request body may stand still before the request is given up.
    #[serde(with = "humantime_serde")]
    pub body_idle_timeout: Duration,
    /// How long running requests may take to finish after SIGTERM or SIGINT.
    #[serde(with = "humantime_serde")]
    pub drain_timeout: Duration,
}

/// What a request may weigh.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    pub header_bytes_max: Size,
    pub header_count_max: usize,
    pub json_body_max: Size,
    pub nar_size_max: Size,
    pub narinfo_size_max: Size,
}

/// Upload sessions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Uploads {
    /// How long a session that nobody uses keeps its chunks from being collected.
    #[serde(with = "humantime_serde")]
    pub session_ttl: Duration,
    /// Sessions open at once.
    pub sessions_max: usize,
}

/// The chunk store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Store {
    /// When a pack segment is closed and the next one begun.
    pub segment_size: Size,
    /// Memory for the chunk index.
    pub index_cache: Size,
    /// The most that chunks may take on disk; no limit when unset.
    pub quota: Option<Size>,
    /// What uploads leave free of the disk; a quarter of a segment when unset.
    pub reserve: Option<Size>,
}

/// Garbage collection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Gc {
    /// Time between collections; zero leaves it to `tetryx-node gc --once`.
    #[serde(with = "humantime_serde")]
    pub interval: Duration,
    /// How long a cache without a period of its own keeps a path; for ever when unset.
    #[serde(with = "humantime_serde")]
    pub default_retention: Option<Duration>,
    /// The share of the pack files that may be garbage, in percent.
    pub garbage_max_percent: u8,
    /// How much live data is moved in a second to free what lies between.
    pub rewrite_rate: Size,
}

/// Reading everything back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scrub {
    /// Within this time every byte is read back; zero leaves it to `tetryx-node scrub --once`.
    #[serde(with = "humantime_serde")]
    pub period: Duration,
    /// The most that is read in a second.
    pub rate: Size,
}

/// The replicated log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Raft {
    pub profile: RaftProfile,
    /// After how many entries the nodes compare their states.
    pub audit_every: u64,
}

/// How patient elections are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RaftProfile {
    /// By the round trips that were measured.
    #[default]
    Auto,
    /// One site: round trips of a few milliseconds.
    Lan,
    /// One continent or two: up to about 250 ms.
    Wan,
    /// Geostationary links: 600 ms and more.
    Geo,
}

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// A `tracing` filter, such as `info` or `info,tetryx_store=debug`.
    pub filter: String,
    pub format: LogFormat,
}

/// The shape of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    #[default]
    Human,
    Json,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv6Addr::UNSPECIFIED, 8080)),
            public_url: None,
            connections_max: 4096,
            header_read_timeout: Duration::from_secs(30),
            request_timeout: Duration::from_secs(60),
            body_idle_timeout: Duration::from_secs(60),
            drain_timeout: Duration::from_secs(30),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_bytes_max: Size::kib(32),
            header_count_max: 64,
            json_body_max: Size::mib(16),
            nar_size_max: Size::gib(64),
            narinfo_size_max: Size::mib(1),
        }
    }
}

impl Default for Uploads {
    fn default() -> Self {
        Self {
            session_ttl: Duration::from_secs(60 * 60),
            sessions_max: 1024,
        }
    }
}

impl Default for Store {
    fn default() -> Self {
        Self {
            segment_size: Size::mib(64),
            index_cache: Size::mib(32),
            quota: None,
            reserve: None,
        }
    }
}

impl Default for Gc {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(12 * 60 * 60),
            default_retention: None,
            garbage_max_percent: 10,
            rewrite_rate: Size::mib(32),
        }
    }
}

impl Default for Scrub {
    fn default() -> Self {
        Self {
            period: Duration::from_secs(30 * 24 * 60 * 60),
            rate: Size::mib(16),
        }
    }
}

impl Default for Raft {
    fn default() -> Self {
        Self {
            profile: RaftProfile::Auto,
            audit_every: 10_000,
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self {
            filter: "info,openraft=error,libp2p=warn".to_owned(),
            format: LogFormat::Human,
        }
    }
}

impl Default for Zone {
    fn default() -> Self {
        Self("default".to_owned())
    }
}

impl Zone {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for Zone {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fits = (1..=50).contains(&text.len())
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!(
                "{text:?} is not a zone name; use 1 to 50 letters, digits, '-', '_' or '.'"
            ))
        }
    }
}

impl TryFrom<String> for Zone {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Zone> for String {
    fn from(zone: Zone) -> Self {
        zone.0
    }
}
