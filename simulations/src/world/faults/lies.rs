//! What a lying station sends in place of the truth.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use tetryx_link::Service;
use tetryx_link::memory::Tamper;
use tetryx_protocol::id::NodeId;
use tetryx_protocol::message::Message;
use tetryx_protocol::peer::{Holding, PeerResponse};
use tetryx_protocol::presence::{Presence, PresenceState};

/// One of so many pieces of a stream is wrong.
const WRONG_PIECES: u8 = 3;

/// A station that sends wrong chunks, and says wrongly what it has.
#[derive(Debug)]
pub(super) struct Liar {
    node: NodeId,
    told: AtomicU64,
    memory: Mutex<Memory>,
}

#[derive(Debug)]
struct Memory {
    chance: fastrand::Rng,
    /// A piece of a stream that was sent before.
    piece: Bytes,
}

impl Liar {
    pub(super) fn new(node: NodeId, chance: fastrand::Rng) -> Self {
        Self {
            node,
            told: AtomicU64::new(0),
            memory: Mutex::new(Memory {
                chance,
                piece: Bytes::new(),
            }),
        }
    }

    /// How many lies were sent.
    pub(super) fn told(&self) -> u64 {
        self.told.load(Ordering::Relaxed)
    }

    fn lie<T: PartialEq>(&self, truth: &T, lie: T) -> T {
        self.told.fetch_add(u64::from(*truth != lie), Ordering::Relaxed);
        lie
    }
}

impl Tamper for Liar {
    fn stream(&self, from: NodeId, _to: NodeId, service: Service, piece: Bytes) -> Bytes {
        if from != self.node || service != Service::Chunks || piece.is_empty() {
            return piece;
        }
        let mut memory = self.memory.lock();
        let before = std::mem::replace(&mut memory.piece, piece.clone());
        let chance = &mut memory.chance;
        if chance.u8(0..WRONG_PIECES) > 0 {
            return piece;
        }
        let wrong = match chance.u8(0..8) {
            0 => Bytes::new(),
            1 => piece.slice(..chance.usize(0..piece.len())),
            2 if !before.is_empty() => before,
            _ => {
                let mut wrong = piece.to_vec();
                wrong[chance.usize(0..piece.len())] ^= 1 << chance.u8(0..8);
                wrong.into()
            }
        };
        self.lie(&piece, wrong)
    }

    fn answer(&self, from: NodeId, _to: NodeId, service: Service, body: Bytes) -> Bytes {
        if from != self.node || service != Service::Rpc {
            return body;
        }
        let Ok(mut response) = PeerResponse::decode(&body) else {
            return body;
        };
        let chance = &mut self.memory.lock().chance;
        match &mut response {
            PeerResponse::Have { answers, .. } => {
                let lie = match chance.u8(0..3) {
                    0 => Holding::No,
                    1 => Holding::Complete,
                    _ => Holding::Placed,
                };
                answers.fill(lie);
            }
            PeerResponse::Layout { frame_lens } => match chance.u8(0..3) {
                0 => frame_lens.clear(),
                1 => {
                    frame_lens.pop();
                }
                _ => frame_lens.iter_mut().for_each(|len| *len = (*len / 2).max(1)),
            },
            // Whom to believe about a push, a departure and the members, nobody can find out.
            _ => return body,
        }
        self.lie(&body, response.encode().into())
    }
}

/// What a lying station says of itself.
pub(super) fn presence(truth: &Presence, chance: &mut fastrand::Rng) -> Presence {
    let mut lie = truth.clone();
    lie.seq += chance.u64(1..1000);
    lie.applied_index = match chance.u8(0..3) {
        0 => 0,
        1 => u64::MAX,
        _ => chance.u64(0..=truth.applied_index.saturating_mul(2)),
    };
    lie.free_bytes = chance.u64(..);
    lie.load_permille = chance.u32(0..1001);
    lie.feature_level = chance.u32(0..100);
    lie.state = match chance.u8(0..3) {
        0 => PresenceState::Serving,
        1 => PresenceState::Diverged,
        _ => PresenceState::CatchingUp,
    };
    if chance.bool() {
        lie.held = Default::default();
    }
    lie
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIAR: NodeId = NodeId::from_bytes([1; 32]);
    const OTHER: NodeId = NodeId::from_bytes([2; 32]);

    fn liar() -> Liar {
        Liar::new(LIAR, fastrand::Rng::with_seed(7))
    }

    #[test]
    fn only_the_liars_chunks_are_wrong() {
        let liar = liar();
        let piece = Bytes::from_static(b"a piece of a chunk");
        for _ in 0..100 {
            assert_eq!(liar.stream(OTHER, LIAR, Service::Chunks, piece.clone()), piece);
            assert_eq!(liar.stream(LIAR, OTHER, Service::Raft, piece.clone()), piece);
        }
        assert_eq!(liar.told(), 0);
        let wrong = (0..100).filter(|_| liar.stream(LIAR, OTHER, Service::Chunks, piece.clone()) != piece);
        assert_eq!(wrong.count() as u64, liar.told());
        assert!(liar.told() > 10);
    }

    #[test]
    fn a_liar_says_wrongly_what_it_has_and_nothing_else() {
        let liar = liar();
        let have: Bytes = PeerResponse::Have {
            index: 7,
            answers: vec![Holding::Placed, Holding::No],
        }
        .encode()
        .into();
        let released: Bytes = PeerResponse::Released.encode().into();
        let lie = liar.answer(LIAR, OTHER, Service::Rpc, have.clone());
        assert!(matches!(
            PeerResponse::decode(&lie),
            Ok(PeerResponse::Have { index: 7, answers }) if answers[0] == answers[1]
        ));
        assert_eq!(liar.told(), 1);
        assert_eq!(liar.answer(OTHER, LIAR, Service::Rpc, have.clone()), have);
        assert_eq!(liar.answer(LIAR, OTHER, Service::Rpc, released.clone()), released);
        assert_eq!(liar.told(), 1);
    }
}
