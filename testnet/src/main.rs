//! `tetryx-testnet`: stations on this machine, the demo, the scenarios, the corpus and the benchmarks.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand, ValueEnum as _};
use tetryx_testnet::emulator::Profile;
use tetryx_testnet::enclosure::{self, Footing};
use tetryx_testnet::up::{self, Wish};
use tetryx_testnet::{bench, corpus, demo, rehearsal, scenario};

/// Real processes, a real Nix: stations to try, the demo, the scenarios and the benchmarks of Tetryx.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// This is the program that was started once more, inside
    #[arg(long, global = true, hide = true, value_enum)]
    inside: Option<Footing>,
    /// Do without namespaces and emulated links: stations get ports of the loopback interface
    #[arg(long, global = true)]
    loopback: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start stations to play with, and keep them until Ctrl-C
    Up {
        /// How many
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=50))]
        nodes: u8,
        /// What the links between them are like
        #[arg(long, value_enum, default_value = "lan")]
        profile: Profile,
        /// What the links of one station are like, for example hawaii=geo
        #[arg(long = "link", value_name = "STATION=PROFILE", value_parser = link)]
        links: Vec<(String, Profile)>,
        /// What every station is configured with, as in a node.toml [default: what a first start writes]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Push at one of three stations, lose it, substitute at another with a real Nix, and say what happens
    Demo,
    /// Tell a story of what goes wrong, and check its claims; exits non-zero when one does not hold
    Scenario {
        /// Its name; 'all' for every one, 'list' to see them
        name: String,
        /// Where all chance comes from [default: another one each time]
        #[arg(long)]
        seed: Option<u64>,
    },
    /// Make the corpus of the benchmarks: over 1 GiB of this machine's files in about 30 store paths
    Corpus {
        /// Where to keep it [default: target/testnet/corpus]
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
    /// Measure against named peers, in the same run, and print markdown tables
    Bench {
        /// What to measure
        #[arg(value_enum, default_value = "all")]
        what: bench::What,
        /// The corpus, as 'corpus --out' made it [default: target/testnet/corpus]
        #[arg(long, value_name = "DIR")]
        corpus: Option<PathBuf>,
        /// How often each figure is taken; the median is printed
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=99))]
        rounds: u8,
    },
    /// Find out whether emulated links can be had
    #[command(hide = true, name = enclosure::PROBE)]
    Probe,
    /// Start what never ends, for the test that it does
    #[command(hide = true)]
    Rehearse {
        /// How this program ends
        #[arg(value_enum)]
        end: rehearsal::End,
    },
}

fn main() -> Result<ExitCode> {
    let Arguments {
        inside,
        loopback,
        command,
    } = Arguments::parse();
    match (command, inside) {
        (Command::Corpus { out }, _) => corpus::run(out)?,
        (Command::Probe, _) => enclosure::rehearse()?,
        (Command::Demo, None) => return enclosure::run(&["demo".to_owned()], loopback, 0),
        (Command::Up { nodes, .. }, None) => return enclosure::run(&typed(), loopback, nodes.into()),
        (Command::Bench { .. }, None) => return enclosure::run(&typed(), loopback, 0),
        (Command::Scenario { name, .. }, _) if name == "list" => scenario::list()?,
        (Command::Scenario { name, seed }, None) => {
            scenario::find(&name)?;
            let seed = seed.unwrap_or_else(|| fastrand::u64(..)).to_string();
            let arguments = ["scenario".to_owned(), name, "--seed".to_owned(), seed];
            return enclosure::run(&arguments, loopback, 0);
        }
        (Command::Rehearse { end }, None) => {
            return enclosure::run(&["rehearse".to_owned(), end.name()?], loopback, 0);
        }
        (command, Some(footing)) => return within(command, footing),
    }
    Ok(ExitCode::SUCCESS)
}

/// The arguments as they were typed, for the inner program to read once more.
fn typed() -> Vec<String> {
    std::env::args().skip(1).collect()
}

/// Reads `STATION=PROFILE`.
fn link(text: &str) -> Result<(String, Profile), String> {
    let (station, profile) = text.split_once('=').ok_or("write it as STATION=PROFILE")?;
    let profile = Profile::from_str(profile, true)?;
    Ok((station.to_owned(), profile))
}

/// What the program does once it is inside.
fn within(command: Command, footing: Footing) -> Result<ExitCode> {
    if let Command::Up {
        nodes,
        profile,
        links,
        config,
    } = command
    {
        let wish = Wish {
            stations: nodes.into(),
            profile,
            links,
            config,
        };
        up::run(&wish, footing)?;
        return Ok(ExitCode::SUCCESS);
    }
    enclosure::follow(footing);
    match command {
        Command::Demo => demo::run(footing)?,
        Command::Scenario { name, seed } => {
            scenario::run(&name, footing, seed.context("the outer program chose a seed")?)?;
        }
        Command::Rehearse { end } => rehearsal::run(end)?,
        Command::Bench { what, corpus, rounds } => bench::run(what, corpus, rounds, footing)?,
        Command::Corpus { .. } | Command::Probe | Command::Up { .. } => {}
    }
    Ok(ExitCode::SUCCESS)
}
