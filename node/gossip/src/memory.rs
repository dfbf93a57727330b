//! Gossip among the nodes of one process, for simulations: presences pass from hand to hand under virtual time.
//!
//! Only what carries a presence is modelled. Whom to dial, what to believe and whom to drop is decided by the code of
//! the overlay over libp2p; how many neighbours a member has, and how it repairs what was lost, by the same numbers.
//!
//! # Invariants
//! - The same seed and the same calls give the same order of events: one source of randomness, ordered maps, one task.
//! - A presence is kept only if its author's key signed it and the rules of the overlay over libp2p accept it. That a
//!   signature is genuine is found out once for each message, not once for each member that hears it.
//! - A cut or a killed member is noticed after as long a silence as over QUIC, a goodbye when it arrives.
//! - Between two members, messages do not overtake each other.
//!
//! # Non-goals
//! - Bandwidth: a message takes as long however large it is.
//! - Addresses: every member of a roster can be dialled, whether or not it says where it listens.

mod event;
mod handle;
mod hear;
mod letter;
mod meet;
mod mesh;
mod paths;
mod seat;
mod spread;
mod tally;

pub use self::handle::MemoryGossip;
pub use self::mesh::Mesh;
pub use self::paths::Conditions;
pub use self::tally::Tally;

#[cfg(test)]
mod tests;
