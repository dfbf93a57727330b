//! What applied the same log has the same state.
//!
//! Hashes of whole states by the index they are of: those that the stations' audits find, and those that are asked for.

use std::collections::{BTreeMap, BTreeSet};

use tetryx_state::StateHash;

#[derive(Default)]
pub(super) struct States {
    /// By index: the hash, and whose it is.
    hashes: BTreeMap<u64, (StateHash, BTreeSet<String>)>,
}

impl States {
    /// Whether a station's state at an index is what the others had there.
    pub(super) fn is_same(&mut self, station: &str, index: u64, hash: StateHash) -> Result<(), String> {
        let (known, of) = self.hashes.entry(index).or_insert((hash, BTreeSet::new()));
        if *known != hash {
            return Err(format!(
                "after entry {index} the state of {station} is {hash}, and that of {of:?} {known}"
            ));
        }
        of.insert(station.to_owned());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: StateHash = StateHash::from_bytes([1; 32]);
    const OTHER: StateHash = StateHash::from_bytes([2; 32]);

    #[test]
    fn states_of_different_entries_may_differ() {
        let mut states = States::default();
        states.is_same("a", 4, ONE).expect("it is the first");
        states.is_same("b", 5, OTHER).expect("it is of another entry");
        states.is_same("b", 4, ONE).expect("it is the same");
    }

    #[test]
    fn another_state_after_the_same_entry_is_noticed() {
        let mut states = States::default();
        states.is_same("a", 4, ONE).expect("it is the first");
        states.is_same("b", 4, OTHER).expect_err("they differ");
    }
}
