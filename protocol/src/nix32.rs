//! Nix's base-32: 32 digits without `e`, `o`, `t` and `u`, most significant digit first.
//!
//! The bytes are read as one little-endian number and written in base 32, so the first character comes from the
//! last byte. Source of the format: `src/libutil/hash.cc` of Nix (`printHash32`, `parseHash32`).

use crate::ProtocolError;
use crate::text::quote;

const ALPHABET: &[u8; 32] = b"0123456789abcdfghijklmnpqrsvwxyz";

/// No digit has this value: the character is outside the alphabet.
const NOT_A_DIGIT: u8 = 0xff;

const DIGIT_OF: [u8; 256] = {
    let mut table = [NOT_A_DIGIT; 256];
    let mut digit = 0;
    while digit < ALPHABET.len() {
        table[ALPHABET[digit] as usize] = digit as u8;
        digit += 1;
    }
    table
};

/// The number of characters for `bytes` bytes: 52 for 32 bytes, 32 for 20.
pub const fn encoded_len(bytes: usize) -> usize {
    (bytes * 8).div_ceil(5)
}

/// Writes bytes as nix32. The empty slice is the empty string.
pub fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(encoded_len(bytes.len()));
    for position in (0..encoded_len(bytes.len())).rev() {
        let (index, shift) = (position * 5 / 8, position * 5 % 8);
        let low = u16::from(bytes[index]);
        let high = u16::from(bytes.get(index + 1).copied().unwrap_or(0));
        let digit = ((low | (high << 8)) >> shift) & 0x1f;
        text.push(char::from(ALPHABET[usize::from(digit)]));
    }
    text
}

/// Reads nix32.
///
/// # Errors
/// [`ProtocolError::InvalidNix32`] for a character outside the alphabet, for a length that no number of bytes
/// has, and for bits set beyond the last byte: every value has exactly one text.
pub fn decode(text: &str) -> Result<Vec<u8>, ProtocolError> {
    let refused = |reason: String| ProtocolError::InvalidNix32 {
        value: quote(text),
        reason,
    };
    let len = text.len() * 5 / 8;
    if encoded_len(len) != text.len() {
        return Err(refused(format!(
            "no number of bytes takes {} characters",
            text.len()
        )));
    }
    let mut bytes = vec![0u8; len];
    for (position, character) in text.bytes().rev().enumerate() {
        let digit = DIGIT_OF[usize::from(character)];
        if digit == NOT_A_DIGIT {
            return Err(refused(
                "expected only the characters 0123456789abcdfghijklmnpqrsvwxyz (no e, o, t, u)".to_owned(),
            ));
        }
        let (index, shift) = (position * 5 / 8, position * 5 % 8);
        let bits = u16::from(digit) << shift;
        let [low, high] = bits.to_le_bytes();
        if let Some(byte) = bytes.get_mut(index) {
            *byte |= low;
        } else if low != 0 {
            return Err(refused("bits are set beyond the last byte".to_owned()));
        }
        if let Some(byte) = bytes.get_mut(index + 1) {
            *byte |= high;
        } else if high != 0 {
            return Err(refused("bits are set beyond the last byte".to_owned()));
        }
    }
    Ok(bytes)
}

/// Reads nix32 of exactly `N` bytes.
pub(crate) fn decode_array<const N: usize>(text: &str) -> Result<[u8; N], ProtocolError> {
    let bytes = decode(text)?;
    bytes.try_into().map_err(|_| ProtocolError::InvalidNix32 {
        value: quote(text),
        reason: format!("expected {} characters", encoded_len(N)),
    })
}
