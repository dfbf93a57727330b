//! The JSON of the HTTP API under `/api/v1`. Times are RFC 3339, sizes bytes, durations seconds.
//!
//! Requests refuse unknown fields; answers may grow, so readers ignore fields they do not know.

mod doctor;
mod error;
mod gc;
mod ground;
mod members;
mod outbox;

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::cache::{CacheName, Replication, Retention};
use crate::grant::Grants;
use crate::hash::{FileHash, NarHash};
use crate::id::{ClusterId, NodeId, TokenId, UploadId};
use crate::narinfo::{check_content_address, check_system};
use crate::signature::{KeyName, NixPublicKey, NixSignature};
use crate::store_path::{StoreDir, StorePath, StorePathHash};
use crate::time::UtcTime;
use crate::token::TokenClaims;

pub use doctor::*;
pub use error::{ApiError, ErrorName};
pub use gc::*;
pub use ground::*;
pub use members::*;
pub use outbox::*;

/// The most paths in one page of a list.
pub const PAGE_LIMIT_MAX: u32 = 1_000;

/// The priority of a cache that is created without one: just after cache.nixos.org.
pub const CACHE_PRIORITY_DEFAULT: u32 = 41;

/// Answer of `GET /api/v1/status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusResponse {
    /// The program's version.
    pub version: String,
    /// The node that answers.
    pub node: NodeId,
    /// Its name.
    pub node_name: String,
    /// Where it stands.
    pub zone: String,
    /// Its cluster.
    pub cluster: ClusterId,
    /// Who leads, as far as this node knows.
    pub leader: Option<NodeId>,
    /// The Raft term.
    pub term: u64,
    /// The last log index this node has applied.
    pub applied_index: u64,
    /// Who votes.
    pub voters: Vec<NodeId>,
    /// Seconds since the node started.
    pub uptime_seconds: u64,
    /// Whether a command can be committed now, and who would commit it, in words.
    pub quorum: String,
    /// Number of caches.
    pub caches: u64,
    /// Number of paths, over all caches.
    pub paths: u64,
    /// Number of distinct NARs.
    pub nars: u64,
    /// Bytes of all paths' NARs, uncompressed: what the caches hold as their users see it.
    pub path_bytes: u64,
    /// Bytes of the distinct NARs, uncompressed.
    pub nar_bytes: u64,
    /// What is on this node's disk.
    pub store: StoreStatus,
    /// How many members there are, and how they are.
    #[serde(default)]
    pub members: MembersSummary,
    /// What the nodes compared last to find out whether their states are the same.
    #[serde(default)]
    pub state_hash: Option<StateHashInfo>,
    /// How old the applied state may be, in seconds: the time since this node last heard of a leader with a
    /// majority. Absent when it never has.
    #[serde(default)]
    pub state_age_seconds: Option<u64>,
    /// The strongest read this node can answer now.
    #[serde(default)]
    pub read_level: ReadLevel,
    /// What has fewer copies than it should.
    #[serde(default)]
    pub under_replicated: UnderReplicated,
    /// Bytes that have to be copied for that, over all nodes.
    #[serde(default)]
    pub bytes_to_move: u64,
    /// Pushes taken while the cluster could not be asked.
    #[serde(default)]
    pub outbox: OutboxCounts,
    /// What is safe and how old the data is, in plain sentences.
    #[serde(default)]
    pub safety: Vec<String>,
}

/// The hash of a node's state after a log index: on every node the same, if nothing is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateHashInfo {
    /// The log index.
    pub index: u64,
    /// The hash, in hexadecimal.
    pub hash: String,
}

/// What is on a node's disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreStatus {
    /// Distinct chunks.
    pub chunks: u64,
    /// Chunks and manifests that are known to be corrupt.
    pub damaged: u64,
    /// Pack segments.
    pub segments: u64,
    /// Bytes of the segments, with what a collection could free.
    pub pack_bytes: u64,
    /// Bytes on disk: segments and index.
    pub disk_bytes: u64,
    /// The most bytes it may use, if there is a limit.
    pub quota_bytes: Option<u64>,
    /// Bytes that may still be put, limited by the disk and the quota.
    pub free_bytes: u64,
    /// How far reading everything back is.
    #[serde(default)]
    pub scrub: ScrubStatus,
}

