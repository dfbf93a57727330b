//! Frames, and what hostile ones look like.

use proptest::prelude::*;
use tetryx_protocol::chunking::CHUNK_MAX;
use tetryx_protocol::frame::{Compressor, FRAME_LEN_MAX, FrameError, FrameOpener, WINDOW_MAX, check_header};
use tetryx_protocol::hash::ChunkHash;
use zstd::zstd_safe;

use crate::fixtures::{damaged, damages, golden_hex, noise};

/// "hello" in a raw block: magic, descriptor (single segment, one byte of content size), size, block header, bytes.
const HELLO: &str = include_str!("../golden/frame_raw_block.hex");
/// 20,000 bytes of text as zstd 1.5 compressed them at level 3. Other versions and parameters may write other frames, but
/// this one opens for ever.
const COMPRESSED: &str = include_str!("../golden/frame_zstd_1_5.hex");

/// A skippable frame of four bytes.
const SKIPPABLE: [u8; 12] = [0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4];

fn text(len: usize) -> Vec<u8> {
    b"all work and no play makes a dull chunk. "
        .iter()
        .copied()
        .cycle()
        .take(len)
        .collect()
}

fn open(frame: &[u8], raw: &[u8]) -> Result<Vec<u8>, FrameError> {
    let mut opener = FrameOpener::new();
    opener
        .open(frame, ChunkHash::of(raw), raw.len() as u32)
        .map(<[u8]>::to_vec)
}

/// A frame that claims to be of `raw` and is refused.
#[track_caller]
fn refused(frame: &[u8], raw: &[u8]) -> FrameError {
    open(frame, raw).expect_err("a hostile frame was opened")
}

fn compress(raw: &[u8]) -> Vec<u8> {
    Compressor::new().compress(raw)
}

/// Compresses without regard to what a chunk may be.
fn compress_as(raw: &[u8], parameters: &[zstd_safe::CParameter]) -> Vec<u8> {
    let mut compressor = zstd::bulk::Compressor::new(3).unwrap();
    for parameter in parameters {
        compressor.set_parameter(*parameter).unwrap();
    }
    compressor.compress(raw).unwrap()
}

#[test]
fn a_golden_frame_opens() {
    assert_eq!(open(&golden_hex(HELLO), b"hello").unwrap(), b"hello");
    assert_eq!(
        open(&golden_hex(COMPRESSED), &text(20_000)).unwrap(),
        text(20_000)
    );
}

#[test]
fn a_compressor_and_an_opener_serve_many_chunks() {
    let (mut compressor, mut opener) = (Compressor::new(), FrameOpener::new());
    for seed in 1..20 {
        let raw = noise(seed, 1_000 * seed as usize);
        let frame = compressor.compress(&raw);
        assert_eq!(
            opener
                .open(&frame, ChunkHash::of(&raw), raw.len() as u32)
                .unwrap(),
            raw
        );
        assert!(
            opener
                .open(&frame, ChunkHash::of(b"x"), raw.len() as u32)
                .is_err()
        );
    }
}

#[test]
fn the_largest_incompressible_chunk_fits_the_largest_frame() {
    let raw = noise(9, CHUNK_MAX);
    let frame = compress(&raw);
    assert!(frame.len() <= FRAME_LEN_MAX);
    assert_eq!(FRAME_LEN_MAX, zstd_safe::compress_bound(CHUNK_MAX));
    assert_eq!(open(&frame, &raw).unwrap(), raw);
}

#[test]
fn frames_in_a_row_are_one_zstd_stream_of_the_nar() {
    let parts = [text(10_000), noise(1, 50_000), text(7)];
    let stream: Vec<u8> = parts.iter().flat_map(|part| compress(part)).collect();
    assert_eq!(
        zstd::stream::decode_all(stream.as_slice()).unwrap(),
        parts.concat()
    );
}

#[test]
fn other_content_of_the_same_length_is_refused_by_its_hash() {
    let error = refused(&compress(b"hella"), b"hello");
    assert!(
        matches!(error, FrameError::Hash { found, .. } if found == ChunkHash::of(b"hella")),
        "{error}"
    );
}

