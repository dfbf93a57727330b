//! What lies durably in the packs of a machine's disk, whether a node runs on it or not.
//!
//! # Invariants
//! - Only what was appended since the last look is read, unless a pack was changed where it had been read already.
//! - What counts would be there after a power cut at the moment of the look.
//!
//! # Non-goals
//! - What the node's index says: a collection may have given up what still lies in a pack.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use tetryx_protocol::hash::{ChunkHash, ManifestHash};
use tetryx_protocol::manifest::Manifest;
use tetryx_store::disk::{DurableFile, DurableVersion, MemoryDisk};
use tetryx_store::{Object, RecordState, read_pack};

/// Where a store's packs lie on a machine's disk.
const PACKS: &str = "chunks/";

/// What one disk holds.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    packs: BTreeMap<String, Pack>,
    /// Intact records of each object.
    whole: HashMap<Object, u32>,
    manifests: BTreeMap<ManifestHash, Arc<Manifest>>,
    /// Objects of which an intact record was damaged where it lay.
    hit: BTreeSet<Object>,
}

#[derive(Debug)]
struct Pack {
    version: DurableVersion,
    len: u64,
    /// Where the last record ends.
    end: u64,
    whole: Vec<Object>,
}

/// What changed since the last look.
#[derive(Debug, Default)]
pub(super) struct News {
    pub(super) changed: bool,
    /// Objects of which no intact record is left.
    pub(super) gone: Vec<Object>,
    /// Records whose checksum holds though they hold something else than they say.
    pub(super) lies: Vec<Object>,
}

impl Shelf {
    /// Looks at what changed on the disk.
    pub(super) fn look(&mut self, disk: &MemoryDisk) -> News {
        let mut news = News::default();
        let files = disk.durable_files(PACKS);
        let mut dropped: Vec<Object> = Vec::new();
        let names: BTreeSet<&str> = files.iter().map(|file| file.name.as_str()).collect();
        let removed: Vec<String> = self
            .packs
            .keys()
            .filter(|name| !names.contains(name.as_str()))
            .cloned()
            .collect();
        for name in removed {
            dropped.extend(self.packs.remove(&name).into_iter().flat_map(|pack| pack.whole));
            news.changed = true;
        }
        for file in &files {
            let known = self.packs.get(&file.name);
            if known.is_some_and(|pack| pack.version == file.version && pack.len == file.len) {
                continue;
            }
            news.changed = true;
            match known {
                Some(pack) if pack.version == file.version => self.read(disk, file, &mut news),
                _ => dropped.extend(self.read_anew(disk, file, &mut news)),
            }
        }
        for object in dropped {
            let Some(count) = self.whole.get_mut(&object) else {
                continue;
            };
            *count -= 1;
            if *count == 0 {
                self.whole.remove(&object);
                if let Object::Manifest(manifest) = object {
                    self.manifests.remove(&manifest);
                }
                news.gone.push(object);
            }
        }
        news
    }

    /// Takes note that the disk is lost with all that was on it.
    pub(super) fn lose(&mut self) -> News {
        let gone: Vec<Object> = self.whole.drain().map(|(object, _)| object).collect();
        self.hit.extend(gone.iter().copied());
        self.packs.clear();
        self.manifests.clear();
        News {
            changed: !gone.is_empty(),
            gone,
            lies: Vec::new(),
        }
    }

    /// Reads what was appended to a pack.
    fn read(&mut self, disk: &MemoryDisk, file: &DurableFile, news: &mut News) {
        let pack = self.packs.entry(file.name.clone()).or_insert_with(|| Pack {
            version: file.version,
            len: 0,
            end: 0,
            whole: Vec::new(),
        });
        pack.len = file.len;
        let name = file.name.trim_start_matches(PACKS);
        let tail = disk.durable_content(&file.name, pack.end).unwrap_or_default();
        let records = read_pack(name, pack.end, &tail).expect("bytes in memory can be read");
        for record in records.into_iter().flatten() {
            pack.end = record.end;
            match record.state {
                RecordState::Damaged => continue,
                RecordState::Lie => {
                    news.lies.push(record.object);
                    continue;
                }
                RecordState::Chunk => {}
                RecordState::Manifest(manifest) => {
                    if let Object::Manifest(hash) = record.object {
                        self.manifests.insert(hash, Arc::new(manifest));
                    }
                }
            }
            pack.whole.push(record.object);
            *self.whole.entry(record.object).or_default() += 1;
        }
    }

    /// Reads a whole pack, which is another one or was changed; returns what it held before. What was damaged where it
    /// lay is noted.
    fn read_anew(&mut self, disk: &MemoryDisk, file: &DurableFile, news: &mut News) -> Vec<Object> {
        let before = self.packs.remove(&file.name);
        self.read(disk, file, news);
        let Some(before) = before else {
            return Vec::new();
        };
        if before.version.is_damaged_into(&file.version) {
            let now: BTreeSet<Object> = self.packs[&file.name].whole.iter().copied().collect();
            let hit = before.whole.iter().filter(|object| !now.contains(object));
            self.hit.extend(hit.copied());
        }
        before.whole
    }

    /// Whether an intact record of it is durable.
    pub(super) fn has(&self, object: &Object) -> bool {
        self.whole.contains_key(object)
    }