/// A cache, as the API shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheInfo {
    /// Its name.
    pub name: CacheName,
    /// Whether everybody may pull.
    pub public: bool,
    /// What its paths are signed with.
    pub public_key: NixPublicKey,
    /// What Nix takes as a substituter.
    pub substituter_endpoint: String,
    /// Where the API is.
    pub api_endpoint: String,
    /// The store directory of its paths.
    pub store_dir: StoreDir,
    /// Which substituter is asked first: the lower number.
    pub priority: u32,
    /// Paths signed by these keys are not pushed: others have them.
    pub upstream_cache_key_names: Vec<KeyName>,
    /// How long it keeps what nobody fetches.
    pub retention_period: Retention,
    /// On how many nodes it is kept.
    pub replication: Replication,
    /// The mission it belongs to.
    pub mission: Option<String>,
    /// When it was created.
    pub created: UtcTime,
}

/// Answer of `GET /api/v1/caches`: those the caller may discover, by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheList {
    /// The caches.
    pub caches: Vec<CacheInfo>,
}

/// Body of `POST /api/v1/caches`. The answer is [`CacheInfo`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateCacheRequest {
    /// Its name.
    pub name: CacheName,
    /// Whether everybody may pull.
    #[serde(default)]
    pub public: bool,
    /// Which substituter is asked first: the lower number.
    #[serde(default = "cache_priority_default")]
    pub priority: u32,
    /// The store directory of its paths.
    #[serde(default)]
    pub store_dir: StoreDir,
    /// Paths signed by these keys are not pushed.
    #[serde(default)]
    pub upstream_cache_key_names: Vec<KeyName>,
    /// How long it keeps what nobody fetches.
    #[serde(default)]
    pub retention_period: Retention,
    /// On how many nodes it is kept.
    #[serde(default)]
    pub replication: Replication,
    /// The mission it belongs to.
    #[serde(default)]
    pub mission: Option<String>,
}

const fn cache_priority_default() -> u32 {
    CACHE_PRIORITY_DEFAULT
}

/// Body of `PATCH /api/v1/caches/{cache}`: what is absent stays as it is. The answer is [`CacheInfo`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigureCacheRequest {
    /// Whether everybody may pull.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public: Option<bool>,
    /// Which substituter is asked first: the lower number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u32>,
    /// The store directory of its paths.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store_dir: Option<StoreDir>,
    /// Paths signed by these keys are not pushed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream_cache_key_names: Option<Vec<KeyName>>,
    /// How long it keeps what nobody fetches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention_period: Option<Retention>,
    /// On how many nodes it is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replication: Option<Replication>,
    /// Whether to draw a new signing key; clients must then trust the new one.
    #[serde(default)]
    pub regenerate_keypair: bool,
}

/// Body of `POST /api/v1/caches/{cache}/missing-paths`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MissingPathsRequest {
    /// The paths asked about.
    pub store_path_hashes: Vec<StorePathHash>,
}

/// Which of them the cache lacks, in the order they were asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissingPathsResponse {
    /// The paths the cache lacks.
    pub missing: Vec<StorePathHash>,
}

/// Query of `GET /api/v1/caches/{cache}/paths`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PathsQuery {
    /// Where the last page ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<StorePathHash>,
    /// How many paths, at most [`PAGE_LIMIT_MAX`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// A page of a cache's paths, in the order of their hashes' texts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathsPage {
    /// The paths.
    pub paths: Vec<PathInfo>,
    /// What to ask for as `after` next; absent on the last page.
    pub next: Option<StorePathHash>,
}

/// A path in a cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathInfo {
    /// The path.
    pub store_path: StorePath,
    /// The hash of its NAR.
    pub nar_hash: NarHash,
    /// The size of its NAR in bytes.
    pub nar_size: u64,
    /// The hash of its NAR as served.
    pub file_hash: FileHash,
    /// The size of its NAR as served, in bytes.
    pub file_size: u64,
    /// What it refers to.
    pub references: Vec<StorePath>,
    /// The derivation that made it.
    pub deriver: Option<StorePath>,
    /// The system it was made on.
    pub system: Option<String>,
    /// Its content address.
    pub ca: Option<String>,
    /// The signatures it was pushed with; the cache's own is made when it is read.
    pub signatures: Vec<NixSignature>,
    /// When it was published.
    pub created: UtcTime,
    /// Whose token published it.
    pub created_by: String,
    /// The last use known, in days since the Unix epoch.
    pub last_access_day: u32,
    /// The pin that keeps it, if there is one.
    pub pin: Option<PinInfo>,
}

/// What keeps a path from being collected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinInfo {
    /// Whose token pinned it.
    pub by: String,
    /// When.
    pub at: UtcTime,
    /// When it ends; never by itself if there is no end.
    #[serde(default)]
    pub until: Option<UtcTime>,
}

