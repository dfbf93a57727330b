//! What is passed on without being kept.

use tetryx_link::memory::Hub;

use super::*;
use crate::FetchError;

/// Takes frames of any length.
const ANY: fn(usize, usize) -> bool = |_, _| true;

fn frames(nar: &Nar) -> Vec<Bytes> {
    let frames = nar.frames.iter().map(|(_, _, frame)| frame.clone().into());
    frames.collect()
}

#[tokio::test(start_paused = true)]
async fn what_is_passed_on_is_whole_and_nothing_of_it_is_kept() {
    // given a node with nothing, and one that has a NAR
    let (hub, nar) = (Hub::new(), Nar::of(1, 60, 40_000));
    Station::serving(&hub, 1, &nar);
    let getter = Station::new(&hub, 2);
    let fetcher = getter.fetcher();

    // when the NAR is relayed
    let manifest = fetcher.relay_manifest(nar.name, &[node(1)]).await.unwrap();
    let relayed = fetcher.relay(nar.name, &manifest.chunks, &[node(1)], ANY).await;

    // then every frame came, in order, and the store is as empty as before
    assert_eq!(manifest, nar.manifest);
    assert_eq!(relayed.unwrap(), frames(&nar));
    assert!(!getter.store.contains_manifest(&nar.name).unwrap());
    let hashes: Vec<ChunkHash> = nar.frames.iter().map(|(hash, _, _)| *hash).collect();
    assert!(getter.store.locate(&hashes).unwrap().iter().all(Option::is_none));
}

#[tokio::test(start_paused = true)]
async fn what_is_here_is_not_asked_for_unless_it_is_unwelcome() {
    let (hub, nar) = (Hub::new(), Nar::of(1, 6, 40_000));
    let (_, supplier) = Station::supplying(&hub, 1, &nar, Manners::default());
    let getter = Station::new(&hub, 2);
    nar.put(&getter.store, 0..4);

    let is_welcome = |index: usize, _: usize| index != 2;
    let relayed = getter
        .fetcher()
        .relay(nar.name, &nar.manifest.chunks, &[node(1)], is_welcome)
        .await;

    assert_eq!(relayed.unwrap(), frames(&nar));
    let asked = [2, 4, 5].map(|index: usize| nar.frames[index].0);
    assert_eq!(supplier.asked(), asked);
}

#[tokio::test(start_paused = true)]
async fn who_lies_lacks_or_falls_silent_is_passed_over_and_no_wrong_frame_is_given_out() {
    // given a liar, one that lacks the half, one that stops halfway, and one that has everything
    let (hub, nar) = (Hub::new(), Nar::of(1, 40, 40_000));
    let liar = Manners {
        lies_about: [nar.frames[3].0].into(),
        ..Manners::default()
    };
    let (_, _liar) = Station::supplying(&hub, 1, &nar, liar);
    let lacking = Station::new(&hub, 3);
    nar.put(&lacking.store, 0..20);
    lacking.links.serve(Arc::new(Served(ChunkServer::new(
        Arc::clone(&lacking.store),
        Io::pool(),
    ))));
    let silent = Manners {
        falls_silent_after: Some(0),
        ..Manners::default()
    };
    let (_, _silent) = Station::supplying(&hub, 4, &nar, silent);
    Station::serving(&hub, 5, &nar);
    let getter = Station::new(&hub, 2);
    let fetcher = getter.fetcher();

    // when a NAR is relayed from all of them
    let all = [1, 3, 4, 5].map(node);
    let relayed = fetcher.relay(nar.name, &nar.manifest.chunks, &all, ANY).await;

    // then it is whole, and the liar is not asked again
    assert_eq!(relayed.unwrap(), frames(&nar));
    assert_eq!(fetcher.dropped(), [node(1)]);
}

#[tokio::test(start_paused = true)]
async fn what_nobody_gives_is_named() {
    let (hub, nar) = (Hub::new(), Nar::of(1, 3, 1_000));
    let half = Station::new(&hub, 1);
    nar.put(&half.store, 0..2);
    half.links.serve(Arc::new(Served(ChunkServer::new(
        Arc::clone(&half.store),
        Io::pool(),
    ))));
    let getter = Station::new(&hub, 2);
    let fetcher = getter.fetcher();

    let chunks = &nar.manifest.chunks;
    let error = fetcher
        .relay(nar.name, chunks, &[node(1)], ANY)
        .await
        .unwrap_err();
    assert!(
        matches!(error, FetchError::NoChunk { chunk, asked: 1, .. } if chunk == nar.frames[2].0),
        "{error}"
    );
    let gone = node(9);
    let error = fetcher.relay(nar.name, chunks, &[gone], ANY).await.unwrap_err();
    assert!(
        matches!(error, FetchError::Unreachable { asked: 1, .. }),
        "{error}"
    );
    let other = Nar::of(2, 3, 1_000);
    let error = fetcher.relay_manifest(other.name, &[node(1)]).await.unwrap_err();
    assert!(
        matches!(error, FetchError::NoManifest { asked: 1, .. }),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_false_manifest_is_not_passed_on() {
    let (hub, nar) = (Hub::new(), Nar::of(1, 20, 40_000));
    let manners = Manners {
        lies_about_manifests: true,
        ..Manners::default()
    };
    let (_, _liar) = Station::supplying(&hub, 1, &nar, manners);
    Station::serving(&hub, 3, &nar);
    let getter = Station::new(&hub, 2);
    let fetcher = getter.fetcher();

    let manifest = fetcher.relay_manifest(nar.name, &[node(1), node(3)]).await;

    assert_eq!(manifest.unwrap(), nar.manifest);
    assert_eq!(fetcher.dropped(), [node(1)]);
}
