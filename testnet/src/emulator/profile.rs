//! Links with a name.

use std::time::Duration;

use clap::ValueEnum;

use super::link::LinkSettings;

/// What a link is like, by the way it goes. The figures are for one direction: a round trip takes two delays.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Profile {
    /// A wire between two machines of a room: no delay, no loss, no limit
    Lan,
    /// A fibre between two sites of a continent: 10 ms, 1 Gbit/s
    Fibre,
    /// Over satellites in low orbit: 25 ms and up to 10 ms more, 0.3 % loss, 100 Mbit/s
    Leo,
    /// Over a satellite in geostationary orbit: 300 ms, 1 % loss, 10 Mbit/s
    Geo,
    /// Nothing passes
    Cut,
}

impl Profile {
    /// The settings of one direction.
    pub fn settings(self) -> LinkSettings {
        let wire = LinkSettings::default();
        match self {
            Self::Lan => wire,
            Self::Fibre => LinkSettings {
                delay: Duration::from_millis(10),
                rate: Some(1_000_000_000),
                burst: 64 << 10,
                queue: 2 << 20,
                ..wire
            },
            Self::Leo => LinkSettings {
                delay: Duration::from_millis(25),
                jitter: Duration::from_millis(10),
                loss: 0.003,
                rate: Some(100_000_000),
                queue: 1 << 20,
                ..wire
            },
            Self::Geo => LinkSettings {
                delay: Duration::from_millis(300),
                loss: 0.01,
                rate: Some(10_000_000),
                // About 400 ms at this rate, as modems for such links have.
                queue: 512 << 10,
                ..wire
            },
            Self::Cut => LinkSettings { cut: true, ..wire },
        }
    }
}
