//! What a node says of itself by gossip.

use proptest::prelude::*;
use tetryx_protocol::hash::NarHash;
use tetryx_protocol::id::NodeId;
use tetryx_protocol::message::{Message, MessageError};
use tetryx_protocol::presence::{DIGEST_BYTES_MAX, HeldDigest, PRESENCE_LEN_MAX, Presence, PresenceState};
use tetryx_protocol::time::UtcTime;

use crate::fixtures::{assert_golden_hex, damaged, damages};

const GOLDEN: &str = include_str!("../golden/presence_v1.hex");

fn nar(number: u32) -> NarHash {
    NarHash::of(&number.to_le_bytes())
}

fn digest(nars: std::ops::Range<u32>) -> HeldDigest {
    let count = u64::from(nars.end - nars.start);
    let nars: Vec<_> = nars.map(nar).collect();
    HeldDigest::of(&nars, count)
}

fn presence(held: HeldDigest) -> Presence {
    Presence {
        node: NodeId::from_bytes([1; 32]),
        seq: 1_772_452_990_001,
        at: UtcTime::from_unix_ms(1_772_452_990_001),
        applied_index: 300,
        free_bytes: 1 << 40,
        load_permille: 250,
        held,
        state: PresenceState::Draining,
        version: "0.1.0".to_owned(),
        feature_level: 2,
    }
}

/// How many in a thousand of NARs that were not put in seem held.
fn false_positives(digest: &HeldDigest) -> u32 {
    let wrong = (1_000_000..1_010_000).filter(|number| digest.contains(&nar(*number)));
    u32::try_from(wrong.count() / 10).unwrap()
}

#[test]
fn a_presence_is_these_bytes() {
    let presence = presence(digest(0..9));
    assert_golden_hex("presence_v1.hex", GOLDEN, &presence.encode());
    assert_eq!(Presence::decode(&presence.encode()), Ok(presence));
}

#[test]
fn what_was_put_in_is_held() {
    for count in [0, 1, 9, 1_000, 60_000] {
        let digest = digest(0..count);
        assert!((0..count).all(|number| digest.contains(&nar(number))));
        assert_eq!(digest.count(), u64::from(count));
    }
    assert!(!HeldDigest::default().contains(&nar(0)));
    assert!(!digest(0..0).contains(&nar(0)));
}

#[test]
fn what_was_not_put_in_is_mistaken_at_the_documented_rate() {
    for (count, most_permille) in [
        (1_000, 10),
        (39_000, 10),
        (100_000, 180),
        (200_000, 430),
        (400_000, 670),
    ] {
        let digest = digest(0..count);
        let found = false_positives(&digest);
        assert!(found <= most_permille, "{count}: {found} in a thousand");
        let estimated = digest.false_positive_permille();
        assert!(
            found.abs_diff(estimated) <= 20,
            "{count}: {found}, not {estimated}"
        );
    }
}

#[test]
fn the_largest_presence_fits_its_limit() {
    let large = presence(digest(0..100_000)).encode();
    assert!((DIGEST_BYTES_MAX..PRESENCE_LEN_MAX).contains(&large.len()));
}

#[test]
fn a_presence_beyond_its_limits_is_refused() {
    let long = Presence {
        version: "x".repeat(65),
        ..presence(HeldDigest::default())
    };
    assert!(matches!(
        Presence::decode(&long.encode()),
        Err(MessageError::Payload { .. })
    ));
    assert!(matches!(
        Presence::decode(&vec![0; PRESENCE_LEN_MAX + 1]),
        Err(MessageError::TooLong { .. })
    ));
    // The digest's count, then the number of bits a NAR sets.
    let mut payload = presence(digest(0..9)).encode().split_off(16);
    let at = payload
        .windows(2)
        .position(|pair| pair == [9, 7])
        .expect("nine NARs, seven bits each");
    payload[at + 1] = 8;
    let many = tetryx_protocol::envelope::seal(*b"TXPS", 1, 1, &payload);
    assert!(
        Presence::decode(&many)
            .unwrap_err()
            .to_string()
            .contains("sets 8 bits")
    );
    payload[at + 1] = 0;
    let none = tetryx_protocol::envelope::seal(*b"TXPS", 1, 1, &payload);
    assert!(Presence::decode(&none).is_err(), "everything would seem held");
}

proptest! {
    #[test]
    fn hostile_presences_never_panic(damages in damages(), number in any::<u32>()) {
        let payload = presence(digest(0..9)).encode().split_off(16);
        let hostile = tetryx_protocol::envelope::seal(*b"TXPS", 1, 1, &damaged(&payload, &damages));
        if let Ok(read) = Presence::decode(&hostile) {
            let _ = read.held.contains(&nar(number));
            prop_assert!(read.held.false_positive_permille() <= 1_000);
        }
    }
}
