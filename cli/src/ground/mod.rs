//! `mission`, `satellite`, `station`, `elements`, and `pass list`: what is registered with the cluster.

mod calendar;
mod csv;
mod elements;
mod missions;
mod passes;
mod satellites;
mod stations;

use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use tetryx_station::mask::HorizonMask;

pub(crate) use self::elements::run as elements;
pub(crate) use self::missions::run as mission;
pub(crate) use self::passes::list as list_passes;
pub(crate) use self::satellites::run as satellite;
pub(crate) use self::stations::run as station;

/// A horizon mask: degrees, or a file.
pub(crate) fn mask(text: &str) -> Result<HorizonMask> {
    if text.trim().parse::<f64>().is_ok() {
        return text.parse().with_context(|| format!("--mask {text}"));
    }
    std::fs::read_to_string(text)
        .with_context(|| format!("cannot read the horizon mask {text}; give --mask as degrees or as a file"))?
        .parse()
        .with_context(|| format!("{text} is not a horizon mask"))
}

/// A file, or stdin for `-`.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    if path == Path::new("-") {
        let mut text = Vec::new();
        std::io::stdin()
            .read_to_end(&mut text)
            .context("cannot read stdin")?;
        return Ok(text);
    }
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}
