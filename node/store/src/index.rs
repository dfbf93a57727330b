//! The index on disk: redb tables that say where each chunk and manifest lies.
//!
//! It may lag behind the packs, never ahead of them: a transaction names only bytes that are
//! durable. All it holds can be found again by scanning the packs, except the pins
//! and how far a scrub has come.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use parking_lot::RwLock;
use redb::{Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition};
use tracing::{info, warn};

use crate::disk::{Disk, IndexBackend, OpenMode};
use crate::error::StoreError;
use crate::pins::PinId;
use crate::record::{Key, Slot};

/// The file's name.
pub(crate) const INDEX_NAME: &str = "index.redb";
/// Its presence says: do not trust the index, rebuild it.
const REBUILD_NAME: &str = "index.rebuild";
/// An index up to this size (1.8 million chunks) is checked page by page at each start, which takes
/// about a second then; a larger one is committed in the way that lets redb open it without a walk.
pub(crate) const CHECKED_BYTES_MAX: u64 = 256 << 20;

const CHUNKS: TableDefinition<'_, &[u8; 32], &[u8; Slot::LEN]> = TableDefinition::new("chunks-1");
const MANIFESTS: TableDefinition<'_, &[u8; 32], &[u8; Slot::LEN]> = TableDefinition::new("manifests-1");
/// Segment number to the offset up to which the tables above reflect it.
const SEGMENTS: TableDefinition<'_, u32, u64> = TableDefinition::new("segments-1");
/// Keys ([`Key::to_bytes`]) whose record is corrupt.
const DAMAGED: TableDefinition<'_, &[u8; Key::LEN], ()> = TableDefinition::new("damaged-1");
/// (pin, row number) to keys back to back.
const PINS: TableDefinition<'_, (&[u8; 16], u32), &[u8]> = TableDefinition::new("pins-1");
/// Pin to the milliseconds since the Unix epoch at which it was last touched.
const PIN_TOUCHES: TableDefinition<'_, &[u8; 16], i64> = TableDefinition::new("pin-touches-1");

/// The round of scrubbing that goes on, and the last one that ended, as [`crate::scrub`] encodes them.
const SCRUB: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("scrub-1");
const SCRUB_ROUND: &str = "round";
const SCRUB_LAST: &str = "last";

/// One transaction's worth of changes.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// New places, or `None` for keys that are gone.
    pub(crate) entries: Vec<(Key, Option<Slot>)>,
    /// How far each segment is reflected now.
    pub(crate) ends: BTreeMap<u32, u64>,
    /// Segments that are gone.
    pub(crate) removed: Vec<u32>,
    /// Keys whose record is corrupt (`true`) or no longer (`false`).
    pub(crate) damaged: Vec<(Key, bool)>,
    pub(crate) pins: PinChanges,
}

/// Changes of the stored pins.
#[derive(Debug, Default)]
pub(crate) struct PinChanges {
    pub(crate) dropped: Vec<PinId>,
    pub(crate) rows: Vec<(PinId, u32, Vec<Key>)>,
    pub(crate) touches: Vec<(PinId, i64)>,
}

/// A stored pin.
#[derive(Debug, Default)]
pub(crate) struct StoredPin {
    pub(crate) keys: Vec<Key>,
    pub(crate) rows: u32,
    pub(crate) touched: Option<i64>,
}

/// The open index.
#[derive(Debug)]
pub(crate) struct Index {
    disk: Arc<dyn Disk>,
    cache_bytes: usize,
    checked_bytes_max: u64,
    /// `None` only while a reopening has failed: the next access tries again.
    database: RwLock<Option<Database>>,
}

