//! The promises, each watched by a check of its own.
//!
//! What is seen of the world and what is judged about it are apart: a check is given what was seen, and has a test which
//! shows that it notices a broken promise.

pub(super) mod data;
pub(super) mod raft;
mod raft_backwards;
mod raft_bounds;
mod raft_committed;
mod raft_completeness;
#[cfg(test)]
mod raft_fixture;
mod raft_leaders;
mod raft_matching;
mod raft_once;
mod raft_state;

use tokio::task::JoinSet;

use super::World;

/// Has every promise watched until the set is dropped.
pub(super) fn watch(world: &World) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    tasks.spawn(raft::run(world.clone()));
    data::watch(world, &mut tasks);
    tasks
}
