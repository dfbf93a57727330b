//! Who the members are, as far as this node knows.
//!
//! Three sources: the replicated state, once it is here; the last roster that was written to disk; and what other
//! members say when this node asks. The newest wins, by epoch and then by the index of the log.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tetryx_gossip::GossipRoster;
use tetryx_link::{Admission, LinkSettings, Roster};
use tetryx_protocol::id::{ClusterId, NodeId};
use tetryx_protocol::member::{MemberState, RosterEntry};
use tokio::sync::{Notify, watch};

use super::roster_file::{RosterFile, Snapshot};
use crate::NodeError;
use crate::config::P2p;

/// The memory of who the members are. Everybody who talks to others asks it; answers come from memory.
pub struct NodeRoster {
    own: NodeId,
    p2p: P2p,
    file: Option<RosterFile>,
    known: RwLock<Option<Known>>,
    slowest_rtt: Mutex<Option<Duration>>,
    /// Counts changes.
    version: watch::Sender<u64>,
    knock: Notify,
}

#[derive(Clone)]
struct Known {
    cluster: ClusterId,
    epoch: u64,
    index: u64,
    has_state: bool,
    members: BTreeMap<NodeId, RosterEntry>,
}

/// How a node stands with its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It belongs to none, or the roster does not name it yet.
    Unknown,
    /// It is a member.
    Member(MemberState),
}

impl NodeRoster {
    /// The roster of a node without a file: it knows nobody until it is told.
    pub fn in_memory(own: NodeId, p2p: P2p) -> Self {
        Self {
            own,
            p2p,
            file: None,
            known: RwLock::new(None),
            slowest_rtt: Mutex::default(),
            version: watch::Sender::new(0),
            knock: Notify::new(),
        }
    }

    /// The roster that was written when the node last ran.
    pub(crate) fn load(own: NodeId, p2p: P2p, file: RosterFile) -> Result<Self, NodeError> {
        let snapshot = file.load()?;
        let slowest_rtt = snapshot.as_ref().and_then(|snapshot| snapshot.slowest_rtt_ms);
        let known = snapshot.map(|snapshot| Known {
            cluster: snapshot.cluster,
            epoch: snapshot.epoch,
            index: snapshot.index,
            has_state: snapshot.has_state,
            members: by_id(snapshot.members),
        });
        Ok(Self {
            file: Some(file),
            known: RwLock::new(known),
            slowest_rtt: Mutex::new(slowest_rtt.map(Duration::from_millis)),
            ..Self::in_memory(own, p2p)
        })
    }

    /// This node.
    pub fn own(&self) -> NodeId {
        self.own
    }

    /// All members, removed ones included, by id.
    pub fn entries(&self) -> Vec<RosterEntry> {
        let known = self.known.read();
        known
            .iter()
            .flat_map(|known| known.members.values().cloned())
            .collect()
    }

    /// The members that were not removed, this node included, by id.
    pub fn members(&self) -> Vec<RosterEntry> {
        self.current(|entry| Some(entry.clone()))
    }

    /// The members besides this node that were not removed.
    pub fn others(&self) -> Vec<NodeId> {
        self.current(|entry| (entry.node != self.own).then_some(entry.node))
    }

    /// What is wanted of the members that were not removed, by id.
    fn current<T>(&self, wanted: impl Fn(&RosterEntry) -> Option<T>) -> Vec<T> {
        let known = self.known.read();
        let entries = known.iter().flat_map(|known| known.members.values());
        entries
            .filter(|entry| !entry.state.is_removed())
            .filter_map(wanted)
            .collect()
    }

    /// What is known about a member, removed or not.
    pub fn member(&self, node: NodeId) -> Option<RosterEntry> {
        self.known.read().as_ref()?.members.get(&node).cloned()
    }

    /// A member's name for people; the beginning of its id if it is not known.
    pub fn name(&self, node: NodeId) -> String {
        self.member(node)
            .map_or_else(|| node.fmt_short(), |entry| entry.name)
    }

    /// How this node stands with its cluster.
    pub fn standing(&self) -> Standing {
        self.member(self.own)
            .map_or(Standing::Unknown, |entry| Standing::Member(entry.state))
    }

