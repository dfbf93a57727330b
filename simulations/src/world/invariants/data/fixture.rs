//! Small states and names for the tests of the checks.

use tetryx_protocol::hash::{ChunkHash, ManifestHash, NarHash};
use tetryx_protocol::id::NodeId;
use tetryx_protocol::placement::{Copies, PlaceCandidate};
use tetryx_store::Object;

use super::asked::{Asked, AskedNar};

pub(super) fn nar(number: u8) -> NarHash {
    NarHash::of(&[number])
}

pub(super) fn manifest(number: u8) -> ManifestHash {
    ManifestHash::of(&[number])
}

pub(super) fn chunk(number: u8) -> Object {
    Object::Chunk(ChunkHash::of(&[number]))
}

/// A state at a log index with these NARs in one cache that asks for so many copies, and so many members.
pub(super) fn asked(index: u64, nars: &[u8], copies: u8, members: u8) -> Asked {
    let cache = "main".parse().expect("a name");
    let rows = nars.iter().map(|number| {
        let row = AskedNar {
            manifest: manifest(*number),
            caches: vec!["main".parse().expect("a name")],
            copies: Copies::Exactly(copies),
        };
        (nar(*number), row)
    });
    let members = (0..members).map(|number| PlaceCandidate {
        node: NodeId::from_bytes([number; 32]),
        zone: "zone".to_owned(),
        weight: 100,
    });
    Asked::new(
        index,
        rows.collect(),
        [(cache, Copies::Exactly(copies))].into(),
        members.collect(),
    )
}
