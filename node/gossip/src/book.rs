//! Which messages are worth keeping: the last presence of every member, and what each sender may still say.
//!
//! A pure state machine: a message and the time go in, a [`Judgement`] comes out.
//!
//! # Invariants
//! - The number of a member's presence only grows.
//! - What an honest member does is never charged, even when rosters differ for a while, messages arrive in another
//!   order, or a newer version sends what this one cannot read.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tetryx_protocol::envelope;
use tetryx_protocol::id::NodeId;
use tetryx_protocol::message::Message;
use tetryx_protocol::presence::Presence;
use tetryx_protocol::time::Elapsed;

use crate::conduct::{Conduct, Offence};

/// Messages that one author may say at once, and those of all members that one carrier may pass on per member.
const BURST: u64 = 32;
/// Messages a second that an author may say in the long run. An honest one says at most two.
const RATE: u64 = 4;

/// A message as it arrived.
#[derive(Clone, Copy)]
pub(crate) struct Letter<'a> {
    /// Who signed it.
    pub author: NodeId,
    /// Who sent it here: the author, or a member that passed it on.
    pub carrier: NodeId,
    /// What it says ([`Content::read`]). Only asked when the carrier may speak at all, so that a flood is not read.
    pub read: &'a dyn Fn() -> Content,
}

impl fmt::Debug for Letter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Letter")
            .field("author", &self.author)
            .field("carrier", &self.carrier)
            .finish_non_exhaustive()
    }
}

/// What the bytes of a message say.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    Presence(Arc<Presence>),
    /// What only a newer version can read.
    Newer,
    /// No presence.
    Garbage,
}

impl Content {
    pub(crate) fn read(bytes: &[u8]) -> Self {
        match Presence::decode(bytes) {
            Ok(presence) => Self::Presence(Arc::new(presence)),
            Err(_) if is_newer(bytes) => Self::Newer,
            Err(_) => Self::Garbage,
        }
    }
}

/// What to do with a message.
#[derive(Debug, PartialEq)]
pub(crate) enum Verdict {
    /// Keep it and pass it on.
    Keep(Arc<Presence>),
    /// Neither keep it nor pass it on; an honest carrier may have sent it.
    Ignore,
    /// No honest member would have sent or passed on this.
    Reject,
}

#[derive(Debug, PartialEq)]
pub(crate) struct Judgement {
    pub verdict: Verdict,
    /// What the carrier is charged for.
    pub offence: Option<Offence>,
}

impl Judgement {
    const fn ignore() -> Self {
        Self {
            verdict: Verdict::Ignore,
            offence: None,
        }
    }

    const fn ignore_for(offence: Offence) -> Self {
        Self {
            verdict: Verdict::Ignore,
            offence: Some(offence),
        }
    }

    const fn reject_for(offence: Offence) -> Self {
        Self {
            verdict: Verdict::Reject,
            offence: Some(offence),
        }
    }
}

/// What is remembered about the members.
#[derive(Debug)]
pub(crate) struct Book {
    own: NodeId,
    members: BTreeMap<NodeId, Member>,
    pub(crate) conduct: Conduct,
}

#[derive(Debug, Default)]
struct Member {
    seq: Option<u64>,
    said: Bucket,
    carried: Bucket,
}

impl Book {
    pub(crate) const fn new(own: NodeId, penalty: Duration) -> Self {
        Self {
            own,
            members: BTreeMap::new(),
            conduct: Conduct::new(penalty),
        }
    }

    /// Takes over who is a member; forgets the others.
    pub(crate) fn set_members(&mut self, members: impl IntoIterator<Item = NodeId>) {
        let mut old = std::mem::take(&mut self.members);
        for node in members {
            self.members.insert(node, old.remove(&node).unwrap_or_default());
        }
        let members = &self.members;
        self.conduct.retain(|node| members.contains_key(node));
    }

    pub(crate) fn is_member(&self, node: &NodeId) -> bool {
        self.members.contains_key(node)
    }

    /// Judges a message. Whether it is charged, and whether that drops the carrier, is the caller's next step.
    pub(crate) fn judge(&mut self, letter: Letter<'_>, now: Elapsed) -> Judgement {
        let Letter {
            author,
            carrier,
            read,
        } = letter;
        let count = u64::try_from(self.members.len()).unwrap_or(u64::MAX).max(1);
        if self.conduct.is_dropped(&carrier, now) {
            return Judgement::ignore();
        }
        let Some(by) = self.members.get_mut(&carrier) else {
            return Judgement::ignore();
        };
        if !by.carried.take(now, BURST * count, RATE * count) {
            return Judgement::ignore_for(Offence::Flood);
        }
        // Rosters may differ for a while, so an unknown author is no offence of the carrier.
        let known = self.members.contains_key(&author) && author != self.own;
        if !known || self.conduct.is_dropped(&author, now) {
            return Judgement::ignore();
        }
        let presence = match read() {
            Content::Presence(presence) => presence,
            Content::Newer => return Judgement::ignore(),
            Content::Garbage => return Judgement::reject_for(Offence::Garbage),
        };
        if presence.node != author {
            return Judgement::reject_for(Offence::Spoofed);
        }
        self.judge_order(presence, carrier, now)
    }

    /// Judges number and frequency. Others may have kept back an author's presences, so only the author itself is
    /// charged for them.
    fn judge_order(&mut self, presence: Arc<Presence>, carrier: NodeId, now: Elapsed) -> Judgement {
        let own_words = presence.node == carrier;
        let Some(member) = self.members.get_mut(&presence.node) else {
            return Judgement::ignore();
        };
        let in_bounds = member.said.take(now, BURST, RATE);
        match member.seq {
            Some(last) if presence.seq < last && own_words => {
                return Judgement::ignore_for(Offence::Backwards);
            }
            Some(last) if presence.seq <= last => return Judgement::ignore(),
            _ => {}
        }
        if !in_bounds {
            let offence = own_words.then_some(Offence::Flood);
            return Judgement {
                verdict: Verdict::Ignore,
                offence,
            };
        }
        member.seq = Some(presence.seq);
        Judgement {
            verdict: Verdict::Keep(presence),
            offence: None,
        }
    }
}

/// Whether a newer version may have written this: a whole envelope of the kind, with a higher schema.
fn is_newer(bytes: &[u8]) -> bool {
    matches!(envelope::open(Presence::MAGIC, u16::MAX, bytes), Ok((schema, _)) if schema > Presence::SCHEMA)
}

/// A token bucket that begins full.
#[derive(Debug, Default)]
struct Bucket {
    /// Thousandths of messages that were taken out and have not come back.
    taken: u64,
    at: Elapsed,
}

impl Bucket {
    fn take(&mut self, now: Elapsed, burst: u64, rate: u64) -> bool {
        let ms = u64::try_from(now.saturating_sub(self.at).as_millis()).unwrap_or(u64::MAX);
        self.at = now;
        self.taken = self.taken.saturating_sub(ms.saturating_mul(rate));
        let fits = self.taken.saturating_add(1_000) <= burst.saturating_mul(1_000);
        if fits {
            self.taken += 1_000;
        }
        fits
    }
}

#[cfg(test)]
mod tests;
