//! Lives through simulated worlds and says which promises held.

#[cfg(feature = "mutants")]
mod mutants;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use rand::SeedableRng;
use rand::rngs::StdRng;
#[cfg(feature = "mutants")]
use tetryx_environment::mutant::Mutant;
use tetryx_simulations::runner::{Batch, live_in_this_process, report_line};
use tetryx_simulations::scale::{Scale, measure};
use tetryx_simulations::world::{Faults, Report, Wish};

/// Runs whole clusters in simulated worlds: the node's own code over links, disks, clocks and chance that come from a
/// seed, with everything going wrong that can. Prints which promise was broken, if one was, and the command that repeats
/// it. docs/SIMULATION.md says what is simulated and what is not.
#[derive(Debug, Parser)]
#[command(
    name = "tetryx-simulations",
    version,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true
)]
struct Options {
    #[command(subcommand)]
    command: Option<Command>,
    /// Live through the worlds of these seeds: FIRST..END, without END
    #[arg(long, value_name = "A..B")]
    #[cfg_attr(not(feature = "mutants"), arg(required_unless_present = "seed"))]
    #[cfg_attr(feature = "mutants", arg(required_unless_present_any = ["seed", "mutants"]))]
    seeds: Option<Seeds>,
    /// Live through the world of one seed
    #[arg(long, value_name = "S", conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Stations at the beginning; drawn by each seed when not given
    #[arg(long, value_name = "N")]
    nodes: Option<usize>,
    /// Virtual hours of faults and clients in each world [default: 1]
    #[arg(long, value_name = "H")]
    hours: Option<f64>,
    /// Faults that happen in every world, besides those that its seed draws: crash,full-cut
    #[arg(long, value_name = "FAULTS")]
    with: Option<Faults>,
    /// Run with a deliberate bug
    #[cfg(feature = "mutants")]
    #[arg(long, value_name = "NAME")]
    mutant: Option<Mutant>,
    /// Run every deliberate bug through the worlds that it should be found in, and fail when one is not
    #[cfg(feature = "mutants")]
    #[arg(long, conflicts_with_all = ["seed", "seeds", "mutant"])]
    mutants: bool,
    /// Print each event as it happens
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Run each seed twice, and fail when the two traces differ
    #[arg(long, requires = "seeds")]
    twice: bool,
    /// Worlds at one time, each in a process of its own [default: one for each processor]
    #[arg(long, value_name = "J")]
    jobs: Option<usize>,
    /// Print the report as a line of JSON
    #[arg(long, requires = "seed", hide = true)]
    report: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measures how fast presence, the log and data spread among many stations, and draws the curves
    Scale(ScaleOptions),
}

#[derive(Debug, Args)]
struct ScaleOptions {
    /// Stations, 30 % of them by geostationary satellites
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(3..=1000))]
    stations: u16,
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// The folder for scale-gossip.svg, scale-log.svg and scale-data.svg
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
}

/// `A..B`.
#[derive(Clone, Debug)]
struct Seeds(Range<u64>);

impl FromStr for Seeds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once("..").and_then(|(first, end)| {
            let seeds = first.parse().ok()?..end.parse().ok()?;
            (!seeds.is_empty()).then_some(seeds)
        });
        parts
            .map(Self)
            .ok_or_else(|| format!("{text:?} is not a range of seeds; write it like 1..25"))
    }
}

#[expect(clippy::print_stdout, reason = "reports are what this program is for")]
fn main() -> ExitCode {
    let options = Options::parse();
    if let Some(Command::Scale(options)) = &options.command {
        return scale(options);
    }
    let wish = Wish {
        stations: options.nodes,
        hours: options.hours,
        with: options.with.unwrap_or_default(),
    };
    let batch = Batch {
        wish,
        jobs: options
            .jobs
            .unwrap_or_else(|| std::thread::available_parallelism().map_or(2, usize::from)),
        arguments: options.arguments(),
    };
    #[cfg(feature = "mutants")]
    {
        if options.mutants {
            return match mutants::hunt_all(batch.jobs) {
                true => ExitCode::SUCCESS,
                false => ExitCode::FAILURE,
            };
        }
        if let Some(mutant) = options.mutant {
            mutant.activate();
        }
    }
    if let Some(seed) = options.seed {
        let report = live_in_this_process(seed, wish, options.trace, seed_process);
        if options.report {
            match report_line(&report) {
                Ok(line) => println!("{line}"),
                Err(error) => println!("the report cannot be written: {error}"),
            }
        } else {
            print!("{}", describe(&report, &batch));
        }
        return if report.violation.is_none() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        };
    }
    let seeds = options.seeds.expect("one of the two is required").0;
    if run_many(&batch, seeds, options.twice) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

