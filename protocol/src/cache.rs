//! Cache names and patterns of them, and what a cache may be told: how long it keeps, how many copies it makes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ProtocolError;
use crate::text::{quote, serde_as_text};

/// The most characters of a cache name or pattern.
pub const CACHE_NAME_LEN_MAX: usize = 50;

/// The name of a cache: a letter or digit, then up to 49 letters, digits, `-`, `_` and `+`. ASCII.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CacheName(String);

impl CacheName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CacheName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl FromStr for CacheName {
    type Err = ProtocolError;

    fn from_str(text: &str) -> Result<Self, ProtocolError> {
        if is_name(text, |_| false) {
            return Ok(Self(text.to_owned()));
        }
        Err(ProtocolError::InvalidCacheName {
            value: quote(text),
            reason: format!(
                "expected 1 to {CACHE_NAME_LEN_MAX} characters of A-Z a-z 0-9 - _ +, the first a letter or digit"
            ),
        })
    }
}

serde_as_text!(CacheName, "a cache name");

/// A pattern of cache names: a cache name in which `*`, anywhere, stands for any run of characters, none included.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CachePattern(String);

impl CachePattern {
    /// The pattern as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the name is one of the pattern's.
    pub fn matches(&self, name: &CacheName) -> bool {
        glob_matches(self.0.as_bytes(), name.0.as_bytes())
    }

    /// Whether every name of `other` is a name of this pattern. A star of `other` needs a star here to stand for
    /// it, since only a star matches the character `*`.
    pub fn covers(&self, other: &Self) -> bool {
        glob_matches(self.0.as_bytes(), other.0.as_bytes())
    }
}

impl fmt::Display for CachePattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl FromStr for CachePattern {
    type Err = ProtocolError;

    fn from_str(text: &str) -> Result<Self, ProtocolError> {
        if is_name(text, |byte| byte == b'*') {
            return Ok(Self(text.to_owned()));
        }
        Err(ProtocolError::InvalidCachePattern {
            value: quote(text),
            reason: format!(
                "expected 1 to {CACHE_NAME_LEN_MAX} characters of A-Z a-z 0-9 - _ + *, the first a letter, a digit or *"
            ),
        })
    }
}

impl From<&CacheName> for CachePattern {
    /// The pattern that matches this name only.
    fn from(name: &CacheName) -> Self {
        Self(name.0.clone())
    }
}

serde_as_text!(CachePattern, "a cache pattern");

/// Whether the text has the shape of a cache name in which `extra` bytes are allowed everywhere.
fn is_name(text: &str, extra: impl Fn(u8) -> bool) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"-_+".contains(&byte) || extra(byte);
    let first = |byte: &u8| byte.is_ascii_alphanumeric() || extra(*byte);
    text.len() <= CACHE_NAME_LEN_MAX && text.as_bytes().first().is_some_and(first) && text.bytes().all(inner)
}

/// Matches a text against a pattern whose only special character is `*`.
///
/// On a mismatch it falls back to the last star and lets that stand for one more character: at most
/// `pattern.len() * text.len()` steps, no recursion.
pub(crate) fn glob_matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut last_star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                last_star = Some((p, t));
                p += 1;
            }
            Some(byte) if *byte == text[t] => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((star, from)) = last_star else {
                    return false;
                };
                last_star = Some((star, from + 1));
                p = star + 1;
                t = from + 1;
            }
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

/// How long a cache keeps a path that nobody fetches.
///
/// JSON, as attic has it: `"Global"`, `{"Period": seconds}`; and `"Forever"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "RetentionForm", into = "RetentionForm")]
pub enum Retention {
    /// As long as the cluster's default says.
    #[default]
    Default,
    /// This long after its creation or last use, whichever is later.
    Period {
        /// Seconds.
        seconds: u64,
    },
    /// Until somebody deletes it.
    Forever,
}

/// The serialised shape of [`Retention`].
#[derive(Serialize, Deserialize)]
enum RetentionForm {
    Global,
    Period(u64),
    Forever,
}

impl From<RetentionForm> for Retention {
    fn from(form: RetentionForm) -> Self {
        match form {
            RetentionForm::Global => Self::Default,
            RetentionForm::Period(seconds) => Self::Period { seconds },
            RetentionForm::Forever => Self::Forever,
        }
    }
}

impl From<Retention> for RetentionForm {
    fn from(retention: Retention) -> Self {
        match retention {
            Retention::Default => Self::Global,
            Retention::Period { seconds } => Self::Period(seconds),
            Retention::Forever => Self::Forever,
        }
    }
}

/// On how many nodes a cache's NARs are kept.
///
/// JSON: `"Default"`, `{"Copies": n}`, `"All"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Replication {
    /// As many as the cluster's default says.
    #[default]
    Default,
    /// This many, as far as there are nodes.
    Copies(u8),
    /// Every node.
    All,
}
