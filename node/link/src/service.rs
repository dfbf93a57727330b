//! What streams carry, and which connection they travel on.

use std::fmt;

/// What a stream carries. The number is in the header of each stream and never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Service {
    /// Votes, heartbeats, log entries: on a connection of their own, so that bulk never delays an election.
    Raft = 1,
    /// Pieces of Raft snapshots.
    RaftBulk = 2,
    /// Questions between members: `tetryx_protocol::peer`.
    Rpc = 3,
    /// A joiner's request. The only service that strangers may use.
    Join = 4,
    /// Chunks and manifests: `tetryx_protocol::chunk_wire`.
    Chunks = 5,
    /// Large verified blobs.
    Blobs = 6,
}

impl Service {
    /// Every service, in the order of its number.
    pub const ALL: [Self; 6] = [
        Self::Raft,
        Self::RaftBulk,
        Self::Rpc,
        Self::Join,
        Self::Chunks,
        Self::Blobs,
    ];

    /// The number in stream headers.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The service of a number, if this release knows it.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|service| service.number() == number)
    }

    /// The connection that carries it.
    pub(crate) const fn lane(self) -> Lane {
        match self {
            Self::Raft => Lane::Raft,
            Self::RaftBulk | Self::Rpc => Lane::Rpc,
            Self::Join => Lane::Join,
            Self::Chunks | Self::Blobs => Lane::Chunks,
        }
    }

    /// The priority of its streams among those of one connection: bulk gives way.
    pub(crate) const fn priority(self) -> i32 {
        match self {
            Self::RaftBulk | Self::Blobs => -1,
            Self::Raft | Self::Rpc | Self::Join | Self::Chunks => 0,
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Raft => "raft",
            Self::RaftBulk => "raft-bulk",
            Self::Rpc => "rpc",
            Self::Join => "join",
            Self::Chunks => "chunks",
            Self::Blobs => "blobs",
        })
    }
}

/// A kind of connection: an application protocol of TLS. Between two nodes there is at most one of each kind in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lane {
    Raft,
    Rpc,
    Join,
    Chunks,
}

impl Lane {
    /// Every lane.
    pub(crate) const ALL: [Self; 4] = [Self::Raft, Self::Rpc, Self::Join, Self::Chunks];

    /// Its name in the TLS handshake.
    pub(crate) const fn alpn(self) -> &'static [u8] {
        match self {
            Self::Raft => b"tetryx-raft/1",
            Self::Rpc => b"tetryx-rpc/1",
            Self::Join => b"tetryx-join/1",
            Self::Chunks => b"tetryx-chunks/1",
        }
    }

    /// The lane of a name that TLS negotiated.
    pub(crate) fn from_alpn(alpn: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|lane| lane.alpn() == alpn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_services_never_change() {
        let numbers = Service::ALL.map(Service::number);

        assert_eq!(numbers, [1, 2, 3, 4, 5, 6]);
        assert!(
            Service::ALL
                .into_iter()
                .all(|s| Service::from_number(s.number()) == Some(s))
        );
        assert_eq!(Service::from_number(0), None);
    }

    #[test]
    fn elections_share_a_connection_with_nothing_else() {
        let beside: Vec<_> = Service::ALL
            .into_iter()
            .filter(|s| s.lane() == Lane::Raft)
            .collect();

        assert_eq!(beside, [Service::Raft]);
    }
}
