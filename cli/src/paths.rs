//! `path list|delete|pin|unpin`.

use anyhow::Result;
use tetryx_protocol::api::{ErrorName, PathInfo};

use crate::args::PathCommand;
use crate::context::Context;
use crate::reference::{CacheRef, PathRef};
use crate::render;

pub(crate) async fn run(context: &Context, command: PathCommand) -> Result<()> {
    match command {
        PathCommand::List { cache } => list(context, &cache).await,
        PathCommand::Delete { cache, paths, force } => delete(context, &cache, paths, force).await,
        PathCommand::Pin { cache, paths } => pin(context, &cache, &paths, true).await,
        PathCommand::Unpin { cache, paths } => pin(context, &cache, &paths, false).await,
    }
}

async fn list(context: &Context, cache: &CacheRef) -> Result<()> {
    let server = context.server_of(cache)?;
    let mut paths: Vec<PathInfo> = Vec::new();
    let mut after = None;
    loop {
        let page = server.client.paths(&cache.cache, after).await?;
        paths.extend(page.paths);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    context.render.either(&paths, |paths| list_text(paths))
}

fn list_text(paths: &[PathInfo]) -> String {
    let rows: Vec<[String; 6]> = paths
        .iter()
        .map(|path| {
            [
                path.store_path.to_string(),
                render::bytes(path.nar_size),
                render::bytes(path.file_size),
                render::utc(path.created),
                path.created_by.clone(),
                path.pin
                    .as_ref()
                    .map(|pin| format!("by {}", pin.by))
                    .unwrap_or_default(),
            ]
        })
        .collect();
    render::table(["PATH", "NAR", "COMPRESSED", "PUSHED (UTC)", "BY", "PIN"], &rows)
}

/// Deletes in whatever order works: a path goes after those of the list that refer to it.
async fn delete(context: &Context, cache: &CacheRef, paths: Vec<PathRef>, force: bool) -> Result<()> {
    let server = context.server_of(cache)?;
    let mut left = paths;
    loop {
        let before = left.len();
        let mut in_use = Vec::new();
        let mut why = None;
        for path in left {
            match server.client.delete_path(&cache.cache, &path.hash, force).await {
                Ok(()) => context
                    .render
                    .talk(&format!("🗑️ Deleted {} from \"{}\"", path.text, cache.cache)),
                Err(error) if error.name() == Some(ErrorName::PathInUse) => {
                    why = Some(error);
                    in_use.push(path);
                }
                Err(error) => return Err(error.into()),
            }
        }
        match why {
            Some(error) if in_use.len() == before => return Err(error.into()),
            Some(_) => left = in_use,
            None => return Ok(()),
        }
    }
}

async fn pin(context: &Context, cache: &CacheRef, paths: &[PathRef], pinned: bool) -> Result<()> {
    let server = context.server_of(cache)?;
    for path in paths {
        server.client.set_pin(&cache.cache, &path.hash, pinned).await?;
        let done = if pinned { "📌 Pinned" } else { "Unpinned" };
        context
            .render
            .talk(&format!("{done} {} in \"{}\"", path.text, cache.cache));
    }
    Ok(())
}
