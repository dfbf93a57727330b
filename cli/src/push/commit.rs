//! Making paths visible as their NARs arrive.

use std::collections::BTreeSet;

use tetryx_protocol::api::{CommitUploadRequest, PathUpload};
use tetryx_protocol::store_path::StorePath;
use tokio::sync::mpsc;

use super::closure::LocalPath;
use super::commit_order::CommitOrder;
use super::error::PushError;
use super::plan::Plan;
use super::progress::{Arrived, Failure};
use super::session::Session;

/// A path of the plan whose upload has ended.
pub(crate) type Done = (usize, Result<Arrived, PushError>);

/// Commits what has arrived, as soon as its references are committed or go along. While one batch is on its way the
/// next one gathers, so small paths share round trips.
///
/// A path that cannot be pushed is reported, and the others go on; what stops the push as a whole is returned.
pub(crate) async fn commit_all(
    session: &Session,
    plan: &Plan,
    mut done: mpsc::UnboundedReceiver<Done>,
) -> Result<(), PushError> {
    let mut order = CommitOrder::new(&plan.paths);
    let mut arrived: Vec<Option<Arrived>> = vec![None; plan.paths.len()];
    let mut received = Vec::new();
    while done.recv_many(&mut received, usize::MAX).await > 0 {
        for (index, result) in received.drain(..) {
            match result {
                Ok(what) => {
                    arrived[index] = Some(what);
                    order.uploaded(index);
                }
                Err(error) => give_up(session, plan, index, error)?,
            }
        }
        loop {
            let batch = order.take_batch();
            if batch.is_empty() {
                break;
            }
            for index in commit(session, plan, batch).await? {
                let what = arrived[index]
                    .take()
                    .expect("it was uploaded, or it would not be in a batch");
                session
                    .progress
                    .pushed(plan.paths[index].store_path.to_string(), what);
            }
        }
    }
    for index in order.waiting() {
        session.progress.failed(Failure {
            path: plan.paths[index].store_path.to_string(),
            why: "something it refers to was not pushed".to_owned(),
            refused: false,
        });
    }
    Ok(())
}

/// Reports a path that cannot be pushed; an error that is not about this path alone comes back.
fn give_up(session: &Session, plan: &Plan, index: usize, error: PushError) -> Result<(), PushError> {
    if !error.concerns_one_path() {
        return Err(error);
    }
    session.progress.failed(Failure {
        path: plan.paths[index].store_path.to_string(),
        why: error.to_string(),
        refused: matches!(error, PushError::Client(_)),
    });
    Ok(())
}

/// Commits a batch; if it is refused because of one path, commits the others alone. Returns what was committed.
async fn commit(session: &Session, plan: &Plan, batch: Vec<usize>) -> Result<Vec<usize>, PushError> {
    match commit_batch(session, plan, &batch).await {
        Ok(()) => return Ok(batch),
        Err(error) if batch.len() == 1 || !error.concerns_one_path() => {
            return give_up(session, plan, batch[0], error).map(|()| Vec::new());
        }
        Err(_) => {}
    }
    let mut committed = Vec::new();
    for index in batch {
        match commit_batch(session, plan, &[index]).await {
            Ok(()) => committed.push(index),
            Err(error) => give_up(session, plan, index, error)?,
        }
    }
    Ok(committed)
}

async fn commit_batch(session: &Session, plan: &Plan, batch: &[usize]) -> Result<(), PushError> {
    let paths: Vec<PathUpload> = batch
        .iter()
        .map(|&index| path_upload(&plan.paths[index]))
        .collect();
    let references: BTreeSet<&StorePath> = paths.iter().flat_map(|path| &path.references).collect();
    let upstream = references
        .into_iter()
        .filter(|path| plan.upstream.contains(path))
        .cloned()
        .collect();
    let request = CommitUploadRequest { paths, upstream };
    let committed = session
        .client
        .commit(&session.upload, &request)
        .await
        .map_err(PushError::Client)?;
    session.progress.provisional(committed.provisional);
    Ok(())
}

fn path_upload(path: &LocalPath) -> PathUpload {
    PathUpload {
        store_path: path.store_path.clone(),
        nar_hash: path.nar_hash,
        references: path.references.clone(),
        deriver: path.deriver.clone(),
        system: None,
        ca: path.ca.clone(),
        signatures: path.signatures.clone(),
    }
}
