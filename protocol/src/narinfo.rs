//! `narinfo`: what a substituter says about one store path, and the fingerprint that is signed.
//!
//! Source of the format: `src/libstore/nar-info.cc` and `path-info.cc` of Nix. Reading is exactly as liberal as
//! Nix: any order of keys, unknown keys ignored, hashes in any encoding, signatures of unknown shape ignored,
//! `Deriver: unknown-deriver` for none, no `Compression` for bzip2. Everything else is an error that names the
//! line. Writing has one form: Nix's order of keys, nix32 hashes, `Compression` always.
//!
//! # Invariants
//! - What [`NarInfo::to_text`] writes, [`NarInfo::parse`] reads as the same value.
//! - References are written and signed in the order Nix sorts them, whatever order they came in.
//! - No value can add a line: control characters in free text are written as `?`.

use std::borrow::Cow;
use std::fmt;
use std::fmt::Write as _;
use std::str::FromStr;

use crate::hash::{FileHash, NarHash};
use crate::signature::NixSignature;
use crate::store_path::{StoreDir, StorePath};
use crate::text::{quote, serde_as_text};
use crate::{ProtocolError, nix32};

/// How the file at a narinfo's URL is compressed: the methods Nix can undo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Compression {
    /// `none`
    None,
    /// `br`
    Brotli,
    /// `bzip2`; also what a narinfo without the key means.
    Bzip2,
    /// `compress`
    Compress,
    /// `grzip`
    Grzip,
    /// `gzip`
    Gzip,
    /// `lrzip`
    Lrzip,
    /// `lz4`
    Lz4,
    /// `lzip`
    Lzip,
    /// `lzma`
    Lzma,
    /// `lzop`
    Lzop,
    /// `xz`
    Xz,
    /// `zstd`; the only one Tetryx writes.
    Zstd,
}

