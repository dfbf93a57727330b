//! Commands: what can be asked of the replicated state, and how they are written into the log.
//!
//! A command is an envelope (magic `TXCM`, schema, minimum reader, length, checksum) around postcard. Variants and
//! fields are append-only, because their positions are in the log. A change that an older node would
//! misunderstand raises [`SCHEMA`] and the minimum reader of the commands it concerns; a node that meets such a
//! command stops applying ([`CommandError::NeedsUpgrade`]).

mod codec;
mod ground;
mod retention;

use serde::{Deserialize, Serialize};
use tetryx_protocol::cache::{CacheName, Replication, Retention};
use tetryx_protocol::grant::Grants;
use tetryx_protocol::hash::{FileHash, ManifestHash, NarHash};
use tetryx_protocol::id::{ClusterId, InviteId, NodeId, ProposalId, TokenId};
pub use tetryx_protocol::member::Role;
use tetryx_protocol::signature::{KeyName, NixPublicKey, NixSignature};
use tetryx_protocol::store_path::{StoreDir, StorePath, StorePathHash};
use tetryx_protocol::time::UtcTime;

pub use self::codec::CommandError;
pub use self::ground::{
    PutMaintenance, PutMission, PutSatellite, PutStation, RefreshElements, RemoveMaintenance, RemoveMission,
    RemoveSatellite, RemoveStation, SatelliteElements,
};
pub use self::retention::{CacheAccesses, ExpirePaths, NoteAccesses, PinPathUntil};

/// The first bytes of an encoded command.
pub const MAGIC: [u8; 4] = *b"TXCM";
/// The newest schema this build writes and reads.
pub const SCHEMA: u16 = 4;
/// The feature level of this build: what a cluster must have before commands of [`SCHEMA`] are proposed in it.
///
/// The level that a node offers is an input of everything that uses it at run time, so that nodes of different levels
/// can be run beside each other; a daemon passes this one.
pub const FEATURE_LEVEL: u32 = SCHEMA as u32;

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// Chosen by the proposing client, and kept over its retries: it is applied at most once.
    pub proposal: ProposalId,
    /// The client will never again repeat a serial below this one, so their replies can be forgotten.
    pub oldest_open: u64,
    /// When the proposer proposed it. The log clock becomes this time, unless it is ahead already.
    pub proposed_at: UtcTime,
    /// On whose behalf, for the audit: the subject of a token, or the node itself.
    pub by: String,
    /// What to do.
    pub body: Body,
}

/// What a command does. Append-only: the position is in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Body {
    /// Founds the cluster; the first command of every log.
    InitCluster(InitCluster),
    /// Adds a member or changes what is known about one.
    UpsertMember(UpsertMember),
    /// Creates a cache.
    CreateCache(CreateCache),
    /// Changes settings of a cache.
    ConfigureCache(ConfigureCache),
    /// Destroys a cache with all its paths, pinned ones as well.
    DestroyCache(DestroyCache),
    /// Makes paths visible: all of them or none.
    PublishPaths(PublishPaths),
    /// Deletes a path.
    DeletePath(DeletePath),
    /// Keeps a path until it is unpinned.
    PinPath(PinPath),
    /// Ends a pin.
    UnpinPath(UnpinPath),
    /// Adds a token to the registry.
    RegisterToken(RegisterToken),
    /// Has a token refused from now on.
    RevokeToken(RevokeToken),
    /// Lets one node join.
    CreateInvite(CreateInvite),
    /// Takes an invitation back.
    RevokeInvite(RevokeInvite),
    /// Makes the bearer of an invitation a member.
    RedeemInvite(RedeemInvite),
    /// Replaces what a member says of itself.
    UpdateMember(UpdateMember),
    /// Has a member hand over what it has.
    DrainMember(DrainMember),
    /// Ends a membership for ever.
    RemoveMember(RemoveMember),
    /// Notes a recovery from a lost quorum.
    AdvanceEpoch(AdvanceEpoch),
    /// Says what one replica's state was at an index.
    CheckState(CheckState),
    /// Allows newer commands.
    SetFeatureLevel(SetFeatureLevel),
    /// Lets paths go whose time is over.
    ExpirePaths(ExpirePaths),
    /// Notes on which day paths were pulled.
    NoteAccesses(NoteAccesses),
    /// Keeps a path until a moment.
    PinPathUntil(PinPathUntil),
    /// Adds or changes a mission.
    PutMission(PutMission),
    /// Removes a mission.
    RemoveMission(RemoveMission),
    /// Adds or changes a satellite.
    PutSatellite(PutSatellite),
    /// Removes a satellite.
    RemoveSatellite(RemoveSatellite),
    /// Adds or changes a station.
    PutStation(PutStation),
    /// Removes a station.
    RemoveStation(RemoveStation),
    /// Says when a station is not to be used.
    PutMaintenance(PutMaintenance),
    /// Takes that back.
    RemoveMaintenance(RemoveMaintenance),
    /// Gives satellites newer elements.
    RefreshElements(RefreshElements),
}

