//! Who applied which entry of the log when.

use std::collections::BTreeMap;
use std::time::Duration;

use tetryx_protocol::grant::Grants;
use tetryx_protocol::id::TokenId;
use tetryx_protocol::time::UtcTime;
use tetryx_state::command::RegisterToken;

use super::town::Town;

/// Between two looks: how exact the figures are.
const LOOK: Duration = Duration::from_millis(10);
/// How long everybody may take to apply an entry.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two commits.
const PAUSE: Duration = Duration::from_secs(2);

/// Since when each station has applied each entry.
pub(super) struct Following {
    last: Vec<u64>,
    /// By entry, then by station.
    since: BTreeMap<u64, Vec<Option<Duration>>>,
}

impl Following {
    pub(super) fn from_now(town: &Town) -> Self {
        let last = town.residents.iter().map(|r| r.node().replica().applied_index());
        Self {
            last: last.collect(),
            since: BTreeMap::new(),
        }
    }

    pub(super) fn look(&mut self, town: &Town) {
        let now = town.world.now();
        for (at, resident) in town.residents.iter().enumerate() {
            let applied = resident.node().replica().applied_index();
            for index in self.last[at] + 1..=applied {
                let stations = self
                    .since
                    .entry(index)
                    .or_insert_with(|| vec![None; town.residents.len()]);
                stations[at] = Some(now);
            }
            self.last[at] = self.last[at].max(applied);
        }
    }

    /// Whether a station has applied the entry.
    pub(super) fn has(&self, at: usize, index: u64) -> bool {
        self.last[at] >= index
    }

    /// When a station applied the entry, as far as it was looked at.
    pub(super) fn when(&self, at: usize, index: u64) -> Option<Duration> {
        self.since.get(&index).and_then(|stations| stations[at])
    }

    fn all_have(&self, index: u64) -> bool {
        (0..self.last.len()).all(|at| self.has(at, index))
    }
}

/// Commits something at a station; its index in the log.
pub(super) async fn commit(town: &Town, at: usize, number: u64) -> Result<u64, String> {
    let node = town.residents[at].node();
    let mut id = [0; 16];
    town.world.chance(&format!("token {number}")).fill(&mut id);
    let issued = node.clock().utc();
    let register = RegisterToken {
        token: TokenId::from_bytes(id),
        subject: format!("token {number}"),
        grants: Grants::default(),
        issued,
        expires: UtcTime::from_unix_ms(issued.unix_ms() + 3_600_000),
    };
    let proposed = node.propose("scale", register).await;
    proposed.map(|(index, _)| index).map_err(|error| error.chain())
}

/// Commits so many times, each time at another station; the delay of each station each time, with the station.
pub(super) async fn watch_commits(town: &Town, times: u64) -> Result<Vec<(usize, Option<Duration>)>, String> {
    let mut chance = town.world.chance("who commits");
    let mut delays = Vec::new();
    for number in 0..times {
        let proposer = chance.usize(0..town.residents.len());
        let mut following = Following::from_now(town);
        let began = town.world.now();
        let mut committing = std::pin::pin!(commit(town, proposer, number));
        let mut index = None;
        while town.world.now() < began + PATIENCE {
            tokio::select! {
                biased;
                committed = &mut committing, if index.is_none() => index = Some(committed?),
                () = tokio::time::sleep(LOOK) => {}
            }
            following.look(town);
            if index.is_some_and(|index| following.all_have(index)) {
                break;
            }
        }
        let index = index.ok_or_else(|| format!("commit {number} is not decided"))?;
        for at in 0..town.residents.len() {
            let delay = following.when(at, index).map(|when| when.saturating_sub(began));
            delays.push((at, delay));
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(delays)
}
