//! Uploads: how paths get into a cache.
//!
//! A client opens a session, asks which chunks are missing, sends each NAR as a stream of its chunks in order, and
//! then publishes the paths in a commit. An interrupted push starts again from the beginning: what has arrived is
//! answered as present.
//!
//! # Invariants
//! - Nothing is visible before a commit, and a commit names only NARs that this node has verified in the session.
//! - Whoever uses a session may push to its cache, at every single request.

mod commit;
mod ingest;
mod receive;
mod session;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, post, put};
use http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tetryx_protocol::api::{
    CommitUploadRequest, CommitUploadResponse, ErrorName, StartUploadResponse, UploadNarQuery,
    UploadNarResponse,
};
use tetryx_protocol::cache::CacheName;
use tetryx_protocol::grant::CachePermission;
use tetryx_protocol::hash::NarHash;
use tetryx_protocol::id::UploadId;
use tetryx_protocol::peer::HoldNar;
use tetryx_protocol::upload::{self, MISSING_MAX};
use tetryx_store::PinId;
use tokio::sync::Semaphore;

use self::ingest::{Claim, Ingested};
use self::session::{Lease, Sessions};
use crate::config::Config;
use crate::http::auth::Caller;
use crate::http::error::HttpError;
use crate::http::extract::{ApiJson, Param, Parameters, unreadable_body};
use crate::{Node, NodeError, replication, room};

/// NARs received at once. Each holds about 1 MiB; more wait, and their clients with them.
const NARS_AT_ONCE: usize = 128;

/// NARs decoded at the same moment, each with up to 4 MiB more. More than there are processors, because a decoder
/// also waits for the disk.
const DECODES_AT_ONCE: usize = 8;

/// The upload sessions of a node.
#[derive(Debug)]
pub(crate) struct Uploads {
    sessions: Sessions,
    receiving: Semaphore,
    decoding: Arc<Semaphore>,
}

impl Uploads {
    pub(crate) fn new(config: &Config) -> Self {
        let uploads = &config.uploads;
        Self {
            sessions: Sessions::new(uploads.session_ttl, uploads.sessions_max),
            receiving: Semaphore::new(NARS_AT_ONCE),
            decoding: Arc::new(Semaphore::new(DECODES_AT_ONCE)),
        }
    }

    /// How many sessions are open.
    pub(crate) fn open_sessions(&self) -> usize {
        self.sessions.len()
    }
}

pub(crate) fn routes() -> Router<Node> {
    Router::new()
        .route("/api/v1/caches/{cache}/uploads", post(start))
        .route("/api/v1/uploads/{upload}", delete(end))
        .route("/api/v1/uploads/{upload}/missing", post(missing))
        .route("/api/v1/uploads/{upload}/nars/{nar_hash}", put(put_nar))
        .route("/api/v1/uploads/{upload}/commit", post(commit))
}

async fn start(
    State(node): State<Node>,
    caller: Caller,
    Param(cache): Param<CacheName>,
) -> Result<(StatusCode, ApiJson<StartUploadResponse>), HttpError> {
    caller.cache(&node, &cache, CachePermission::Push)?;
    release_ended(&node).await?;
    room::ensure(&node, room::LEAST + 1).await?;
    let mut id = [0; 16];
    node.entropy().fill(&mut id);
    let upload = UploadId::from_bytes(id);
    let sessions = &node.uploads().sessions;
    sessions
        .open(upload, cache, node.clock().elapsed())
        .map_err(|full| HttpError::new(ErrorName::NotReady, full.to_string()))?;
    let expires = node.clock().utc().plus(sessions.ttl());
    Ok((
        StatusCode::CREATED,
        ApiJson(StartUploadResponse { upload, expires }),
    ))
}

async fn end(
    State(node): State<Node>,
    caller: Caller,
    Param(upload): Param<UploadId>,
) -> Result<StatusCode, HttpError> {
    drop(enter(&node, &caller, &upload)?);
    node.uploads().sessions.close(&upload);
    release_ended(&node).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn missing(
    State(node): State<Node>,
    caller: Caller,
    Param(upload): Param<UploadId>,
    body: Body,
) -> Result<Response, HttpError> {
    let lease = enter(&node, &caller, &upload)?;
    let body = match Limited::new(body, MISSING_MAX * 32).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            let message = format!("more than {MISSING_MAX} chunk hashes; ask in several requests");
            return Err(HttpError::new(ErrorName::TooLarge, message));
        }
        Err(error) => return Err(unreadable_body(error.as_ref(), &error.to_string())),
    };
    let hashes = upload::decode_hashes(&body).map_err(|error| HttpError::bad_request(error.to_string()))?;
    let store = Arc::clone(node.store());
    let looked = node
        .io()
        .run(move || ingest::missing(&store, &lease.pin(), &hashes));
    let missing = looked.await??;
    let headers = [(header::CONTENT_TYPE, "application/octet-stream")];
    Ok((headers, upload::encode_hashes(&missing)).into_response())
}

