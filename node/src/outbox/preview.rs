//! What the state machine would say of an entry now: applied to a copy that nobody sees.
//!
//! The copy is the state this node has, with everything that waits applied in its order. It is kept while neither
//! changes, so that a push during a long separation costs no more than its own paths.

use std::sync::Arc;

use tetryx_protocol::id::{ClientId, ProposalId};
use tetryx_protocol::time::UtcTime;
use tetryx_raft::StateView;
use tetryx_state::{Body, Command, Refusal, apply};

use super::Outbox;
use super::entry::Entry;
use super::overlay::{Changes, Overlay};
use crate::NodeError;

/// Nobody proposes as this client.
const CLIENT: ClientId = ClientId::from_bytes([0xff; 16]);

#[derive(Debug, Default)]
pub(super) struct Preview {
    built: Option<Built>,
}

#[derive(Debug)]
struct Built {
    /// The index of the state below.
    index: u64,
    /// How many changes of the outbox are in it, the one included that will take what was checked last.
    outbox_changes: u64,
    changes: Changes,
    serial: u64,
}

impl Built {
    fn apply(
        &mut self,
        view: &StateView,
        entry: &Entry,
        now: UtcTime,
    ) -> Result<Result<(), Refusal>, NodeError> {
        self.serial += 1;
        let command = Command {
            proposal: ProposalId {
                client: CLIENT,
                serial: self.serial,
            },
            oldest_open: self.serial,
            proposed_at: now,
            by: entry.by.clone(),
            body: Body::PublishPaths(entry.command()),
        };
        let mut tables = Overlay {
            view,
            changes: &mut self.changes,
        };
        let reply = apply(&mut tables, self.index + self.serial, &command)?;
        Ok(reply.into_result().map(drop))
    }
}

impl Outbox {
    /// Refuses what the state machine would refuse after everything that waits. Blocks.
    pub(super) fn check(&self, view: &StateView, entry: &Entry, now: UtcTime) -> Result<(), NodeError> {
        let mut preview = self.inner.preview.lock();
        let outbox_changes = self.inner.state.lock().changes;
        let current = preview
            .built
            .take()
            .filter(|built| built.index == view.applied_index() && built.outbox_changes == outbox_changes);
        let mut built = match current {
            Some(built) => built,
            None => self.build(view, now)?,
        };
        built.apply(view, entry, now)??;
        built.outbox_changes += 1;
        preview.built = Some(built);
        Ok(())
    }

    fn build(&self, view: &StateView, now: UtcTime) -> Result<Built, NodeError> {
        let (outbox_changes, waiting) = {
            let state = self.inner.state.lock();
            let entries = state.waiting.all().map(|(_, entry)| Arc::clone(entry));
            (state.changes, entries.collect::<Vec<_>>())
        };
        let mut built = Built {
            index: view.applied_index(),
            outbox_changes,
            changes: Changes::new(),
            serial: 0,
        };
        for entry in waiting {
            // What would be refused changes nothing; whoever pushed it is told when it is handed over.
            if let Err(refusal) = built.apply(view, &entry, now)? {
                tracing::debug!(%refusal, "what waits in the outbox would be refused");
            }
        }
        Ok(built)
    }

    /// Forgets what was checked and then not taken.
    pub(super) fn forget_preview(&self) {
        self.inner.preview.lock().built = None;
    }
}
