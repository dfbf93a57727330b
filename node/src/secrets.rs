//! The node's own key, the cluster's secret, and what is sealed under it.
//!
//! Two files in the data directory, readable by their owner only: `node.key`, the ed25519 seed that is this node's
//! identity, and `cluster.secret`, the key under which the replicated state holds other secret keys (those that
//! sign narinfo and tokens). So a copy of the state, a backup or a log entry gives nothing away by itself.
//!
//! # Invariants
//! - A sealed key opens only for the purpose it was sealed for: the purpose is authenticated with it.
//! - Secrets are wiped from memory when dropped and never printed.

use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use ed25519_dalek::SigningKey;
use tetryx_environment::Entropy;
use tetryx_protocol::cache::CacheName;
use tetryx_protocol::id::NodeId;
use tetryx_protocol::secret::Secret32;
use tetryx_protocol::signature::{KeyName, NixSecretKey};
use tetryx_state::records::CacheRecord;
use zeroize::Zeroizing;

use crate::places::DataDir;
use crate::{NodeError, files};

const NODE_KEY_FILE: &str = "node.key";
const CLUSTER_SECRET_FILE: &str = "cluster.secret";
const NODE_KEY_LABEL: &str = "tetryx-node-key-1";
const CLUSTER_SECRET_LABEL: &str = "tetryx-cluster-secret-1";

/// First byte of a sealed secret: XChaCha20-Poly1305, 24-byte nonce, then ciphertext with tag.
const SEALED_V1: u8 = 1;
const NONCE_LEN: usize = 24;
/// Separates the sealing key from whatever else may once be derived from the cluster secret.
const SEALING_CONTEXT: &str = "tetryx 2026-11 sealing of secret keys in the replicated state";

/// The node's identity.
pub struct NodeKey(SigningKey);

impl NodeKey {
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The key in the data directory, made first if there is none.
    ///
    /// # Errors
    /// When the file cannot be read or written, is damaged, can be read by others, or is missing from a directory
    /// that has been in use.
    pub fn load_or_create(data_dir: &DataDir, entropy: &dyn Entropy) -> Result<Self, NodeError> {
        load_or_create(data_dir, NODE_KEY_FILE, NODE_KEY_LABEL, entropy).map(|seed| Self::from_seed(&seed))
    }

    pub fn node_id(&self) -> NodeId {
        NodeId::from_bytes(self.0.verifying_key().to_bytes())
    }

    /// The seed that the key is made of.
    pub(crate) fn seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// The key itself, for those who prove this identity to other nodes.
    pub(crate) fn signing_key(&self) -> SigningKey {
        self.0.clone()
    }
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeKey({})", self.node_id())
    }
}

/// The secret that all nodes of a cluster share.
pub struct ClusterSecret {
    secret: Secret32,
    sealing_key: Zeroizing<[u8; 32]>,
}

impl ClusterSecret {
    pub fn from_bytes(secret: &[u8; 32]) -> Self {
        Self {
            secret: Secret32::from_bytes(*secret),
            sealing_key: Zeroizing::new(blake3::derive_key(SEALING_CONTEXT, secret)),
        }
    }

    /// The secret in the data directory, if there is one.
    ///
    /// # Errors
    /// When the file cannot be read, is damaged, or can be read by others.
    pub(crate) fn load(data_dir: &DataDir) -> Result<Option<Self>, NodeError> {
        let secret = load(&data_dir.path().join(CLUSTER_SECRET_FILE), CLUSTER_SECRET_LABEL)?;
        Ok(secret.map(|secret| Self::from_bytes(&secret)))
    }

    /// Keeps the secret that a member of the cluster has sent.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn keep(data_dir: &DataDir, secret: &Secret32) -> Result<Self, NodeError> {
        let path = data_dir.path().join(CLUSTER_SECRET_FILE);
        write_secret(&path, CLUSTER_SECRET_LABEL, secret.as_bytes())?;
        Ok(Self::from_bytes(secret.as_bytes()))
    }

    /// The secret as a new member is sent it.
    pub(crate) fn to_shared(&self) -> Secret32 {
        self.secret.clone()
    }

    /// The secret in the data directory, made first if there is none.
    ///
    /// # Errors
    /// When the file cannot be read or written, is damaged, can be read by others, or is missing from a directory
    /// that has been in use.
    pub fn load_or_create(data_dir: &DataDir, entropy: &dyn Entropy) -> Result<Self, NodeError> {
        load_or_create(data_dir, CLUSTER_SECRET_FILE, CLUSTER_SECRET_LABEL, entropy)
            .map(|secret| Self::from_bytes(&secret))
    }

    /// Seals the seed of an ed25519 key for one purpose.
    pub(crate) fn seal(&self, seed: &[u8; 32], purpose: &str, entropy: &dyn Entropy) -> Vec<u8> {
        let mut nonce = [0; NONCE_LEN];
        entropy.fill(&mut nonce);
        let payload = Payload {
            msg: seed,
            aad: purpose.as_bytes(),
        };
        let ciphertext = self
            .cipher()
            .encrypt(&XNonce::from(nonce), payload)
            .expect("32 bytes are far below the cipher's length limit");
        let mut sealed = vec![SEALED_V1];
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&ciphertext);
        sealed
    }

    /// Opens what [`Self::seal`] made for the same purpose.
    pub(crate) fn open(&self, sealed: &[u8], purpose: &str) -> Result<Zeroizing<[u8; 32]>, NodeError> {
        let fails = || NodeError::Unseal {
            what: purpose.to_owned(),
        };
        let (&SEALED_V1, rest) = sealed.split_first().ok_or_else(fails)? else {
            return Err(fails());
        };
        let (nonce, ciphertext) = rest.split_first_chunk::<NONCE_LEN>().ok_or_else(fails)?;
        let payload = Payload {
            msg: ciphertext,
            aad: purpose.as_bytes(),
        };
        let seed = self
            .cipher()
            .decrypt(&XNonce::from(*nonce), payload)
            .map(Zeroizing::new)
            .map_err(|_| fails())?;
        seed.as_slice()
            .try_into()
            .map(Zeroizing::new)
            .map_err(|_| fails())
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new((&*self.sealing_key).into())
    }
}

