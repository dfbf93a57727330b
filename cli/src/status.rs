//! `status`: what a server says of itself.

use std::time::Duration;

use anyhow::Result;
use tetryx_protocol::api::StatusResponse;

use crate::context::Context;
use crate::{duration, render};

pub(crate) async fn run(context: &Context) -> Result<()> {
    let server = context.server()?;
    let status = server.client.status().await?;
    context
        .render
        .either(&status, |status| text(server.client.base(), status))
}

fn text(url: &str, status: &StatusResponse) -> String {
    let leader = match status.leader {
        Some(leader) if leader == status.node => "this node".to_owned(),
        Some(leader) => leader.fmt_short(),
        None => "none".to_owned(),
    };
    let mut disk = format!(
        "{}, {} free",
        render::bytes(status.store.disk_bytes),
        render::bytes(status.store.free_bytes)
    );
    if let Some(quota) = status.store.quota_bytes {
        disk.push_str(&format!(" of a quota of {}", render::bytes(quota)));
    }
    let content = [
        (status.caches, "cache"),
        (status.paths, "path"),
        (status.nars, "NAR"),
    ]
    .map(|(number, thing)| render::count(number, thing))
    .join(", ");
    let size = format!(
        "{} of paths, {} of NARs, {} of chunks as stored",
        render::bytes(status.path_bytes),
        render::bytes(status.nar_bytes),
        render::bytes(status.store.pack_bytes)
    );
    let chunks = match status.store.damaged {
        0 => status.store.chunks.to_string(),
        damaged => format!("{}, {damaged} DAMAGED", status.store.chunks),
    };
    render::fields(&[
        ("Server", url.to_owned()),
        ("Version", status.version.clone()),
        (
            "Node",
            format!("{} ({})", status.node_name, status.node.fmt_short()),
        ),
        ("Zone", status.zone.clone()),
        ("Cluster", status.cluster.to_string()),
        ("Quorum", status.quorum.clone()),
        ("Leader", leader),
        ("Voters", status.voters.len().to_string()),
        (
            "Log",
            format!("index {}, term {}", status.applied_index, status.term),
        ),
        (
            "Uptime",
            duration::print(Duration::from_secs(status.uptime_seconds)),
        ),
        ("Content", content),
        ("Size", size),
        ("Chunks", chunks),
        ("Disk", disk),
    ])
}