/// Founds the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InitCluster {
    /// Its identity.
    pub cluster: ClusterId,
    /// The newest commands that may be proposed.
    pub feature_level: u32,
    /// The ed25519 key that tokens are verified with.
    pub token_public_key: [u8; 32],
    /// The secret half, sealed.
    pub sealed_token_key: Vec<u8>,
}

/// Adds a member, or replaces what is known about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpsertMember {
    /// The node.
    pub node: NodeId,
    /// What people call it; unique among the members.
    pub name: String,
    /// The failure zone it is in.
    pub zone: String,
    /// Where it can be reached, best first.
    pub addresses: Vec<String>,
    /// Its part in consensus.
    pub role: Role,
}

/// Creates a cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateCache {
    /// Its name.
    pub cache: CacheName,
    /// True when everybody may pull.
    pub public: bool,
    /// Nix asks caches with a lower number first.
    pub priority: u32,
    /// The store its paths live in.
    pub store_dir: StoreDir,
    /// Signing keys of upstream caches: what they have signed need not be pushed here.
    pub upstream_key_names: Vec<KeyName>,
    /// How long paths are kept.
    pub retention: Retention,
    /// On how many nodes.
    pub replication: Replication,
    /// Its signing key, drawn by the proposer.
    pub key_pair: CacheKeyPair,
    /// The mission it belongs to.
    pub mission: Option<String>,
}

/// A signing key of a cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheKeyPair {
    /// What clients trust.
    pub public_key: NixPublicKey,
    /// The secret half, sealed.
    pub sealed_secret_key: Vec<u8>,
}

/// Changes those settings of a cache that are `Some`, and leaves the others as they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigureCache {
    /// The cache.
    pub cache: CacheName,
    /// See [`CreateCache::public`].
    pub public: Option<bool>,
    /// See [`CreateCache::priority`].
    pub priority: Option<u32>,
    /// See [`CreateCache::store_dir`]. Only an empty cache can change it.
    pub store_dir: Option<StoreDir>,
    /// See [`CreateCache::upstream_key_names`].
    pub upstream_key_names: Option<Vec<KeyName>>,
    /// See [`CreateCache::retention`].
    pub retention: Option<Retention>,
    /// See [`CreateCache::replication`].
    pub replication: Option<Replication>,
    /// A new signing key, drawn by the proposer. What was signed with the old one is signed anew on read.
    pub key_pair: Option<CacheKeyPair>,
    /// See [`CreateCache::mission`]; `Some(None)` takes the cache out of its mission.
    pub mission: Option<Option<String>>,
}

impl ConfigureCache {
    /// A command that changes nothing: set the fields that shall change.
    pub fn new(cache: CacheName) -> Self {
        Self {
            cache,
            public: None,
            priority: None,
            store_dir: None,
            upstream_key_names: None,
            retention: None,
            replication: None,
            key_pair: None,
            mission: None,
        }
    }
}

/// Destroys a cache with all its paths.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DestroyCache {
    /// The cache.
    pub cache: CacheName,
}

