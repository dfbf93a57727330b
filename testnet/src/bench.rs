//! Benchmarks: every figure beside a named peer's, taken in the same run on the same files.

mod commits;
mod copies;
mod etcd;
mod fill;
mod links;
mod load;
mod memory;
mod narinfo;
mod nginx;
mod pull;
mod push;
mod reclaim;
mod repush;
mod setting;
mod size;
mod table;
mod upkeep;

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, bail};
use clap::ValueEnum;

use crate::corpus::Corpus;
use crate::emulator::tun;
use crate::enclosure::Footing;
use crate::talk::say;
use setting::Setting;
use table::Table;

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
    /// The latency of pulls during collections and a scrub, beside a quiet station
    Upkeep,
    /// Everything expires on three stations: how long a collection takes, and what is left
    Reclaim,
    /// Records a second and their latency, three nodes on loopback, beside etcd
    Commits,
    /// From the kill of the leader to the next write, beside etcd
    Election,
    /// The whole corpus from one station to another, beside rsync
    Copy,
    /// From a push at one station to the answer of another
    Visible,
    /// A large NAR over a geostationary link, beside TCP (takes emulated links)
    Satellite,
    /// A NAR from one provider and from four (takes emulated links)
    Providers,
    /// All of them
    All,
}

impl What {
    /// Whether it is asked for by this.
    fn is_part_of(self, asked: Self) -> bool {
        asked == Self::All || asked == self
    }

    /// Whether it moves the corpus.
    fn takes_corpus(self) -> bool {
        !matches!(
            self,
            Self::Commits | Self::Election | Self::Visible | Self::Satellite | Self::Providers
        )
    }
}

/// `tetryx-testnet bench`.
///
/// # Errors
/// When anything that is measured fails: there are no figures for what does not work.
pub fn run(asked: What, corpus: Option<PathBuf>, rounds: u8, footing: Footing) -> Result<()> {
    if cfg!(debug_assertions) {
        bail!("a debug build tells nothing about speed; use: cargo run --release -p tetryx-testnet -- bench");
    }
    if footing == Footing::Namespaces {
        // A network of its own begins with nothing.
        tun::ip(Command::new("ip"), "link set lo up\n")?;
    }
    let rounds = usize::from(rounds);
    let cores = std::thread::available_parallelism()?;
    say(&format!(
        "{cores} cores, shared by servers and clients. Medians of {rounds}."
    ))?;
    if asked.takes_corpus() {
        let folder = corpus.map_or_else(Corpus::default_folder, Ok)?;
        let setting = Setting {
            corpus: Corpus::open(&folder)?,
            rounds,
        };
        say(&format!(
            "Corpus: {} NARs, {:.1} MiB.",
            setting.corpus.items.len(),
            setting.corpus.mib()
        ))?;
        with_corpus(asked, &setting)?;
    }
    between_stations(asked, rounds, footing)
}

/// One station and its clients, and the copy of everything to a second one.
fn with_corpus(asked: What, setting: &Setting) -> Result<()> {
    type Measure = fn(&Setting) -> Result<Table>;
    let all: [(What, Measure); 9] = [
        (What::Push, push::run),
        (What::Repush, repush::run),
        (What::Pull, pull::run),
        (What::Narinfo, narinfo::run),
        (What::Size, size::run),
        (What::Memory, memory::run),
        (What::Upkeep, upkeep::run),
        (What::Reclaim, reclaim::run),
        (What::Copy, copies::run),
    ];
    let mut wanted = all.iter().filter(|(what, _)| what.is_part_of(asked));
    wanted.try_for_each(|(_, measure)| measure(setting)?.print())
}

/// Several stations.
fn between_stations(asked: What, rounds: usize, footing: Footing) -> Result<()> {
    if What::Commits.is_part_of(asked) {
        commits::run(rounds)?.print()?;
    }
    if What::Election.is_part_of(asked) {
        commits::elections(rounds)?.print()?;
    }
    if What::Visible.is_part_of(asked) {
        copies::visible()?.print()?;
    }
    type Measure = fn() -> Result<Table>;
    let slow: [(What, Measure); 2] = [
        (What::Satellite, links::satellite),
        (What::Providers, links::providers),
    ];
    for (what, measure) in slow {
        if !what.is_part_of(asked) {
            continue;
        }
        match footing {
            Footing::Namespaces => measure()?.print()?,
            Footing::Loopback if asked == What::All => {
                say("No figures for slow links: none can be emulated here.")?
            }
            Footing::Loopback => bail!("this takes emulated links, and there can be none here"),
        }
    }
    Ok(())
}
