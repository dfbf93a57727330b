//! Many stations as one cluster: a few that vote, the others learn; some behind geostationary satellites.

use std::time::Duration;

use futures::future::join_all;
use tetryx_link::memory::Conditions;
use tetryx_node::Node;
use tetryx_node::config::{Config, RaftProfile, Size};
use tetryx_protocol::api::{CreateInviteRequest, CreateInviteResponse};
use tetryx_protocol::grant::Grants;

use super::Scale;
use crate::world::{Outcome, Station, World};

/// Stations that join at one time.
const JOIN_AT_ONCE: usize = 8;
/// How long a node takes to notice that another one is gone.
const NOTICED_AFTER: Duration = Duration::from_secs(10);
const TEN_YEARS: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// How a station reaches the others. What lies between two stations is the sum of both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Fibre,
    Leo,
    Geo,
}

impl Access {
    fn conditions(self) -> Conditions {
        let (latency_ms, jitter_ms, loss_permille, rate) = match self {
            Self::Fibre => (5, 1, 0, None),
            Self::Leo => (20, 10, 2, Some(12_500_000)),
            Self::Geo => (300, 30, 10, Some(2_500_000)),
        };
        Conditions {
            latency: Duration::from_millis(latency_ms),
            jitter: Duration::from_millis(jitter_ms),
            loss_permille,
            rate,
            ..Conditions::default()
        }
    }

    fn with(self, other: Self) -> Conditions {
        let (a, b) = (self.conditions(), other.conditions());
        Conditions {
            latency: a.latency + b.latency,
            jitter: a.jitter + b.jitter,
            loss_permille: a.loss_permille + b.loss_permille,
            rate: a.rate.into_iter().chain(b.rate).min(),
            ..Conditions::default()
        }
    }
}

/// One of the many.
#[derive(Clone, Debug)]
pub(super) struct Resident {
    pub(super) station: Station,
    pub(super) access: Access,
    pub(super) votes: bool,
}

impl Resident {
    pub(super) fn node(&self) -> Node {
        self.station.node().expect("nobody stops a station here")
    }

    pub(super) fn is_far(&self) -> bool {
        self.access == Access::Geo
    }
}

/// The cluster.
pub(super) struct Town {
    pub(super) world: World,
    pub(super) residents: Vec<Resident>,
    /// A token that may do everything.
    pub(super) root: String,
}

impl Town {
    /// Founds the cluster; everybody joins it.
    pub(super) async fn build(scale: &Scale) -> Result<Self, String> {
        let world = World::quiet(scale.seed);
        world.hub().set_failure_after(NOTICED_AFTER);
        let mut secret = [0; 32];
        world.chance("the cluster's secret").fill(&mut secret);
        let founder = world.settle(config(0), Some(secret));
        founder.start().await?;
        let node = founder.node().ok_or("the founder is down")?;
        let root = node.issue_token("scale", "root".to_owned(), TEN_YEARS, Grants::admin());
        let (root, _) = root.await.map_err(|error| error.chain())?;
        let mut town = Self {
            world,
            residents: Vec::new(),
            root,
        };
        town.move_in(founder, Access::Fibre, true);
        let accesses = town.draw_accesses(scale);
        for group in accesses.chunks(JOIN_AT_ONCE) {
            town.grow(group, scale.voters).await?;
        }
        Ok(town)
    }

    /// How the stations after the first reach the others: the voters by fibre, of all stations 30 % by geostationary
    /// satellites, every fourth of the rest by low ones.
    fn draw_accesses(&self, scale: &Scale) -> Vec<Access> {
        let voters = scale.voters - 1;
        let others = scale.stations.saturating_sub(scale.voters);
        let far = (scale.stations * 3 / 10).min(others);
        let mut accesses = vec![Access::Geo; far];
        accesses.extend((far..others).map(|at| if at % 4 == 0 { Access::Leo } else { Access::Fibre }));
        self.world.chance("who is far").shuffle(&mut accesses);
        [vec![Access::Fibre; voters.min(scale.stations - 1)], accesses].concat()
    }

