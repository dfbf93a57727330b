//! The commit of an upload: stored NARs become visible paths.
//!
//! # Invariants
//! - Everything a path needs is durable before the path is proposed: here, and on as many other nodes as
//!   `replication.write_replicas` asks for. When the cluster cannot be asked, the path waits ([`crate::outbox`]).
//! - A path's NAR was verified in the same session. Knowing the hash of somebody else's NAR does not publish it.
//! - The session's pin outlives every proposal that may still be applied.
//!
//! # Non-goals
//! - Atomicity beyond one command of the log: a commit of more paths than fit is split, dependencies first, so that
//!   after every part each visible path has its references.

use std::collections::{BTreeMap, BTreeSet};

use tetryx_protocol::api::{CommitUploadRequest, CommitUploadResponse, ErrorName, PathUpload};
use tetryx_protocol::hash::NarHash;
use tetryx_protocol::peer::HoldNar;
use tetryx_protocol::store_path::{StorePath, StorePathHash};
use tetryx_raft::ProposeError;
use tetryx_state::command::{NewNar, NewPath, PublishPaths};
use tetryx_state::limits::Limit;
use tetryx_state::{Outcome, query};

use super::session::Lease;
use crate::http::auth::Caller;
use crate::http::error::HttpError;
use crate::outbox::{Delivered, Delivery};
use crate::{Node, NodeError, replication};

/// Publishes the paths and waits until this node serves them.
pub(super) async fn commit(
    node: &Node,
    caller: &Caller,
    lease: &Lease,
    request: CommitUploadRequest,
) -> Result<CommitUploadResponse, HttpError> {
    if request.paths.is_empty() {
        return Err(HttpError::bad_request(
            "the commit names no path; name those that were uploaded",
        ));
    }
    let upstream: BTreeSet<StorePath> = request.upstream.into_iter().collect();
    let Resolved {
        paths,
        unchanged,
        provisional,
    } = resolve(node, lease, request.paths)?;
    let mut response = CommitUploadResponse {
        index: node.replica().applied_index(),
        published: 0,
        unchanged,
        provisional,
    };
    if paths.is_empty() {
        return Ok(response);
    }

    #[cfg(feature = "mutants")]
    for path in &paths {
        super::ingest::pin_late(node.store(), &lease.pin(), &path.nar.manifest);
    }
    make_durable(node).await?;
    let nars: BTreeMap<NarHash, HoldNar> = paths
        .iter()
        .map(|path| {
            let nar = HoldNar {
                nar_hash: path.nar_hash,
                manifest: path.nar.manifest,
                nar_size: path.nar.nar_size,
            };
            (path.nar_hash, nar)
        })
        .collect();
    let nars: Vec<HoldNar> = nars.into_values().collect();
    // The answer has to come before the request is given up.
    let patience = node.config().http.request_timeout * 9 / 10;
    let parts = batches(paths).into_iter().map(|batch| {
        let needed = batch
            .iter()
            .flat_map(|path| &path.references)
            .filter(|path| upstream.contains(*path));
        let upstream = needed.cloned().collect::<BTreeSet<_>>().into_iter().collect();
        PublishPaths {
            cache: lease.cache().clone(),
            paths: batch,
            upstream,
        }
    });
    let parts: Vec<_> = parts.collect();
    let mut delivery = Delivery::begin(node, caller, &parts).await?;
    let holders = delivery
        .secure(lease.hold(), lease.cache(), &nars, patience)
        .await?;
    for part in parts {
        let delivered = delivery.publish(part).await.inspect_err(|error| {
            if !matches!(
                error,
                NodeError::Refused(_) | NodeError::Propose(ProposeError::NoLeader { .. })
            ) {
                // It may be applied yet: until the session would expire, its chunks must stay.
                lease.leave_undecided();
            }
        })?;
        match delivered {
            Delivered::Taken { paths } => response.provisional += paths,
            Delivered::Published { index, outcome } => {
                response.index = index;
                if let Outcome::Published {
                    published,
                    updated,
                    unchanged,
                } = outcome
                {
                    node.metrics().paths_published.inc_by(published);
                    response.published += published;
                    response.unchanged += updated + unchanged;
                }
            }
        }
    }
    replication::release(node, lease.hold(), holders, response.index);
    Ok(response)
}

/// Returns once everything that was uploaded here is durable.
async fn make_durable(node: &Node) -> Result<(), HttpError> {
    #[cfg(feature = "mutants")]
    if tetryx_environment::mutant::Mutant::VisibleBeforeDurable.is_active() {
        return Ok(());
    }
    let store = node.store().clone();
    Ok(node.io().run(move || store.flush()).await??)
}

