//! The life of a world: founding, hours of trouble, calm, and the judgement.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tetryx_node::config::{Config, RaftProfile, Size};
use tetryx_protocol::grant::Grants;
use tetryx_raft::Compaction;

use super::clients::Clients;
use super::station::Machine;
use super::{
    LinkClass, Outcome, Promise, Report, Station, Wish, World, calm, faults, invariants, logs, weather,
};

/// How long a cluster may take to be founded.
const FOUNDING_PATIENCE: Duration = Duration::from_secs(30 * 60);
/// A world of this length or longer exercises every fault that its seed drew.
const EXERCISED_WITHIN: Duration = Duration::from_secs(3600);

/// Lives through the world of a seed, on this thread.
///
/// The hidden randomness of the process must be repeatable already ([`crate::runner`]).
pub fn live(seed: u64, wish: Wish, is_traced: bool) -> Report {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime of one thread");
    runtime.block_on(async {
        let world = World::new(seed, wish, is_traced);
        let _logs = logs::listen(&world);
        world.trace(format_args!("seed {seed}: {}", world.plan()));
        let failed = world.inner.failed.clone();
        let converged_after = failed.run_until_cancelled(run(&world)).await.flatten();
        logs::judge_panics(&world);
        report(&world, converged_after)
    })
}

/// All phases; returns how long the world took to come to rest, if it did.
async fn run(world: &World) -> Option<Duration> {
    let watch = tokio::spawn({
        let world = world.clone();
        async move {
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                logs::judge_panics(&world);
            }
        }
    });
    let _checks = invariants::watch(world);
    let founded = async {
        found(world).await?;
        Clients::prepare(world).await
    };
    let mut clients = match tokio::time::timeout(FOUNDING_PATIENCE, founded).await {
        Ok(Ok(clients)) => clients,
        Ok(Err(why)) => {
            world.violated(Promise::Converges, format!("the cluster is not founded: {why}"));
            return None;
        }
        Err(_) => {
            world.violated(
                Promise::Converges,
                "the cluster is not founded in time".to_owned(),
            );
            return None;
        }
    };
    world.inner.calm.send_replace(false);
    world.trace("the trouble begins");
    clients.begin(world);
    let injectors = faults::start(world);
    tokio::time::sleep(world.plan().duration).await;
    until_exercised(world).await;
    drop(injectors);
    let mut rested = calm::come_to_rest(world).await;
    if rested.is_some() {
        // What the last of them asked for may have to be brought to rest, too.
        clients.finished(world).await;
        rested = calm::come_to_rest(world).await.and(rested);
        clients.verify(world).await;
        invariants::raft::look_at_rest(world).await;
        invariants::data::at_rest(world).await;
    }
    if let Some(after) = rested {
        world.trace(format_args!("at rest after {} s", after.as_secs()));
        weather::count(world);
        let missing = missing(world);
        if !missing.is_empty() && world.plan().duration >= EXERCISED_WITHIN {
            world.violated(
                Promise::Exercised,
                format!("never happened: {}", missing.join(", ")),
            );
        }
    }
    watch.abort();
    rested
}

/// The faults of the plan that never happened.
fn missing(world: &World) -> Vec<&'static str> {
    let claimed = world.plan().faults.iter().map(|fault| fault.name());
    world.inner.coverage.missing(claimed)
}

