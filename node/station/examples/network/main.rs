//! Every pass of many satellites over many stations: how long it takes, and whether it is right.
//!
//! ```sh
//! cargo run --release -p tetryx-station --example network -- --satellites 1000 --stations 20
//! cargo run --release -p tetryx-station --example network -- --catalogue active.tle --stations sites.txt --check 1000
//! ```
//! `docs/BENCHMARKS.md` has the figures; `benchmark/run.sh` takes them beside other programs.

mod brute;
mod synthetic;

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use tetryx_station::elements;
use tetryx_station::frames::EarthRotation;
use tetryx_station::mask::HorizonMask;
use tetryx_station::passes::{Network, Observer, Window};
use tetryx_station::propagator::Propagator;
use tetryx_station::site::Site;
use tetryx_station::time::SkyTime;
use tetryx_station::units::Elevation;

#[derive(Debug, Parser)]
struct Options {
    /// Elements from a file (TLE, or OMM in any form) instead of made-up ones
    #[arg(long)]
    catalogue: Option<PathBuf>,
    /// How many satellites, spread evenly over the catalogue
    #[arg(long, default_value_t = 1_000)]
    satellites: usize,
    /// How many stations, spread evenly over the Earth, or a file with LAT,LON,ALT_M on each line
    #[arg(long, default_value = "20")]
    stations: String,
    /// Use at most so many of the file's stations
    #[arg(long, default_value_t = usize::MAX)]
    stations_max: usize,
    /// Hours from the start
    #[arg(long, default_value_t = 24.0)]
    hours: f64,
    /// The window's start [default: the latest epoch of the catalogue, to the hour]
    #[arg(long)]
    from: Option<SkyTime>,
    /// Degrees
    #[arg(long, default_value_t = 5.0)]
    mask: f64,
    /// Repeat the search, and tell the fastest
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Compare so many satellites with SGP4 every 10 s and bisection
    #[arg(long, default_value_t = 0)]
    check: usize,
    /// Write the elements (TLE), the stations and the passes into this folder, for other programs
    #[arg(long)]
    write: Option<PathBuf>,
}

#[expect(clippy::disallowed_methods, reason = "it measures")]
fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let result = work();
    (result, start.elapsed())
}

#[expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a program that reads files and prints figures"
)]
fn main() -> Result<()> {
    let options = Options::parse();
    let text = match &options.catalogue {
        Some(path) => fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?,
        None => synthetic::catalogue(options.satellites),
    };
    let (read, reading) = timed(|| elements::read(&text));
    let (good, bad): (Vec<_>, Vec<_>) = read.into_iter().partition(Result::is_ok);
    println!(
        "{} element sets read in {reading:.2?}, {} refused",
        good.len(),
        bad.len()
    );
    let all: Vec<_> = good.into_iter().flatten().collect();
    let step = (all.len() / options.satellites.max(1)).max(1);
    let chosen: Vec<_> = all.into_iter().step_by(step).take(options.satellites).collect();
    let latest = chosen
        .iter()
        .map(|elements| elements.epoch)
        .max()
        .context("no satellites")?;
    let hour = 3_600_000_000_000;
    let start = options
        .from
        .unwrap_or_else(|| SkyTime::from_unix_ns(latest.unix_ns().div_euclid(hour) * hour));
    let mut sites = match options.stations.parse::<usize>() {
        Ok(count) => synthetic::sites(count),
        Err(_) => fs::read_to_string(&options.stations)
            .with_context(|| format!("cannot read {}", options.stations))?
            .lines()
            .map(|line| line.parse::<Site>())
            .collect::<Result<_, _>>()?,
    };
    sites.truncate(options.stations_max);
    let mask = HorizonMask::flat(Elevation::from_degrees(options.mask)?);
    let observers: Vec<_> = sites
        .iter()
        .map(|site| Observer {
            site: *site,
            mask: mask.clone(),
        })
        .collect();
    let network = Network::new(observers);
    let window = Window::new(start, options.hours, EarthRotation::default())?;
    let propagators: Vec<_> = chosen
        .iter()
        .map(|elements| Propagator::new(elements).map_err(anyhow::Error::msg))
        .collect::<Result<_>>()?;
    println!(
        "{} satellites x {} stations x {} h above {}° from {start}, {} threads",
        propagators.len(),
        sites.len(),
        options.hours,
        options.mask,
        rayon::current_num_threads()
    );

    let mut best = Duration::MAX;
    let mut count = 0;
    for _ in 0..options.rounds.max(1) {
        count = 0;
        let ((), took) =
            timed(|| network.passes(&propagators, &window, |target| count += target.passes.len()));
        best = best.min(took);
    }
    println!("every pass: {count} in {best:.3?}");
    let ((), sampling) = timed(|| network_of_none(&propagators, &window));
    println!("sampling the satellites alone: {sampling:.3?}");

    if let Some(folder) = &options.write {
        fs::create_dir_all(folder)?;
        let mut file = std::io::BufWriter::new(fs::File::create(folder.join("elements.tle"))?);
        for elements in &chosen {
            let lines: Vec<_> = elements.source.lines().collect();
            let [.., one, two] = lines[..] else {
                bail!("only a TLE catalogue can be written")
            };
            writeln!(file, "{one}\n{two}")?;
        }
        let mut file = std::io::BufWriter::new(fs::File::create(folder.join("stations.txt"))?);
        for site in &sites {
            writeln!(file, "{site}")?;
        }
        fs::write(
            folder.join("window.txt"),
            format!("{start} {} {}\n", options.hours, options.mask),
        )?;
        let mut file = std::io::BufWriter::new(fs::File::create(folder.join("passes.csv"))?);
        let seconds = |time: SkyTime| time.seconds_since(start);
        network.passes(&propagators, &window, |target| {
            for (station, pass) in target.passes {
                let edge = |sight: Option<tetryx_station::passes::Sight>| {
                    sight.map_or(String::new(), |sight| format!("{:.6}", seconds(sight.time)))
                };
                drop(writeln!(
                    file,
                    "{},{station},{},{:.6},{},{:.6}",
                    target.satellite,
                    edge(pass.aos),
                    seconds(pass.tca.time),
                    edge(pass.los),
                    pass.tca.direction.elevation.degrees()
                ));
            }
        });
    }
    if let Some(step) = propagators.len().checked_div(options.check) {
        let step = step.max(1);
        let some: Vec<_> = propagators
            .iter()
            .step_by(step)
            .take(options.check)
            .cloned()
            .collect();
        print!("{}", brute::compare(&some, &network, &window, options.mask));
    }
    Ok(())
}

/// What is left when no station looks.
fn network_of_none(propagators: &[Propagator], window: &Window) {
    Network::new(Vec::new()).passes(propagators, window, |_| ());
}
