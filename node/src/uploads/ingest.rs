//! One NAR on its way in: the upload stream is decoded, verified and stored, and becomes a manifest.
//!
//! # Invariants
//! - A frame is stored only after it was opened and its content hashed to its name.
//! - Every chunk of the stream is pinned by the session before the store is asked for it or given it.
//! - What is hashed for the file hash are the frames that the store holds and will serve. They can differ from the
//!   frames that came in: another client may have sent the same chunk compressed by another zstd.
//! - Memory is bounded: one group of chunks ([`GROUP_RAW_MAX`] raw bytes and one frame more), plus 36 bytes for each
//!   chunk of the NAR, of which there are at most `nar_size / CHUNK_MIN + 1`.
//! - Nothing becomes visible here.
//!
//! # Non-goals
//! - Checking that the cuts are where `Cutter` would have made them: a client that cuts elsewhere only loses
//!   deduplication.
//! - Hiding whether a chunk exists from somebody who knows its hash: who may push to some cache can ask.
//!   The content is not given away: a `Have` counts only in a stream whose SHA-256 the client already knows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tetryx_protocol::chunking::CHUNK_MIN;
use tetryx_protocol::frame::{FrameError, FrameOpener};
use tetryx_protocol::hash::{ChunkHash, FileHash, ManifestHash, NarHash};
use tetryx_protocol::manifest::{Manifest, ManifestChunk};
use tetryx_protocol::upload::{UploadDecoder, UploadEntry, UploadError};
use tetryx_store::{ChunkStore, PinId, StoreError};

/// Raw bytes of chunks that are looked up, read, verified and stored together.
const GROUP_RAW_MAX: u64 = 2 << 20;

/// What the client says it sends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    pub(super) nar_hash: NarHash,
    pub(super) nar_size: u64,
}

/// A NAR that is stored whole under the session's pin, and whose hash and size are those that were claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verified {
    pub(super) nar_hash: NarHash,
    pub(super) nar_size: u64,
    pub(super) manifest: ManifestHash,
    pub(super) file_hash: FileHash,
    pub(super) file_size: u64,
}

/// A verified NAR, and what it took.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ingested {
    pub(super) nar: Verified,
    pub(super) chunks: u64,
    /// Chunks whose frames came with the stream.
    pub(super) received_chunks: u64,
    /// Bytes of those frames.
    pub(super) received_bytes: u64,
}

/// Why a stream was refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum IngestError {
    #[error("the stream of NAR {nar_hash} is malformed")]
    Stream { nar_hash: NarHash, source: UploadError },
    #[error(
        "chunk {hash} (number {position} of the NAR) is damaged; compress it again and repeat the upload"
    )]
    CorruptChunk {
        hash: ChunkHash,
        position: usize,
        source: Box<FrameError>,
    },
    #[error(
        "chunk {hash} (number {position} of the NAR) was not sent and this node does not have it; ask which chunks \
         are missing, send those, and repeat the upload"
    )]
    MissingChunk { hash: ChunkHash, position: usize },
    #[error(
        "the NAR {nar_hash} comes in too many small chunks: chunk {position} of a NAR of {nar_size} bytes; cut it \
         into chunks of at least {CHUNK_MIN} bytes"
    )]
    TooManyChunks {
        nar_hash: NarHash,
        nar_size: u64,
        position: usize,
    },
    #[error("the stream holds {found}{} bytes of NAR, nar_size says {claimed}; pack the path again", .at_least)]
    NarSizeMismatch {
        found: u64,
        at_least: &'static str,
        claimed: u64,
    },
    #[error("the stream does not hash to {claimed}; pack the path again and repeat the upload")]
    NarHashMismatch { claimed: NarHash },
    #[error("a chunk of the NAR {nar_hash} could not be stored")]
    Store {
        nar_hash: NarHash,
        source: Box<StoreError>,
    },
}

/// Pins chunks, then tells which of them are not here and have to be sent.
pub(super) fn missing(
    store: &ChunkStore,
    pin: &PinId,
    chunks: &[ChunkHash],
) -> Result<Vec<ChunkHash>, StoreError> {
    #[cfg(feature = "mutants")]
    if tetryx_environment::mutant::Mutant::PinAfterAnswer.is_active() {
        let looked = chunks.iter().map(|chunk| Ok((*chunk, store.contains(chunk)?)));
        let looked = looked.filter(|looked| !matches!(looked, Ok((_, true))));
        return looked.map(|looked| Ok(looked?.0)).collect();
    }
    store.missing(pin, chunks)
}

