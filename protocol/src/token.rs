//! Tokens: EdDSA JSON Web Tokens (RFC 7519 in the compact form of RFC 7515, algorithm of RFC 8037).
//!
//! One algorithm, one header, one key per cluster, so the general machinery of a JWT library, and its ways to be
//! talked into another algorithm, are left out: what remains is three base64url parts and one ed25519 signature.
//!
//! # Invariants
//! - The header of a verified token names `EdDSA`; no other header field changes how it is verified, and a `crit`
//!   field refuses it.
//! - The signature is checked before a single claim is looked at.
//! - Whether a token has been revoked is not known here: ask the replicated state for [`TokenClaims::token`].

use std::fmt;

use data_encoding::BASE64URL_NOPAD;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::grant::Grants;
use crate::id::{ClusterId, TokenId};
use crate::text::quote;
use crate::time::UtcTime;

/// The most characters of a token that are looked at.
pub const TOKEN_LEN_MAX: usize = 16 * 1024;

const HEADER: &str = r#"{"alg":"EdDSA","typ":"JWT"}"#;

/// Why a token does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// Not a JSON Web Token with the claims of one of ours.
    #[error("the token is malformed: {reason}; check that it was copied whole")]
    Malformed { reason: String },
    /// Signed in another way than ours, or not at all.
    #[error("the token's algorithm is {algorithm}; expected \"EdDSA\"")]
    Algorithm { algorithm: String },
    /// Not signed by this cluster's key.
    #[error("the token's signature does not verify; ask this cluster's administrator for a token")]
    Signature,
    /// A token of another cluster.
    #[error(
        "the token is for cluster {found}; this is cluster {expected}: ask its administrator for a token"
    )]
    Cluster { found: ClusterId, expected: ClusterId },
    /// Its time has not come.
    #[error("the token is valid from {not_before}; it is {now}: wait, or correct the clock")]
    NotYetValid { not_before: UtcTime, now: UtcTime },
    /// Its time is over.
    #[error("the token expired at {expires}; it is {now}: ask for a new one")]
    Expired { expires: UtcTime, now: UtcTime },
}

/// What a token says.
///
/// JSON: `jti`, `iss`, `sub`, and `iat`, `nbf`, `exp` in seconds since the Unix epoch, and the grants under
/// `https://tetryx.io/jwt/v1`. Times are cut to whole seconds there. Unknown claims are ignored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "WireClaims", from = "WireClaims")]
pub struct TokenClaims {
    /// The token's id, by which it is listed and revoked.
    pub token: TokenId,
    /// The cluster that signed it and that it is for.
    pub cluster: ClusterId,
    /// Whom it was given to, in the words of whoever made it.
    pub subject: String,
    /// When it was made.
    pub issued: UtcTime,
    /// From when on it counts.
    pub not_before: UtcTime,
    /// From when on it does not count any more.
    pub expires: UtcTime,
    /// What it allows.
    pub grants: Grants,
}

/// The claims under their registered names.
#[derive(Clone, Serialize, Deserialize)]
struct WireClaims {
    jti: TokenId,
    iss: ClusterId,
    sub: String,
    iat: i64,
    nbf: i64,
    exp: i64,
    #[serde(rename = "https://tetryx.io/jwt/v1")]
    grants: Grants,
}

impl From<TokenClaims> for WireClaims {
    fn from(claims: TokenClaims) -> Self {
        Self {
            jti: claims.token,
            iss: claims.cluster,
            sub: claims.subject,
            iat: claims.issued.unix_seconds(),
            nbf: claims.not_before.unix_seconds(),
            exp: claims.expires.unix_seconds(),
            grants: claims.grants,
        }
    }
}

impl From<WireClaims> for TokenClaims {
    fn from(wire: WireClaims) -> Self {
        let time = |seconds: i64| UtcTime::from_unix_ms(seconds.saturating_mul(1_000));
        Self {
            token: wire.jti,
            cluster: wire.iss,
            subject: wire.sub,
            issued: time(wire.iat),
            not_before: time(wire.nbf),
            expires: time(wire.exp),
            grants: wire.grants,
        }
    }
}

/// Signs tokens with a cluster's key.
pub struct TokenSigner {
    key: SigningKey,
}

