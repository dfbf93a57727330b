//! The command line as typed: what clap parses, and nothing else.
//!
//! Every command resolves these raw values in its own module; nothing here opens a file or a connection.

mod ground;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use tetryx_protocol::cache::CachePattern;
use tetryx_protocol::id::TokenId;
use tetryx_protocol::signature::KeyName;
use tetryx_protocol::time::UtcTime;

pub(crate) use self::ground::{
    ElementsCommand, Equipment, MissionCommand, MissionPut, PassCommand, PassList, PassPredict,
    SatelliteCommand, StationCommand,
};
use crate::duration;
use crate::reference::{CacheRef, NodeRef, PathRef, ServerName};

/// Everything on the command line.
#[derive(Debug, Parser)]
#[command(
    name = "tetryx-cli",
    version,
    about = "The Tetryx operator tool: push, pull, caches, tokens, nodes, satellites, passes",
    long_about = "The Tetryx operator tool: push, pull, caches, tokens, nodes, satellites, passes.\n\n\
        Data is printed on stdout, everything else on stderr. Exit codes: 0 done, 1 refused or nothing found, \
        2 wrong use or failure.",
    propagate_version = false,
    disable_help_subcommand = true
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options that every command takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// The server to talk to, by the name given at login [default: the default server]
    #[arg(long, global = true, value_name = "NAME", help_heading = "Global options")]
    pub(crate) server: Option<ServerName>,
    /// Print data as JSON
    #[arg(long, global = true, help_heading = "Global options")]
    pub(crate) json: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Remember a server and the token for it
    Login(Login),
    /// Configure Nix on this machine to substitute from a cache
    Use(Use),
    /// Create, configure, show and destroy caches
    #[command(subcommand)]
    Cache(CacheCommand),
    /// Push store paths and their closures to a cache
    Push(Push),
    /// Copy store paths from a cache into the local Nix store
    Pull(Pull),
    /// List, delete and pin the paths of a cache
    #[command(subcommand)]
    Path(PathCommand),
    /// Create, list and revoke access tokens
    #[command(subcommand)]
    Token(TokenCommand),
    /// Create an access token (the same as 'token create')
    MakeToken(TokenCreate),
    /// Invite, list, drain and remove the nodes of the cluster
    #[command(subcommand)]
    Node(NodeCommand),
    /// Give back the space of paths whose time is over and of what was deleted, on every node
    Gc {
        /// Only show what would go
        #[arg(long)]
        dry_run: bool,
    },
    /// Register, change, show and remove missions
    #[command(subcommand)]
    Mission(MissionCommand),
    /// Register, change, show and remove satellites
    #[command(subcommand)]
    Satellite(SatelliteCommand),
    /// Register, change, show and remove stations, and plan their maintenance
    #[command(subcommand)]
    Station(StationCommand),
    /// Refresh the elements of the registered satellites
    #[command(subcommand)]
    Elements(ElementsCommand),
    /// List or predict when satellites are up
    #[command(subcommand)]
    Pass(PassCommand),
    /// Show the state of the server and of its cluster
    Status,
    /// Check the server and its data; fails if something is damaged and could not be healed
    Doctor,
    /// Show what the server took while it was cut off from the cluster, and what became of it
    Outbox,
}

