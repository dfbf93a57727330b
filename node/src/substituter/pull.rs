//! A NAR that is not whole here, streamed to a client while it comes in from other nodes.
//!
//! # Invariants
//! - However many requests stream one NAR, it is fetched once, and each keeps its own place in it.
//! - What has arrived stays here: the next request finds it.
//! - A file is promised (`Content-Length`, entity tag) only after the lengths of all its frames are known.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Weak};

use futures::stream::{FuturesUnordered, StreamExt};
use parking_lot::Mutex;
use tetryx_protocol::api::ErrorName;
use tetryx_protocol::frame::FRAME_LEN_MAX;
use tetryx_protocol::hash::{ManifestHash, NarHash};
use tetryx_protocol::id::NodeId;
use tetryx_protocol::manifest::Manifest;
use tetryx_state::records::NarRecord;
use tetryx_transfer::{FetchError, FetchHandle, FetchRequest, Priority};
use tokio::sync::OnceCell;

use super::layout::Layout;
use super::relay::Relay;
use crate::http::error::HttpError;
use crate::replication::{self, Lease};
use crate::{Node, NodeError};

/// Nodes asked for a layout at once.
const LAYOUTS_ASKED: usize = 3;

/// The NARs that are being streamed while they are fetched.
#[derive(Debug, Default)]
pub(super) struct Pulls {
    open: Mutex<BTreeMap<ManifestHash, Weak<Pull>>>,
}

/// One NAR being fetched for clients; ends with the last of them.
pub(super) struct Pull {
    manifest: ManifestHash,
    providers: Vec<NodeId>,
    lease: Lease,
    layout: OnceCell<Arc<Layout>>,
    /// Takes over when there is no room for what comes.
    relay: OnceCell<Relay>,
}

/// One client's part in it.
pub(super) struct Reader {
    pull: Arc<Pull>,
    pub(super) handle: FetchHandle,
}

/// Why a NAR cannot be had from elsewhere.
#[derive(Debug, thiserror::Error)]
pub(super) enum PullError {
    #[error("the NAR {nar} is not on this node and cannot be fetched now")]
    Fetch { nar: NarHash, source: FetchError },
    #[error(
        "the NAR {nar} is damaged or gone here, and there is no other node to fetch it from; push its path again"
    )]
    Alone { nar: NarHash },
    #[error("the NAR {nar} is not on this node, and fetching it cannot begin")]
    Node { nar: NarHash, source: Box<NodeError> },
    #[error("the NAR {nar} was fetched, and is not whole all the same")]
    Incomplete { nar: NarHash },
    #[error(
        "there is no room for the NAR {nar} here, and none of the nodes that answer has all of it to pass on; try again \
         later, or give this node more room"
    )]
    Scattered { nar: NarHash },
}

impl PullError {
    /// Whether it failed because there is no room here.
    pub(super) fn is_full(&self) -> bool {
        matches!(self, Self::Fetch { source, .. } if source.is_full())
    }
}

impl Pulls {
    /// How many NARs are being streamed so.
    pub(super) fn len(&self) -> usize {
        let open = self.open.lock();
        open.values().filter(|pull| pull.strong_count() > 0).count()
    }
}

impl Reader {
    /// Begins to fetch the NAR, or joins those that do.
    pub(super) fn open(node: &Node, nar: &NarHash, record: &NarRecord) -> Result<Self, PullError> {
        let mut open = node.substituter().pulls.open.lock();
        let known = open.get(&record.manifest).and_then(Weak::upgrade);
        let pull = match known {
            Some(pull) => pull,
            None => {
                let flight =
                    replication::prepare_flight(node, nar, record).map_err(|source| PullError::Node {
                        nar: *nar,
                        source: Box::new(source),
                    })?;
                if flight.providers.is_empty() {
                    flight.lease.finish();
                    return Err(PullError::Alone { nar: *nar });
                }
                let pull = Arc::new(Pull {
                    manifest: record.manifest,
                    providers: flight.providers,
                    lease: flight.lease,
                    layout: OnceCell::new(),
                    relay: OnceCell::new(),
                });
                open.retain(|_, pull| pull.strong_count() > 0);
                open.insert(record.manifest, Arc::downgrade(&pull));
                pull
            }
        };
        drop(open);
        let handle = node.fetcher().fetch(FetchRequest {
            manifest: pull.manifest,
            providers: pull.providers.clone(),
            priority: Priority::Interactive,
            pin: pull.lease.pin(),
        });
        Ok(Self { pull, handle })
    }

    /// Passes on what does not fit here.
    pub(super) async fn relay(&self, node: &Node, nar: &NarHash) -> Result<&Relay, PullError> {
        let (name, providers) = (self.pull.manifest, &self.pull.providers);
        let relay = &self.pull.relay;
        relay
            .get_or_try_init(|| Relay::of(node, nar, name, providers.clone()))
            .await
    }

    /// Waits until all of the NAR is here.
    pub(super) async fn finished(&self, nar: &NarHash) -> Result<(), PullError> {
        let finished = self.handle.finished().await;
        finished
            .map(drop)
            .map_err(|source| PullError::Fetch { nar: *nar, source })
    }

