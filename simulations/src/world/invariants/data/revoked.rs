//! A revoked token is refused wherever the revocation is applied, and one whose time is over by the station's clock.
//!
//! Every station is asked in turn, those without a vote included: it is shown tokens that its own state calls revoked,
//! and short-lived ones that are over.

use http::StatusCode;
use tetryx_protocol::id::TokenId;
use tetryx_protocol::time::UtcTime;

/// A token that somebody has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) id: TokenId,
    /// As it is sent.
    pub(super) text: String,
    pub(super) expires: UtcTime,
}

/// Why a station must refuse a token, as of before it was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// Its own state says so, at this log index.
    Revoked { applied: u64 },
    /// By its own clock.
    Expired { since: UtcTime },
}

/// Why a station must refuse a token, if it must: by what its state says of it and its clock.
pub(super) fn reason(token: &Token, is_revoked: bool, applied: u64, now: UtcTime) -> Option<Reason> {
    if is_revoked {
        return Some(Reason::Revoked { applied });
    }
    (now >= token.expires).then_some(Reason::Expired { since: token.expires })
}

/// Judges the answer to a request with a token that must be refused.
///
/// # Errors
/// In words, how the promise is broken.
pub(super) fn judge(token: &Token, reason: Reason, status: StatusCode) -> Result<(), String> {
    // A station that cannot answer anybody refuses nobody.
    if status == StatusCode::UNAUTHORIZED || status.is_server_error() {
        return Ok(());
    }
    Err(match reason {
        Reason::Revoked { applied } => format!(
            "the token {} is answered with {status}, though it was revoked by what is applied up to log entry {applied}",
            token.id
        ),
        Reason::Expired { since } => {
            format!(
                "the token {} is answered with {status}, though it expired at {since}",
                token.id
            )
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> Token {
        Token {
            id: TokenId::from_bytes([1; 16]),
            text: "text".to_owned(),
            expires: UtcTime::from_unix_ms(1_000),
        }
    }

    #[test]
    fn a_token_must_be_refused_when_it_is_revoked_or_over() {
        let at = UtcTime::from_unix_ms;
        assert_eq!(reason(&token(), false, 7, at(999)), None);
        assert_eq!(
            reason(&token(), true, 7, at(5)),
            Some(Reason::Revoked { applied: 7 })
        );
        assert!(matches!(
            reason(&token(), false, 7, at(1_000)),
            Some(Reason::Expired { .. })
        ));
    }

    #[test]
    fn a_token_that_is_taken_all_the_same_is_noticed() {
        let expired = Reason::Expired {
            since: UtcTime::from_unix_ms(1_000),
        };
        for reason in [Reason::Revoked { applied: 7 }, expired] {
            assert_eq!(judge(&token(), reason, StatusCode::UNAUTHORIZED), Ok(()));
            assert_eq!(judge(&token(), reason, StatusCode::SERVICE_UNAVAILABLE), Ok(()));
            for status in [StatusCode::OK, StatusCode::FORBIDDEN, StatusCode::NOT_FOUND] {
                assert!(judge(&token(), reason, status).is_err());
            }
        }
    }
}
