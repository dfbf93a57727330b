//! The header that begins every stream, and the judgement it leads to.
//!
//! | offset | len | field |
//! |---|---|---|
//! | 0 | 1 | version, 1 |
//! | 1 | 1 | service ([`Service::number`]) |
//! | 2 | 1 | kind: 0 a call, 1 a channel |
//! | 3 | 16 | cluster id; all zero: of none yet |
//! | 19 | 8 | epoch of the cluster, little-endian |
//!
//! Frozen: a later version may only append, and answers version 1 as before.

use tetryx_protocol::id::{ClusterId, NodeId};

use crate::{Admission, Roster, Service};

/// The bytes of a header.
pub(crate) const HEADER_LEN: usize = 27;

const VERSION: u8 = 1;

/// What the opener of a stream wants of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A request up to the end of the stream, and an answer: a status byte and a body.
    Call = 0,
    /// Whatever the service says.
    Channel = 1,
}

/// What the opener of a stream says first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) service: Service,
    pub(crate) kind: Kind,
    /// The opener's cluster and its epoch; `None` before it has joined one.
    pub(crate) cluster: Option<(ClusterId, u64)>,
}

impl Header {
    pub(crate) fn encode(&self) -> [u8; HEADER_LEN] {
        let (cluster, epoch) = self.cluster.unwrap_or_default();
        let mut bytes = [0; HEADER_LEN];
        bytes[0] = VERSION;
        bytes[1] = self.service.number();
        bytes[2] = self.kind as u8;
        bytes[3..19].copy_from_slice(cluster.as_bytes());
        bytes[19..].copy_from_slice(&epoch.to_le_bytes());
        bytes
    }

    /// # Errors
    /// What is wrong with the bytes, in words.
    pub(crate) fn decode(bytes: &[u8; HEADER_LEN]) -> Result<Self, String> {
        if bytes[0] != VERSION {
            return Err(format!(
                "stream header of version {} and this release knows version {VERSION}; upgrade the older node",
                bytes[0]
            ));
        }
        let Some(service) = Service::from_number(bytes[1]) else {
            return Err(format!(
                "this release knows no service {}; upgrade the older node",
                bytes[1]
            ));
        };
        let kind = match bytes[2] {
            0 => Kind::Call,
            1 => Kind::Channel,
            other => {
                return Err(format!(
                    "this release knows no streams of kind {other}; upgrade the older node"
                ));
            }
        };
        let mut cluster = [0; 16];
        cluster.copy_from_slice(&bytes[3..19]);
        let mut epoch = [0; 8];
        epoch.copy_from_slice(&bytes[19..]);
        let cluster = ClusterId::from_bytes(cluster);
        let cluster = (cluster != ClusterId::default()).then(|| (cluster, u64::from_le_bytes(epoch)));
        Ok(Self {
            service,
            kind,
            cluster,
        })
    }
}

/// Whether a node whose key is proven may have a connection at all.
///
/// # Errors
/// Why not, in words that make sense on both sides.
pub(crate) fn admit(roster: &dyn Roster, from: NodeId, joining: bool) -> Result<(), String> {
    match roster.admission(from) {
        _ if joining => Ok(()),
        Admission::Member => Ok(()),
        Admission::Removed => Err(format!(
            "node {} was removed from this cluster; to come back, it joins with a new ticket and a new key",
            from.fmt_short()
        )),
        Admission::Unknown => {
            roster.knocked(from);
            Err(format!(
                "node {} is not a member of this cluster; join with a ticket",
                from.fmt_short()
            ))
        }
    }
}

/// Whether a stream with this header is taken from an admitted node.
///
/// # Errors
/// Why not, in words that make sense on both sides.
pub(crate) fn judge(roster: &dyn Roster, header: &Header) -> Result<(), String> {
    if header.service == Service::Join {
        return Ok(());
    }
    let Some((ours, our_epoch)) = roster.cluster() else {
        return Err("the node called is not a member of a cluster yet".to_owned());
    };
    let Some((theirs, their_epoch)) = header.cluster else {
        return Err("the calling node is not a member of a cluster yet; join with a ticket".to_owned());
    };
    if theirs != ours {
        return Err(format!(
            "the calling node belongs to cluster {}, and the node called to cluster {}",
            theirs.fmt_short(),
            ours.fmt_short()
        ));
    }
    // A newer epoch is taken: a member hears of a recovery through the log, from those who know of it already.
    if their_epoch < our_epoch {
        return Err(format!(
            "the calling node is at epoch {their_epoch} of the cluster, which was recovered since and is at epoch \
             {our_epoch}; wipe the node and join with a new ticket"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug)]
    struct At(Option<(ClusterId, u64)>);

    impl Roster for At {
        fn cluster(&self) -> Option<(ClusterId, u64)> {
            self.0
        }

        fn admission(&self, _: NodeId) -> Admission {
            Admission::Member
        }

        fn addresses(&self, _: NodeId) -> Vec<String> {
            Vec::new()
        }
    }

    fn cluster(byte: u8, epoch: u64) -> Option<(ClusterId, u64)> {
        Some((ClusterId::from_bytes([byte; 16]), epoch))
    }

    fn judged(service: Service, theirs: Option<(ClusterId, u64)>) -> Result<(), String> {
        let header = Header {
            service,
            kind: Kind::Call,
            cluster: theirs,
        };
        judge(&At(cluster(1, 5)), &header)
    }

    #[test]
    fn the_bytes_of_a_header_never_change() {
        let header = Header {
            service: Service::Chunks,
            kind: Kind::Channel,
            cluster: cluster(0xab, 0x0102),
        };

        let golden = "010501abababababababababababababababab0201000000000000";
        let bytes: String = header.encode().iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(bytes, golden);
    }

    #[test]
    fn another_cluster_and_an_older_epoch_are_refused_by_name() {
        assert!(
            judged(Service::Rpc, cluster(2, 5))
                .unwrap_err()
                .contains("belongs to cluster 0202")
        );
        assert!(
            judged(Service::Rpc, cluster(1, 4))
                .unwrap_err()
                .contains("at epoch 4")
        );
        assert!(judged(Service::Rpc, None).unwrap_err().contains("join"));
    }

    #[test]
    fn the_same_and_a_newer_epoch_are_taken() {
        assert_eq!(judged(Service::Raft, cluster(1, 5)), Ok(()));
        assert_eq!(judged(Service::Raft, cluster(1, 6)), Ok(()));
    }

    #[test]
    fn a_joiner_needs_no_cluster() {
        assert_eq!(judged(Service::Join, None), Ok(()));
    }

    proptest! {
        #[test]
        fn a_header_comes_back_as_it_was(number in 1_u8..=6, channel: bool, id in any::<[u8; 16]>(), epoch: u64) {
            let id = ClusterId::from_bytes(id);
            let header = Header {
                service: Service::from_number(number).unwrap(),
                kind: if channel { Kind::Channel } else { Kind::Call },
                cluster: (id != ClusterId::default()).then_some((id, epoch)),
            };
            prop_assert_eq!(Header::decode(&header.encode()), Ok(header));
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in any::<[u8; HEADER_LEN]>()) {
            let _ = Header::decode(&bytes);
        }
    }
}