    /// Whether this node ever had the cluster's state.
    pub(crate) fn has_state(&self) -> bool {
        self.known.read().as_ref().is_some_and(|known| known.has_state)
    }

    /// The round trip of the slowest link to a member, as last noted.
    pub(crate) fn slowest_rtt(&self) -> Option<Duration> {
        *self.slowest_rtt.lock()
    }

    /// Notes how slow the slowest link to a member is, for the next start.
    pub(crate) fn note_rtt(&self, slowest: Duration) {
        // Whole milliseconds, at least one: what is written is what is compared next time.
        let slowest = Duration::from_millis(u64::try_from(slowest.as_millis()).unwrap_or(u64::MAX).max(1));
        let before = self.slowest_rtt.lock().replace(slowest);
        let profile = |rtt: Duration| tetryx_raft::Profile::for_rtt(rtt);
        if before.map(profile) == Some(profile(slowest)) {
            return;
        }
        let known = self.known.read().clone();
        if let Some(known) = known {
            self.save(known);
        }
    }

    /// Changes whenever the roster does.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// Resolves when an unknown node has knocked.
    pub(crate) async fn knocks(&self) {
        self.knock.notified().await;
    }

    /// Takes over what is newer than what is known, and says whether anything was. A roster of another cluster
    /// changes nothing.
    pub fn learn(&self, cluster: ClusterId, epoch: u64, index: u64, members: Vec<RosterEntry>) -> bool {
        self.update(cluster, epoch, index, members, false)
    }

    /// [`Self::learn`] from this node's own replica.
    pub(crate) fn learn_from_state(
        &self,
        cluster: ClusterId,
        epoch: u64,
        index: u64,
        members: Vec<RosterEntry>,
    ) -> bool {
        self.update(cluster, epoch, index, members, true)
    }

    fn update(
        &self,
        cluster: ClusterId,
        epoch: u64,
        index: u64,
        members: Vec<RosterEntry>,
        has_state: bool,
    ) -> bool {
        let mut news = Known {
            cluster,
            epoch,
            index,
            has_state,
            members: by_id(members),
        };
        let saved = {
            let mut known = self.known.write();
            if let Some(known) = known.as_mut() {
                if known.cluster != cluster {
                    tracing::warn!(
                        %cluster, ours = %known.cluster,
                        "a roster of another cluster is ignored"
                    );
                    return false;
                }
                let older = (epoch, index) < (known.epoch, known.index);
                news.has_state |= known.has_state;
                if older && news.has_state == known.has_state {
                    return false;
                }
                if older {
                    known.has_state = news.has_state;
                    news = known.clone();
                }
                let same = known.epoch == news.epoch
                    && known.members == news.members
                    && known.has_state == news.has_state;
                if same && !older {
                    // Not worth a write to the disk.
                    known.index = index;
                    return false;
                }
            }
            *known = Some(news.clone());
            news
        };
        self.save(saved);
        self.version.send_modify(|version| *version += 1);
        true
    }

    fn slowest_rtt_ms(&self) -> Option<u64> {
        let rtt = self.slowest_rtt()?;
        Some(u64::try_from(rtt.as_millis()).unwrap_or(u64::MAX))
    }

    /// A roster that cannot be written costs a slower start, not the service.
    fn save(&self, known: Known) {
        let Some(file) = &self.file else {
            return;
        };
        let members = known.members.into_values().collect();
        let snapshot = Snapshot::new(
            known.cluster,
            known.epoch,
            known.index,
            known.has_state,
            self.slowest_rtt_ms(),
            members,
        );
        if let Err(error) = file.save(&snapshot) {
            tracing::warn!(error = error.chain(), "the roster could not be written");
        }
    }

    /// Writes what was learned of a cluster that was just joined; here the file must be there afterwards.
    pub(crate) fn join(
        &self,
        cluster: ClusterId,
        epoch: u64,
        index: u64,
        members: Vec<RosterEntry>,
    ) -> Result<(), NodeError> {
        if let Some(file) = &self.file {
            let rtt = self.slowest_rtt_ms();
            file.save(&Snapshot::new(cluster, epoch, index, false, rtt, members.clone()))?;
        }
        self.learn(cluster, epoch, index, members);
        Ok(())
    }

