//! Stories of what goes wrong, each with claims that are checked: real processes, real links, a real Nix.
//!
//! A scenario is told as given / when / then. It ends at the first claim that does not hold. One that needs emulated
//! links says so where there are none, and counts as neither.

mod asymmetric_cut;
mod blackout;
mod broken_promise;
mod corrupted_segment;
mod expired;
mod five_at_once;
mod full_disk;
mod geo;
mod leader_killed;
mod links;
mod majority;
mod minority;
mod paused;
mod removed;
mod rolling_restart;
mod scrubbed;
mod wiped;

use anyhow::{Context as _, Result, bail};

use crate::clock::Stopwatch;
use crate::cluster::{AGREEMENT, AUDIT_EVERY, Cluster, Complaints, Ledger, Shape, name};
use crate::enclosure::Footing;
use crate::talk::say;

/// One story.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// What it is called on the command line.
    pub name: &'static str,
    /// What happens in it, in one line.
    pub about: &'static str,
    /// Whether it takes emulated links.
    pub takes_links: bool,
    run: fn(&Story) -> Result<()>,
}

/// All there are.
pub const SCENARIOS: &[Scenario] = &[
    scenario(
        "links",
        "no stations: the emulated links delay, lose, limit and cut as they are told",
        true,
        links::run,
    ),
    scenario(
        "broken-promise",
        "one station: what is promised and then deleted on purpose is noticed",
        false,
        broken_promise::run,
    ),
    scenario(
        "leader-killed",
        "the leader is killed (SIGKILL) under a stream of pushes, and comes back",
        false,
        leader_killed::run,
    ),
    scenario(
        "minority",
        "the leader is cut off from the two others, takes pushes for later, and comes back",
        true,
        minority::run,
    ),
    scenario(
        "majority",
        "no station reaches any other: all serve and take pushes for later; then the links heal",
        true,
        majority::run,
    ),
    scenario(
        "paused",
        "the leader stands still for 20 s (SIGSTOP), and goes on as if nothing had happened",
        false,
        paused::run,
    ),
    scenario(
        "wiped",
        "a station loses its disk, and joins again under a new key",
        false,
        wiped::run,
    ),
    scenario(
        "full-disk",
        "the disk of one station is full, and the others go on",
        true,
        full_disk::run,
    ),
    scenario(
        "blackout",
        "a station is away while 200 paths are pushed, and comes back",
        true,
        blackout::run,
    ),
    scenario(
        "geo",
        "two of five stations are behind geostationary links: 600 ms, 1 % loss, 10 Mbit/s",
        true,
        geo::run,
    ),
    scenario(
        "asymmetric-cut",
        "a station is heard and does not hear, then hears and is not heard",
        true,
        asymmetric_cut::run,
    ),
    scenario(
        "rolling-restart",
        "every station is restarted in turn, under a stream of pushes",
        false,
        rolling_restart::run,
    ),
    scenario(
        "corrupted-segment",
        "a pack segment of one station is damaged, and healed from the others",
        false,
        corrupted_segment::run,
    ),
    scenario(
        "scrubbed",
        "bits flip on the disk of one station, and a scrub finds and heals them",
        false,
        scrubbed::run,
    ),
    scenario(
        "expired",
        "all paths of a cache expire, then half of them, and their space comes back everywhere",
        false,
        expired::run,
    ),
    scenario(
        "removed",
        "a station that was removed keeps knocking",
        false,
        removed::run,
    ),
    scenario(
        "five-at-once",
        "four stations join a fifth at the same time",
        false,
        five_at_once::run,
    ),
];

const fn scenario(
    name: &'static str,
    about: &'static str,
    takes_links: bool,
    run: fn(&Story) -> Result<()>,
) -> Scenario {
    Scenario {
        name,
        about,
        takes_links,
        run,
    }
}

/// What stations are told: how patient elections are, and to compare their states often.
fn config(profile: &str) -> String {
    format!("[p2p]\nmdns = false\n\n[raft]\nprofile = \"{profile}\"\naudit_every = {AUDIT_EVERY}\n")
}

/// What a scenario is told with, and what it stands on.
#[derive(Debug)]
pub struct Story {
    /// Namespaces, or the loopback interface.
    pub footing: Footing,
    /// All chance comes from here.
    pub seed: u64,
    complaints: Complaints,
}

