//! Envelopes.

use proptest::prelude::*;
use tetryx_protocol::envelope::{EnvelopeError, open, seal};

use crate::fixtures::{assert_golden_hex, damaged, damages};

const KIND: [u8; 4] = *b"TEST";

#[test]
fn the_layout_is_these_bytes_for_ever() {
    let golden = include_str!("../golden/envelope_v1.hex");
    let bytes = seal(KIND, 3, 2, b"payload");
    assert_golden_hex("envelope_v1.hex", golden, &bytes);
    assert_eq!(open(KIND, 3, &bytes).unwrap(), (3, b"payload".as_slice()));
}

#[test]
fn the_checksum_is_crc32c() {
    // The check value of CRC-32C (Castagnoli), as in RFC 3720 and the Rocksoft catalogue.
    assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
}

#[test]
fn a_newer_schema_that_an_old_reader_understands_is_opened() {
    let bytes = seal(KIND, 9, 2, b"payload");
    assert_eq!(open(KIND, 2, &bytes).unwrap(), (9, b"payload".as_slice()));
}

#[test]
fn a_schema_that_needs_a_newer_reader_says_so() {
    let error = open(KIND, 3, &seal(KIND, 5, 4, b"payload")).unwrap_err();
    let expected = EnvelopeError::NeedsUpgrade {
        kind: KIND,
        schema: 5,
        min_reader: 4,
        reader_schema: 3,
    };
    assert_eq!(error, expected);
    assert_eq!(
        error.to_string(),
        "envelope \"TEST\": schema 5 needs a reader of 4; this program reads up to 3: upgrade it"
    );
}

#[test]
fn damage_is_never_taken_for_a_need_to_upgrade() {
    let bytes = seal(KIND, 3, 2, b"payload");
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let error = open(KIND, 3, &flipped).unwrap_err();
        assert!(
            !matches!(error, EnvelopeError::NeedsUpgrade { .. }),
            "bit {bit}: {error}"
        );
    }
}

#[test]
fn another_kind_length_or_checksum_is_refused() {
    let bytes = seal(KIND, 1, 1, b"payload");
    assert!(matches!(
        open(*b"ELSE", 1, &bytes),
        Err(EnvelopeError::Kind { found: KIND, .. })
    ));
    for len in 0..bytes.len() {
        assert!(
            matches!(open(KIND, 1, &bytes[..len]), Err(EnvelopeError::Length { .. })),
            "cut off at {len}"
        );
    }
    let longer = [bytes.as_slice(), &[0]].concat();
    assert!(matches!(
        open(KIND, 1, &longer),
        Err(EnvelopeError::Length {
            len: 24,
            expected: 23,
            ..
        })
    ));
}

proptest! {
    #[test]
    fn a_payload_round_trips(
        kind in any::<[u8; 4]>(), schema in any::<u16>(), min_reader in any::<u16>(),
        payload in prop::collection::vec(any::<u8>(), 0..200)
    ) {
        let (min_reader, schema) = (min_reader.min(schema), min_reader.max(schema));
        let bytes = seal(kind, schema, min_reader, &payload);
        prop_assert_eq!(open(kind, schema, &bytes).unwrap(), (schema, payload.as_slice()));
    }

    #[test]
    fn damaged_bytes_never_panic_and_never_open(
        payload in prop::collection::vec(any::<u8>(), 0..200), damages in damages()
    ) {
        let bytes = seal(KIND, 1, 1, &payload);
        let damaged = damaged(&bytes, &damages);
        prop_assume!(damaged != bytes);
        prop_assert!(open(KIND, 1, &damaged).is_err());
    }
}
