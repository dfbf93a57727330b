//! The invariants of the state, executable.
//!
//! Each rule is a function below; the variants of [`Violation`] say them in words. [`check()`] reads the whole state:
//! it is for tests, simulations and doctors, not for every command of a production node.

mod ground;
mod rules;

use tetryx_protocol::cache::CacheName;
use tetryx_protocol::ground::{MissionName, SatelliteName, StationName};
use tetryx_protocol::hash::NarHash;
use tetryx_protocol::id::{ClientId, InviteId, NodeId, TokenId};
use tetryx_protocol::store_path::{StorePath, StorePathHash};
use tetryx_protocol::time::UtcTime;

use self::rules::Rules;
use crate::access::Walk;
use crate::error::CorruptRecord;
use crate::key::{self, ProposalKey};
use crate::query;
use crate::records::{
    AuditRecord, CacheRecord, CheckRecord, ClientRecord, ClockRecord, ClusterRecord, ElementsRecord,
    InviteRecord, MemberRecord, MissionRecord, NarRecord, PathRecord, Record, ReplyRecord, SatelliteRecord,
    StationRecord, TokenRecord,
};
use crate::tables::{ReadTables, Row, Table};

/// A broken invariant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// A table cannot be read.
    #[error("table {table} cannot be read: {reason}")]
    Unreadable {
        /// The table.
        table: Table,
        /// Why.
        reason: String,
    },
    /// Every row decodes, and its key fits the table.
    #[error("{0}")]
    Corrupt(CorruptRecord),
    /// Nothing but the clock and the proposals exists before the cluster does.
    #[error("table {table} has rows, but the cluster is not initialised")]
    BeforeInit {
        /// The table.
        table: Table,
    },
    /// No record is younger than the log clock.
    #[error("{object} is of {time}, after the log clock {clock}")]
    AheadOfClock {
        /// What carries the time.
        object: String,
        /// The time it carries.
        time: UtcTime,
        /// The log clock.
        clock: UtcTime,
    },
    /// Members that were not removed have names of their own.
    #[error("members {first} and {second} are both called '{name}'")]
    SharedName {
        /// The name.
        name: String,
        /// One member.
        first: NodeId,
        /// The other.
        second: NodeId,
    },
    /// Once there is a member, one of them is active.
    #[error("every member is draining or removed; none is left to hold anything")]
    NobodyActive,
    /// Invitations expire after they were made, and admit members.
    #[error("invitation {invite} {reason}")]
    BadInvite {
        /// The invitation.
        invite: InviteId,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// One node joins with one invitation.
    #[error("node {node} joined with the invitations {first} and {second}")]
    JoinedTwice {
        /// The node.
        node: NodeId,
        /// One invitation.
        first: InviteId,
        /// The other.
        second: InviteId,
    },
    /// What replicas said is bounded, and in order of the replicas, each once.
    #[error("what replicas said of log index {index} is {reason}")]
    BadCheck {
        /// The index.
        index: u64,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Every path is in a cache that exists.
    #[error("path {path} is in cache '{cache}', which does not exist")]
    PathOutsideCache {
        /// The cache.
        cache: CacheName,
        /// The path.
        path: StorePath,
    },
    /// A path is found by its own hash.
    #[error("cache '{cache}' has {path} under the hash {key}")]
    PathUnderOtherKey {
        /// The cache.
        cache: CacheName,
        /// The hash in the key.
        key: StorePathHash,
        /// The path in the record.
        path: StorePath,
    },
    /// References and signatures are in order, each once.
    #[error("the {what} of {path} in cache '{cache}' are not in order, each once")]
    OutOfOrder {
        /// The cache.
        cache: CacheName,
        /// The path.
        path: StorePath,
        /// References, absent references or signatures.
        what: &'static str,
    },
    /// Absent references are references.
    #[error("{path} in cache '{cache}' may miss {reference}, to which it does not refer")]
    AbsentButNotReferenced {
        /// The cache.
        cache: CacheName,
        /// The path.
        path: StorePath,
        /// What it may miss.
        reference: StorePath,
    },
    /// Every reference is the path itself, in the cache, or known to be absent.
    #[error("{path} in cache '{cache}' refers to {reference}, which is not there")]
    DanglingReference {
        /// The cache.
        cache: CacheName,
        /// The path.
        path: StorePath,
        /// What it refers to.
        reference: StorePath,
    },
    /// Every reference to another path has its row among the referrers.
    #[error("{by} in cache '{cache}' refers to {target}, but is not listed among its referrers")]
    ReferrerMissing {
        /// The cache.
        cache: CacheName,
        /// What is referred to.
        target: StorePathHash,
        /// What refers to it.
        by: StorePathHash,
    },
    /// Every row among the referrers stands for a reference.
    #[error("{by} in cache '{cache}' is listed as a referrer of {target}, but does not refer to it")]
    ReferrerTooMany {
        /// The cache.
        cache: CacheName,
        /// What is referred to.
        target: StorePathHash,
        /// What does not refer to it.
        by: StorePathHash,
    },
    /// Every path has its row among the holders of its NAR.
    #[error("{by} in cache '{cache}' has NAR {nar}, but is not listed among its holders")]
    HolderMissing {
        /// The cache.
        cache: CacheName,
        /// The NAR.
        nar: NarHash,
        /// The path that has it.
        by: StorePathHash,
    },
    /// Every row among the holders stands for a path that has the NAR.
    #[error("{by} in cache '{cache}' is listed as a holder of NAR {nar}, but does not have it")]
    HolderTooMany {
        /// The cache.
        cache: CacheName,
        /// The NAR.
        nar: NarHash,
        /// The path that does not have it.
        by: StorePathHash,
    },
    /// Every path's NAR is known.
    #[error("{path} in cache '{cache}' has NAR {nar}, which has no record")]
    NarMissing {
        /// The cache.
        cache: CacheName,
        /// The path.
        path: StorePath,
        /// Its NAR.
        nar: NarHash,
    },
    /// A NAR counts the paths that have it, and is gone with the last.
    #[error("NAR {nar} counts {counted} paths; {found} have it")]
    NarCount {
        /// The NAR.
        nar: NarHash,
        /// The number in its record.
        counted: u64,
        /// The number of paths.
        found: u64,
    },
    /// Tokens expire after they were issued.
    #[error("token {token} expires before it was issued")]
    TokenNeverValid {
        /// The token.
        token: TokenId,
    },
    /// Pins end after they were made.
    #[error("the pin of {path} in cache '{cache}' ends before it was made")]
    PinNeverValid {
        /// The cache.
        cache: CacheName,
        /// The path.
        path: StorePath,
    },
    /// A path was last pulled on the day of its publication or later, and not after the log clock.
    #[error(
        "{path} in cache '{cache}' was last pulled on day {day}, which is not between its publication and now"
    )]
    BadAccessDay {
        /// The cache.
        cache: CacheName,
        /// The path.
        path: StorePath,
        /// The day in its record.
        day: u32,
    },
    /// Only replies to known clients are kept.
    #[error("the reply to proposal {serial} of client {client} is kept, but the client is not known")]
    ReplyWithoutClient {
        /// The client.
        client: ClientId,
        /// The serial.
        serial: u64,
    },
    /// Only replies to open proposals are kept.
    #[error("the reply to proposal {serial} of client {client} is kept, but its open ones begin at {floor}")]
    ReplyNotOpen {
        /// The client.
        client: ClientId,
        /// The serial.
        serial: u64,
        /// The floor of the client.
        floor: u64,
    },
    /// The audit is bounded.
    #[error("the audit reaches from log index {oldest} to {newest}, which is further than it may")]
    AuditTooLong {
        /// The first index in it.
        oldest: u64,
        /// The last index in it.
        newest: u64,
    },
    /// A satellite belongs to a mission that is registered, has elements, and not more than are kept.
    #[error("satellite '{satellite}' {reason}")]
    BadSatellite {
        /// The satellite.
        satellite: SatelliteName,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Elements are those of a satellite that is registered.
    #[error("there are elements of '{satellite}', which is not registered")]
    ElementsOfNobody {
        /// The satellite that is not there.
        satellite: SatelliteName,
    },
    /// Antennas have names of their own, maintenance is in order, and a node is or was a member.
    #[error("station '{station}' {reason}")]
    BadStation {
        /// The station.
        station: StationName,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// The whole state, decoded.
#[derive(Default)]
struct Everything {
    cluster: Option<ClusterRecord>,
    members: Vec<(NodeId, MemberRecord)>,
    caches: Vec<(CacheName, CacheRecord)>,
    paths: Vec<((CacheName, StorePathHash), PathRecord)>,
    nars: Vec<(NarHash, NarRecord)>,
    tokens: Vec<(TokenId, TokenRecord)>,
    clients: Vec<(ClientId, ClientRecord)>,
    replies: Vec<(ClientId, u64)>,
    audit: Vec<(u64, AuditRecord)>,
    referrers: Vec<(CacheName, StorePathHash, StorePathHash)>,
    holders: Vec<(CacheName, NarHash, StorePathHash)>,
    invites: Vec<(InviteId, InviteRecord)>,
    checks: Vec<(u64, CheckRecord)>,
    missions: Vec<(MissionName, MissionRecord)>,
    satellites: Vec<(SatelliteName, SatelliteRecord)>,
    elements: Vec<((SatelliteName, i64), ElementsRecord)>,
    stations: Vec<(StationName, StationRecord)>,
}

/// Checks every invariant. A sound state gives an empty list.
pub fn check<T: ReadTables>(tables: &T) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut state = Everything::default();
    for table in Table::ALL {
        for row in Walk::table(tables, table) {
            let read = match row {
                Ok(row) => state.read(table, &row).map_err(Violation::Corrupt),
                Err(error) => Err(Violation::Unreadable {
                    table,
                    reason: error.to_string(),
                }),
            };
            violations.extend(read.err());
        }
    }
    let clock = query::clock(tables).unwrap_or(UtcTime::from_unix_ms(i64::MAX));
    Rules {
        state: &state,
        clock,
        violations: &mut violations,
    }
    .run();
    violations
}

impl Everything {
    fn read(&mut self, table: Table, (key, value): &Row) -> Result<(), CorruptRecord> {
        match table {
            Table::Cluster => match key.as_slice() {
                key::CLUSTER => self.cluster = Some(ClusterRecord::decode(key, value)?),
                key::CLOCK => drop(ClockRecord::decode(key, value)?),
                _ => return Err(unexpected(table, key)),
            },
            Table::Members => self
                .members
                .push((key::parse_member(key)?, MemberRecord::decode(key, value)?)),
            Table::Caches => self
                .caches
                .push((key::parse_cache(key)?, CacheRecord::decode(key, value)?)),
            Table::Paths => self
                .paths
                .push((key::parse_path(key)?, PathRecord::decode(key, value)?)),
            Table::Nars => self
                .nars
                .push((key::parse_nar(key)?, NarRecord::decode(key, value)?)),
            Table::Tokens => self
                .tokens
                .push((key::parse_token(key)?, TokenRecord::decode(key, value)?)),
            Table::Proposals => match key::parse_proposal(key)? {
                ProposalKey::Client(client) => self.clients.push((client, ClientRecord::decode(key, value)?)),
                ProposalKey::Reply(client, serial) => {
                    ReplyRecord::decode(key, value)?;
                    self.replies.push((client, serial));
                }
            },
            Table::Audit => self
                .audit
                .push((key::parse_audit(key)?, AuditRecord::decode(key, value)?)),
            Table::Invites => self
                .invites
                .push((key::parse_invite(key)?, InviteRecord::decode(key, value)?)),
            Table::Checks => self
                .checks
                .push((key::parse_check(key)?, CheckRecord::decode(key, value)?)),
            Table::Missions => self
                .missions
                .push((key::parse_mission(key)?, MissionRecord::decode(key, value)?)),
            Table::Satellites => self
                .satellites
                .push((key::parse_satellite(key)?, SatelliteRecord::decode(key, value)?)),
            Table::Elements => self
                .elements
                .push((key::parse_elements(key)?, ElementsRecord::decode(key, value)?)),
            Table::Stations => self
                .stations
                .push((key::parse_station(key)?, StationRecord::decode(key, value)?)),
            Table::Referrers if value.is_empty() => self.referrers.push(key::parse_referrer(key)?),
            Table::Holders if value.is_empty() => self.holders.push(key::parse_holder(key)?),
            Table::Referrers | Table::Holders => return Err(unexpected(table, key)),
        }
        Ok(())
    }
}

fn unexpected(table: Table, key: &[u8]) -> CorruptRecord {
    CorruptRecord {
        table,
        key: key.to_vec(),
        reason: "no row of this kind belongs here".to_owned(),
    }
}