#[test]
fn a_chunk_of_no_bytes_or_too_many_is_refused() {
    assert!(matches!(
        refused(&compress(b""), b""),
        FrameError::RawLen { raw_len: 0, .. }
    ));
    let raw = vec![0; CHUNK_MAX + 1];
    assert!(matches!(
        refused(&compress_as(&raw, &[]), &raw),
        FrameError::RawLen { .. }
    ));
}

#[test]
fn two_frames_are_refused_even_if_together_they_are_the_chunk() {
    let two = [compress(b"hel"), compress(b"lo")].concat();
    assert!(matches!(
        refused(&two, b"hello"),
        FrameError::ContentSize {
            content_size: 3,
            raw_len: 5,
            ..
        }
    ));
    let again = [compress(b"hello"), compress(b"hello")].concat();
    assert!(matches!(refused(&again, b"hello"), FrameError::Trailing { .. }));
    let empty_after = [compress(b"hello"), compress(b"")].concat();
    assert!(matches!(
        refused(&empty_after, b"hello"),
        FrameError::Trailing { .. }
    ));
}

#[test]
fn skippable_frames_are_refused_before_after_and_alone() {
    let frame = compress(b"hello");
    assert!(matches!(
        refused(&[&SKIPPABLE, frame.as_slice()].concat(), b"hello"),
        FrameError::NotAFrame { .. }
    ));
    assert!(matches!(
        refused(&[frame.as_slice(), &SKIPPABLE].concat(), b"hello"),
        FrameError::Trailing { .. }
    ));
    assert!(matches!(
        refused(&SKIPPABLE, b"hello"),
        FrameError::NotAFrame { .. }
    ));
}

#[test]
fn a_wrong_content_size_is_refused() {
    assert!(matches!(
        refused(&compress(b"hello!"), b"hello"),
        FrameError::ContentSize { content_size: 6, .. }
    ));
    // The header says 5, the block has 4 or 6.
    for (len, block) in [(4u8, b"hell".as_slice()), (6, b"hello!")] {
        let mut frame = golden_hex(HELLO);
        frame.truncate(6);
        frame.extend([(len << 3) | 1, 0, 0]);
        frame.extend(block);
        assert!(
            matches!(refused(&frame, b"hello"), FrameError::Damaged { .. }),
            "{len}"
        );
    }
}

#[test]
fn a_missing_content_size_is_refused() {
    let frame = compress_as(b"hello", &[zstd_safe::CParameter::ContentSizeFlag(false)]);
    assert_eq!(zstd::stream::decode_all(frame.as_slice()).unwrap(), b"hello");
    assert!(matches!(
        refused(&frame, b"hello"),
        FrameError::NoContentSize { raw_len: 5, .. }
    ));
}

#[test]
fn a_zip_bomb_is_refused_whether_it_is_honest_or_lies() {
    let bomb = compress_as(&vec![0; 64 * 1024 * 1024], &[]);
    assert!(bomb.len() < 8 * 1024);
    let error = refused(&bomb, b"hello");
    assert!(
        matches!(error, FrameError::ContentSize { .. }) || matches!(error, FrameError::Window { .. }),
        "{error}"
    );
    // Within the bounds of a chunk but longer than its header says: the four bytes of content size are overwritten.
    let mut lying = compress_as(&vec![0; 200 * 1024], &[]);
    assert_eq!(lying[4], 0xa0, "single segment, four bytes of content size");
    lying[5..9].copy_from_slice(&70_000u32.to_le_bytes());
    assert!(matches!(
        refused(&lying, &vec![0; 70_000]),
        FrameError::Damaged { .. }
    ));
    // More than a chunk, said to be the largest chunk.
    let mut lying = compress_as(&vec![0; 2 * CHUNK_MAX], &[]);
    assert_eq!(lying[4], 0xa0, "single segment, four bytes of content size");
    lying[5..9].copy_from_slice(&(CHUNK_MAX as u32).to_le_bytes());
    assert!(matches!(
        refused(&lying, &vec![0; CHUNK_MAX]),
        FrameError::Damaged { .. }
    ));
}

