//! What is fetched, how often, and what remains of it.

use std::collections::BTreeSet;

use tetryx_link::memory::Hub;
use tetryx_store::{ChunkStore, StoreConfig, Survivors};

use super::*;
use crate::FetchError;

#[tokio::test(start_paused = true)]
async fn only_missing_chunks_are_fetched_and_what_is_reported_is_durable() {
    // given a node that holds the first third of a NAR
    let (hub, nar) = (Hub::new(), Nar::of(1, 90, 40_000));
    let (_, supplier) = Station::supplying(&hub, 1, &nar, Manners::default());
    let getter = Station::new(&hub, 2);
    nar.put(&getter.store, 0..30);

    // when it fetches the NAR
    let report = getter
        .fetcher()
        .fetch(request(&nar, &[1]))
        .finished()
        .await
        .unwrap();

    // then it asked for the rest only, each chunk once
    let asked = supplier.asked();
    let rest: BTreeSet<ChunkHash> = nar.frames[30..].iter().map(|(hash, _, _)| *hash).collect();
    assert_eq!(asked.len(), 60);
    assert_eq!(asked.into_iter().collect::<BTreeSet<_>>(), rest);
    assert_eq!((report.chunks, report.duplicate_bytes), (60, 0));
    assert_eq!(report.by_provider[&node(1)], report.bytes);

    // and a power failure takes nothing back
    getter.disk.restart(Survivors::Synced);
    let store = ChunkStore::open(getter.disk, StoreConfig::default()).unwrap();
    assert!(nar.is_in(&store));
}

#[tokio::test(start_paused = true)]
async fn what_is_here_already_needs_no_provider() {
    let (hub, nar) = (Hub::new(), Nar::of(1, 3, 1_000));
    let getter = Station::new(&hub, 2);
    nar.put(&getter.store, 0..3);

    let report = getter
        .fetcher()
        .fetch(request(&nar, &[]))
        .finished()
        .await
        .unwrap();

    assert_eq!(report, crate::FetchReport::default());
}

#[tokio::test(start_paused = true)]
async fn a_chunk_that_a_nar_uses_often_is_fetched_once() {
    let hub = Hub::new();
    let mut nar = Nar::of(1, 4, 40_000);
    nar.manifest.chunks = [0, 1, 0, 2, 3, 1, 0].map(|at| nar.manifest.chunks[at]).to_vec();
    nar.manifest.nar_size = 7 * 40_000;
    nar.name = nar.manifest.hash();
    let (_, supplier) = Station::supplying(&hub, 1, &nar, Manners::default());
    let getter = Station::new(&hub, 2);
    let handle = getter.fetcher().fetch(request(&nar, &[1]));

    handle.wait_for(0..7).await.unwrap();
    let report = handle.finished().await.unwrap();

    assert_eq!((report.chunks, supplier.asked().len()), (4, 4));
    assert!(nar.is_in(&getter.store));
}

#[tokio::test(start_paused = true)]
async fn many_who_want_one_nar_fetch_it_once() {
    let (hub, nar) = (Hub::new(), Nar::of(1, 120, 40_000));
    let (_, supplier) = Station::supplying(&hub, 1, &nar, Manners::default());
    let getter = Station::new(&hub, 2);
    let fetcher = getter.fetcher();
    let handles: Vec<_> = (0..20)
        .map(|number| {
            let pin = pin(number);
            fetcher.fetch(FetchRequest {
                pin,
                ..request(&nar, &[1])
            })
        })
        .collect();

    let reports = futures::future::join_all(handles.iter().map(crate::FetchHandle::finished)).await;

    assert!(
        reports
            .iter()
            .all(|report| report.as_ref().is_ok_and(|report| report.chunks == 120))
    );
    assert_eq!(supplier.asked().len(), 120);
    assert_eq!(
        getter.store.pins().len(),
        20,
        "each request's pin protects the chunks"
    );
    assert!(
        getter
            .store
            .pins()
            .iter()
            .all(|pin| (pin.chunks, pin.manifests) == (120, 1))
    );
}

#[tokio::test(start_paused = true)]
async fn who_comes_late_joins_with_a_pin_of_its_own() {
    let (hub, nar) = (Hub::new(), Nar::of(1, 120, 40_000));
    let manners = Manners {
        rate: Some(1 << 20),
        ..Manners::default()
    };
    let (_, supplier) = Station::supplying(&hub, 1, &nar, manners);
    let getter = Station::new(&hub, 2);
    let fetcher = getter.fetcher();
    let first = fetcher.fetch(request(&nar, &[1]));
    first.wait_for(0..20).await.unwrap();

    let second = fetcher.fetch(FetchRequest {
        pin: pin(2),
        ..request(&nar, &[1])
    });
    drop(first);

    assert_eq!(second.finished().await.unwrap().chunks, 120);
    assert_eq!(supplier.asked().len(), 120);
    assert!(
        getter
            .store
            .pins()
            .iter()
            .all(|pin| (pin.chunks, pin.manifests) == (120, 1))
    );
}