    fn configured(&self, node: NodeId) -> LinkSettings {
        let entry = self.member(node);
        let fits = |link: &&crate::config::LinkOverride| {
            let named = |wanted: &String| {
                *wanted == node.to_string() || entry.as_ref().is_some_and(|entry| entry.name == *wanted)
            };
            link.node.as_ref().is_none_or(named)
                && link
                    .zone
                    .as_ref()
                    .is_none_or(|zone| entry.as_ref().is_some_and(|entry| entry.zone == zone.as_str()))
        };
        let special = self.p2p.links.iter().find(fits);
        let rate = special.and_then(|link| link.rate).or(self.p2p.rate);
        let rtt: Option<Duration> = special.and_then(|link| link.rtt).or(self.p2p.rtt);
        LinkSettings {
            rate: rate.map(crate::config::Rate::bits_per_second),
            rtt,
            ..LinkSettings::default()
        }
    }
}

fn by_id(members: Vec<RosterEntry>) -> BTreeMap<NodeId, RosterEntry> {
    members.into_iter().map(|entry| (entry.node, entry)).collect()
}

impl fmt::Debug for NodeRoster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let members = self.known.read().as_ref().map(|known| known.members.len());
        f.debug_struct("NodeRoster")
            .field("own", &self.own)
            .field("members", &members)
            .finish_non_exhaustive()
    }
}

impl Roster for NodeRoster {
    fn cluster(&self) -> Option<(ClusterId, u64)> {
        let known = self.known.read();
        known.as_ref().map(|known| (known.cluster, known.epoch))
    }

    fn admission(&self, node: NodeId) -> Admission {
        // Asked for each call, whose sender must not wait for a copy of the record.
        let known = self.known.read();
        match known.as_ref().and_then(|known| known.members.get(&node)) {
            Some(entry) if entry.state.is_removed() => Admission::Removed,
            Some(_) => Admission::Member,
            None => Admission::Unknown,
        }
    }

    fn addresses(&self, node: NodeId) -> Vec<String> {
        self.member(node).map(|entry| entry.addresses).unwrap_or_default()
    }

    fn link_settings(&self, node: NodeId) -> LinkSettings {
        self.configured(node)
    }

    fn knocked(&self, node: NodeId) {
        tracing::debug!(node = node.fmt_short(), "an unknown node knocked");
        self.knock.notify_one();
    }
}

impl GossipRoster for NodeRoster {
    fn members(&self) -> Vec<(NodeId, Vec<String>)> {
        self.current(|entry| Some((entry.node, entry.gossip.clone())))
    }

    fn version(&self) -> Option<u64> {
        Some(*self.version.borrow())
    }

    fn is_member(&self, node: NodeId) -> bool {
        self.admission(node) == Admission::Member
    }
}

/// So that an `Arc` of it is a roster by itself.
impl NodeRoster {
    /// The roster as an endpoint takes it.
    pub fn as_roster(self: &Arc<Self>) -> Arc<dyn Roster> {
        Arc::clone(self) as _
    }
}

#[cfg(test)]
mod tests {
    use tetryx_protocol::member::Role;
    use tetryx_protocol::time::UtcTime;

    use super::*;
    use crate::config::{LinkOverride, Rate};

    const CLUSTER: ClusterId = ClusterId::from_bytes([9; 16]);

    fn id(number: u8) -> NodeId {
        NodeId::from_bytes([number; 32])
    }

    fn entry(number: u8, zone: &str) -> RosterEntry {
        RosterEntry {
            node: id(number),
            name: format!("station-{number}"),
            zone: zone.to_owned(),
            addresses: vec![format!("192.0.2.{number}:4480")],
            gossip: Vec::new(),
            http_url: None,
            weight: 100,
            state: MemberState::Active,
            role: Role::Voter,
        }
    }

    fn removed(number: u8) -> RosterEntry {
        let at = UtcTime::from_unix_ms(1);
        RosterEntry {
            state: MemberState::Removed { at },
            ..entry(number, "z")
        }
    }

