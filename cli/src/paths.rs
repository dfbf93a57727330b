//! `path list|delete|pin|unpin`.

use anyhow::Result;
use tetryx_protocol::api::{ErrorName, PathInfo, PinInfo, PinPathQuery};
use tetryx_protocol::time::UtcTime;

use crate::args::PathCommand;
use crate::context::Context;
use crate::reference::{CacheRef, PathRef};
use crate::render;

pub(crate) async fn run(context: &Context, command: PathCommand) -> Result<()> {
    match command {
        PathCommand::List { cache } => list(context, &cache).await,
        PathCommand::Delete { cache, paths, force } => delete(context, &cache, paths, force).await,
        PathCommand::Pin {
            cache,
            paths,
            until,
            period,
        } => {
            let end = PinPathQuery {
                until,
                for_seconds: period.map(|period| period.as_secs()),
            };
            pin(context, &cache, &paths, end).await
        }
        PathCommand::Unpin { cache, paths } => unpin(context, &cache, &paths).await,
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
                path.pin.as_ref().map(pin_text).unwrap_or_default(),
            ]
        })
        .collect();
    render::table(["PATH", "NAR", "COMPRESSED", "PUSHED (UTC)", "BY", "PIN"], &rows)
}

fn pin_text(pin: &PinInfo) -> String {
    match pin.until {
        Some(until) => format!("by {} until {}", pin.by, render::utc(until)),
        None => format!("by {}", pin.by),
    }
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

async fn pin(context: &Context, cache: &CacheRef, paths: &[PathRef], end: PinPathQuery) -> Result<()> {
    let server = context.server_of(cache)?;
    for path in paths {
        server.client.pin(&cache.cache, &path.hash, &end).await?;
        context
            .render
            .talk(&format!("📌 Pinned {} in \"{}\"", path.text, cache.cache));
    }
    Ok(())
}

async fn unpin(context: &Context, cache: &CacheRef, paths: &[PathRef]) -> Result<()> {
    let server = context.server_of(cache)?;
    for path in paths {
        server.client.unpin(&cache.cache, &path.hash).await?;
        context
            .render
            .talk(&format!("Unpinned {} in \"{}\"", path.text, cache.cache));
    }
    Ok(())
}

/// A day, which begins in UTC, or a moment.
pub(crate) fn parse_time(text: &str) -> Result<UtcTime, String> {
    let day = format!("{text}T00:00:00Z");
    text.parse().or_else(|_| day.parse()).map_err(|_| {
        format!("'{text}' is not a time; write for example 2027-03-02 or 2027-03-02T12:00:00Z (UTC)")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_day_or_a_moment() {
        let text = |text| parse_time(text).map(|time| time.to_string());
        assert_eq!(text("2027-03-02").as_deref(), Ok("2027-03-02T00:00:00.000Z"));
        assert_eq!(
            text("2027-03-02T12:00:00+02:00").as_deref(),
            Ok("2027-03-02T10:00:00.000Z")
        );
        assert!(parse_time("tomorrow").unwrap_err().contains("'tomorrow'"));
    }
}
