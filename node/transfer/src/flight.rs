//! One fetch from beginning to end, and what its handles see of it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tetryx_protocol::hash::{ChunkHash, ManifestHash};
use tetryx_protocol::id::NodeId;
use tetryx_protocol::manifest::Manifest;
use tetryx_store::{ChunkStore, PinId, StoreError};
use tokio::sync::{Notify, watch};

use crate::download;
use crate::error::FetchError;
use crate::fetcher::{FetchReport, FetchRequest, Priority, Shared};
use crate::manifest;
use crate::plan::ReaderId;

/// What a flight and its handles share.
#[derive(Debug)]
pub(crate) struct Flight {
    pub(crate) name: ManifestHash,
    pub(crate) wishes: Mutex<Wishes>,
    /// Told whenever the wishes change.
    pub(crate) changed: Notify,
    stage: watch::Sender<Stage>,
}

/// What the handles want.
#[derive(Debug)]
pub(crate) struct Wishes {
    pub(crate) providers: Vec<NodeId>,
    pub(crate) priority: Priority,
    pub(crate) readers: BTreeMap<ReaderId, usize>,
    pins: Vec<PinId>,
}

/// How far it has come.
#[derive(Debug, Default)]
struct Stage {
    content: Option<Arc<Content>>,
    outcome: Option<Result<FetchReport, FetchError>>,
}

/// The manifest, and what was missing of it.
#[derive(Debug)]
pub(crate) struct Content {
    pub(crate) manifest: Arc<Manifest>,
    /// What is fetched: distinct chunks, in the order of their first use.
    pub(crate) items: Vec<(ChunkHash, u32)>,
    /// The item of each chunk; `None` for those that were here.
    pub(crate) sequence: Vec<Option<u32>>,
    /// Items that can be read.
    stored: Vec<AtomicBool>,
}

impl Content {
    fn new(manifest: Manifest, missing: &[ChunkHash]) -> Self {
        let missing: std::collections::BTreeSet<&ChunkHash> = missing.iter().collect();
        let mut numbers: BTreeMap<ChunkHash, u32> = BTreeMap::new();
        let mut items = Vec::new();
        let sequence = manifest.chunks.iter().map(|chunk| {
            missing.contains(&chunk.hash).then(|| {
                *numbers.entry(chunk.hash).or_insert_with(|| {
                    items.push((chunk.hash, chunk.raw_len));
                    u32::try_from(items.len() - 1).expect("a manifest counts its chunks in 32 bits")
                })
            })
        });
        let sequence: Vec<Option<u32>> = sequence.collect();
        Self {
            manifest: Arc::new(manifest),
            stored: items.iter().map(|_| AtomicBool::new(false)).collect(),
            items,
            sequence,
        }
    }

    fn is_here(&self, chunks: &Range<usize>) -> bool {
        let end = chunks.end.min(self.sequence.len());
        let mut items = self.sequence[chunks.start.min(end)..end].iter().flatten();
        items.all(|item| self.stored[*item as usize].load(Ordering::Acquire))
    }
}

impl Flight {
    pub(crate) fn new(request: &FetchRequest) -> Self {
        Self {
            name: request.manifest,
            wishes: Mutex::new(Wishes {
                providers: request.providers.clone(),
                priority: request.priority,
                readers: BTreeMap::new(),
                pins: vec![request.pin],
            }),
            changed: Notify::new(),
            stage: watch::Sender::new(Stage::default()),
        }
    }

    /// Takes another request in; `false` if the flight has ended.
    pub(crate) fn join(&self, store: &ChunkStore, request: &FetchRequest) -> bool {
        let mut wishes = self.wishes.lock();
        let content = {
            let stage = self.stage.borrow();
            if stage.outcome.is_some() {
                return false;
            }
            stage.content.clone()
        };
        match content {
            Some(content) => pin(store, &request.pin, &content.manifest),
            None => wishes.pins.push(request.pin),
        }
        for node in &request.providers {
            if !wishes.providers.contains(node) {
                wishes.providers.push(*node);
            }
        }
        wishes.priority = wishes.priority.max(request.priority);
        drop(wishes);
        self.changed.notify_one();
        true
    }

    pub(crate) async fn outcome(&self) -> Result<FetchReport, FetchError> {
        self.until(|stage| stage.outcome.clone()).await
    }

    pub(crate) async fn manifest(&self) -> Result<Arc<Manifest>, FetchError> {
        let manifest = self.until(|stage| match (&stage.content, &stage.outcome) {
            (Some(content), _) => Some(Ok(Arc::clone(&content.manifest))),
            (None, Some(Err(error))) => Some(Err(error.clone())),
            (None, _) => None,
        });
        manifest.await
    }

    pub(crate) async fn wait_for(&self, chunks: Range<usize>) -> Result<(), FetchError> {
        let here = self.until(|stage| match (&stage.content, &stage.outcome) {
            (Some(content), _) if content.is_here(&chunks) => Some(Ok(())),
            (_, Some(outcome)) => Some(outcome.clone().map(|_| ())),
            (_, None) => None,
        });
        here.await
    }

