//! A disk that is lost for good: its station is removed, and another one joins, as docs/operations.md says.

use std::time::Duration;

use http::Method;
use tetryx_state::query;

use super::super::{Fault, Station, World, invariants};
use super::atlas::{self, Harm};
use super::membership;
use super::pace::Pace;
use super::targets;

/// NARs looked at in one go.
const PAGE: usize = 256;
/// How often another station tries to join; each machine that cannot is thrown away.
const JOIN_TRIES: u32 = 10;
/// How long the operator takes to notice.
const NOTICED_WITHIN: Duration = Duration::from_secs(300);

pub(crate) async fn run(world: World) {
    let mut pace = Pace::new(&world, Fault::LostDisk);
    let mut chance = world.chance("fault lost disk");
    loop {
        pace.next().await;
        atlas::review(&world).await;
        let members = targets::members(&world);
        // The founder is where the world does its own business.
        let may = |station: &Station| {
            let atlas = world.trouble().atlas();
            station.number() > 0 && atlas.may(station.number(), Harm::Loss, members.len())
        };
        let candidates: Vec<Station> = members.iter().filter(|station| may(station)).cloned().collect();
        let Some(victim) = targets::one_of(&mut chance, &candidates) else {
            continue;
        };
        if !is_dispensable(&world, &victim) {
            continue;
        }
        invariants::data::look(&world);
        world.trouble().atlas().begin(victim.number(), Harm::Loss);
        world.trace(format_args!("the disk of {victim:?} is lost"));
        world.oracle().members().is_removed(victim.number());
        world.oracle().paths().station_left(victim.number());
        victim.destroy();
        world.count(Fault::LostDisk.name());
        let noticed = Duration::from_millis(chance.u64(0..NOTICED_WITHIN.as_secs() * 1000));
        // What was begun is brought to an end, also after the trouble.
        let replaced = tokio::spawn(replace(world.clone(), victim, noticed));
        if replaced.await.is_err() {
            return;
        }
    }
}

/// Whether the others have everything, each NAR whole at one of them, and a majority of those who vote.
fn is_dispensable(world: &World, victim: &Station) -> bool {
    has_copies_elsewhere(world, victim).unwrap_or(false)
}

fn has_copies_elsewhere(world: &World, victim: &Station) -> Option<bool> {
    let others: Vec<_> = targets::running(world)
        .into_iter()
        .filter(|station| station.number() != victim.number())
        .filter_map(|station| station.node())
        .collect();
    let newest = others.iter().max_by_key(|node| node.replica().applied_index())?;
    let status = newest.replica().status();
    let running = |voter: &&_| others.iter().any(|node| node.node_id() == **voter);
    if status.leader.is_none() || status.voters.iter().filter(running).count() * 2 <= status.voters.len() {
        return Some(false);
    }
    let view = newest.replica().view().ok()?;
    let mut after = None;
    loop {
        let page = query::live_manifests(&view, after.as_ref(), PAGE).ok()?;
        for (_, manifest) in &page {
            let is_whole = |store: &tetryx_store::ChunkStore| {
                store
                    .hold_nar(manifest)
                    .ok()
                    .flatten()
                    .is_some_and(|held| held.is_complete())
            };
            if !others.iter().any(|node| is_whole(node.store())) {
                return Some(false);
            }
        }
        after = page.last().map(|(nar, _)| *nar);
        if page.len() < PAGE {
            return Some(true);
        }
    }
}

/// Removes the station, and has another one join.
async fn replace(world: World, lost: Station, noticed: Duration) {
    tokio::time::sleep(noticed).await;
    let url = format!("/api/v1/members/{}", lost.node_id());
    let mut chance = world.chance(&format!("removal of station {}", lost.number()));
    membership::until_decided(&world, &mut chance, Method::DELETE, &url).await;
    world.trace(format_args!("{lost:?}, which lost its disk, is removed"));
    world.trouble().atlas().end(lost.number(), Harm::Loss);
    for _ in 0..JOIN_TRIES {
        if !world.faults_are_on() {
            return;
        }
        if membership::join(&world, &mut chance, None).await {
            world.count("station replaced");
            return;
        }
        tokio::time::sleep(NOTICED_WITHIN / JOIN_TRIES).await;
    }
}
