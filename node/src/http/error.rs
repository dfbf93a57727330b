//! What a client is told when its request fails: one JSON shape for everything.
//!
//! # Invariants
//! - Every answer with a status of 400 or above carries an [`ApiError`] body.
//! - What went wrong inside the node is logged with its whole cause and masked in the answer.

use std::error::Error;

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use tetryx_environment::WorkPanicked;
use tetryx_protocol::api::{ApiError, ErrorName};
use tetryx_raft::{ProposeError, ReplicaError};
use tetryx_state::{Refusal, StateError};
use tetryx_store::StoreError;

use crate::NodeError;
use crate::error::chain;

/// A refused or failed request: what becomes of it is an [`ApiError`] with the name's status.
#[derive(Debug)]
pub struct HttpError {
    status: StatusCode,
    name: ErrorName,
    message: String,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl HttpError {
    /// An error with the status that belongs to its name. The message says what, why, and what to do next.
    pub fn new(name: ErrorName, message: impl Into<String>) -> Self {
        let status = StatusCode::from_u16(name.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self {
            status,
            name,
            message: message.into(),
            headers: Vec::new(),
        }
    }

    /// The same error under another status, where HTTP knows a better one than the name's (405, 408, 416, 431).
    #[must_use]
    pub fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// The same error with one more header (`Allow`, `Content-Range`, ...).
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// A failure of the node itself: logs the cause, tells the client only that it happened.
    pub fn internal(cause: &(dyn Error + 'static)) -> Self {
        tracing::error!(error = chain(cause), "a request failed inside the node");
        Self::new(
            ErrorName::InternalServerError,
            "the node failed to do this; its log says why, and the request may be repeated",
        )
    }

    /// Nothing answers here.
    pub fn not_found() -> Self {
        Self::new(ErrorName::NoSuchObject, "The requested object does not exist.")
    }

    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(ErrorName::BadRequest, message)
    }

    pub fn status(&self) -> StatusCode {
        self.status
    }

    pub fn name(&self) -> ErrorName {
        self.name
    }

    pub fn message(&self) -> &str {
        &self.message
    }
}

impl IntoResponse for HttpError {
    fn into_response(self) -> Response {
        let body = ApiError {
            code: self.status.as_u16(),
            ..ApiError::new(self.name, self.message)
        };
        let mut response = (self.status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.extend(self.headers);
        match self.status {
            StatusCode::UNAUTHORIZED => {
                headers.insert(
                    WWW_AUTHENTICATE,
                    HeaderValue::from_static("Bearer realm=\"tetryx\""),
                );
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                headers
                    .entry(RETRY_AFTER)
                    .or_insert(HeaderValue::from_static("1"));
            }
            _ => {}
        }
        response
    }
}

/// Where the cause concerns the caller it is told; everything else is internal.
impl From<NodeError> for HttpError {
    fn from(error: NodeError) -> Self {
        match error {
            NodeError::Refused(refusal) => refusal.into(),
            NodeError::Propose(error) => error.into(),
            NodeError::Store(error) => (*error).into(),
            NodeError::Outbox(error) if error.is_full() => {
                tracing::warn!(%error, "refused for want of space");
                Self::new(ErrorName::StorageFull, error.to_string())
            }
            NodeError::NoRoom { .. } => {
                tracing::warn!(%error, "refused for want of space");
                Self::new(ErrorName::StorageFull, error.to_string())
            }
            NodeError::NotEnoughCopies(error) => Self::new(ErrorName::NotEnoughCopies, error.to_string()),
            NodeError::Busy { why } => Self::new(ErrorName::NotReady, why),
            error => Self::internal(&error),
        }
    }
}

impl From<Refusal> for HttpError {
    fn from(refusal: Refusal) -> Self {
        let name = match &refusal {
            Refusal::OverLimit { .. }
            | Refusal::RetentionOfNothing
            | Refusal::ReplicationOfNothing
            | Refusal::TokenNeverValid { .. }
            | Refusal::MemberWithoutName { .. }
            | Refusal::InviteNeverValid { .. }
            | Refusal::InviteExists { .. }
            | Refusal::PinNeverValid { .. }
            | Refusal::AlreadyMember { .. }
            | Refusal::EpochNotNewer { .. }
            | Refusal::FeatureLevelNotNewer { .. }
            | Refusal::FeatureLevelNotShared { .. }
            | Refusal::CacheNotEmpty { .. }
            | Refusal::DuplicatePath { .. }
            | Refusal::NamedTwice { .. }
            | Refusal::MaintenanceNeverValid { .. }
            | Refusal::ItemIncomplete { .. }
            | Refusal::TokenExists { .. } => ErrorName::BadRequest,
            Refusal::NoSuchItem { .. } | Refusal::NoSuchMaintenance { .. } => ErrorName::NoSuchItem,
            Refusal::ItemExists { .. } => ErrorName::ItemAlreadyExists,
            Refusal::MissionInUse { .. } => ErrorName::ItemInUse,
            Refusal::NoSuchCache { .. } => ErrorName::NoSuchCache,
            Refusal::CacheExists { .. } => ErrorName::CacheAlreadyExists,
            Refusal::PathConflict { .. } => ErrorName::PathConflict,
            Refusal::PathPinned { .. } | Refusal::PathReferenced { .. } => ErrorName::PathInUse,
            Refusal::MissingReferences { .. } => ErrorName::MissingReferences,
            Refusal::NoSuchPath { .. } => ErrorName::NoSuchObject,
            Refusal::NoSuchToken { .. } => ErrorName::NoSuchToken,
            Refusal::MemberNameTaken { .. } => ErrorName::MemberNameTaken,
            Refusal::NoSuchInvite { .. } | Refusal::InviteUsed { .. } => ErrorName::NoSuchInvite,
            Refusal::InviteExpired { .. } => ErrorName::TicketRefused,
            Refusal::NoSuchMember { .. } => ErrorName::NoSuchMember,
            Refusal::MemberRemoved { .. } => ErrorName::MemberRemoved,
            Refusal::LastMember { .. } => ErrorName::LastMember,
            Refusal::CheckAhead { .. }
            | Refusal::ProposalFinished { .. }
            | Refusal::TooManyOpenProposals { .. }
            | Refusal::NotInitialised
            | Refusal::AlreadyInitialised { .. } => return Self::internal(&refusal),
        };
        let error = Self::new(name, refusal.to_string());
        match refusal {
            // What stands in the way is the state of the cache, not the request.
            Refusal::CacheNotEmpty { .. } => error.with_status(StatusCode::CONFLICT),
            _ => error,
        }
    }
}

impl From<StoreError> for HttpError {
    fn from(error: StoreError) -> Self {
        if error.is_full() {
            tracing::warn!(%error, "refused for want of space");
            return Self::new(ErrorName::StorageFull, error.to_string());
        }
        Self::internal(&error)
    }
}

impl From<ReplicaError> for HttpError {
    fn from(error: ReplicaError) -> Self {
        match error {
            ReplicaError::Stopped => Self::new(
                ErrorName::NotReady,
                "the node is shutting down; ask another one, or later",
            ),
            ReplicaError::Diverged { .. } => Self::new(ErrorName::Diverged, error.to_string()),
            ReplicaError::NeedsUpgrade { .. } => Self::new(ErrorName::NeedsUpgrade, error.to_string()),
            error => Self::internal(&error),
        }
    }
}

impl From<ProposeError> for HttpError {
    fn from(error: ProposeError) -> Self {
        match error {
            ProposeError::NoLeader { .. } | ProposeError::Unknown { .. } => {
                Self::new(ErrorName::NoQuorum, error.to_string())
            }
            ProposeError::Replica(error) => error.into(),
            error => Self::internal(&error),
        }
    }
}

impl<E: Error + Send + Sync + 'static> From<StateError<E>> for HttpError {
    fn from(error: StateError<E>) -> Self {
        Self::internal(&error)
    }
}

impl From<WorkPanicked> for HttpError {
    fn from(error: WorkPanicked) -> Self {
        Self::internal(&error)
    }
}
