//! Ordered tables: the storage the state machine runs over.
//!
//! Two implementations pass one suite ([`contract`]): [`MemoryTables`] here, and the durable one of `tetryx-raft`,
//! where one implementation value is one open transaction.

pub mod contract;
mod memory;

use std::fmt;
use std::ops::Bound;

pub use self::memory::MemoryTables;

/// One table of the replicated state. The numbers and names are on disk and in snapshots: never reuse one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Table {
    /// `"cluster"` → [`ClusterRecord`](crate::records::ClusterRecord), `"clock"` →
    /// [`ClockRecord`](crate::records::ClockRecord).
    Cluster = 1,
    /// Node id → [`MemberRecord`](crate::records::MemberRecord).
    Members = 2,
    /// Cache name → [`CacheRecord`](crate::records::CacheRecord).
    Caches = 3,
    /// Cache name, 0, store path hash → [`PathRecord`](crate::records::PathRecord).
    Paths = 4,
    /// NAR hash → [`NarRecord`](crate::records::NarRecord).
    Nars = 5,
    /// Token id → [`TokenRecord`](crate::records::TokenRecord).
    Tokens = 6,
    /// 0, client → [`ClientRecord`](crate::records::ClientRecord); 1, client, serial →
    /// [`ReplyRecord`](crate::records::ReplyRecord).
    Proposals = 7,
    /// Log index → [`AuditRecord`](crate::records::AuditRecord).
    Audit = 8,
    /// Cache name, 0, store path hash, hash of a path that refers to it → nothing. The reverse of
    /// [`PathRecord::references`](crate::records::PathRecord::references), so that a deletion needs no scan.
    Referrers = 9,
    /// Cache name, 0, NAR hash, store path hash → nothing: the paths of the cache with this content, so that a NAR is
    /// served through those caches only that hold it.
    Holders = 10,
    /// Hash of a ticket's secret → [`InviteRecord`](crate::records::InviteRecord).
    Invites = 11,
    /// Log index → [`CheckRecord`](crate::records::CheckRecord): what replicas said their state was there.
    Checks = 12,
    /// Mission name → [`MissionRecord`](crate::records::MissionRecord).
    Missions = 13,
    /// Satellite name → [`SatelliteRecord`](crate::records::SatelliteRecord).
    Satellites = 14,
    /// Satellite name, 0, epoch, the latest first → [`ElementsRecord`](crate::records::ElementsRecord).
    Elements = 15,
    /// Station name → [`StationRecord`](crate::records::StationRecord).
    Stations = 16,
}

impl Table {
    /// Every table, in the order of snapshots and of the state hash.
    pub const ALL: [Self; 16] = [
        Self::Cluster,
        Self::Members,
        Self::Caches,
        Self::Paths,
        Self::Nars,
        Self::Tokens,
        Self::Proposals,
        Self::Audit,
        Self::Referrers,
        Self::Holders,
        Self::Invites,
        Self::Checks,
        Self::Missions,
        Self::Satellites,
        Self::Elements,
        Self::Stations,
    ];

    /// The number that stands for the table in snapshots and in the state hash.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The table a number stands for, if any.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|table| table.number() == number)
    }

    /// The name of the table on disk. It carries the version of the key layout.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cluster => "cluster-1",
            Self::Members => "members-1",
            Self::Caches => "caches-1",
            Self::Paths => "paths-1",
            Self::Nars => "nars-1",
            Self::Tokens => "tokens-1",
            Self::Proposals => "proposals-1",
            Self::Audit => "audit-1",
            Self::Referrers => "referrers-1",
            Self::Holders => "holders-1",
            Self::Invites => "invites-1",
            Self::Checks => "checks-1",
            Self::Missions => "missions-1",
            Self::Satellites => "satellites-1",
            Self::Elements => "elements-1",
            Self::Stations => "stations-1",
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A key and its value, as bytes.
pub type Row = (Vec<u8>, Vec<u8>);

/// Read access to the tables, at one point of the log.
pub trait ReadTables {
    /// What can go wrong with the storage.
    type Error: std::error::Error + Send + Sync + 'static;

    /// The value of `key`, if the table has one.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Self::Error>;

    /// The first `limit` rows between `start` and `end`, in byte order of their keys. Bounds that exclude every
    /// key (`start` above `end`) give no rows.
    fn range(
        &self,
        table: Table,
        start: Bound<&[u8]>,
        end: Bound<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Row>, Self::Error>;
}

/// Read and write access to the tables within one transaction: what was put is read back at once.
pub trait Tables: ReadTables {
    /// Sets the value of `key`, whether it had one or not.
    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), Self::Error>;

    /// Removes `key`. Removing an absent key is no error.
    fn delete(&mut self, table: Table, key: &[u8]) -> Result<(), Self::Error>;
}

impl<T: ReadTables + ?Sized> ReadTables for &T {
    type Error = T::Error;

    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Self::Error> {
        (**self).get(table, key)
    }

    fn range(
        &self,
        table: Table,
        start: Bound<&[u8]>,
        end: Bound<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Row>, Self::Error> {
        (**self).range(table, start, end, limit)
    }
}

/// True when no key can lie between the bounds. `BTreeMap::range` and redb panic on such bounds; implementations
/// ask this first.
pub fn is_empty_range(start: Bound<&[u8]>, end: Bound<&[u8]>) -> bool {
    match (start, end) {
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        (Bound::Included(start), Bound::Included(end)) => start > end,
        (Bound::Included(start) | Bound::Excluded(start), Bound::Excluded(end) | Bound::Included(end)) => {
            start >= end
        }
    }
}
