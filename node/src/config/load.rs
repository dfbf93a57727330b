//! Reading `node.toml`: what is wrong, where, and what was probably meant.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use thiserror::Error;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::KEYS;
use super::{Config, Size};

/// Why a configuration file cannot be used. Each message names file and line, and the key where there is one.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConfigError {
    #[error("the configuration file {path} cannot be read; leave out --config to have one made", path = path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{place}: not TOML: {message}")]
    Syntax { place: Place, message: String },
    #[error("{place}: unknown key {key}; {hint}")]
    UnknownKey { place: Place, key: String, hint: String },
    #[error("{place}: {key}: {message}")]
    BadValue {
        place: Place,
        key: String,
        message: String,
    },
}

/// Where in which file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub path: PathBuf,
    /// Counted from 1.
    pub line: usize,
    /// Counted from 1, in characters.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.path.display(), self.line, self.column)
    }
}

/// Reads and checks the file at `path`.
///
/// # Errors
/// See [`ConfigError`].
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
        path: path.to_owned(),
        source,
    })?;
    parse(&text, path)
}

/// Checks `text`, the contents of the file at `path` (used in messages only).
///
/// # Errors
/// See [`ConfigError`].
pub fn parse(text: &str, path: &Path) -> Result<Config, ConfigError> {
    let place = |span: Range<usize>| Place::of(path, text, span.start);
    let document = DeTable::parse(text).map_err(|error| ConfigError::Syntax {
        place: place(error.span().unwrap_or_default()),
        message: error.message().replace('\n', ", "),
    })?;
    let entries = entries(document.get_ref());
    if let Some(entry) = entries.iter().find(|entry| !entry.is_known()) {
        let (key, hint) = entry.explain();
        return Err(ConfigError::UnknownKey {
            place: place(entry.key_span.clone()),
            key,
            hint,
        });
    }
    let bad_value = |key: &str, span: Option<Range<usize>>, message: String| {
        let entry = entries.iter().find(|entry| match &span {
            Some(span) => entry.value_span.start <= span.start && span.end <= entry.value_span.end,
            None => entry.dotted() == key,
        });
        ConfigError::BadValue {
            place: place(
                entry
                    .map(|entry| entry.value_span.clone())
                    .or(span)
                    .unwrap_or_default(),
            ),
            key: entry.map_or_else(|| key.to_owned(), Entry::dotted),
            message,
        }
    };
    let config = Config::deserialize(toml::Deserializer::from(document.clone()))
        .map_err(|error| bad_value("the file", error.span(), error.message().to_owned()))?;
    match complaint(&config) {
        Some((key, message)) => Err(bad_value(key, None, message)),
        None => Ok(config),
    }
}

/// The first value that is well-formed but cannot work.
fn complaint(config: &Config) -> Option<(&'static str, String)> {
    let http = &config.http;
    let at_least_1s = |duration: Duration| duration < Duration::from_secs(1);
    if config
        .name
        .as_ref()
        .is_some_and(|name| name.trim().is_empty() || name.len() > 100)
    {
        return Some(("name", "a name has 1 to 100 characters".to_owned()));
    }
    if config.data_dir.as_ref().is_some_and(|dir| !dir.is_absolute()) {
        return Some(("data_dir", "must be an absolute path".to_owned()));
    }
    if let Some(url) = &http.public_url
        && !is_base_url(url)
    {
        return Some((
            "http.public_url",
            format!("{url:?} is not an http:// or https:// URL without query"),
        ));
    }
    if http.connections_max == 0 {
        return Some(("http.connections_max", "must be at least 1".to_owned()));
    }
    for (key, duration) in [
        ("http.header_read_timeout", http.header_read_timeout),
        ("http.request_timeout", http.request_timeout),
        ("http.body_idle_timeout", http.body_idle_timeout),
        ("uploads.session_ttl", config.uploads.session_ttl),
        ("replication.hold_ttl", config.replication.hold_ttl),
    ] {
        if at_least_1s(duration) {
            return Some((key, "must be at least 1s".to_owned()));
        }
    }
    if !config.scrub.period.is_zero() && at_least_1s(config.scrub.period) {
        return Some((
            "scrub.period",
            "must be at least 1s, or 0s to switch it off".to_owned(),
        ));
    }
    if config.gc.default_retention.is_some_and(at_least_1s) {
        return Some(("gc.default_retention", "must be at least 1s".to_owned()));
    }
    if config.uploads.sessions_max == 0 {
        return Some(("uploads.sessions_max", "must be at least 1".to_owned()));
    }
    for (key, count) in [
        ("replication.copies", config.replication.copies),
        ("replication.write_replicas", config.replication.write_replicas),
    ] {
        if count == 0 {
            return Some((key, "must be at least 1".to_owned()));
        }
    }
    if !(1..=50).contains(&config.gc.garbage_max_percent) {
        return Some(("gc.garbage_max_percent", "must be between 1 and 50".to_owned()));
    }
    if config.raft.audit_every == 0 {
        return Some(("raft.audit_every", "must be at least 1".to_owned()));
    }
    let limits = &config.limits;
    if !(16..=10_000).contains(&limits.header_count_max) {
        return Some((
            "limits.header_count_max",
            "must be between 16 and 10000".to_owned(),
        ));
    }
    for (key, size, min, max) in [
        (
            "limits.header_bytes_max",
            limits.header_bytes_max,
            Size::kib(8),
            Size::mib(1),
        ),
        (
            "limits.json_body_max",
            limits.json_body_max,
            Size::kib(64),
            Size::gib(1),
        ),
        (
            "limits.nar_size_max",
            limits.nar_size_max,
            Size::mib(1),
            Size::gib(1 << 20),
        ),
        (
            "limits.narinfo_size_max",
            limits.narinfo_size_max,
            Size::kib(4),
            Size::mib(64),
        ),
        (
            "store.segment_size",
            config.store.segment_size,
            Size::mib(1),
            Size::gib(1),
        ),
        (
            "gc.rewrite_rate",
            config.gc.rewrite_rate,
            Size::kib(64),
            Size::gib(1 << 10),
        ),
        ("scrub.rate", config.scrub.rate, Size::kib(64), Size::gib(1 << 10)),
        (
            "store.index_cache",
            config.store.index_cache,
            Size::mib(1),
            Size::gib(1 << 10),
        ),
    ] {
        if !(min..=max).contains(&size) {
            return Some((key, format!("{size} is outside of {min} to {max}")));
        }
    }
    None
}

