//! Operators at bad moments, beyond what a careful one does: several stations at once, and in the middle of things.

use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tetryx_store::disk::Survivors;

use super::super::{Fault, World};
use super::pace::Pace;
use super::targets;

/// How long an operator waits.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) async fn run(world: World) {
    let mut pace = Pace::new(&world, Fault::Operators);
    let mut chance = world.chance("fault operators");
    loop {
        pace.next().await;
        match chance.u8(0..5) {
            0 => restart_several(&world, &mut chance).await,
            1 => kill_while_it_stops(&world, &mut chance).await,
            2 => collect_everywhere(&world).await,
            3 => copy_everywhere(&world).await,
            _ => hand_over_and_stop(&world, &mut chance).await,
        }
    }
}

async fn restart_several(world: &World, chance: &mut fastrand::Rng) {
    let mut stations = targets::running(world);
    chance.shuffle(&mut stations);
    stations.truncate(chance.usize(0..=stations.len()));
    world.trace(format_args!("{stations:?} are restarted at once"));
    let restarts: FuturesUnordered<_> = stations
        .iter()
        .map(|station| async {
            station.stop().await;
            station.keep_up().await;
            world.count(Fault::Operators.name());
        })
        .collect();
    restarts.collect::<()>().await;
}

async fn kill_while_it_stops(world: &World, chance: &mut fastrand::Rng) {
    let Some(station) = targets::one_of(chance, &targets::running(world)) else {
        return;
    };
    let patience = Duration::from_millis(chance.u64(0..2000));
    let is_killed = tokio::time::timeout(patience, station.stop()).await.is_err();
    if is_killed {
        world.trace(format_args!("{station:?} does not stop fast enough for somebody"));
        world.count("killed while it stopped");
    }
    station.crash(Survivors::Everything);
    world.count(Fault::Operators.name());
    station.keep_up().await;
}

async fn collect_everywhere(world: &World) {
    for station in targets::running(world) {
        let Some(node) = station.node() else { continue };
        if let Ok(Ok(_)) = tokio::time::timeout(PATIENCE, node.collect_once()).await {
            world.count(Fault::Operators.name());
        }
    }
}

async fn copy_everywhere(world: &World) {
    for station in targets::running(world) {
        let Some(node) = station.node() else { continue };
        if let Ok(Ok(_)) = tokio::time::timeout(PATIENCE, node.replicate_once()).await {
            world.count(Fault::Operators.name());
        }
    }
}

/// Hands the leadership over, and stops the old leader, the heir, or both.
async fn hand_over_and_stop(world: &World, chance: &mut fastrand::Rng) {
    let stations = targets::running(world);
    let leads = |node: &tetryx_node::Node| node.replica().status().leader == Some(node.node_id());
    let leader = stations
        .iter()
        .find(|station| station.node().is_some_and(|node| leads(&node)));
    let Some((leader, node)) = leader.and_then(|leader| Some((leader, leader.node()?))) else {
        return;
    };
    let voters = node.replica().status().voters;
    let is_heir = |station: &super::super::Station| {
        station.number() != leader.number() && voters.contains(&station.node_id())
    };
    let heirs: Vec<_> = stations
        .iter()
        .filter(|station| is_heir(station))
        .cloned()
        .collect();
    let Some(heir) = targets::one_of(chance, &heirs) else {
        return;
    };
    world.trace(format_args!(
        "{leader:?} shall hand over to {heir:?}, at a bad moment"
    ));
    let handing = tokio::spawn({
        let (node, heir) = (node.clone(), heir.node_id());
        async move {
            let _ = tokio::time::timeout(PATIENCE, node.replica().transfer_leadership(heir)).await;
        }
    });
    tokio::time::sleep(Duration::from_millis(chance.u64(0..500))).await;
    let stopped: Vec<_> = match chance.u8(0..3) {
        0 => vec![leader.clone()],
        1 => vec![heir],
        _ => vec![leader.clone(), heir],
    };
    world.count(Fault::Operators.name());
    for station in &stopped {
        station.stop().await;
    }
    for station in &stopped {
        station.keep_up().await;
    }
    // It ends with its process, or by itself.
    let _ = handing.await;
}