#[test]
fn a_dictionary_is_refused() {
    // Descriptor with a dictionary id of one byte, and that byte, even where it is 0 and means none.
    for id in [0, 7] {
        let mut frame = golden_hex(HELLO);
        frame[4] |= 1;
        frame.insert(5, id);
        assert!(matches!(refused(&frame, b"hello"), FrameError::Dictionary { .. }));
    }
    // The content is a reference into a raw dictionary the receiver has not.
    let mut compressor = zstd::bulk::Compressor::with_dictionary(3, &noise(5, 4_096)).unwrap();
    let raw = noise(5, 4_096);
    let frame = compressor.compress(&raw).unwrap();
    assert!(matches!(
        refused(&frame, &raw),
        FrameError::Damaged { .. } | FrameError::Hash { .. }
    ));
}

#[test]
fn a_window_that_nix_would_refuse_is_refused() {
    // No single segment, a window of 2^(10 + exponent) bytes, four bytes of content size.
    let frame = |exponent: u8| {
        let mut frame = golden_hex(HELLO);
        frame.splice(4..6, [0x80, exponent << 3, 5, 0, 0, 0]);
        frame
    };
    assert_eq!(open(&frame(13), b"hello").unwrap(), b"hello");
    assert!(
        matches!(refused(&frame(14), b"hello"), FrameError::Window { window, .. } if window == 2 * WINDOW_MAX)
    );
    assert!(matches!(refused(&frame(31), b"hello"), FrameError::Window { .. }));
}

#[test]
fn trailing_bytes_are_refused() {
    for tail in [&b"\0"[..], b"hello", &[0; 100]] {
        let frame = [compress(b"hello").as_slice(), tail].concat();
        let len = frame.len();
        let error = refused(&frame, b"hello");
        assert!(
            matches!(error, FrameError::Trailing { frame_len, len: all, .. } if all == len && frame_len == len - tail.len())
        );
    }
}

#[test]
fn a_frame_cut_off_anywhere_is_refused() {
    let raw = text(3_000);
    let frame = compress(&raw);
    for len in 0..frame.len() {
        refused(&frame[..len], &raw);
    }
}

#[test]
fn any_flipped_bit_is_refused_or_changes_nothing() {
    let raw = [text(500), noise(3, 300)].concat();
    let frame = compress(&raw);
    let mut opener = FrameOpener::new();
    for bit in 0..frame.len() * 8 {
        let mut flipped = frame.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        if let Ok(opened) = opener.open(&flipped, ChunkHash::of(&raw), raw.len() as u32) {
            assert_eq!(opened, raw, "bit {bit}");
        }
    }
}

#[test]
fn an_overlong_frame_is_refused_unread() {
    let frame = vec![0; FRAME_LEN_MAX + 1];
    assert!(matches!(refused(&frame, b"hello"), FrameError::TooLong { len, .. } if len == FRAME_LEN_MAX + 1));
}

#[test]
fn messages_name_the_chunk_and_both_values() {
    let chunk = ChunkHash::of(b"hello").fmt_short();
    let message = refused(&compress(b"hello!"), b"hello").to_string();
    assert_eq!(
        message,
        format!("chunk {chunk}: its frame header says 6 bytes; expected 5")
    );
}

proptest! {
    #[test]
    fn a_chunk_round_trips(seed in any::<u64>(), len in 1..CHUNK_MAX, repeat in 1..50usize) {
        let raw = noise(seed, len / repeat + 1).repeat(repeat);
        let raw = &raw[..raw.len().min(CHUNK_MAX)];
        let frame = compress(raw);
        prop_assert!(check_header(&frame, ChunkHash::of(raw), raw.len() as u32).is_ok());
        prop_assert!(open(&frame, raw).unwrap() == raw);
    }

    #[test]
    fn a_damaged_frame_never_panics_and_never_opens_as_something_else(
        seed in any::<u64>(), len in 1..5_000usize, damages in damages()
    ) {
        let raw = [noise(seed, len), text(len)].concat();
        let frame = damaged(&compress(&raw), &damages);
        if let Ok(opened) = open(&frame, &raw) {
            prop_assert!(opened == raw);
        }
    }
}
