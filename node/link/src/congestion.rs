//! How fast a connection sends.
//!
//! quinn's cubic is right on fibre and wrong on a long lossy path: at 600 ms and 1 % loss it takes each lost packet
//! for congestion and ends below 1 Mbit/s. There, and wherever a rate is configured, [`Paced`] is used.
//!
//! A listener knows who has dialled only after the handshake, and quinn wants the controller before: so each
//! connection gets a [`switch::Switch`], which begins with cubic and is told later ([`Selector::select`]), or notices a long
//! round trip by itself.

mod paced;
mod rival;
mod rounds;
mod switch;

pub(crate) use switch::Selector;

use paced::Paced;
