//! What all uploads of one push share.

use std::path::PathBuf;
use std::sync::Arc;

use tetryx_protocol::id::UploadId;
use tetryx_protocol::store_path::StoreDir;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::closure::LocalPath;
use super::compress::Compressors;
use super::error::PushError;
use super::progress::Progress;
use crate::api::Client;

/// Raw bytes that may be in memory between reading and sending, over all jobs, in KiB.
const BUDGET_KIB: usize = 32 << 10;

/// A running push.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) client: Client,
    pub(crate) upload: UploadId,
    pub(crate) store_dir: StoreDir,
    pub(crate) compressors: Arc<Compressors>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) budget: Budget,
}

impl Session {
    pub(crate) fn new(
        client: Client,
        upload: UploadId,
        store_dir: StoreDir,
        progress: Arc<Progress>,
    ) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let budget = Budget(Arc::new(Semaphore::new(BUDGET_KIB)));
        Self {
            client,
            upload,
            store_dir,
            compressors: Compressors::new(cores),
            progress,
            budget,
        }
    }

    /// Where a path lies on disk.
    pub(crate) fn root(&self, path: &LocalPath) -> PathBuf {
        PathBuf::from(path.store_path.to_absolute(&self.store_dir))
    }
}

/// Bounds the memory of all jobs together.
///
/// It cannot lock up: a job takes a share for a window before it fills it, and the earliest window of a job needs
/// nothing more to be sent.
#[derive(Debug, Clone)]
pub(crate) struct Budget(Arc<Semaphore>);

impl Budget {
    /// Waits for a share of so many bytes.
    pub(crate) async fn take(&self, bytes: u64) -> Result<Share, PushError> {
        let kib = bytes.div_ceil(1024).min(BUDGET_KIB as u64);
        let kib = u32::try_from(kib).expect("the budget fits 32 bits");
        Arc::clone(&self.0)
            .acquire_many_owned(kib)
            .await
            .map_err(|_| PushError::Stopped)
            .map(Share)
    }
}

/// A share of the budget, given back when dropped.
#[derive(Debug)]
pub(crate) struct Share(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);
