//! Random histories of uploads, fetches, reads, deletions, collections, rewriting and crashes, checked after every step.
//!
//! # Invariants
//! - What is live, what an upload was told of or has put under its pin, and what a reader was told of under its hold, is
//!   here whole after every step, and after every crash as far as it was promised.
//! - After a quiet collection nothing else is.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestError, TestRng, TestRunner};

use super::interleavings::Order;
use super::*;
use crate::HeldNar;
use crate::collect::Collection;

const UPLOADS: usize = 2;

/// What can happen next.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// An upload takes its next step; an idle one begins with this NAR.
    Upload(usize, usize),
    /// An upload is given up.
    Abandon(usize),
    /// The path of a NAR is deleted.
    Delete(usize),
    /// A reader asks for a NAR under a hold, or reads what it holds and lets go.
    Read(usize),
    /// The collection takes its next step.
    Collect,
    /// A whole collection, without rewriting.
    CollectAll,
    /// A stretch of what the last collection found sparse is rewritten.
    Rewrite,
    /// A stored index transaction and nothing else.
    Close,
    /// The machine stops at once, or after a number of disk operations of the next events.
    Crash(Survivors, Option<u64>),
}

/// The NARs of the universe: they overlap.
const NARS: [&[u32]; 7] = [
    &[0, 1, 2],
    &[2, 3, 4],
    &[1, 4, 5, 6],
    &[6, 7],
    &[0, 7],
    &[3, 8, 9, 10, 11],
    &[5, 10, 12, 13],
];
const UNIVERSE: std::ops::Range<u32> = 0..14;

/// The chunks of a NAR. Made once: compressing them is most of the work.
fn nar(of: usize) -> &'static [Chunk] {
    static MADE: LazyLock<Vec<Vec<Chunk>>> =
        LazyLock::new(|| NARS.iter().map(|nar| chunks(nar.iter().copied())).collect());
    &MADE[of]
}

fn manifest(of: usize) -> &'static Manifest {
    static MADE: LazyLock<Vec<Manifest>> =
        LazyLock::new(|| (0..NARS.len()).map(|of| manifest_of(nar(of))).collect());
    &MADE[of]
}

#[derive(Clone, Debug)]
enum Upload {
    Idle,
    /// First of the two halves of asking is done.
    Asking(usize, Vec<ChunkHash>),
    Asked(usize, Vec<ChunkHash>),
    Sent(usize),
    Flushed(usize),
    Published,
}

/// What the world outside the store knows; it survives crashes, as the replicated state does.
struct Outside {
    order: Order,
    uploads: Vec<Upload>,
    live: BTreeMap<ManifestHash, usize>,
}

