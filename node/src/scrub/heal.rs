//! What is damaged here and still needed, and fetching it anew.
//!
//! # Invariants
//! - Only what a published NAR or a waiting push names counts as damage: the rest goes with the next collection.
//! - What is fetched goes the way of every fetch: verified before it is stored, under a pin.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use futures::stream::{self, StreamExt};
use tetryx_protocol::hash::{ManifestHash, NarHash};
use tetryx_state::query;
use tetryx_state::records::NarRecord;
use tetryx_store::{ChunkStore, Object};

use crate::{Node, NodeError, replication};

/// NARs looked at together.
const PAGE: usize = 1024;
/// NARs fetched anew at once.
const AT_ONCE: usize = 4;
/// Damaged NARs that are remembered; what is beyond is found when these are healed.
const HURT_MAX: usize = 4096;

/// A NAR that is needed here, with what of it is damaged.
#[derive(Clone, Debug)]
pub(crate) struct Hurt {
    pub(crate) nar: NarHash,
    pub(crate) objects: Vec<Object>,
    /// What the cluster knows of it; nothing for a push that waits to be handed over.
    record: Option<NarRecord>,
    /// Whether fetching it anew was tried.
    pub(crate) is_tried: bool,
}

impl fmt::Display for Hurt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_manifest = |object: &Object| matches!(object, Object::Manifest(_));
        let what = match self.objects.len() {
            1 if self.objects.iter().any(is_manifest) => "its manifest".to_owned(),
            1 => "1 chunk".to_owned(),
            chunks => format!("{chunks} chunks"),
        };
        write!(f, "NAR {}: {what}", self.nar)
    }
}

/// Looks through everything that is needed here for what is damaged. Blocks; quick when nothing is.
pub(super) fn survey(node: &Node) -> Result<Vec<Hurt>, NodeError> {
    let store = node.store();
    let damaged: BTreeSet<Object> = store.damaged().into_iter().collect();
    let mut hurt = Vec::new();
    if damaged.is_empty() {
        return Ok(hurt);
    }
    // First the outbox: what leaves it from now on is in the state read below.
    for (nar, manifest) in node.outbox().nars() {
        let objects = damaged_of(store, &manifest, &damaged)?;
        if !objects.is_empty() {
            hurt.push(Hurt {
                nar,
                objects,
                record: None,
                is_tried: true,
            });
        }
    }
    let view = node.replica().view()?;
    let mut after = None;
    while hurt.len() < HURT_MAX {
        let page = query::nars(&view, after.as_ref(), PAGE)?;
        let Some((last, _)) = page.last() else { break };
        after = Some(*last);
        for (nar, record) in page {
            let objects = damaged_of(store, &record.manifest, &damaged)?;
            if !objects.is_empty() {
                hurt.push(Hurt {
                    nar,
                    objects,
                    record: Some(record),
                    is_tried: false,
                });
            }
        }
    }
    Ok(hurt)
}

fn damaged_of(
    store: &ChunkStore,
    manifest: &ManifestHash,
    damaged: &BTreeSet<Object>,
) -> Result<Vec<Object>, NodeError> {
    let own = Object::Manifest(*manifest);
    if damaged.contains(&own) {
        return Ok(vec![own]);
    }
    let held = store.hold_nar(manifest)?;
    let missing = held.map(|held| held.missing.clone()).unwrap_or_default();
    let missing = missing.into_iter().map(Object::Chunk);
    Ok(missing.filter(|chunk| damaged.contains(chunk)).collect())
}

/// Fetches anew what is hurt, as far as others have it. What is still hurt then.
pub(super) async fn heal(node: &Node, hurt: Vec<Hurt>) -> Result<Vec<Hurt>, NodeError> {
    let fetches = hurt.into_iter().map(|mut hurt| async move {
        if let Some(record) = hurt.record.clone() {
            match replication::fetch_anew(node, hurt.nar, record).await {
                Ok(Some(true)) => return None,
                Ok(Some(false)) => hurt.is_tried = true,
                Ok(None) => {}
                Err(error) => tracing::error!(error = error.chain(), "a damaged NAR cannot be looked up"),
            }
        }
        Some(hurt)
    });
    let left: Vec<Option<Hurt>> = stream::iter(fetches).buffer_unordered(AT_ONCE).collect().await;
    let left: Vec<Hurt> = left.into_iter().flatten().collect();
    let store = Arc::clone(node.store());
    let in_background = node.clone();
    // Some may have been healed by others' fetches, or be needed no longer.
    let still = node.io().run(move || {
        let damaged: BTreeSet<Object> = store.damaged().into_iter().collect();
        let view = in_background.replica().view()?;
        let mut still = Vec::new();
        for mut hurt in left {
            hurt.objects.retain(|object| damaged.contains(object));
            let is_needed = hurt.record.is_none() || query::nar(&view, &hurt.nar)?.is_some();
            if is_needed && !hurt.objects.is_empty() {
                still.push(hurt);
            }
        }
        Ok::<_, NodeError>(still)
    });
    still.await?
}
