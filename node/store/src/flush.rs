//! Makes what was put durable.
//!
//! Callers that arrive together share one sync: one of them syncs for all that was appended by
//! then, the others wait for it and look again. After the sync an index transaction follows when
//! new pins have to be durable too or when enough entries wait; otherwise the entries stay in the
//! overlay, since a scan of the packs finds them after a crash.
//!
//! # When a sync fails
//! Linux drops the error and calls the pages clean, so a second sync of the same file proves
//! nothing. The bytes beyond the last good sync are therefore written once more, into a new
//! segment, from what can still be read of them; only if that is not intact is something lost, and
//! then no flush succeeds again in this run.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::catalog::Position;
use crate::disk::DiskFile;
use crate::error::StoreError;
use crate::ingest::Purpose;
use crate::record::{Key, SEGMENT_HEADER_LEN, Slot, is_intact, segment_name};
use crate::store::{ChunkStore, Inner};
use crate::writer::Batch;

/// Waiting entries from which on a flush moves them into the index.
const PENDING_COMMIT: usize = 4 << 10;

/// How far flushing has come.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Everything appended up to here is durable.
    pub(crate) synced: Position,
    /// The pins up to this sequence number are durable.
    pins: u64,
    /// Whether a caller is syncing.
    running: bool,
    /// Records that a failed sync has lost.
    lost: u64,
}

impl Progress {
    /// Right after opening: everything found is durable.
    pub(crate) fn at(synced: Position, pins: u64) -> Self {
        Self {
            synced,
            pins,
            ..Self::default()
        }
    }
}

impl ChunkStore {
    /// Returns once everything that was put and pinned before the call is durable.
    ///
    /// # Errors
    /// [`StoreError::Full`]: try again once there is room; [`StoreError::Lost`]: the disk has
    /// failed; otherwise [`StoreError::Disk`] or [`StoreError::Index`]. After an error nothing that
    /// was put since the last success may be called durable.
    pub fn flush(&self) -> Result<(), StoreError> {
        self.inner.flush(false)
    }

    /// As [`ChunkStore::flush`], and brings the index up to date, so that the next opening has
    /// nothing to scan.
    ///
    /// # Errors
    /// As [`ChunkStore::flush`].
    pub fn close(&self) -> Result<(), StoreError> {
        self.inner.flush(true)
    }
}

impl Inner {
    /// Flushes; `commit` asks for an index transaction in any case.
    pub(crate) fn flush(&self, commit: bool) -> Result<(), StoreError> {
        let position = self.writer.lock().position();
        let sequence = self.pins.lock().sequence();
        let mut progress = self.progress.lock();
        loop {
            if progress.lost > 0 {
                return Err(StoreError::Lost { lost: progress.lost });
            }
            if !commit && progress.synced >= position && progress.pins >= sequence {
                return Ok(());
            }
            if !progress.running {
                break;
            }
            self.flushed.wait(&mut progress);
        }
        progress.running = true;
        drop(progress);
        let _turn = Turn(self);
        self.flush_all(commit)
    }

    /// Flushes on behalf of all callers; only one thread at a time is here.
    fn flush_all(&self, commit: bool) -> Result<(), StoreError> {
        self.rescue()?;
        let (synced, ends) = match self.sync() {
            Err(error) if !self.writer.lock().suspects.is_empty() => {
                tracing::error!(%error, "a sync failed; writing the bytes again into a new segment");
                self.rescue()?;
                self.sync()?
            }
            other => other?,
        };
        let pins_durable = {
            let mut progress = self.progress.lock();
            progress.synced = synced;
            progress.pins
        };
        let unindexed = self.writer.lock().unindexed();
        if commit
            || self.pins.lock().sequence() > pins_durable
            || self.catalog.pending_len() >= PENDING_COMMIT
            || unindexed >= self.config.segment_bytes
        {
            self.commit(synced, ends)?;
        }
        Ok(())
    }

    /// Syncs what was appended so far; returns up to where, and where the unindexed segments end.
    fn sync(&self) -> Result<(Position, BTreeMap<u32, u64>), StoreError> {
        let mut unsynced = self.writer.lock().take_unsynced();
        while let Some((number, file)) = unsynced.files.pop_first() {
            if let Err(source) = file.sync() {
                let mut writer = self.writer.lock();
                writer.suspects.insert(number);
                if writer.open_number() == Some(number) {
                    writer.seal();
                }
                writer.put_back(unsynced.files, unsynced.directory);
                return Err(StoreError::disk("sync", &segment_name(number), source));
            }
        }
        if unsynced.directory
            && let Err(source) = self.disk.sync_dir()
        {
            self.writer.lock().put_back(BTreeMap::new(), true);
            return Err(StoreError::disk("sync", ".", source));
        }
        Ok((unsynced.position, unsynced.ends))
    }

