//! Random histories of uploads, deletions, collections and crashes, checked after every step.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestError, TestRng, TestRunner};

use super::interleavings::Order;
use super::*;
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
    /// The collection takes its next step.
    Collect,
    /// A whole collection.
    CollectAll,
    /// A stored index transaction and nothing else.
    Close,
    /// The machine stops at once, or after a number of disk operations of the next events.
    Crash(Survivors, Option<u64>),
}

/// The NARs of the universe: overlapping runs of eight chunks.
fn nar(of: usize) -> Vec<Chunk> {
    const NARS: [&[u32]; 5] = [&[0, 1, 2], &[2, 3, 4], &[1, 4, 5, 6], &[6, 7], &[0, 7]];
    chunks(NARS[of % NARS.len()].iter().copied())
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
    fn pin(of: usize) -> PinId {
        PinId([of as u8 + 1; 16])
    }

    fn upload(&mut self, store: &ChunkStore, of: usize, which: usize) -> Result<(), StoreError> {
        let pin = Self::pin(of);
        let state = self.uploads[of].clone();
        self.uploads[of] = match state {
            Upload::Idle => {
                let asked = hashes(&nar(which));
                match self.order {
                    Order::PinThenAnswer => {
                        store.pin(&pin, &asked);
                        Upload::Asking(which, Vec::new())
                    }
                    Order::AnswerThenPin => Upload::Asking(which, store.absent(&asked)?),
                }
            }
            Upload::Asking(which, missing) => {
                let asked = hashes(&nar(which));
                match self.order {
                    Order::PinThenAnswer => Upload::Asked(which, store.absent(&asked)?),
                    Order::AnswerThenPin => {
                        store.pin(&pin, &asked);
                        Upload::Asked(which, missing)
                    }
                }
            }
            Upload::Asked(which, missing) => {
                let sent = nar(which)
                    .into_iter()
                    .filter(|chunk| missing.contains(&chunk.hash));
                put(store, &sent.collect::<Vec<_>>())?;
                let manifest = manifest_of(&nar(which));
                store.pin_manifests(&pin, &[manifest.hash()]);
                store.put_manifest(&manifest)?;
                Upload::Sent(which)
            }
            Upload::Sent(which) => {
                store.flush()?;
                Upload::Flushed(which)
            }
            Upload::Flushed(which) => {
                self.live.insert(manifest_of(&nar(which)).hash(), which);
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

    fn check(&self, store: &ChunkStore) -> Result<(), TestCaseError> {
        for (manifest, which) in &self.live {
            let read = store.manifest(manifest);
            prop_assert!(read.is_ok(), "live manifest: {}", read.unwrap_err());
            for chunk in nar(*which) {
                match store.read_chunk(&chunk.hash) {
                    Ok(raw) => prop_assert_eq!(raw, chunk.raw),
                    Err(error) => prop_assert!(false, "live chunk: {error}"),
                }
            }
        }
        Ok(())
    }
}

fn collect_step<'a>(
    store: &'a ChunkStore,
    outside: &Outside,
    stage: Option<Stage<'a>>,
) -> Result<Option<Stage<'a>>, StoreError> {
    Ok(match stage {
        None => Some(Stage::Begun(Collection::begin(&store.inner)?)),
        Some(Stage::Begun(mut collection)) => {
            collection.mark(outside.manifests().into_iter().map(Ok))?;
            Some(Stage::Marked(collection))
        }
        Some(Stage::Marked(mut collection)) => {
            if collection.sweep(3)? {
                Some(Stage::Marked(collection))
            } else {
                Some(Stage::Swept(collection))
            }
        }
        Some(Stage::Swept(mut collection)) => {
            collection.reclaim()?;
            None
        }
    })
}

/// Plays events on one opened store until a crash; tells what survives it, or that all are played.
fn live_until_crash(
    disk: &MemoryDisk,
    store: &ChunkStore,
    outside: &mut Outside,
    events: &mut impl Iterator<Item = Event>,
) -> Result<Option<Survivors>, TestCaseError> {
    let mut stage = None;
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
                outside.live.remove(&manifest_of(&nar(which)).hash());
                Ok(())
            }
            Event::Collect => collect_step(store, outside, stage.take()).map(|next| stage = next),
            Event::CollectAll if stage.is_none() => collect(store, &outside.manifests()).map(|_| ()),
            Event::CollectAll => Ok(()),
            Event::Close => store.close(),
            Event::Crash(kept, None) => return Ok(Some(kept)),
            Event::Crash(kept, Some(operations)) => {
                survivors = kept;
                disk.crash_at(disk.operations() + operations);
                Ok(())
            }
        };
        // The only fault injected is the crash.
        if done.is_err() || crate::Disk::list(disk).is_err() {
            return Ok(Some(survivors));
        }
        outside.check(store)?;
    }
    Ok(None)
}