    fn roster() -> NodeRoster {
        NodeRoster::in_memory(id(1), P2p::default())
    }

    #[test]
    fn a_removed_node_is_refused_and_an_unknown_one_is_unknown() {
        let roster = roster();
        roster.learn(CLUSTER, 1, 5, vec![entry(1, "z"), entry(2, "z"), removed(3)]);
        assert_eq!(roster.admission(id(2)), Admission::Member);
        assert_eq!(roster.admission(id(3)), Admission::Removed);
        assert_eq!(roster.admission(id(4)), Admission::Unknown);
        assert_eq!(roster.others(), [id(2)]);
    }

    #[test]
    fn an_older_roster_does_not_bring_a_removed_node_back() {
        let roster = roster();
        roster.learn(CLUSTER, 1, 5, vec![removed(3)]);
        assert!(!roster.learn(CLUSTER, 1, 4, vec![entry(3, "z")]));
        assert_eq!(roster.admission(id(3)), Admission::Removed);
    }

    #[test]
    fn a_newer_epoch_goes_before_a_longer_log() {
        let roster = roster();
        roster.learn(CLUSTER, 1, 500, vec![entry(2, "z")]);
        assert!(roster.learn(CLUSTER, 2, 5, vec![entry(3, "z")]));
        assert_eq!(roster.cluster(), Some((CLUSTER, 2)));
        assert_eq!(roster.admission(id(2)), Admission::Unknown);
    }

    #[test]
    fn the_roster_of_another_cluster_changes_nothing() {
        let roster = roster();
        roster.learn(CLUSTER, 1, 5, vec![entry(2, "z")]);
        assert!(!roster.learn(ClusterId::from_bytes([8; 16]), 9, 9, vec![entry(3, "z")]));
        assert_eq!(roster.others(), [id(2)]);
    }

    #[test]
    fn what_was_learned_is_there_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let open = || NodeRoster::load(id(1), P2p::default(), RosterFile::in_dir(dir.path())).unwrap();
        let first = open();
        first.learn(CLUSTER, 1, 5, vec![entry(2, "z")]);
        assert!(!first.has_state());
        first.learn_from_state(CLUSTER, 1, 5, vec![entry(2, "z")]);
        let second = open();
        assert_eq!(second.addresses(id(2)), ["192.0.2.2:4480"]);
        assert!(second.has_state());
    }

    #[test]
    fn own_state_that_lags_behind_what_others_said_does_not_undo_it() {
        let roster = roster();
        roster.learn(CLUSTER, 1, 9, vec![entry(2, "z"), entry(3, "z")]);
        roster.learn_from_state(CLUSTER, 1, 5, vec![entry(2, "z")]);
        assert_eq!(roster.others(), [id(2), id(3)]);
        assert!(roster.has_state());
    }

    #[test]
    fn the_first_link_that_fits_says_rate_and_round_trip() {
        let rate = |mbit: u64| Some(Rate::from_bits_per_second(mbit * 1_000_000));
        let p2p = P2p {
            rate: rate(100),
            links: vec![
                LinkOverride {
                    node: Some("station-3".to_owned()),
                    rate: rate(1),
                    ..LinkOverride::default()
                },
                LinkOverride {
                    zone: Some("geo".parse().unwrap()),
                    rate: rate(10),
                    rtt: Some(Duration::from_millis(600)),
                    ..LinkOverride::default()
                },
            ],
            ..P2p::default()
        };
        let roster = NodeRoster::in_memory(id(1), p2p);
        roster.learn(
            CLUSTER,
            1,
            5,
            vec![entry(2, "geo"), entry(3, "geo"), entry(4, "fibre")],
        );
        let settings = |number| roster.link_settings(id(number));
        assert_eq!(settings(2).rate, Some(10_000_000));
        assert_eq!(settings(2).rtt, Some(Duration::from_millis(600)));
        assert_eq!(settings(3).rate, Some(1_000_000));
        assert_eq!(settings(4).rate, Some(100_000_000));
        assert_eq!(settings(4).rtt, None);
    }
}
