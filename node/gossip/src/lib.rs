//! Presence of stations over libp2p: who is there, what it holds and how it fares. Lossy by design.
//!
//! Every member says so every few seconds in a [`Presence`](tetryx_protocol::presence::Presence), signed with its
//! key, over gossipsub on QUIC ([`Overlay`]). Others keep the last one of each member ([`Gossip::presences`]). The
//! simulation carries the same presences, judged by the same rules, from hand to hand in memory ([`memory::Mesh`]).
//!
//! # Invariants
//! - Only members of the roster are connected to; everybody else is refused after the handshake that proves the key.
//! - A presence is kept and passed on only if its author signed it, its author is a member, it speaks of its author,
//!   and its number is higher than the last one's.
//! - Whoever sends what an honest member never sends is charged for it, and dropped for a while when the charges
//!   add up. Only the sender of a message is charged, never the author whose words it repeats.
//! - A member that is not connected is dialled again and again, for ever: an overlay that was split re-merges.
//! - The overlay over libp2p runs on a thread and sockets of its own, so a flood costs one core's time at most, and
//!   [`Gossip::shutdown`] frees its port before it returns.
//!
//! # Non-goals
//! - Anything that must be right: membership, placement and what is durable are decided by the replicated state.
//! - Bulk: what a member holds travels as a digest, its chunks over the links.
//! - Clocks: the caller brings one ([`GossipConfig::elapsed`]).

mod behaviour;
mod book;
mod conduct;
mod degree;
mod dialling;
mod driver;
mod error;
mod gossip;
mod identity;
mod listen;
pub mod memory;
mod overlay;
mod timing;

pub use error::GossipError;
pub use gossip::{Connected, Gossip, GossipRoster, Presences, Seen};
pub use identity::{node_id_of, peer_id_of};
pub use overlay::{GossipConfig, Overlay};
pub use timing::Timing;