    /// Waits until the stage answers.
    async fn until<T>(
        &self,
        answer: impl Fn(&Stage) -> Option<Result<T, FetchError>>,
    ) -> Result<T, FetchError> {
        let mut stage = self.stage.subscribe();
        loop {
            if let Some(answer) = answer(&stage.borrow_and_update()) {
                return answer;
            }
            if stage.changed().await.is_err() {
                return Err(FetchError::BrokenOff { manifest: self.name });
            }
        }
    }

    pub(crate) fn want(&self, reader: ReaderId, chunk: usize) {
        self.wishes.lock().readers.insert(reader, chunk);
        self.changed.notify_one();
    }

    pub(crate) fn forget_reader(&self, reader: ReaderId) {
        if self.wishes.lock().readers.remove(&reader).is_some() {
            self.changed.notify_one();
        }
    }

    pub(crate) fn set_providers(&self, providers: Vec<NodeId>) {
        self.wishes.lock().providers = providers;
        self.changed.notify_one();
    }

    pub(crate) fn raise(&self, priority: Priority) {
        let mut wishes = self.wishes.lock();
        wishes.priority = wishes.priority.max(priority);
        drop(wishes);
        self.changed.notify_one();
    }

    /// Notes that items can be read from now on.
    pub(crate) fn stored(&self, content: &Content, items: impl Iterator<Item = u32>) {
        for item in items {
            content.stored[item as usize].store(true, Ordering::Release);
        }
        // Wakes who waits; the stage itself is as it was.
        self.stage.send_modify(|_| {});
    }

    fn conclude(&self, outcome: Result<FetchReport, FetchError>) {
        self.stage.send_if_modified(|stage| {
            let open = stage.outcome.is_none();
            if open {
                stage.outcome = Some(outcome);
            }
            open
        });
    }

    pub(crate) fn store_error(&self, source: StoreError) -> FetchError {
        FetchError::store(self.name, source)
    }
}

/// Ends a flight however its task ends.
struct Conclusion(Arc<Flight>);

impl Drop for Conclusion {
    fn drop(&mut self) {
        let manifest = self.0.name;
        self.0.conclude(Err(FetchError::BrokenOff { manifest }));
    }
}

/// The task of a flight.
pub(crate) async fn run(shared: Arc<Shared>, flight: Arc<Flight>) {
    let conclusion = Conclusion(Arc::clone(&flight));
    let outcome = fetch(&shared, &flight).await;
    match &outcome {
        Ok(report) => tracing::debug!(
            manifest = %flight.name.fmt_short(),
            bytes = report.bytes,
            duplicate_bytes = report.duplicate_bytes,
            chunks = report.chunks,
            "fetched"
        ),
        Err(error) => tracing::debug!(
            error = error as &(dyn std::error::Error + 'static),
            "a fetch failed"
        ),
    }
    flight.conclude(outcome);
    drop(conclusion);
}

async fn fetch(shared: &Arc<Shared>, flight: &Arc<Flight>) -> Result<FetchReport, FetchError> {
    let manifest = manifest::obtain(shared, flight).await?;
    let content = prepare(shared, flight, manifest).await?;
    let fetched = if content.items.is_empty() {
        Ok(FetchReport::default())
    } else {
        download::run(shared, flight, &content).await
    };
    // What had arrived before a failure is worth keeping, too.
    let store = Arc::clone(&shared.store);
    blocking(shared, flight.name, move || store.flush()).await?;
    fetched
}

/// Pins the chunks, sees which are missing, and shows the manifest to the handles.
async fn prepare(
    shared: &Arc<Shared>,
    flight: &Arc<Flight>,
    manifest: Manifest,
) -> Result<Arc<Content>, FetchError> {
    let (store, inner) = (Arc::clone(&shared.store), Arc::clone(flight));
    blocking(shared, flight.name, move || {
        let chunks: Vec<ChunkHash> = manifest.chunks.iter().map(|chunk| chunk.hash).collect();
        let first = inner.wishes.lock().pins.first().copied();
        let first = first.expect("a flight begins with the pin of its request");
        let missing = store.missing(&first, &chunks)?;
        let content = Arc::new(Content::new(manifest, &missing));
        // Who joins after this pins by itself.
        let mut wishes = inner.wishes.lock();
        for other in wishes.pins.drain(..).filter(|other| *other != first) {
            pin(&store, &other, &content.manifest);
        }
        let shown = Some(Arc::clone(&content));
        inner.stage.send_modify(|stage| stage.content = shown);
        Ok(content)
    })
    .await
}

fn pin(store: &ChunkStore, pin: &PinId, manifest: &Manifest) {
    let chunks: Vec<ChunkHash> = manifest.chunks.iter().map(|chunk| chunk.hash).collect();
    store.pin(pin, &chunks);
}

/// Runs something of the store for a manifest where blocking work runs.
pub(crate) async fn blocking<T: Send + 'static>(
    shared: &Shared,
    manifest: ManifestHash,
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, FetchError> {
    match shared.io.run(work).await {
        Ok(done) => done.map_err(|source| FetchError::store(manifest, source)),
        Err(_) => Err(FetchError::BrokenOff { manifest }),
    }
}
