//! The envelope around everything that is stored or sent between versions.
//!
//! Layout, little endian, frozen for ever: magic (4), schema `u16`, minimum reader `u16`, payload length `u32`,
//! CRC-32C `u32` over the twelve bytes before it and the payload, payload. Nothing follows.
//!
//! `schema` says in which version of its kind the payload is written; `min_reader` is the lowest schema a reader
//! must know to understand it. A reader that is too old is told so and can wait for its upgrade instead of
//! misreading.

/// Bytes before the payload.
pub const HEADER_LEN: usize = 16;

/// Why bytes are not an envelope of the kind asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// Cut off, or bytes after the end.
    #[error("envelope {}: {len} bytes; expected {expected}", magic_text(kind))]
    Length {
        kind: [u8; 4],
        len: usize,
        expected: usize,
    },
    /// Another kind of thing.
    #[error("envelope: kind is {}; expected {}", magic_text(found), magic_text(kind))]
    Kind { kind: [u8; 4], found: [u8; 4] },
    /// A bit has flipped somewhere.
    #[error(
        "envelope {}: CRC-32C is {found:08x}; expected {expected:08x}; it is damaged, read or fetch it again",
        magic_text(kind)
    )]
    Checksum {
        kind: [u8; 4],
        found: u32,
        expected: u32,
    },
    /// Written by a newer version.
    #[error(
        "envelope {}: schema {schema} needs a reader of {min_reader}; this program reads up to {reader_schema}: upgrade it",
        magic_text(kind)
    )]
    NeedsUpgrade {
        kind: [u8; 4],
        schema: u16,
        min_reader: u16,
        reader_schema: u16,
    },
}

fn magic_text(magic: &[u8; 4]) -> String {
    format!("\"{}\"", magic.escape_ascii())
}

/// Puts a payload into an envelope.
///
/// # Panics
/// If `min_reader` exceeds `schema` (the writer itself could not read it) or the payload has 4 GiB.
pub fn seal(kind_magic: [u8; 4], schema: u16, min_reader: u16, payload: &[u8]) -> Vec<u8> {
    assert!(
        min_reader <= schema,
        "min_reader {min_reader} exceeds schema {schema}"
    );
    let len = u32::try_from(payload.len()).expect("a payload is shorter than 4 GiB");
    let mut bytes = Vec::with_capacity(HEADER_LEN + payload.len());
    bytes.extend_from_slice(&kind_magic);
    bytes.extend_from_slice(&schema.to_le_bytes());
    bytes.extend_from_slice(&min_reader.to_le_bytes());
    bytes.extend_from_slice(&len.to_le_bytes());
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&bytes), payload);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// Takes the payload out of an envelope: its schema and its bytes.
///
/// # Errors
/// [`EnvelopeError`], in this order of precedence: cut off before the length, kind, length, checksum, and only
/// for an intact envelope [`EnvelopeError::NeedsUpgrade`].
pub fn open(kind_magic: [u8; 4], reader_schema: u16, bytes: &[u8]) -> Result<(u16, &[u8]), EnvelopeError> {
    let kind = kind_magic;
    let length = |expected| EnvelopeError::Length {
        kind,
        len: bytes.len(),
        expected,
    };
    let (header, payload) = bytes
        .split_first_chunk::<HEADER_LEN>()
        .ok_or(length(HEADER_LEN))?;
    let [m0, m1, m2, m3, s0, s1, r0, r1, l0, l1, l2, l3, c0, c1, c2, c3] = *header;
    if [m0, m1, m2, m3] != kind {
        return Err(EnvelopeError::Kind {
            kind,
            found: [m0, m1, m2, m3],
        });
    }
    let payload_len = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    if payload.len() != payload_len {
        return Err(length(payload_len.saturating_add(HEADER_LEN)));
    }
    let expected = u32::from_le_bytes([c0, c1, c2, c3]);
    let found = crc32c::crc32c_append(crc32c::crc32c(&header[..12]), payload);
    if found != expected {
        return Err(EnvelopeError::Checksum {
            kind,
            found,
            expected,
        });
    }
    let schema = u16::from_le_bytes([s0, s1]);
    let min_reader = u16::from_le_bytes([r0, r1]);
    if min_reader > reader_schema {
        return Err(EnvelopeError::NeedsUpgrade {
            kind,
            schema,
            min_reader,
            reader_schema,
        });
    }
    Ok((schema, payload))
}