impl Options {
    /// What each process is told, besides which world it is to live through.
    fn arguments(&self) -> Vec<String> {
        #[cfg(feature = "mutants")]
        if let Some(mutant) = self.mutant {
            return vec!["--mutant".to_owned(), mutant.to_string()];
        }
        Vec::new()
    }
}

/// Has the randomness of the operating system follow from a seed, for this process.
fn seed_process(seed: u64) {
    mad_turmoil::rand::set_rng(StdRng::seed_from_u64(seed));
}

/// Measures, draws, and prints the table; whether everything reached everybody.
#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "figures are what this is for; how far it is goes beside them"
)]
fn scale(options: &ScaleOptions) -> ExitCode {
    let scale = Scale::new(options.stations.into(), options.seed);
    let findings = measure(scale, &mut |what| eprintln!("{what}"), seed_process);
    let drawn = findings.and_then(|findings| findings.draw(&options.out).map(|()| findings));
    match drawn {
        Ok(findings) => {
            print!("{}", findings.table());
            if findings.is_whole() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Err(why) => {
            eprintln!("tetryx-simulations: {why}");
            ExitCode::from(2)
        }
    }
}

/// Runs the seeds and says how it went; returns whether all promises held.
#[expect(clippy::print_stdout, reason = "reports are what this program is for")]
fn run_many(batch: &Batch, seeds: Range<u64>, twice: bool) -> bool {
    let mut sum = Sum::default();
    batch.run_all(seeds, |seed, report| {
        let report = match report {
            Ok(report) => report,
            Err(error) => {
                println!("{error}");
                sum.failed += 1;
                return true;
            }
        };
        if twice {
            match batch.run(seed) {
                Ok(again) if again.trace_hash == report.trace_hash => {}
                Ok(again) => {
                    println!(
                        "seed {seed} differs from itself: {} lines with hash {}, then {} lines with hash {}",
                        report.trace_lines, report.trace_hash, again.trace_lines, again.trace_hash
                    );
                    sum.failed += 1;
                }
                Err(error) => {
                    println!("{error}");
                    sum.failed += 1;
                }
            }
        }
        print!("{}", describe(&report, batch));
        sum.add(&report);
        true
    });
    print!("{}", sum.describe());
    sum.failed == 0
}

/// One line for a world whose promises held, all that is known for another.
fn describe(report: &Report, batch: &Batch) -> String {
    let Report { seed, plan, .. } = report;
    let Some(violation) = &report.violation else {
        let rest = report.converged_after.unwrap_or(Duration::ZERO);
        return format!(
            "seed {seed}: every promise held; {plan}; at rest after {} s; trace {}\n",
            rest.as_secs(),
            &report.trace_hash[..16]
        );
    };
    let last = report.last.iter().rev().take(60).rev();
    let last: String = last.map(|line| format!("    {line}\n")).collect();
    format!(
        "seed {seed}: BROKEN after {:.3} s\n  promise: {}\n  how: {}\n  world: {plan}\n  last events:\n{last}  \
         repeat it with: cargo run -p tetryx-simulations --release -- {} --trace\n",
        violation.at.as_secs_f64(),
        violation.promise,
        violation.detail,
        batch.arguments_for(*seed).join(" ")
    )
}

/// What many worlds came to.
#[derive(Default)]
struct Sum {
    worlds: u64,
    failed: u64,
    lived: Duration,
    counts: BTreeMap<String, u64>,
}

impl Sum {
    fn add(&mut self, report: &Report) {
        self.worlds += 1;
        self.failed += u64::from(report.violation.is_some());
        self.lived += report.lived;
        for (what, count) in &report.counts {
            *self.counts.entry(what.clone()).or_default() += count;
        }
    }

    fn describe(&self) -> String {
        let counts: String = self
            .counts
            .iter()
            .map(|(what, count)| format!("  {count:>12} {what}\n"))
            .collect();
        format!(
            "{} worlds, {:.1} cluster-hours, {} broken\n{counts}",
            self.worlds,
            self.lived.as_secs_f64() / 3600.0,
            self.failed
        )
    }
}
