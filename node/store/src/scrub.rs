//! Scrub: reads everything back in small steps, and quarantines what is not what its name says.
//!
//! A *round* walks the segments in the order of their numbers, each from its beginning to its end, up to where the last
//! append was when the round began. Whoever runs it decides how fast: one call of [`ChunkStore::scrub`] reads about as
//! many bytes as it is asked to.
//!
//! What is found bad is in *quarantine*: the index keeps its place and a mark. From then on it counts as missing for
//! uploads and fetches, and no byte of it is handed out. A record that is put anew takes its place and ends the
//! quarantine; so does a collection that removes it.
//!
//! # Invariants
//! - Whatever the index names when a round begins, and still names at the same place when the round comes by, is read
//!   and checked: its checksum, and its bytes against its name. What was moved meanwhile was checked when it was copied.
//! - A saved round goes on after a crash where it was saved, or earlier; never later. What it had found by then is in
//!   quarantine after the crash, too.
//! - Nothing is quarantined that reads well when it is looked at by itself: a record may have been moved, or not yet
//!   be wholly written, when the walk met it.
//!
//! # Non-goals
//! - Fetching anew what is bad, and telling people: the node. The index: all it holds can be found again in the packs.

mod stored;

use std::collections::VecDeque;
use std::ops::ControlFlow;

use tetryx_protocol::frame::FrameOpener;
use tetryx_protocol::hash::ManifestHash;
use tetryx_protocol::time::UtcTime;

use crate::catalog::{Entry, Position};
use crate::error::StoreError;
use crate::inspect::Object;
use crate::record::{Key, RECORD_HEADER_LEN, SEGMENT_HEADER_LEN, Slot, is_intact, segment_name};
use crate::scan::{Found, scan_part};
use crate::store::{ChunkStore, Inner};

/// A walk through the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScrubRound {
    /// When it began.
    pub begun: UtcTime,
    /// Segments it has come to.
    pub segments: u64,
    /// Chunks and manifests read that the index names.
    pub records: u64,
    /// Bytes gone through.
    pub bytes: u64,
    /// Bytes there were to go through when it began.
    pub bytes_total: u64,
    /// Chunks and manifests found corrupt that were not known to be.
    pub found: u64,
    /// What comes next.
    at: Position,
    /// Where it ends.
    until: Position,
    /// Behind damage that hides where records begin: what the index has in the rest of the segment.
    by_name: VecDeque<(Key, Slot)>,
}

/// A round that came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScrubDone {
    /// When it began.
    pub begun: UtcTime,
    /// When it ended.
    pub ended: UtcTime,
    /// Chunks and manifests read that the index names.
    pub records: u64,
    /// Bytes gone through.
    pub bytes: u64,
    /// Chunks and manifests found corrupt that were not known to be.
    pub found: u64,
}

/// What one step did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScrubStep {
    /// Bytes gone through.
    pub bytes: u64,
    /// What is in quarantine since.
    pub damaged: Vec<Object>,
    /// Whether the round has come to its end.
    pub is_over: bool,
}

impl ChunkStore {
    /// Begins a round at the first segment. Nothing is stored before [`ChunkStore::save_scrub`].
    ///
    /// # Errors
    /// [`StoreError::Disk`].
    pub fn begin_scrub(&self, now: UtcTime) -> Result<ScrubRound, StoreError> {
        let (until, bytes_total) = {
            let writer = self.inner.writer.lock();
            (writer.position(), writer.used)
        };
        Ok(ScrubRound {
            begun: now,
            segments: 0,
            records: 0,
            bytes: 0,
            bytes_total,
            found: 0,
            at: Position::default(),
            until,
            by_name: VecDeque::new(),
        })
    }

    /// The round that was saved and has not ended.
    ///
    /// # Errors
    /// [`StoreError::Index`].
    pub fn saved_scrub(&self) -> Result<Option<ScrubRound>, StoreError> {
        let bytes = self.inner.catalog.index.scrub_round()?;
        Ok(bytes.and_then(|bytes| ScrubRound::decode(&bytes)))
    }

    /// The last round that came to its end.
    ///
    /// # Errors
    /// [`StoreError::Index`].
    pub fn last_scrub(&self) -> Result<Option<ScrubDone>, StoreError> {
        let bytes = self.inner.catalog.index.last_scrub()?;
        Ok(bytes.and_then(|bytes| ScrubDone::decode(&bytes)))
    }