    /// Moves what is durable into the index, with the pins, in one transaction.
    fn commit(&self, synced: Position, ends: BTreeMap<u32, u64>) -> Result<(), StoreError> {
        let mut changes = self.catalog.changes(synced);
        changes.removed = std::mem::take(&mut self.writer.lock().unindexed_removals);
        changes.ends = ends;
        let sequence = {
            let mut pins = self.pins.lock();
            changes.pins = pins.take_changes();
            pins.sequence()
        };
        if let Err(error) = self.catalog.commit(&changes) {
            let needed = (changes.entries.len() as u64 + 1) * Slot::LEN as u64 * 4;
            self.writer.lock().unindexed_removals.extend(changes.removed);
            self.pins.lock().put_back(changes.pins);
            return Err(self.with_numbers(error, needed));
        }
        self.writer.lock().indexed(&changes.ends);
        let mut progress = self.progress.lock();
        progress.pins = progress.pins.max(sequence);
        Ok(())
    }

    /// Writes again what lies beyond the last good sync in segments whose sync failed.
    fn rescue(&self) -> Result<(), StoreError> {
        let suspects: Vec<u32> = self.writer.lock().suspects.iter().copied().collect();
        let synced = self.progress.lock().synced;
        for number in suspects {
            let durable_end = match number == synced.segment {
                true => synced.offset,
                false => u64::from(SEGMENT_HEADER_LEN),
            };
            let mut moving = self.catalog.pending_in(number, durable_end);
            moving.sort_unstable_by_key(|(_, slot)| slot.offset);
            let lost = self.relocate(&moving, Purpose::Collection)?.bad;
            for (key, slot) in &lost {
                tracing::error!(object = ?key, segment = slot.segment, "lost by a failed sync");
            }
            self.catalog
                .remove(&lost.iter().map(|(key, _)| *key).collect::<Vec<_>>());
            self.progress.lock().lost += lost.len() as u64;
            let mut writer = self.writer.lock();
            writer.suspects.remove(&number);
            let end = writer.ends.insert(number, durable_end).unwrap_or(durable_end);
            writer.cut(end.saturating_sub(durable_end));
            drop(writer);
            let cut = self
                .segments
                .file(number)
                .and_then(|file| file.set_len(durable_end));
            if let Err(error) = cut {
                tracing::warn!(%error, segment = number, "cannot cut off what a failed sync left");
            }
        }
        let lost = self.progress.lock().lost;
        if lost > 0 {
            Err(StoreError::Lost { lost })
        } else {
            Ok(())
        }
    }

    /// Appends copies of records and points their keys at the copies, unless a key has moved or
    /// gone meanwhile. The keys of records that are not intact are left alone.
    pub(crate) fn relocate(
        &self,
        records: &[(Key, Slot)],
        purpose: Purpose,
    ) -> Result<Relocated, StoreError> {
        const STEP: u64 = 1 << 20;
        let mut done = Relocated::default();
        let mut rest = records;
        while let Some((_, first)) = rest.first() {
            let file: Arc<dyn DiskFile> = self
                .segments
                .file(first.segment)
                .map_err(|source| StoreError::disk("open", &segment_name(first.segment), source))?;
            let mut batch = Batch::default();
            let mut old = Vec::new();
            let mut taken = 0;
            while let Some((key, slot)) = rest.get(taken) {
                if slot.segment != first.segment || (taken > 0 && batch.len() as u64 >= STEP) {
                    break;
                }
                taken += 1;
                let len = usize::try_from(slot.record_len()).expect("a record's length fits the memory");
                let mut record = vec![0; len];
                let read = file
                    .read_at(u64::from(slot.offset), &mut record)
                    .map_err(|source| StoreError::disk("read", &segment_name(slot.segment), source))?;
                if is_intact(&record[..read], key, slot) {
                    let payload = &record[len - slot.frame_len as usize..];
                    batch.push(*key, slot.raw_len, payload, slot.frame_len);
                    old.push(*slot);
                } else {
                    done.bad.push((*key, *slot));
                }
            }
            rest = &rest[taken..];
            let mut writer = self.writer.lock();
            let (current, _) = self.catalog.get_many(&batch.keys())?;
            let keep: Vec<bool> = current
                .iter()
                .zip(&old)
                .map(|(current, old)| current.slot() == Some(*old))
                .collect();
            let copies = self.append(&mut writer, &batch, &keep, purpose, |_| false)?;
            done.bytes += copies.iter().map(Slot::record_len).sum::<u64>();
        }
        Ok(done)
    }
}

/// What came of moving records.
#[derive(Debug, Default)]
pub(crate) struct Relocated {
    /// Bytes of the records that were copied.
    pub(crate) bytes: u64,
    /// Records that are not intact.
    pub(crate) bad: Vec<(Key, Slot)>,
}

/// One thread's turn to flush; ends it however the thread leaves.
struct Turn<'a>(&'a Inner);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.progress.lock().running = false;
        self.0.flushed.notify_all();
    }
}
