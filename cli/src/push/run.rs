//! A push from the command line to the summary.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use futures::stream::{self, TryStreamExt as _};
use tetryx_protocol::api::CacheInfo;
use tetryx_protocol::cache::CacheName;
use tetryx_protocol::store_path::{StoreDir, StorePath, StorePathHash};
use tokio::sync::mpsc;

use super::closure::{self, LocalPath};
use super::commit::{Done, commit_all};
use super::error::PushError;
use super::pipeline;
use super::plan::{Plan, Selection};
use super::progress::{Progress, Summary};
use super::session::Session;
use super::small;
use crate::api::{Client, Patience};
use crate::args::Push;
use crate::context::{Context, Server};
use crate::nix::command;
use crate::render;

/// How often a push begins a new upload session after the server has ended one.
const SESSIONS_MAX: usize = 5;

/// Runs the command; `false` if the server refused something and has said why.
pub(crate) async fn run(context: &Context, args: Push) -> Result<bool> {
    let server = context.server_of(&args.cache)?;
    let info = server.client.cache(&args.cache.cache).await?;
    let Some(roots) = roots(&args, &info.store_dir)? else {
        context.render.talk("there is nothing to push");
        return Ok(true);
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
            // As it is, because the exit code depends on it.
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

/// Reports; `false` if the server refused paths and everything here was well.
fn finish(context: &Context, summary: &Summary) -> Result<bool> {
    if !summary.pushed.is_empty() {
        context.render.talk(&summary.text());
    }
    if summary.provisional > 0 {
        let (paths, are) = match summary.provisional {
            1 => ("1 path".to_owned(), "is"),
            several => (render::count(several, "path"), "are"),
        };
        context.render.talk(&format!(
            "⏳ {paths} {are} only on the server you pushed to: it is cut off from its cluster, serves what it took, and \
             hands it over when it is back; 'tetryx-cli outbox' tells what became of it"
        ));
    }
    if context.render.is_json() {
        context.render.json(summary)?;
    }
    if summary.failed.is_empty() {
        return Ok(true);
    }
    let paths = render::count(summary.failed.len() as u64, "path");
    let what = format!("{paths} could not be pushed; the reasons are above");
    if summary.failed.iter().any(|failure| !failure.refused) {
        bail!(what);
    }
    context.render.talk(&what);
    Ok(false)
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
