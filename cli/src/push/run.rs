//! A push from the command line to the summary.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use futures::stream::{self, TryStreamExt as _};
use tetryx_protocol::api::{CacheInfo, CommitUploadRequest, PathUpload};
use tetryx_protocol::cache::CacheName;
use tetryx_protocol::store_path::{StoreDir, StorePath, StorePathHash};
use tokio::sync::mpsc;

use super::closure::{self, LocalPath};
use super::commit_order::CommitOrder;
use super::error::PushError;
use super::pipeline;
use super::plan::{Plan, Selection};
use super::progress::{Arrived, Progress, Summary};
use super::session::Session;
use super::small;
use crate::api::{Client, Patience};
use crate::args::Push;
use crate::context::{Context, Server};
use crate::nix::command;
use crate::render;

/// How often a push begins a new upload session after the server has ended one.
const SESSIONS_MAX: usize = 5;

pub(crate) async fn run(context: &Context, args: Push) -> Result<()> {
    let server = context.server_of(&args.cache)?;
    let info = server.client.cache(&args.cache.cache).await?;
    let Some(roots) = roots(&args, &info.store_dir)? else {
        context.render.talk("there is nothing to push");
        return Ok(());
    };
    let mut closure = closure_of(&roots, &info.store_dir).await?;
    let client = server.client.with_patience(Patience::Long);

    let mut before: Option<Summary> = None;
    for _ in 0..SESSIONS_MAX {
        let plan = plan(&client, &args, &info, &roots, closure.clone()).await?;
        if before.is_none() {
            announce(context, &server, &info.name, &plan);
        }
        let progress = Arc::new(Progress::start(context.render, plan.nar_bytes()));
        let jobs = usize::from(args.jobs);
        let result = push(&client, &info, &plan, jobs, &progress).await;
        let mut summary = progress.finish(plan.cached, plan.upstream.len());
        if let Some(before) = before {
            summary = before.and(summary);
        }
        match result {
            Err(error) if error.session_is_gone() => {
                context
                    .render
                    .talk("the server has ended this upload; going on in a new one, what was sent is kept");
                closure.retain(|path| !summary.pushed.contains(&path.store_path.to_string()));
                before = Some(summary);
            }
            Err(PushError::Client(error)) => return Err(error.into()),
            Err(error) => return Err(error.into()),
            Ok(()) => return finish(context, &summary),
        }
    }
    bail!(
        "the server ended the upload {SESSIONS_MAX} times; look at its log, then run the same command again"
    )
}

/// The store paths that the command line means; `None` if stdin was empty.
fn roots(args: &Push, store_dir: &StoreDir) -> Result<Option<Vec<String>>> {
    let paths: Vec<PathBuf> = if args.stdin {
        let text = std::io::read_to_string(std::io::stdin()).context("cannot read paths from stdin")?;
        text.lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .map(PathBuf::from)
            .collect()
    } else {
        args.paths.clone()
    };
    let dir = Path::new(store_dir.as_str());
    let roots: BTreeSet<String> = paths
        .iter()
        .map(|path| command::to_store_path(path, dir))
        .collect::<Result<_>>()?;
    Ok((!roots.is_empty()).then(|| roots.into_iter().collect()))
}

/// Everything that the roots refer to, themselves included.
async fn closure_of(roots: &[String], store_dir: &StoreDir) -> Result<Vec<LocalPath>> {
    let mut closure: BTreeMap<StorePath, LocalPath> = BTreeMap::new();
    // A command line has a length limit.
    for roots in roots.chunks(1_000) {
        for path in closure::parse(&command::closure_json(roots).await?, store_dir)? {
            closure.insert(path.store_path.clone(), path);
        }
    }
    Ok(closure.into_values().collect())
}

/// What the cache should get and lacks.
async fn plan(
    client: &Client,
    args: &Push,
    info: &CacheInfo,
    roots: &[String],
    closure: Vec<LocalPath>,
) -> Result<Plan> {
    let only = if args.no_closure {
        let paths = roots
            .iter()
            .map(|root| Ok(StorePath::from_absolute(&info.store_dir, root)?));
        Some(paths.collect::<Result<BTreeSet<StorePath>>>()?)
    } else {
        None
    };
    let filter = &info.upstream_cache_key_names;
    let selection = Selection::new(closure, only.as_ref(), filter, args.ignore_upstream_cache_filter);
    let hashes: Vec<StorePathHash> = selection.wanted.iter().map(|path| path.store_path.hash).collect();
    let missing = client.missing_paths(&info.name, &hashes).await?;
    Ok(Plan::new(selection, &missing.into_iter().collect()))
}

