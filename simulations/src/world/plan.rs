//! What one seed switches on: each world has a mix of its own, so that rare combinations come up too.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Something that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    Loss,
    Reordering,
    Duplicates,
    OneWayCut,
    FullCut,
    Blackout,
    Crash,
    CrashMidWrite,
    TornWrite,
    BitFlip,
    LostDisk,
    DiskFull,
    SlowDisk,
    FailingSync,
    ClockOffset,
    ClockDrift,
    Pause,
    LyingPeer,
    Membership,
    Upgrade,
    Operators,
}

impl Fault {
    pub const ALL: [Self; 21] = [
        Self::Loss,
        Self::Reordering,
        Self::Duplicates,
        Self::OneWayCut,
        Self::FullCut,
        Self::Blackout,
        Self::Crash,
        Self::CrashMidWrite,
        Self::TornWrite,
        Self::BitFlip,
        Self::LostDisk,
        Self::DiskFull,
        Self::SlowDisk,
        Self::FailingSync,
        Self::ClockOffset,
        Self::ClockDrift,
        Self::Pause,
        Self::LyingPeer,
        Self::Membership,
        Self::Upgrade,
        Self::Operators,
    ];

    /// Its name on the command line.
    fn argument(self) -> String {
        self.name().trim_start_matches("fault: ").replace([' ', '_'], "-")
    }

    /// What the coverage counts it as.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Loss => "fault: loss",
            Self::Reordering => "fault: reordering",
            Self::Duplicates => "fault: duplicates",
            Self::OneWayCut => "fault: one-way cut",
            Self::FullCut => "fault: full cut",
            Self::Blackout => "fault: blackout",
            Self::Crash => "fault: crash",
            Self::CrashMidWrite => "fault: crash in mid-write",
            Self::TornWrite => "fault: torn write",
            Self::BitFlip => "fault: bit flip",
            Self::LostDisk => "fault: lost disk",
            Self::DiskFull => "fault: full disk",
            Self::SlowDisk => "fault: slow disk",
            Self::FailingSync => "fault: failing sync",
            Self::ClockOffset => "fault: clock offset",
            Self::ClockDrift => "fault: clock drift",
            Self::Pause => "fault: pause",
            Self::LyingPeer => "fault: lying peer",
            Self::Membership => "fault: membership change",
            Self::Upgrade => "fault: rolling upgrade",
            Self::Operators => "fault: operator at a bad moment",
        }
    }

    /// How many stations a cluster must have from the beginning to go through it and keep its promises.
    const fn stations_min(self) -> usize {
        match self {
            Self::Loss
            | Self::Reordering
            | Self::Duplicates
            | Self::OneWayCut
            | Self::FullCut
            | Self::Blackout
            | Self::BitFlip => 2,
            Self::LostDisk | Self::LyingPeer => 3,
            Self::Crash
            | Self::CrashMidWrite
            | Self::TornWrite
            | Self::DiskFull
            | Self::SlowDisk
            | Self::FailingSync
            | Self::ClockOffset
            | Self::ClockDrift
            | Self::Pause
            | Self::Membership
            | Self::Upgrade
            | Self::Operators => 1,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Faults that somebody asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults(u32);

impl Faults {
    /// With one more.
    #[must_use]
    pub const fn and(self, fault: Fault) -> Self {
        Self(self.0 | 1 << fault as u32)
    }

    pub const fn has(self, fault: Fault) -> bool {
        self.0 & 1 << fault as u32 != 0
    }

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// As on the command line: `crash,full-cut`.
impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults = Fault::ALL.into_iter().filter(|fault| self.has(*fault));
        let names: Vec<String> = faults.map(Fault::argument).collect();
        f.write_str(&names.join(","))
    }
}

impl FromStr for Faults {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.split(',').try_fold(Self::default(), |faults, name| {
            let known = Fault::ALL.into_iter().find(|fault| fault.argument() == name);
            known.map(|fault| faults.and(fault)).ok_or_else(|| {
                let names = Fault::ALL.map(Fault::argument).join(", ");
                format!("there is no fault {name:?}; there are {names}")
            })
        })
    }
}

/// How far the stations are apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkClass {
    /// A few milliseconds.
    Fibre,
    /// Some tens of milliseconds, with jitter.
    Leo,
    /// 300 milliseconds one way.
    Geo,
    /// Each pair of stations draws its own.
    Mixed,
}

/// What the caller fixes; the seed draws the rest.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wish {
    pub stations: Option<usize>,
    pub hours: Option<f64>,
    /// Faults that happen in any case, where there are stations enough.
    pub with: Faults,
}

/// What happens in one world.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Stations at the beginning.
    pub stations: usize,
    /// How long faults and clients are on.
    pub duration: Duration,
    pub links: LinkClass,
    pub faults: BTreeSet<Fault>,
    /// The time between two faults, on average.
    pub fault_every: Duration,
    /// The time between two requests of one client, on average.
    pub request_every: Duration,
}

/// Draws and wishes agree on this when nobody says otherwise.
const HOURS: f64 = 1.0;

impl Plan {
    /// The plan of a seed.
    pub fn draw(chance: &mut fastrand::Rng, wish: Wish) -> Self {
        let drawn = match chance.u8(0..10) {
            0 => 1,
            1 => 2,
            2..=5 => 3,
            6..=8 => 5,
            _ => 4,
        };
        let stations = wish.stations.unwrap_or(drawn);
        let links = match chance.u8(0..8) {
            0..=3 => LinkClass::Fibre,
            4..=5 => LinkClass::Leo,
            6 => LinkClass::Geo,
            _ => LinkClass::Mixed,
        };
        let share = chance.f64() * 0.8 + 0.1;
        let drawn = Fault::ALL
            .into_iter()
            .filter(|fault| chance.f64() < share || wish.with.has(*fault));
        let faults = drawn.filter(|fault| stations >= fault.stations_min()).collect();
        let minutes = |low: u64, high: u64, chance: &mut fastrand::Rng| {
            Duration::from_secs(chance.u64(low * 60..=high * 60))
        };
        let fault_every = minutes(1, 8, chance);
        let request_every = Duration::from_secs(chance.u64(10..=60));
        Self {
            stations,
            duration: Duration::from_secs_f64(wish.hours.unwrap_or(HOURS) * 3600.0),
            links,
            faults,
            fault_every,
            request_every,
        }
    }

    pub fn has(&self, fault: Fault) -> bool {
        self.faults.contains(&fault)
    }

    /// Whether the cluster needs two copies of everything, because one may turn out to be none.
    pub fn keeps_two_copies(&self) -> bool {
        [Fault::BitFlip, Fault::LostDisk, Fault::LyingPeer]
            .into_iter()
            .any(|fault| self.has(fault))
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults: Vec<&str> = self
            .faults
            .iter()
            .map(|fault| fault.name().trim_start_matches("fault: "))
            .collect();
        write!(
            f,
            "{} stations, {:?} links, {:.2} h, a fault every {} s: {}",
            self.stations,
            self.links,
            self.duration.as_secs_f64() / 3600.0,
            self.fault_every.as_secs(),
            faults.join(", ")
        )
    }
}
