//! `status`: what a server says of itself and of its cluster.

use std::time::Duration;

use anyhow::Result;
use tetryx_protocol::api::{MembersSummary, OutboxCounts, StatusResponse};

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
    let mut fields = vec![
        ("Server", url.to_owned()),
        ("Version", status.version.clone()),
        (
            "Node",
            format!("{} ({})", status.node_name, status.node.fmt_short()),
        ),
        ("Zone", status.zone.clone()),
        ("Cluster", status.cluster.to_string()),
        ("Members", members(&status.members)),
        ("Quorum", status.quorum.clone()),
        ("Leader", leader),
        ("Voters", status.voters.len().to_string()),
        (
            "Log",
            format!("index {}, term {}", status.applied_index, status.term),
        ),
        ("State", state(status)),
        (
            "Uptime",
            duration::print(Duration::from_secs(status.uptime_seconds)),
        ),
        ("Content", content(status)),
        ("Size", size(status)),
        ("Copies", copies(status)),
        ("Chunks", chunks(status)),
        ("Disk", disk(status)),
    ];
    if status.outbox != OutboxCounts::default() {
        fields.push(("Outbox", outbox(&status.outbox)));
    }
    let mut text = render::fields(&fields);
    if !status.safety.is_empty() {
        text.push('\n');
    }
    for sentence in &status.safety {
        text.push_str(&format!("\n{sentence}"));
    }
    text
}

fn members(members: &MembersSummary) -> String {
    let mut text = match members.total {
        0 => return "not told".to_owned(),
        total if members.reachable == total => format!("{total}, all heard now"),
        total => format!("{total}, {} heard now", members.reachable),
    };
    if members.draining > 0 {
        text.push_str(&format!(", {} draining", members.draining));
    }
    text
}

fn state(status: &StatusResponse) -> String {
    let age = match status.state_age_seconds {
        None => "of unknown age".to_owned(),
        Some(0) => "current".to_owned(),
        Some(seconds) => format!("up to {} old", duration::print(Duration::from_secs(seconds))),
    };
    format!("{age}, reads are {}", status.read_level)
}

fn content(status: &StatusResponse) -> String {
    [
        (status.caches, "cache"),
        (status.paths, "path"),
        (status.nars, "NAR"),
    ]
    .map(|(number, thing)| render::count(number, thing))
    .join(", ")
}

fn size(status: &StatusResponse) -> String {
    format!(
        "{} of paths, {} of NARs, {} of chunks as stored",
        render::bytes(status.path_bytes),
        render::bytes(status.nar_bytes),
        render::bytes(status.store.pack_bytes)
    )
}

fn copies(status: &StatusResponse) -> String {
    let few = status.under_replicated;
    let mut text = match few.nars {
        0 => "as many as there should be".to_owned(),
        nars => format!(
            "{} ({}) with too few",
            render::count(nars, "NAR"),
            render::bytes(few.bytes)
        ),
    };
    if status.bytes_to_move > 0 {
        text.push_str(&format!(", {} to move", render::bytes(status.bytes_to_move)));
    }
    text
}

fn chunks(status: &StatusResponse) -> String {
    match status.store.damaged {
        0 => status.store.chunks.to_string(),
        damaged => format!("{}, {damaged} DAMAGED", status.store.chunks),
    }
}

fn disk(status: &StatusResponse) -> String {
    let mut disk = format!(
        "{}, {} free",
        render::bytes(status.store.disk_bytes),
        render::bytes(status.store.free_bytes)
    );
    if let Some(quota) = status.store.quota_bytes {
        disk.push_str(&format!(" of a quota of {}", render::bytes(quota)));
    }
    disk
}

fn outbox(counts: &OutboxCounts) -> String {
    format!(
        "{} waiting, {} applied, {} duplicate, {} refused",
        counts.waiting, counts.applied, counts.duplicate, counts.refused
    )
}
