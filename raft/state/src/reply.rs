//! Replies: what a command did, or why it did nothing.
//!
//! # Precedence
//! A command has one reply even if several refusals fit. They are looked for in this order, and the first wins:
//! 1. the proposal: finished;
//! 2. the reply it had before, if it was applied before; too many open;
//! 3. the command by itself: sizes, then values that make no sense ([`limits`](crate::limits));
//! 4. the cluster: not initialised, already initialised;
//! 5. the cache: none of that name, or one of that name;
//! 6. the object: a batch first against itself, then path by path in the order of their hashes, each against the
//!    path that is there, then its references; for a deletion the pin before the referrers.
//!
//! The variants of [`Refusal`] up to `NoSuchToken` stand in this order. Newer ones stand behind them, in the order
//! among themselves: their position is in stored replies.

use std::fmt;

use serde::{Deserialize, Serialize};
use tetryx_protocol::cache::CacheName;
use tetryx_protocol::ground::{Item, MissionName, Refreshed, SatelliteName, StationName};
use tetryx_protocol::hash::NarHash;
use tetryx_protocol::id::{ClusterId, InviteId, NodeId, TokenId};
use tetryx_protocol::store_path::{StorePath, StorePathHash};
use tetryx_protocol::time::UtcTime;

use crate::limits::{LISTED_MAX, Limit};

/// The answer to a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[must_use]
pub enum Reply {
    /// It was applied.
    Done(Outcome),
    /// It was not, and changed nothing.
    Refused(Refusal),
}

impl Reply {
    /// The reply as a result, for callers that go on only when it was done.
    pub fn into_result(self) -> Result<Outcome, Refusal> {
        match self {
            Self::Done(outcome) => Ok(outcome),
            Self::Refused(refusal) => Err(refusal),
        }
    }
}

/// What an applied command did. Append-only: the position is in stored replies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The state was already as asked for.
    Unchanged,
    /// The cluster exists.
    Initialised,
    /// The node is a member.
    MemberAdded,
    /// What is known about the member was replaced.
    MemberUpdated,
    /// The cache exists.
    CacheCreated,
    /// Its settings were changed.
    CacheConfigured,
    /// The cache is gone.
    CacheDestroyed {
        /// How many paths went with it.
        paths: u64,
        /// How many NARs no other path had.
        nars: u64,
    },
    /// All paths of the batch are visible. The three numbers add up to the different paths of the batch.
    Published {
        /// How many are new.
        published: u64,
        /// How many were there and got signatures they did not have.
        updated: u64,
        /// How many were there and stay as they are.
        unchanged: u64,
    },
    /// The path is gone.
    PathDeleted {
        /// True when no other path had its content.
        nar_removed: bool,
    },
    /// The path is pinned.
    PathPinned,
    /// The path is no longer pinned.
    PathUnpinned,
    /// The token is in the registry.
    TokenRegistered,
    /// The token is refused from now on.
    TokenRevoked,
    /// The invitation counts.
    InviteCreated,
    /// The invitation is gone.
    InviteRevoked,
    /// The node is a member.
    Joined,
    /// The member hands over what it has.
    MemberDraining,
    /// The member is gone.
    MemberRemoved,
    /// The cluster has a new epoch.
    EpochAdvanced,
    /// What the replica said is noted.
    StateChecked,
    /// Newer commands may be proposed.
    FeatureLevelSet,
    /// Paths left the cache because their time was over.
    PathsExpired {
        /// How many.
        paths: u64,
        /// How many NARs no other path had.
        nars: u64,
    },
    /// Paths were pulled on a later day than was known.
    AccessesNoted {
        /// How many.
        paths: u64,
    },
    /// A mission, satellite or station is registered.
    ItemAdded {
        /// Which of them.
        item: Item,
    },
    /// What is registered was changed.
    ItemUpdated {
        /// A mission, satellite or station.
        item: Item,
    },
    /// What was registered is gone.
    ItemRemoved {
        /// A mission, satellite or station.
        item: Item,
    },
    /// Element sets were judged.
    ElementsRefreshed {
        /// What became of each, in the order of the command.
        outcomes: Vec<Refreshed>,
    },
}

