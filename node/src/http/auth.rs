//! Who is asking: the token in the `Authorization` header, verified.
//!
//! Two extractors, because Nix and people need different answers to a bad token. [`Caller`] refuses it with 401.
//! [`Visitor`] treats it as no token at all, so that a substituter route answers 404: a 401 there aborts builds.
//!
//! # Invariants
//! - Expiry and replicated revocation are checked on every request; only the signature check is remembered.
//! - What a caller may not discover looks exactly like what does not exist.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::HeaderMap;
use http::request::Parts;
use tetryx_protocol::api::ErrorName;
use tetryx_protocol::cache::CacheName;
use tetryx_protocol::grant::{CachePermission, Grants};
use tetryx_protocol::token::TokenClaims;
use tetryx_state::records::CacheRecord;

use crate::Node;
use crate::http::error::HttpError;

/// The holder of a valid token, or nobody in particular. Extracting it refuses a bad token with 401.
#[derive(Clone, Debug)]
pub struct Caller {
    claims: Option<Arc<TokenClaims>>,
}

/// A [`Caller`] whose bad token counts as none: for the substituter routes.
#[derive(Clone, Debug)]
pub struct Visitor(pub Caller);

impl Caller {
    /// Somebody without a token.
    pub fn anonymous() -> Self {
        Self { claims: None }
    }

    /// The claims of the token, if there is one.
    pub fn claims(&self) -> Option<&TokenClaims> {
        self.claims.as_deref()
    }

    /// What the token grants, if there is one.
    pub fn grants(&self) -> Option<&Grants> {
        self.claims().map(|claims| &claims.grants)
    }

    /// The name to write into audited commands: the token's subject, or `anonymous`.
    pub fn subject(&self) -> &str {
        self.claims().map_or("anonymous", |claims| claims.subject.as_str())
    }

    /// The cache of that name, if the caller may do that with it. A public cache lets everybody pull.
    ///
    /// # Errors
    /// 404 when it does not exist or the caller may not know; 403 when the caller may know but not do this.
    pub fn cache(&self, node: &Node, name: &CacheName, needs: CachePermission) -> Result<CacheRecord, HttpError> {
        let _ = (node, name, needs);
        Err(HttpError::new(ErrorName::NoSuchCache, ""))
    }
}

impl FromRequestParts<Node> for Caller {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, node: &Node) -> Result<Self, HttpError> {
        identify(&parts.headers, node)
    }
}

impl FromRequestParts<Node> for Visitor {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, node: &Node) -> Result<Self, HttpError> {
        match identify(&parts.headers, node) {
            Err(error) if error.name() == ErrorName::Unauthorized => Ok(Self(Caller::anonymous())),
            answer => answer.map(Self),
        }
    }
}

fn identify(headers: &HeaderMap, node: &Node) -> Result<Caller, HttpError> {
    let _ = (headers, node);
    Ok(Caller::anonymous())
}
