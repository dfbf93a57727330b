//! A NAR passed on from other nodes without being kept, where there is no room for it.
//!
//! # Invariants
//! - What is passed on was verified, and has the lengths that were promised.
//! - A reader costs no more memory than one of a NAR that is here.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use tetryx_protocol::hash::{ManifestHash, NarHash};
use tetryx_protocol::id::NodeId;
use tetryx_protocol::manifest::Manifest;
use tetryx_state::records::NarRecord;

use super::layout::Layout;
use super::pull::{PullError, layout_elsewhere};
use crate::{Node, replication};

/// A NAR and who may have it.
#[derive(Debug)]
pub(super) struct Relay {
    name: ManifestHash,
    manifest: Manifest,
    providers: Vec<NodeId>,
}

impl Relay {
    /// Prepares passing on a NAR, and says how the file lies.
    ///
    /// # Errors
    /// When nobody gives the manifest, or nobody who answers has the whole NAR.
    pub(super) async fn open(
        node: &Node,
        nar: &NarHash,
        record: &NarRecord,
    ) -> Result<(Self, Layout), PullError> {
        let providers = replication::find_providers(node, nar, record).map_err(|source| PullError::Node {
            nar: *nar,
            source: Box::new(source),
        })?;
        if providers.is_empty() {
            return Err(PullError::Alone { nar: *nar });
        }
        let relay = Self::of(node, nar, record.manifest, providers).await?;
        let of = |lens: &[u32]| Layout::of(&relay.manifest, lens, record);
        let layout = layout_elsewhere(node, &relay.providers, &relay.manifest, record, of).await;
        let layout = layout.ok_or(PullError::Scattered { nar: *nar })?;
        Ok((relay, layout))
    }

    /// Prepares passing on a NAR of which the layout is known.
    ///
    /// # Errors
    /// When nobody gives the manifest.
    pub(super) async fn of(
        node: &Node,
        nar: &NarHash,
        name: ManifestHash,
        providers: Vec<NodeId>,
    ) -> Result<Self, PullError> {
        let manifest = node.fetcher().relay_manifest(name, &providers).await;
        Ok(Self {
            name,
            manifest: manifest.map_err(|source| PullError::Fetch { nar: *nar, source })?,
            providers,
        })
    }

    /// These frames, as far as possible with the lengths of the layout.
    ///
    /// # Errors
    /// When nobody gives one of them.
    pub(super) async fn frames(
        &self,
        node: &Node,
        nar: &NarHash,
        layout: &Arc<Layout>,
        frames: Range<usize>,
    ) -> Result<Vec<Bytes>, PullError> {
        let chunks = &self.manifest.chunks[frames.clone()];
        let (layout, start) = (Arc::clone(layout), frames.start);
        let fits = move |index: usize, len: usize| layout.len_of(start + index) == len as u64;
        let relayed = node.fetcher().relay(self.name, chunks, &self.providers, fits);
        relayed
            .await
            .map_err(|source| PullError::Fetch { nar: *nar, source })
    }
}