impl TokenSigner {
    /// The signer of 32 bytes of randomness, which the caller draws and wipes.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        let seed = Zeroizing::new(seed);
        Self {
            key: SigningKey::from_bytes(&seed),
        }
    }

    /// The token that says this.
    pub fn sign(&self, claims: &TokenClaims) -> String {
        let claims =
            serde_json::to_vec(claims).expect("claims are strings, numbers and maps with string keys");
        let mut token = BASE64URL_NOPAD.encode(HEADER.as_bytes());
        token.push('.');
        BASE64URL_NOPAD.encode_append(&claims, &mut token);
        let signature = self.key.sign(token.as_bytes());
        token.push('.');
        BASE64URL_NOPAD.encode_append(&signature.to_bytes(), &mut token);
        token
    }

    /// The key that verifies what this signs.
    pub fn public_key(&self) -> [u8; 32] {
        self.key.verifying_key().to_bytes()
    }
}

impl fmt::Debug for TokenSigner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("TokenSigner(<redacted>)")
    }
}

/// Verifies tokens of one cluster.
#[derive(Clone, Debug)]
pub struct TokenVerifier {
    /// `None` if the 32 bytes are no key: then nothing verifies.
    key: Option<VerifyingKey>,
    cluster: ClusterId,
}

/// What of a JOSE header matters.
#[derive(Deserialize)]
struct Header {
    alg: String,
    crit: Option<serde_json::Value>,
}

impl TokenVerifier {
    /// The verifier of a cluster's tokens.
    pub fn new(public_key: [u8; 32], cluster: ClusterId) -> Self {
        Self {
            key: VerifyingKey::from_bytes(&public_key).ok(),
            cluster,
        }
    }

    /// What a token says, if it counts at `now`.
    ///
    /// # Errors
    /// [`TokenError`], in this order of precedence: malformed, algorithm, signature, malformed claims, cluster,
    /// not yet valid, expired.
    pub fn verify(&self, token: &str, now: UtcTime) -> Result<TokenClaims, TokenError> {
        let malformed = |reason: &str| TokenError::Malformed {
            reason: reason.to_owned(),
        };
        if token.len() > TOKEN_LEN_MAX {
            return Err(malformed("it has more than 16 KiB"));
        }
        let three = || malformed("expected three parts with dots between them");
        let (signed, signature) = token.rsplit_once('.').ok_or_else(three)?;
        let (header, claims) = signed.split_once('.').ok_or_else(three)?;
        if claims.contains('.') {
            return Err(three());
        }
        let header = decode(header).ok_or_else(|| malformed("its header is not base64url"))?;
        let header: Header = serde_json::from_slice(&header)
            .map_err(|_| malformed("its header is not a JSON object with an alg"))?;
        if header.alg != "EdDSA" {
            return Err(TokenError::Algorithm {
                algorithm: quote(&header.alg),
            });
        }
        if header.crit.is_some() {
            return Err(malformed(
                "its header marks extensions as critical, and none is known here",
            ));
        }
        let signature = decode(signature).ok_or_else(|| malformed("its signature is not base64url"))?;
        let signature =
            Signature::from_slice(&signature).map_err(|_| malformed("its signature has not 64 bytes"))?;
        let key = self.key.as_ref().ok_or(TokenError::Signature)?;
        key.verify_strict(signed.as_bytes(), &signature)
            .map_err(|_| TokenError::Signature)?;

        let claims = decode(claims).ok_or_else(|| malformed("its claims are not base64url"))?;
        let claims: TokenClaims = serde_json::from_slice(&claims).map_err(|error| TokenError::Malformed {
            reason: format!("its claims are not those of a Tetryx token ({error})"),
        })?;
        if claims.cluster != self.cluster {
            return Err(TokenError::Cluster {
                found: claims.cluster,
                expected: self.cluster,
            });
        }
        if now < claims.not_before {
            return Err(TokenError::NotYetValid {
                not_before: claims.not_before,
                now,
            });
        }
        if now >= claims.expires {
            return Err(TokenError::Expired {
                expires: claims.expires,
                now,
            });
        }
        Ok(claims)
    }
}

fn decode(part: &str) -> Option<Vec<u8>> {
    BASE64URL_NOPAD.decode(part.as_bytes()).ok()
}