impl fmt::Debug for ClusterSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterSecret(..)")
    }
}

/// A fresh seed for an ed25519 key.
pub(crate) fn fresh_seed(entropy: &dyn Entropy) -> Zeroizing<[u8; 32]> {
    let mut seed = Zeroizing::new([0; 32]);
    entropy.fill(&mut *seed);
    seed
}

/// What the key that signs tokens is sealed for.
pub(crate) const TOKEN_KEY: &str = "token signing key";

/// What a cache's signing key is sealed for.
fn signing_key_purpose(cache: &CacheName) -> String {
    format!("signing key of cache {cache}")
}

/// A new signing key for the cache, named after it, open and sealed.
pub(crate) fn new_signing_key(
    secret: &ClusterSecret,
    cache: &CacheName,
    entropy: &dyn Entropy,
) -> (NixSecretKey, Vec<u8>) {
    let name: KeyName = cache.as_str().parse().expect("every cache name can name a key");
    let seed = fresh_seed(entropy);
    let sealed = secret.seal(&seed, &signing_key_purpose(cache), entropy);
    (NixSecretKey::generate_from_seed(name, *seed), sealed)
}

/// The signing key in the cache's record.
pub(crate) fn unseal_signing_key(
    secret: &ClusterSecret,
    record: &CacheRecord,
    cache: &CacheName,
) -> Result<NixSecretKey, NodeError> {
    let seed = secret.open(&record.sealed_secret_key, &signing_key_purpose(cache))?;
    Ok(NixSecretKey::generate_from_seed(
        record.public_key.name().clone(),
        *seed,
    ))
}

/// Reads `label hex` from the file, or writes it with fresh bytes. A directory with a log and without a secret has
/// lost it: a fresh one would only hide that.
fn load_or_create(
    data_dir: &DataDir,
    file: &str,
    label: &'static str,
    entropy: &dyn Entropy,
) -> Result<Zeroizing<[u8; 32]>, NodeError> {
    let path = &data_dir.path().join(file);
    if let Some(secret) = load(path, label)? {
        return Ok(secret);
    }
    if data_dir.raft().exists() {
        return Err(NodeError::SecretLost {
            path: path.to_owned(),
        });
    }
    let bytes = fresh_seed(entropy);
    write_secret(path, label, &bytes)?;
    Ok(bytes)
}

/// The secret in the file, if there is one.
fn load(path: &Path, label: &'static str) -> Result<Option<Zeroizing<[u8; 32]>>, NodeError> {
    let Some(contents) = files::read_if_present(path)? else {
        return Ok(None);
    };
    let contents = Zeroizing::new(contents);
    let mode = std::fs::metadata(path)
        .map_err(|source| NodeError::file("reading the permissions of", path, source))?
        .permissions()
        .mode();
    if mode & 0o077 != 0 {
        return Err(NodeError::SecretExposed {
            path: path.to_owned(),
        });
    }
    let secret = parse_secret(&contents, label).ok_or_else(|| NodeError::BadSecretFile {
        path: path.to_owned(),
        label,
    })?;
    Ok(Some(secret))
}

fn write_secret(path: &Path, label: &str, secret: &[u8; 32]) -> Result<(), NodeError> {
    let hex = Zeroizing::new(data_encoding::HEXLOWER.encode(secret));
    let line = Zeroizing::new(format!("{label} {}\n", *hex));
    files::write_whole(path, line.as_bytes(), 0o600)
}

