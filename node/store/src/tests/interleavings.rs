//! Every interleaving of an upload, a deletion and a collection.

use super::*;
use crate::collect::Collection;

/// In which order an upload takes its pin and asks what is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// As [`ChunkStore::missing`] does it.
    PinThenAnswer,
    /// The mistake that the harness must catch.
    AnswerThenPin,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Actor {
    Upload,
    Deletion,
    Collection,
}

/// The steps of each actor.
const STEPS: [(Actor, usize); 3] = [(Actor::Upload, 6), (Actor::Deletion, 1), (Actor::Collection, 5)];

struct Scene<'a> {
    store: &'a ChunkStore,
    order: Order,
    nar: Vec<Chunk>,
    missing: Vec<ChunkHash>,
    live: Vec<ManifestHash>,
    collection: Option<Collection<'a>>,
}

impl<'a> Scene<'a> {
    fn step(&mut self, actor: Actor, step: usize) {
        match actor {
            Actor::Upload => self.upload(step),
            Actor::Deletion => {
                self.live.remove(0);
            }
            Actor::Collection => self.collect(step),
        }
    }

    fn upload(&mut self, step: usize) {
        let asked = hashes(&self.nar);
        let manifest = manifest_of(&self.nar);
        match (step, self.order) {
            (0, Order::PinThenAnswer) | (1, Order::AnswerThenPin) => self.store.pin(&UPLOAD, &asked),
            (1, Order::PinThenAnswer) | (0, Order::AnswerThenPin) => {
                self.missing = self.store.absent(&asked).unwrap();
            }
            (2, _) => {
                let sent = self
                    .nar
                    .iter()
                    .filter(|chunk| self.missing.contains(&chunk.hash))
                    .cloned();
                put(self.store, &sent.collect::<Vec<_>>()).unwrap();
                self.store.pin_manifests(&UPLOAD, &[manifest.hash()]);
                self.store.put_manifest(&manifest).unwrap();
            }
            (3, _) => self.store.flush().unwrap(),
            (4, _) => self.live.push(manifest.hash()),
            _ => self.store.unpin(&UPLOAD),
        }
    }

    fn collect(&mut self, step: usize) {
        if step == 0 {
            self.collection = Some(Collection::begin(&self.store.inner).unwrap());
            return;
        }
        let collection = self.collection.as_mut().expect("the collection has begun");
        match step {
            1 => collection
                .mark(self.live.iter().map(|manifest| Ok(*manifest)))
                .unwrap(),
            2 => {
                collection.sweep(1).unwrap();
            }
            3 => while collection.sweep(1).unwrap() {},
            _ => {
                collection.reclaim().unwrap();
                self.collection = None;
            }
        }
    }

    /// Whether everything live can be read.
    fn is_whole(&self) -> bool {
        self.live.iter().all(|manifest| {
            let manifest = self.store.manifest(manifest);
            manifest.is_ok_and(|manifest| {
                manifest
                    .chunks
                    .iter()
                    .all(|chunk| self.store.read_chunk(&chunk.hash).is_ok())
            })
        })
    }
}

/// Calls `run` with every order in which the actors can take their steps, until it returns `false`.
fn every_interleaving(run: &mut impl FnMut(&[Actor]) -> bool) -> bool {
    fn extend(
        taken: &mut Vec<Actor>,
        left: &mut [(Actor, usize)],
        run: &mut impl FnMut(&[Actor]) -> bool,
    ) -> bool {
        if left.iter().all(|(_, steps)| *steps == 0) {
            return run(taken);
        }
        for at in 0..left.len() {
            if left[at].1 == 0 {
                continue;
            }
            left[at].1 -= 1;
            taken.push(left[at].0);
            let goes_on = extend(taken, left, run);
            taken.pop();
            left[at].1 += 1;
            if !goes_on {
                return false;
            }
        }
        true
    }
    extend(&mut Vec::new(), &mut STEPS.to_vec(), run)
}

/// Plays one interleaving over a store that holds an old NAR, which shares chunks with the new one.
/// Returns whether everything live stayed whole at every step.
fn stays_whole(order: Order, actors: &[Actor]) -> bool {
    let world = World::new();
    let old = world.publish(&chunks(0..3));
    let mut scene = Scene {
        store: &world.store,
        order,
        nar: chunks(1..4),
        missing: Vec::new(),
        live: vec![old],
        collection: None,
    };
    let mut taken = [0; STEPS.len()];
    let mut whole = true;
    for actor in actors {
        let at = STEPS
            .iter()
            .position(|(of, _)| of == actor)
            .expect("every actor has steps");
        scene.step(*actor, taken[at]);
        taken[at] += 1;
        whole &= scene.is_whole();
    }
    if order == Order::PinThenAnswer {
        drop(scene);
        assert_eq!(world.collect(&[manifest_of(&chunks(1..4)).hash()]).chunks_live, 3);
        assert_eq!(
            readable(&world.store, &chunks(0..4)).len(),
            3,
            "an orphan is left after {actors:?}"
        );
    }
    whole
}

#[test]
fn no_interleaving_of_upload_deletion_and_collection_loses_a_live_chunk() {
    let mut played = 0;
    every_interleaving(&mut |actors| {
        played += 1;
        assert!(stays_whole(Order::PinThenAnswer, actors), "{actors:?}");
        true
    });
    assert_eq!(played, 5544);
}

#[test]
fn a_pin_taken_after_the_answer_is_caught() {
    let never_caught = every_interleaving(&mut |actors| stays_whole(Order::AnswerThenPin, actors));
    assert!(
        !never_caught,
        "the harness does not see the mistake it is there for"
    );
}