impl Story {
    /// How things are.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn given(&self, what: &str) -> Result<()> {
        say(&format!("   given {what}"))
    }

    /// What happens.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn when(&self, what: &str) -> Result<()> {
        say(&format!("   when {what}"))
    }

    /// What must be so: `check` finds out.
    ///
    /// # Errors
    /// When it is not.
    pub fn then<T>(&self, claim: &str, check: impl FnOnce() -> Result<T>) -> Result<T> {
        let found = check().with_context(|| format!("the claim does not hold: {claim}"))?;
        say(&format!("   then {claim}"))?;
        Ok(found)
    }

    /// A cluster of stations on quick links, with a cache.
    ///
    /// # Errors
    /// When it does not come up.
    fn cluster(&self, stations: usize) -> Result<Cluster> {
        self.given(&format!("a cluster of {stations} stations"))?;
        let cluster = Cluster::start(self.shape(stations))?;
        cluster.make_cache()?;
        Ok(cluster)
    }

    /// What such a cluster is made of.
    fn shape(&self, stations: usize) -> Shape {
        Shape {
            config: Some(config("lan")),
            complaints: self.complaints.clone(),
            ..Shape::new(stations, self.footing, self.seed)
        }
    }

    /// The claims that end every story: the running stations agree, and what was promised is kept.
    ///
    /// # Errors
    /// When one does not hold.
    fn ends_well(&self, cluster: &Cluster, ledger: &Ledger) -> Result<()> {
        self.then(
            "the stations come to agree: one leader, one list, equal hashes of the state",
            || cluster.agree_audited(AGREEMENT),
        )?;
        self.kept(cluster, ledger, &cluster.running())
    }

    /// The claim that what was promised is kept at these stations.
    ///
    /// # Errors
    /// When it does not hold.
    fn kept(&self, cluster: &Cluster, ledger: &Ledger, stations: &[usize]) -> Result<()> {
        self.then(
            &format!(
                "Nix gets all {} paths that were promised from {}, bit for bit",
                ledger.len(),
                names(stations)
            ),
            || ledger.expect_kept(cluster, stations),
        )
    }

    /// Something worth knowing.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn note(&self, what: &str) -> Result<()> {
        say(&format!("        {what}"))
    }
}

/// Stations as people call them.
fn names(stations: &[usize]) -> String {
    let names: Vec<_> = stations.iter().map(|number| name(*number)).collect();
    match names.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
        None => "nobody".to_owned(),
    }
}

/// All but one.
fn others(cluster: &Cluster, one: usize) -> Vec<usize> {
    (0..cluster.len()).filter(|number| *number != one).collect()
}

/// Lists the scenarios.
///
/// # Errors
/// When standard output cannot be written.
pub fn list() -> Result<()> {
    let width = SCENARIOS
        .iter()
        .map(|scenario| scenario.name.len())
        .max()
        .unwrap_or(0);
    for scenario in SCENARIOS {
        say(&format!("{:width$}  {}", scenario.name, scenario.about))?;
    }
    Ok(())
}

/// Checks that a name given on the command line is one.
///
/// # Errors
/// When it is not.
pub fn find(name: &str) -> Result<Vec<&'static Scenario>> {
    if name == "all" {
        return Ok(SCENARIOS.iter().collect());
    }
    let found: Vec<_> = SCENARIOS
        .iter()
        .filter(|scenario| scenario.name == name)
        .collect();
    if found.is_empty() {
        bail!("there is no scenario '{name}'; 'scenario list' shows them, and 'all' runs every one");
    }
    Ok(found)
}

/// Tells a scenario, or all of them.
///
/// # Errors
/// When a claim does not hold, with the command that repeats it.
pub fn run(name: &str, footing: Footing, seed: u64) -> Result<()> {
    let mut failed = Vec::new();
    for scenario in find(name)? {
        say(&format!("{}: {}", scenario.name, scenario.about))?;
        if scenario.takes_links && footing == Footing::Loopback {
            say("   NOT TESTED: this takes emulated links, and there are none on this machine")?;
            continue;
        }
        let clock = Stopwatch::start();
        let complaints = Complaints::default();
        let told = (scenario.run)(&Story {
            footing,
            seed,
            complaints: complaints.clone(),
        });
        let seconds = clock.seconds();
        match told {
            Ok(()) => say(&format!("   all claims hold ({seconds:.1} s)"))?,
            Err(error) => {
                for line in complaints.lines() {
                    say(&format!("   | {line}"))?;
                }
                say(&format!("   FAILED after {seconds:.1} s: {error:#}"))?;
                say(&format!(
                    "   repeat with: tetryx-testnet scenario {} --seed {seed}",
                    scenario.name
                ))?;
                failed.push(scenario.name);
            }
        }
    }
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}