fn parse_secret(contents: &[u8], label: &str) -> Option<Zeroizing<[u8; 32]>> {
    let hex = contents
        .trim_ascii()
        .strip_prefix(label.as_bytes())?
        .strip_prefix(b" ")?;
    let bytes = Zeroizing::new(data_encoding::HEXLOWER_PERMISSIVE.decode(hex).ok()?);
    bytes.as_slice().try_into().map(Zeroizing::new).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts up: what is drawn twice differs.
    #[derive(Debug, Default)]
    struct Counting(std::sync::atomic::AtomicU8);

    impl Entropy for Counting {
        fn fill(&self, bytes: &mut [u8]) {
            for byte in bytes {
                *byte = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
        }
    }

    fn data_dir() -> (tempfile::TempDir, DataDir) {
        let dir = tempfile::tempdir().unwrap();
        let claimed = DataDir::claim(dir.path()).unwrap();
        (dir, claimed)
    }

    #[test]
    fn keys_are_made_once_and_kept() {
        let (_dir, data) = data_dir();
        let entropy = Counting::default();
        let first = NodeKey::load_or_create(&data, &entropy).unwrap().node_id();
        assert_eq!(NodeKey::load_or_create(&data, &entropy).unwrap().node_id(), first);
    }

    #[test]
    fn secret_files_are_for_their_owner_only() {
        let (dir, data) = data_dir();
        ClusterSecret::load_or_create(&data, &Counting::default()).unwrap();
        let path = dir.path().join(CLUSTER_SECRET_FILE);
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        // And one that others can read is refused
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let error = ClusterSecret::load_or_create(&data, &Counting::default()).unwrap_err();
        assert!(error.to_string().contains("chmod 600"), "{error}");
    }

    #[test]
    fn a_damaged_secret_file_is_refused_not_replaced() {
        let (dir, data) = data_dir();
        let path = dir.path().join(NODE_KEY_FILE);
        for damaged in ["", "tetryx-node-key-1 abcd\n", "something else\n"] {
            files::write_whole(&path, damaged.as_bytes(), 0o600).unwrap();
            let error = NodeKey::load_or_create(&data, &Counting::default()).unwrap_err();
            assert!(matches!(error, NodeError::BadSecretFile { .. }), "{error}");
            assert_eq!(std::fs::read(&path).unwrap(), damaged.as_bytes());
        }
    }

    #[test]
    fn a_half_written_secret_file_of_a_crash_is_ignored() {
        let (dir, data) = data_dir();
        std::fs::write(dir.path().join("node.key.new"), "tetryx-node-key-1 00").unwrap();
        NodeKey::load_or_create(&data, &Counting::default()).unwrap();
        assert!(dir.path().join(NODE_KEY_FILE).exists() && !dir.path().join("node.key.new").exists());
    }

    #[test]
    fn a_secret_missing_from_a_used_directory_is_not_made_anew() {
        let (dir, data) = data_dir();
        std::fs::create_dir(data.raft()).unwrap();
        let error = ClusterSecret::load_or_create(&data, &Counting::default()).unwrap_err();
        assert!(matches!(error, NodeError::SecretLost { .. }), "{error}");
        assert!(!dir.path().join(CLUSTER_SECRET_FILE).exists());
    }

    #[test]
    fn a_sealed_key_opens_for_its_purpose_and_secret_only() {
        let (entropy, seed) = (Counting::default(), [7; 32]);
        let secret = ClusterSecret::from_bytes(&[1; 32]);
        let sealed = secret.seal(&seed, "signing key of cache a", &entropy);
        assert_eq!(*secret.open(&sealed, "signing key of cache a").unwrap(), seed);
        assert!(secret.open(&sealed, "signing key of cache b").is_err());
        assert!(
            ClusterSecret::from_bytes(&[2; 32])
                .open(&sealed, "signing key of cache a")
                .is_err()
        );
    }

    #[test]
    fn a_sealed_key_with_any_bit_changed_does_not_open() {
        let secret = ClusterSecret::from_bytes(&[1; 32]);
        let sealed = secret.seal(&[7; 32], TOKEN_KEY, &Counting::default());
        for position in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[position] ^= 1;
            assert!(secret.open(&changed, TOKEN_KEY).is_err(), "byte {position}");
        }
        for length in 0..sealed.len() {
            assert!(
                secret.open(&sealed[..length], TOKEN_KEY).is_err(),
                "length {length}"
            );
        }
    }

    #[test]
    fn one_key_sealed_twice_looks_different() {
        let (secret, entropy) = (ClusterSecret::from_bytes(&[1; 32]), Counting::default());
        assert_ne!(
            secret.seal(&[7; 32], TOKEN_KEY, &entropy),
            secret.seal(&[7; 32], TOKEN_KEY, &entropy)
        );
    }

    #[test]
    fn secrets_are_not_printed() {
        let shown = format!(
            "{:?} {:?}",
            ClusterSecret::from_bytes(&[0xab; 32]),
            NodeKey::from_seed(&[0xcd; 32])
        );
        assert!(
            !shown.contains("abab") && !shown.contains("cdcd") && !shown.contains("171, 171"),
            "{shown}"
        );
    }
}