/// Makes paths visible in a cache: all of them or none. Whoever proposes it has verified the NARs and made their
/// chunks durable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishPaths {
    /// The cache.
    pub cache: CacheName,
    /// The paths, in any order.
    pub paths: Vec<NewPath>,
    /// References that need not be in this cache because an upstream cache has them. Honoured only when the cache
    /// names keys of upstream caches.
    pub upstream: Vec<StorePath>,
}

/// A path to publish.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewPath {
    /// The path.
    pub store_path: StorePath,
    /// The hash of its NAR.
    pub nar_hash: NarHash,
    /// The paths it refers to, in any order.
    pub references: Vec<StorePath>,
    /// The derivation that built it.
    pub deriver: Option<StorePath>,
    /// The system it was built for.
    pub system: Option<String>,
    /// Its content address, if it has one.
    pub ca: Option<String>,
    /// Signatures of others.
    pub signatures: Vec<NixSignature>,
    /// What the node knows of the NAR. If the state knows the NAR already, what it knows stays.
    pub nar: NewNar,
}

/// What a node found out about a NAR it has taken in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewNar {
    /// Length of the NAR in bytes.
    pub nar_size: u64,
    /// The manifest that lists its chunks.
    pub manifest: ManifestHash,
    /// Length of what is served, in bytes.
    pub file_size: u64,
    /// Hash of what is served.
    pub file_hash: FileHash,
    /// The node that took the upload.
    pub origin: NodeId,
}

/// Deletes a path from a cache. Its content goes when no path of any cache has it any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeletePath {
    /// The cache.
    pub cache: CacheName,
    /// The path.
    pub path: StorePathHash,
    /// Delete it even if other paths refer to it; they will have to do without
    /// ([`PathRecord::absent_references`](crate::records::PathRecord::absent_references)). Never lifts a pin.
    pub force: bool,
}

/// Keeps a path until it is unpinned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinPath {
    /// The cache.
    pub cache: CacheName,
    /// The path.
    pub path: StorePathHash,
}

/// Ends a pin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnpinPath {
    /// The cache.
    pub cache: CacheName,
    /// The path.
    pub path: StorePathHash,
}

/// Adds a token to the registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisterToken {
    /// Its id.
    pub token: TokenId,
    /// Who it speaks for.
    pub subject: String,
    /// What it allows.
    pub grants: Grants,
    /// When it was issued.
    pub issued: UtcTime,
    /// When it ends.
    pub expires: UtcTime,
}

/// Has a token refused from now on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokeToken {
    /// Its id.
    pub token: TokenId,
}

/// Lets one node join, once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateInvite {
    /// The hash of the ticket's secret.
    pub secret_hash: InviteId,
    /// The zone the new member is put in; its own choice if there is none.
    pub zone: Option<String>,
    /// When the invitation ends, by the log clock.
    pub expires: UtcTime,
    /// Whether the new member may be given a vote.
    pub voter: bool,
}

/// Takes an invitation back that was not used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokeInvite {
    /// The hash of the ticket's secret.
    pub secret_hash: InviteId,
}

/// Makes the bearer of an invitation a member. Whoever proposes it has authenticated the node's key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RedeemInvite {
    /// The hash of the ticket's secret.
    pub secret_hash: InviteId,
    /// The node.
    pub node: NodeId,
    /// What people call it; unique among the members.
    pub name: String,
    /// The failure zone it is in, unless the invitation names one.
    pub zone: String,
    /// Where its data and control endpoint is, `host:port`, best first.
    pub addresses: Vec<String>,
    /// Where its gossip endpoint is, `host:port`, best first.
    pub gossip: Vec<String>,
    /// Where clients reach it.
    pub http_url: Option<String>,
    /// Its share of the data, relative to the others'.
    pub weight: u32,
    /// The newest commands it understands.
    pub feature_level: u32,
}

