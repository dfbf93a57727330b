//! Reading the state: what the node asks when it serves.
//!
//! Every function reads at the one point of the log that the given tables stand for.

use tetryx_protocol::cache::CacheName;
use tetryx_protocol::hash::{ManifestHash, NarHash};
use tetryx_protocol::id::{InviteId, NodeId, ProposalId, TokenId};
use tetryx_protocol::placement::PlaceCandidate;
use tetryx_protocol::store_path::StorePathHash;
use tetryx_protocol::time::UtcTime;

use crate::access::{Access, Walk, contains, get};
use crate::error::StateError;
use crate::key;
use crate::records::{
    AuditRecord, CacheRecord, CheckRecord, ClockRecord, ClusterRecord, InviteRecord, MemberRecord, NarRecord,
    PathRecord, Record, ReplyRecord, TokenRecord,
};
use crate::reply::Reply;
pub use crate::snapshot::state_hash;
use crate::tables::{ReadTables, Table};

/// The cluster, once it is initialised.
pub fn cluster<T: ReadTables>(tables: &T) -> Access<T, Option<ClusterRecord>> {
    get(tables, key::CLUSTER)
}

/// The log clock: the largest time any applied command was proposed at; the Unix epoch before the first.
pub fn clock<T: ReadTables>(tables: &T) -> Access<T, UtcTime> {
    let clock: Option<ClockRecord> = get(tables, key::CLOCK)?;
    Ok(clock.map_or(UtcTime::from_unix_ms(0), |clock| clock.now))
}

/// All members, by node id, those that were removed included.
pub fn members<T: ReadTables>(tables: &T) -> Access<T, Vec<(NodeId, MemberRecord)>> {
    rows(Walk::table(tables, Table::Members), usize::MAX, key::parse_member)
}

/// A member, or one that was removed.
pub fn member<T: ReadTables>(tables: &T, node: &NodeId) -> Access<T, Option<MemberRecord>> {
    get(tables, &key::member(node))
}

/// The members that were not removed, by node id: those that take part and those that hand over what they have.
pub fn active_members<T: ReadTables>(tables: &T) -> Access<T, Vec<(NodeId, MemberRecord)>> {
    let mut members = members(tables)?;
    members.retain(|(_, member)| !member.state.is_removed());
    Ok(members)
}

/// The members that data is placed on: neither removed nor draining.
pub fn placement_candidates<T: ReadTables>(tables: &T) -> Access<T, Vec<PlaceCandidate>> {
    let members = members(tables)?;
    let placed = members.into_iter().filter(|(_, member)| member.state.is_active());
    Ok(placed
        .map(|(node, member)| PlaceCandidate {
            node,
            zone: member.zone,
            weight: member.weight,
        })
        .collect())
}

/// An invitation.
pub fn invite<T: ReadTables>(tables: &T, secret_hash: &InviteId) -> Access<T, Option<InviteRecord>> {
    get(tables, &key::invite(secret_hash))
}

/// All invitations, by the hashes of their secrets.
pub fn invites<T: ReadTables>(tables: &T) -> Access<T, Vec<(InviteId, InviteRecord)>> {
    rows(Walk::table(tables, Table::Invites), usize::MAX, key::parse_invite)
}

/// What replicas said their state was at the last few log indices that any of them spoke of, oldest first.
pub fn checks<T: ReadTables>(tables: &T) -> Access<T, Vec<(u64, CheckRecord)>> {
    rows(Walk::table(tables, Table::Checks), usize::MAX, key::parse_check)
}

/// What replicas said their state was at one log index.
pub fn state_check<T: ReadTables>(tables: &T, index: u64) -> Access<T, Option<CheckRecord>> {
    get(tables, &key::check(index))
}

/// A cache.
pub fn cache<T: ReadTables>(tables: &T, name: &CacheName) -> Access<T, Option<CacheRecord>> {
    get(tables, &key::cache(name))
}

/// All caches, by name.
pub fn caches<T: ReadTables>(tables: &T) -> Access<T, Vec<(CacheName, CacheRecord)>> {
    rows(Walk::table(tables, Table::Caches), usize::MAX, key::parse_cache)
}

/// A path of a cache.
pub fn path<T: ReadTables>(
    tables: &T,
    cache: &CacheName,
    hash: &StorePathHash,
) -> Access<T, Option<PathRecord>> {
    get(tables, &key::path(cache, hash))
}

/// At most `limit` paths of a cache, in the order of their hashes, beginning after `after`.
pub fn paths<T: ReadTables>(
    tables: &T,
    cache: &CacheName,
    after: Option<&StorePathHash>,
    limit: usize,
) -> Access<T, Vec<PathRecord>> {
    let prefix = key::paths(cache);
    let walk = match after {
        Some(after) => Walk::prefix_after(tables, Table::Paths, &prefix, key::path(cache, after)),
        None => Walk::prefix(tables, Table::Paths, prefix),
    };
    let rows = rows(walk, limit, key::parse_path)?;
    Ok(rows.into_iter().map(|(_, path)| path).collect())
}

