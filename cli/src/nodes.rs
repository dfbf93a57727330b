//! `node invite|list|drain|remove`.

use std::time::Duration;

use anyhow::{Result, bail};
use tetryx_protocol::api::{CreateInviteRequest, MemberInfo};
use tetryx_protocol::member::Role;

use crate::args::{NodeCommand, NodeInvite};
use crate::context::{Context, Server};
use crate::reference::NodeRef;
use crate::{duration, render};

/// Between two questions whether a node has handed everything over.
const DRAIN_POLL: Duration = Duration::from_secs(2);

/// Runs the command; `false` if there is no such node, or not only one.
pub(crate) async fn run(context: &Context, command: NodeCommand) -> Result<bool> {
    match command {
        NodeCommand::Invite(args) => invite(context, args).await.map(|()| true),
        NodeCommand::List { all } => list(context, all).await.map(|()| true),
        NodeCommand::Drain { node, wait } => drain(context, &node, wait).await,
        NodeCommand::Remove { node, no_confirm } => remove(context, &node, no_confirm).await,
    }
}

async fn invite(context: &Context, args: NodeInvite) -> Result<()> {
    let server = context.server()?;
    let request = CreateInviteRequest {
        zone: args.zone,
        expires_seconds: args.expires.as_secs(),
        voter: args.voter,
    };
    let invite = server.client.create_invite(&request).await?;
    context.render.talk(&format!(
        "✉️ A ticket for one node, good until {} UTC; run 'tetryx-node join TICKET' on the new machine",
        render::utc(invite.expires)
    ));
    context.render.either(&invite, |invite| invite.ticket.clone())
}

async fn list(context: &Context, all: bool) -> Result<()> {
    let server = context.server()?;
    let list = server.client.members(all).await?;
    context.render.either(&list.members, |members| list_text(members))
}

fn list_text(members: &[MemberInfo]) -> String {
    let rows: Vec<[String; 10]> = members.iter().map(row).collect();
    render::table(
        [
            "NAME", "NODE", "ZONE", "VOTE", "STATE", "HEARD", "INDEX", "RTT", "FREE", "VERSION",
        ],
        &rows,
    )
}

/// What nobody has heard is a dash.
fn row(member: &MemberInfo) -> [String; 10] {
    let unknown = || "-".to_owned();
    let vote = match (member.votes, member.role) {
        _ if member.state.is_removed() => "-",
        (true, _) => "yes",
        (false, Role::Voter) => "may",
        (false, Role::Learner) => "no",
    };
    let heard = match member.last_seen_seconds {
        _ if member.state.is_removed() => unknown(),
        None => "never".to_owned(),
        Some(..10) => "now".to_owned(),
        Some(seconds) => format!("{} ago", duration::print(Duration::from_secs(seconds))),
    };
    [
        member.name.clone(),
        member.node.fmt_short(),
        member.zone.clone(),
        vote.to_owned(),
        member.state.to_string(),
        heard,
        member
            .applied_index
            .map_or_else(unknown, |index| index.to_string()),
        member.rtt_ms.map_or_else(unknown, |ms| format!("{ms} ms")),
        member.free_bytes.map_or_else(unknown, render::bytes),
        member.version.clone().unwrap_or_else(unknown),
    ]
}

async fn drain(context: &Context, node: &NodeRef, wait: bool) -> Result<bool> {
    let server = context.server()?;
    let Some(member) = find(context, &server, node).await? else {
        return Ok(false);
    };
    let name = &member.name;
    let mut answer = server.client.drain_member(&member.node).await?;
    while wait && answer.bytes_left != Some(0) {
        tokio::time::sleep(DRAIN_POLL).await;
        answer = server.client.drain_member(&member.node).await?;
    }
    let left = match answer.bytes_left {
        Some(0) => format!("nothing is left; remove it with 'tetryx-cli node remove {name}'"),
        Some(bytes) => format!(
            "{} are left; run the same command again to see how it goes on",
            render::bytes(bytes)
        ),
        None => "how much is left is not known here; run the same command again in a moment".to_owned(),
    };
    context
        .render
        .talk(&format!("🚰 \"{name}\" hands over what it holds: {left}"));
    if context.render.is_json() {
        context.render.json(&answer)?;
    }
    Ok(true)
}

