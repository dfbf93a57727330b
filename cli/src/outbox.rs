//! `outbox`: what a server took while it was cut off from its cluster.

use anyhow::Result;
use tetryx_protocol::api::{OutboxEntry, OutboxReport, OutboxState};

use crate::context::Context;
use crate::render;

pub(crate) async fn run(context: &Context) -> Result<()> {
    let server = context.server()?;
    let report = server.client.outbox().await?;
    if report.entries.is_empty() && !context.render.is_json() {
        context.render.talk(&format!(
            "the outbox of \"{}\" is empty: everything it took is in the cluster",
            server.name
        ));
        return Ok(());
    }
    context.render.either(&report, text)
}

fn text(report: &OutboxReport) -> String {
    let rows: Vec<[String; 6]> = report.entries.iter().map(row).collect();
    render::table(["STATE", "CACHE", "PATH", "PUSHED (UTC)", "BY", "NOTE"], &rows)
}

fn row(entry: &OutboxEntry) -> [String; 6] {
    let (state, note) = match &entry.state {
        OutboxState::Waiting => ("waiting", "served by this node only".to_owned()),
        OutboxState::Applied { index } => ("applied", format!("at index {index}")),
        OutboxState::Duplicate { index } => ("duplicate", format!("the cluster had it at index {index}")),
        OutboxState::Refused { reason } => ("refused", reason.clone()),
    };
    [
        state.to_owned(),
        entry.cache.to_string(),
        entry.store_path.to_string(),
        render::utc(entry.accepted),
        entry.by.clone(),
        note,
    ]
}
