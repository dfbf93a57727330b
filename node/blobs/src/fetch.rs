//! Fetches one blob into a file, from where the last attempt broke off.
//!
//! What has arrived is kept in a store of the fetch's own, a directory named after the blob. When everything is
//! there, the file is moved out, hashed once more as a whole, synced and given its name; the directory goes.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use iroh_blobs::HashAndFormat;
use iroh_blobs::api::blobs::{ExportMode, ExportOptions};
use iroh_blobs::get::StreamPair;
use iroh_blobs::store::fs::FsStore;
use iroh_blobs::store::fs::options::Options;
use tetryx_environment::Io;
use tetryx_link::{Links, Service};
use tetryx_protocol::id::NodeId;

use crate::stream::{Reader, Writer};
use crate::{BlobError, BlobHash, Blobs, store_error};

/// Bytes hashed at once.
const HASH_BYTES: usize = 1 << 20;

/// What a fetch did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FetchedBlob {
    /// Bytes of the blob.
    pub bytes: u64,
    /// Bytes of it that came over the link now; the rest was there from before.
    pub received: u64,
}

impl Blobs {
    /// Fetches a blob from a node into a file, which is replaced if it is there. Resumes what an earlier attempt has
    /// kept, from whichever node. Needs up to twice the blob's size on disk if `into` lies on another file system.
    ///
    /// # Errors
    /// [`BlobError::Link`], [`BlobError::BrokenOff`], [`BlobError::Damaged`]: try again, here or elsewhere.
    /// [`BlobError::File`], [`BlobError::Store`]: the disk.
    pub async fn fetch(
        &self,
        links: &dyn Links,
        from: NodeId,
        hash: BlobHash,
        into: &Path,
    ) -> Result<FetchedBlob, BlobError> {
        let turn = Arc::clone(self.inner.fetching.lock().entry(hash).or_default());
        let _turn = turn.lock().await;
        let dir = self.kept(&hash);
        if let Some(bytes) = self.finish_old(hash, into).await? {
            return Ok(FetchedBlob { bytes, received: 0 });
        }
        let store = open(&dir).await?;
        let received = self.receive(&store, links, from, hash).await;
        let moved = match &received {
            Ok(_) => take_out(&store, hash, into, &dir).await.map(Some),
            Err(_) => Ok(None),
        };
        // Also what has arrived in vain so far has to reach the disk.
        let closed = store.shutdown().await;
        let received = received?;
        closed.map_err(|error| store_error("close", &dir, &error))?;
        let whole = moved?.expect("it was moved out, since everything was received");
        let bytes = blocking({
            let into = into.to_owned();
            move || finish(&whole, &into, hash)
        });
        let bytes = bytes.await;
        let removed = remove(&dir).await;
        self.inner.fetching.lock().remove(&hash);
        let bytes = bytes?;
        removed?;
        Ok(FetchedBlob { bytes, received })
    }

