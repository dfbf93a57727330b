//! Cutting.

use fastcdc::v2020::FastCDC;
use proptest::prelude::*;
use tetryx_protocol::chunking::{CHUNK_AVG, CHUNK_MAX, CHUNK_MIN, CUT_FORMAT, Cutter};

use crate::fixtures::{assert_golden_text, noise};

/// Cuts `data` given in blocks of these lengths, over and over.
fn cut(cutter: &mut Cutter, data: &[u8], blocks: &[usize]) -> Vec<Vec<u8>> {
    let mut chunks = Vec::new();
    let mut rest = data;
    for len in blocks.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (block, after) = rest.split_at((*len).min(rest.len()));
        rest = after;
        cutter.push(block);
        chunks.extend(std::iter::from_fn(|| cutter.next_chunk()));
    }
    chunks.extend(std::iter::from_fn(|| cutter.finish()));
    chunks
}

fn lengths(chunks: &[Vec<u8>]) -> Vec<usize> {
    chunks.iter().map(Vec::len).collect()
}

fn lengths_by_fastcdc(data: &[u8]) -> Vec<usize> {
    FastCDC::new(data, CHUNK_MIN, CHUNK_AVG, CHUNK_MAX)
        .map(|chunk| chunk.length)
        .collect()
}

#[test]
fn boundaries_are_those_of_this_cut_format() {
    let golden = match CUT_FORMAT {
        1 => include_str!("../golden/cut_format_1.txt"),
        other => panic!("commit tests/golden/cut_format_{other}.txt for the new way of cutting"),
    };
    let data = [noise(1, 3_000_000), vec![0; 700_000], noise(2, 300_000)].concat();
    let lines = lengths(&cut(&mut Cutter::new(), &data, &[65_536]))
        .into_iter()
        .map(|len| format!("{len}\n"));
    let text = format!(
        "{CHUNK_MIN} {CHUNK_AVG} {CHUNK_MAX}\n{}",
        lines.collect::<String>()
    );
    assert_golden_text(&format!("cut_format_{CUT_FORMAT}.txt"), golden, &text);
}

#[test]
fn nothing_is_cut_into_nothing() {
    assert!(cut(&mut Cutter::new(), &[], &[1]).is_empty());
}

#[test]
fn less_than_a_smallest_chunk_is_one_chunk() {
    for len in [1, CHUNK_MIN - 1, CHUNK_MIN] {
        let data = noise(3, len);
        assert_eq!(cut(&mut Cutter::new(), &data, &[7_001]), [data]);
    }
}

#[test]
fn a_chunk_comes_as_soon_as_a_largest_one_has_been_pushed() {
    let mut cutter = Cutter::new();
    cutter.push(&vec![0; CHUNK_MAX - 1]);
    assert_eq!(cutter.next_chunk(), None);
    cutter.push(&[0]);
    assert_eq!(cutter.next_chunk().map(|chunk| chunk.len()), Some(CHUNK_MAX));
    assert_eq!((cutter.next_chunk(), cutter.finish()), (None, None));
}

#[test]
fn a_finished_cutter_cuts_the_next_nar_like_a_new_one() {
    let (first, second) = (noise(4, 1_000_000), noise(5, 1_000_000));
    let mut cutter = Cutter::new();
    cut(&mut cutter, &first, &[4_096]);
    assert_eq!(
        cut(&mut cutter, &second, &[4_096]),
        cut(&mut Cutter::new(), &second, &[9_999])
    );
}

#[test]
fn a_change_in_the_middle_changes_few_chunks() {
    let before = noise(6, 4_000_000);
    let after = [&before[..2_000_000], b"an insertion", &before[2_000_000..]].concat();
    let (before, after) = (
        cut(&mut Cutter::new(), &before, &[65_536]),
        cut(&mut Cutter::new(), &after, &[65_536]),
    );
    let changed = after.iter().filter(|chunk| !before.contains(chunk)).count();
    assert!(changed <= 3, "{changed} of {} chunks changed", after.len());
}

#[test]
fn tiny_blocks_cost_no_more_than_linear_time() {
    // A million pushes of a few bytes: with a move of the buffer at each push this would take minutes.
    let data = noise(7, 8_000_000);
    assert_eq!(
        lengths(&cut(&mut Cutter::new(), &data, &[1, 13])),
        lengths_by_fastcdc(&data)
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn boundaries_do_not_depend_on_blocks_and_are_those_of_fastcdc_over_the_whole(
        parts in prop::collection::vec((any::<u64>(), 0..600_000usize, prop::bool::weighted(0.2)), 0..4),
        blocks in prop::collection::vec(1..400_000usize, 1..6),
    ) {
        let part = |(seed, len, zeros): &(u64, usize, bool)| if *zeros { vec![0; *len] } else { noise(*seed, *len) };
        let data = parts.iter().flat_map(part).collect::<Vec<u8>>();
        let chunks = cut(&mut Cutter::new(), &data, &blocks);
        prop_assert_eq!(lengths(&chunks), lengths_by_fastcdc(&data));
        prop_assert!(chunks.iter().all(|chunk| (1..=CHUNK_MAX).contains(&chunk.len())));
        prop_assert!(chunks.concat() == data);
    }
}
