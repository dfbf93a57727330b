//! The end of the trouble: faults cease, everything starts, and the cluster has a limited time to come to rest.

use std::time::Duration;

use axum::body::Body;
use http::{Method, StatusCode};
use tetryx_protocol::api::OutboxReport;
use tetryx_state::query;
use tetryx_state::records::MemberState;

use super::{Outcome, Promise, Station, World, faults, weather};

/// How long the cluster may take to come to rest. The slowest part is a holder that was away: its copies count as lost
/// only after `replication.repair_after`, at most ten minutes here, and over links of 600 ms they take their time.
const REST_WITHIN: Duration = Duration::from_secs(60 * 60);

/// Ends the faults, starts every machine that belongs to the cluster, and waits until all of them agree and owe nobody
/// anything. Returns how long that took; if it takes too long, a promise is broken.
pub(super) async fn come_to_rest(world: &World) -> Option<Duration> {
    world.inner.calm.send_replace(true);
    world.trace("calm");
    let began = world.now();
    weather::clear(world);
    faults::end(world);
    for station in world.stations() {
        let up = station.clone();
        tokio::spawn(async move { up.keep_up().await });
    }
    let mut why = "nobody looked".to_owned();
    while world.now() - began < REST_WITHIN {
        match unrest(world).await {
            None => return Some(world.now() - began),
            Some(reason) => why = reason,
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    world.violated(
        Promise::Converges,
        format!(
            "not at rest {} s after the last fault: {why}",
            REST_WITHIN.as_secs()
        ),
    );
    None
}

/// The machines that should serve: those that are members by the newest state of any station.
///
/// # Errors
/// That nobody has a state.
pub(super) fn members(world: &World) -> Result<Vec<Station>, String> {
    let running = world.stations().into_iter().filter_map(|station| station.node());
    let newest = running.max_by_key(|node| node.replica().applied_index());
    let newest = newest.ok_or("no station is up")?;
    let view = newest.replica().view().map_err(|error| error.chain())?;
    let members = query::members(&view).map_err(|error| error.to_string())?;
    let is_member = |station: &Station| {
        let mut rows = members.iter();
        rows.any(|(node, row)| {
            *node == station.node_id() && !matches!(row.state, MemberState::Removed { .. })
        })
    };
    Ok(world.stations().into_iter().filter(is_member).collect())
}

/// Why the cluster is not at rest, if so.
async fn unrest(world: &World) -> Option<String> {
    let members = match members(world) {
        Ok(members) => members,
        Err(why) => return Some(why),
    };
    let mut indices = Vec::new();
    for station in &members {
        let Some(node) = station.node() else {
            return Some(format!("{station:?} is down"));
        };
        let status = node.replica().status();
        if status.leader.is_none() {
            return Some(format!("{station:?} knows no leader"));
        }
        if !node.replica().is_caught_up() {
            return Some(format!("{station:?} has not proved its state fresh"));
        }
        match waiting(world, station).await {
            Ok(0) => {}
            Ok(waiting) => return Some(format!("{waiting} paths wait in the outbox of {station:?}")),
            Err(why) => return Some(why),
        }
        indices.push(node.replica().applied_index());
    }
    if indices.iter().any(|index| *index != indices[0]) {
        return Some(format!("the stations have applied up to {indices:?}"));
    }
    // Where a station has no room for its copies, the judgement at rest says which may be missing.
    let nodes = || members.iter().filter_map(Station::node);
    let some_are_tight = nodes().any(|node| node.config().store.quota.is_some());
    for station in &members {
        let Some(node) = station.node() else { continue };
        match node.replicate_once().await {
            Ok(report) if report.figures.under_replicated.nars > 0 && !some_are_tight => {
                return Some(format!(
                    "{station:?} counts {} NARs with too few copies",
                    report.figures.under_replicated.nars
                ));
            }
            Ok(_) => {}
            Err(error) => {
                return Some(format!(
                    "{station:?} cannot look at its copies: {}",
                    error.chain()
                ));
            }
        }
    }
    None
}

/// How many paths wait in a station's outbox.
///
/// # Errors
/// That it does not say.
async fn waiting(world: &World, station: &Station) -> Result<u64, String> {
    let request = crate::request(Method::GET, "/api/v1/outbox", Some(world.root())).body(Body::empty());
    match station.send(request.expect("a request without a body")).await {
        Outcome::Answer(answer) if answer.status == StatusCode::OK => {
            Ok(answer.json::<OutboxReport>().counts.waiting)
        }
        other => Err(format!(
            "{station:?} does not say what its outbox holds: {other:?}"
        )),
    }
}