/// The steps of a collection that is taken step by step.
enum Stage<'a> {
    Begun(Collection<'a>),
    Marked(Collection<'a>),
    Swept(Collection<'a>),
}

impl Outside {
    /// Every NAR is there when a history begins.
    fn publish_all(&mut self, store: &ChunkStore) {
        for which in 0..NARS.len() {
            put(store, nar(which)).expect("there is room");
            let manifest = store.put_manifest(manifest(which)).expect("there is room");
            store.flush().expect("the disk works");
            self.live.insert(manifest, which);
        }
    }

    fn pin(of: usize) -> PinId {
        PinId([of as u8 + 1; 16])
    }

    fn upload(&mut self, store: &ChunkStore, of: usize, which: usize) -> Result<(), StoreError> {
        let pin = Self::pin(of);
        let state = self.uploads[of].clone();
        self.uploads[of] = match state {
            Upload::Idle => {
                let asked = hashes(nar(which));
                match self.order {
                    Order::PinThenAnswer => {
                        store.pin(&pin, &asked);
                        Upload::Asking(which, Vec::new())
                    }
                    Order::AnswerThenPin => Upload::Asking(which, store.absent(&asked)?),
                }
            }
            Upload::Asking(which, missing) => {
                let asked = hashes(nar(which));
                match self.order {
                    Order::PinThenAnswer => Upload::Asked(which, store.absent(&asked)?),
                    Order::AnswerThenPin => {
                        store.pin(&pin, &asked);
                        Upload::Asked(which, missing)
                    }
                }
            }
            Upload::Asked(which, missing) => {
                let sent = nar(which).iter().filter(|chunk| missing.contains(&chunk.hash));
                put(store, &sent.cloned().collect::<Vec<_>>())?;
                let manifest = manifest(which);
                store.pin_manifests(&pin, &[manifest.hash()]);
                store.put_manifest(manifest)?;
                Upload::Sent(which)
            }
            Upload::Sent(which) => {
                store.flush()?;
                Upload::Flushed(which)
            }
            Upload::Flushed(which) => {
                self.live.insert(manifest(which).hash(), which);
                Upload::Published
            }
            Upload::Published => {
                store.unpin(&pin);
                Upload::Idle
            }
        };
        Ok(())
    }

    fn abandon(&mut self, store: &ChunkStore, of: usize) {
        store.unpin(&Self::pin(of));
        self.uploads[of] = Upload::Idle;
    }

    /// What a restart does to uploads: those that had flushed may still be published, since their
    /// proposal may be under way; the others are gone and their pins are released.
    fn restart(&mut self, store: &ChunkStore) {
        for of in 0..UPLOADS {
            if !matches!(self.uploads[of], Upload::Flushed(_) | Upload::Published) {
                self.abandon(store, of);
            }
        }
    }

    fn manifests(&self) -> Vec<ManifestHash> {
        self.live.keys().copied().collect()
    }

    /// What each upload was told of or has put, under a pin.
    fn check_pinned(&self, store: &ChunkStore) -> Result<(), TestCaseError> {
        for upload in &self.uploads {
            let (which, missing) = match upload {
                Upload::Idle | Upload::Asking(..) | Upload::Published => continue,
                Upload::Asked(which, missing) => (*which, missing.as_slice()),
                Upload::Sent(which) | Upload::Flushed(which) => (*which, [].as_slice()),
            };
            let mut told = hashes(nar(which));
            told.retain(|chunk| !missing.contains(chunk));
            let read = store.read_frames(&told);
            prop_assert!(read.is_ok(), "pinned chunk: {}", read.unwrap_err());
        }
        Ok(())
    }

    fn check(&self, store: &ChunkStore) -> Result<(), TestCaseError> {
        for (manifest, which) in &self.live {
            let read = store.manifest(manifest);
            prop_assert!(read.is_ok(), "live manifest: {}", read.unwrap_err());
            match store.read_frames(&hashes(nar(*which))) {
                Ok(frames) => {
                    for (chunk, frame) in nar(*which).iter().zip(frames) {
                        prop_assert_eq!(&frame, &chunk.frame);
                    }
                }
                Err(error) => prop_assert!(false, "live chunk: {error}"),
            }
        }
        Ok(())
    }
}

fn collect_step<'a>(
    store: &'a ChunkStore,
    outside: &Outside,
    stage: Option<Stage<'a>>,
    tally: &mut Tally,
) -> Result<Option<Stage<'a>>, StoreError> {
    Ok(match stage {
        None => Some(Stage::Begun(Collection::begin(&store.inner)?)),
        Some(Stage::Begun(mut collection)) => {
            collection.mark(outside.manifests().into_iter().map(Ok))?;
            Some(Stage::Marked(collection))
        }
        Some(Stage::Marked(mut collection)) => {
            if collection.sweep(6)? {
                Some(Stage::Marked(collection))
            } else {
                Some(Stage::Swept(collection))
            }
        }
        Some(Stage::Swept(mut collection)) => {
            let plan = collection.reclaim()?;
            *store.inner.collecting.lock() = plan;
            tally.removed += collection.report.chunks_removed;
            None
        }
    })
}

/// Takes a reader's next step.
fn read_step(
    store: &ChunkStore,
    reader: Option<HeldNar>,
    which: usize,
) -> Result<Option<HeldNar>, StoreError> {
    match reader {
        None => store.hold_nar(&manifest(which).hash()),
        Some(_) => Ok(None),
    }
}

