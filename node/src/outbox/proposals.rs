//! The ids under which this process proposes what may have to be repeated by a later one.
//!
//! Each process proposes as a client of its own, so serials need not be stored; an entry that was proposed carries
//! its id in the journal, whichever process gave it.

use std::collections::BTreeSet;

use parking_lot::Mutex;
use tetryx_environment::Entropy;
use tetryx_protocol::id::{ClientId, ProposalId};

use super::Outbox;

#[derive(Debug)]
pub(super) struct Proposals {
    client: ClientId,
    serials: Mutex<Serials>,
}

#[derive(Debug)]
struct Serials {
    next: u64,
    open: BTreeSet<u64>,
}

impl Proposals {
    pub(super) fn new(entropy: &dyn Entropy) -> Self {
        let mut client = [0; 16];
        entropy.fill(&mut client);
        Self {
            client: ClientId::from_bytes(client),
            serials: Mutex::new(Serials {
                next: 1,
                open: BTreeSet::new(),
            }),
        }
    }
}

impl Outbox {
    /// How many proposals have no answer yet.
    pub fn proposals_open(&self) -> usize {
        self.inner.proposals.serials.lock().open.len()
    }
}

/// An id that was never used, open as long as this lives.
#[derive(Debug)]
pub(super) struct OpenProposal<'a> {
    proposals: &'a Proposals,
    serial: u64,
}

impl OpenProposal<'_> {
    pub(super) fn id(&self) -> ProposalId {
        ProposalId {
            client: self.proposals.client,
            serial: self.serial,
        }
    }
}

impl Drop for OpenProposal<'_> {
    fn drop(&mut self) {
        self.proposals.serials.lock().open.remove(&self.serial);
    }
}

impl Outbox {
    pub(super) fn open_proposal(&self) -> OpenProposal<'_> {
        let proposals = &self.inner.proposals;
        let mut serials = proposals.serials.lock();
        let serial = serials.next;
        serials.next += 1;
        serials.open.insert(serial);
        OpenProposal { proposals, serial }
    }

    /// The lowest serial of the client that may still be repeated, given that this one may.
    pub(super) fn oldest_open(&self, proposal: ProposalId) -> u64 {
        let waiting = self.inner.state.lock().waiting.lowest_serial(proposal.client);
        let proposals = &self.inner.proposals;
        let direct = (proposal.client == proposals.client)
            .then(|| proposals.serials.lock().open.first().copied())
            .flatten();
        [waiting, direct]
            .into_iter()
            .flatten()
            .fold(proposal.serial, u64::min)
    }
}
