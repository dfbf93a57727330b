//! What can go wrong between the tool and a server.

use std::error::Error as _;
use std::time::Duration;

use tetryx_protocol::api::{ApiError, ErrorName};
use thiserror::Error;

/// A call that did not succeed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(crate) enum ClientError {
    /// The server answered with an error; its message says what and what to do.
    #[error("{}", error.message)]
    Refused {
        error: ApiError,
        /// How long the server asks to wait.
        retry_after: Option<Duration>,
    },
    /// No connection could be made.
    #[error(
        "cannot reach {url}: {why}; check that tetryx-node runs there, or correct the address with 'tetryx-cli login'"
    )]
    Unreachable { url: String, why: String },
    /// The connection broke before the answer was complete.
    #[error("the connection to {url} broke: {why}; try again, what was sent is kept")]
    Broken { url: String, why: String },
    /// Something answered that is no Tetryx server.
    #[error(
        "{url} answered '{answer}', which is no answer of a Tetryx server; check the address given to 'tetryx-cli login'"
    )]
    Foreign {
        url: String,
        status: u16,
        answer: String,
    },
    /// Another server, which the user named, did not give what was asked for.
    #[error("cannot fetch {url}: {why}; check the address, or download the file and give its name")]
    Fetch { url: String, why: String },
    /// The request could not be made.
    #[error("the request to {url} cannot be made: {why}")]
    Request { url: String, why: String },
}

impl ClientError {
    /// Sorts an error of the HTTP client.
    pub(super) fn from_reqwest(url: &str, error: &reqwest::Error) -> Self {
        let (url, why) = (url.to_owned(), innermost(error));
        if error.is_builder() {
            Self::Request { url, why }
        } else if error.is_connect() {
            Self::Unreachable { url, why }
        } else {
            Self::Broken { url, why }
        }
    }

    /// The server's error name, if it is one this version knows.
    pub(crate) fn name(&self) -> Option<ErrorName> {
        match self {
            Self::Refused { error, .. } => error.name(),
            _ => None,
        }
    }

    /// Whether the same call may succeed a little later.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Broken { .. } => true,
            Self::Refused { error, .. } => is_transient_status(error.code),
            Self::Foreign { status, .. } => is_transient_status(*status),
            Self::Request { .. } | Self::Fetch { .. } => false,
        }
    }

    /// Whether the server cannot have seen the call, so that repeating it cannot do anything twice.
    pub(super) fn was_not_sent(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
            || matches!(self, Self::Refused { error, .. } if matches!(error.code, 429 | 503))
    }

    /// How long the server asks to wait before the next try.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Whether the server understood and said no, or has nothing of that name.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused { error, .. } if (401..500).contains(&error.code) || error.code == 507)
    }
}

fn is_transient_status(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 502 | 503 | 504)
}

/// The last error of the chain, which says what the system said.
pub(super) fn innermost(error: &reqwest::Error) -> String {
    let mut current: &dyn std::error::Error = error;
    while let Some(source) = current.source() {
        current = source;
    }
    if error.is_timeout() && error.source().is_none_or(|_| current.to_string().is_empty()) {
        return "it does not answer".to_owned();
    }
    current.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(name: ErrorName) -> ClientError {
        ClientError::Refused {
            error: ApiError::new(name, "no"),
            retry_after: None,
        }
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        assert!(refused(ErrorName::NotReady).is_transient());
        assert!(refused(ErrorName::NoQuorum).is_transient());
        assert!(
            ClientError::Unreachable {
                url: String::new(),
                why: String::new()
            }
            .is_transient()
        );
        for name in [
            ErrorName::AccessError,
            ErrorName::NoSuchCache,
            ErrorName::NarHashMismatch,
            ErrorName::StorageFull,
        ] {
            assert!(!refused(name).is_transient(), "{name}");
        }
    }

    #[test]
    fn a_refusal_is_no_failure() {
        for name in [
            ErrorName::NoSuchCache,
            ErrorName::AccessError,
            ErrorName::PathInUse,
            ErrorName::StorageFull,
        ] {
            assert!(refused(name).is_refusal(), "{name}");
        }
        for name in [
            ErrorName::BadRequest,
            ErrorName::InternalServerError,
            ErrorName::NoQuorum,
        ] {
            assert!(!refused(name).is_refusal(), "{name}");
        }
    }

    #[test]
    fn what_the_server_may_have_done_is_not_called_unsent() {
        assert!(
            !ClientError::Broken {
                url: String::new(),
                why: String::new()
            }
            .was_not_sent()
        );
        assert!(refused(ErrorName::NotReady).was_not_sent());
    }
}
