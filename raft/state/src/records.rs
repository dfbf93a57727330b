//! The rows of the tables. A value is one version byte, then postcard.
//!
//! These types are the disk format: a field is never removed, reordered or retyped. A change makes a new version,
//! whose `decode` still reads the old ones. Golden bytes of every version stay in `tests/golden`.

mod ground;
mod path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tetryx_protocol::cache::{CacheName, Replication, Retention};
use tetryx_protocol::grant::Grants;
use tetryx_protocol::hash::{FileHash, ManifestHash};
use tetryx_protocol::id::{ClusterId, NodeId};
pub use tetryx_protocol::member::{MemberState, Role};
use tetryx_protocol::member::{RosterEntry, WEIGHT_DEFAULT};
use tetryx_protocol::signature::{KeyName, NixPublicKey};
use tetryx_protocol::store_path::StoreDir;
use tetryx_protocol::time::UtcTime;

pub use self::ground::{ElementsRecord, MissionRecord, SatelliteRecord, StationRecord};
pub use self::path::{PathPin, PathRecord};
use crate::error::CorruptRecord;
use crate::reply::Reply;
use crate::tables::Table;

/// A type that is stored as the value of a row.
pub trait Record: Serialize + DeserializeOwned {
    /// The table whose rows hold it.
    const TABLE: Table;
    /// The version `encode` writes.
    const VERSION: u8;

    /// The bytes of the value.
    fn encode(&self) -> Vec<u8> {
        postcard::to_extend(self, vec![Self::VERSION]).expect("no record has a serializer that fails")
    }

    /// Reads the payload of an older version, if this build knows one.
    fn upgrade(_version: u8, _payload: &[u8]) -> Option<Result<Self, String>> {
        None
    }

    /// Reads a value. `key` only serves the message.
    fn decode(key: &[u8], value: &[u8]) -> Result<Self, CorruptRecord> {
        let corrupt = |reason: String| CorruptRecord {
            table: Self::TABLE,
            key: key.to_vec(),
            reason,
        };
        let (version, payload) = value
            .split_first()
            .ok_or_else(|| corrupt("the value is empty".to_owned()))?;
        if *version == Self::VERSION {
            return whole(payload).map_err(corrupt);
        }
        Self::upgrade(*version, payload)
            .unwrap_or_else(|| {
                Err(format!(
                    "version {version} is unknown to this build (it reads up to {})",
                    Self::VERSION
                ))
            })
            .map_err(corrupt)
    }
}

/// Reads postcard that ends where its bytes end.
fn whole<V: DeserializeOwned>(payload: &[u8]) -> Result<V, String> {
    let (value, rest) = postcard::take_from_bytes(payload).map_err(|error| error.to_string())?;
    if !rest.is_empty() {
        return Err(format!("{} bytes follow the record", rest.len()));
    }
    Ok(value)
}

macro_rules! records {
    ($($record:ident in $table:ident, version $version:literal;)*) => {
        $(impl Record for $record {
            const TABLE: Table = Table::$table;
            const VERSION: u8 = $version;
        })*
    };
}

records! {
    ClusterRecord in Cluster, version 1;
    ClockRecord in Cluster, version 1;
    CacheRecord in Caches, version 1;
    NarRecord in Nars, version 1;
    ClientRecord in Proposals, version 1;
    ReplyRecord in Proposals, version 1;
    AuditRecord in Audit, version 1;
    InviteRecord in Invites, version 1;
    CheckRecord in Checks, version 1;
    MissionRecord in Missions, version 1;
    SatelliteRecord in Satellites, version 1;
    ElementsRecord in Elements, version 1;
    StationRecord in Stations, version 1;
}

/// Who this cluster is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterRecord {
    /// Its identity; tokens name it as their issuer.
    pub id: ClusterId,
    /// Counts the recoveries from a lost quorum; 1 at first.
    pub epoch: u64,
    /// The newest commands that may be proposed.
    pub feature_level: u32,
    /// The ed25519 key that tokens are verified with.
    pub token_public_key: [u8; 32],
    /// The secret half, sealed by the node for the members. Opaque here.
    pub sealed_token_key: Vec<u8>,
    /// When it was founded.
    pub created: UtcTime,
}

/// The log clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockRecord {
    /// The largest time any applied command was proposed at.
    pub now: UtcTime,
}