/// Those of `hashes` that the cache has not, in the order given.
pub fn missing_paths<T: ReadTables>(
    tables: &T,
    cache: &CacheName,
    hashes: &[StorePathHash],
) -> Access<T, Vec<StorePathHash>> {
    let mut missing = Vec::new();
    for hash in hashes {
        if !contains(tables, Table::Paths, &key::path(cache, hash))? {
            missing.push(*hash);
        }
    }
    Ok(missing)
}

/// At most `limit` paths of a cache that refer to the path of this hash, not counting itself, in the order of their
/// hashes.
pub fn referrers<T: ReadTables>(
    tables: &T,
    cache: &CacheName,
    hash: &StorePathHash,
    limit: usize,
) -> Access<T, Vec<StorePathHash>> {
    let walk = Walk::prefix(tables, Table::Referrers, key::referrers(cache, hash));
    let mut found = Vec::new();
    for row in walk.take(limit) {
        let (row, _) = row.map_err(StateError::Tables)?;
        let (_, _, by) = key::parse_referrer(&row).map_err(StateError::Corrupt)?;
        found.push(by);
    }
    Ok(found)
}

/// What is known about a NAR that some path of some cache has.
pub fn nar<T: ReadTables>(tables: &T, nar: &NarHash) -> Access<T, Option<NarRecord>> {
    get(tables, &key::nar(nar))
}

/// Whether a path of the cache has this content.
pub fn holds<T: ReadTables>(tables: &T, cache: &CacheName, nar: &NarHash) -> Access<T, bool> {
    let mut holders = Walk::prefix(tables, Table::Holders, key::holders(cache, nar));
    Ok(holders.next().transpose().map_err(StateError::Tables)?.is_some())
}

/// At most `limit` paths of the cache that have this content, in the order of their hashes.
pub fn holders<T: ReadTables>(
    tables: &T,
    cache: &CacheName,
    nar: &NarHash,
    limit: usize,
) -> Access<T, Vec<StorePathHash>> {
    let walk = Walk::prefix(tables, Table::Holders, key::holders(cache, nar));
    let mut found = Vec::new();
    for row in walk.take(limit) {
        let (row, _) = row.map_err(StateError::Tables)?;
        let (_, _, by) = key::parse_holder(&row).map_err(StateError::Corrupt)?;
        found.push(by);
    }
    Ok(found)
}

/// At most `limit` NARs, in the order of their hashes, beginning after `after`.
pub fn nars<T: ReadTables>(
    tables: &T,
    after: Option<&NarHash>,
    limit: usize,
) -> Access<T, Vec<(NarHash, NarRecord)>> {
    let walk = match after {
        Some(after) => Walk::prefix_after(tables, Table::Nars, &[], key::nar(after)),
        None => Walk::table(tables, Table::Nars),
    };
    rows(walk, limit, key::parse_nar)
}

/// [`nars`] with nothing but their manifests. What no row here names is garbage.
pub fn live_manifests<T: ReadTables>(
    tables: &T,
    after: Option<&NarHash>,
    limit: usize,
) -> Access<T, Vec<(NarHash, ManifestHash)>> {
    let rows = nars(tables, after, limit)?;
    Ok(rows
        .into_iter()
        .map(|(nar, record)| (nar, record.manifest))
        .collect())
}

/// A token of the registry.
pub fn token<T: ReadTables>(tables: &T, token: &TokenId) -> Access<T, Option<TokenRecord>> {
    get(tables, &key::token(token))
}

/// All tokens of the registry, by id.
pub fn tokens<T: ReadTables>(tables: &T) -> Access<T, Vec<(TokenId, TokenRecord)>> {
    rows(Walk::table(tables, Table::Tokens), usize::MAX, key::parse_token)
}

/// What was replied to a proposal that its client may still repeat.
pub fn reply<T: ReadTables>(tables: &T, proposal: &ProposalId) -> Access<T, Option<Reply>> {
    let record: Option<ReplyRecord> = get(tables, &key::reply(&proposal.client, proposal.serial))?;
    Ok(record.map(|record| record.reply))
}

/// At most `limit` audit records with their log indices, oldest first, beginning after `after`.
pub fn audit<T: ReadTables>(
    tables: &T,
    after: Option<u64>,
    limit: usize,
) -> Access<T, Vec<(u64, AuditRecord)>> {
    let walk = match after {
        Some(after) => Walk::prefix_after(tables, Table::Audit, &[], key::audit(after)),
        None => Walk::table(tables, Table::Audit),
    };
    rows(walk, limit, key::parse_audit)
}

fn rows<T: ReadTables, K, R: Record>(
    walk: Walk<'_, T>,
    limit: usize,
    parse: impl Fn(&[u8]) -> Result<K, crate::CorruptRecord>,
) -> Access<T, Vec<(K, R)>> {
    let mut found = Vec::new();
    for row in walk.take(limit) {
        let (key, value) = row.map_err(StateError::Tables)?;
        let record = R::decode(&key, &value).map_err(StateError::Corrupt)?;
        found.push((parse(&key).map_err(StateError::Corrupt)?, record));
    }
    Ok(found)
}