/// What a reader was told of is here as long as it holds it.
fn check_held(store: &ChunkStore, held: &HeldNar) -> Result<(), TestCaseError> {
    let told = held.manifest.chunks.iter().map(|chunk| chunk.hash);
    let told: Vec<ChunkHash> = told.filter(|chunk| !held.missing.contains(chunk)).collect();
    let read = store.read_frames(&told);
    prop_assert!(read.is_ok(), "held chunk: {}", read.unwrap_err());
    Ok(())
}

/// What happened in a history.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    crashes: u64,
    /// Crashes in the middle of a collection or of a stretch of rewriting.
    crashes_in_collection: u64,
    stretches: u64,
    removed: u64,
}

/// Plays events on one opened store until a crash; tells what survives it, or that all are played.
fn live_until_crash(
    disk: &MemoryDisk,
    store: &ChunkStore,
    outside: &mut Outside,
    events: &mut impl Iterator<Item = Event>,
    tally: &mut Tally,
) -> Result<Option<Survivors>, TestCaseError> {
    let mut stage = None;
    let mut reader = None;
    let mut survivors = Survivors::Everything;
    for event in events {
        let done = match event {
            Event::Upload(of, which) => outside.upload(store, of, which),
            Event::Abandon(of) => {
                // A proposal under way decides its upload's fate.
                if !matches!(outside.uploads[of], Upload::Flushed(_)) {
                    outside.abandon(store, of);
                }
                Ok(())
            }
            Event::Delete(which) => {
                outside.live.remove(&manifest(which).hash());
                Ok(())
            }
            Event::Read(which) => read_step(store, reader.take(), which).map(|next| reader = next),
            Event::Collect => collect_step(store, outside, stage.take(), tally).map(|next| stage = next),
            Event::CollectAll if stage.is_none() => store
                .sweep(|| Ok(outside.manifests().into_iter().map(Ok::<_, MarkError>)))
                .map(|report| tally.removed += report.chunks_removed),
            Event::Rewrite if stage.is_none() => store
                .rewrite(1)
                .map(|stretch| tally.stretches += u64::from(stretch.bytes_copied > 0)),
            Event::CollectAll | Event::Rewrite => Ok(()),
            Event::Close => store.close(),
            Event::Crash(kept, None) => {
                tally.crashes_in_collection += u64::from(stage.is_some());
                return Ok(Some(kept));
            }
            Event::Crash(kept, Some(operations)) => {
                survivors = kept;
                disk.crash_at(disk.operations() + operations);
                Ok(())
            }
        };
        // The only fault injected is the crash.
        if done.is_err() || crate::Disk::list(disk).is_err() {
            let collects = matches!(event, Event::Collect | Event::CollectAll | Event::Rewrite);
            tally.crashes_in_collection += u64::from(collects || stage.is_some());
            return Ok(Some(survivors));
        }
        outside.check(store)?;
        outside.check_pinned(store)?;
        if let Some(held) = &reader {
            check_held(store, held)?;
        }
    }
    Ok(None)
}

fn play(order: Order, events: Vec<Event>) -> Result<Tally, TestCaseError> {
    let mut tally = Tally::default();
    let disk = Arc::new(MemoryDisk::new());
    let mut outside = Outside {
        order,
        uploads: vec![Upload::Idle; UPLOADS],
        live: BTreeMap::new(),
    };
    outside.publish_all(&ChunkStore::open(disk.clone(), SMALL).expect("an empty disk opens"));
    let mut events = events.into_iter();
    loop {
        let store = ChunkStore::open(disk.clone(), SMALL).expect("every disk opens");
        outside.restart(&store);
        outside.check(&store)?;
        if let Some(survivors) = live_until_crash(&disk, &store, &mut outside, &mut events, &mut tally)? {
            tally.crashes += 1;
            drop(store);
            disk.restart(survivors);
            continue;
        }
        for of in 0..UPLOADS {
            outside.abandon(&store, of);
        }
        disk.crash_at(u64::MAX);
        let report = collect(&store, &outside.manifests()).unwrap();
        outside.check(&store)?;
        let live: BTreeSet<ChunkHash> = outside
            .live
            .values()
            .flat_map(|which| hashes(nar(*which)))
            .collect();
        let universe = chunks(UNIVERSE);
        prop_assert_eq!(
            readable(&store, &universe),
            live,
            "after a quiet collection only what is live is here"
        );
        let stats = store.stats().unwrap();
        prop_assert_eq!(stats.manifests, outside.live.len() as u64);
        prop_assert!(report.garbage_left * 10 <= stats.pack_bytes);
        return Ok(tally);
    }
}

