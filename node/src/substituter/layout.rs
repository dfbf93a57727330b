//! Where each stored frame of a NAR lies within the file that is served for it.
//!
//! # Invariants
//! - The frames of a layout, one after the other, are exactly the file whose hash the layout is remembered by; a
//!   NAR published again from other frames has another file hash, so a remembered layout is never stale.
//! - Remembered layouts take at most [`LAYOUT_BYTES_MAX`] of memory.

use std::ops::Range;
use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;
use tetryx_protocol::hash::{ChunkHash, FileHash, ManifestHash};
use tetryx_state::records::NarRecord;
use tetryx_store::{ChunkStore, StoreError};

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
}

/// Why a NAR's layout cannot be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum LayoutError {
    /// The manifest is not on this node, or is damaged.
    #[error("the manifest {manifest} cannot be read")]
    Manifest {
        manifest: ManifestHash,
        source: Box<StoreError>,
    },
    /// The index cannot say where the chunks are.
    #[error("the chunks of the manifest {manifest} cannot be located")]
    Locate {
        manifest: ManifestHash,
        source: Box<StoreError>,
    },
    /// A chunk of a live manifest is not on this node.
    #[error(
        "chunk {chunk} of the manifest {manifest} is not on this node; run a scrub, or push the path again"
    )]
    ChunkGone {
        manifest: ManifestHash,
        chunk: ChunkHash,
    },
    /// The frames are not those that were published.
    #[error(
        "the frames of the manifest {manifest} take {found} bytes, its record says {recorded}; run a scrub"
    )]
    SizeDiffers {
        manifest: ManifestHash,
        found: u64,
        recorded: u64,
    },
}

impl Layout {
    /// Reads the manifest and asks the index for every frame's length. Blocks.
    pub(super) fn read(store: &ChunkStore, nar: &NarRecord) -> Result<Self, LayoutError> {
        let name = nar.manifest;
        let manifest = store.manifest(&name).map_err(|source| LayoutError::Manifest {
            manifest: name,
            source: Box::new(source),
        })?;
        let hashes: Vec<ChunkHash> = manifest.chunks.iter().map(|chunk| chunk.hash).collect();
        let found = store.locate(&hashes).map_err(|source| LayoutError::Locate {
            manifest: name,
            source: Box::new(source),
        })?;
        let mut ends = Vec::with_capacity(hashes.len());
        let mut end = 0_u64;
        for (chunk, location) in hashes.iter().zip(found) {
            let location = location.ok_or(LayoutError::ChunkGone {
                manifest: name,
                chunk: *chunk,
            })?;
            end += u64::from(location.frame_len);
            ends.push(end);
        }
        if end != nar.file_size {
            return Err(LayoutError::SizeDiffers {
                manifest: name,
                found: end,
                recorded: nar.file_size,
            });
        }
        Ok(Self { hashes, ends })
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

    /// The layout, read if need be. Blocks.
    pub(super) fn get_or_read(
        &self,
        store: &ChunkStore,
        nar: &NarRecord,
    ) -> Result<Arc<Layout>, LayoutError> {
        self.kept
            .get_or_insert_with(&nar.file_hash, || Layout::read(store, nar).map(Arc::new))
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
