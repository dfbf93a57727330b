//! The keys of the rows. Like the records, they are the disk format.
//!
//! Numbers are big-endian, so that byte order is number order. Store path hashes are written last byte first: their
//! text form begins with the last byte, so that byte order is text order.

use tetryx_protocol::cache::CacheName;
use tetryx_protocol::ground::{MissionName, SatelliteName, StationName};
use tetryx_protocol::hash::NarHash;
use tetryx_protocol::id::{ClientId, InviteId, NodeId, TokenId};
use tetryx_protocol::store_path::StorePathHash;

use crate::error::CorruptRecord;
use crate::tables::Table;

pub(crate) const CLUSTER: &[u8] = b"cluster";
pub(crate) const CLOCK: &[u8] = b"clock";

/// Ends a cache name: no name holds it, so no name's rows lie among another's.
const END_OF_NAME: u8 = 0;
/// First byte of the keys of clients and of replies, so that clients can be walked without their replies.
const CLIENTS: u8 = 0;
const REPLIES: u8 = 1;

pub(crate) fn member(node: &NodeId) -> Vec<u8> {
    node.as_bytes().to_vec()
}

pub(crate) fn cache(cache: &CacheName) -> Vec<u8> {
    cache.as_str().as_bytes().to_vec()
}

/// The start of the keys of all paths of a cache, and of all its referrers and holders.
pub(crate) fn paths(name: &CacheName) -> Vec<u8> {
    let mut key = cache(name);
    key.push(END_OF_NAME);
    key
}

pub(crate) fn path(cache: &CacheName, hash: &StorePathHash) -> Vec<u8> {
    let mut key = paths(cache);
    key.extend(ordered(hash));
    key
}

/// The start of the keys of all referrers of a path.
pub(crate) fn referrers(cache: &CacheName, target: &StorePathHash) -> Vec<u8> {
    path(cache, target)
}

pub(crate) fn referrer(cache: &CacheName, target: &StorePathHash, by: &StorePathHash) -> Vec<u8> {
    let mut key = referrers(cache, target);
    key.extend(ordered(by));
    key
}

/// The start of the keys of all paths of a cache with this content.
pub(crate) fn holders(cache: &CacheName, nar: &NarHash) -> Vec<u8> {
    let mut key = paths(cache);
    key.extend(nar.as_bytes());
    key
}

pub(crate) fn holder(cache: &CacheName, nar: &NarHash, by: &StorePathHash) -> Vec<u8> {
    let mut key = holders(cache, nar);
    key.extend(ordered(by));
    key
}

pub(crate) fn nar(nar: &NarHash) -> Vec<u8> {
    nar.as_bytes().to_vec()
}

pub(crate) fn token(token: &TokenId) -> Vec<u8> {
    token.as_bytes().to_vec()
}

/// The start of the keys of all clients.
pub(crate) fn clients() -> Vec<u8> {
    vec![CLIENTS]
}

pub(crate) fn client(client: &ClientId) -> Vec<u8> {
    [&[CLIENTS], &client.as_bytes()[..]].concat()
}

/// The start of the keys of all replies to a client.
pub(crate) fn replies(client: &ClientId) -> Vec<u8> {
    [&[REPLIES], &client.as_bytes()[..]].concat()
}

pub(crate) fn reply(client: &ClientId, serial: u64) -> Vec<u8> {
    let mut key = replies(client);
    key.extend(serial.to_be_bytes());
    key
}

pub(crate) fn audit(index: u64) -> Vec<u8> {
    index.to_be_bytes().to_vec()
}

pub(crate) fn invite(invite: &InviteId) -> Vec<u8> {
    invite.as_bytes().to_vec()
}

pub(crate) fn check(index: u64) -> Vec<u8> {
    index.to_be_bytes().to_vec()
}

pub(crate) fn mission(name: &MissionName) -> Vec<u8> {
    name.as_str().as_bytes().to_vec()
}

pub(crate) fn satellite(name: &SatelliteName) -> Vec<u8> {
    name.as_str().as_bytes().to_vec()
}

/// The start of the keys of all element sets of a satellite.
pub(crate) fn elements(name: &SatelliteName) -> Vec<u8> {
    let mut key = satellite(name);
    key.push(END_OF_NAME);
    key
}

/// The epoch is written so that the latest sorts first.
pub(crate) fn element_set(name: &SatelliteName, epoch_ns: i64) -> Vec<u8> {
    let mut key = elements(name);
    key.extend(latest_first(epoch_ns));
    key
}

pub(crate) fn station(name: &StationName) -> Vec<u8> {
    name.as_str().as_bytes().to_vec()
}

/// A signed number as bytes whose order is the reverse of the numbers'.
fn latest_first(number: i64) -> [u8; 8] {
    (!number.cast_unsigned() ^ SIGN).to_be_bytes()
}

/// The highest bit of a signed number.
const SIGN: u64 = 1 << 63;

fn ordered(hash: &StorePathHash) -> impl Iterator<Item = u8> {
    hash.as_bytes().iter().rev().copied()
}

fn corrupt(table: Table, key: &[u8]) -> CorruptRecord {
    CorruptRecord {
        table,
        key: key.to_vec(),
        reason: "this is no key of the table".to_owned(),
    }
}

fn array<const N: usize>(table: Table, key: &[u8], part: &[u8]) -> Result<[u8; N], CorruptRecord> {
    part.try_into().map_err(|_| corrupt(table, key))
}

fn hash_of(table: Table, key: &[u8], part: &[u8]) -> Result<StorePathHash, CorruptRecord> {
    let mut bytes = array::<20>(table, key, part)?;
    bytes.reverse();
    Ok(StorePathHash::from_bytes(bytes))
}

