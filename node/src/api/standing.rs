//! How the cluster is, in figures and in plain sentences: what is safe, and how old what is shown may be.
//!
//! The sentences are a pure function of [`Facts`]; they claim nothing that is not known here.

use std::time::Duration;

use bytesize::ByteSize;
use tetryx_protocol::api::{MembersSummary, OutboxCounts, ReadLevel};
use tetryx_protocol::member::MemberState;
use tetryx_raft::ReplicaStatus;

use crate::Node;
use crate::replication::Figures;

/// The age up to which what is shown counts as current: a few heartbeats of the slowest profile.
const CURRENT: Duration = Duration::from_secs(10);

/// What the sentences are made of.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    pub(super) members: MembersSummary,
    /// The names of the members that are not heard now.
    pub(super) silent: Vec<String>,
    pub(super) voters: u64,
    pub(super) has_leader: bool,
    /// How old the state may be; `None` if that cannot be told.
    pub(super) age: Option<Duration>,
    pub(super) copies: Figures,
    pub(super) outbox: OutboxCounts,
    pub(super) is_draining: bool,
    /// Chunks and manifests on this node's disk that are known to be corrupt.
    pub(super) damaged: u64,
}

impl Facts {
    pub(super) fn gather(node: &Node, replica: &ReplicaStatus, outbox: OutboxCounts, damaged: u64) -> Self {
        let members = node.roster().members();
        let heard = node.heard_now();
        let is_draining = |state: &MemberState| state.is_draining();
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        Self {
            members: MembersSummary {
                total: count(members.len()),
                reachable: count(heard.len()),
                draining: count(members.iter().filter(|member| is_draining(&member.state)).count()),
            },
            silent: members
                .iter()
                .filter(|member| !heard.contains(&member.node))
                .map(|member| member.name.clone())
                .collect(),
            voters: count(replica.voters.len()),
            has_leader: replica.leader.is_some(),
            age: node.replica().freshness().age,
            copies: node.replication().figures(),
            outbox,
            is_draining: members
                .iter()
                .any(|member| member.node == node.node_id() && is_draining(&member.state)),
            damaged,
        }
    }

    /// The strongest read that can be answered now.
    pub(super) fn read_level(&self) -> ReadLevel {
        match self.age {
            Some(age) if self.has_leader && age < CURRENT => ReadLevel::Strong,
            Some(_) => ReadLevel::Bounded,
            None => ReadLevel::Any,
        }
    }

    /// What a person should know, most important first.
    pub(super) fn sentences(&self) -> Vec<String> {
        let mut sentences = vec![self.about_changes()];
        sentences.extend(self.about_age());
        sentences.push(self.about_copies());
        sentences.extend(self.about_members());
        sentences.extend(self.about_outbox());
        sentences.extend(self.about_leaving());
        sentences.extend(self.about_damage());
        sentences
    }

    fn about_changes(&self) -> String {
        let voters = self.voters;
        match (self.has_leader, voters) {
            (false, _) => format!(
                "No majority of the {} is reached: nothing can be changed now; what is here is served.",
                counted(voters, "voter")
            ),
            (true, 0 | 1) if self.members.total <= 1 => {
                "This node is alone: what it has acknowledged is safe as long as its disk is.".to_owned()
            }
            (true, 0 | 1) => "One node alone votes: while it is away, nothing can be changed.".to_owned(),
            (true, _) => {
                let losses = (voters - 1) / 2;
                let any = if losses == 1 {
                    "any one".to_owned()
                } else {
                    format!("any {losses}")
                };
                format!("Every acknowledged change survives the loss of {any} of the {voters} voters.")
            }
        }
    }

    fn about_age(&self) -> Option<String> {
        match self.age {
            None => Some(
                "How old the state shown here is cannot be told: this node has not reached a majority since it started."
                    .to_owned(),
            ),
            Some(age) if age >= CURRENT => Some(format!("The state shown here may be {} old.", for_people(age))),
            Some(_) => None,
        }
    }

    fn about_copies(&self) -> String {
        let few = self.copies.under_replicated;
        let fewer = match few.nars {
            0 => return "Every NAR has as many copies as it should.".to_owned(),
            1 => "has fewer copies than it should",
            _ => "have fewer copies than they should",
        };
        format!(
            "{} ({}) {fewer}, or a holder does not answer; {} to move.",
            counted(few.nars, "NAR"),
            ByteSize(few.bytes),
            ByteSize(self.copies.bytes_to_move),
        )
    }

    fn about_members(&self) -> Option<String> {
        let names = self.silent.join(", ");
        let (silent, total) = (self.silent.len(), self.members.total);
        (silent > 0).then(|| {
            let verb = if silent == 1 { "is" } else { "are" };
            format!("{silent} of {total} members {verb} not heard: {names}.")
        })
    }

