//! Manifests.

use proptest::prelude::*;
use tetryx_protocol::chunking::CHUNK_MAX;
use tetryx_protocol::hash::{ChunkHash, ManifestHash, NarHash};
use tetryx_protocol::manifest::{Manifest, ManifestChunk, ManifestError};

use crate::fixtures::{assert_golden_hex, chunk_hash, damaged, damages, nar_hash};

const GOLDEN: &str = include_str!("../golden/manifest_v1.hex");

fn sample() -> Manifest {
    let chunk = |raw: &[u8]| ManifestChunk {
        hash: ChunkHash::of(raw),
        raw_len: raw.len() as u32,
    };
    Manifest {
        nar_hash: NarHash::of(b"alphabetaalpha"),
        nar_size: 14,
        chunks: vec![chunk(b"alpha"), chunk(b"beta"), chunk(b"alpha")],
    }
}

fn manifest() -> impl Strategy<Value = Manifest> {
    let chunk =
        (chunk_hash(), 1..=CHUNK_MAX as u32).prop_map(|(hash, raw_len)| ManifestChunk { hash, raw_len });
    (nar_hash(), prop::collection::vec(chunk, 0..20)).prop_map(|(nar_hash, chunks)| Manifest {
        nar_hash,
        nar_size: chunks.iter().map(|chunk| u64::from(chunk.raw_len)).sum(),
        chunks,
    })
}

#[test]
fn version_1_is_these_bytes() {
    assert_golden_hex("manifest_v1.hex", GOLDEN, &sample().encode());
    assert_eq!(Manifest::decode(&sample().encode()).unwrap(), sample());
}

#[test]
fn a_manifest_is_named_by_the_blake3_of_its_encoding() {
    assert_eq!(sample().hash(), ManifestHash::of(&sample().encode()));
    let mut other = sample();
    other.chunks.swap(0, 1);
    assert_ne!(other.hash(), sample().hash(), "the order counts");
}

#[test]
fn chunks_that_do_not_add_up_to_the_nar_are_refused() {
    let mut manifest = sample();
    manifest.nar_size = 15;
    let error = Manifest::decode(&manifest.encode()).unwrap_err();
    assert_eq!(
        error,
        ManifestError::NarSize {
            sum: 14,
            nar_size: 15
        }
    );
    assert_eq!(
        error.to_string(),
        "manifest: its chunks have 14 bytes together; expected nar_size, 15"
    );
}

#[test]
fn a_chunk_of_no_bytes_or_too_many_is_refused() {
    for raw_len in [0, CHUNK_MAX as u32 + 1, u32::MAX] {
        let mut manifest = sample();
        manifest.chunks[1].raw_len = raw_len;
        let error = Manifest::decode(&manifest.encode()).unwrap_err();
        assert_eq!(error, ManifestError::RawLen { index: 1, raw_len });
    }
}

#[test]
fn another_magic_version_or_length_is_refused() {
    let bytes = sample().encode();
    let with = |at: usize, byte: u8| {
        let mut bytes = bytes.clone();
        bytes[at] = byte;
        Manifest::decode(&bytes).unwrap_err()
    };
    assert!(matches!(with(0, b'X'), ManifestError::Magic { found } if &found == b"XXMF"));
    assert_eq!(with(4, 2), ManifestError::Version { found: 2 });
    assert!(
        matches!(with(49, 0xff), ManifestError::Length { .. }),
        "a count of four thousand million allocates nothing"
    );
    for len in 0..bytes.len() {
        assert!(Manifest::decode(&bytes[..len]).is_err(), "cut off at {len}");
    }
    let longer = [bytes.as_slice(), &[0]].concat();
    assert_eq!(
        Manifest::decode(&longer).unwrap_err(),
        ManifestError::Length {
            len: 159,
            expected: 158
        }
    );
}

proptest! {
    #[test]
    fn a_manifest_round_trips(manifest in manifest()) {
        let bytes = manifest.encode();
        prop_assert_eq!(Manifest::decode(&bytes).unwrap(), manifest);
    }

    #[test]
    fn damaged_bytes_never_panic_and_decode_only_to_what_encodes_back(manifest in manifest(), damages in damages()) {
        let bytes = damaged(&manifest.encode(), &damages);
        if let Ok(manifest) = Manifest::decode(&bytes) {
            prop_assert_eq!(manifest.encode(), bytes);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Manifest::decode(&bytes);
    }
}