impl Compression {
    const NAMES: [(Self, &'static str); 13] = [
        (Self::None, "none"),
        (Self::Brotli, "br"),
        (Self::Bzip2, "bzip2"),
        (Self::Compress, "compress"),
        (Self::Grzip, "grzip"),
        (Self::Gzip, "gzip"),
        (Self::Lrzip, "lrzip"),
        (Self::Lz4, "lz4"),
        (Self::Lzip, "lzip"),
        (Self::Lzma, "lzma"),
        (Self::Lzop, "lzop"),
        (Self::Xz, "xz"),
        (Self::Zstd, "zstd"),
    ];

    /// The name in a narinfo.
    pub const fn as_str(self) -> &'static str {
        // The table is in the order of the variants.
        Self::NAMES[self as usize].1
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for Compression {
    type Err = ProtocolError;

    fn from_str(text: &str) -> Result<Self, ProtocolError> {
        let known = Self::NAMES.iter().find(|(_, name)| *name == text);
        known.map(|(value, _)| *value).ok_or_else(|| {
            let names: Vec<_> = Self::NAMES.iter().map(|(_, name)| *name).collect();
            ProtocolError::InvalidCompression {
                value: quote(text),
                reason: format!("expected one of {}", names.join(", ")),
            }
        })
    }
}

serde_as_text!(Compression, "a compression");

/// Why a text is not a narinfo.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NarInfoError {
    /// A line that is not `Key: value`.
    #[error("narinfo, line {line}: {value} is not a line of the form 'Key: value' that ends in a newline")]
    NotALine { line: usize, value: String },
    /// A value that is not what its key needs.
    #[error("narinfo, line {line}: {key} is {value}; {reason}")]
    BadValue {
        line: usize,
        key: &'static str,
        value: String,
        reason: String,
    },
    /// A second line of a key that may appear once.
    #[error("narinfo, line {line}: {key} appears a second time; expected it once")]
    Repeated { line: usize, key: &'static str },
    /// A key that must be there is not.
    #[error("narinfo: {key} is missing; expected StorePath, URL, NarHash and NarSize")]
    Missing { key: &'static str },
}

/// The most characters of a system.
pub const SYSTEM_LEN_MAX: usize = 64;

/// Checks that a text can stand as a narinfo's `System`: 1 to [`SYSTEM_LEN_MAX`] printable ASCII characters, no
/// space.
///
/// # Errors
/// [`ProtocolError::InvalidSystem`].
pub fn check_system(text: &str) -> Result<(), ProtocolError> {
    if (1..=SYSTEM_LEN_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    Err(ProtocolError::InvalidSystem {
        value: quote(text),
        reason: format!("expected 1 to {SYSTEM_LEN_MAX} printable ASCII characters, such as x86_64-linux"),
    })
}

/// Checks that a text is a content address: `text:` or `fixed:`, the latter with `r:` or `git:` or neither, then
/// an algorithm, a colon and a hash in nix32 or hex (`ContentAddress::parse` of Nix).
///
/// # Errors
/// [`ProtocolError::InvalidContentAddress`].
pub fn check_content_address(text: &str) -> Result<(), ProtocolError> {
    let digest = match text.strip_prefix("fixed:") {
        Some(fixed) => Some(
            fixed
                .strip_prefix("r:")
                .or(fixed.strip_prefix("git:"))
                .unwrap_or(fixed),
        ),
        None => text.strip_prefix("text:"),
    };
    let known = digest
        .and_then(|digest| digest.split_once(':'))
        .is_some_and(|(algorithm, digits)| {
            let len = match algorithm {
                "md5" => 16,
                "sha1" => 20,
                "sha256" => 32,
                "sha512" => 64,
                _ => return false,
            };
            let is_hex = digits.len() == 2 * len && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
            is_hex || nix32::decode(digits).is_ok_and(|bytes| bytes.len() == len)
        });
    if known {
        return Ok(());
    }
    Err(ProtocolError::InvalidContentAddress {
        value: quote(text),
        reason: "expected text: or fixed:, an algorithm and its hash, such as fixed:r:sha256: and 52 nix32 characters"
            .to_owned(),
    })
}

/// What a substituter says about one store path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NarInfo {
    /// The path.
    pub store_path: StorePath,
    /// Where the NAR is: relative to the cache, or absolute. Never empty, one line.
    pub url: String,
    /// How the file at `url` is compressed.
    pub compression: Compression,
    /// The hash of the file at `url`.
    pub file_hash: Option<FileHash>,
    /// The size of the file at `url`, in bytes.
    pub file_size: Option<u64>,
    /// The hash of the uncompressed NAR.
    pub nar_hash: NarHash,
    /// The size of the uncompressed NAR, in bytes. Never 0.
    pub nar_size: u64,
    /// What the path refers to, itself included if it does; sorted and without duplicates after parsing.
    pub references: Vec<StorePath>,
    /// The derivation that made it.
    pub deriver: Option<StorePath>,
    /// The system it was made on. Old caches write it, Nix ignores it.
    pub system: Option<String>,
    /// Who vouches for it.
    pub signatures: Vec<NixSignature>,
    /// Its content address, for paths that have one. One line.
    pub ca: Option<String>,
}

impl NarInfo {
    /// Reads a narinfo whose paths lie in `store_dir`.
    ///
    /// # Errors
    /// [`NarInfoError`], for everything that Nix refuses, too.
    pub fn parse(text: &str, store_dir: &StoreDir) -> Result<Self, NarInfoError> {
        let mut fields = Fields::default();
        for (index, line) in text.split_inclusive('\n').enumerate() {
            fields.read_line(index + 1, line, store_dir)?;
        }
        fields.finish()
    }

    /// Writes the narinfo.
    pub fn to_text(&self, store_dir: &StoreDir) -> String {
        let mut text = String::with_capacity(512 + 64 * self.references.len());
        let mut line = |key: &str, value: fmt::Arguments<'_>| {
            writeln!(text, "{key}: {value}").expect("writing to a string does not fail");
        };
        // Free text stays on its line whatever it holds, or it could say something about another key.
        let one_line = |text: &'_ str| text.replace(char::is_control, "?");
        line("StorePath", format_args!("{store_dir}/{}", self.store_path));
        line("URL", format_args!("{}", one_line(&self.url)));
        line("Compression", format_args!("{}", self.compression));
        if let Some(hash) = &self.file_hash {
            line("FileHash", format_args!("{hash}"));
        }
        if let Some(size) = self.file_size {
            line("FileSize", format_args!("{size}"));
        }
        line("NarHash", format_args!("{}", self.nar_hash));
        line("NarSize", format_args!("{}", self.nar_size));
        let references: Vec<_> = as_nix_sorts(&self.references)
            .iter()
            .map(StorePath::to_string)
            .collect();
        line("References", format_args!("{}", references.join(" ")));
        if let Some(deriver) = &self.deriver {
            line("Deriver", format_args!("{deriver}"));
        }
        if let Some(system) = &self.system {
            line("System", format_args!("{}", one_line(system)));
        }
        for signature in &self.signatures {
            line("Sig", format_args!("{signature}"));
        }
        if let Some(ca) = &self.ca {
            line("CA", format_args!("{}", one_line(ca)));
        }
        text
    }

    /// What is signed.
    pub fn fingerprint(&self, store_dir: &StoreDir) -> String {
        fingerprint(
            store_dir,
            &self.store_path,
            self.nar_hash,
            self.nar_size,
            &self.references,
        )
    }
}

/// What is signed about a path:
/// `1;{store path};sha256:{nix32};{NAR size};{references, full, sorted, separated by commas}`.
pub fn fingerprint(
    store_dir: &StoreDir,
    store_path: &StorePath,
    nar_hash: NarHash,
    nar_size: u64,
    references: &[StorePath],
) -> String {
    let mut text = format!("1;{store_dir}/{store_path};{nar_hash};{nar_size};");
    for (index, reference) in as_nix_sorts(references).iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        write!(text, "{comma}{store_dir}/{reference}").expect("writing to a string does not fail");
    }
    text
}

/// The references sorted and without duplicates; borrowed if they are so already.
fn as_nix_sorts(references: &[StorePath]) -> Cow<'_, [StorePath]> {
    if references.is_sorted_by(|a, b| a < b) {
        return Cow::Borrowed(references);
    }
    let mut sorted = references.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    Cow::Owned(sorted)
}

