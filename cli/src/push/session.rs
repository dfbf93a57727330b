//! What all uploads of one push share.

use std::path::PathBuf;
use std::sync::Arc;

use tetryx_protocol::id::UploadId;
use tetryx_protocol::store_path::StoreDir;

use super::closure::LocalPath;
use super::compress::Compressors;
use super::progress::Progress;
use super::window::Windows;
use crate::api::Client;

/// A running push.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) client: Client,
    pub(crate) upload: UploadId,
    pub(crate) store_dir: StoreDir,
    pub(crate) compressors: Arc<Compressors>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) windows: Windows,
}

impl Session {
    pub(crate) fn new(
        client: Client,
        upload: UploadId,
        store_dir: StoreDir,
        progress: Arc<Progress>,
    ) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let (compressors, windows) = (Compressors::new(cores), Windows::new());
        Self {
            client,
            upload,
            store_dir,
            compressors,
            progress,
            windows,
        }
    }

    /// Where a path lies on disk.
    pub(crate) fn root(&self, path: &LocalPath) -> PathBuf {
        PathBuf::from(path.store_path.to_absolute(&self.store_dir))
    }
}
