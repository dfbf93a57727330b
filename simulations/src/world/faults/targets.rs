//! Whom a fault may hit.

use std::time::Duration;

use super::super::oracle::MemberStanding;
use super::super::{Fault, Station, World};
use super::atlas::Harm;

/// The machines that belong to the cluster, or may: those that nobody asked to remove.
pub(super) fn present(world: &World) -> Vec<Station> {
    let members = world.oracle().members();
    let is_present = |station: &Station| members.standing(station.number()) != MemberStanding::Removed;
    world.stations().into_iter().filter(is_present).collect()
}

/// Those of [`present`] whose process runs.
pub(super) fn running(world: &World) -> Vec<Station> {
    let mut stations = present(world);
    stations.retain(|station| station.node().is_some());
    stations
}

/// The machines that take part and that nobody asked to leave.
pub(super) fn members(world: &World) -> Vec<Station> {
    let members = world.oracle().members();
    let is_member = |station: &Station| members.standing(station.number()) == MemberStanding::Member;
    world.stations().into_iter().filter(is_member).collect()
}

/// Those of the running machines that this may happen to. Not the founder where a disk shall be lost: that is another's,
/// and one station at a time is harmed.
pub(super) fn harmable(world: &World, harm: Harm) -> Vec<Station> {
    let members = members(world).len();
    let spares_founder = world.plan().has(Fault::LostDisk);
    let mut stations = running(world);
    stations.retain(|station| {
        (station.number() > 0 || !spares_founder)
            && world.trouble().atlas().may(station.number(), harm, members)
    });
    stations
}

/// One of several.
pub(super) fn one_of(chance: &mut fastrand::Rng, stations: &[Station]) -> Option<Station> {
    if stations.is_empty() {
        return None;
    }
    Some(stations[chance.usize(0..stations.len())].clone())
}

/// Has a machine that is down start again after a while.
pub(super) fn revive(station: &Station, after: Duration) {
    let station = station.clone();
    tokio::spawn(async move {
        tokio::time::sleep(after).await;
        station.keep_up().await;
    });
}
