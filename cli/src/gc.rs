//! `gc`: has the cluster give space back, and says what went at each of the three levels.

use anyhow::Result;
use tetryx_protocol::api::{GcRequest, GcResponse, NodeGc};

use crate::context::Context;
use crate::render;

/// `false` when a node has not done its part.
pub(crate) async fn run(context: &Context, dry_run: bool) -> Result<bool> {
    let server = context.server()?;
    let done = server.client.collect(&GcRequest { dry_run }).await?;
    context.render.either(&done, text)?;
    let failed: Vec<&NodeGc> = done.nodes.iter().filter(|node| node.error.is_some()).collect();
    for node in &failed {
        context.render.talk(&format!(
            "node \"{}\" is left out: {}",
            node.name,
            node.error.as_deref().unwrap_or_default()
        ));
    }
    if dry_run {
        context
            .render
            .talk("nothing was changed; run 'tetryx-cli gc' to let it go");
    }
    Ok(failed.is_empty())
}

fn text(done: &GcResponse) -> String {
    let mut rows = vec![
        [
            "paths".to_owned(),
            "every cache".to_owned(),
            done.paths.to_string(),
            String::new(),
        ],
        [
            "NARs".to_owned(),
            "the cluster".to_owned(),
            done.nars.to_string(),
            render::bytes(done.nar_bytes),
        ],
    ];
    rows.extend(done.nodes.iter().filter(|node| node.error.is_none()).map(|node| {
        [
            "chunks".to_owned(),
            node.name.clone(),
            node.chunks.to_string(),
            render::bytes(node.bytes),
        ]
    }));
    let gone = if done.dry_run { "WOULD GO" } else { "GONE" };
    render::table(["LEVEL", "WHERE", gone, "SIZE"], &rows)
}