    async fn grow(&mut self, accesses: &[Access], voters: usize) -> Result<(), String> {
        let mut joining = Vec::new();
        for access in accesses {
            let votes = self.residents.len() < voters;
            let ticket = self.invite(votes).await?;
            let station = self.world.settle(config(self.residents.len()), None);
            self.move_in(station.clone(), *access, votes);
            let world = self.world.clone();
            joining.push(async move {
                let joined = world.admit(&station, &ticket).await;
                joined.map_err(|why| format!("{} does not join: {why}", station.name()))
            });
        }
        join_all(joining).await.into_iter().collect()
    }

    async fn invite(&self, voter: bool) -> Result<String, String> {
        let request = CreateInviteRequest {
            zone: None,
            expires_seconds: 3600,
            voter,
        };
        let body = serde_json::to_vec(&request).map_err(|error| error.to_string())?;
        let request = crate::request(http::Method::POST, "/api/v1/invites", Some(&self.root))
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(body.into())
            .map_err(|error| error.to_string())?;
        match self.residents[0].station.send(request).await {
            Outcome::Answer(answer) if answer.status.is_success() => {
                Ok(answer.json::<CreateInviteResponse>().ticket)
            }
            other => Err(format!("no invitation: {other:?}")),
        }
    }

    /// Gives a station its place, and the links to everybody before it.
    fn move_in(&mut self, station: Station, access: Access, votes: bool) {
        for other in &self.residents {
            let (a, b) = (other.station.node_id(), station.node_id());
            let conditions = other.access.with(access);
            self.world.hub().set_weather(a, b, conditions);
            let gossip = tetryx_gossip::memory::Conditions {
                latency: conditions.latency,
                jitter: conditions.jitter,
                loss_permille: conditions.loss_permille,
                duplicate_permille: 0,
            };
            self.world.gossip_mesh().set_conditions(a, b, gossip);
        }
        self.residents.push(Resident {
            station,
            access,
            votes,
        });
    }

    /// Waits until everybody has applied what the first station has, and nobody lacks a copy.
    pub(super) async fn come_to_rest(&self, patience: Duration) -> Result<(), String> {
        let index = self.residents[0].node().replica().applied_index();
        let all = join_all(self.residents.iter().map(|resident| async move {
            let applied = resident.node().replica().wait_applied(index).await;
            applied
                .map(drop)
                .map_err(|error| format!("{}: {error}", resident.station.name()))
        }));
        let applied = tokio::time::timeout(patience, all).await;
        let applied = applied.map_err(|_| "the stations do not catch up".to_owned())?;
        applied.into_iter().collect()
    }

    /// Cuts these off from everybody, or puts an end to that.
    pub(super) fn set_away(&self, away: &[usize], is_away: bool) {
        let id = |at: usize| self.residents[at].station.node_id();
        for one in away {
            for other in (0..self.residents.len()).filter(|other| other != one) {
                let (one, other) = (id(*one), id(other));
                if is_away {
                    self.world.hub().cut(one, other);
                    self.world.gossip_mesh().cut(one, other);
                } else {
                    self.world.hub().heal(one, other);
                    self.world.gossip_mesh().heal(one, other);
                }
            }
        }
    }

    /// A third of the stations, with fewer voters than could stop the cluster.
    pub(super) fn draw_third(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (1..self.residents.len()).collect();
        self.world.chance("who goes away").shuffle(&mut order);
        let voters = self.residents.iter().filter(|resident| resident.votes).count();
        let mut spare = (voters - 1) / 2;
        order.retain(|at| {
            let votes = self.residents[*at].votes;
            let taken = !votes || spare > 0;
            spare -= usize::from(votes && taken);
            taken
        });
        order.truncate(self.residents.len() / 3);
        order.sort_unstable();
        order
    }
}

/// Small, and for links of any kind.
fn config(number: usize) -> Config {
    let mut config = Config {
        name: Some(format!("station-{number}")),
        zone: format!("zone-{}", number % 7).parse().expect("a zone's name"),
        ..Config::default()
    };
    config.raft.profile = RaftProfile::Geo;
    config.store.segment_size = Size::mib(1);
    config
}