/// Pins what the answers to an upload were about, now that it is too late.
#[cfg(feature = "mutants")]
pub(super) fn pin_late(store: &ChunkStore, pin: &PinId, manifest: &ManifestHash) {
    if tetryx_environment::mutant::Mutant::PinAfterAnswer.is_active()
        && let Ok(manifest) = store.manifest(manifest)
    {
        let chunks: Vec<ChunkHash> = manifest.chunks.iter().map(|chunk| chunk.hash).collect();
        store.pin(pin, &chunks);
    }
}

/// The state of one upload stream between two blocks of it. Its calls block and compute: not for async threads.
///
/// Call [`feed`](Self::feed) with each block, then [`finish`](Self::finish). After an error it is used up.
pub(super) struct Ingest {
    store: Arc<ChunkStore>,
    pin: PinId,
    claim: Claim,
    decoder: UploadDecoder,
    opener: FrameOpener,
    nar: Sha256,
    file: Sha256,
    nar_len: u64,
    file_len: u64,
    chunks: Vec<ManifestChunk>,
    received_chunks: u64,
    received_bytes: u64,
}

/// An entry that names a chunk, waiting for its group.
struct Wanted {
    hash: ChunkHash,
    raw_len: u32,
    /// The frame, when it came with the entry.
    sent: Option<Bytes>,
}

impl Ingest {
    pub(super) fn new(store: Arc<ChunkStore>, pin: PinId, claim: Claim) -> Self {
        Self {
            store,
            pin,
            claim,
            decoder: UploadDecoder::new(),
            opener: FrameOpener::new(),
            nar: Sha256::new(),
            file: Sha256::new(),
            nar_len: 0,
            file_len: 0,
            chunks: Vec::new(),
            received_chunks: 0,
            received_bytes: 0,
        }
    }

    /// Takes the next blocks of the stream. All whole entries in them are verified and stored when it returns, so a
    /// client that breaks off has lost at most one entry.
    pub(super) fn feed(&mut self, blocks: impl IntoIterator<Item = Bytes>) -> Result<(), IngestError> {
        let mut group = Vec::new();
        let mut group_raw = 0;
        for block in blocks {
            self.decoder.push(block);
            while let Some(entry) = self.decoder.next().map_err(|source| self.malformed(source))? {
                let wanted = match entry {
                    UploadEntry::Have { hash, raw_len } => Wanted {
                        hash,
                        raw_len,
                        sent: None,
                    },
                    UploadEntry::Chunk { hash, raw_len, frame } => Wanted {
                        hash,
                        raw_len,
                        sent: Some(frame),
                    },
                    // The decoder has checked its counts, and lets nothing follow it.
                    UploadEntry::End { .. } => continue,
                };
                group_raw += u64::from(wanted.raw_len);
                group.push(wanted);
                if group_raw >= GROUP_RAW_MAX {
                    self.take(std::mem::take(&mut group))?;
                    group_raw = 0;
                }
            }
        }
        self.take(group)
    }

    /// The stream is over: checks that it was whole and holds what was claimed, and stores the manifest.
    pub(super) fn finish(self) -> Result<Ingested, IngestError> {
        self.decoder.finish().map_err(|source| self.malformed(source))?;
        let Claim { nar_hash, nar_size } = self.claim;
        if self.nar_len != nar_size {
            return Err(IngestError::NarSizeMismatch {
                found: self.nar_len,
                at_least: "",
                claimed: nar_size,
            });
        }
        // The hash that was found is not told: a client that only knows a chunk's name must not learn its content's.
        if NarHash::from_bytes(self.nar.finalize().into()) != nar_hash {
            return Err(IngestError::NarHashMismatch { claimed: nar_hash });
        }
        let manifest = Manifest {
            nar_hash,
            nar_size,
            chunks: self.chunks,
        };
        let chunks = manifest.chunks.len() as u64;
        self.store.pin_manifests(&self.pin, &[manifest.hash()]);
        let manifest = self
            .store
            .put_manifest(&manifest)
            .map_err(|source| IngestError::Store {
                nar_hash,
                source: Box::new(source),
            })?;
        let file_hash = FileHash::from_bytes(self.file.finalize().into());
        Ok(Ingested {
            nar: Verified {
                nar_hash,
                nar_size,
                manifest,
                file_hash,
                file_size: self.file_len,
            },
            chunks,
            received_chunks: self.received_chunks,
            received_bytes: self.received_bytes,
        })
    }

    fn malformed(&self, source: UploadError) -> IngestError {
        IngestError::Stream {
            nar_hash: self.claim.nar_hash,
            source,
        }
    }