    /// An attempt that ended between moving the file out and naming it has left the file, which is then all there
    /// is: the fetch's store only points to it.
    async fn finish_old(&self, hash: BlobHash, into: &Path) -> Result<Option<u64>, BlobError> {
        let whole = beside(into, hash)?;
        let left = tokio::fs::try_exists(&whole).await;
        if !left.map_err(|source| BlobError::file("find", &whole, source))? {
            return Ok(None);
        }
        let into = into.to_owned();
        let finished = blocking(move || finish(&whole, &into, hash)).await;
        remove(&self.kept(&hash)).await?;
        match finished {
            Ok(bytes) => Ok(Some(bytes)),
            Err(BlobError::Damaged { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Throws away what was kept of a fetch that nobody will resume.
    ///
    /// # Errors
    /// [`BlobError::File`].
    pub async fn abandon(&self, hash: &BlobHash) -> Result<(), BlobError> {
        let turn = Arc::clone(self.inner.fetching.lock().entry(*hash).or_default());
        let _turn = turn.lock().await;
        remove(&self.kept(hash)).await
    }

    /// Where a fetch keeps what has arrived.
    fn kept(&self, hash: &BlobHash) -> PathBuf {
        self.inner.dir.join("fetching").join(hash.to_string())
    }

    /// Brings what is missing into the fetch's store; the bytes received.
    async fn receive(
        &self,
        store: &FsStore,
        links: &dyn Links,
        from: NodeId,
        hash: BlobHash,
    ) -> Result<u64, BlobError> {
        let local = store.remote().local(HashAndFormat::raw(hash.iroh())).await;
        let local = local.map_err(|error| store_error("read", &self.kept(&hash), &error))?;
        if local.is_complete() {
            return Ok(0);
        }
        let channel = links.open(from, Service::Blobs).await;
        let channel = channel.map_err(|source| BlobError::Link { hash, source })?;
        let id = self.inner.streams.fetch_add(1, Ordering::Relaxed);
        let pair = StreamPair::new(id, Reader::new(channel.recv, id), Writer::new(channel.send, id));
        let stats = store.remote().execute_get(pair, local.missing()).complete().await;
        match stats {
            Ok(stats) => Ok(stats.payload_bytes_read),
            Err(error) => Err(BlobError::BrokenOff {
                hash,
                node: from,
                reason: format!("{error:#}"),
            }),
        }
    }
}

async fn open(dir: &Path) -> Result<FsStore, BlobError> {
    let made = tokio::fs::create_dir_all(dir).await;
    made.map_err(|source| BlobError::file("create", dir, source))?;
    let store = FsStore::load_with_opts(dir.join("blobs.db"), Options::new(dir)).await;
    store.map_err(|error| store_error("open", dir, &error))
}

/// Where a blob lies until it is checked.
fn beside(into: &Path, hash: BlobHash) -> Result<PathBuf, BlobError> {
    let into = std::path::absolute(into).map_err(|source| BlobError::file("find", into, source))?;
    let mut name = into.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.partial", hash.fmt_short()));
    Ok(into.with_file_name(name))
}

async fn remove(dir: &Path) -> Result<(), BlobError> {
    match tokio::fs::remove_dir_all(dir).await {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(BlobError::file("remove", dir, source))
        }
        _ => Ok(()),
    }
}

/// Moves the whole blob out of the fetch's store, beside `into`.
async fn take_out(store: &FsStore, hash: BlobHash, into: &Path, dir: &Path) -> Result<PathBuf, BlobError> {
    let target = beside(into, hash)?;
    let options = ExportOptions {
        hash: hash.iroh(),
        mode: ExportMode::TryReference,
        target: target.clone(),
    };
    let exported = store.blobs().export_with_opts(options).finish().await;
    exported.map_err(|error| store_error("export from", dir, &error))?;
    Ok(target)
}

/// Checks and syncs the file, and gives it its name; its length.
fn finish(whole: &Path, into: &Path, hash: BlobHash) -> Result<u64, BlobError> {
    if sync_and_hash(whole)? != hash {
        std::fs::remove_file(whole).map_err(|source| BlobError::file("remove", whole, source))?;
        return Err(BlobError::Damaged { hash });
    }
    std::fs::rename(whole, into).map_err(|source| BlobError::file("replace", into, source))?;
    let parent = into.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    let synced = File::open(parent).and_then(|directory| directory.sync_all());
    synced.map_err(|source| BlobError::file("sync", parent, source))?;
    let length = std::fs::metadata(into).map_err(|source| BlobError::file("read", into, source))?;
    Ok(length.len())
}

/// Makes a file durable; its BLAKE3.
pub(crate) fn sync_and_hash(path: &Path) -> Result<BlobHash, BlobError> {
    let failed = |operation| move |source| BlobError::file(operation, path, source);
    let mut file = File::open(path).map_err(failed("open"))?;
    file.sync_all().map_err(failed("sync"))?;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; HASH_BYTES];
    loop {
        match file.read(&mut buffer).map_err(failed("read"))? {
            0 => return Ok(BlobHash::from_bytes(*hasher.finalize().as_bytes())),
            read => hasher.update(&buffer[..read]),
        };
    }
}

pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BlobError> + Send + 'static,
) -> Result<T, BlobError> {
    match Io::pool().run(work).await {
        Ok(done) => done,
        Err(error) => Err(BlobError::Interrupted(error.to_string())),
    }
}
