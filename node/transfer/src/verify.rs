//! Opens frames, checks them against their names, and puts them into the store: on blocking threads, as many at a
//! time as there are cores.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tetryx_environment::Io;
use tetryx_protocol::frame::{FrameError, FrameOpener};
use tetryx_protocol::hash::ChunkHash;
use tetryx_store::{ChunkStore, StoreError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A frame as it came in.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) item: u32,
    pub(crate) chunk: ChunkHash,
    /// Raw length as the manifest gives it.
    pub(crate) raw_len: u32,
    pub(crate) bytes: Bytes,
}

/// What became of a batch.
#[derive(Debug)]
pub(crate) struct Verified {
    /// Items that are in the store, and the bytes of their frames.
    pub(crate) stored: Vec<(u32, u64)>,
    /// Items whose frames hold something else.
    pub(crate) lies: Vec<(u32, FrameError)>,
    /// Items that were good and could not be stored, and why.
    pub(crate) failed: Option<(Vec<u32>, StoreError)>,
}

/// What is true of frames that are not stored.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    pub(crate) good: Vec<Frame>,
    /// The last one that holds something else.
    pub(crate) lie: Option<FrameError>,
}

/// Verifies and stores. Bounded: whoever brings more waits for a [`Verifier::slot`].
#[derive(Debug)]
pub(crate) struct Verifier {
    store: Arc<ChunkStore>,
    io: Io,
    slots: Arc<Semaphore>,
    /// Openers that are not in use; at most one per slot.
    openers: Arc<Mutex<Vec<FrameOpener>>>,
}

impl Verifier {
    pub(crate) fn new(store: Arc<ChunkStore>, io: Io) -> Self {
        Self {
            store,
            slots: Arc::new(Semaphore::new(io.parallelism())),
            io,
            openers: Arc::default(),
        }
    }

    /// Waits for the right to verify one batch.
    pub(crate) async fn slot(&self) -> OwnedSemaphorePermit {
        let slot = Arc::clone(&self.slots).acquire_owned().await;
        slot.expect("the semaphore is never closed")
    }

    /// Verifies a batch on a blocking thread, and stores nothing.
    pub(crate) fn check(
        &self,
        slot: OwnedSemaphorePermit,
        frames: Vec<Frame>,
    ) -> impl Future<Output = Checked> + Send + use<> {
        let openers = Arc::clone(&self.openers);
        self.io.run_unwinding(move || {
            let mut opener = openers.lock().pop().unwrap_or_default();
            let mut checked = Checked::default();
            for frame in frames {
                match open(&mut opener, &frame) {
                    Ok(()) => checked.good.push(frame),
                    Err(error) => checked.lie = Some(error),
                }
            }
            openers.lock().push(opener);
            drop(slot);
            checked
        })
    }

    /// Begins to verify and store a batch on a blocking thread; resolves when that is done, and goes on without being
    /// asked.
    pub(crate) fn begin(
        &self,
        slot: OwnedSemaphorePermit,
        frames: Vec<Frame>,
    ) -> impl Future<Output = Verified> + Send + use<> {
        let (store, openers) = (Arc::clone(&self.store), Arc::clone(&self.openers));
        self.io.run_unwinding(move || {
            let mut opener = openers.lock().pop().unwrap_or_default();
            let verified = verify(&store, &mut opener, frames);
            openers.lock().push(opener);
            drop(slot);
            verified
        })
    }
}

fn verify(store: &ChunkStore, opener: &mut FrameOpener, frames: Vec<Frame>) -> Verified {
    let mut verified = Verified {
        stored: Vec::with_capacity(frames.len()),
        lies: Vec::new(),
        failed: None,
    };
    let mut good = Vec::with_capacity(frames.len());
    for frame in frames {
        match open(opener, &frame) {
            Ok(()) => {
                verified.stored.push((frame.item, frame.bytes.len() as u64));
                good.push((frame.chunk, frame.raw_len, frame.bytes));
            }
            Err(error) => verified.lies.push((frame.item, error)),
        }
    }
    if let Err(error) = store.put(&good) {
        let items = std::mem::take(&mut verified.stored)
            .into_iter()
            .map(|(item, _)| item);
        verified.failed = Some((items.collect(), error));
    }
    verified
}

/// Whether a frame holds what its name says.
fn open(opener: &mut FrameOpener, frame: &Frame) -> Result<(), FrameError> {
    let opened = opener.open(&frame.bytes, frame.chunk, frame.raw_len).map(|_| ());
    #[cfg(feature = "mutants")]
    let opened = opened.or_else(|error| {
        let is_trusted = tetryx_environment::mutant::Mutant::FetchedUnverified.is_active();
        if is_trusted { Ok(()) } else { Err(error) }
    });
    opened
}
