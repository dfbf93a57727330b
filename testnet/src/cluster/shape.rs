//! What a cluster is made of, and what is left of it to tell when it is gone.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use crate::enclosure::Footing;

/// What a cluster is made of.
#[derive(Clone, Debug)]
pub struct Shape {
    /// How many stations.
    pub stations: usize,
    /// How many hosts; those without a station are for later.
    pub hosts: usize,
    /// What they stand on.
    pub footing: Footing,
    /// All chance of the links comes from here.
    pub seed: u64,
    /// The configuration file of each station; nothing: what a first start writes.
    pub config: Option<String>,
    /// Where a station keeps its data, other than in its home.
    pub data_dirs: BTreeMap<usize, PathBuf>,
    /// Where the last complaints of the stations go when the cluster ends.
    pub complaints: Complaints,
}

/// What stations complained of last, for whoever wants to know why something failed.
#[derive(Clone, Debug, Default)]
pub struct Complaints(Arc<Mutex<Vec<String>>>);

impl Complaints {
    /// All lines, station after station.
    pub fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn add(&self, lines: impl IntoIterator<Item = String>) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(lines);
    }
}

impl Shape {
    /// So many stations, each with the configuration that a first start writes.
    pub fn new(stations: usize, footing: Footing, seed: u64) -> Self {
        Self {
            stations,
            hosts: stations,
            footing,
            seed,
            config: None,
            data_dirs: BTreeMap::new(),
            complaints: Complaints::default(),
        }
    }
}
