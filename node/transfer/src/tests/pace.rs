//! How fast, in which shares, and who makes way for whom.

use std::num::NonZeroU64;

use tetryx_link::memory::Hub;

use super::*;

const MIB: u64 = 1 << 20;

fn paced(rate: u64) -> Manners {
    Manners {
        rate: Some(rate),
        ..Manners::default()
    }
}

/// Fetches a NAR of 24 MiB from providers of these rates; how long it took, and what was sent in vain.
async fn fetch_from(rates: &[u64]) -> (Duration, crate::FetchReport) {
    let (hub, nar) = (Hub::new(), Nar::of(1, 384, 65_536));
    hub.set_latency_everywhere(Duration::from_millis(10));
    let numbers: Vec<u8> = (10..).take(rates.len()).collect();
    let mut stations = Vec::new();
    for (number, rate) in numbers.iter().zip(rates) {
        stations.push(Station::supplying(&hub, *number, &nar, paced(*rate)));
    }
    let getter = Station::new(&hub, 2);
    let clock = now();
    let report = getter
        .fetcher()
        .fetch(request(&nar, &numbers))
        .finished()
        .await
        .unwrap();
    assert!(nar.is_in(&getter.store));
    (clock().saturating_sub(Elapsed::ZERO), report)
}

#[tokio::test(start_paused = true)]
async fn four_providers_are_at_least_three_and_a_half_times_as_fast_as_one() {
    // 20 Mbit/s each
    let (alone, _) = fetch_from(&[5 * MIB / 2]).await;
    let (together, report) = fetch_from(&[5 * MIB / 2; 4]).await;

    assert!(
        alone * 10 >= together * 35,
        "{alone:?} alone, {together:?} together"
    );
    assert!(report.duplicate_bytes * 100 < report.bytes, "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn providers_share_the_work_by_their_rates() {
    let (took, report) = fetch_from(&[6 * MIB, 2 * MIB, MIB]).await;

    let share = report.by_provider[&node(10)] * 100 / report.bytes;
    assert!((55..=75).contains(&share), "{share} %");
    assert!(took < Duration::from_millis(3_300), "{took:?}");
    assert!(report.duplicate_bytes * 100 < report.bytes, "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_slows_down_does_not_hold_the_fetch_up() {
    let (hub, nar) = (Hub::new(), Nar::of(1, 384, 65_536));
    let (_, fading) = Station::supplying(&hub, 1, &nar, paced(4 * MIB));
    let (_, _steady) = Station::supplying(&hub, 3, &nar, paced(4 * MIB));
    let getter = Station::new(&hub, 2);
    let clock = now();
    let handle = getter.fetcher().fetch(request(&nar, &[1, 3]));
    handle.wait_for(0..100).await.unwrap();
    fading.manners.lock().rate = Some(16 << 10);

    let report = handle.finished().await.unwrap();

    let took = clock().saturating_sub(Elapsed::ZERO);
    assert!(took < Duration::from_secs(8), "{took:?}");
    assert!(report.duplicate_bytes * 100 < report.bytes, "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn background_keeps_to_its_budget_and_interactive_does_not() {
    let (hub, nar) = (Hub::new(), Nar::of(1, 128, 65_536));
    let (_, _fast) = Station::supplying(&hub, 1, &nar, paced(64 * MIB));
    let budgets = || Budgets::per_peer(NonZeroU64::new(MIB));
    let getter = Station::new(&hub, 2);
    let clock = now();
    let background = FetchRequest {
        priority: Priority::Background,
        ..request(&nar, &[1])
    };
    getter
        .fetcher_with(budgets())
        .fetch(background)
        .finished()
        .await
        .unwrap();
    // 8 MiB at 1 MiB/s, of which a second's worth and the first window may come at once
    let took = clock().saturating_sub(Elapsed::ZERO);
    assert!(
        took >= Duration::from_millis(5_500) && took < Duration::from_secs(10),
        "{took:?}"
    );

    let other = Station::new(&hub, 4);
    let clock = now();
    other
        .fetcher_with(budgets())
        .fetch(request(&nar, &[1]))
        .finished()
        .await
        .unwrap();
    assert!(clock().saturating_sub(Elapsed::ZERO) < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn background_makes_way_while_somebody_waits() {
    // given a background fetch under way
    let hub = Hub::new();
    let (bulk, urgent) = (Nar::of(1, 384, 65_536), Nar::of(2, 64, 65_536));
    let (_, supplier) = Station::supplying(&hub, 1, &bulk, paced(4 * MIB));
    urgent.put(&supplier.store, 0..64);
    let getter = Station::new(&hub, 2);
    let fetcher = getter.fetcher();
    let background = fetcher.fetch(FetchRequest {
        priority: Priority::Background,
        ..request(&bulk, &[1])
    });
    background.wait_for(0..50).await.unwrap();

    // when somebody waits for another NAR of 4 MiB
    let clock = now();
    let wanted = FetchRequest {
        pin: pin(2),
        ..request(&urgent, &[1])
    };
    fetcher.fetch(wanted).finished().await.unwrap();

    // then it takes little longer than alone, and the background goes on afterwards
    let took = clock().saturating_sub(Elapsed::ZERO);
    assert!(took < Duration::from_millis(1_800), "{took:?}");
    background.finished().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_background_fetch_that_somebody_waits_for_is_no_longer_held_back() {
    let (hub, nar) = (Hub::new(), Nar::of(1, 128, 65_536));
    let (_, _fast) = Station::supplying(&hub, 1, &nar, paced(64 * MIB));
    let getter = Station::new(&hub, 2);
    let fetcher = getter.fetcher_with(Budgets::per_peer(NonZeroU64::new(64 << 10)));
    let background = fetcher.fetch(FetchRequest {
        priority: Priority::Background,
        ..request(&nar, &[1])
    });
    background.wait_for(0..4).await.unwrap();

    let clock = now();
    fetcher.fetch(request(&nar, &[1])).finished().await.unwrap();

    assert!(clock().saturating_sub(Elapsed::ZERO) < Duration::from_secs(20));
}

#[tokio::test(start_paused = true)]
async fn a_link_on_which_one_chunk_takes_minutes_still_delivers_each_once() {
    // given the only provider, behind 16 kbit/s
    let (hub, nar) = (Hub::new(), Nar::of(1, 4, 131_072));
    let (_, supplier) = Station::supplying(&hub, 1, &nar, paced(2_000));
    let getter = Station::new(&hub, 2);

    let report = getter
        .fetcher()
        .fetch(request(&nar, &[1]))
        .finished()
        .await
        .unwrap();

    assert_eq!(
        (report.chunks, report.duplicate_bytes, supplier.asked().len()),
        (4, 0, 4)
    );
}
