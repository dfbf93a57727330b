//! Where each stored frame of a NAR lies within the file that is served for it.
//!
//! The file that a record describes is made of the frames of the node that took the upload. Another node may hold a
//! chunk of it compressed by another zstd, from another client: then its file has another length, and is served as
//! what it is, under an entity tag of its own.
//!
//! # Invariants
//! - A layout is remembered by the file hash of the record, and forgotten when a frame turns out to have another length
//!   than it says: a chunk that was corrupt or collected may have come back from elsewhere.
//! - Remembered layouts take at most [`LAYOUT_BYTES_MAX`] of memory.

use std::ops::Range;
use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;
use tetryx_protocol::hash::{ChunkHash, FileHash};
use tetryx_protocol::manifest::Manifest;
use tetryx_state::records::NarRecord;
use tetryx_store::{ChunkStore, HeldNar, StoreError};

/// Memory for remembered layouts: about 400,000 chunks, which are 25 GB of NARs.
const LAYOUT_BYTES_MAX: u64 = 16 << 20;

/// Bytes a chunk takes in a layout: its hash and the end of its frame.
const BYTES_PER_CHUNK: u64 = 40;

/// The frames of one NAR in order.
#[derive(Debug)]
pub(super) struct Layout {
    hashes: Vec<ChunkHash>,
    /// End of each frame within the served file; ascending.
    ends: Vec<u64>,
    /// What names the file.
    etag: String,
}

impl Layout {
    /// The layout of the NAR as it is here. `None` when something of it is missing. Blocks.
    pub(super) fn read(store: &ChunkStore, nar: &NarRecord) -> Result<Option<Self>, StoreError> {
        let held = store.hold_nar(&nar.manifest)?;
        Ok(held
            .filter(HeldNar::is_complete)
            .map(|held| Self::of(&held.manifest, &held.frame_lens, nar)))
    }

    /// The layout of frames of these lengths, in the order of the manifest.
    pub(super) fn of(manifest: &Manifest, frame_lens: &[u32], nar: &NarRecord) -> Self {
        let mut end = 0_u64;
        let ends: Vec<u64> = frame_lens
            .iter()
            .map(|len| {
                end += u64::from(*len);
                end
            })
            .collect();
        let recorded = nar.file_hash.to_nix32();
        let etag = if end == nar.file_size {
            format!("\"{recorded}\"")
        } else {
            let mut hash = blake3::Hasher::new();
            for end in &ends {
                hash.update(&end.to_le_bytes());
            }
            format!("\"{recorded}-{}\"", &hash.finalize().to_hex()[..16])
        };
        Self {
            hashes: manifest.chunks.iter().map(|chunk| chunk.hash).collect(),
            ends,
            etag,
        }
    }

    /// The length of the file in bytes.
    pub(super) fn file_size(&self) -> u64 {
        self.ends.last().copied().unwrap_or(0)
    }

    /// The entity tag of the file, quotes included: the hash of the file that the record describes, or that with a
    /// mark of its own for the file that is here instead.
    pub(super) fn etag(&self) -> &str {
        &self.etag
    }

    /// The chunks whose frames hold the bytes `part`, which is not empty and lies within the file.
    pub(super) fn frames_of(&self, part: &Range<u64>) -> Range<usize> {
        let first = self.ends.partition_point(|end| *end <= part.start);
        let last = self.ends.partition_point(|end| *end < part.end);
        first..last + 1
    }

    /// As many frames from `frames.start` on as fit into `bytes_max`, and at least one.
    pub(super) fn batch(&self, frames: &Range<usize>, bytes_max: u64) -> Range<usize> {
        let limit = self.start_of(frames.start) + bytes_max;
        let fitting = self.ends[frames.start..frames.end].partition_point(|end| *end <= limit);
        frames.start..frames.start + fitting.max(1)
    }

    /// Where the frame begins in the file.
    pub(super) fn start_of(&self, frame: usize) -> u64 {
        frame.checked_sub(1).map_or(0, |before| self.ends[before])
    }

    /// The length of the frame in bytes.
    pub(super) fn len_of(&self, frame: usize) -> u64 {
        self.ends[frame] - self.start_of(frame)
    }

    /// The chunks of these frames.
    pub(super) fn hashes(&self, frames: Range<usize>) -> &[ChunkHash] {
        &self.hashes[frames]
    }
}

/// The layouts used lately.
#[derive(Debug)]
pub(super) struct Layouts {
    kept: Cache<FileHash, Arc<Layout>, ByChunks>,
}

#[derive(Clone, Debug)]
struct ByChunks;

impl Weighter<FileHash, Arc<Layout>> for ByChunks {
    fn weight(&self, _: &FileHash, layout: &Arc<Layout>) -> u64 {
        128 + layout.hashes.len() as u64 * BYTES_PER_CHUNK
    }
}

impl Layouts {
    pub(super) fn new() -> Self {
        Self {
            kept: Cache::with_weighter(1024, LAYOUT_BYTES_MAX, ByChunks),
        }
    }

    /// The layout, if it is remembered. Does not block.
    pub(super) fn get(&self, nar: &NarRecord) -> Option<Arc<Layout>> {
        self.kept.get(&nar.file_hash)
    }

    /// About how much memory they take.
    pub(super) fn bytes(&self) -> u64 {
        self.kept.weight()
    }

    pub(super) fn keep(&self, nar: &NarRecord, layout: &Arc<Layout>) {
        self.kept.insert(nar.file_hash, Arc::clone(layout));
    }

    /// The layout turned out not to be what is here.
    pub(super) fn forget(&self, file: &FileHash) {
        self.kept.remove(file);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(lens: &[u64]) -> Layout {
        let ends = lens.iter().scan(0, |end, len| {
            *end += len;
            Some(*end)
        });
        let hashes = (0..lens.len()).map(|n| ChunkHash::of(&n.to_le_bytes())).collect();
        Layout {
            hashes,
            ends: ends.collect(),
            etag: "\"tag\"".to_owned(),
        }
    }

    #[test]
    fn every_part_is_covered_by_exactly_the_frames_that_overlap_it() {
        let lens = [3, 1, 5, 2];
        let layout = layout(&lens);
        let total = 11;
        for start in 0..total {
            for end in start + 1..=total {
                let overlapping: Vec<usize> = (0..lens.len())
                    .filter(|frame| {
                        layout.start_of(*frame) < end
                            && layout.start_of(*frame) + layout.len_of(*frame) > start
                    })
                    .collect();
                assert_eq!(
                    layout.frames_of(&(start..end)).collect::<Vec<_>>(),
                    overlapping,
                    "{start}..{end}"
                );
            }
        }
    }

    #[test]
    fn a_batch_takes_what_fits_and_never_nothing() {
        let layout = layout(&[3, 1, 5, 2]);
        assert_eq!(layout.batch(&(0..4), 4), 0..2);
        assert_eq!(layout.batch(&(0..4), 100), 0..4);
        assert_eq!(layout.batch(&(0..1), 100), 0..1);
        assert_eq!(layout.batch(&(2..4), 1), 2..3);
    }
}