/// What a commit asks for, held against what is there.
struct Resolved {
    paths: Vec<NewPath>,
    /// Paths that the cache has already.
    unchanged: u64,
    /// Paths that wait in the outbox already.
    provisional: u64,
}

/// Adds to each path what the session knows about its NAR. A path that the cache already has, or that waits, is only
/// counted: so a commit whose answer was lost can be repeated in another session.
fn resolve(node: &Node, lease: &Lease, uploads: Vec<PathUpload>) -> Result<Resolved, HttpError> {
    let view = node.replica().view()?;
    let mut paths = Vec::with_capacity(uploads.len());
    let (mut unchanged, mut provisional) = (0, 0);
    for upload in uploads {
        let Some(nar) = lease.verified(&upload.nar_hash) else {
            let existing = query::path(&view, lease.cache(), &upload.store_path.hash)?;
            if existing
                .is_some_and(|path| path.store_path == upload.store_path && path.nar_hash == upload.nar_hash)
            {
                unchanged += 1;
                continue;
            }
            if node
                .outbox()
                .has(lease.cache(), &upload.store_path, &upload.nar_hash)
            {
                provisional += 1;
                continue;
            }
            let message = format!(
                "the NAR {} of {} was not uploaded in this session; upload it first, nothing is sent twice",
                upload.nar_hash, upload.store_path
            );
            return Err(HttpError::new(ErrorName::NoSuchObject, message));
        };
        paths.push(NewPath {
            store_path: upload.store_path,
            nar_hash: upload.nar_hash,
            references: upload.references,
            deriver: upload.deriver,
            system: upload.system,
            ca: upload.ca,
            signatures: upload.signatures,
            nar: NewNar {
                nar_size: nar.nar_size,
                manifest: nar.manifest,
                file_size: nar.file_size,
                file_hash: nar.file_hash,
                origin: node.node_id(),
            },
        });
    }
    Ok(Resolved {
        paths,
        unchanged,
        provisional,
    })
}

/// Splits paths into parts that each fit into one command, every path after the paths of the commit it refers to.
/// Paths that refer to each other in a circle stay together as far as they fit.
fn batches(paths: Vec<NewPath>) -> Vec<Vec<NewPath>> {
    let mut batches = Vec::new();
    let mut batch = Vec::new();
    let mut references = 0;
    for path in dependencies_first(paths) {
        // A reference counts twice at most: as such, and as one that an upstream cache has.
        let more = 2 * path.references.len() as u64;
        let full = batch.len() as u64 >= Limit::PathsPerCommand.bound()
            || references + more > Limit::ReferencesPerCommand.bound();
        if full && !batch.is_empty() {
            batches.push(std::mem::take(&mut batch));
            references = 0;
        }
        references += more;
        batch.push(path);
    }
    batches.push(batch);
    batches
}

fn dependencies_first(paths: Vec<NewPath>) -> Vec<NewPath> {
    let mut waiting: BTreeMap<StorePathHash, Vec<NewPath>> = BTreeMap::new();
    for path in paths {
        waiting.entry(path.store_path.hash).or_default().push(path);
    }
    let mut referrers: BTreeMap<StorePathHash, Vec<StorePathHash>> = BTreeMap::new();
    let mut open: BTreeMap<StorePathHash, usize> = BTreeMap::new();
    for (hash, same) in &waiting {
        let references: BTreeSet<StorePathHash> = same
            .iter()
            .flat_map(|path| &path.references)
            .map(|reference| reference.hash)
            .collect();
        let within = references
            .iter()
            .filter(|reference| *reference != hash && waiting.contains_key(reference));
        let mut count = 0;
        for reference in within {
            referrers.entry(*reference).or_default().push(*hash);
            count += 1;
        }
        open.insert(*hash, count);
    }
    let mut ready: Vec<StorePathHash> = open
        .iter()
        .filter(|(_, count)| **count == 0)
        .map(|(hash, _)| *hash)
        .collect();
    let mut ordered = Vec::new();
    while let Some(hash) = ready.pop() {
        ordered.extend(waiting.remove(&hash).into_iter().flatten());
        for referrer in referrers.get(&hash).into_iter().flatten() {
            let count = open
                .get_mut(referrer)
                .expect("every referrer is a path of the commit");
            *count -= 1;
            if *count == 0 {
                ready.push(*referrer);
            }
        }
    }
    // What is left are circles, and what depends on them. Nix makes none; the state refuses those it cannot take.
    ordered.extend(waiting.into_values().flatten());
    ordered
}
