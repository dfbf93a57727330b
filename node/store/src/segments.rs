//! Open segment files, a bounded number of them.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::disk::{Disk, DiskFile, OpenMode};
use crate::record::segment_name;

/// How many segment files are kept open for reading (8 GiB of packs at the default size).
const OPEN_MAX: usize = 128;

/// The segments on the disk and the handles to some of them.
#[derive(Debug)]
pub(crate) struct Segments {
    disk: Arc<dyn Disk>,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    files: HashMap<u32, (Arc<dyn DiskFile>, u64)>,
    /// Counts uses: the handle used longest ago is closed first.
    uses: u64,
}

impl Segments {
    pub(crate) fn new(disk: Arc<dyn Disk>) -> Self {
        Self {
            disk,
            open: Mutex::default(),
        }
    }

    /// The file of a segment; `NotFound` when there is no such segment.
    pub(crate) fn file(&self, segment: u32) -> io::Result<Arc<dyn DiskFile>> {
        let mut open = self.open.lock();
        open.uses += 1;
        let uses = open.uses;
        if let Some((file, used)) = open.files.get_mut(&segment) {
            *used = uses;
            return Ok(Arc::clone(file));
        }
        let file = self.disk.open(&segment_name(segment), OpenMode::Existing)?;
        if open.files.len() >= OPEN_MAX
            && let Some(oldest) = open
                .files
                .iter()
                .min_by_key(|(_, (_, used))| *used)
                .map(|(number, _)| *number)
        {
            open.files.remove(&oldest);
        }
        open.files.insert(segment, (Arc::clone(&file), uses));
        Ok(file)
    }

    /// Removes a segment. Reads that have its file go on; its space is free when they end.
    pub(crate) fn remove(&self, segment: u32) -> io::Result<()> {
        let mut open = self.open.lock();
        open.files.remove(&segment);
        match self.disk.remove(&segment_name(segment)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}