    /// Goes on with a round for about so many bytes, at least one record.
    ///
    /// # Errors
    /// [`StoreError::Disk`] or [`StoreError::Index`]; the round is where it was, and the step may be taken again. What
    /// is corrupt is no error.
    pub fn scrub(&self, round: &mut ScrubRound, bytes: u64) -> Result<ScrubStep, StoreError> {
        let mut step = ScrubStep::default();
        let mut opener = FrameOpener::new();
        while step.bytes < bytes {
            let left = bytes - step.bytes;
            let is_over = match round.by_name.is_empty() {
                true => self.inner.scrub_part(round, left, &mut step, &mut opener)?,
                false => self.inner.scrub_named(round, left, &mut step, &mut opener)?,
            };
            if is_over {
                step.is_over = true;
                break;
            }
        }
        Ok(step)
    }

    /// Makes the quarantine durable, and where the round is.
    ///
    /// # Errors
    /// Those of [`ChunkStore::flush`].
    pub fn save_scrub(&self, round: &ScrubRound) -> Result<(), StoreError> {
        self.inner.save_quarantine()?;
        self.inner.catalog.index.save_scrub_round(&round.encode())
    }

    /// Makes the quarantine durable, and that the round has ended.
    ///
    /// # Errors
    /// Those of [`ChunkStore::flush`].
    pub fn end_scrub(&self, round: &ScrubRound, now: UtcTime) -> Result<ScrubDone, StoreError> {
        self.inner.save_quarantine()?;
        let done = ScrubDone {
            begun: round.begun,
            ended: now,
            records: round.records,
            bytes: round.bytes,
            found: round.found,
        };
        self.inner.catalog.index.end_scrub_round(&done.encode())?;
        Ok(done)
    }

    /// Everything in quarantine.
    #[must_use]
    pub fn damaged(&self) -> Vec<Object> {
        let keys = self.inner.catalog.damaged();
        keys.into_iter().map(Object::from).collect()
    }
}

impl Inner {
    fn save_quarantine(&self) -> Result<(), StoreError> {
        match self.catalog.has_unsaved_damage() {
            true => self.flush(true),
            false => Ok(()),
        }
    }

