//! Scrub: reads everything back and checks it against its name.

use std::collections::BTreeSet;

use tetryx_protocol::frame::FrameOpener;
use tetryx_protocol::hash::{ChunkHash, ManifestHash};

use crate::error::StoreError;
use crate::record::{Key, RECORD_HEADER_LEN, SEGMENT_HEADER_LEN, Slot, is_intact, segment_name};
use crate::scan::{Found, scan};
use crate::store::{ChunkStore, Inner};

/// What a scrub found.
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

impl VerifyReport {
    fn add(&mut self, key: &Key) {
        match key {
            Key::Chunk(chunk) => self.corrupt_chunks.push(*chunk),
            Key::Manifest(manifest) => self.corrupt_manifests.push(*manifest),
        }
    }
}

impl ChunkStore {
    /// Reads every segment as [`ChunkStore::verify_segment`] does.
    ///
    /// # Errors
    /// [`StoreError::Disk`] or [`StoreError::Index`]; what is corrupt is no error but in the report.
    pub fn verify(&self) -> Result<VerifyReport, StoreError> {
        let mut total = VerifyReport::default();
        for segment in self.segments()? {
            let report = self.verify_segment(segment)?;
            total.segments += report.segments;
            total.records += report.records;
            total.bytes += report.bytes;
            total.corrupt_chunks.extend(report.corrupt_chunks);
            total.corrupt_manifests.extend(report.corrupt_manifests);
        }
        Ok(total)
    }

    /// The numbers of the segments, ascending: what a scrub at a polite rate walks through.
    ///
    /// # Errors
    /// [`StoreError::Disk`].
    pub fn segments(&self) -> Result<Vec<u32>, StoreError> {
        self.inner.segment_numbers()
    }

    /// Reads one segment: checks the checksum of each record, decompresses each chunk and checks
    /// its BLAKE3. A segment that a collection has removed meanwhile yields an empty report.
    ///
    /// # Errors
    /// As [`ChunkStore::verify`].
    pub fn verify_segment(&self, segment: u32) -> Result<VerifyReport, StoreError> {
        self.inner.verify_segment(segment)
    }
}

impl Inner {
    fn verify_segment(&self, number: u32) -> Result<VerifyReport, StoreError> {
        let mut report = VerifyReport::default();
        let file = match self.segments.file(number) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(report),
            Err(source) => return Err(StoreError::disk("open", &segment_name(number), source)),
        };
        report.segments = 1;
        report.bytes = self.segment_len(number)?;
        let mut opener = FrameOpener::new();
        let mut good = BTreeSet::new();
        scan(file.as_ref(), number, u64::from(SEGMENT_HEADER_LEN), |met| {
            if let Found::Record {
                header, slot, bytes, ..
            } = met
                && is_intact(bytes, &header.key, &slot)
                && is_named_right(&header.key, &slot, bytes, &mut opener)
            {
                good.insert(slot.offset);
            }
            Ok(())
        })?;
        for (key, slot) in self.named_in(number)? {
            report.records += 1;
            if good.contains(&slot.offset) {
                continue;
            }
            // It may have been appended, or moved, since the scan: look at it by itself.
            if self.catalog.get(&key)?.slot() != Some(slot) || self.is_good(&key, &slot, &mut opener)? {
                continue;
            }
            self.catalog.damage(&key, &slot);
            report.add(&key);
        }
        Ok(report)
    }

    fn is_good(&self, key: &Key, slot: &Slot, opener: &mut FrameOpener) -> Result<bool, StoreError> {
        let payloads = match self.read_payloads(&[*key]) {
            Ok(payloads) => payloads,
            Err(StoreError::Corrupt { .. } | StoreError::CorruptManifest { .. }) => return Ok(false),
            Err(StoreError::ChunkAbsent { .. } | StoreError::ManifestAbsent { .. }) => return Ok(true),
            Err(error) => return Err(error),
        };
        Ok(payloads
            .iter()
            .all(|payload| opens(key, slot.raw_len, payload, opener)))
    }
}

fn is_named_right(key: &Key, slot: &Slot, record: &[u8], opener: &mut FrameOpener) -> bool {
    record
        .get(RECORD_HEADER_LEN as usize..)
        .is_some_and(|payload| opens(key, slot.raw_len, payload, opener))
}

/// Whether a payload is what its name says.
fn opens(key: &Key, raw_len: u32, payload: &[u8], opener: &mut FrameOpener) -> bool {
    match key {
        Key::Chunk(chunk) => opener.open(payload, *chunk, raw_len).is_ok(),
        Key::Manifest(manifest) => ManifestHash::of(payload) == *manifest,
    }
}
