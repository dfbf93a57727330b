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
use data_encoding::{BASE64, BASE64_NOPAD};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use http::request::Parts;
use tetryx_protocol::api::ErrorName;
use tetryx_protocol::cache::CacheName;
use tetryx_protocol::grant::{CachePermission, Grants};
use tetryx_protocol::token::TokenClaims;
use tetryx_raft::StateView;
use tetryx_state::query;
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
    pub const fn anonymous() -> Self {
        Self { claims: None }
    }

    /// The holder of a verified token.
    pub(crate) const fn holding(claims: Arc<TokenClaims>) -> Self {
        Self { claims: Some(claims) }
    }

    /// The claims of the token, if there is one.
    pub fn claims(&self) -> Option<&TokenClaims> {
        self.claims.as_deref()
    }

    /// The claims of the token, where only a token opens the door.
    ///
    /// # Errors
    /// 401 without one.
    pub fn token(&self) -> Result<&TokenClaims, HttpError> {
        self.claims().ok_or_else(|| {
            HttpError::new(
                ErrorName::Unauthorized,
                "this needs a token; log in with 'tetryx-cli login'",
            )
        })
    }

    /// The claims of the token, where it must be one of an administrator.
    ///
    /// # Errors
    /// 401 without a token, 403 with one that lacks the grant.
    pub fn admin(&self) -> Result<&TokenClaims, HttpError> {
        let claims = self.token()?;
        if claims.grants.admin {
            return Ok(claims);
        }
        Err(HttpError::new(
            ErrorName::AccessError,
            "this needs a token with the admin grant",
        ))
    }

    /// What the token grants, if there is one.
    pub fn grants(&self) -> Option<&Grants> {
        self.claims().map(|claims| &claims.grants)
    }

    /// The name to write into audited commands: the token's subject, or `anonymous`.
    pub fn subject(&self) -> &str {
        self.claims()
            .map_or("anonymous", |claims| claims.subject.as_str())
    }

    /// Whether the token grants that, for a cache of that name. Says nothing about public caches.
    pub fn is_granted(&self, name: &CacheName, needs: CachePermission) -> bool {
        self.grants().is_some_and(|grants| grants.allows(name, needs))
    }

    /// Whether the caller may know that the cache exists.
    pub fn may_discover(&self, name: &CacheName, record: &CacheRecord) -> bool {
        record.public || self.grants().is_some_and(|grants| grants.may_discover(name))
    }

    /// The cache of that name, if the caller may do that with it. A public cache lets everybody pull.
    ///
    /// # Errors
    /// 404 when it does not exist or the caller may not know; 403 when the caller may know but not do this.
    pub fn cache(
        &self,
        node: &Node,
        name: &CacheName,
        needs: CachePermission,
    ) -> Result<CacheRecord, HttpError> {
        self.cache_in(&node.replica().view()?, name, needs)
    }

    /// [`Self::cache`] at the one point of the log that a request reads.
    ///
    /// # Errors
    /// The same.
    pub fn cache_in(
        &self,
        view: &StateView,
        name: &CacheName,
        needs: CachePermission,
    ) -> Result<CacheRecord, HttpError> {
        let record = query::cache(view, name)?.filter(|record| self.may_discover(name, record));
        let Some(record) = record else {
            return Err(no_such_cache(name));
        };
        self.require(name, &record, needs)?;
        Ok(record)
    }

    /// That the caller may do this with a cache it may know about.
    ///
    /// # Errors
    /// 403.
    pub fn require(
        &self,
        name: &CacheName,
        record: &CacheRecord,
        needs: CachePermission,
    ) -> Result<(), HttpError> {
        if self.is_granted(name, needs) || (record.public && needs == CachePermission::Pull) {
            return Ok(());
        }
        Err(lacks(name, needs))
    }
}

/// What everybody sees who may not see the cache, and who asks for one that is not there.
pub(crate) fn no_such_cache(name: &CacheName) -> HttpError {
    HttpError::new(
        ErrorName::NoSuchCache,
        format!("there is no cache '{name}', or your token does not reach it; check the name and your login"),
    )
}

/// The refusal of one permission.
pub(crate) fn lacks(name: &CacheName, needs: CachePermission) -> HttpError {
    HttpError::new(
        ErrorName::AccessError,
        format!(
            "this needs a token that grants '{}' on cache '{name}'; ask for one and log in with it",
            needs.word()
        ),
    )
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
    match credential(headers)? {
        None => Ok(Caller::anonymous()),
        Some(token) => node.tokens().verify(node, &token).map(Caller::holding),
    }
}

/// The token in the headers: `Bearer TOKEN`, or `Basic` with the token as the password of any user.
fn credential(headers: &HeaderMap) -> Result<Option<String>, HttpError> {
    let malformed = |why: &str| {
        HttpError::new(
            ErrorName::Unauthorized,
            format!(
                "the Authorization header {why}; send 'Bearer TOKEN', or Basic with the token as password"
            ),
        )
    };
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(malformed("is there more than once"));
    }
    let value = value.to_str().map_err(|_| malformed("is not text"))?;
    let (scheme, credential) = value
        .trim()
        .split_once(' ')
        .ok_or_else(|| malformed("has no credential"))?;
    let credential = credential.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Ok(Some(credential.to_owned()));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(malformed("has an unknown scheme"));
    }
    let decoded = BASE64
        .decode(credential.as_bytes())
        .or_else(|_| BASE64_NOPAD.decode(credential.as_bytes()))
        .map_err(|_| malformed("is not base64"))?;
    let pair = String::from_utf8(decoded).map_err(|_| malformed("is not text"))?;
    let (_, password) = pair.split_once(':').ok_or_else(|| malformed("has no password"))?;
    Ok(Some(password.to_owned()))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn read(values: &[&str]) -> Result<Option<String>, HttpError> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        }
        credential(&headers)
    }

    #[test]
    fn a_token_comes_as_bearer_or_as_the_password_of_anybody() {
        let basic = format!("Basic {}", BASE64.encode(b"any user:a.b.c"));
        let nameless = format!("basic {}", BASE64_NOPAD.encode(b":a.b.c"));
        for header in [
            "Bearer a.b.c",
            "bearer a.b.c",
            "BEARER  a.b.c ",
            &basic,
            &nameless,
        ] {
            assert_eq!(read(&[header]).unwrap().as_deref(), Some("a.b.c"), "{header}");
        }
        assert!(read(&[]).unwrap().is_none());
    }

    #[test]
    fn a_malformed_authorization_is_unauthorized_not_ignored() {
        let no_password = format!("Basic {}", BASE64.encode(b"a.b.c"));
        for header in ["Bearer", "Digest x", "Basic !!!", "Basic /w==", &no_password] {
            assert_eq!(
                read(&[header]).unwrap_err().name(),
                ErrorName::Unauthorized,
                "{header}"
            );
        }
        assert!(read(&["Bearer a.b.c", "Bearer d.e.f"]).is_err());
    }
}
