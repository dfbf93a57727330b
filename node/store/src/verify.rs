//! A scrub in one go: everything is read back and checked against its name.

use tetryx_protocol::hash::{ChunkHash, ManifestHash};
use tetryx_protocol::time::UtcTime;

use crate::error::StoreError;
use crate::inspect::Object;
use crate::store::ChunkStore;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Segments read.
    pub segments: u64,
    /// Chunks and manifests read that the index names.
    pub records: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Chunks that are corrupt; they count as missing for uploads from now on.
    pub corrupt_chunks: Vec<ChunkHash>,
    /// Manifests that are corrupt.
    pub corrupt_manifests: Vec<ManifestHash>,
}

impl ChunkStore {
    /// Goes through a round of scrubbing from beginning to end, beside the one that is saved. The report names all that
    /// is corrupt, with what was known before.
    ///
    /// # Errors
    /// Those of [`ChunkStore::scrub`]; what is corrupt is no error but in the report.
    pub fn verify(&self) -> Result<VerifyReport, StoreError> {
        let mut round = self.begin_scrub(UtcTime::from_unix_ms(0))?;
        while !self.scrub(&mut round, u64::MAX)?.is_over {}
        let mut report = VerifyReport {
            segments: round.segments,
            records: round.records,
            bytes: round.bytes,
            ..VerifyReport::default()
        };
        for object in self.damaged() {
            match object {
                Object::Chunk(chunk) => report.corrupt_chunks.push(chunk),
                Object::Manifest(manifest) => report.corrupt_manifests.push(manifest),
            }
        }
        Ok(report)
    }
}