fn play(order: Order, events: Vec<Event>) -> Result<(), TestCaseError> {
    let disk = Arc::new(MemoryDisk::new());
    let mut outside = Outside {
        order,
        uploads: vec![Upload::Idle; UPLOADS],
        live: BTreeMap::new(),
    };
    let mut events = events.into_iter();
    loop {
        let store = ChunkStore::open(disk.clone(), SMALL).expect("every disk opens");
        outside.restart(&store);
        outside.check(&store)?;
        if let Some(survivors) = live_until_crash(&disk, &store, &mut outside, &mut events)? {
            disk.restart(survivors);
            continue;
        }
        for of in 0..UPLOADS {
            outside.abandon(&store, of);
        }
        disk.crash_at(u64::MAX);
        collect(&store, &outside.manifests()).unwrap();
        outside.check(&store)?;
        let live: BTreeSet<ChunkHash> = outside
            .live
            .values()
            .flat_map(|which| hashes(&nar(*which)))
            .collect();
        let universe = chunks(0..8);
        prop_assert_eq!(
            readable(&store, &universe),
            live,
            "after a quiet collection only what is live is here"
        );
        return Ok(());
    }
}

fn event() -> impl Strategy<Value = Event> {
    let survivors = prop_oneof![
        Just(Survivors::Synced),
        Just(Survivors::Everything),
        any::<u64>().prop_map(Survivors::Torn)
    ];
    let crash =
        (survivors, proptest::option::of(0..40_u64)).prop_map(|(kept, after)| Event::Crash(kept, after));
    prop_oneof![
        20 => (0..UPLOADS, 0..5_usize).prop_map(|(of, which)| Event::Upload(of, which)),
        1 => (0..UPLOADS).prop_map(Event::Abandon),
        4 => (0..5_usize).prop_map(Event::Delete),
        12 => Just(Event::Collect),
        1 => Just(Event::CollectAll),
        1 => Just(Event::Close),
        1 => crash,
    ]
}

fn histories() -> impl Strategy<Value = Vec<Event>> {
    proptest::collection::vec(event(), 1..80)
}

proptest! {
    #![proptest_config(Config { cases: 256, ..Config::default() })]

    #[test]
    fn no_history_loses_what_is_live_or_keeps_what_is_not(events in histories()) {
        play(Order::PinThenAnswer, events)?;
    }
}

#[test]
fn the_same_histories_catch_a_pin_taken_after_the_answer() {
    let config = Config {
        cases: 2048,
        max_shrink_iters: 0,
        failure_persistence: None,
        ..Config::default()
    };
    let algorithm = config.rng_algorithm;
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(algorithm));
    let outcome = runner.run(&histories(), |events| play(Order::AnswerThenPin, events));
    let Err(TestError::Fail(reason, _)) = outcome else {
        panic!("the harness does not see the mistake it is there for: {outcome:?}");
    };
    assert!(reason.message().contains("live chunk"), "{reason}");
}