    /// Walks on through one segment; whether the round is over.
    fn scrub_part(
        &self,
        round: &mut ScrubRound,
        bytes: u64,
        step: &mut ScrubStep,
        opener: &mut FrameOpener,
    ) -> Result<bool, StoreError> {
        let Some(number) = self.segment_from(round)? else {
            return Ok(true);
        };
        let file = match self.segments.file(number) {
            Ok(file) => file,
            // A collection was faster.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                round.go_to(number + 1);
                return Ok(false);
            }
            Err(source) => return Err(StoreError::disk("open", &segment_name(number), source)),
        };
        let failed = |source| StoreError::disk("measure", &segment_name(number), source);
        let len = file.len().map_err(failed)?;
        let end = match number == round.until.segment {
            true => len.min(round.until.offset),
            false => len,
        };
        let from = round.at.offset.max(u64::from(SEGMENT_HEADER_LEN));
        // What was read lately is in memory; what is on the disk is what counts.
        file.forget_cached(from, bytes);
        let mut met: Vec<(Key, Slot, bool)> = Vec::new();
        let mut lost_at = None;
        let mut came_to = from;
        let walked = scan_part(file.as_ref(), number, from..end, |found| {
            match found {
                Found::Record {
                    header, slot, bytes, ..
                } => {
                    let good = is_intact(bytes, &header.key, &slot)
                        && opens(&header.key, &slot, payload_of(bytes), opener);
                    met.push((header.key, slot, good));
                    came_to = slot.end();
                }
                Found::Damaged(header, slot) => {
                    met.push((header.key, slot, false));
                    came_to = slot.end();
                }
                Found::Gap { offset, .. } => {
                    lost_at = Some(offset);
                    return Ok(ControlFlow::Break(()));
                }
            }
            let has_enough = came_to - from >= bytes;
            Ok(match has_enough {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            })
        });
        match walked {
            Ok(_) => {}
            // A part of the disk that cannot be read: see which records are hit.
            Err(error) if is_bad_medium(&error) => lost_at = Some(came_to),
            Err(error) => return Err(error),
        }
        if lost_at.is_none() && came_to >= end {
            // A pack that is shorter than it was has lost records.
            let known = self.catalog.index.end_of(number)?.unwrap_or(0);
            if known > len && number != round.until.segment {
                lost_at = Some(len);
            }
        }
        let named = match lost_at {
            Some(offset) => self.named_from(number, offset)?,
            None => VecDeque::new(),
        };
        let keys: Vec<Key> = met.iter().map(|(key, ..)| *key).collect();
        let (current, _) = self.catalog.get_many(&keys)?;
        for ((key, slot, good), entry) in met.into_iter().zip(current) {
            // A record that a put or a collection has replaced is nobody's any more.
            if entry.slot() == Some(slot) {
                self.note(round, step, &key, &slot, good, entry, opener)?;
            }
        }
        if round.at.segment != number || round.at.offset == 0 {
            round.segments += 1;
        }
        let walked = came_to - from;
        step.bytes += walked;
        round.bytes += walked;
        round.at = Position {
            segment: number,
            offset: came_to,
        };
        match named.back() {
            Some(_) => round.by_name = named,
            None if lost_at.is_some() || came_to >= end => round.go_to(number + 1),
            None => {}
        }
        Ok(false)
    }

    /// Checks records of which only the index says where they are; whether the round is over.
    fn scrub_named(
        &self,
        round: &mut ScrubRound,
        bytes: u64,
        step: &mut ScrubStep,
        opener: &mut FrameOpener,
    ) -> Result<bool, StoreError> {
        let mut walked = 0;
        while let Some((key, slot)) = round.by_name.front().copied()
            && walked < bytes
        {
            let entry = self.catalog.get(&key)?;
            if entry.slot() == Some(slot) {
                self.note(round, step, &key, &slot, false, entry, opener)?;
            }
            round.by_name.pop_front();
            walked += slot.record_len();
            round.at.offset = slot.end();
        }
        step.bytes += walked;
        round.bytes += walked;
        if round.by_name.is_empty() {
            round.go_to(round.at.segment + 1);
        }
        Ok(false)
    }

    /// Counts a record that the index names, and quarantines it if it is bad.
    #[expect(clippy::too_many_arguments, reason = "one record with what is known of it")]
    fn note(
        &self,
        round: &mut ScrubRound,
        step: &mut ScrubStep,
        key: &Key,
        slot: &Slot,
        good: bool,
        entry: Entry,
        opener: &mut FrameOpener,
    ) -> Result<(), StoreError> {
        round.records += 1;
        let is_known = matches!(entry, Entry::Damaged(_));
        if good || is_known || self.is_good(key, slot, opener)? {
            return Ok(());
        }
        self.catalog.damage(key, slot);
        round.found += 1;
        step.damaged.push(Object::from(*key));
        Ok(())
    }

    /// The segment that the round is in, or the next one there is; `None` at its end.
    fn segment_from(&self, round: &ScrubRound) -> Result<Option<u32>, StoreError> {
        let numbers = self.segment_numbers()?;
        let next = numbers.partition_point(|number| *number < round.at.segment);
        let next = numbers.get(next).copied();
        Ok(next.filter(|number| *number <= round.until.segment))
    }

    /// What the catalog has in a segment from an offset on. Reads the whole index: only after damage.
    fn named_from(&self, number: u32, offset: u64) -> Result<VecDeque<(Key, Slot)>, StoreError> {
        let mut named = self.named_in(number)?;
        named.retain(|(_, slot)| slot.end() > offset);
        Ok(named.into())
    }

    /// Whether a record, read by itself, is what its name says, or lies elsewhere by now.
    fn is_good(&self, key: &Key, slot: &Slot, opener: &mut FrameOpener) -> Result<bool, StoreError> {
        let payloads = match self.read_payloads(&[*key]) {
            Ok(payloads) => payloads,
            Err(StoreError::Corrupt { .. } | StoreError::CorruptManifest { .. }) => return Ok(false),
            Err(StoreError::ChunkAbsent { .. } | StoreError::ManifestAbsent { .. }) => return Ok(true),
            Err(error) if is_bad_medium(&error) => return Ok(false),
            Err(error) => return Err(error),
        };
        Ok(payloads.iter().all(|payload| opens(key, slot, payload, opener)))
    }
}

/// Whether the disk says that it cannot read these bytes, and would read others.
fn is_bad_medium(error: &StoreError) -> bool {
    let io_error = rustix::io::Errno::IO.raw_os_error();
    matches!(error, StoreError::Disk { source, .. } if source.raw_os_error() == Some(io_error))
}

fn payload_of(record: &[u8]) -> &[u8] {
    record.get(RECORD_HEADER_LEN as usize..).unwrap_or_default()
}

/// Whether a payload is what its name says.
fn opens(key: &Key, slot: &Slot, payload: &[u8], opener: &mut FrameOpener) -> bool {
    match key {
        Key::Chunk(chunk) => opener.open(payload, *chunk, slot.raw_len).is_ok(),
        Key::Manifest(manifest) => ManifestHash::of(payload) == *manifest,
    }
}

impl ScrubRound {
    fn go_to(&mut self, segment: u32) {
        self.at = Position { segment, offset: 0 };
    }
}
