//! To how many members a presence is passed on. Every member is connected to every other one and tells it its own
//! presence directly; the mesh carries presences around links that are cut, for which few neighbours are enough.

/// Neighbours that a member looks for when it has fewer than [`LOW`], and keeps when it has more than [`HIGH`].
pub(crate) const GOAL: usize = 4;
/// The fewest neighbours that are enough.
pub(crate) const LOW: usize = 3;
/// The most neighbours.
pub(crate) const HIGH: usize = 8;
/// Members besides the neighbours that are told at each heartbeat what was heard recently, so that they can ask for it.
pub(crate) const LAZY: usize = 6;
/// Heartbeats for which something counts as heard recently.
pub(crate) const RECENT: usize = 3;