    /// How the file lies that will be streamed.
    pub(super) async fn layout(
        &self,
        node: &Node,
        nar: &NarHash,
        record: &NarRecord,
    ) -> Result<Arc<Layout>, PullError> {
        let made = self.pull.layout.get_or_try_init(|| async {
            let failed = |source| PullError::Fetch { nar: *nar, source };
            let manifest = self.handle.manifest().await.map_err(failed)?;
            if let Some(layout) = self.as_told_elsewhere(node, &manifest, record).await {
                return Ok(Arc::new(layout));
            }
            // Nobody has all of it. When it has come together from several, it is whole here.
            self.handle.finished().await.map_err(failed)?;
            local(node, nar, record)
                .await?
                .ok_or(PullError::Incomplete { nar: *nar })
        });
        made.await.cloned()
    }

    /// The layout of what is here already, and for the rest what another node says of its frames.
    async fn as_told_elsewhere(
        &self,
        node: &Node,
        manifest: &Manifest,
        record: &NarRecord,
    ) -> Option<Layout> {
        let store = Arc::clone(node.store());
        let name = self.pull.manifest;
        let here = node.io().run(move || store.hold_nar(&name)).await.ok()?.ok()??;
        if here.is_complete() {
            return Some(Layout::of(manifest, &here.frame_lens, record));
        }
        let of = |lens: &[u32]| {
            let mixed: Vec<u32> = here
                .frame_lens
                .iter()
                .zip(lens)
                .map(|(here, there)| if *here > 0 { *here } else { *there })
                .collect();
            Layout::of(manifest, &mixed, record)
        };
        layout_elsewhere(node, &self.pull.providers, manifest, record, of).await
    }
}

/// The layout that `of` makes of the lengths that the first node says, or if that is not the file that the record
/// describes and another node's is, of that one's. `None` when nobody who answers has the whole NAR.
pub(super) async fn layout_elsewhere(
    node: &Node,
    providers: &[NodeId],
    manifest: &Manifest,
    record: &NarRecord,
    of: impl Fn(&[u32]) -> Layout,
) -> Option<Layout> {
    let mut waiting = providers.iter();
    let ask = |provider: &NodeId| replication::layout_at(node, *provider, record.manifest);
    let mut asked: FuturesUnordered<_> = waiting.by_ref().take(LAYOUTS_ASKED).map(ask).collect();
    let mut other = None;
    while let Some(answer) = asked.next().await {
        if let Some(lens) = answer.filter(|lens| is_layout(lens, manifest)) {
            let layout = of(&lens);
            if layout.file_size() == record.file_size {
                return Some(layout);
            }
            other.get_or_insert(layout);
        }
        if let Some(next) = waiting.next() {
            asked.push(ask(next));
        }
    }
    other
}

/// Whether these can be the lengths of the frames of this NAR.
fn is_layout(lens: &[u32], manifest: &Manifest) -> bool {
    lens.len() == manifest.chunks.len()
        && lens
            .iter()
            .all(|len| (1..=FRAME_LEN_MAX).contains(&(*len as usize)))
}

/// The layout of the NAR as it is here, if it is whole; remembered.
pub(super) async fn local(
    node: &Node,
    nar: &NarHash,
    record: &NarRecord,
) -> Result<Option<Arc<Layout>>, PullError> {
    let layouts = &node.substituter().layouts;
    if let Some(layout) = layouts.get(record) {
        return Ok(Some(layout));
    }
    let failed = |source: NodeError| PullError::Node {
        nar: *nar,
        source: Box::new(source),
    };
    let (store, wanted) = (Arc::clone(node.store()), record.clone());
    let read = node
        .io()
        .run(move || Layout::read(&store, &wanted))
        .await
        .map_err(|error| failed(error.into()))?;
    let read = read.map_err(|error| failed(error.into()))?;
    Ok(read.map(|layout| {
        let layout = Arc::new(layout);
        layouts.keep(record, &layout);
        let differs = layout.file_size() != record.file_size;
        node.replication().note_local(nar, differs);
        layout
    }))
}

impl From<PullError> for HttpError {
    fn from(error: PullError) -> Self {
        match &error {
            PullError::Fetch { source, .. } => Self::new(ErrorName::NotReady, format!("{error}: {source}")),
            PullError::Scattered { .. } => Self::new(ErrorName::NotReady, error.to_string()),
            PullError::Node { source, .. } if matches!(**source, NodeError::Busy { .. }) => {
                Self::new(ErrorName::NotReady, source.to_string())
            }
            PullError::Alone { .. } | PullError::Node { .. } | PullError::Incomplete { .. } => {
                Self::internal(&error)
            }
        }
    }
}

impl Drop for Pull {
    fn drop(&mut self) {
        // What has arrived belongs to a live NAR; what a collection may take is decided there.
        self.lease.finish();
    }
}

impl fmt::Debug for Pull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pull")
            .field("manifest", &self.manifest)
            .finish_non_exhaustive()
    }
}