/// A key that is a name and nothing else.
fn whole_name<V: std::str::FromStr>(table: Table, key: &[u8], name: &[u8]) -> Result<V, CorruptRecord> {
    std::str::from_utf8(name)
        .ok()
        .and_then(|name| name.parse().ok())
        .ok_or_else(|| corrupt(table, key))
}

pub(crate) fn parse_mission(key: &[u8]) -> Result<MissionName, CorruptRecord> {
    whole_name(Table::Missions, key, key)
}

pub(crate) fn parse_satellite(key: &[u8]) -> Result<SatelliteName, CorruptRecord> {
    whole_name(Table::Satellites, key, key)
}

/// The satellite, and the epoch in nanoseconds since the Unix epoch.
pub(crate) fn parse_elements(key: &[u8]) -> Result<(SatelliteName, i64), CorruptRecord> {
    let table = Table::Elements;
    let end = key
        .iter()
        .position(|byte| *byte == END_OF_NAME)
        .ok_or_else(|| corrupt(table, key))?;
    let name = whole_name(table, key, &key[..end])?;
    let epoch = u64::from_be_bytes(array(table, key, &key[end + 1..])?);
    Ok((name, (!(epoch ^ SIGN)).cast_signed()))
}

pub(crate) fn parse_station(key: &[u8]) -> Result<StationName, CorruptRecord> {
    whole_name(Table::Stations, key, key)
}

fn name_of(table: Table, key: &[u8], name: &[u8]) -> Result<CacheName, CorruptRecord> {
    std::str::from_utf8(name)
        .ok()
        .and_then(|name| name.parse().ok())
        .ok_or_else(|| corrupt(table, key))
}

fn split_name(table: Table, key: &[u8]) -> Result<(CacheName, &[u8]), CorruptRecord> {
    let end = key
        .iter()
        .position(|byte| *byte == END_OF_NAME)
        .ok_or_else(|| corrupt(table, key))?;
    Ok((name_of(table, key, &key[..end])?, &key[end + 1..]))
}

pub(crate) fn parse_member(key: &[u8]) -> Result<NodeId, CorruptRecord> {
    array(Table::Members, key, key).map(NodeId::from_bytes)
}

pub(crate) fn parse_cache(key: &[u8]) -> Result<CacheName, CorruptRecord> {
    name_of(Table::Caches, key, key)
}

pub(crate) fn parse_path(key: &[u8]) -> Result<(CacheName, StorePathHash), CorruptRecord> {
    let (name, rest) = split_name(Table::Paths, key)?;
    Ok((name, hash_of(Table::Paths, key, rest)?))
}

/// The cache, the path referred to, and the path that refers to it.
pub(crate) fn parse_referrer(key: &[u8]) -> Result<(CacheName, StorePathHash, StorePathHash), CorruptRecord> {
    let (name, rest) = split_name(Table::Referrers, key)?;
    let (target, by) = rest
        .split_at_checked(20)
        .ok_or_else(|| corrupt(Table::Referrers, key))?;
    Ok((
        name,
        hash_of(Table::Referrers, key, target)?,
        hash_of(Table::Referrers, key, by)?,
    ))
}

/// The cache, the NAR, and the path that has it.
pub(crate) fn parse_holder(key: &[u8]) -> Result<(CacheName, NarHash, StorePathHash), CorruptRecord> {
    let (name, rest) = split_name(Table::Holders, key)?;
    let (nar, by) = rest
        .split_at_checked(32)
        .ok_or_else(|| corrupt(Table::Holders, key))?;
    let nar = NarHash::from_bytes(array(Table::Holders, key, nar)?);
    Ok((name, nar, hash_of(Table::Holders, key, by)?))
}

pub(crate) fn parse_nar(key: &[u8]) -> Result<NarHash, CorruptRecord> {
    array(Table::Nars, key, key).map(NarHash::from_bytes)
}

pub(crate) fn parse_token(key: &[u8]) -> Result<TokenId, CorruptRecord> {
    array(Table::Tokens, key, key).map(TokenId::from_bytes)
}

/// What a row of [`Table::Proposals`] is about.
pub(crate) enum ProposalKey {
    Client(ClientId),
    Reply(ClientId, u64),
}

pub(crate) fn parse_proposal(key: &[u8]) -> Result<ProposalKey, CorruptRecord> {
    let table = Table::Proposals;
    let (kind, rest) = key.split_first().ok_or_else(|| corrupt(table, key))?;
    let (client, serial) = rest.split_at_checked(16).ok_or_else(|| corrupt(table, key))?;
    let client = ClientId::from_bytes(array(table, key, client)?);
    match (*kind, serial) {
        (CLIENTS, []) => Ok(ProposalKey::Client(client)),
        (REPLIES, serial) => Ok(ProposalKey::Reply(
            client,
            u64::from_be_bytes(array(table, key, serial)?),
        )),
        _ => Err(corrupt(table, key)),
    }
}

pub(crate) fn parse_audit(key: &[u8]) -> Result<u64, CorruptRecord> {
    array(Table::Audit, key, key).map(u64::from_be_bytes)
}

pub(crate) fn parse_invite(key: &[u8]) -> Result<InviteId, CorruptRecord> {
    array(Table::Invites, key, key).map(InviteId::from_bytes)
}

pub(crate) fn parse_check(key: &[u8]) -> Result<u64, CorruptRecord> {
    array(Table::Checks, key, key).map(u64::from_be_bytes)
}
