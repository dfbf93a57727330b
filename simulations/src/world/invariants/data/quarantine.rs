//! What a disk has damaged is noticed within a round of scrubbing.
//!
//! A station is looked at now and then: what its disk has damaged and has no other record of, and what of that its store
//! still takes for intact. Once a round of scrubbing has ended that began after the damage was seen, that must be
//! nothing.

use std::collections::{BTreeMap, BTreeSet};

use tetryx_protocol::time::UtcTime;
use tetryx_store::{ChunkStore, Object};

/// One station's damage that its store knows nothing of.
#[derive(Debug, Default)]
pub(super) struct Quarantine {
    /// Each with the last round that had ended, and how many have ended since it was seen first.
    trusted: BTreeMap<Object, (Option<UtcTime>, u32)>,
}

impl Quarantine {
    /// `trusted` is damaged, and the store says it has it. `round` tells when the last round that has ended had begun.
    ///
    /// # Errors
    /// In words, how the promise is broken.
    pub(super) fn look(&mut self, trusted: &BTreeSet<Object>, round: Option<UtcTime>) -> Result<(), String> {
        self.trusted.retain(|object, _| trusted.contains(object));
        for object in trusted {
            let (last, ended) = self.trusted.entry(*object).or_insert((round, 0));
            if *last != round {
                (*last, *ended) = (round, *ended + 1);
            }
            // The first may have gone by before the damage; the second began after it.
            if *ended >= 2 {
                return Err(format!(
                    "the disk has damaged {object:?}, a whole round of scrubbing has gone by, and the store takes it \
                     for intact"
                ));
            }
        }
        Ok(())
    }
}

/// Whether the store says that it has the object. `None` if it cannot say.
pub(super) fn takes_for_intact(store: &ChunkStore, object: &Object) -> Option<bool> {
    match object {
        Object::Chunk(chunk) => store.contains(chunk).ok(),
        Object::Manifest(manifest) => store.contains_manifest(manifest).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::chunk;
    use super::*;

    fn round(number: i64) -> Option<UtcTime> {
        Some(UtcTime::from_unix_ms(number))
    }

    #[test]
    fn damage_that_a_whole_round_has_missed_is_noticed() {
        let mut check = Quarantine::default();
        let trusted = BTreeSet::from([chunk(1)]);
        assert_eq!(check.look(&trusted, None), Ok(()));
        assert_eq!(
            check.look(&trusted, round(1)),
            Ok(()),
            "it may have gone by before"
        );
        assert_eq!(check.look(&trusted, round(1)), Ok(()));
        let error = check.look(&trusted, round(2)).unwrap_err();
        assert!(error.contains("takes it for intact"), "{error}");
    }

    #[test]
    fn damage_that_was_found_or_healed_is_forgotten() {
        let mut check = Quarantine::default();
        let trusted = BTreeSet::from([chunk(1)]);
        assert_eq!(check.look(&trusted, round(1)), Ok(()));
        assert_eq!(check.look(&BTreeSet::new(), round(2)), Ok(()));
        // Damaged again.
        assert_eq!(check.look(&trusted, round(3)), Ok(()));
        assert_eq!(check.look(&trusted, round(4)), Ok(()));
    }
}
