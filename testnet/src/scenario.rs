//! Stories of what goes wrong, each with claims that are checked: real processes, real links, a real Nix.
//!
//! A scenario is told as given / when / then. It ends at the first claim that does not hold. One that needs emulated
//! links says so where there are none, and counts as neither.

mod links;

use anyhow::{Context as _, Result, bail};

use crate::clock::Stopwatch;
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
pub const SCENARIOS: &[Scenario] = &[Scenario {
    name: "links",
    about: "no stations: the emulated links delay, lose, limit and cut as they are told",
    takes_links: true,
    run: links::run,
}];

/// What a scenario is told with, and what it stands on.
#[derive(Debug)]
pub struct Story {
    /// Namespaces, or the loopback interface.
    pub footing: Footing,
    /// All chance comes from here.
    pub seed: u64,
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

    /// Something worth knowing.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn note(&self, what: &str) -> Result<()> {
        say(&format!("        {what}"))
    }
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
        let told = (scenario.run)(&Story { footing, seed });
        let seconds = clock.seconds();
        match told {
            Ok(()) => say(&format!("   all claims hold ({seconds:.1} s)"))?,
            Err(error) => {
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
