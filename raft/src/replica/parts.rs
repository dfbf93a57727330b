//! The parts of a replica, for the rest of this crate.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use tetryx_protocol::time::Elapsed;
use tokio::sync::watch;

use super::{Inner, Replica};
use crate::appends::AppendStreams;
use crate::audit::Audit;
use crate::data::DataFiles;
use crate::log_store::LogWatch;
use crate::profile::Profile;
use crate::propose::Proposals;
use crate::reads::ReadRounds;
use crate::snapshot::Snapshots;
use crate::transfers::Transfers;
use crate::transport::Transport;
use crate::types::Raft;
use tetryx_environment::{Clock, Io};

impl Replica {
    pub(crate) fn raft(&self) -> &Raft {
        &self.inner.raft
    }

    /// The replica that `inner` belongs to, while somebody holds it and it is not being shut down.
    pub(crate) fn revive(inner: &Weak<Inner>) -> Option<Self> {
        let inner = inner.upgrade()?;
        (!inner.is_closing.load(Ordering::Relaxed)).then_some(Self { inner })
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.inner.is_closing.load(Ordering::Relaxed)
    }

    #[cfg(test)]
    pub(crate) fn corrupt(&self) {
        let store = self.inner.store.lock().clone();
        store.expect("it runs").corrupt();
    }

    pub(crate) fn io(&self) -> &Io {
        &self.inner.io
    }

    pub(crate) fn log(&self) -> &LogWatch {
        &self.inner.log
    }

    pub(crate) fn files(&self) -> &Arc<dyn DataFiles> {
        &self.inner.files
    }

    pub(crate) fn snapshots(&self) -> &Snapshots {
        &self.inner.snapshots
    }

    pub(crate) fn audit(&self) -> &Audit {
        &self.inner.audit
    }

    pub(crate) fn read_rounds(&self) -> &ReadRounds {
        &self.inner.read_rounds
    }

    pub(crate) fn proofs(&self) -> &watch::Sender<Option<Elapsed>> {
        &self.inner.proofs
    }

    pub(crate) fn profile(&self) -> Profile {
        self.inner.profile
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        self.inner.clock.as_ref()
    }

    pub(crate) fn transport(&self) -> &dyn Transport {
        self.inner.transport.as_ref()
    }

    pub(crate) fn proposals(&self) -> &Proposals {
        &self.inner.proposals
    }

    pub(crate) fn appends(&self) -> &AppendStreams {
        &self.inner.appends
    }

    pub(crate) fn transfers(&self) -> &Transfers {
        &self.inner.transfers
    }
}
