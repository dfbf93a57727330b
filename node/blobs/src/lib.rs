//! Large blobs between stations: verified ranges of iroh-blobs over our own streams.
//!
//! A blob is one of our own files, named by its BLAKE3, such as a Raft snapshot or a recording. [`Blobs`] keeps
//! the hash tree of files it may serve, and fetches blobs from other nodes into files.
//!
//! # Invariants
//! - Every byte that is received is verified against the blob's name before it is kept.
//! - [`Blobs::import_file`] and [`Blobs::fetch`] return only when the file is durable.
//! - A fetch that breaks off is resumed where it was, also after a restart. Should a crash have taken bytes that
//!   were thought to be there, it starts over; wrong bytes never get into the finished file.
//!
//! # Non-goals
//! - Many small things: chunks have a protocol and a store of their own (`tetryx-transfer`, `tetryx-store`).
//! - Several providers at once, and deciding whom to ask: the caller.

mod error;
mod fetch;
mod hash;
mod stream;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use iroh_blobs::api::blobs::{AddPathOptions, ImportMode};
use iroh_blobs::provider::events::EventSender;
use iroh_blobs::provider::{StreamPair, handle_stream};
use iroh_blobs::store::GcConfig;
use iroh_blobs::store::fs::FsStore;
use iroh_blobs::store::fs::options::Options;
use iroh_blobs::{BlobFormat, HashAndFormat};
use parking_lot::Mutex;
use tetryx_link::Channel;
use tetryx_protocol::id::NodeId;
use tokio::sync::Semaphore;

pub use error::BlobError;
pub use fetch::FetchedBlob;
pub use hash::BlobHash;
use stream::{Reader, Writer};

/// How often the hash trees of forgotten blobs are removed.
const COLLECT_EVERY: Duration = Duration::from_secs(600);
/// Streams served for one peer at one time.
const STREAMS_MAX: usize = 8;

/// A node's blobs. Clones share them.
#[derive(Clone)]
pub struct Blobs {
    inner: Arc<Inner>,
}

struct Inner {
    dir: PathBuf,
    store: FsStore,
    streams: AtomicU64,
    peers: Mutex<BTreeMap<NodeId, Arc<Semaphore>>>,
    /// One fetch of a blob at a time.
    fetching: Mutex<BTreeMap<BlobHash, Arc<tokio::sync::Mutex<()>>>>,
}

impl fmt::Debug for Blobs {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Blobs")
            .field("dir", &self.inner.dir)
            .finish_non_exhaustive()
    }
}

impl Blobs {
    /// Opens the blobs of a directory, which is made if need be. It must be this process's alone.
    ///
    /// # Errors
    /// [`BlobError::File`], [`BlobError::Store`].
    pub async fn open(dir: &Path) -> Result<Self, BlobError> {
        let served = dir.join("served");
        let made = tokio::fs::create_dir_all(&served).await;
        made.map_err(|source| BlobError::file("create", &served, source))?;
        let mut options = Options::new(&served);
        options.gc = Some(GcConfig {
            interval: COLLECT_EVERY,
            add_protected: None,
        });
        let store = FsStore::load_with_opts(served.join("blobs.db"), options).await;
        let store = store.map_err(|error| store_error("open", &served, &error))?;
        Ok(Self {
            inner: Arc::new(Inner {
                dir: dir.to_owned(),
                store,
                streams: AtomicU64::new(0),
                peers: Mutex::default(),
                fetching: Mutex::default(),
            }),
        })
    }

    /// Makes a file available to other nodes, and returns its name. The file stays where it is and must not change
    /// until it is forgotten; a file that did change is not served, since its bytes no longer fit the hash tree.
    ///
    /// # Errors
    /// [`BlobError::File`], [`BlobError::Store`].
    pub async fn import_file(&self, file: &Path) -> Result<BlobHash, BlobError> {
        let path = std::path::absolute(file).map_err(|source| BlobError::file("find", file, source))?;
        let hash = fetch::blocking({
            let path = path.clone();
            move || fetch::sync_and_hash(&path)
        });
        let hash = hash.await?;
        let (store, failed) = (&self.inner.store, |operation| {
            move |error: &dyn fmt::Display| store_error(operation, &self.inner.dir, error)
        });
        // Tagged before it is there: so no collection finds it without a tag.
        let value = HashAndFormat::raw(hash.iroh());
        store
            .tags()
            .set(tag(&hash), value)
            .await
            .map_err(|error| failed("tag a blob in")(&error))?;
        let options = AddPathOptions {
            path,
            format: BlobFormat::Raw,
            mode: ImportMode::TryReference,
        };
        let added = store.blobs().add_path_with_opts(options).temp_tag().await;
        let added = added.map_err(|error| failed("add a file to")(&error))?;
        if added.hash() != hash.iroh() {
            return Err(failed("add a file to")(&"the file changed while it was added"));
        }
        // The store acknowledges before its database commits.
        store.sync_db().await.map_err(|error| failed("sync")(&error))?;
        Ok(hash)
    }

    /// Serves a blob no longer. The file itself is left alone.
    ///
    /// # Errors
    /// [`BlobError::Store`].
    pub async fn forget(&self, hash: &BlobHash) -> Result<(), BlobError> {
        let deleted = self.inner.store.tags().delete(tag(hash)).await;
        deleted.map_err(|error| store_error("forget a blob in", &self.inner.dir, &error))?;
        Ok(())
    }

    /// Answers one request on a stream. What goes wrong ends the stream and is logged.
    pub async fn serve(&self, from: NodeId, channel: Channel) {
        let slots = {
            let mut peers = self.inner.peers.lock();
            let slots = peers
                .entry(from)
                .or_insert_with(|| Arc::new(Semaphore::new(STREAMS_MAX)));
            Arc::clone(slots)
        };
        let _slot = slots
            .acquire_owned()
            .await
            .expect("the semaphore is never closed");
        let id = self.inner.streams.fetch_add(1, Ordering::Relaxed);
        let (reader, writer) = (Reader::new(channel.recv, id), Writer::new(channel.send, id));
        let pair = StreamPair::new(id, reader, writer, EventSender::DEFAULT);
        if let Err(error) = handle_stream(pair, (*self.inner.store).clone()).await {
            tracing::debug!(peer = %from.fmt_short(), %error, "a stream for blobs ended early");
        }
    }

    /// Writes everything down and closes the store; further calls fail.
    ///
    /// # Errors
    /// [`BlobError::Store`].
    pub async fn close(&self) -> Result<(), BlobError> {
        let closed = self.inner.store.shutdown().await;
        closed.map_err(|error| store_error("close", &self.inner.dir, &error))
    }
}

/// The tag that keeps a served blob.
fn tag(hash: &BlobHash) -> String {
    format!("served-{hash}")
}

fn store_error(operation: &'static str, dir: &Path, error: &dyn fmt::Display) -> BlobError {
    BlobError::Store {
        operation,
        dir: dir.to_owned(),
        reason: error.to_string(),
    }
}