/// Why a command changed nothing. The text says what, why, and what to do next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// The client declared this serial finished, so its reply is forgotten and it cannot be told whether it was
    /// applied.
    #[error(
        "proposal {serial} is finished: its client declared everything below {floor} done; \
         look at the state, and propose again under a new serial if it is still needed"
    )]
    ProposalFinished {
        /// The serial proposed.
        serial: u64,
        /// The lowest serial that is not finished.
        floor: u64,
    },
    /// The client has not said which of its proposals are finished.
    #[error(
        "proposal {serial} is too far ahead of the oldest open one, {floor}: at most {} may be open; \
         wait for replies, or declare older proposals finished",
        crate::limits::OPEN_PROPOSALS_MAX
    )]
    TooManyOpenProposals {
        /// The serial proposed.
        serial: u64,
        /// The lowest serial that is not finished.
        floor: u64,
    },
    /// Something about the command is too large.
    #[error("{found} {limit} are more than the {} allowed; {}", limit.bound(), limit.advice())]
    OverLimit {
        /// What is too large.
        limit: Limit,
        /// How large it is.
        found: u64,
    },
    /// A member must have a name.
    #[error("node {node} has no name; give it one with --name")]
    MemberWithoutName {
        /// The node.
        node: NodeId,
    },
    /// A retention period of zero.
    #[error("a retention period of 0 seconds would keep nothing; choose a longer one, or 'forever'")]
    RetentionOfNothing,
    /// Zero copies.
    #[error("0 copies would keep nothing; choose at least 1, or 'all'")]
    ReplicationOfNothing,
    /// A token that expires before it was issued.
    #[error("token {token} would expire at {expires}, before it is issued; choose a longer validity")]
    TokenNeverValid {
        /// The token.
        token: TokenId,
        /// When it would expire.
        expires: UtcTime,
    },
    /// Nothing works before the cluster is initialised.
    #[error("this cluster is not initialised; the node that founds it must propose InitCluster first")]
    NotInitialised,
    /// A cluster is initialised once.
    #[error(
        "this log already belongs to cluster {cluster}; a node with an empty data directory can found another"
    )]
    AlreadyInitialised {
        /// The cluster that exists.
        cluster: ClusterId,
    },
    /// Two members of one name.
    #[error("the name '{name}' belongs to member {node}; choose another with --name")]
    MemberNameTaken {
        /// The name.
        name: String,
        /// Who has it.
        node: NodeId,
    },
    /// The cache does not exist.
    #[error("there is no cache '{cache}'; create it with 'tetryx-cli cache create {cache}'")]
    NoSuchCache {
        /// Its name.
        cache: CacheName,
    },
    /// The cache exists.
    #[error(
        "cache '{cache}' exists already; choose another name, or change it with 'tetryx-cli cache configure'"
    )]
    CacheExists {
        /// Its name.
        cache: CacheName,
    },
    /// The store directory is part of what was signed.
    #[error(
        "cache '{cache}' holds paths, so its store directory cannot change; \
         create another cache, or delete its paths first"
    )]
    CacheNotEmpty {
        /// Its name.
        cache: CacheName,
    },
    /// One batch says two things about one path.
    #[error("the batch names {path} twice with different content; push each path once")]
    DuplicatePath {
        /// The path.
        path: StorePath,
    },
    /// The cache has the path, with other content.
    #[error(
        "cache '{cache}' has {path} already, with another {what}; \
         delete it there first, or push what you have to another cache"
    )]
    PathConflict {
        /// The cache.
        cache: CacheName,
        /// The path it has.
        path: StorePath,
        /// In what it differs.
        what: Difference,
        /// The hash of the NAR it has.
        nar_hash: NarHash,
    },
    /// References that are nowhere.
    #[error(
        "{path} refers to {}, which {} neither in the cache nor in the batch; push the closure, dependencies first",
        listed(missing, *more), if missing.len() == 1 && *more == 0 { "is" } else { "are" }
    )]
    MissingReferences {
        /// The first path of the batch that lacks something.
        path: StorePath,
        /// The first of what it lacks.
        missing: Vec<StorePath>,
        /// How many more it lacks.
        more: u64,
    },
    /// The path does not exist.
    #[error("cache '{cache}' has no path {path}; 'tetryx-cli path list {cache}' shows what it has")]
    NoSuchPath {
        /// The cache.
        cache: CacheName,
        /// The path.
        path: StorePathHash,
    },
    /// A pinned path is not deleted, by nobody.
    #[error("{path} was pinned by {by} at {at}; unpin it first with 'tetryx-cli path unpin'")]
    PathPinned {
        /// The path.
        path: StorePath,
        /// Who pinned it.
        by: String,
        /// When.
        at: UtcTime,
    },
    /// Other paths would lose a reference.
    #[error("{path} is referred to by {}; delete them first, or use --force", listed(by, *more))]
    PathReferenced {
        /// The path.
        path: StorePath,
        /// The first of the paths that refer to it.
        by: Vec<StorePath>,
        /// How many more do.
        more: u64,
    },
    /// The id is taken by another token.
    #[error("token {token} is registered with other claims; draw another id")]
    TokenExists {
        /// The token.
        token: TokenId,
    },
    /// The token is not in the registry.
    #[error("there is no token {token}; 'tetryx-cli token list' shows what was issued")]
    NoSuchToken {
        /// The token.
        token: TokenId,
    },
    /// An invitation that was over before it began.
    #[error("the invitation would expire at {expires}, which is past; choose a longer validity")]
    InviteNeverValid {
        /// When it would expire.
        expires: UtcTime,
    },
    /// Another invitation has the same secret.
    #[error("invitation {} exists already with other terms; draw another secret", invite.fmt_short())]
    InviteExists {
        /// The invitation.
        invite: InviteId,
    },
    /// No invitation has this secret: it was never made here, or revoked, or it expired long ago.
    #[error("there is no invitation {}; ask for a new ticket with 'tetryx-cli node invite'", invite.fmt_short())]
    NoSuchInvite {
        /// The invitation.
        invite: InviteId,
    },
    /// The invitation has admitted a node.
    #[error(
        "the ticket was used by node {by}; each admits one node: make a new one with 'tetryx-cli node invite'"
    )]
    InviteUsed {
        /// Which node.
        by: NodeId,
    },
    /// The invitation came too late.
    #[error("the ticket expired at {expires}; make a new one with 'tetryx-cli node invite'")]
    InviteExpired {
        /// When.
        expires: UtcTime,
    },
    /// The node is a member by other means.
    #[error("node {node} is a member already; start it with 'tetryx-node run'")]
    AlreadyMember {
        /// The node.
        node: NodeId,
    },
    /// The node was a member and is not any more.
    #[error(
        "node {node} was removed at {at}, and its key is refused for ever; join with an empty data directory"
    )]
    MemberRemoved {
        /// The node.
        node: NodeId,
        /// When it was removed.
        at: UtcTime,
    },
    /// The node is not a member.
    #[error("there is no member {node}; 'tetryx-cli node list' shows who there is")]
    NoSuchMember {
        /// The node.
        node: NodeId,
    },
    /// Nobody would be left.
    #[error("node {node} is the last active member; let another one join before it leaves")]
    LastMember {
        /// The node.
        node: NodeId,
    },
    /// Epochs only grow.
    #[error("epoch {epoch} is not above {current}, which the cluster has; recover from the newest member")]
    EpochNotNewer {
        /// The epoch proposed.
        epoch: u64,
        /// The epoch the cluster has.
        current: u64,
    },
    /// A replica cannot know what its state will be.
    #[error(
        "the state at log index {index} cannot be known at {at}; report it as a bug of the proposing node"
    )]
    CheckAhead {
        /// The index it is about.
        index: u64,
        /// The index of the command.
        at: u64,
    },
    /// Feature levels only grow.
    #[error("feature level {level} is below {current}, which the cluster has; versions cannot be taken back")]
    FeatureLevelNotNewer {
        /// The level proposed.
        level: u32,
        /// The level the cluster has.
        current: u32,
    },
    /// A member would not understand what follows.
    #[error("member '{name}' ({node}) understands only feature level {has}, not {level}; upgrade it first")]
    FeatureLevelNotShared {
        /// The member.
        node: NodeId,
        /// What people call it.
        name: String,
        /// What it understands.
        has: u32,
        /// The level proposed.
        level: u32,
    },
    /// A pin that was over before it began.
    #[error("the pin would end at {until}, which is past; choose a later end")]
    PinNeverValid {
        /// When it would end.
        until: UtcTime,
    },
    /// Two antennas of a station, or two links of a satellite, of one name.
    #[error("the {what} '{name}' is given twice; give each a name of its own")]
    NamedTwice {
        /// Antenna or link.
        what: Part,
        /// The name.
        name: String,
    },
    /// A maintenance that ends before it begins.
    #[error("the maintenance would end at {to}, before it begins at {from}; choose a later end")]
    MaintenanceNeverValid {
        /// When it would begin.
        from: UtcTime,
        /// When it would end.
        to: UtcTime,
    },
    /// Nothing of this name is registered.
    #[error("there is no {item} '{name}'; 'tetryx-cli {item} list' shows what is registered")]
    NoSuchItem {
        /// A mission, satellite or station.
        item: Item,
        /// Its name.
        name: String,
    },
    /// The name is taken.
    #[error(
        "{item} '{name}' exists already; choose another name, or change it with 'tetryx-cli {item} update'"
    )]
    ItemExists {
        /// A mission, satellite or station.
        item: Item,
        /// Its name.
        name: String,
    },
    /// A new one must say more.
    #[error("{item} '{name}' is new and needs {lacking}")]
    ItemIncomplete {
        /// A mission, satellite or station.
        item: Item,
        /// Its name.
        name: String,
        /// What it needs.
        lacking: Lacking,
    },
    /// Satellites would lose their mission.
    #[error(
        "mission '{mission}' has {}; give them another one with 'tetryx-cli satellite update', or remove them",
        names(satellites, *more)
    )]
    MissionInUse {
        /// The mission.
        mission: MissionName,
        /// The first of its satellites.
        satellites: Vec<SatelliteName>,
        /// How many more it has.
        more: u64,
    },
    /// No maintenance begins then.
    #[error(
        "station '{station}' has no maintenance from {from}; 'tetryx-cli station show' lists what it has"
    )]
    NoSuchMaintenance {
        /// The station.
        station: StationName,
        /// When it would begin.
        from: UtcTime,
    },
}

