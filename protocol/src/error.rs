//! The error of every text form in this crate.

/// A text that is not the value it should be.
///
/// `value` is quoted, escaped and cut to a length that fits a log line; a secret key's text is never repeated.
/// `reason` says what was expected instead. Decoders of binary formats have errors of their own, next to them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// Not nix32, Nix's base-32.
    #[error("{value} is not nix32: {reason}")]
    InvalidNix32 { value: String, reason: String },
    /// Not a hash of the kind `what` names.
    #[error("{value} is not a {what}: {reason}")]
    InvalidHash {
        what: &'static str,
        value: String,
        reason: String,
    },
    /// Not an id of the kind `what` names.
    #[error("{value} is not a {what}: {reason}")]
    InvalidId {
        what: &'static str,
        value: String,
        reason: String,
    },
    /// Not a moment in time.
    #[error("{value} is not a time: {reason}")]
    InvalidTime { value: String, reason: String },
    /// Not a directory that can be a Nix store.
    #[error("{value} is not a store directory: {reason}")]
    InvalidStoreDir { value: String, reason: String },
    /// Not a store path, absolute or as a base name.
    #[error("{value} is not a store path: {reason}")]
    InvalidStorePath { value: String, reason: String },
    /// Not the hash part of a store path.
    #[error("{value} is not a store path hash: {reason}")]
    InvalidStorePathHash { value: String, reason: String },
    /// Not the name part of a store path.
    #[error("{value} is not a store path name: {reason}")]
    InvalidStorePathName { value: String, reason: String },
    /// Not a name for a signing key.
    #[error("{value} is not a key name: {reason}")]
    InvalidKeyName { value: String, reason: String },
    /// Not a Nix public key.
    #[error("{value} is not a Nix public key: {reason}")]
    InvalidPublicKey { value: String, reason: String },
    /// Not a Nix secret key. The text is left out on purpose.
    #[error("this is not a Nix secret key (its text is not repeated here): {reason}")]
    InvalidSecretKey { reason: String },
    /// Not a Nix signature.
    #[error("{value} is not a Nix signature: {reason}")]
    InvalidSignature { value: String, reason: String },
    /// Not a cache name.
    #[error("{value} is not a cache name: {reason}")]
    InvalidCacheName { value: String, reason: String },
    /// Not a pattern of cache names.
    #[error("{value} is not a cache pattern: {reason}")]
    InvalidCachePattern { value: String, reason: String },
    /// Not a name of what `what` says.
    #[error("{value} is not a {what}: {reason}")]
    InvalidName {
        what: &'static str,
        value: String,
        reason: String,
    },
    /// A compression Nix cannot undo.
    #[error("{value} is not a compression Nix knows: {reason}")]
    InvalidCompression { value: String, reason: String },
    /// Not a system such as `x86_64-linux`.
    #[error("{value} is not a system: {reason}")]
    InvalidSystem { value: String, reason: String },
    /// Not a content address of Nix.
    #[error("{value} is not a content address: {reason}")]
    InvalidContentAddress { value: String, reason: String },
    /// A `nix-cache-info` file with a bad line.
    #[error("nix-cache-info, line {line}: {reason}")]
    InvalidCacheInfo { line: usize, reason: String },
}
