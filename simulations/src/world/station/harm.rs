//! What faults do to a station.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tetryx_store::disk::Survivors;

use super::Station;

/// How long a process whose disk has stopped may take to end.
const CRASH_PATIENCE: Duration = Duration::from_secs(10 * 60);

impl Station {
    /// For so long its process may end because its disk fails; otherwise that is a violation.
    pub fn let_fail(&self, duration: Duration) {
        let mut until = self.inner.may_fail_until.lock();
        *until = until.max(self.world().now() + duration);
    }

    /// Has the disk stop after so many more changes, as in a power cut; what survives is known when the process notices,
    /// or the machine is crashed.
    pub fn crash_in(&self, operations: u64, survivors: Survivors) {
        self.let_fail(CRASH_PATIENCE);
        *self.inner.doom.lock() = Some(survivors);
        let disk = &self.inner.disk;
        disk.crash_at(disk.operations() + operations);
    }

    /// Takes [`Station::crash_in`] back.
    pub fn crash_not(&self) {
        self.inner.disk.crash_at(u64::MAX);
        *self.inner.doom.lock() = None;
    }

    /// The machine and its disk are gone for good.
    pub(in super::super) fn destroy(&self) {
        self.inner.is_gone.store(true, Ordering::Relaxed);
        self.crash(Survivors::Synced);
        self.inner.disk.wipe();
        *self.inner.secret.lock() = None;
        *self.inner.ticket.lock() = None;
    }

    /// Whether the machine and its disk are gone for good.
    pub fn is_gone(&self) -> bool {
        self.inner.is_gone.load(Ordering::Relaxed)
    }

    /// Ends what faults do to the machine. One whose disk has stopped in mid-operation crashes.
    pub(in super::super) fn mend(&self) {
        self.thaw();
        self.inner.disk.mend();
        self.inner.io.set_mean(Duration::ZERO);
        self.inner.clock.set_drift_ppm(0);
        self.inner.clock.set_right();
        if self.inner.disk.has_crashed() {
            self.crash(Survivors::Synced);
        }
        *self.inner.doom.lock() = None;
    }

    /// Has the process stand still for a while, as SIGSTOP does: nobody hears it, its disk waits, it answers nobody.
    /// Its timers go on, which is the one thing that SIGSTOP does otherwise.
    pub fn freeze(&self, duration: Duration) {
        let world = self.world();
        world.trace(format_args!("{} stands still for {duration:?}", self.name()));
        world.hub().freeze(self.node_id());
        world.gossip_mesh().freeze(self.node_id());
        self.inner.io.set_frozen(true);
        self.inner.frozen.send_replace(true);
        let station = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(duration).await;
            station.thaw();
        });
    }

    /// Lets the process go on.
    pub fn thaw(&self) {
        let world = self.world();
        if self.inner.frozen.send_replace(false) {
            world.trace(format_args!("{} goes on", self.name()));
        }
        world.hub().thaw(self.node_id());
        world.gossip_mesh().thaw(self.node_id());
        self.inner.io.set_frozen(false);
    }
}
