//! What a simulated node answered.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde::de::DeserializeOwned;
use tetryx_protocol::api::{ApiError, ErrorName};

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    /// The answer, if it has this status.
    #[track_caller]
    pub fn expect(self, status: StatusCode) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }

    /// The message of an error answer, if it is this error in the one shape of errors.
    #[track_caller]
    pub fn refused(&self, name: ErrorName) -> String {
        let error: ApiError = self.json();
        assert_eq!(error.name(), Some(name), "{error:?}");
        assert_eq!(
            (self.status.as_u16(), error.code),
            (name.status(), name.status()),
            "{error:?}"
        );
        assert!(!error.message.is_empty());
        error.message
    }

    pub fn json<T: DeserializeOwned>(&self) -> T {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().expect("text"))
    }
}

impl Answer {
    /// The body with one name in place of another: answers about two caches should differ in nothing else.
    pub fn body_with(&self, name: &str, other: &str) -> Bytes {
        self.text().replace(name, other).into()
    }

    /// The status of an answer that says only that something is not there.
    pub fn refused_as_absent(&self) -> StatusCode {
        let error: ApiError = self.json();
        assert!(
            matches!(
                error.name(),
                Some(ErrorName::NoSuchObject | ErrorName::NoSuchCache)
            ),
            "{error:?}"
        );
        self.status
    }
}
