//! Secrets that travel: wiped when dropped, never printed.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

/// 32 bytes that only their owners may know.
///
/// Postcard: the 32 bytes. There is no text form, and `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret32([u8; 32]);

impl Secret32 {
    /// Takes bytes over. The caller wipes its own copy.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Secret32 {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret32(<redacted>)")
    }
}

impl Drop for Secret32 {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}