async fn put_nar(
    State(node): State<Node>,
    caller: Caller,
    Param(upload): Param<UploadId>,
    Param(nar_hash): Param<NarHash>,
    Parameters(query): Parameters<UploadNarQuery>,
    headers: HeaderMap,
    body: Body,
) -> Result<ApiJson<UploadNarResponse>, HttpError> {
    let lease = enter(&node, &caller, &upload)?;
    let limit = node.config().limits.nar_size_max;
    if query.nar_size > limit.bytes() {
        let message = format!(
            "the NAR has {} bytes; this node takes {limit} (limits.nar_size_max)",
            query.nar_size
        );
        return Err(HttpError::new(ErrorName::TooLarge, message));
    }
    // What comes is new here, and stored as it comes. Who does not say how much it is hears of it as it comes.
    room::ensure(&node, content_length(&headers)).await?;
    let _place = node
        .uploads()
        .receiving
        .acquire()
        .await
        .expect("the semaphore is never closed");
    let claim = Claim {
        nar_hash,
        nar_size: query.nar_size,
    };
    let Ingested {
        nar,
        chunks,
        received_chunks,
        received_bytes,
    } = receive::receive(&node, &lease, claim, body).await?;
    lease.remember(nar);
    let held = HoldNar {
        nar_hash,
        manifest: nar.manifest,
        nar_size: nar.nar_size,
    };
    replication::begin(&node, lease.hold(), lease.cache(), held);
    let metrics = node.metrics();
    metrics.upload_bytes_received.inc_by(received_bytes);
    metrics.upload_chunks_received.inc_by(received_chunks);
    metrics.upload_chunks_present.inc_by(chunks - received_chunks);
    Ok(ApiJson(UploadNarResponse {
        nar_hash,
        nar_size: nar.nar_size,
        file_size: nar.file_size,
        chunks,
        received_chunks,
        received_bytes,
    }))
}

/// How many bytes the client says that it sends; 0 if it does not say.
fn content_length(headers: &HeaderMap) -> u64 {
    let length = headers.get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
    length.unwrap_or(0)
}

async fn commit(
    State(node): State<Node>,
    caller: Caller,
    Param(upload): Param<UploadId>,
    ApiJson(request): ApiJson<CommitUploadRequest>,
) -> Result<ApiJson<CommitUploadResponse>, HttpError> {
    let lease = enter(&node, &caller, &upload)?;
    commit::commit(&node, &caller, &lease, request).await.map(ApiJson)
}

/// Uses the session for one request of somebody who may push to its cache.
fn enter(node: &Node, caller: &Caller, upload: &UploadId) -> Result<Lease, HttpError> {
    let unknown = || {
        let message =
            format!("there is no upload {upload}, or it has expired; start another, nothing is sent twice");
        HttpError::new(ErrorName::NoSuchUpload, message)
    };
    let sessions = &node.uploads().sessions;
    let now = node.clock().elapsed();
    let cache = sessions.cache_of(upload, now).ok_or_else(unknown)?;
    caller
        .cache(node, &cache, CachePermission::Push)
        .map_err(|error| match error.name() {
            ErrorName::NoSuchCache => unknown(),
            _ => error,
        })?;
    let lease = sessions.lease(upload, now).ok_or_else(unknown)?;
    node.store().touch(&lease.pin(), node.clock().utc());
    Ok(lease)
}

/// Whether the pin belongs to a session that may still publish what it keeps.
pub(crate) fn owns_pin(node: &Node, pin: &PinId) -> bool {
    node.uploads().sessions.owns(pin)
}

/// Forgets the sessions that have ended and releases what they kept from collection. Returns how many they were.
pub(crate) async fn release_ended(node: &Node) -> Result<u64, NodeError> {
    let ended = node.uploads().sessions.take_ended(node.clock().elapsed());
    if ended.is_empty() {
        return Ok(0);
    }
    let store = node.store().clone();
    let count = ended.len() as u64;
    node.io()
        .run(move || ended.iter().for_each(|pin| store.unpin(pin)))
        .await?;
    Ok(count)
}
