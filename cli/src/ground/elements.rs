//! `elements refresh`: the satellites that are registered get newer elements.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use tetryx_protocol::api::{RefreshResponse, RefreshResult};

use crate::api;
use crate::args::ElementsCommand;
use crate::context::Context;
use crate::render;

/// Runs the command; `false` if an entry could not be read.
pub(crate) async fn run(context: &Context, command: ElementsCommand) -> Result<bool> {
    let ElementsCommand::Refresh { source } = command;
    let server = context.server()?;
    let text = read(&source).await?;
    let answer = server.client.refresh_elements(text).await?;
    for entry in &answer.entries {
        if let Some(error) = &entry.error {
            context.render.talk(&format!("{source}: {error}"));
        }
    }
    context.render.talk(&summary(&answer));
    if context.render.is_json() {
        context.render.json(&answer)?;
    } else {
        let rows: Vec<[String; 2]> = answer
            .entries
            .iter()
            .filter_map(|entry| {
                let satellite = entry.satellite.as_ref()?;
                Some([satellite.to_string(), word(entry.result).to_owned()])
            })
            .collect();
        if !rows.is_empty() {
            context
                .render
                .data(&render::table(["SATELLITE", "ELEMENTS"], &rows))?;
        }
    }
    Ok(answer.malformed == 0)
}

async fn read(source: &str) -> Result<Vec<u8>> {
    if source.starts_with("http://") || source.starts_with("https://") {
        return Ok(api::fetch(source).await?);
    }
    let path = match source.strip_prefix("file://") {
        Some(_) => reqwest::Url::parse(source)
            .ok()
            .and_then(|url| url.to_file_path().ok())
            .with_context(|| format!("{source} names no file of this machine; write file:///PATH"))?,
        None => PathBuf::from(source),
    };
    super::read(Path::new(&path))
}

fn summary(answer: &RefreshResponse) -> String {
    let mut parts = vec![format!("🛰️ {} updated", render::count(answer.added, "satellite"))];
    let others = [
        (answer.unchanged, "unchanged"),
        (answer.older, "older than what is held"),
        (answer.unknown, "of satellites that are not registered"),
        (answer.malformed, "refused"),
    ];
    let others = others.into_iter().filter(|(count, _)| *count > 0);
    parts.extend(others.map(|(count, what)| format!("{count} {what}")));
    parts.join(", ")
}

fn word(result: RefreshResult) -> &'static str {
    match result {
        RefreshResult::Added => "updated",
        RefreshResult::Unchanged => "unchanged",
        RefreshResult::Older => "older than what is held",
        RefreshResult::Unknown => "not registered",
        RefreshResult::Malformed => "refused",
    }
}