    /// Whether an intact record of it was damaged by the disk.
    pub(super) fn was_hit(&self, object: &Object) -> bool {
        self.hit.contains(object)
    }

    /// What was damaged and is not there otherwise.
    pub(super) fn damaged(&self) -> Vec<Object> {
        let damaged = self.hit.iter().filter(|object| !self.has(object));
        damaged.copied().collect()
    }

    /// The chunks of which an intact record was damaged.
    pub(super) fn hit_chunks(&self) -> Vec<ChunkHash> {
        let chunks = self.hit.iter().filter_map(|object| match object {
            Object::Chunk(chunk) => Some(*chunk),
            Object::Manifest(_) => None,
        });
        chunks.collect()
    }

    /// A manifest, if it is there.
    pub(super) fn manifest(&self, manifest: &ManifestHash) -> Option<&Arc<Manifest>> {
        self.manifests.get(manifest)
    }

    /// All manifests that are there.
    pub(super) fn manifests(&self) -> impl Iterator<Item = (&ManifestHash, &Arc<Manifest>)> {
        self.manifests.iter()
    }
}

/// A manifest and its chunks, each once.
pub(super) fn objects(hash: &ManifestHash, manifest: &Manifest) -> BTreeSet<Object> {
    let chunks = manifest.chunks.iter().map(|chunk| Object::Chunk(chunk.hash));
    chunks.chain([Object::Manifest(*hash)]).collect()
}

#[cfg(test)]
mod tests {
    use tetryx_store::disk::Survivors;
    use tetryx_store::{ChunkStore, PinId, StoreConfig};

    use super::*;
    use crate::disk::Folder;
    use crate::nar::TestChunk;

    const PACK: &str = "chunks/segment-0000000001.pack";

    fn open(disk: &Arc<MemoryDisk>) -> ChunkStore {
        ChunkStore::open(Folder::new(disk, PACKS), StoreConfig::default()).expect("a good disk")
    }

    fn put(store: &ChunkStore, raw: &[u8]) -> Object {
        let chunk = TestChunk::new(raw);
        store
            .put(&[(chunk.hash, chunk.raw_len, chunk.frame)])
            .expect("a good disk");
        Object::Chunk(chunk.hash)
    }

    #[test]
    fn only_what_is_durable_is_there() {
        let disk = Arc::new(MemoryDisk::new());
        let (store, mut shelf) = (open(&disk), Shelf::default());
        let one = put(&store, b"one");
        shelf.look(&disk);
        assert!(!shelf.has(&one));
        store.flush().expect("a good disk");
        assert!(shelf.look(&disk).changed);
        assert!(shelf.has(&one));
        assert!(!shelf.look(&disk).changed);
        let two = put(&store, b"two");
        disk.restart(Survivors::Synced);
        shelf.look(&disk);
        assert!(shelf.has(&one) && !shelf.has(&two));
    }

    #[test]
    fn what_a_collection_removed_is_gone_and_what_the_disk_damaged_is_hit() {
        let disk = Arc::new(MemoryDisk::new());
        let (store, mut shelf) = (open(&disk), Shelf::default());
        let (one, two) = (put(&store, b"one"), put(&store, b"two"));
        let Object::Chunk(kept) = two else { unreachable!() };
        store.pin(&PinId([1; 16]), &[kept]);
        store.flush().expect("a good disk");
        shelf.look(&disk);
        // What is less than half live is written anew.
        let more = put(&store, &crate::nar::noise(3, 4000));
        store.flush().expect("a good disk");
        store.collect(|| Ok(Vec::new())).expect("a good disk");
        let news = shelf.look(&disk);
        assert!(news.gone.contains(&one) && !news.gone.contains(&two));
        assert!(!shelf.was_hit(&one) && !shelf.was_hit(&more) && shelf.has(&two));

        let files = disk.durable_files(PACKS);
        let last = files
            .iter()
            .rfind(|file| file.name.ends_with(".pack"))
            .expect("a pack");
        disk.flip_bit(&last.name, last.len - 1, 0);
        assert_eq!(shelf.look(&disk).gone, [two]);
        assert!(shelf.was_hit(&two) && !shelf.has(&two));
    }

    #[test]
    fn what_was_on_a_lost_disk_is_hit() {
        let disk = Arc::new(MemoryDisk::new());
        let (store, mut shelf) = (open(&disk), Shelf::default());
        let one = put(&store, b"one");
        store.flush().expect("a good disk");
        shelf.look(&disk);
        assert_eq!(shelf.lose().gone, [one]);
        assert!(shelf.was_hit(&one) && !shelf.has(&one));
        assert!(!shelf.lose().changed);
    }

    #[test]
    fn a_record_that_holds_something_else_is_a_lie() {
        let disk = Arc::new(MemoryDisk::new());
        let (store, mut shelf) = (open(&disk), Shelf::default());
        let (honest, other) = (TestChunk::new(b"one"), ChunkHash::of(b"two"));
        store
            .put(&[(other, honest.raw_len, honest.frame)])
            .expect("a good disk");
        store.flush().expect("a good disk");
        assert_eq!(shelf.look(&disk).lies, [Object::Chunk(other)]);
        assert!(!shelf.has(&Object::Chunk(other)));
        assert!(disk.durable_content(PACK, 0).is_some());
    }
}