/// Replaces what a member says of itself. It must be a member: [`UpsertMember`] and [`RedeemInvite`] add one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateMember {
    /// The node.
    pub node: NodeId,
    /// What people call it; unique among the members.
    pub name: String,
    /// The failure zone it is in.
    pub zone: String,
    /// Where its data and control endpoint is, `host:port`, best first.
    pub addresses: Vec<String>,
    /// Where its gossip endpoint is, `host:port`, best first.
    pub gossip: Vec<String>,
    /// Where clients reach it.
    pub http_url: Option<String>,
    /// Its part in consensus, as wished; `None` leaves it as it is.
    pub role: Option<Role>,
    /// Its share of the data, relative to the others'.
    pub weight: u32,
    /// The newest commands it understands.
    pub feature_level: u32,
}

/// Has a member hand over what it has, before it leaves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainMember {
    /// The node.
    pub node: NodeId,
}

/// Ends a membership for ever: the key is refused from now on, the name is free.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveMember {
    /// The node.
    pub node: NodeId,
}

/// Notes a recovery from a lost quorum: nodes of an older epoch are another cluster's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdvanceEpoch {
    /// The new epoch, above the present one.
    pub epoch: u64,
}

/// Says what one replica's state was once an index had been applied. What all of them said stands in the state, so
/// that each can see whether it is with the majority.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckState {
    /// Whose state it was.
    pub node: NodeId,
    /// The log index.
    pub index: u64,
    /// Its [`StateHash`](crate::StateHash).
    pub hash: [u8; 32],
}

/// Allows the commands of a feature level.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetFeatureLevel {
    /// The level; every member must understand it.
    pub level: u32,
}

macro_rules! body_from {
    ($($variant:ident),*) => {
        $(impl From<$variant> for Body {
            fn from(body: $variant) -> Self {
                Self::$variant(body)
            }
        })*
    };
}

body_from!(
    InitCluster,
    UpsertMember,
    CreateCache,
    ConfigureCache,
    DestroyCache,
    PublishPaths,
    DeletePath,
    PinPath,
    UnpinPath,
    RegisterToken,
    RevokeToken,
    CreateInvite,
    RevokeInvite,
    RedeemInvite,
    UpdateMember,
    DrainMember,
    RemoveMember,
    AdvanceEpoch,
    CheckState,
    SetFeatureLevel,
    ExpirePaths,
    NoteAccesses,
    PinPathUntil,
    PutMission,
    RemoveMission,
    PutSatellite,
    RemoveSatellite,
    PutStation,
    RemoveStation,
    PutMaintenance,
    RemoveMaintenance,
    RefreshElements
);

impl Body {
    /// The oldest schema a reader must know to understand the command.
    pub const fn min_reader(&self) -> u16 {
        match self {
            Self::InitCluster(_)
            | Self::UpsertMember(_)
            | Self::CreateCache(_)
            | Self::ConfigureCache(_)
            | Self::DestroyCache(_)
            | Self::PublishPaths(_)
            | Self::DeletePath(_)
            | Self::PinPath(_)
            | Self::UnpinPath(_)
            | Self::RevokeToken(_) => 1,
            Self::RegisterToken(token) if token.grants.stations.is_empty() => 1,
            Self::CreateInvite(_)
            | Self::RevokeInvite(_)
            | Self::RedeemInvite(_)
            | Self::UpdateMember(_)
            | Self::DrainMember(_)
            | Self::RemoveMember(_)
            | Self::AdvanceEpoch(_)
            | Self::CheckState(_)
            | Self::SetFeatureLevel(_) => 2,
            Self::ExpirePaths(_) | Self::NoteAccesses(_) | Self::PinPathUntil(_) => 3,
            Self::RegisterToken(_)
            | Self::PutMission(_)
            | Self::RemoveMission(_)
            | Self::PutSatellite(_)
            | Self::RemoveSatellite(_)
            | Self::PutStation(_)
            | Self::RemoveStation(_)
            | Self::PutMaintenance(_)
            | Self::RemoveMaintenance(_)
            | Self::RefreshElements(_) => 4,
        }
    }
}