/// What the lines read so far have said.
#[derive(Default)]
struct Fields {
    store_path: Option<StorePath>,
    url: Option<String>,
    compression: Option<Compression>,
    file_hash: Option<FileHash>,
    file_size: Option<u64>,
    nar_hash: Option<NarHash>,
    nar_size: Option<u64>,
    references: Vec<StorePath>,
    deriver: Option<StorePath>,
    system: Option<String>,
    signatures: Vec<NixSignature>,
    ca: Option<String>,
}

impl Fields {
    fn read_line(&mut self, line: usize, text: &str, store_dir: &StoreDir) -> Result<(), NarInfoError> {
        let parts = text.strip_suffix('\n').and_then(|text| text.split_once(": "));
        let Some((key, value)) = parts else {
            return Err(NarInfoError::NotALine {
                line,
                value: quote(text.trim_end_matches('\n')),
            });
        };
        let bad = |key: &'static str, reason: String| NarInfoError::BadValue {
            line,
            key,
            value: quote(value),
            reason,
        };
        let number = |key| {
            value
                .parse::<u64>()
                .map_err(|_| bad(key, "expected a number of bytes".to_owned()))
        };
        match key {
            "StorePath" => {
                let path = StorePath::from_absolute(store_dir, value);
                self.store_path = Some(path.map_err(|error| bad("StorePath", error.to_string()))?);
            }
            "URL" => self.url = Some(value.to_owned()).filter(|url| !url.is_empty()),
            "Compression" if value.is_empty() => self.compression = None,
            "Compression" => {
                let compression = value
                    .parse()
                    .map_err(|error: ProtocolError| bad("Compression", error.to_string()));
                self.compression = Some(compression?);
            }
            "FileHash" => {
                let hash = value
                    .parse()
                    .map_err(|error: ProtocolError| bad("FileHash", error.to_string()));
                self.file_hash = Some(hash?);
            }
            "FileSize" => self.file_size = Some(number("FileSize")?),
            "NarHash" => {
                let hash = value
                    .parse()
                    .map_err(|error: ProtocolError| bad("NarHash", error.to_string()));
                self.nar_hash = Some(hash?);
            }
            "NarSize" => self.nar_size = Some(number("NarSize")?).filter(|size| *size > 0),
            "References" => {
                if !self.references.is_empty() {
                    return Err(NarInfoError::Repeated {
                        line,
                        key: "References",
                    });
                }
                for reference in value.split(' ').filter(|word| !word.is_empty()) {
                    let reference = reference.parse();
                    let reference =
                        reference.map_err(|error: ProtocolError| bad("References", error.to_string()))?;
                    self.references.push(reference);
                }
            }
            "Deriver" if value == "unknown-deriver" => {}
            "Deriver" => {
                let deriver = value
                    .parse()
                    .map_err(|error: ProtocolError| bad("Deriver", error.to_string()));
                self.deriver = Some(deriver?);
            }
            "System" => self.system = Some(value.to_owned()).filter(|system| !system.is_empty()),
            // Nix carries a signature it cannot read and never trusts it; here it is left out.
            "Sig" => self.signatures.extend(value.parse::<NixSignature>()),
            "CA" if self.ca.is_some() => return Err(NarInfoError::Repeated { line, key: "CA" }),
            "CA" if value.is_empty() => {}
            "CA" => {
                check_content_address(value).map_err(|error| bad("CA", error.to_string()))?;
                self.ca = Some(value.to_owned());
            }
            _ => {}
        }
        Ok(())
    }

    fn finish(self) -> Result<NarInfo, NarInfoError> {
        let missing = |key| NarInfoError::Missing { key };
        Ok(NarInfo {
            store_path: self.store_path.ok_or(missing("StorePath"))?,
            url: self.url.ok_or(missing("URL"))?,
            compression: self.compression.unwrap_or(Compression::Bzip2),
            file_hash: self.file_hash,
            file_size: self.file_size,
            nar_hash: self.nar_hash.ok_or(missing("NarHash"))?,
            nar_size: self.nar_size.ok_or(missing("NarSize"))?,
            references: as_nix_sorts(&self.references).into_owned(),
            deriver: self.deriver,
            system: self.system,
            signatures: self.signatures,
            ca: self.ca,
        })
    }
}
