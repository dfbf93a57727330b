//! Cuts of links and gossip, several of which may hit the same path.
//!
//! # Invariants
//! - A path is whole again when the last cut of it has ended, and not before.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::{Fault, Station, World};

/// How often it is looked whether a cut was noticed.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A direction between two stations, by number.
type Way = (usize, usize);

/// How many cuts hit each way now.
#[derive(Debug, Default)]
pub(super) struct Cuts(BTreeMap<Way, u32>);

impl Cuts {
    /// True if the way was whole.
    fn add(&mut self, way: Way) -> bool {
        let cuts = self.0.entry(way).or_default();
        *cuts += 1;
        *cuts == 1
    }

    /// True if that was the last cut of the way.
    fn remove(&mut self, way: Way) -> bool {
        let Some(cuts) = self.0.get_mut(&way) else {
            return false;
        };
        *cuts -= 1;
        if *cuts == 0 {
            self.0.remove(&way);
            return true;
        }
        false
    }

    fn is_cut(&self, way: Way) -> bool {
        self.0.contains_key(&way)
    }

    /// All paths were mended.
    pub(super) fn forget(&mut self) {
        self.0.clear();
    }
}

/// A cut; it ends when this is dropped.
#[derive(Debug)]
struct Cut {
    world: World,
    ways: Vec<Way>,
}

impl Cut {
    fn begin(world: &World, ways: Vec<Way>) -> Self {
        for way in &ways {
            if world.trouble().cuts.lock().add(*way) {
                set(world, *way);
            }
        }
        Self {
            world: world.clone(),
            ways,
        }
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        for way in &self.ways {
            let mut cuts = self.world.trouble().cuts.lock();
            if !cuts.remove(*way) {
                continue;
            }
            let back = (way.1, way.0);
            let is_back_cut = cuts.is_cut(back);
            drop(cuts);
            let (a, b) = (self.world.station(way.0), self.world.station(way.1));
            self.world.hub().heal(a.node_id(), b.node_id());
            self.world.gossip_mesh().heal(a.node_id(), b.node_id());
            if is_back_cut {
                set(&self.world, back);
            }
        }
    }
}

fn set(world: &World, (from, to): Way) {
    let (from, to) = (world.station(from).node_id(), world.station(to).node_id());
    world.hub().cut_one_way(from, to);
    world.gossip_mesh().cut_one_way(from, to);
}

/// The ways from some stations to others.
pub(super) fn ways(from: &[Station], to: &[Station]) -> Vec<Way> {
    let pairs = from
        .iter()
        .flat_map(|a| to.iter().map(move |b| (a.number(), b.number())));
    pairs.filter(|(a, b)| a != b).collect()
}

/// Cuts the ways for a while. Counts the fault as soon as something was lost in a cut.
pub(super) async fn hold(world: &World, fault: Fault, ways: Vec<Way>, duration: Duration) {
    let lost = || world.hub().tally().cut;
    let before = lost();
    let began = world.now();
    let cut = Cut::begin(world, ways);
    let mut is_noticed = false;
    while world.now() - began < duration {
        let left = duration.saturating_sub(world.now() - began);
        if is_noticed {
            tokio::time::sleep(left).await;
            break;
        }
        tokio::time::sleep(left.min(LOOK_EVERY)).await;
        if lost() > before {
            is_noticed = true;
            world.count(fault.name());
        }
    }
    drop(cut);
    world.trace(format_args!(
        "{fault} ends, {}",
        if is_noticed { "noticed" } else { "unnoticed" }
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_is_whole_when_its_last_cut_has_ended() {
        let mut cuts = Cuts::default();
        assert!(cuts.add((0, 1)));
        assert!(!cuts.add((0, 1)));
        assert!(cuts.add((1, 0)));
        assert!(!cuts.remove((0, 1)));
        assert!(cuts.is_cut((0, 1)));
        assert!(cuts.remove((0, 1)));
        assert!(!cuts.is_cut((0, 1)));
        assert!(cuts.is_cut((1, 0)));
        cuts.forget();
        assert!(!cuts.remove((1, 0)));
    }
}