fn crash() -> impl Strategy<Value = Event> {
    let survivors = prop_oneof![
        Just(Survivors::Synced),
        Just(Survivors::Everything),
        any::<u64>().prop_map(Survivors::Torn)
    ];
    (survivors, proptest::option::of(0..40_u64)).prop_map(|(kept, after)| Event::Crash(kept, after))
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        20 => (0..UPLOADS, 0..NARS.len()).prop_map(|(of, which)| Event::Upload(of, which)),
        1 => (0..UPLOADS).prop_map(Event::Abandon),
        7 => (0..NARS.len()).prop_map(Event::Delete),
        4 => (0..NARS.len()).prop_map(Event::Read),
        12 => Just(Event::Collect),
        3 => Just(Event::CollectAll),
        8 => Just(Event::Rewrite),
        1 => Just(Event::Close),
        1 => crash(),
    ]
}

fn histories() -> impl Strategy<Value = Vec<Event>> {
    proptest::collection::vec(event(), 1..80)
}

/// Histories in which the machine stops at least once.
fn histories_with_crashes() -> impl Strategy<Value = Vec<Event>> {
    (
        proptest::collection::vec(event(), 10..80),
        crash(),
        any::<prop::sample::Index>(),
    )
        .prop_map(|(mut events, crash, at)| {
            events.insert(at.index(events.len()), crash);
            events
        })
}

proptest! {
    #![proptest_config(Config { cases: 256, ..Config::default() })]

    #[test]
    fn no_history_loses_what_is_live_or_keeps_what_is_not(events in histories()) {
        play(Order::PinThenAnswer, events)?;
    }
}

/// Plays the same 2,000 histories whenever it is called, until one fails.
fn play_two_thousand(order: Order) -> (Tally, Result<(), TestError<Vec<Event>>>) {
    let config = Config {
        cases: 2_000,
        max_shrink_iters: 0,
        failure_persistence: None,
        ..Config::default()
    };
    let algorithm = config.rng_algorithm;
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(algorithm));
    let total = std::cell::Cell::new(Tally::default());
    let outcome = runner.run(&histories_with_crashes(), |events| {
        let tally = play(order, events)?;
        let before = total.get();
        total.set(Tally {
            crashes: before.crashes + tally.crashes,
            crashes_in_collection: before.crashes_in_collection + tally.crashes_in_collection,
            stretches: before.stretches + tally.stretches,
            removed: before.removed + tally.removed,
        });
        Ok(())
    });
    (total.get(), outcome)
}

#[test]
fn two_thousand_histories_with_crashes_lose_nothing_live_or_pinned_and_leave_no_orphan() {
    let (total, outcome) = play_two_thousand(Order::PinThenAnswer);
    if let Err(error) = outcome {
        panic!("{error}");
    }
    assert!(total.crashes >= 2_000, "{total:?}");
    assert!(total.crashes_in_collection >= 200, "{total:?}");
    assert!(total.stretches >= 200 && total.removed >= 200, "{total:?}");
}

#[test]
fn the_same_histories_catch_a_pin_taken_after_the_answer() {
    let (_, outcome) = play_two_thousand(Order::AnswerThenPin);
    let Err(TestError::Fail(reason, _)) = outcome else {
        panic!("the harness does not see the mistake it is there for: {outcome:?}");
    };
    let message = reason.message();
    assert!(
        message.contains("live chunk") || message.contains("pinned chunk"),
        "{reason}"
    );
}