/// Whether routes can be appended to it.
fn is_base_url(url: &str) -> bool {
    url.parse::<http::Uri>().is_ok_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some() && uri.query().is_none()
    })
}

/// One `key = value` of the file.
struct Entry {
    section: Option<String>,
    name: String,
    is_table: bool,
    key_span: Range<usize>,
    value_span: Range<usize>,
}

fn entries(document: &DeTable<'_>) -> Vec<Entry> {
    let mut entries = Vec::new();
    for (key, value) in document {
        match value.get_ref() {
            DeValue::Table(table) if is_section(key.get_ref()) => {
                entries.extend(
                    table
                        .iter()
                        .map(|(name, value)| Entry::new(Some(key.get_ref()), name, value)),
                );
            }
            _ => entries.push(Entry::new(None, key, value)),
        }
    }
    entries
}

fn is_section(name: &str) -> bool {
    KEYS.iter()
        .any(|key| !key.section.is_empty() && key.section == name)
}

impl Entry {
    fn new(
        section: Option<&str>,
        name: &Spanned<toml::de::DeString<'_>>,
        value: &Spanned<DeValue<'_>>,
    ) -> Self {
        Self {
            section: section.map(str::to_owned),
            name: name.get_ref().to_string(),
            is_table: matches!(value.get_ref(), DeValue::Table(_)),
            key_span: name.span(),
            value_span: value.span(),
        }
    }

    fn dotted(&self) -> String {
        dotted(self.section.as_deref().unwrap_or_default(), &self.name)
    }

    fn is_known(&self) -> bool {
        KEYS.iter().any(|key| key.section == self.section.as_deref().unwrap_or_default() && key.name == self.name)
            // `http = 5` is a wrong value for a known table: the type check says so better.
            || (self.section.is_none() && is_section(&self.name))
    }

    /// The key as written, and what to do about it.
    fn explain(&self) -> (String, String) {
        if self.is_table && self.section.is_none() {
            let sections: Vec<_> = KEYS
                .iter()
                .map(|key| key.section)
                .filter(|name| !name.is_empty())
                .collect();
            let hint = match nearest(&self.name, sections.iter().copied()) {
                Some(section) => format!("did you mean [{section}]?"),
                None => "remove it; the generated file lists every table".to_owned(),
            };
            return (format!("[{}]", self.name), hint);
        }
        let known: Vec<_> = KEYS.iter().map(|key| dotted(key.section, key.name)).collect();
        let written = self.dotted();
        // The right name in the wrong table comes before a similar name.
        let same_name = KEYS
            .iter()
            .find(|key| key.name == self.name)
            .map(|key| dotted(key.section, key.name));
        let hint = match same_name
            .or_else(|| nearest(&written, known.iter().map(String::as_str)).map(str::to_owned))
        {
            Some(key) => format!("did you mean {key}?"),
            None => "remove it; the generated file lists every key".to_owned(),
        };
        (written, hint)
    }
}

fn dotted(section: &str, name: &str) -> String {
    if section.is_empty() {
        name.to_owned()
    } else {
        format!("{section}.{name}")
    }
}

/// The candidate most like what was written, if any is like it.
fn nearest<'a>(written: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .map(|candidate| (strsim::jaro_winkler(written, candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.7)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

impl Place {
    fn of(path: &Path, text: &str, offset: usize) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self {
            path: path.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

#[cfg(test)]
mod tests;