/// A node of the cluster, or one that was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberRecord {
    /// What people call it. Unique among the members that were not removed.
    pub name: String,
    /// The failure zone it is in.
    pub zone: String,
    /// Where its data and control endpoint is, `host:port`, best first.
    pub addresses: Vec<String>,
    /// Where its gossip endpoint is, `host:port`, best first.
    pub gossip: Vec<String>,
    /// Where clients reach it.
    pub http_url: Option<String>,
    /// Its part in consensus, as wished: who really votes is decided by policy and health.
    pub role: Role,
    /// Its share of the data, relative to the others'.
    pub weight: u32,
    /// Whether it takes part. A removed one stays, so that its key is refused for ever.
    pub state: MemberState,
    /// When it became a member.
    pub added: UtcTime,
    /// The newest commands it understands.
    pub feature_level: u32,
}

/// [`MemberRecord`] before there was more than one node.
#[derive(Serialize, Deserialize)]
struct MemberRecordV1 {
    name: String,
    zone: String,
    addresses: Vec<String>,
    role: Role,
    added: UtcTime,
}

/// The feature level of a member that has not said any: the first build with members spoke no other.
pub(crate) const FEATURE_LEVEL_UNSAID: u32 = 1;

/// What version 1 could say is still written as version 1: a log that an older build applied leads this build to the
/// same bytes, so that their state hashes agree.
impl Record for MemberRecord {
    const TABLE: Table = Table::Members;
    const VERSION: u8 = 2;

    fn encode(&self) -> Vec<u8> {
        let bytes = match self.to_version_1() {
            Some(old) => postcard::to_extend(&old, vec![1]),
            None => postcard::to_extend(self, vec![Self::VERSION]),
        };
        bytes.expect("no record has a serializer that fails")
    }

    fn upgrade(version: u8, payload: &[u8]) -> Option<Result<Self, String>> {
        (version == 1).then(|| {
            let old: MemberRecordV1 = whole(payload)?;
            Ok(Self {
                name: old.name,
                zone: old.zone,
                addresses: old.addresses,
                gossip: Vec::new(),
                http_url: None,
                role: old.role,
                weight: WEIGHT_DEFAULT,
                state: MemberState::Active,
                added: old.added,
                feature_level: FEATURE_LEVEL_UNSAID,
            })
        })
    }
}

impl MemberRecord {
    fn to_version_1(&self) -> Option<MemberRecordV1> {
        let said_more = !self.gossip.is_empty()
            || self.http_url.is_some()
            || self.weight != WEIGHT_DEFAULT
            || !self.state.is_active()
            || self.feature_level != FEATURE_LEVEL_UNSAID;
        (!said_more).then(|| MemberRecordV1 {
            name: self.name.clone(),
            zone: self.zone.clone(),
            addresses: self.addresses.clone(),
            role: self.role,
            added: self.added,
        })
    }

    /// What other nodes are told about it.
    pub fn to_roster_entry(&self, node: NodeId) -> RosterEntry {
        RosterEntry {
            node,
            name: self.name.clone(),
            zone: self.zone.clone(),
            addresses: self.addresses.clone(),
            gossip: self.gossip.clone(),
            http_url: self.http_url.clone(),
            weight: self.weight,
            state: self.state,
            role: self.role,
        }
    }
}

/// An invitation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InviteRecord {
    /// The zone the new member is put in; its own choice if there is none.
    pub zone: Option<String>,
    /// Whether the new member may be given a vote.
    pub voter: bool,
    /// When it was made.
    pub created: UtcTime,
    /// By whom: the subject of the token.
    pub created_by: String,
    /// When it ends, by the log clock.
    pub expires: UtcTime,
    /// Who joined with it.
    pub used: Option<InviteUse>,
}

/// Who joined with an invitation, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InviteUse {
    /// The node.
    pub by: NodeId,
    /// When.
    pub at: UtcTime,
}

/// What replicas said their state was once a log index had been applied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckRecord {
    /// Who, and which [`StateHash`](crate::StateHash); by node, each once.
    pub hashes: Vec<(NodeId, [u8; 32])>,
}