/// Query of `PUT /api/v1/caches/{cache}/paths/{hash}/pin`: at most one of the two. Without an end the pin holds until it
/// is taken away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PinPathQuery {
    /// When the pin ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<UtcTime>,
    /// After how many seconds it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_seconds: Option<u64>,
}

/// Query of `DELETE /api/v1/caches/{cache}/paths/{hash}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeletePathQuery {
    /// Delete it though other paths of the cache refer to it.
    #[serde(default)]
    pub force: bool,
}

/// Answer of `POST /api/v1/caches/{cache}/uploads`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartUploadResponse {
    /// The session.
    pub upload: UploadId,
    /// When it ends if it is not used; every use moves this on.
    pub expires: UtcTime,
}

/// Query of `PUT /api/v1/uploads/{id}/nars/{nar_hash}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UploadNarQuery {
    /// The size of the NAR in bytes.
    pub nar_size: u64,
}

/// Answer of `PUT /api/v1/uploads/{id}/nars/{nar_hash}`: the node has the whole NAR and has verified it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadNarResponse {
    /// The hash of the NAR.
    pub nar_hash: NarHash,
    /// Its size in bytes.
    pub nar_size: u64,
    /// Its size as served, in bytes.
    pub file_size: u64,
    /// Chunks in it.
    pub chunks: u64,
    /// Chunks that came in this request.
    pub received_chunks: u64,
    /// Bytes of their frames.
    pub received_bytes: u64,
}

/// A path to publish.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PathUpload {
    /// The path.
    pub store_path: StorePath,
    /// The NAR, uploaded in this session or known to the cluster.
    pub nar_hash: NarHash,
    /// What it refers to: each in the cache, in this batch, or itself.
    #[serde(default)]
    pub references: Vec<StorePath>,
    /// The derivation that made it.
    #[serde(default)]
    pub deriver: Option<StorePath>,
    /// The system it was made on: see [`crate::narinfo::check_system`].
    #[serde(default, deserialize_with = "system")]
    pub system: Option<String>,
    /// Its content address: see [`crate::narinfo::check_content_address`].
    #[serde(default, deserialize_with = "content_address")]
    pub ca: Option<String>,
    /// Signatures it has already.
    #[serde(default)]
    pub signatures: Vec<NixSignature>,
}

/// Both end up as lines of a narinfo, so what Nix could not read there is refused at the door.
fn system<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.as_deref()
        .map_or(Ok(()), check_system)
        .map_err(D::Error::custom)?;
    Ok(text)
}

fn content_address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.as_deref()
        .map_or(Ok(()), check_content_address)
        .map_err(D::Error::custom)?;
    Ok(text)
}

/// Body of `POST /api/v1/uploads/{id}/commit`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommitUploadRequest {
    /// The paths: all become visible, or none.
    pub paths: Vec<PathUpload>,
    /// References that need not be in the cache because an upstream cache has them. Honoured only when the cache
    /// names keys of upstream caches.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub upstream: Vec<StorePath>,
}

/// Answer of `POST /api/v1/uploads/{id}/commit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitUploadResponse {
    /// The log index at which they became visible.
    pub index: u64,
    /// Paths that are new.
    pub published: u64,
    /// Paths that were there already, the same.
    pub unchanged: u64,
    /// Paths that only this node has and serves until it reaches the cluster again: see [`OutboxReport`].
    #[serde(default)]
    pub provisional: u64,
}

/// Body of `POST /api/v1/tokens`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateTokenRequest {
    /// Whom it is for.
    pub subject: String,
    /// How long it counts, in seconds.
    pub validity_seconds: u64,
    /// What it allows: no more than the caller's own.
    #[serde(default)]
    pub grants: Grants,
}

/// Answer of `POST /api/v1/tokens`. The token is shown this once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateTokenResponse {
    /// The token.
    pub token: String,
    /// What it says.
    pub claims: TokenClaims,
}

impl fmt::Debug for CreateTokenResponse {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("CreateTokenResponse")
            .field("token", &"<redacted>")
            .field("claims", &self.claims)
            .finish()
    }
}

/// A token in the registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenInfo {
    /// Its id.
    pub token: TokenId,
    /// Whom it is for.
    pub subject: String,
    /// What it allows.
    pub grants: Grants,
    /// When it was made.
    pub issued: UtcTime,
    /// When it ends.
    pub expires: UtcTime,
    /// When it was revoked, if it was.
    pub revoked: Option<UtcTime>,
}

/// Answer of `GET /api/v1/tokens`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenList {
    /// The tokens, by id.
    pub tokens: Vec<TokenInfo>,
}