    /// Verifies, hashes and stores a group of chunks in their order.
    fn take(&mut self, group: Vec<Wanted>) -> Result<(), IngestError> {
        if group.is_empty() {
            return Ok(());
        }
        self.admit(&group)?;
        let nar_hash = self.claim.nar_hash;
        let failed = |source| IngestError::Store {
            nar_hash,
            source: Box::new(source),
        };
        let mut frames = self.stored_frames(&group).map_err(failed)?;

        // Verified in order, so that the SHA-256 of the NAR grows in order. What was good before a bad chunk is
        // stored all the same: it need not be sent again.
        let mut fresh = Vec::new();
        let verified = group
            .iter()
            .try_for_each(|wanted| self.verify(wanted, &mut frames, &mut fresh));
        self.keep(&fresh, &mut frames).map_err(failed)?;
        verified?;

        for wanted in &group {
            let frame = &frames[&wanted.hash];
            self.file.update(frame);
            self.file_len += frame.len() as u64;
        }
        Ok(())
    }

    /// Refuses a group that would make the NAR longer than was claimed, or its manifest larger than is reasonable.
    fn admit(&mut self, group: &[Wanted]) -> Result<(), IngestError> {
        let Claim { nar_hash, nar_size } = self.claim;
        let raw: u64 = group.iter().map(|wanted| u64::from(wanted.raw_len)).sum();
        if self.nar_len + raw > nar_size {
            let found = self.nar_len + raw;
            return Err(IngestError::NarSizeMismatch {
                found,
                at_least: " or more",
                claimed: nar_size,
            });
        }
        let position = self.chunks.len() + group.len();
        if position as u64 > nar_size / CHUNK_MIN as u64 + 1 {
            return Err(IngestError::TooManyChunks {
                nar_hash,
                nar_size,
                position,
            });
        }
        Ok(())
    }

    /// Pins the group's chunks and reads the frames of those that the store has.
    fn stored_frames(&self, group: &[Wanted]) -> Result<BTreeMap<ChunkHash, Bytes>, StoreError> {
        let mut hashes: Vec<ChunkHash> = group.iter().map(|wanted| wanted.hash).collect();
        hashes.sort_unstable();
        hashes.dedup();
        loop {
            let missing: BTreeSet<ChunkHash> =
                missing(&self.store, &self.pin, &hashes)?.into_iter().collect();
            hashes.retain(|hash| !missing.contains(hash));
            match self.store.read_frames(&hashes) {
                Ok(frames) => return Ok(hashes.into_iter().zip(frames).collect()),
                // It counts as missing from now on, and the frame that was sent replaces it.
                Err(StoreError::Corrupt { chunk, .. }) if hashes.contains(&chunk) => {
                    tracing::warn!(%chunk, "a stored chunk is damaged; taking it from the upload, if it is in it");
                    hashes.retain(|hash| *hash != chunk);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Opens the frame of one chunk, hashes its content into the NAR's hash, and notes the frame in `fresh` and in
    /// `frames` if the store does not have it.
    fn verify(
        &mut self,
        wanted: &Wanted,
        frames: &mut BTreeMap<ChunkHash, Bytes>,
        fresh: &mut Vec<(ChunkHash, u32, Bytes)>,
    ) -> Result<(), IngestError> {
        let Wanted { hash, raw_len, sent } = wanted;
        let position = self.chunks.len() + 1;
        if let Some(sent) = sent {
            self.received_chunks += 1;
            self.received_bytes += sent.len() as u64;
        }
        let (frame, stored) = match (frames.get(hash), sent) {
            (Some(stored), _) => (stored, true),
            (None, Some(sent)) => (sent, false),
            (None, None) => {
                return Err(IngestError::MissingChunk {
                    hash: *hash,
                    position,
                });
            }
        };
        let raw = self
            .opener
            .open(frame, *hash, *raw_len)
            .map_err(|source| IngestError::CorruptChunk {
                hash: *hash,
                position,
                source: Box::new(source),
            })?;
        self.nar.update(raw);
        self.nar_len += raw.len() as u64;
        self.chunks.push(ManifestChunk {
            hash: *hash,
            raw_len: *raw_len,
        });
        if !stored {
            let frame = frame.clone();
            fresh.push((*hash, *raw_len, frame.clone()));
            frames.insert(*hash, frame);
        }
        Ok(())
    }

    /// Stores frames. Where another upload was faster, `frames` gets the frame that is now stored.
    fn keep(
        &self,
        fresh: &[(ChunkHash, u32, Bytes)],
        frames: &mut BTreeMap<ChunkHash, Bytes>,
    ) -> Result<(), StoreError> {
        if self.store.put(fresh)?.present > 0 {
            let hashes: Vec<ChunkHash> = fresh.iter().map(|(hash, ..)| *hash).collect();
            frames.extend(hashes.iter().copied().zip(self.store.read_frames(&hashes)?));
        }
        Ok(())
    }
}
