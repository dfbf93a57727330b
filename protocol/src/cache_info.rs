//! `nix-cache-info`: what a substituter says about itself.
//!
//! Source of the format: `src/libstore/binary-cache-store.cc` of Nix. Reading ignores unknown keys and lines
//! without a colon, as Nix does; a missing key has Nix's default.

use std::fmt;
use std::str::FromStr;

use crate::ProtocolError;
use crate::store_path::StoreDir;
use crate::text::quote;

/// The priority of a cache that states none (`BinaryCacheStoreConfig` of Nix).
pub const PRIORITY_DEFAULT: u32 = 50;

/// What a substituter says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NixCacheInfo {
    /// Must equal the client's, or the client refuses the cache.
    pub store_dir: StoreDir,
    /// Whether a client may ask for many paths at once.
    pub want_mass_query: bool,
    /// Which cache is asked first: the lower number. cache.nixos.org has 40.
    pub priority: u32,
}

impl fmt::Display for NixCacheInfo {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "StoreDir: {}", self.store_dir)?;
        writeln!(formatter, "WantMassQuery: {}", u8::from(self.want_mass_query))?;
        writeln!(formatter, "Priority: {}", self.priority)
    }
}

impl FromStr for NixCacheInfo {
    type Err = ProtocolError;

    fn from_str(text: &str) -> Result<Self, ProtocolError> {
        let mut info = Self {
            store_dir: StoreDir::default(),
            want_mass_query: false,
            priority: PRIORITY_DEFAULT,
        };
        for (index, line) in text.lines().enumerate() {
            let Some((key, value)) = line.split_once(':') else {
                continue;
            };
            let value = value.trim();
            let refused = |reason: String| ProtocolError::InvalidCacheInfo {
                line: index + 1,
                reason,
            };
            match key {
                "StoreDir" => {
                    info.store_dir = value
                        .parse()
                        .map_err(|error: ProtocolError| refused(error.to_string()))?;
                }
                "WantMassQuery" => info.want_mass_query = value == "1",
                "Priority" => {
                    info.priority = value.parse().map_err(|_| {
                        refused(format!("Priority is {}; expected a number from 0", quote(value)))
                    })?;
                }
                _ => {}
            }
        }
        Ok(info)
    }
}
