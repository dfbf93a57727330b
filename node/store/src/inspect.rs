//! Reads packs without a store: for whoever checks what lies on a disk, whether a node runs on it or not.
//!
//! # Non-goals
//! - Saying what a store would hand out: of several records of one object its index names one, and a collection may have
//!   given up what still lies there.

use std::io;

use tetryx_protocol::frame::FrameOpener;
use tetryx_protocol::hash::{ChunkHash, ManifestHash};
use tetryx_protocol::manifest::Manifest;

use crate::disk::DiskFile;
use crate::error::StoreError;
use crate::record::{Key, RECORD_HEADER_LEN, SEGMENT_HEADER_LEN, segment_number};
use crate::scan::{Found, scan};

/// The name of something stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Object {
    /// A chunk.
    Chunk(ChunkHash),
    /// A manifest.
    Manifest(ManifestHash),
}

impl From<Key> for Object {
    fn from(key: Key) -> Self {
        match key {
            Key::Chunk(chunk) => Self::Chunk(chunk),
            Key::Manifest(manifest) => Self::Manifest(manifest),
        }
    }
}

/// How a record is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordState {
    /// An intact chunk.
    Chunk,
    /// An intact manifest, and what it says.
    Manifest(Manifest),
    /// Its checksum fails: nobody is handed its bytes.
    Damaged,
    /// Its checksum holds, and its bytes are not what it is named after.
    Lie,
}

/// A record of a pack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackRecord {
    /// What it is named after.
    pub object: Object,
    /// Where it ends in the pack.
    pub end: u64,
    /// How it is.
    pub state: RecordState,
}

/// The records of a pack called `name` from the byte `from` on: 0, or where a record ends. `tail` holds the bytes from
/// there to the end. What ends beyond it is left out. `None` if no pack has such a name.
///
/// # Errors
/// None in practice: the bytes are in memory.
pub fn read_pack(name: &str, from: u64, tail: &[u8]) -> Result<Option<Vec<PackRecord>>, StoreError> {
    let Some(number) = segment_number(name) else {
        return Ok(None);
    };
    let mut opener = FrameOpener::new();
    let mut records = Vec::new();
    let file = Tail {
        from,
        bytes: tail.to_vec(),
    };
    scan(&file, number, from.max(u64::from(SEGMENT_HEADER_LEN)), |found| {
        let (header, slot, state) = match found {
            Found::Gap { .. } => return Ok(()),
            Found::Damaged(header, slot) => (header, slot, RecordState::Damaged),
            Found::Record {
                header, slot, bytes, ..
            } => {
                let payload = &bytes[RECORD_HEADER_LEN as usize..];
                let state = state_of(&header.key, header.raw_len, payload, &mut opener);
                (header, slot, state)
            }
        };
        records.push(PackRecord {
            object: header.key.into(),
            end: slot.end(),
            state,
        });
        Ok(())
    })?;
    Ok(Some(records))
}

fn state_of(key: &Key, raw_len: u32, payload: &[u8], opener: &mut FrameOpener) -> RecordState {
    match key {
        Key::Chunk(chunk) => match opener.open(payload, *chunk, raw_len) {
            Ok(_) => RecordState::Chunk,
            Err(_) => RecordState::Lie,
        },
        Key::Manifest(manifest) if ManifestHash::of(payload) == *manifest => {
            Manifest::decode(payload).map_or(RecordState::Lie, RecordState::Manifest)
        }
        Key::Manifest(_) => RecordState::Lie,
    }
}

/// The end of a file, in memory.
#[derive(Debug)]
struct Tail {
    from: u64,
    bytes: Vec<u8>,
}

impl DiskFile for Tail {
    fn len(&self) -> io::Result<u64> {
        Ok(self.from + self.bytes.len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let at = offset.checked_sub(self.from).ok_or(io::ErrorKind::InvalidInput)?;
        let at = usize::try_from(at).unwrap_or(usize::MAX).min(self.bytes.len());
        let read = buffer.len().min(self.bytes.len() - at);
        buffer[..read].copy_from_slice(&self.bytes[at..at + read]);
        Ok(read)
    }

    fn write_at(&self, _: u64, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tetryx_protocol::frame::Compressor;
    use tetryx_protocol::hash::NarHash;
    use tetryx_protocol::manifest::ManifestChunk;

    use super::*;
    use crate::{ChunkStore, MemoryDisk, StoreConfig};

    const PACK: &str = "segment-0000000001.pack";

    fn put(store: &ChunkStore, name: &[u8], raw: &[u8]) -> ChunkHash {
        let chunk = ChunkHash::of(name);
        let frame = Compressor::new().compress(raw);
        let raw_len = u32::try_from(raw.len()).unwrap();
        store.put(&[(chunk, raw_len, frame)]).unwrap();
        chunk
    }

    #[test]
    fn a_pack_is_read_in_parts_and_lies_and_damage_show() {
        let disk = Arc::new(MemoryDisk::new());
        let store = ChunkStore::open(Arc::clone(&disk) as _, StoreConfig::default()).unwrap();
        let chunk = put(&store, b"one", b"one");
        let manifest = Manifest {
            nar_hash: NarHash::of(b"one"),
            nar_size: 3,
            chunks: vec![ManifestChunk {
                hash: chunk,
                raw_len: 3,
            }],
        };
        let name = store.put_manifest(&manifest).unwrap();
        let lie = put(&store, b"two", b"six");
        let damaged = put(&store, b"ten", b"ten");
        store.flush().unwrap();
        let bytes = disk.durable_content(PACK, 0).unwrap();
        disk.flip_bit(PACK, bytes.len() as u64 - 1, 3);

        let all = disk.durable_content(PACK, 0).unwrap();
        let records = read_pack(PACK, 0, &all).unwrap().unwrap();
        let seen: Vec<_> = records.iter().map(|r| (r.object, r.state.clone())).collect();
        let expected = [
            (Object::Chunk(chunk), RecordState::Chunk),
            (Object::Manifest(name), RecordState::Manifest(manifest)),
            (Object::Chunk(lie), RecordState::Lie),
            (Object::Chunk(damaged), RecordState::Damaged),
        ];
        assert_eq!(seen, expected);
        let from = records[0].end;
        let tail = disk.durable_content(PACK, from).unwrap();
        assert_eq!(read_pack(PACK, from, &tail).unwrap().unwrap(), records[1..]);
        assert!(read_pack("index.redb", 0, &tail).unwrap().is_none());
    }
}
