//! `/api/v1/members` and `/api/v1/invites`: who the nodes are, who may join, who leaves.
//!
//! # Invariants
//! - Changes need the admin grant. A ticket is shown once, to whoever asked for it.

use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use http::header::CACHE_CONTROL;
use http::{HeaderValue, StatusCode};
use serde::Deserialize;
use tetryx_protocol::api::{
    CreateInviteRequest, CreateInviteResponse, DrainMemberResponse, InviteInfo, InviteList, MemberInfo,
    MemberList, RemoveMemberResponse,
};
use tetryx_protocol::id::{InviteId, NodeId};
use tetryx_state::command::{DrainMember, RemoveMember, RevokeInvite};
use tetryx_state::query;
use tetryx_state::records::MemberRecord;

use super::changed;
use super::status::store_status;
use crate::config::Zone;
use crate::http::auth::Caller;
use crate::http::error::HttpError;
use crate::http::extract::{ApiJson, Param, Parameters};
use crate::membership::{INVITE_VALIDITY_MAX, invite as mint};
use crate::replication::left_at;
use crate::{Node, peers};

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    /// Removed members as well.
    #[serde(default)]
    all: bool,
}

pub(super) async fn list(
    State(node): State<Node>,
    caller: Caller,
    Parameters(query): Parameters<ListQuery>,
) -> Result<ApiJson<MemberList>, HttpError> {
    caller.token()?;
    let members = query::members(&node.replica().view()?)?;
    let voters = node.replica().status().voters;
    let mut members: Vec<MemberInfo> = members
        .into_iter()
        .filter(|(_, member)| query.all || !member.state.is_removed())
        .map(|(id, member)| describe(&node, id, member, voters.contains(&id)))
        .collect();
    let own_free_bytes = store_status(&node).await?.free_bytes;
    if let Some(own) = members.iter_mut().find(|member| member.node == node.node_id()) {
        own.free_bytes = Some(own_free_bytes);
    }
    members.sort_by(|a, b| (&a.name, a.node).cmp(&(&b.name, b.node)));
    Ok(ApiJson(MemberList { members }))
}

/// What the state says of a member, and what this node has heard of it.
fn describe(node: &Node, id: NodeId, member: MemberRecord, votes: bool) -> MemberInfo {
    let mut info = MemberInfo {
        node: id,
        name: member.name,
        zone: member.zone,
        role: member.role,
        votes,
        state: member.state,
        addresses: member.addresses,
        http_url: member.http_url,
        weight: member.weight,
        added: member.added,
        version: None,
        last_seen_seconds: None,
        applied_index: None,
        rtt_ms: None,
        free_bytes: None,
    };
    if id == node.node_id() {
        info.version = Some(env!("CARGO_PKG_VERSION").to_owned());
        info.last_seen_seconds = Some(0);
        info.applied_index = Some(node.replica().applied_index());
        return info;
    }
    info.rtt_ms = node
        .links()
        .path(id)
        .map(|path| u64::try_from(path.rtt.as_millis()).unwrap_or(u64::MAX));
    if let Some(seen) = node.presence_of(id) {
        info.version = Some(seen.presence.version.clone());
        info.last_seen_seconds = Some(seen.age(node.clock().elapsed()).as_secs());
        info.applied_index = Some(seen.presence.applied_index);
        info.free_bytes = Some(seen.presence.free_bytes);
    }
    info
}

pub(super) async fn drain(
    State(node): State<Node>,
    caller: Caller,
    Param(member): Param<NodeId>,
) -> Result<Response, HttpError> {
    caller.admin()?;
    let (index, _) = node
        .propose(caller.subject(), DrainMember { node: member })
        .await?;
    peers::take_over(&node)?;
    let answer = DrainMemberResponse {
        node: member,
        index,
        bytes_left: left_at(&node, member, index).await.map(|left| left.bytes),
    };
    Ok(changed(index, StatusCode::OK, ApiJson(answer)))
}

pub(super) async fn remove(
    State(node): State<Node>,
    caller: Caller,
    Param(member): Param<NodeId>,
) -> Result<Response, HttpError> {
    caller.admin()?;
    let (index, _) = node
        .propose(caller.subject(), RemoveMember { node: member })
        .await?;
    peers::take_over(&node)?;
    let answer = RemoveMemberResponse { node: member, index };
    Ok(changed(index, StatusCode::OK, ApiJson(answer)))
}

pub(super) async fn list_invites(
    State(node): State<Node>,
    caller: Caller,
) -> Result<ApiJson<InviteList>, HttpError> {
    caller.admin()?;
    let invites = query::invites(&node.replica().view()?)?;
    Ok(ApiJson(InviteList {
        invites: invites
            .into_iter()
            .map(|(invite, record)| InviteInfo {
                invite,
                zone: record.zone,
                voter: record.voter,
                expires: record.expires,
                used_by: record.used.map(|used| used.by),
            })
            .collect(),
    }))
}

pub(super) async fn invite(
    State(node): State<Node>,
    caller: Caller,
    ApiJson(request): ApiJson<CreateInviteRequest>,
) -> Result<Response, HttpError> {
    caller.admin()?;
    if let Some(zone) = &request.zone {
        zone.parse::<Zone>().map_err(HttpError::bad_request)?;
    }
    let validity = Duration::from_secs(request.expires_seconds);
    if validity.is_zero() || validity > INVITE_VALIDITY_MAX {
        return Err(HttpError::bad_request(format!(
            "a ticket counts for 1 second to {} days",
            INVITE_VALIDITY_MAX.as_secs() / (24 * 60 * 60)
        )));
    }
    let made = mint(&node, caller.subject(), request.zone, validity, request.voter).await?;
    let answer = CreateInviteResponse {
        ticket: made.ticket.to_string(),
        invite: made.invite,
        expires: made.ticket.expires,
    };
    let mut response = changed(made.index, StatusCode::CREATED, ApiJson(answer));
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

pub(super) async fn revoke_invite(
    State(node): State<Node>,
    caller: Caller,
    Param(invite): Param<InviteId>,
) -> Result<Response, HttpError> {
    caller.admin()?;
    let revoke = RevokeInvite { secret_hash: invite };
    let (index, _) = node.propose(caller.subject(), revoke).await?;
    Ok(changed(index, StatusCode::NO_CONTENT, ()))
}
