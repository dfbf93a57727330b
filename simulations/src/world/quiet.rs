//! A world in which nothing goes wrong and nobody asks for anything: for measurements.

use tetryx_node::config::Config;
use tetryx_raft::Compaction;
use tetryx_state::command::FEATURE_LEVEL;

use super::station::Machine;
use super::{Station, Wish, World};

impl World {
    /// A world without stations, clients and faults.
    pub(crate) fn quiet(seed: u64) -> Self {
        Self::new(seed, Wish::default(), false)
    }

    /// A new machine, with the cluster's secret if it shall found it. Its links are perfect until they are changed.
    pub(crate) fn settle(&self, config: Config, secret: Option<[u8; 32]>) -> Station {
        let machine = Machine {
            number: self.station_count(),
            config,
            compaction: Compaction::default(),
            feature_level: FEATURE_LEVEL,
            secret,
        };
        let station = Station::new(self, machine);
        self.inner.stations.lock().push(station.clone());
        station
    }

    /// Has a machine join with a ticket.
    ///
    /// # Errors
    /// Why it is not a member.
    pub(crate) async fn admit(&self, station: &Station, ticket: &str) -> Result<(), String> {
        let ticket = ticket.parse().map_err(|error| format!("the ticket: {error}"))?;
        station.join(&ticket).await
    }
}
