//! This node among the others: who they are, how they are reached, and what they ask of it.
//!
//! [`NodeRoster`] is the memory of who the members are. [`RaftTransport`] carries the replica's calls over the links,
//! and [`Dispatch`] hands what comes in to whoever answers it.
//!
//! # Invariants
//! - Whether a node may talk to this one is decided by its key and the roster, never by an address.
//! - A node that was removed stays removed here, whatever an older roster says.
//!
//! # Non-goals
//! - Who becomes a member, and who leaves: [`membership`](crate::membership).

mod addresses;
mod alone;
mod dispatch;
mod refresh;
mod requests;
mod roster;
mod roster_file;
mod timing;
mod transport;

pub use self::addresses::{Advertisement, advertise};
pub use self::alone::NoLinks;
pub use self::dispatch::Dispatch;
pub use self::refresh::take_over;
pub(crate) use self::refresh::{follow_state, keep_current};
pub(crate) use self::requests::greet;
pub use self::requests::{ASK_TIMEOUT, ask};
pub use self::roster::{NodeRoster, Standing};
pub(crate) use self::roster_file::RosterFile;
pub(crate) use self::timing::{profile, slower_profile};
pub use self::transport::RaftTransport;
