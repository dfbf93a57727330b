//! One key, two names: a [`NodeId`] and libp2p's [`PeerId`] are the same 32 bytes in different wrapping.

use libp2p::PeerId;
use libp2p::identity::{PublicKey, ed25519};
use tetryx_protocol::id::NodeId;

/// Code of the "identity" multihash: the peer id of a short key is the key itself.
const IDENTITY_MULTIHASH: u64 = 0;

/// The peer id of a node. `None` if the node id is no point of the curve, so that nobody can hold its key.
pub fn peer_id_of(node: &NodeId) -> Option<PeerId> {
    let key = ed25519::PublicKey::try_from_bytes(node.as_bytes()).ok()?;
    Some(PublicKey::from(key).to_peer_id())
}

/// The node whose key a peer has. `None` for peers with keys that are not ed25519: none of ours.
pub fn node_id_of(peer: &PeerId) -> Option<NodeId> {
    let multihash = peer.as_ref();
    if multihash.code() != IDENTITY_MULTIHASH {
        return None;
    }
    let key = PublicKey::try_decode_protobuf(multihash.digest()).ok()?;
    Some(NodeId::from_bytes(key.try_into_ed25519().ok()?.to_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    use libp2p::identity::Keypair;
    use proptest::prelude::*;

    fn key(seed: [u8; 32]) -> Keypair {
        Keypair::ed25519_from_bytes(seed).expect("32 bytes are a seed")
    }

    proptest! {
        #[test]
        fn a_node_id_survives_the_way_to_a_peer_id_and_back(seed: [u8; 32]) {
            let public = key(seed).public();
            let node = node_id_of(&public.to_peer_id()).expect("an ed25519 key");
            prop_assert_eq!(peer_id_of(&node), Some(public.to_peer_id()));
            prop_assert_eq!(node.as_bytes(), &public.try_into_ed25519().expect("ed25519").to_bytes());
        }

        #[test]
        fn any_32_bytes_are_a_node_id_and_none_panics(bytes: [u8; 32]) {
            if let Some(peer) = peer_id_of(&NodeId::from_bytes(bytes)) {
                prop_assert_eq!(node_id_of(&peer), Some(NodeId::from_bytes(bytes)));
            }
        }
    }

    #[test]
    fn a_random_peer_id_is_nobodys() {
        assert_eq!(node_id_of(&PeerId::random()), None);
    }
}