async fn remove(context: &Context, node: &NodeRef, no_confirm: bool) -> Result<bool> {
    let server = context.server()?;
    let Some(member) = find(context, &server, node).await? else {
        return Ok(false);
    };
    let name = &member.name;
    if !no_confirm && !member.state.is_draining() {
        context.render.talk(&format!(
            "this removes \"{name}\" for ever, and what only it holds is lost; if it still runs, run 'tetryx-cli node \
             drain {name}' first"
        ));
        match context.render.ask(&format!("type its name to go on ({name}):"))? {
            None => bail!(
                "there is no terminal to confirm on; pass --no-confirm to remove \"{name}\" without draining it"
            ),
            Some(answer) if answer == *name => {}
            Some(answer) => bail!("'{answer}' is not '{name}'; nothing was removed"),
        }
    }
    let answer = server.client.remove_member(&member.node).await?;
    context.render.talk(&format!(
        "🚫 Removed node \"{name}\" ({}) from \"{}\"",
        member.node.fmt_short(),
        server.name
    ));
    if context.render.is_json() {
        context.render.json(&answer)?;
    }
    Ok(true)
}

/// The member that is meant; says why if there is none.
pub(crate) async fn find(context: &Context, server: &Server, node: &NodeRef) -> Result<Option<MemberInfo>> {
    let list = server.client.members(false).await?;
    let mut found = matching(list.members, node);
    match (found.pop(), found.is_empty()) {
        (Some(member), true) => Ok(Some(member)),
        (None, _) => {
            context.render.talk(&format!(
                "no node of the cluster has the name '{node}' or an id that begins so; see 'tetryx-cli node list'"
            ));
            Ok(None)
        }
        (Some(last), false) => {
            found.push(last);
            let names: Vec<String> = found
                .iter()
                .map(|member| format!("{} ({})", member.name, member.node.fmt_short()))
                .collect();
            context.render.talk(&format!(
                "'{node}' begins the ids of several nodes: {}; give more digits, or the name",
                names.join(", ")
            ));
            Ok(None)
        }
    }
}

/// A name goes before ids that begin so.
fn matching(members: Vec<MemberInfo>, node: &NodeRef) -> Vec<MemberInfo> {
    if let Some(named) = members.iter().find(|member| member.name == node.as_str()) {
        return vec![named.clone()];
    }
    let mut members = members;
    members.retain(|member| node.begins_id(&member.node));
    members
}

#[cfg(test)]
mod tests {
    use tetryx_protocol::id::NodeId;
    use tetryx_protocol::member::MemberState;
    use tetryx_protocol::time::UtcTime;

    use super::*;

    fn member(name: &str, first: u8) -> MemberInfo {
        let mut id = [0; 32];
        id[0] = first;
        MemberInfo {
            node: NodeId::from_bytes(id),
            name: name.to_owned(),
            zone: "z".to_owned(),
            role: Role::Voter,
            votes: true,
            state: MemberState::Active,
            addresses: Vec::new(),
            http_url: None,
            weight: 100,
            added: UtcTime::UNIX_EPOCH,
            version: None,
            last_seen_seconds: None,
            applied_index: None,
            rtt_ms: None,
            free_bytes: None,
        }
    }

    fn found(node: &str) -> Vec<String> {
        let members = vec![member("hill", 0xab), member("abba", 0xcd), member("lake", 0xac)];
        let node = node.parse().expect("a reference");
        matching(members, &node)
            .into_iter()
            .map(|member| member.name)
            .collect()
    }

    #[test]
    fn a_node_is_found_by_its_name_or_the_beginning_of_its_id() {
        assert_eq!(found("hill"), ["hill"]);
        assert_eq!(found("ab00"), ["hill"]);
        assert_eq!(found("AB00"), ["hill"]);
        assert_eq!(found("abba"), ["abba"], "a name goes first");
        assert!(found("hil").is_empty(), "no part of a name is one");
        assert!(found("ffff").is_empty());
    }

    #[test]
    fn a_beginning_that_several_ids_have_finds_them_all() {
        assert_eq!(found("a"), ["hill", "lake"]);
    }
}