impl Index {
    /// Opens the index; a missing or corrupt one is replaced by an empty one. The second value
    /// tells whether it is empty for that reason.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        cache_bytes: u64,
        checked_bytes_max: u64,
    ) -> Result<(Self, bool), StoreError> {
        let cache_bytes = usize::try_from(cache_bytes).unwrap_or(usize::MAX);
        let names = disk
            .list()
            .map_err(|source| StoreError::disk("list", ".", source))?;
        let present = names.iter().any(|name| name == INDEX_NAME);
        let mut fresh = !present;
        if names.iter().any(|name| name == REBUILD_NAME) {
            warn!("the chunk index failed in the last run; rebuilding it from the packs");
            remove_if_present(disk.as_ref(), INDEX_NAME)?;
            remove_if_present(disk.as_ref(), REBUILD_NAME)?;
            fresh = true;
        }
        let database = match open_database(disk.as_ref(), cache_bytes, checked_bytes_max) {
            Ok(database) => database,
            Err(error) if is_corruption(&error) => {
                warn!(%error, "the chunk index is corrupt; rebuilding it from the packs");
                remove_if_present(disk.as_ref(), INDEX_NAME)?;
                fresh = true;
                open_database(disk.as_ref(), cache_bytes, 0)
                    .map_err(|error| StoreError::index("create", error))?
            }
            Err(error) => return Err(StoreError::index("open", error)),
        };
        disk.sync_dir()
            .map_err(|source| StoreError::disk("sync", ".", source))?;
        let index = Self {
            disk,
            cache_bytes,
            checked_bytes_max,
            database: RwLock::new(Some(database)),
        };
        // A database that lacks its tables, or holds others under their names, is no index of ours.
        if let Err(error) = index.write(create_tables) {
            if fresh {
                return Err(error);
            }
            warn!(%error, "the chunk index does not hold its tables; rebuilding it from the packs");
            index.reset()?;
            fresh = true;
        }
        Ok((index, fresh))
    }

    /// Empties the index.
    pub(crate) fn reset(&self) -> Result<(), StoreError> {
        let mut database = self.database.write();
        *database = None;
        remove_if_present(self.disk.as_ref(), INDEX_NAME)?;
        *database = Some(
            open_database(self.disk.as_ref(), self.cache_bytes, 0)
                .map_err(|error| StoreError::index("create", error))?,
        );
        drop(database);
        self.disk
            .sync_dir()
            .map_err(|source| StoreError::disk("sync", ".", source))?;
        self.write(create_tables)
    }

    /// Looks up many keys in one snapshot.
    pub(crate) fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Slot>>, StoreError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        self.read(|transaction| {
            let chunks = transaction.open_table(CHUNKS)?;
            let manifests = transaction.open_table(MANIFESTS)?;
            keys.iter()
                .map(|key| {
                    let table = match key {
                        Key::Chunk(_) => &chunks,
                        Key::Manifest(_) => &manifests,
                    };
                    Ok(table.get(key.hash())?.map(|slot| Slot::from_bytes(slot.value())))
                })
                .collect()
        })
    }

    /// Up to `limit` entries after a key, in key order: all chunks, then all manifests.
    pub(crate) fn page(&self, after: Option<Key>, limit: usize) -> Result<Vec<(Key, Slot)>, StoreError> {
        self.read(|transaction| {
            let mut page = Vec::new();
            let zero = [0; 32];
            let chunks_from = match &after {
                None => Some(Bound::Included(&zero)),
                Some(Key::Chunk(hash)) => Some(Bound::Excluded(hash.as_bytes())),
                Some(Key::Manifest(_)) => None,
            };
            if let Some(from) = chunks_from {
                let table = transaction.open_table(CHUNKS)?;
                for entry in table.range::<&[u8; 32]>((from, Bound::Unbounded))?.take(limit) {
                    let (hash, slot) = entry?;
                    let key = Key::Chunk(tetryx_protocol::hash::ChunkHash::from_bytes(*hash.value()));
                    page.push((key, Slot::from_bytes(slot.value())));
                }
            }
            let manifests_from = match &after {
                Some(Key::Manifest(hash)) => Bound::Excluded(hash.as_bytes()),
                _ => Bound::Included(&zero),
            };
            let table = transaction.open_table(MANIFESTS)?;
            let room = limit - page.len();
            for entry in table
                .range::<&[u8; 32]>((manifests_from, Bound::Unbounded))?
                .take(room)
            {
                let (hash, slot) = entry?;
                let key = Key::Manifest(tetryx_protocol::hash::ManifestHash::from_bytes(*hash.value()));
                page.push((key, Slot::from_bytes(slot.value())));
            }
            Ok(page)
        })
    }

    /// How many chunks and manifests are indexed.
    pub(crate) fn counts(&self) -> Result<(u64, u64), StoreError> {
        self.read(|transaction| {
            Ok((
                transaction.open_table(CHUNKS)?.len()?,
                transaction.open_table(MANIFESTS)?.len()?,
            ))
        })
    }

    /// How far each segment is reflected.
    pub(crate) fn ends(&self) -> Result<BTreeMap<u32, u64>, StoreError> {
        self.read(|transaction| {
            let table = transaction.open_table(SEGMENTS)?;
            let mut ends = BTreeMap::new();
            for entry in table.iter()? {
                let (segment, end) = entry?;
                ends.insert(segment.value(), end.value());
            }
            Ok(ends)
        })
    }

    /// How far one segment is reflected.
    pub(crate) fn end_of(&self, segment: u32) -> Result<Option<u64>, StoreError> {
        self.read(|transaction| {
            let table = transaction.open_table(SEGMENTS)?;
            Ok(table.get(segment)?.map(|end| end.value()))
        })
    }

    /// The round of scrubbing that has not ended.
    pub(crate) fn scrub_round(&self) -> Result<Option<Vec<u8>>, StoreError> {
        self.scrub(SCRUB_ROUND)
    }

    /// The last round of scrubbing that ended.
    pub(crate) fn last_scrub(&self) -> Result<Option<Vec<u8>>, StoreError> {
        self.scrub(SCRUB_LAST)
    }

    fn scrub(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(|transaction| {
            let table = transaction.open_table(SCRUB)?;
            Ok(table.get(name)?.map(|bytes| bytes.value().to_vec()))
        })
    }

    /// Keeps the round of scrubbing that goes on.
    pub(crate) fn save_scrub_round(&self, round: &[u8]) -> Result<(), StoreError> {
        self.write(|transaction| {
            transaction.open_table(SCRUB)?.insert(SCRUB_ROUND, round)?;
            Ok(())
        })
    }

    /// Ends the round of scrubbing that goes on.
    pub(crate) fn end_scrub_round(&self, done: &[u8]) -> Result<(), StoreError> {
        self.write(|transaction| {
            let mut table = transaction.open_table(SCRUB)?;
            table.remove(SCRUB_ROUND)?;
            table.insert(SCRUB_LAST, done)?;
            Ok(())
        })
    }

    /// The keys whose record is known to be corrupt.
    pub(crate) fn damaged(&self) -> Result<Vec<Key>, StoreError> {
        self.read(|transaction| {
            let table = transaction.open_table(DAMAGED)?;
            let mut keys = Vec::new();
            for entry in table.iter()? {
                keys.extend(Key::from_bytes(entry?.0.value()));
            }
            Ok(keys)
        })
    }

    /// The stored pins.
    pub(crate) fn pins(&self) -> Result<BTreeMap<PinId, StoredPin>, StoreError> {
        self.read(|transaction| {
            let mut pins: BTreeMap<PinId, StoredPin> = BTreeMap::new();
            for entry in transaction.open_table(PINS)?.iter()? {
                let (id, keys) = entry?;
                let (id, row) = id.value();
                let pin = pins.entry(PinId(*id)).or_default();
                pin.rows = pin.rows.max(row + 1);
                let (keys, _) = keys.value().as_chunks::<{ Key::LEN }>();
                pin.keys.extend(keys.iter().filter_map(Key::from_bytes));
            }
            for entry in transaction.open_table(PIN_TOUCHES)?.iter()? {
                let (id, touched) = entry?;
                pins.entry(PinId(*id.value())).or_default().touched = Some(touched.value());
            }
            Ok(pins)
        })
    }

    /// Applies changes in one durable transaction.
    pub(crate) fn commit(&self, changes: &Changes) -> Result<(), StoreError> {
        self.write(|transaction| {
            let mut chunks = transaction.open_table(CHUNKS)?;
            let mut manifests = transaction.open_table(MANIFESTS)?;
            for (key, slot) in &changes.entries {
                let table = match key {
                    Key::Chunk(_) => &mut chunks,
                    Key::Manifest(_) => &mut manifests,
                };
                match slot {
                    Some(slot) => table.insert(key.hash(), &slot.to_bytes())?,
                    None => table.remove(key.hash())?,
                };
            }
            let mut segments = transaction.open_table(SEGMENTS)?;
            for (segment, end) in &changes.ends {
                segments.insert(segment, end)?;
            }
            for segment in &changes.removed {
                segments.remove(segment)?;
            }
            let mut damaged = transaction.open_table(DAMAGED)?;
            for (key, is_damaged) in &changes.damaged {
                if *is_damaged {
                    damaged.insert(&key.to_bytes(), ())?;
                } else {
                    damaged.remove(&key.to_bytes())?;
                }
            }
            commit_pins(transaction, &changes.pins)
        })
    }

    /// The file's size in bytes.
    pub(crate) fn bytes(&self) -> Result<u64, StoreError> {
        self.disk
            .open(INDEX_NAME, OpenMode::Existing)
            .and_then(|file| file.len())
            .map_err(|source| StoreError::disk("measure", INDEX_NAME, source))
    }

    fn read<T>(
        &self,
        run: impl FnOnce(&redb::ReadTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        self.with_database("read", |database| run(&database.begin_read()?))
    }

    fn write(
        &self,
        run: impl FnOnce(&redb::WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<(), StoreError> {
        let quick_repair = self.bytes()? > self.checked_bytes_max;
        self.with_database("write", |database| {
            let mut transaction = database.begin_write()?;
            transaction.set_quick_repair(quick_repair);
            run(&transaction)?;
            Ok(transaction.commit()?)
        })
    }

    /// Runs against the database. After an I/O error redb refuses all further work, so it is
    /// closed here and opened again by the next access, which finds the last committed state.
    fn with_database<T>(
        &self,
        operation: &'static str,
        run: impl FnOnce(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        let mut guard = self.database.read();
        if guard.is_none() {
            drop(guard);
            self.reopen()?;
            guard = self.database.read();
        }
        let Some(database) = guard.as_ref() else {
            return Err(StoreError::index(operation, redb::Error::PreviousIo));
        };
        let error = match run(database) {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        drop(guard);
        match &error {
            redb::Error::Io(_) | redb::Error::PreviousIo | redb::Error::Backend(_) => {
                *self.database.write() = None;
            }
            redb::Error::Corrupted(_) => self.ask_for_rebuild(),
            _ => {}
        }
        Err(StoreError::index(operation, error))
    }

    fn reopen(&self) -> Result<(), StoreError> {
        let mut database = self.database.write();
        if database.is_none() {
            info!("opening the chunk index again after an I/O error");
            *database = Some(
                open_database(self.disk.as_ref(), self.cache_bytes, 0)
                    .map_err(|error| StoreError::index("open", error))?,
            );
        }
        Ok(())
    }

    /// Leaves a mark that makes the next start rebuild the index.
    fn ask_for_rebuild(&self) {
        let marked = self
            .disk
            .open(REBUILD_NAME, OpenMode::Create)
            .and_then(|_| self.disk.sync_dir());
        if let Err(error) = marked {
            warn!(%error, "cannot mark the corrupt chunk index for rebuilding; delete {INDEX_NAME} by hand");
        }
    }
}

fn open_database(
    disk: &dyn Disk,
    cache_bytes: usize,
    checked_bytes_max: u64,
) -> Result<Database, redb::Error> {
    let file = disk.open(INDEX_NAME, OpenMode::Create)?;
    let check = file.len()? <= checked_bytes_max;
    Ok(Database::builder()
        .set_cache_size(cache_bytes)
        .set_check_integrity_on_open(check)
        .create_with_backend(IndexBackend(file))?)
}

/// Whether the file is not, or no longer, a database.
fn is_corruption(error: &redb::Error) -> bool {
    match error {
        redb::Error::Corrupted(_) | redb::Error::UpgradeRequired(_) | redb::Error::RepairAborted => true,
        redb::Error::Io(source) => {
            matches!(
                source.kind(),
                std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof
            )
        }
        _ => false,
    }
}

fn remove_if_present(disk: &dyn Disk, name: &str) -> Result<(), StoreError> {
    match disk.remove(name) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(StoreError::disk("remove", name, error))
        }
        _ => Ok(()),
    }
}

fn create_tables(transaction: &redb::WriteTransaction) -> Result<(), redb::Error> {
    transaction.open_table(CHUNKS)?;
    transaction.open_table(MANIFESTS)?;
    transaction.open_table(SEGMENTS)?;
    transaction.open_table(DAMAGED)?;
    transaction.open_table(PINS)?;
    transaction.open_table(PIN_TOUCHES)?;
    transaction.open_table(SCRUB)?;
    Ok(())
}

fn commit_pins(transaction: &redb::WriteTransaction, changes: &PinChanges) -> Result<(), redb::Error> {
    let mut pins = transaction.open_table(PINS)?;
    let mut touches = transaction.open_table(PIN_TOUCHES)?;
    for id in &changes.dropped {
        pins.retain_in((&id.0, 0)..=(&id.0, u32::MAX), |_, _| false)?;
        touches.remove(&id.0)?;
    }
    for (id, row, keys) in &changes.rows {
        let bytes = keys.iter().flat_map(|key| key.to_bytes()).collect::<Vec<_>>();
        pins.insert((&id.0, *row), bytes.as_slice())?;
    }
    for (id, touched) in &changes.touches {
        touches.insert(&id.0, touched)?;
    }
    Ok(())
}
