//! Providers that lie, die, are cut off, or lack what they are asked for.

use tetryx_link::memory::Hub;

use super::*;
use crate::FetchError;

#[tokio::test(start_paused = true)]
async fn a_liar_costs_one_chunk_and_is_left_alone_for_ten_minutes() {
    // given a provider that lies about some chunks, and an honest one
    let (hub, nar) = (Hub::new(), Nar::of(1, 200, 40_000));
    let lies = nar.frames.iter().step_by(7).map(|(hash, _, _)| *hash).collect();
    let manners = Manners {
        lies_about: lies,
        rate: Some(1 << 20),
        ..Manners::default()
    };
    let (_, liar) = Station::supplying(&hub, 1, &nar, manners);
    let honest = Manners {
        rate: Some(1 << 20),
        ..Manners::default()
    };
    let (_, _honest) = Station::supplying(&hub, 3, &nar, honest);
    let getter = Station::new(&hub, 2);
    let fetcher = getter.fetcher();

    // when a NAR is fetched from both
    let report = fetcher.fetch(request(&nar, &[1, 3])).finished().await.unwrap();

    // then it is whole, and the liar was dropped at its first lie
    assert!(nar.is_in(&getter.store));
    assert_eq!(report.bytes, nar.bytes());
    assert!(report.duplicate_bytes < 600_000, "{report:?}");
    assert_eq!(fetcher.dropped(), [node(1)]);

    // and it is not asked for anything for ten minutes
    let (asked, other) = (liar.asked().len(), Nar::of(2, 10, 40_000));
    other.put(&liar.store, 0..10);
    let refused = fetcher.fetch(request(&other, &[1])).finished().await.unwrap_err();
    assert!(matches!(refused, FetchError::NoManifest { .. }));
    assert_eq!(liar.asked().len(), asked);
    tokio::time::sleep(Duration::from_secs(601)).await;
    liar.manners.lock().lies_about.clear();
    fetcher.fetch(request(&other, &[1])).finished().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_talks_nonsense_is_dropped() {
    let (hub, nar) = (Hub::new(), Nar::of(1, 20, 40_000));
    let manners = Manners {
        talks_nonsense: true,
        ..Manners::default()
    };
    let (_, _mumbler) = Station::supplying(&hub, 1, &nar, manners);
    Station::serving(&hub, 3, &nar);
    let getter = Station::new(&hub, 2);
    let fetcher = getter.fetcher();

    fetcher.fetch(request(&nar, &[1, 3])).finished().await.unwrap();

    assert_eq!(fetcher.dropped(), [node(1)]);
    assert!(nar.is_in(&getter.store));
}

#[tokio::test(start_paused = true)]
async fn a_false_manifest_is_refused_and_the_next_provider_asked() {
    let (hub, nar) = (Hub::new(), Nar::of(1, 20, 40_000));
    let manners = Manners {
        lies_about_manifests: true,
        ..Manners::default()
    };
    let (_, _liar) = Station::supplying(&hub, 1, &nar, manners);
    Station::serving(&hub, 3, &nar);
    let getter = Station::new(&hub, 2);
    let fetcher = getter.fetcher();

    let report = fetcher.fetch(request(&nar, &[1, 3])).finished().await.unwrap();

    assert_eq!(fetcher.dropped(), [node(1)]);
    assert_eq!(report.by_provider.keys().copied().collect::<Vec<_>>(), [node(3)]);
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_dies_midway_is_not_noticed_by_the_reader() {
    // given two providers, and a reader that follows chunk by chunk
    let (hub, nar) = (Hub::new(), Nar::of(1, 200, 40_000));
    let slow = || Manners {
        rate: Some(2 << 20),
        ..Manners::default()
    };
    let (_, _first) = Station::supplying(&hub, 1, &nar, slow());
    let (_, _second) = Station::supplying(&hub, 3, &nar, slow());
    let getter = Station::new(&hub, 2);
    let handle = getter.fetcher().fetch(request(&nar, &[1, 3]));

    for (at, (hash, _, _)) in nar.frames.iter().enumerate() {
        handle.want(at);
        handle.wait_for(at..at + 1).await.unwrap();
        assert!(getter.store.contains(hash).unwrap());
        // when one dies midway
        if at == 60 {
            hub.take_away(node(1));
        }
    }

    // then the reader got everything, and the other one sent the rest
    let report = handle.finished().await.unwrap();
    assert_eq!(report.bytes, nar.bytes());
    assert!(report.by_provider[&node(3)] > nar.bytes() / 2);
}

#[tokio::test(start_paused = true)]
async fn after_a_cut_little_is_sent_again() {
    // given a fetch that is cut off for three seconds, ten times
    let (hub, nar) = (Hub::new(), Nar::of(1, 400, 131_072));
    let manners = Manners {
        rate: Some(32 << 20),
        ..Manners::default()
    };
    let (_, _supplier) = Station::supplying(&hub, 1, &nar, manners);
    let getter = Station::new(&hub, 2);
    let handle = getter.fetcher().fetch(request(&nar, &[1]));
    for _ in 0..10 {
        let absent = |(hash, _, _): &(ChunkHash, u32, Vec<u8>)| !getter.store.contains(hash).unwrap();
        let next = nar
            .frames
            .iter()
            .position(absent)
            .expect("ten cuts come before the end");
        handle.wait_for(next..next + 20).await.unwrap();
        hub.cut(node(1), node(2));
        tokio::time::sleep(Duration::from_secs(3)).await;
        hub.heal_all();
    }

    let report = handle.finished().await.unwrap();

    // then each cut cost no more than what was under way
    assert!(
        report.duplicate_bytes <= 10 * (256 << 10),
        "{} bytes",
        report.duplicate_bytes
    );
    assert_eq!(report.bytes, nar.bytes());
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_falls_silent_is_replaced_by_one_that_speaks() {
    let (hub, nar) = (Hub::new(), Nar::of(1, 100, 40_000));
    let manners = Manners {
        falls_silent_after: Some(20),
        ..Manners::default()
    };
    let (_, _silent) = Station::supplying(&hub, 1, &nar, manners);
    let steady = Manners {
        rate: Some(1 << 20),
        ..Manners::default()
    };
    let (_, _steady) = Station::supplying(&hub, 3, &nar, steady);
    let getter = Station::new(&hub, 2);
    let clock = now();

    let report = getter
        .fetcher()
        .fetch(request(&nar, &[1, 3]))
        .finished()
        .await
        .unwrap();

    assert_eq!(
        report.by_provider[&node(1)],
        nar.frames[..20]
            .iter()
            .map(|(_, _, f)| f.len() as u64)
            .sum::<u64>()
    );
    let took = clock().saturating_sub(Elapsed::ZERO);
    assert!(took < Duration::from_secs(8), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_damaged_chunk_at_one_provider_comes_from_another() {
    // given a provider whose disk has flipped a bit
    let (hub, nar) = (Hub::new(), Nar::of(1, 20, 40_000));
    let damaged = Station::serving(&hub, 1, &nar);
    let place = damaged.store.locate(&[nar.frames[7].0]).unwrap()[0].unwrap();
    let file = format!("segment-{:010}.pack", place.segment);
    damaged.disk.flip_bit(&file, place.offset + 200, 3);
    Station::serving(&hub, 3, &nar);
    let getter = Station::new(&hub, 2);
    let fetcher = getter.fetcher();

    // when it is asked first, and alone
    let error = fetcher.fetch(request(&nar, &[1])).finished().await.unwrap_err();
    assert!(
        matches!(error, FetchError::NoChunk { chunk, .. } if chunk == nar.frames[7].0),
        "{error}"
    );

    // then another one can fill in, and the damaged one heals itself the same way
    fetcher.fetch(request(&nar, &[1, 3])).finished().await.unwrap();
    assert!(nar.is_in(&getter.store));
    assert_eq!(fetcher.dropped(), [], "saying that it is damaged is no lie");
    damaged
        .fetcher()
        .fetch(request(&nar, &[3]))
        .finished()
        .await
        .unwrap();
    assert!(nar.is_in(&damaged.store));
}

#[tokio::test(start_paused = true)]
async fn a_fetch_says_what_nobody_has() {
    let (hub, nar) = (Hub::new(), Nar::of(1, 20, 40_000));
    let other = Nar::of(2, 1, 1_000);
    Station::serving(&hub, 1, &other);
    let getter = Station::new(&hub, 2);
    let fetcher = getter.fetcher();

    let error = fetcher.fetch(request(&nar, &[1])).finished().await.unwrap_err();

    assert!(
        matches!(error, FetchError::NoManifest { asked: 1, .. }),
        "{error}"
    );
    assert!(error.to_string().contains(&nar.name.to_string()));
}

#[tokio::test(start_paused = true)]
async fn a_fetch_waits_for_a_provider_that_comes_back_and_gives_up_on_one_that_does_not() {
    let (hub, nar) = (Hub::new(), Nar::of(1, 20, 40_000));
    Station::serving(&hub, 1, &nar);
    let getter = Station::new(&hub, 2);
    let fetcher = getter.fetcher();
    hub.cut(node(1), node(2));

    let handle = fetcher.fetch(request(&nar, &[1]));
    let error = handle.finished().await.unwrap_err();
    assert!(matches!(error, FetchError::Unreachable { .. }), "{error}");

    let handle = fetcher.fetch(request(&nar, &[1]));
    tokio::time::sleep(Duration::from_secs(10)).await;
    hub.heal_all();
    handle.finished().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn providers_can_be_named_while_a_fetch_runs() {
    let (hub, nar) = (Hub::new(), Nar::of(1, 20, 40_000));
    Station::serving(&hub, 1, &nar);
    let getter = Station::new(&hub, 2);
    let handle = getter.fetcher().fetch(request(&nar, &[9]));

    handle.set_providers(vec![node(1)]);

    handle.finished().await.unwrap();
}
