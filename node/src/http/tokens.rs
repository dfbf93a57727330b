//! The desk where tokens are issued and checked.
//!
//! # Invariants
//! - A remembered token skips the signature check only. Its times are compared with the clock on every request, and
//!   its revocation is looked up whenever the log has moved since the last look.
//!
//! # Non-goals
//! - Requiring that a token is in the registry. A replica that is behind, or cut off, would refuse good tokens; what
//!   is revoked is refused wherever the revocation has been applied.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quick_cache::sync::Cache;
use sha2::{Digest, Sha256};
use tetryx_protocol::api::ErrorName;
use tetryx_protocol::time::UtcTime;
use tetryx_protocol::token::{TokenClaims, TokenError, TokenSigner, TokenVerifier};
use tetryx_state::query;
use tetryx_state::records::ClusterRecord;

use crate::http::error::HttpError;
use crate::secrets::{ClusterSecret, TOKEN_KEY};
use crate::{Node, NodeError};

/// Verified tokens remembered; an entry takes about a kilobyte.
const TOKENS_KEPT: usize = 4096;
/// No log has this index: the token's revocation was never looked up.
const NEVER: u64 = u64::MAX;

/// Signs and verifies the tokens of one cluster.
#[derive(Debug)]
pub(crate) struct TokenDesk {
    signer: TokenSigner,
    verifier: TokenVerifier,
    /// By the hash of the token, so that none is kept in memory as it is.
    verified: Cache<[u8; 32], Arc<Verified>>,
}

#[derive(Debug)]
struct Verified {
    claims: Arc<TokenClaims>,
    /// The applied index at which it was last seen not to be revoked.
    good_at: AtomicU64,
}

impl TokenDesk {
    /// The desk of this cluster.
    pub(crate) fn open(cluster: &ClusterRecord, secret: &ClusterSecret) -> Result<Self, NodeError> {
        let seed = secret.open(&cluster.sealed_token_key, TOKEN_KEY)?;
        Ok(Self {
            signer: TokenSigner::from_seed(*seed),
            verifier: TokenVerifier::new(cluster.token_public_key, cluster.id),
            verified: Cache::new(TOKENS_KEPT),
        })
    }

    /// The text form of the claims, signed.
    pub(crate) fn sign(&self, claims: &TokenClaims) -> String {
        self.signer.sign(claims)
    }

    /// The claims of a token that is genuine, in its time, and not revoked.
    pub(crate) fn verify(&self, node: &Node, token: &str) -> Result<Arc<TokenClaims>, HttpError> {
        let now = node.clock().utc();
        let digest: [u8; 32] = Sha256::digest(token).into();
        let verified = match self.verified.get(&digest) {
            Some(verified) => {
                check_times(&verified.claims, now)?;
                verified
            }
            None => {
                let claims = self.verifier.verify(token, now).map_err(|error| refuse(&error))?;
                let verified = Arc::new(Verified {
                    claims: Arc::new(claims),
                    good_at: AtomicU64::new(NEVER),
                });
                self.verified.insert(digest, Arc::clone(&verified));
                verified
            }
        };
        // Read before the view: a revocation that is applied in between is then looked up again next time.
        let applied = node.replica().applied_index();
        if verified.good_at.load(Ordering::Relaxed) != applied {
            let record = query::token(&node.replica().view()?, &verified.claims.token)?;
            #[cfg(feature = "mutants")]
            let record = record.filter(|_| !ignores_revocations(node));
            if let Some(at) = record.and_then(|record| record.revoked) {
                return Err(HttpError::new(
                    ErrorName::Unauthorized,
                    format!("this token was revoked at {at}; log in with another"),
                ));
            }
            verified.good_at.store(applied, Ordering::Relaxed);
        }
        Ok(Arc::clone(&verified.claims))
    }
}

/// The bug of a mutant.
#[cfg(feature = "mutants")]
fn ignores_revocations(node: &Node) -> bool {
    use tetryx_environment::mutant::Mutant;
    Mutant::RevocationIgnoredByLearners.is_active()
        && node.replica().status().role == tetryx_raft::ReplicaRole::Learner
}

fn check_times(claims: &TokenClaims, now: UtcTime) -> Result<(), HttpError> {
    if now >= claims.expires {
        return Err(HttpError::new(
            ErrorName::Unauthorized,
            format!("this token expired at {}; log in with another", claims.expires),
        ));
    }
    if now < claims.not_before {
        return Err(HttpError::new(
            ErrorName::Unauthorized,
            format!("this token is valid from {}; check the clocks", claims.not_before),
        ));
    }
    Ok(())
}

fn refuse(error: &TokenError) -> HttpError {
    HttpError::new(ErrorName::Unauthorized, error.to_string())
}

#[cfg(test)]
mod tests;
