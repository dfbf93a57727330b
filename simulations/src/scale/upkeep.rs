//! What stations do to keep in touch, while nobody asks them for anything.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tetryx_link::Service;
use tetryx_link::memory::Passage;
use tetryx_protocol::message::Message;
use tetryx_protocol::peer::PeerRequest;

use super::town::Town;

/// What is done in a minute.
#[derive(Clone, Debug)]
pub struct Upkeep {
    /// Presences that each station announces.
    pub announced: f64,
    /// Messages of gossip that each sends.
    pub sent: f64,
    /// Calls that each makes, and the bytes that go to and fro for them, by what they are for.
    pub calls: BTreeMap<&'static str, (f64, f64)>,
    /// Entries by which the log grows.
    pub entries: f64,
}

/// Calls and bytes by what they are for.
type Traffic = BTreeMap<&'static str, (u64, u64)>;

/// What was counted since it began.
pub(super) struct Counts {
    at: Duration,
    announced: u64,
    sent: u64,
    applied: u64,
    traffic: Arc<Mutex<Traffic>>,
}

impl Counts {
    pub(super) fn begin(town: &Town) -> Self {
        let gossip = town.world.gossip_mesh().tally();
        let traffic = Arc::<Mutex<Traffic>>::default();
        let counted = Arc::clone(&traffic);
        town.world
            .hub()
            .observe(Arc::new(move |passage| count(&mut counted.lock(), passage)));
        Self {
            at: town.world.now(),
            announced: gossip.announced,
            sent: gossip.sent,
            applied: town.residents[0].node().replica().applied_index(),
            traffic,
        }
    }

    /// Counts no more.
    pub(super) fn end(self, town: &Town) -> Upkeep {
        town.world.hub().observe(Arc::new(|_| {}));
        let gossip = town.world.gossip_mesh().tally();
        let applied = town.residents[0].node().replica().applied_index();
        let minutes = town.world.now().saturating_sub(self.at).as_secs_f64() / 60.0;
        let stations = f64::from(u32::try_from(town.residents.len()).unwrap_or(u32::MAX));
        let a_minute = |count: u64| f64::from(u32::try_from(count).unwrap_or(u32::MAX)) / minutes;
        let each = |count: u64| a_minute(count) / stations;
        let traffic = self.traffic.lock();
        let calls = traffic.iter();
        Upkeep {
            announced: each(gossip.announced - self.announced),
            sent: each(gossip.sent - self.sent),
            calls: calls
                .map(|(what, (calls, bytes))| (*what, (each(*calls), each(*bytes))))
                .collect(),
            entries: a_minute(applied - self.applied),
        }
    }
}

fn count(traffic: &mut Traffic, passage: &Passage) {
    let bytes = passage.body.len() as u64;
    if passage.answer {
        // The question is known no more; what answers weigh is told by the service.
        let what = match passage.service {
            Service::Rpc => "answers to members",
            _ => "answers of consensus",
        };
        traffic.entry(what).or_default().1 += bytes;
        return;
    }
    let (calls, sum) = traffic.entry(purpose(passage)).or_default();
    *calls += 1;
    *sum += bytes;
}

fn purpose(passage: &Passage) -> &'static str {
    match passage.service {
        Service::Raft if passage.body.is_empty() => "greetings",
        Service::Raft => "log and heartbeats",
        Service::RaftBulk => "snapshots",
        Service::Rpc => match passage.body.get(1..).map(PeerRequest::decode) {
            Some(Ok(PeerRequest::Roster)) => "who are the members?",
            Some(Ok(PeerRequest::Have { manifests })) if manifests.is_empty() => "are you there?",
            Some(Ok(PeerRequest::Have { .. })) => "what do you hold?",
            Some(Ok(_)) => "other questions of members",
            _ => "questions to the leader",
        },
        Service::Join => "joining",
        Service::Chunks | Service::Blobs => "chunks",
    }
}