    fn about_outbox(&self) -> Vec<String> {
        let mut sentences = Vec::new();
        let OutboxCounts { waiting, refused, .. } = self.outbox;
        if waiting > 0 {
            sentences.push(format!(
                "{} pushed here for the cluster to hear of: until then only this disk is sure to have what is new.",
                if waiting == 1 { "1 path was".to_owned() } else { format!("{waiting} paths were") },
            ));
        }
        if refused > 0 {
            sentences.push(format!(
                "The cluster refused {} that this node took while it was cut off; 'tetryx-cli outbox' says why.",
                counted(refused, "path")
            ));
        }
        sentences
    }

    fn about_leaving(&self) -> Option<String> {
        let left = self.copies.to_hand_over;
        self.is_draining.then(|| match left.nars {
            0 => "This node is being drained and has nothing left to hand over.".to_owned(),
            nars => format!(
                "This node is being drained: {} ({}) to hand over before it may be removed.",
                counted(nars, "NAR"),
                ByteSize(left.bytes)
            ),
        })
    }

    fn about_damage(&self) -> Option<String> {
        (self.damaged > 0).then(|| {
            format!(
                "{} on this disk {} damaged; copies are taken from other members as they are read.",
                counted(self.damaged, "chunk"),
                if self.damaged == 1 { "is" } else { "are" },
            )
        })
    }
}

fn counted(number: u64, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

/// A duration to its largest unit but one.
fn for_people(age: Duration) -> String {
    let seconds = age.as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replication::Totals;

    fn three() -> Facts {
        Facts {
            members: MembersSummary {
                total: 3,
                reachable: 3,
                draining: 0,
            },
            voters: 3,
            has_leader: true,
            age: Some(Duration::ZERO),
            ..Facts::default()
        }
    }

    #[test]
    fn three_healthy_nodes_survive_the_loss_of_one() {
        assert_eq!(
            three().sentences(),
            [
                "Every acknowledged change survives the loss of any one of the 3 voters.",
                "Every NAR has as many copies as it should.",
            ]
        );
        assert_eq!(three().read_level(), ReadLevel::Strong);
        let five = Facts { voters: 5, ..three() };
        assert!(five.sentences()[0].contains("any 2 of the 5 voters"));
    }

    #[test]
    fn a_node_alone_promises_no_more_than_its_disk() {
        let alone = Facts {
            members: MembersSummary {
                total: 1,
                reachable: 1,
                draining: 0,
            },
            voters: 1,
            ..three()
        };
        assert!(alone.sentences()[0].starts_with("This node is alone"));
        let with_followers = Facts { voters: 1, ..three() };
        assert!(with_followers.sentences()[0].starts_with("One node alone votes"));
    }

    #[test]
    fn a_node_that_is_cut_off_says_how_old_its_state_is_and_what_waits() {
        let cut_off = Facts {
            members: MembersSummary {
                total: 3,
                reachable: 1,
                draining: 0,
            },
            silent: vec!["hill".to_owned(), "lake".to_owned()],
            has_leader: false,
            age: Some(Duration::from_secs(754)),
            outbox: OutboxCounts {
                waiting: 2,
                refused: 1,
                ..OutboxCounts::default()
            },
            ..three()
        };
        assert_eq!(
            cut_off.sentences(),
            [
                "No majority of the 3 voters is reached: nothing can be changed now; what is here is served.",
                "The state shown here may be 12 min old.",
                "Every NAR has as many copies as it should.",
                "2 of 3 members are not heard: hill, lake.",
                "2 paths were pushed here for the cluster to hear of: until then only this disk is sure to have what is new.",
                "The cluster refused 1 path that this node took while it was cut off; 'tetryx-cli outbox' says why.",
            ]
        );
        assert_eq!(cut_off.read_level(), ReadLevel::Bounded);
    }

    #[test]
    fn an_age_that_is_not_known_is_not_made_up() {
        let started = Facts {
            has_leader: false,
            age: None,
            ..three()
        };
        assert!(started.sentences()[1].contains("cannot be told"));
        assert_eq!(started.read_level(), ReadLevel::Any);
    }

    #[test]
    fn missing_copies_and_damage_are_told() {
        let copies = Figures {
            under_replicated: Totals {
                nars: 2,
                bytes: 3 << 20,
            },
            bytes_to_move: 1 << 20,
            ..Figures::default()
        };
        let sentences = Facts {
            copies,
            damaged: 1,
            ..three()
        }
        .sentences();
        assert_eq!(
            sentences[1],
            "2 NARs (3.0 MiB) have fewer copies than they should, or a holder does not answer; 1.0 MiB to move."
        );
        assert!(sentences[2].starts_with("1 chunk on this disk is damaged"));
    }

    #[test]
    fn a_drained_node_says_when_it_may_go() {
        let copies = Figures {
            to_hand_over: Totals {
                nars: 1,
                bytes: 1 << 20,
            },
            ..Figures::default()
        };
        let leaving = Facts {
            is_draining: true,
            copies,
            ..three()
        };
        assert!(leaving.sentences()[2].contains("1 NAR (1.0 MiB) to hand over"));
        let left = Facts {
            is_draining: true,
            ..three()
        };
        assert!(left.sentences()[2].contains("nothing left"));
    }
}