#[tokio::test(start_paused = true)]
async fn chunks_can_be_read_as_soon_as_they_are_waited_for() {
    let (hub, nar) = (Hub::new(), Nar::of(1, 200, 40_000));
    let manners = Manners {
        rate: Some(4 << 20),
        ..Manners::default()
    };
    let (_, _supplier) = Station::supplying(&hub, 1, &nar, manners);
    let getter = Station::new(&hub, 2);
    let handle = getter.fetcher().fetch(request(&nar, &[1]));

    // when a reader begins in the middle
    handle.want(100);
    handle.wait_for(100..110).await.unwrap();

    // then what it wants is there, and hardly anything else
    assert!(
        nar.frames[100..110]
            .iter()
            .all(|(hash, _, _)| getter.store.contains(hash).unwrap())
    );
    let here = nar
        .frames
        .iter()
        .filter(|(hash, _, _)| getter.store.contains(hash).unwrap())
        .count();
    assert!(here < 60, "{here} chunks");
    assert_eq!(*handle.manifest().await.unwrap(), nar.manifest);
    handle.wait_for(190..usize::MAX).await.unwrap();
    let first = getter.store.contains(&nar.frames[0].0).unwrap();
    assert!(!first, "the reader's way to the end comes before what it skipped");
    handle.finished().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_nobody_wants_any_more_ends_and_the_next_one_resumes() {
    // given a fetch that is dropped halfway
    let (hub, nar) = (Hub::new(), Nar::of(1, 200, 40_000));
    let manners = Manners {
        rate: Some(4 << 20),
        ..Manners::default()
    };
    let (_, supplier) = Station::supplying(&hub, 1, &nar, manners);
    let getter = Station::new(&hub, 2);
    let handle = getter.fetcher().fetch(request(&nar, &[1]));
    handle.wait_for(0..100).await.unwrap();
    drop(handle);
    tokio::time::sleep(Duration::from_secs(60)).await;
    let sent = supplier.sent.load(Ordering::Relaxed);
    assert!(sent < nar.bytes() * 7 / 10, "the provider stopped: {sent}");

    // when another process asks again
    let report = getter
        .fetcher()
        .fetch(request(&nar, &[1]))
        .finished()
        .await
        .unwrap();

    // then what had arrived is not sent again
    assert!(report.chunks <= 100);
    let twice = supplier.sent.load(Ordering::Relaxed) - nar.bytes();
    assert!(twice <= 256 << 10, "{twice} bytes");
    assert!(nar.is_in(&getter.store));
}

#[tokio::test(start_paused = true)]
async fn a_power_failure_takes_little_of_a_long_fetch() {
    // given a fetch of 40 MiB that gets through four fifths of it
    let (hub, nar) = (Hub::new(), Nar::of(1, 320, 131_072));
    let manners = Manners {
        rate: Some(16 << 20),
        ..Manners::default()
    };
    let (_, _supplier) = Station::supplying(&hub, 1, &nar, manners);
    let getter = Station::new(&hub, 2);
    let handle = getter.fetcher().fetch(request(&nar, &[1]));
    handle.wait_for(0..256).await.unwrap();

    // when the power fails
    drop(handle);
    getter.disk.restart(Survivors::Synced);
    let store = ChunkStore::open(getter.disk, StoreConfig::default()).unwrap();

    // then all but the last 16 MiB and what was under way is still there
    let here = nar
        .frames
        .iter()
        .filter(|(hash, _, _)| store.contains(hash).unwrap())
        .count();
    assert!(here >= 100, "{here} chunks");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_full_ends_the_fetch_in_its_own_words() {
    let (hub, nar) = (Hub::new(), Nar::of(1, 100, 131_072));
    Station::serving(&hub, 1, &nar);
    let getter = Station::new(&hub, 2);
    getter.disk.set_capacity(24 << 20);

    let error = getter
        .fetcher()
        .fetch(request(&nar, &[1]))
        .finished()
        .await
        .unwrap_err();

    let FetchError::Store { source, .. } = error else {
        panic!("another error: {error}")
    };
    assert!(source.is_full());
    // and with room it goes on from where it was
    getter.disk.set_capacity(1 << 30);
    let report = getter
        .fetcher()
        .fetch(request(&nar, &[1]))
        .finished()
        .await
        .unwrap();
    assert!(report.chunks < 100 && nar.is_in(&getter.store));
}
