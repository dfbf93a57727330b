//! What the tests share: goldens, deterministic noise, strategies, mutations.

use proptest::prelude::*;
use tetryx_protocol::hash::{ChunkHash, FileHash, NarHash};
use tetryx_protocol::narinfo::{Compression, NarInfo};
use tetryx_protocol::signature::{KeyName, NixSecretKey, NixSignature};
use tetryx_protocol::store_path::{StorePath, StorePathHash, StorePathName};

/// The bytes of a `.hex` golden. `#` begins a comment; white space does not count.
pub(crate) fn golden_hex(text: &str) -> Vec<u8> {
    let digits: String = text
        .lines()
        .map(|line| line.split('#').next().unwrap_or(line))
        .flat_map(|line| line.chars().filter(|c| !c.is_whitespace()))
        .collect();
    data_encoding::HEXLOWER.decode(digits.as_bytes()).unwrap()
}

/// Compares bytes with a `.hex` golden; a difference prints what the bytes are now.
#[track_caller]
pub(crate) fn assert_golden_hex(name: &str, golden: &str, bytes: &[u8]) {
    let now = data_encoding::HEXLOWER.encode(bytes);
    let lines: Vec<_> = now
        .as_bytes()
        .chunks(96)
        .map(|line| String::from_utf8_lossy(line))
        .collect();
    assert!(
        golden_hex(golden) == bytes,
        "tests/golden/{name} differs; the bytes are now:\n{}",
        lines.join("\n")
    );
}

/// Compares a text with a `.txt` golden; a difference prints what the text is now.
#[track_caller]
pub(crate) fn assert_golden_text(name: &str, golden: &str, text: &str) {
    assert!(
        golden == text,
        "tests/golden/{name} differs; the text is now:\n{text}"
    );
}

/// Bytes that look random and are the same on every run (xorshift64*).
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// Ways to damage bytes: flip, cut off, add, drop, double.
#[derive(Clone, Debug)]
pub(crate) enum Damage {
    Flip(prop::sample::Index, u8),
    CutOff(prop::sample::Index),
    Append(Vec<u8>),
    Remove(prop::sample::Index),
    Insert(prop::sample::Index, u8),
}

impl Damage {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Append(more) => bytes.extend_from_slice(more),
            _ if bytes.is_empty() => {}
            Self::Flip(at, mask) => {
                let at = at.index(bytes.len());
                bytes[at] ^= mask;
            }
            Self::CutOff(at) => bytes.truncate(at.index(bytes.len())),
            Self::Remove(at) => {
                bytes.remove(at.index(bytes.len()));
            }
            Self::Insert(at, byte) => bytes.insert(at.index(bytes.len()), *byte),
        }
    }
}

/// One to six damages.
pub(crate) fn damages() -> impl Strategy<Value = Vec<Damage>> {
    let at = any::<prop::sample::Index>;
    let damage = prop_oneof![
        6 => (at(), 1u8..).prop_map(|(at, mask)| Damage::Flip(at, mask)),
        2 => at().prop_map(Damage::CutOff),
        1 => prop::collection::vec(any::<u8>(), 1..40).prop_map(Damage::Append),
        1 => at().prop_map(Damage::Remove),
        1 => (at(), any::<u8>()).prop_map(|(at, byte)| Damage::Insert(at, byte)),
    ];
    prop::collection::vec(damage, 1..=6)
}

/// The bytes, damaged.
pub(crate) fn damaged(bytes: &[u8], damages: &[Damage]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for damage in damages {
        damage.apply(&mut bytes);
    }
    bytes
}

/// The text, damaged, with what is no UTF-8 any more replaced.
pub(crate) fn damaged_text(text: &str, damages: &[Damage]) -> String {
    String::from_utf8_lossy(&damaged(text.as_bytes(), damages)).into_owned()
}

pub(crate) fn chunk_hash() -> impl Strategy<Value = ChunkHash> {
    any::<[u8; 32]>().prop_map(ChunkHash::from_bytes)
}

pub(crate) fn nar_hash() -> impl Strategy<Value = NarHash> {
    any::<[u8; 32]>().prop_map(NarHash::from_bytes)
}

pub(crate) fn store_path_hash() -> impl Strategy<Value = StorePathHash> {
    any::<[u8; 20]>().prop_map(StorePathHash::from_bytes)
}

pub(crate) fn store_path_name() -> impl Strategy<Value = StorePathName> {
    "[0-9a-zA-Z+_?=][0-9a-zA-Z+._?=-]{0,210}".prop_map(|name| name.parse().unwrap())
}

pub(crate) fn store_path() -> impl Strategy<Value = StorePath> {
    (store_path_hash(), store_path_name()).prop_map(|(hash, name)| StorePath::new(hash, name))
}

pub(crate) fn key_name() -> impl Strategy<Value = KeyName> {
    "[!-9;-~]{1,40}".prop_map(|name| name.parse().unwrap())
}

pub(crate) fn signature() -> impl Strategy<Value = NixSignature> {
    (key_name(), any::<[[u8; 32]; 2]>()).prop_map(|(name, halves)| {
        let bytes = halves.concat().try_into().unwrap();
        NixSignature::new(name, bytes)
    })
}

pub(crate) fn nar_info() -> impl Strategy<Value = NarInfo> {
    let compression = prop::sample::select(vec![Compression::None, Compression::Xz, Compression::Zstd]);
    let url = "[!-~]{1,60}";
    let file = prop::option::of((any::<[u8; 32]>().prop_map(FileHash::from_bytes), any::<u64>()));
    let references = prop::collection::btree_set(store_path(), 0..5);
    let signatures = prop::collection::vec(signature(), 0..3);
    let system = prop::option::of("[!-~]{1,20}".boxed());
    let ca = prop::option::of(nar_hash().prop_map(|hash| format!("fixed:r:{hash}")));
    let first = (store_path(), url, compression, file, nar_hash(), 1u64..);
    let second = (references, prop::option::of(store_path()), system, signatures, ca);
    (first, second).prop_map(|(first, second)| {
        let (store_path, url, compression, file, nar_hash, nar_size) = first;
        let (references, deriver, system, signatures, ca) = second;
        NarInfo {
            store_path,
            url,
            compression,
            file_hash: file.map(|(hash, _)| hash),
            file_size: file.map(|(_, size)| size),
            nar_hash,
            nar_size,
            references: references.into_iter().collect(),
            deriver,
            system,
            signatures,
            ca,
        }
    })
}

/// The key that `nix-store --generate-binary-cache-key test.example-1` of Nix 2.8 made for these tests.
pub(crate) const NIX_SECRET_KEY: &str =
    "test.example-1:TtUWjMNafzrZcQrIsmZRqE29zXL58iIZ9Tuv8f9TX26Pg/hxXmxgVDogLpbTvNAw14Q+4k4+56rJhqdgkpexLQ==";
/// Its public half, as Nix wrote it.
pub(crate) const NIX_PUBLIC_KEY: &str = "test.example-1:j4P4cV5sYFQ6IC6W07zQMNeEPuJOPueqyYanYJKXsS0=";

pub(crate) fn nix_secret_key() -> NixSecretKey {
    NIX_SECRET_KEY.parse().unwrap()
}
