//! Who knows which presence since when.

use std::collections::BTreeMap;
use std::time::Duration;

use tetryx_environment::Clock;
use tetryx_gossip::Seen;

use super::town::Town;

/// Between two looks; a station announces itself once a second at the most, so none goes by unseen.
const LOOK: Duration = Duration::from_millis(400);
/// Stations whose presences are followed at the most.
const AUTHORS_MAX: usize = 40;

/// A presence as one station heard it, in the world's time.
#[derive(Clone, Copy, Debug)]
struct Heard {
    seq: u64,
    made: Duration,
    heard: Duration,
}

/// What every station heard of some, since it was first asked.
pub(super) struct Listening {
    authors: Vec<usize>,
    /// By listener and author.
    heard: BTreeMap<(usize, usize), Vec<Heard>>,
}

impl Listening {
    /// To a sample of the stations.
    pub(super) fn to_some(town: &Town) -> Self {
        let mut authors: Vec<usize> = (0..town.residents.len()).collect();
        town.world.chance("who is listened to").shuffle(&mut authors);
        authors.truncate(AUTHORS_MAX);
        Self::to(authors)
    }

    pub(super) fn to(authors: Vec<usize>) -> Self {
        Self {
            authors,
            heard: BTreeMap::new(),
        }
    }

    /// Notes what is new to each station.
    pub(super) fn look(&mut self, town: &Town) {
        let now = town.world.now();
        for (listener, resident) in town.residents.iter().enumerate() {
            let clock = resident.station.clock();
            let (elapsed, utc_ms) = (clock.elapsed(), clock.utc().unix_ms());
            let presences = resident.node().presences();
            for author in self.authors.iter().filter(|author| **author != listener) {
                let Some(seen) = presences.get(&town.residents[*author].station.node_id()) else {
                    continue;
                };
                let known = self.heard.entry((listener, *author)).or_default();
                if known.last().is_none_or(|last| last.seq < seen.presence.seq) {
                    known.push(Heard {
                        seq: seen.presence.seq,
                        made: made(seen, utc_ms, now),
                        heard: now.saturating_sub(seen.age(elapsed)),
                    });
                }
            }
        }
    }

    /// Looks for a while.
    pub(super) async fn look_for(&mut self, town: &Town, time: Duration) {
        let until = town.world.now() + time;
        while town.world.now() < until {
            tokio::time::sleep(LOOK).await;
            self.look(town);
        }
    }

    /// For each presence that was made in this time, and each station in `listeners`: after how long it knew that one
    /// or a later one.
    pub(super) fn delays(
        &self,
        made: std::ops::Range<Duration>,
        listeners: impl Fn(usize) -> bool,
    ) -> Vec<Option<Duration>> {
        let mut announced: BTreeMap<(usize, u64), Duration> = BTreeMap::new();
        for ((_, author), heard) in &self.heard {
            for one in heard.iter().filter(|one| made.contains(&one.made)) {
                announced.insert((*author, one.seq), one.made);
            }
        }
        let pairs = self
            .heard
            .iter()
            .filter(|((listener, _), _)| listeners(*listener));
        let mut delays = Vec::new();
        for ((_, author), heard) in pairs {
            for ((_, seq), made) in announced.range((*author, 0)..=(*author, u64::MAX)) {
                let known = heard.iter().filter(|one| one.seq >= *seq);
                let first = known.map(|one| one.heard).min();
                delays.push(first.map(|first| first.saturating_sub(*made)));
            }
        }
        delays
    }

    /// For each pair of stations that `counts`, listener and author: how long after `since` the one heard a presence
    /// that the other had made after it.
    pub(super) fn delays_since(
        &self,
        town: &Town,
        since: Duration,
        counts: impl Fn(usize, usize) -> bool,
    ) -> Vec<Option<Duration>> {
        let mut delays = Vec::new();
        for listener in 0..town.residents.len() {
            for author in self.authors.iter().filter(|author| **author != listener) {
                if counts(listener, *author) {
                    let heard = self.heard.get(&(listener, *author));
                    let anew = heard.into_iter().flatten().find(|one| one.made >= since);
                    delays.push(anew.map(|one| one.heard.saturating_sub(since)));
                }
            }
        }
        delays
    }
}

/// When a presence was made, in the world's time: nobody's clock is wrong here.
fn made(seen: &Seen, utc_ms_now: i64, now: Duration) -> Duration {
    let age_ms = utc_ms_now.saturating_sub(seen.presence.at.unix_ms());
    now.saturating_sub(Duration::from_millis(u64::try_from(age_ms).unwrap_or(0)))
}