/// A binary cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheRecord {
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
    /// The key its narinfos are signed with.
    pub public_key: NixPublicKey,
    /// The secret half, sealed by the node for the members. Opaque here.
    pub sealed_secret_key: Vec<u8>,
    /// The mission it belongs to.
    pub mission: Option<String>,
    /// When it was created.
    pub created: UtcTime,
}

/// The content of at least one path, in whatever cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NarRecord {
    /// Length of the NAR in bytes.
    pub nar_size: u64,
    /// The manifest that lists its chunks.
    pub manifest: ManifestHash,
    /// Length of what is served, in bytes: its frames one after another.
    pub file_size: u64,
    /// Hash of what is served.
    pub file_hash: FileHash,
    /// How many paths have this content, over all caches. Never zero: the record goes with the last of them.
    pub references: u64,
    /// The node that took the upload first.
    pub origin: NodeId,
}

/// A token that was issued.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRecord {
    /// Who it speaks for.
    pub subject: String,
    /// What it allows.
    pub grants: Grants,
    /// When it was issued.
    pub issued: UtcTime,
    /// When it ends.
    pub expires: UtcTime,
    /// Since when it is refused, if it was revoked.
    pub revoked: Option<UtcTime>,
}

/// Without grants for stations it is still written as version 1, which older builds read.
impl Record for TokenRecord {
    const TABLE: Table = Table::Tokens;
    const VERSION: u8 = 2;

    fn encode(&self) -> Vec<u8> {
        let version = if self.grants.stations.is_empty() {
            1
        } else {
            Self::VERSION
        };
        postcard::to_extend(self, vec![version]).expect("no record has a serializer that fails")
    }

    fn upgrade(version: u8, payload: &[u8]) -> Option<Result<Self, String>> {
        // The grants in it say themselves that they name no station.
        (version == 1).then(|| whole(payload))
    }
}

/// What is remembered of a proposing client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientRecord {
    /// Serials below this one are finished; their replies are forgotten.
    pub floor: u64,
    /// The log clock at its last proposal.
    pub seen: UtcTime,
}

/// The reply to a proposal that its client may still repeat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplyRecord {
    /// What was replied, and will be again.
    pub reply: Reply,
}

/// Who did what. Refused commands did nothing and have no record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRecord {
    /// The log clock.
    pub at: UtcTime,
    /// The subject the command was proposed for.
    pub by: String,
    /// What was done.
    pub action: AuditAction,
    /// The cache it was done in, if it was done in one.
    pub cache: Option<CacheName>,
    /// What it was done to, in its text form: a path, a token, a node.
    pub object: Option<String>,
    /// How many paths it concerned.
    pub paths: u64,
}

/// What can be done. Append-only: the position is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AuditAction {
    /// The cluster was founded.
    InitCluster,
    /// A node became a member.
    AddMember,
    /// A member changed its name, zone, addresses or role.
    UpdateMember,
    /// A cache was created.
    CreateCache,
    /// Settings of a cache were changed.
    ConfigureCache,
    /// A cache got a new signing key, and maybe other settings.
    ReplaceCacheKey,
    /// A cache was destroyed with its paths.
    DestroyCache,
    /// Paths were published, or got signatures.
    PublishPaths,
    /// A path was deleted.
    DeletePath,
    /// A path was pinned.
    PinPath,
    /// A path was unpinned.
    UnpinPath,
    /// A token was issued.
    RegisterToken,
    /// A token was revoked.
    RevokeToken,
    /// An invitation was made.
    CreateInvite,
    /// An invitation was taken back.
    RevokeInvite,
    /// A node joined with an invitation.
    RedeemInvite,
    /// A member began to hand over what it has.
    DrainMember,
    /// A member was removed.
    RemoveMember,
    /// The cluster was recovered from a lost quorum.
    AdvanceEpoch,
    /// Newer commands were allowed.
    SetFeatureLevel,
    /// Paths left a cache because their time was over.
    ExpirePaths,
    /// A mission was registered or changed.
    PutMission,
    /// A mission was removed.
    RemoveMission,
    /// A satellite was registered or changed.
    PutSatellite,
    /// A satellite was removed.
    RemoveSatellite,
    /// A station was registered or changed.
    PutStation,
    /// A station was removed.
    RemoveStation,
    /// A maintenance of a station was announced.
    PutMaintenance,
    /// A maintenance of a station was taken back.
    RemoveMaintenance,
    /// Satellites got newer elements.
    RefreshElements,
}
