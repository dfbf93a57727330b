//! A collection removes nothing that is live, and a restart loses nothing that was durable.
//!
//! A station is looked at before and after: which NARs it has whole and durable, which of them it must hold by its own
//! state, what its pins protect and what its outbox waits with. In between it has collected, or was down.
//! What had to be there at both moments must be there after, unless its disk has damaged it. What the station owes to
//! nobody may go only if another machine has it whole. The same holds for what one pin protected at both moments, and
//! for the NARs of what waited in the outbox at both.

use std::collections::{BTreeMap, BTreeSet};

use tetryx_protocol::hash::{ChunkHash, ManifestHash, NarHash};
use tetryx_store::PinId;

/// What a station has, and what keeps it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Holdings {
    /// NARs that some path has, by the station's own state.
    pub(super) live: BTreeSet<NarHash>,
    /// Those among them that it must hold.
    pub(super) owed: BTreeSet<NarHash>,
    /// Those among the live ones that are whole for the store, and durable.
    pub(super) whole: BTreeSet<NarHash>,
    /// By pin: which of the chunks it protects the store has a place for.
    pub(super) pinned: BTreeMap<(PinId, u64), BTreeSet<ChunkHash>>,
    /// Chunks protected by pins that the store has no place for.
    pub(super) absent: BTreeSet<ChunkHash>,
    /// Manifests of what waits in the outbox, and whether all of it is here.
    pub(super) waiting: BTreeMap<ManifestHash, bool>,
}

/// What else decides.
pub(super) trait Besides {
    /// Whether the station's disk has damaged something of the NAR.
    fn was_hit(&self, nar: &NarHash) -> bool;
    /// Whether it has damaged something of what the manifest names.
    fn was_manifest_hit(&self, manifest: &ManifestHash) -> bool;
    /// Whether another machine has the NAR whole.
    fn is_elsewhere(&self, nar: &NarHash) -> bool;
}

/// What happened in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Between {
    Collection,
    Restart,
}

/// Judges two looks at one station.
///
/// # Errors
/// In words, how the promise is broken.
pub(super) fn judge(
    before: &Holdings,
    after: &Holdings,
    between: Between,
    besides: &impl Besides,
) -> Result<(), String> {
    for nar in before.whole.difference(&after.whole) {
        if !after.live.contains(nar) || besides.was_hit(nar) {
            continue;
        }
        if before.owed.contains(nar) && after.owed.contains(nar) {
            return Err(format!(
                "the published NAR {nar} was whole here and must be, and is not any more"
            ));
        }
        if !besides.is_elsewhere(nar) {
            return Err(format!(
                "the published NAR {nar} was whole here, is not any more, and nobody else has it whole"
            ));
        }
    }
    for (manifest, was_whole) in &before.waiting {
        if *was_whole && after.waiting.get(manifest) == Some(&false) && !besides.was_manifest_hit(manifest) {
            return Err(format!(
                "the NAR with the manifest {manifest} waits in the outbox, was whole here, and is not any more"
            ));
        }
    }
    if between == Between::Restart {
        // A crash may take what a pin protects with it: it was not durable yet.
        return Ok(());
    }
    for (pin, had) in &before.pinned {
        let Some(_) = after.pinned.get(pin) else { continue };
        if let Some(lost) = had.intersection(&after.absent).next() {
            return Err(format!(
                "the pin {} protects chunk {lost}, which was here and is not any more",
                pin.0
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{manifest, nar};
    use super::*;

    /// By the number of the NAR: what was damaged, and what others have.
    #[derive(Default)]
    struct World {
        hit: Vec<u8>,
        elsewhere: Vec<u8>,
    }

    impl Besides for World {
        fn was_hit(&self, wanted: &NarHash) -> bool {
            self.hit.iter().any(|number| nar(*number) == *wanted)
        }

        fn was_manifest_hit(&self, wanted: &ManifestHash) -> bool {
            self.hit.iter().any(|number| manifest(*number) == *wanted)
        }

        fn is_elsewhere(&self, wanted: &NarHash) -> bool {
            self.elsewhere.iter().any(|number| nar(*number) == *wanted)
        }
    }

    const PIN: (PinId, u64) = (PinId([1; 16]), 1);

    fn chunk() -> ChunkHash {
        ChunkHash::of(b"chunk")
    }

    fn with(owed: &[u8], whole: &[u8]) -> Holdings {
        Holdings {
            live: [nar(1), nar(2)].into(),
            owed: owed.iter().map(|number| nar(*number)).collect(),
            whole: whole.iter().map(|number| nar(*number)).collect(),
            ..Holdings::default()
        }
    }

    fn collected(before: &Holdings, after: &Holdings, world: &World) -> Result<(), String> {
        judge(before, after, Between::Collection, world)
    }

    #[test]
    fn a_holder_that_lost_its_copy_is_noticed() {
        let (before, after) = (with(&[1], &[1, 2]), with(&[1], &[2]));
        let others = World {
            elsewhere: vec![1, 2],
            ..World::default()
        };
        assert!(
            collected(&before, &after, &others)
                .unwrap_err()
                .contains(&nar(1).to_string())
        );
        assert!(judge(&before, &after, Between::Restart, &others).is_err());
        let damaged = World {
            hit: vec![1],
            ..World::default()
        };
        assert_eq!(collected(&before, &after, &damaged), Ok(()));
    }

    #[test]
    fn a_surplus_copy_may_go_when_it_is_not_the_last() {
        let (before, after) = (with(&[1], &[1, 2]), with(&[1], &[1]));
        let others = World {
            elsewhere: vec![2],
            ..World::default()
        };
        assert_eq!(collected(&before, &after, &others), Ok(()));
        assert!(collected(&before, &after, &World::default()).is_err());
    }

    #[test]
    fn what_was_deleted_may_go() {
        let mut after = with(&[1], &[1]);
        after.live.remove(&nar(2));
        assert_eq!(
            collected(&with(&[1, 2], &[1, 2]), &after, &World::default()),
            Ok(())
        );
    }

    #[test]
    fn a_chunk_that_a_pin_protects_is_missed_as_long_as_the_pin_is_the_same() {
        let mut before = Holdings::default();
        before.pinned.insert(PIN, [chunk()].into());
        let mut after = Holdings::default();
        after.absent.insert(chunk());
        assert_eq!(
            collected(&before, &after, &World::default()),
            Ok(()),
            "it was released"
        );
        after.pinned.insert(PIN, BTreeSet::new());
        assert!(collected(&before, &after, &World::default()).is_err());
        assert_eq!(
            judge(&before, &after, Between::Restart, &World::default()),
            Ok(())
        );
    }

    #[test]
    fn what_waits_in_the_outbox_is_missed() {
        let (mut before, mut after) = (Holdings::default(), Holdings::default());
        before.waiting.insert(manifest(1), true);
        assert_eq!(
            collected(&before, &after, &World::default()),
            Ok(()),
            "it was delivered"
        );
        after.waiting.insert(manifest(1), false);
        assert!(collected(&before, &after, &World::default()).is_err());
    }
}
