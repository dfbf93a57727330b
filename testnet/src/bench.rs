//! Benchmarks: every figure beside a named peer's, taken in the same run on the same files.

mod fill;
mod memory;
mod narinfo;
mod nginx;
mod pull;
mod push;
mod repush;
mod setting;
mod size;
mod table;

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::ValueEnum;

use crate::corpus::Corpus;
use crate::talk::say;
use setting::Setting;

/// What to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum What {
    /// NAR bytes a second into an empty cache, and into one that holds ten times the corpus
    Push,
    /// What crosses the wire for a changed version, and for what is there already
    Repush,
    /// NAR bytes a second out, for 1 and 8 clients
    Pull,
    /// narinfo requests a second
    Narinfo,
    /// Bytes on disk
    Size,
    /// Resident memory, idle and at its highest
    Memory,
    /// All of them
    All,
}

/// `tetryx-testnet bench`.
///
/// # Errors
/// When anything that is measured fails: there are no figures for what does not work.
pub fn run(what: What, corpus: Option<PathBuf>, rounds: u8) -> Result<()> {
    if cfg!(debug_assertions) {
        bail!("a debug build tells nothing about speed; use: cargo run --release -p tetryx-testnet -- bench");
    }
    let folder = corpus.map_or_else(Corpus::default_folder, Ok)?;
    let setting = Setting {
        corpus: Corpus::open(&folder)?,
        rounds: usize::from(rounds),
    };
    let cores = std::thread::available_parallelism()?;
    say(&format!(
        "Corpus: {} NARs, {:.1} MiB. {cores} cores, shared by servers and clients. Medians of {rounds}.",
        setting.corpus.items.len(),
        setting.corpus.mib()
    ))?;
    let wanted = |which: What| what == What::All || what == which;
    if wanted(What::Push) {
        push::run(&setting)?.print()?;
    }
    if wanted(What::Repush) {
        repush::run(&setting)?.print()?;
    }
    if wanted(What::Pull) {
        pull::run(&setting)?.print()?;
    }
    if wanted(What::Narinfo) {
        narinfo::run(&setting)?.print()?;
    }
    if wanted(What::Size) {
        size::run(&setting)?.print()?;
    }
    if wanted(What::Memory) {
        memory::run(&setting)?.print()?;
    }
    Ok(())
}