#[derive(Debug, Args)]
pub(crate) struct Login {
    /// A name for the server, used in 'NAME:CACHE' and with --server
    pub(crate) name: ServerName,
    /// The address of the server, for example http://localhost:8080
    pub(crate) url: String,
    /// The access token; '-' reads it from stdin [default: none, for public caches only]
    pub(crate) token: Option<String>,
    /// Make this the server that commands use when none is named
    #[arg(long)]
    pub(crate) set_default: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Use {
    /// The cache: 'CACHE', or 'SERVER:CACHE'
    pub(crate) cache: CacheRef,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CacheCommand {
    /// Create a cache
    Create(CacheCreate),
    /// Change a cache; what is not named stays as it is
    Configure(CacheConfigure),
    /// Show a cache
    Info {
        /// The cache: 'CACHE', or 'SERVER:CACHE'
        cache: CacheRef,
    },
    /// List the caches that the token may see
    List,
    /// Destroy a cache with all its paths
    Destroy {
        /// The cache: 'CACHE', or 'SERVER:CACHE'
        cache: CacheRef,
        /// Do not ask to type the name again
        #[arg(long)]
        no_confirm: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct CacheCreate {
    /// The cache: 'CACHE', or 'SERVER:CACHE'
    pub(crate) cache: CacheRef,
    /// Let anybody pull without a token
    #[arg(long)]
    pub(crate) public: bool,
    /// The priority that Nix gives to the cache; lower is asked first (cache.nixos.org has 40)
    #[arg(long, value_name = "N")]
    pub(crate) priority: Option<u32>,
    /// The Nix store directory that the paths of the cache belong to [default: /nix/store]
    #[arg(long, value_name = "DIR")]
    pub(crate) store_dir: Option<String>,
    /// Paths signed by this key are upstream and are not pushed; may be repeated [default: cache.nixos.org-1]
    #[arg(long = "upstream-cache-key-name", value_name = "NAME")]
    pub(crate) upstream_cache_key_names: Option<Vec<KeyName>>,
    /// How many nodes keep the paths: a number, or 'all'
    #[arg(long, value_name = "N|all", value_parser = crate::caches::parse_replication)]
    pub(crate) replication: Option<tetryx_protocol::cache::Replication>,
}

#[derive(Debug, Args)]
pub(crate) struct CacheConfigure {
    /// The cache: 'CACHE', or 'SERVER:CACHE'
    pub(crate) cache: CacheRef,
    /// Let anybody pull without a token
    #[arg(long, conflicts_with = "private")]
    pub(crate) public: bool,
    /// Let only tokens with the pull permission pull
    #[arg(long)]
    pub(crate) private: bool,
    /// The priority that Nix gives to the cache; lower is asked first (cache.nixos.org has 40)
    #[arg(long, value_name = "N")]
    pub(crate) priority: Option<u32>,
    /// The Nix store directory that the paths of the cache belong to
    #[arg(long, value_name = "DIR")]
    pub(crate) store_dir: Option<String>,
    /// Paths signed by this key are upstream and are not pushed; may be repeated, '' alone clears the list
    #[arg(long = "upstream-cache-key-name", value_name = "NAME")]
    pub(crate) upstream_cache_key_names: Option<Vec<String>>,
    /// How long to keep paths that nobody pulls, for example '3 months'; 'forever' keeps them. What a kept or pinned
    /// path refers to is kept, too
    #[arg(long, value_name = "PERIOD", conflicts_with = "reset_retention_period",
          value_parser = crate::caches::parse_retention)]
    pub(crate) retention_period: Option<tetryx_protocol::cache::Retention>,
    /// Go back to the retention period of the server's configuration
    #[arg(long)]
    pub(crate) reset_retention_period: bool,
    /// How many nodes keep the paths: a number, 'all', or 'default'
    #[arg(long, value_name = "N|all", value_parser = crate::caches::parse_replication)]
    pub(crate) replication: Option<tetryx_protocol::cache::Replication>,
    /// Make a new signing key; clients must run 'use' again
    #[arg(long)]
    pub(crate) regenerate_keypair: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Push {
    /// The cache: 'CACHE', or 'SERVER:CACHE'
    pub(crate) cache: CacheRef,
    /// Store paths, or links to them such as ./result
    #[arg(
        required_unless_present = "stdin",
        conflicts_with = "stdin",
        value_name = "PATH"
    )]
    pub(crate) paths: Vec<PathBuf>,
    /// Read the paths from stdin, one on a line
    #[arg(long)]
    pub(crate) stdin: bool,
    /// Push only the paths themselves, not what they refer to
    #[arg(long)]
    pub(crate) no_closure: bool,
    /// Push also the paths that are signed by an upstream cache
    #[arg(long)]
    pub(crate) ignore_upstream_cache_filter: bool,
    /// How many paths to push at the same time
    #[arg(short, long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) jobs: u16,
}

#[derive(Debug, Args)]
pub(crate) struct Pull {
    /// The cache: 'CACHE', or 'SERVER:CACHE'
    pub(crate) cache: CacheRef,
    /// Store paths
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<String>,
    /// The Nix store to copy into, as 'nix copy --to' takes it [default: the local store]
    #[arg(long, value_name = "STORE")]
    pub(crate) to: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PathCommand {
    /// List the paths of a cache
    List {
        /// The cache: 'CACHE', or 'SERVER:CACHE'
        cache: CacheRef,
    },
    /// Delete paths from a cache; the space is freed by the next collection
    Delete {
        /// The cache: 'CACHE', or 'SERVER:CACHE'
        cache: CacheRef,
        /// Store paths, or their hashes
        #[arg(required = true, value_name = "PATH")]
        paths: Vec<PathRef>,
        /// Delete also when other paths of the cache refer to it
        #[arg(long)]
        force: bool,
    },
    /// Keep paths, with all they refer to, from being deleted or collected
    Pin {
        /// The cache: 'CACHE', or 'SERVER:CACHE'
        cache: CacheRef,
        /// Store paths, or their hashes
        #[arg(required = true, value_name = "PATH")]
        paths: Vec<PathRef>,
        /// Keep them until then, for example 2027-03-02 or 2027-03-02T12:00:00Z [default: until unpinned]
        #[arg(long, value_name = "TIME", conflicts_with = "period", value_parser = crate::paths::parse_time)]
        until: Option<UtcTime>,
        /// Keep them for so long, for example '3 months'
        #[arg(long = "for", value_name = "PERIOD", value_parser = duration::parse)]
        period: Option<Duration>,
    },
    /// Let pinned paths go again
    Unpin {
        /// The cache: 'CACHE', or 'SERVER:CACHE'
        cache: CacheRef,
        /// Store paths, or their hashes
        #[arg(required = true, value_name = "PATH")]
        paths: Vec<PathRef>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Create an access token and print it
    Create(Box<TokenCreate>),
    /// List the tokens of the cluster
    List,
    /// Revoke a token; it is refused from then on
    Revoke {
        /// The id, as 'token list' shows it
        id: TokenId,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum NodeCommand {
    /// Print a ticket with which one new node can join the cluster: 'tetryx-node join TICKET'
    Invite(NodeInvite),
    /// List the nodes of the cluster
    List {
        /// List also the nodes that were removed
        #[arg(long)]
        all: bool,
    },
    /// Have a node hand over what it holds; remove it when nothing is left
    Drain {
        /// The node: its name, or the beginning of its id
        #[arg(value_name = "NODE")]
        node: NodeRef,
        /// Wait until nothing is left to hand over
        #[arg(long)]
        wait: bool,
    },
    /// Remove a node for ever; its key is refused from then on
    Remove {
        /// The node: its name, or the beginning of its id
        #[arg(value_name = "NODE")]
        node: NodeRef,
        /// Do not ask to type the name again when the node was not drained
        #[arg(long)]
        no_confirm: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct NodeInvite {
    /// The zone that the node is put in; copies are spread over zones [default: the one it is configured with]
    #[arg(long, value_name = "ZONE")]
    pub(crate) zone: Option<String>,
    /// How long the ticket is good for, for example '1h' or '3 days'
    #[arg(long, value_name = "PERIOD", default_value = "1h", value_parser = duration::parse)]
    pub(crate) expires: Duration,
    /// Let the node vote on changes when a voter is needed; without it, it only follows
    #[arg(long)]
    pub(crate) voter: bool,
}

#[derive(Debug, Args)]
pub(crate) struct TokenCreate {
    /// Who the token is for
    #[arg(long = "sub", value_name = "SUBJECT")]
    pub(crate) subject: String,
    /// How long the token is good for, for example '3 months'
    #[arg(long, value_name = "PERIOD", value_parser = duration::parse)]
    pub(crate) validity: Duration,
    /// Let the token pull from the caches that match; may be repeated
    #[arg(long, value_name = "PATTERN")]
    pub(crate) pull: Vec<CachePattern>,
    /// Let the token push to the caches that match
    #[arg(long, value_name = "PATTERN")]
    pub(crate) push: Vec<CachePattern>,
    /// Let the token delete paths of the caches that match
    #[arg(long, value_name = "PATTERN")]
    pub(crate) delete: Vec<CachePattern>,
    /// Let the token create caches with names that match
    #[arg(long, value_name = "PATTERN")]
    pub(crate) create_cache: Vec<CachePattern>,
    /// Let the token configure the caches that match
    #[arg(long, value_name = "PATTERN")]
    pub(crate) configure_cache: Vec<CachePattern>,
    /// Let the token change the retention of the caches that match
    #[arg(long, value_name = "PATTERN")]
    pub(crate) configure_cache_retention: Vec<CachePattern>,
    /// Let the token destroy the caches that match
    #[arg(long, value_name = "PATTERN")]
    pub(crate) destroy_cache: Vec<CachePattern>,
    /// Let the token act for the missions that match, and change their satellites; may be repeated
    #[arg(long, value_name = "PATTERN")]
    pub(crate) mission: Vec<String>,
    /// Let the token change the stations that match
    #[arg(long, value_name = "PATTERN")]
    pub(crate) station: Vec<String>,
    /// Let the token do everything
    #[arg(long)]
    pub(crate) admin: bool,
    /// Print the claims, and make no token
    #[arg(long)]
    pub(crate) dump_claims: bool,
}
