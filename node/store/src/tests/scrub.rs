//! Scrubbing: what is bad is found within a round, whatever happens in between, and what is good is left alone.

use super::*;
use crate::{Object, ScrubRound};
use tetryx_protocol::time::UtcTime;

const START: UtcTime = UtcTime::from_unix_ms(1_000);
const LATER: UtcTime = UtcTime::from_unix_ms(9_000);
/// About two test chunks.
const STEP: u64 = 2_000;

fn begin(world: &World) -> ScrubRound {
    world.store.begin_scrub(START).unwrap()
}

/// Goes to the end of the round in small steps; what was found.
fn finish(world: &World, round: &mut ScrubRound) -> Vec<Object> {
    let mut found = Vec::new();
    loop {
        let step = world.store.scrub(round, STEP).unwrap();
        found.extend(step.damaged);
        if step.is_over {
            return found;
        }
    }
}

/// Flips a bit of a chunk's record, so many bytes behind its beginning.
fn hit(world: &World, chunk: &Chunk, behind: u64) {
    let place = world.store.locate(&[chunk.hash]).unwrap()[0].unwrap();
    let name = format!("segment-{:010}.pack", place.segment);
    world.disk.flip_bit(&name, place.offset + behind, 2);
}

#[test]
fn small_steps_find_every_damaged_record_and_no_other() {
    let some = chunks(0..40);
    let world = World::new();
    world.publish(&some);
    let bad: Vec<usize> = vec![0, 3, 4, 17, 39];
    for (nth, at) in bad.iter().enumerate() {
        // The first two lose their headers: where the next record begins cannot be told from them.
        hit(&world, &some[*at], if nth < 2 { 5 } else { 100 });
    }
    let mut round = begin(&world);
    let mut found = finish(&world, &mut round);
    found.sort_unstable();
    let mut expected: Vec<Object> = bad.iter().map(|at| Object::Chunk(some[*at].hash)).collect();
    expected.sort_unstable();
    assert_eq!(found, expected);
    assert_eq!((round.records, round.found), (41, 5));
    assert_eq!(round.segments, world.segments().len() as u64);
    let mut known = world.store.damaged();
    known.sort_unstable();
    assert_eq!(known, expected);

    let mut again = begin(&world);
    assert_eq!(finish(&world, &mut again), [], "what is known is not found again");
}

#[test]
fn a_round_goes_on_after_a_crash_where_it_was_saved() {
    let some = chunks(0..40);
    let mut world = World::new();
    world.publish(&some);
    world.store.close().unwrap();
    hit(&world, &some[1], 100);
    hit(&world, &some[38], 100);

    let mut round = begin(&world);
    while round.bytes < 12_000 {
        world.store.scrub(&mut round, STEP).unwrap();
    }
    world.store.save_scrub(&round).unwrap();
    let saved = round.bytes;
    world.store.scrub(&mut round, STEP).unwrap();
    world.restart(Survivors::Synced);

    let mut round = world.store.saved_scrub().unwrap().expect("it was saved");
    assert_eq!((round.bytes, round.found, round.begun), (saved, 1, START));
    assert_eq!(
        world.store.damaged(),
        [Object::Chunk(some[1].hash)],
        "what was found before is in quarantine"
    );
    assert_eq!(finish(&world, &mut round), [Object::Chunk(some[38].hash)]);
    assert_eq!(round.records, 41);
    assert_eq!(round.bytes_total, world.store.stats().unwrap().pack_bytes);
    let done = world.store.end_scrub(&round, LATER).unwrap();
    world.restart(Survivors::Synced);
    assert_eq!(world.store.last_scrub().unwrap(), Some(done));
    assert_eq!(world.store.saved_scrub().unwrap(), None);
    assert_eq!((done.begun, done.ended, done.found), (START, LATER, 2));
}

#[test]
fn what_is_in_quarantine_counts_as_missing_until_it_is_put_again() {
    let some = chunks(0..10);
    let mut world = World::new();
    world.publish(&some);
    hit(&world, &some[5], 90);
    let mut round = begin(&world);
    finish(&world, &mut round);
    world.store.end_scrub(&round, LATER).unwrap();
    world.restart(Survivors::Synced);

    assert!(!world.store.contains(&some[5].hash).unwrap());
    assert_eq!(
        world.store.missing(&UPLOAD, &hashes(&some)).unwrap(),
        [some[5].hash]
    );
    assert!(matches!(
        world.store.read_frames(&[some[5].hash]),
        Err(StoreError::Corrupt { .. })
    ));
    world.put(&some[5..6]);
    world.store.flush().unwrap();
    assert_eq!(world.store.damaged(), []);
    world.restart(Survivors::Synced);
    assert_eq!(world.store.damaged(), []);
    world.assert_readable(&some);
}

#[test]
fn quarantine_ends_with_what_was_in_it() {
    let some = chunks(0..10);
    let mut world = World::new();
    world.publish(&some);
    hit(&world, &some[2], 90);
    let mut round = begin(&world);
    finish(&world, &mut round);
    world.store.save_scrub(&round).unwrap();
    world.collect(&[]);
    assert_eq!(world.store.damaged(), []);
    assert_eq!(world.store.stats().unwrap().damaged, 0);
    world.restart(Survivors::Synced);
    assert_eq!(world.store.damaged(), []);
}

#[test]
fn a_round_beside_collections_and_puts_ends_and_blames_nobody() {
    let (kept, gone) = (chunks(0..20), chunks(100..160));
    let world = World::new();
    world.put(&kept[..10]);
    world.put(&gone);
    let manifest = world.publish(&kept);
    let mut round = begin(&world);
    let mut steps = 0;
    loop {
        let step = world.store.scrub(&mut round, STEP).unwrap();
        assert_eq!(step.damaged, []);
        if step.is_over {
            break;
        }
        steps += 1;
        match steps {
            3 => {
                world.collect(&[manifest]);
            }
            // More arrives than a step reads: the round does not wait for it.
            4.. => world.put(&chunks(1_000 * steps..1_000 * steps + 4)),
            _ => {}
        }
        assert!(steps < 60, "the round does not come to its end");
    }
    world.assert_readable(&kept);
}
