//! Nix signatures: ed25519 keys and signatures with names, in Nix's text forms.
//!
//! | type | text |
//! |---|---|
//! | [`NixSecretKey`] | name, `:`, base64 of 64 bytes (32 of seed, 32 of public key) |
//! | [`NixPublicKey`] | name, `:`, base64 of 32 bytes |
//! | [`NixSignature`] | name, `:`, base64 of 64 bytes |
//!
//! What is signed is a fingerprint ([`crate::narinfo::fingerprint`]). Source of the format:
//! `src/libutil/signature/local-keys.cc` of Nix.
//!
//! # Invariants
//! - A secret key's bytes are wiped when it is dropped, and never show in `Debug` or in an error.
//! - A signature verifies only under the key of the same name.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE64;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use crate::ProtocolError;
use crate::text::{TextVisitor, quote, serde_as_text};

/// The most bytes a key name may have.
pub const KEY_NAME_LEN_MAX: usize = 255;

/// The name of a signing key, such as `cache.nixos.org-1`: 1 to [`KEY_NAME_LEN_MAX`] printable ASCII characters,
/// no space and no colon.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyName(String);

impl KeyName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl FromStr for KeyName {
    type Err = ProtocolError;

    fn from_str(text: &str) -> Result<Self, ProtocolError> {
        let fits = (1..=KEY_NAME_LEN_MAX).contains(&text.len());
        if fits && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':') {
            return Ok(Self(text.to_owned()));
        }
        Err(ProtocolError::InvalidKeyName {
            value: quote(text),
            reason: format!(
                "expected 1 to {KEY_NAME_LEN_MAX} printable ASCII characters without space or colon"
            ),
        })
    }
}

serde_as_text!(KeyName, "a key name");

/// Splits `name:base64` and checks both halves.
fn parse_named<const N: usize>(text: &str) -> Result<(KeyName, Zeroizing<[u8; N]>), String> {
    let Some((name, encoded)) = text.split_once(':') else {
        return Err("expected a name, a colon and base64".to_owned());
    };
    let name = name.parse().map_err(|error: ProtocolError| error.to_string())?;
    let decoded = BASE64.decode(encoded.as_bytes()).map(Zeroizing::new).ok();
    let bytes = decoded.and_then(|bytes| <[u8; N]>::try_from(bytes.as_slice()).ok());
    match bytes {
        Some(bytes) => Ok((name, Zeroizing::new(bytes))),
        None => Err(format!("expected base64 of {N} bytes after the colon")),
    }
}

/// A key that signs, with its name.
#[derive(Clone)]
pub struct NixSecretKey {
    name: KeyName,
    key: SigningKey,
}

impl NixSecretKey {
    /// The key made of 32 bytes of randomness, which the caller draws and wipes.
    pub fn generate_from_seed(name: KeyName, seed: [u8; 32]) -> Self {
        let seed = Zeroizing::new(seed);
        Self {
            name,
            key: SigningKey::from_bytes(&seed),
        }
    }

    /// The key's name.
    pub const fn name(&self) -> &KeyName {
        &self.name
    }

    /// Signs a fingerprint.
    pub fn sign(&self, fingerprint: &str) -> NixSignature {
        NixSignature {
            name: self.name.clone(),
            bytes: self.key.sign(fingerprint.as_bytes()).to_bytes(),
        }
    }

    /// The key others verify with.
    pub fn public_key(&self) -> NixPublicKey {
        NixPublicKey {
            name: self.name.clone(),
            key: self.key.verifying_key().to_bytes(),
        }
    }

    /// The text form, as `nix-store --generate-binary-cache-key` writes it. Deliberately not `Display`.
    pub fn to_secret_text(&self) -> Zeroizing<String> {
        let keypair = Zeroizing::new(self.key.to_keypair_bytes());
        let encoded = Zeroizing::new(BASE64.encode(&*keypair));
        Zeroizing::new(format!("{}:{}", self.name, *encoded))
    }
}

impl fmt::Debug for NixSecretKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "NixSecretKey({}:<redacted>)", self.name)
    }
}

impl FromStr for NixSecretKey {
    type Err = ProtocolError;