/// Goes on with a long world until each fault of its plan has happened: some wait for one another's end.
async fn until_exercised(world: &World) {
    let duration = world.plan().duration;
    if duration < EXERCISED_WITHIN {
        return;
    }
    let ends = world.now() + duration;
    while world.now() < ends && !missing(world).is_empty() {
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
}

/// Founds the cluster and has the other stations join it.
pub(super) async fn found(world: &World) -> Result<(), String> {
    let mut secret = [0; 32];
    world.chance("the cluster's secret").fill(&mut secret);
    let founder = world.build(Some(secret));
    founder.start().await?;
    let node = founder.node().ok_or("it is down again")?;
    let ten_years = Duration::from_secs(10 * 365 * 24 * 3600);
    let issued = node.issue_token("world", "root".to_owned(), ten_years, Grants::admin());
    let (root, _) = issued.await.map_err(|error| error.chain())?;
    world.inner.root.set(root).map_err(|_| "it was founded already")?;
    for _ in 1..world.plan().stations {
        let ticket = invite(world, &founder).await?;
        world.add_station(&ticket).await?;
    }
    Ok(())
}

/// A ticket, from a station's API.
async fn invite(world: &World, at: &Station) -> Result<String, String> {
    let body = serde_json::json!({ "expires_seconds": 3600, "voter": true });
    let request = crate::request(http::Method::POST, "/api/v1/invites", Some(world.root()))
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(body.to_string().into())
        .map_err(|error| error.to_string())?;
    match at.send(request).await {
        Outcome::Answer(answer) if answer.status.is_success() => {
            let ticket = answer.json::<serde_json::Value>();
            Ok(ticket["ticket"].as_str().unwrap_or_default().to_owned())
        }
        other => Err(format!("no invitation: {other:?}")),
    }
}

impl World {
    /// A new machine, in the world but not in the cluster yet unless it has the secret.
    fn build(&self, secret: Option<[u8; 32]>) -> Station {
        let number = self.station_count();
        let mut chance = self.chance(&format!("configuration of station {number}"));
        let machine = Machine {
            number,
            config: self.config(number, &mut chance),
            compaction: Compaction {
                keep: chance.u64(5..100),
                every: chance.u64(10..50),
            },
            feature_level: self.inner.release.load(Ordering::Relaxed),
            secret,
        };
        let station = Station::new(self, machine);
        self.inner.stations.lock().push(station.clone());
        weather::set_for(self, &station);
        station
    }

    /// Has a new station join with a ticket.
    ///
    /// # Errors
    /// Why it is not a member. Its machine stays in the world.
    pub async fn add_station(&self, ticket: &str) -> Result<Station, String> {
        let ticket = ticket.parse().map_err(|error| format!("the ticket: {error}"))?;
        let station = self.build(None);
        station.join(&ticket).await?;
        Ok(station)
    }

    /// What an operator with little room and no patience would configure: everything happens often.
    fn config(&self, number: usize, chance: &mut fastrand::Rng) -> Config {
        let mut config = Config {
            name: Some(format!("station-{number}")),
            zone: format!("zone-{}", chance.u8(0..3))
                .parse()
                .expect("a zone's name"),
            ..Config::default()
        };
        // One choice for the whole world.
        let mut common = self.chance("configuration");
        config.replication.copies = common.u8(1..=3);
        if self.plan().keeps_two_copies() {
            config.replication.copies = config.replication.copies.max(2);
        }
        config.raft.audit_every = common.u64(5..50);
        let measured = common.bool();
        config.raft.profile = match self.plan().links {
            _ if measured => RaftProfile::Auto,
            LinkClass::Fibre => RaftProfile::Lan,
            LinkClass::Leo => RaftProfile::Wan,
            LinkClass::Geo | LinkClass::Mixed => RaftProfile::Geo,
        };
        config.replication.repair_after = Duration::from_secs(common.u64(60..600));
        config.replication.keep_surplus = Duration::from_secs(common.u64(0..1200));
        config.gc.interval = Duration::from_secs(common.u64(120..3600));
        config.uploads.session_ttl = Duration::from_secs(common.u64(600..3600));
        config.store.segment_size = Size::mib(chance.u64(1..8));
        config.scrub.period = Duration::from_secs(common.u64(600..3600));
        let (has_tight, tight, quota) = (common.u8(0..3) == 0, common.usize(1..3), common.u64(16..40));
        // Where bytes are harmed, somebody waits until nobody lacks a copy.
        let has_room = self.plan().stations < 3 || self.plan().keeps_two_copies();
        if has_tight && !has_room && number == tight {
            config.store.segment_size = Size::mib(1);
            config.store.quota = Some(Size::mib(quota));
        }
        config
    }
}

fn report(world: &World, converged_after: Option<Duration>) -> Report {
    let (trace_hash, trace_lines) = world.inner.trace.digest();
    let violation = world.inner.violation.lock().clone();
    let counts = world.inner.coverage.counts();
    Report {
        seed: world.seed(),
        plan: world.plan().to_string(),
        lived: world.now(),
        stations: world.station_count(),
        last: match violation {
            Some(_) => world.inner.trace.last(),
            None => Vec::new(),
        },
        violation,
        trace_hash,
        trace_lines,
        counts: counts
            .into_iter()
            .map(|(what, count)| (what.to_owned(), count))
            .collect(),
        converged_after,
    }
}
