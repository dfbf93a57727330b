//! `tetryx-testnet`: the demo, the corpus and the benchmarks.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, Subcommand};
use tetryx_testnet::{bench, corpus, demo};

/// Real processes, a real Nix: the demo and the benchmarks of Tetryx.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a station, push a store path, substitute it with a real Nix, and say what happens
    Demo,
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
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Demo => demo::run(),
        Command::Corpus { out } => corpus::run(out),
        Command::Bench { what, corpus, rounds } => bench::run(what, corpus, rounds),
    }
}
