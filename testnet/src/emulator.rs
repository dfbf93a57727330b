//! The space between the stations: a link emulator over TUN devices.
//!
//! Each station lives in a network namespace of its own and sees the others through one TUN device. What it sends
//! there comes to a router thread of this process, which passes it on, late, or not at all, as the settings of the
//! link in that direction say ([`LinkSettings`]). Where a kernel has no `netem`, this is what is left; and it needs
//! no rights but those of an owner of the namespaces.
//!
//! # Invariants
//! - A link has a direction: what is set from `a` to `b` changes nothing from `b` to `a`.
//! - Packets of one link never overtake each other; a packet never arrives before its delay has passed.
//! - With one seed, the same packets offered at the same times meet the same fate.
//!
//! # Non-goals
//! - Duplicates, corruption and reordering of packets: IP's users are spared them here.
//! - Anything but IPv4 unicast: other packets are dropped.

pub mod calendar;
pub mod link;
pub mod profile;
pub mod router;
pub mod switchboard;
pub mod tun;

pub use calendar::Calendar;
pub use link::{Counts, Fate, LinkSettings, Loss};
pub use profile::Profile;
pub use router::Emulator;
pub use switchboard::{Station, Switchboard};