/// In what two paths of one hash differ. Append-only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Difference {
    /// Same hash, another name: one of the two is no path Nix made.
    Name,
    /// Another NAR: most often a build that is not reproducible.
    Content,
    /// The same NAR, other references.
    References,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Name => "name",
            Self::Content => "content",
            Self::References => "set of references",
        })
    }
}

/// What a mission, satellite or station consists of. Append-only: the position is in stored replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Part {
    /// An antenna of a station.
    Antenna,
    /// A link of a satellite.
    Link,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Antenna => "antenna",
            Self::Link => "link",
        })
    }
}

/// What must be said of something new. Append-only: the position is in stored replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Lacking {
    /// The mission of a satellite.
    Mission,
    /// The elements of a satellite.
    Elements,
    /// The site of a station.
    Site,
}

impl fmt::Display for Lacking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mission => "a mission; name one with --mission",
            Self::Elements => "elements; give them with --elements",
            Self::Site => "a site; give it with --site",
        })
    }
}

/// The first few of many paths, and how many more there are.
pub(crate) fn first_few(mut paths: Vec<StorePath>) -> (Vec<StorePath>, u64) {
    let more = paths.len().saturating_sub(LISTED_MAX);
    paths.truncate(LISTED_MAX);
    (paths, u64::try_from(more).unwrap_or(u64::MAX))
}

fn names(satellites: &[SatelliteName], more: u64) -> String {
    let several = satellites.len() > 1 || more > 0;
    let noun = if several {
        "the satellites"
    } else {
        "the satellite"
    };
    format!("{noun} {}", listed(satellites, more))
}

fn listed<V: ToString>(values: &[V], more: u64) -> String {
    let mut text = values
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ");
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    text
}