fn announce(context: &Context, server: &Server, cache: &CacheName, plan: &Plan) {
    let (cached, upstream) = (plan.cached, plan.upstream.len());
    let line = if plan.paths.is_empty() {
        format!(
            "✅ All paths are in \"{cache}\" on \"{}\" ({cached} already cached, {upstream} in upstream)",
            server.name
        )
    } else {
        format!(
            "⚙️ Pushing {} to \"{cache}\" on \"{}\" ({cached} already cached, {upstream} in upstream)...",
            render::count(plan.paths.len() as u64, "path"),
            server.name
        )
    };
    context.render.talk(&line);
}

fn finish(context: &Context, summary: &Summary) -> Result<()> {
    if !summary.pushed.is_empty() {
        context.render.talk(&summary.text());
    }
    if context.render.is_json() {
        context.render.json(summary)?;
    }
    match summary.failed.len() {
        0 => Ok(()),
        failed => bail!(
            "{} not pushed; the reasons are above",
            if failed == 1 {
                "1 path was".to_owned()
            } else {
                format!("{failed} paths were")
            }
        ),
    }
}

/// Uploads and commits everything of a plan, in one upload session.
async fn push(
    client: &Client,
    info: &CacheInfo,
    plan: &Plan,
    jobs: usize,
    progress: &Arc<Progress>,
) -> Result<(), PushError> {
    if plan.paths.is_empty() {
        return Ok(());
    }
    let upload = client
        .start_upload(&info.name)
        .await
        .map_err(PushError::Client)?
        .upload;
    let session = Session::new(
        client.clone(),
        upload,
        info.store_dir.clone(),
        Arc::clone(progress),
    );
    let (done_tx, done_rx) = mpsc::unbounded_channel();
    let uploads = upload_all(&session, plan, jobs, done_tx);
    let commits = commit_all(&session, plan, done_rx);
    tokio::try_join!(uploads, commits)?;
    // What it pinned is released now rather than after its idle time. The push is done whatever comes of that.
    drop(session.client.end_upload(&session.upload).await);
    Ok(())
}

type Done = (usize, Result<Arrived, PushError>);

async fn upload_all(
    session: &Session,
    plan: &Plan,
    jobs: usize,
    done: mpsc::UnboundedSender<Done>,
) -> Result<(), PushError> {
    // The receiver is gone only when committing has failed, which ends this too.
    let report = |index, result| drop(done.send((index, result)));
    let report = &report;
    stream::iter(plan.portions().into_iter().map(Ok))
        .try_for_each_concurrent(jobs, |portion| async move {
            match portion.as_slice() {
                [index] => {
                    report(*index, pipeline::upload_nar(session, &plan.paths[*index]).await);
                    Ok(())
                }
                several => {
                    let paths: Vec<(usize, &LocalPath)> =
                        several.iter().map(|&i| (i, &plan.paths[i])).collect();
                    small::upload_small(session, &paths, report).await
                }
            }
        })
        .await
}

/// Commits what has arrived, as soon as its references are committed or go along. While one batch is on its way the
/// next one gathers, so small paths share round trips.
async fn commit_all(
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
                Err(error) if error.concerns_one_path() => {
                    session
                        .progress
                        .failed(plan.paths[index].store_path.to_string(), error.to_string());
                }
                Err(error) => return Err(error),
            }
        }
        loop {
            let batch = order.take_batch();
            if batch.is_empty() {
                break;
            }
            for &index in &commit(session, plan, &batch).await? {
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
        if arrived[index].is_some() {
            let path = plan.paths[index].store_path.to_string();
            session
                .progress
                .failed(path, "something it refers to was not pushed".to_owned());
        }
    }
    Ok(())
}

/// Commits a batch; if it is refused because of one path, commits the others alone. Returns what was committed.
async fn commit(session: &Session, plan: &Plan, batch: &[usize]) -> Result<Vec<usize>, PushError> {
    match commit_batch(session, plan, batch).await {
        Ok(()) => return Ok(batch.to_vec()),
        Err(error) if !error.concerns_one_path() => return Err(error),
        Err(error) if batch.len() == 1 => {
            session
                .progress
                .failed(plan.paths[batch[0]].store_path.to_string(), error.to_string());
            return Ok(Vec::new());
        }
        Err(_) => {}
    }
    let mut committed = Vec::new();
    for &index in batch {
        match commit_batch(session, plan, &[index]).await {
            Ok(()) => committed.push(index),
            Err(error) if error.concerns_one_path() => {
                session
                    .progress
                    .failed(plan.paths[index].store_path.to_string(), error.to_string());
            }
            Err(error) => return Err(error),
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
    session
        .client
        .commit(&session.upload, &request)
        .await
        .map_err(PushError::Client)?;
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