    fn from_str(text: &str) -> Result<Self, ProtocolError> {
        let refused = |reason: String| ProtocolError::InvalidSecretKey { reason };
        if !text.contains(':') {
            return Err(refused("expected a name, a colon and base64".to_owned()));
        }
        let (name, keypair) = parse_named::<64>(text).map_err(refused)?;
        let key = SigningKey::from_keypair_bytes(&keypair)
            .map_err(|_| refused("its two halves, seed and public key, do not belong together".to_owned()))?;
        Ok(Self { name, key })
    }
}

/// A key that verifies, with its name.
///
/// The 32 bytes need not be a point of the curve: such a key verifies nothing. Postcard: name, then the bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NixPublicKey {
    name: KeyName,
    key: [u8; 32],
}

impl NixPublicKey {
    /// Puts a name and a key together.
    pub const fn new(name: KeyName, key: [u8; 32]) -> Self {
        Self { name, key }
    }

    /// The key's name.
    pub const fn name(&self) -> &KeyName {
        &self.name
    }

    /// The 32 bytes of the key.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.key
    }

    /// Whether this key, under this name, made the signature over the fingerprint.
    pub fn verify(&self, fingerprint: &str, signature: &NixSignature) -> bool {
        let Ok(key) = VerifyingKey::from_bytes(&self.key) else {
            return false;
        };
        let made = Signature::from_bytes(&signature.bytes);
        self.name == signature.name && key.verify_strict(fingerprint.as_bytes(), &made).is_ok()
    }
}

impl fmt::Display for NixPublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.name, BASE64.encode(&self.key))
    }
}

impl fmt::Debug for NixPublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "NixPublicKey({self})")
    }
}

impl FromStr for NixPublicKey {
    type Err = ProtocolError;

    fn from_str(text: &str) -> Result<Self, ProtocolError> {
        match parse_named::<32>(text) {
            Ok((name, key)) => Ok(Self { name, key: *key }),
            Err(reason) => Err(ProtocolError::InvalidPublicKey {
                value: quote(text),
                reason,
            }),
        }
    }
}

impl Serialize for NixPublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            (&self.name, &self.key).serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for NixPublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            return deserializer.deserialize_str(TextVisitor("a Nix public key", std::marker::PhantomData));
        }
        let (name, key) = Deserialize::deserialize(deserializer)?;
        Ok(Self { name, key })
    }
}

/// A signature, with the name of the key that made it. Postcard: name, then the 64 bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NixSignature {
    name: KeyName,
    bytes: [u8; 64],
}

impl NixSignature {
    /// Puts a name and 64 bytes together.
    pub const fn new(name: KeyName, bytes: [u8; 64]) -> Self {
        Self { name, bytes }
    }

    /// The name of the key that made it.
    pub const fn name(&self) -> &KeyName {
        &self.name
    }

    /// The 64 bytes of the signature.
    pub const fn as_bytes(&self) -> &[u8; 64] {
        &self.bytes
    }
}

impl fmt::Display for NixSignature {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.name, BASE64.encode(&self.bytes))
    }
}

impl fmt::Debug for NixSignature {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "NixSignature({self})")
    }
}

impl FromStr for NixSignature {
    type Err = ProtocolError;

    fn from_str(text: &str) -> Result<Self, ProtocolError> {
        match parse_named::<64>(text) {
            Ok((name, bytes)) => Ok(Self { name, bytes: *bytes }),
            Err(reason) => Err(ProtocolError::InvalidSignature {
                value: quote(text),
                reason,
            }),
        }
    }
}

impl Serialize for NixSignature {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return serializer.collect_str(self);
        }
        let (low, high) = self.bytes.split_at(32);
        let low: &[u8; 32] = low.try_into().expect("a half of 64 bytes");
        let high: &[u8; 32] = high.try_into().expect("a half of 64 bytes");
        (&self.name, low, high).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for NixSignature {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            return deserializer.deserialize_str(TextVisitor("a Nix signature", std::marker::PhantomData));
        }
        let (name, low, high): (KeyName, [u8; 32], [u8; 32]) = Deserialize::deserialize(deserializer)?;
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(&low);
        bytes[32..].copy_from_slice(&high);
        Ok(Self { name, bytes })
    }
}
