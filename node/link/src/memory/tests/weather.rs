use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;

use super::fixture::{C, CALM, Pair, ms, number};
use super::{A, B};
use crate::memory::{Conditions, Tally};
use crate::{Channel, LinkError, Links, Service};

fn arrived_whole(outcomes: &[Result<Bytes, LinkError>]) -> bool {
    let numbers = outcomes.iter().map(|outcome| number(outcome.as_ref().unwrap()));
    numbers.eq(0..outcomes.len() as u32)
}

#[tokio::test(start_paused = true)]
async fn latency_of_weather_takes_the_place_of_the_other_until_it_clears() {
    let pair = Pair::under(Conditions {
        latency: ms(40),
        ..CALM
    });
    pair.hub.set_latency(A, B, ms(5));

    pair.ask(0).await.unwrap();
    assert_eq!(pair.elapsed(), ms(80));
    pair.hub.clear_weather();
    pair.ask(1).await.unwrap();

    assert_eq!(pair.elapsed(), ms(90));
    assert_eq!(pair.a.path(B).unwrap().rtt, ms(10));
}

#[tokio::test(start_paused = true)]
async fn weather_of_one_path_goes_before_that_of_all() {
    let pair = Pair::under(CALM);
    pair.hub.set_weather_everywhere(Conditions {
        latency: ms(40),
        ..CALM
    });
    pair.hub.join(C).serve(pair.diary.clone());

    pair.ask(0).await.unwrap();
    assert_eq!(pair.elapsed(), ms(0));
    let call = pair.a.call(C, Service::Rpc, Bytes::from_static(b"0000"));
    call.await.unwrap();

    assert_eq!(pair.elapsed(), ms(80));
}

#[tokio::test(start_paused = true)]
async fn jitter_makes_calls_overtake_one_another_and_loses_none() {
    let pair = Pair::under(Conditions {
        latency: ms(10),
        jitter: ms(50),
        ..CALM
    });

    let outcomes = pair.ask_all(100).await;

    assert!(arrived_whole(&outcomes));
    assert!(!pair.arrived().is_sorted());
    assert!(pair.arrivals().iter().all(|at| (ms(10)..=ms(61)).contains(at)));
    assert!(pair.hub.tally().overtaken > 10);
}

#[tokio::test(start_paused = true)]
async fn a_stream_keeps_its_order_whatever_the_weather() {
    let pair = Pair::under(Conditions {
        latency: ms(10),
        jitter: ms(200),
        loss_permille: 200,
        rate: Some(1_000_000),
        ..CALM
    });
    let sent: Vec<u8> = (0..300_000_u32).map(|at| (at / 7) as u8).collect();
    let Channel { mut send, mut recv } = pair.stream().await;

    let write = async {
        for piece in sent.chunks(1000) {
            send.write_all(piece).await.unwrap();
        }
        send.finish().unwrap();
        send.received().await.unwrap();
    };
    let (received, ()) = tokio::join!(recv.read_to_end(sent.len()), write);

    assert!(received.unwrap() == sent);
    assert!(pair.hub.tally().lost > 10);
}

#[tokio::test(start_paused = true)]
async fn a_lost_packet_costs_a_round_trip_and_no_answer() {
    let always = Pair::under(Conditions {
        latency: ms(100),
        loss_permille: 1000,
        ..CALM
    });
    let seldom = Pair::under(Conditions {
        latency: ms(100),
        loss_permille: 100,
        ..CALM
    });

    always.ask(0).await.unwrap();
    // Lost eight times on each way, each time noticed after a round trip and 25 ms.
    assert_eq!(always.elapsed(), ms(2 * (100 + 8 * 225)));
    let outcomes = seldom.ask_all(200).await;

    assert_eq!(always.hub.tally().lost, 16);
    assert!(arrived_whole(&outcomes));
    assert!((20..60).contains(&seldom.hub.tally().lost));
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_connection_breaks_is_certainly_not_or_perhaps_carried_out() {
    let pair = Pair::under(Conditions {
        break_permille: 1000,
        ..CALM
    });
    pair.hub.set_failure_after(ms(30));

    let outcomes = pair.ask_all(100).await;

    let arrived = pair.arrived();
    for (asked, outcome) in (0..).zip(&outcomes) {
        match outcome.as_ref().unwrap_err() {
            LinkError::Unreachable { .. } => assert!(!arrived.contains(&asked)),
            LinkError::NoAnswer { .. } => assert!(arrived.contains(&asked)),
            other => panic!("{other}"),
        }
    }
    assert!((20..80).contains(&arrived.len()));
    assert_eq!(pair.hub.tally().broken, 100);
    assert_eq!(pair.elapsed(), ms(30));
}

#[tokio::test(start_paused = true)]
async fn a_stream_breaks_midway_at_both_ends() {
    let pair = Pair::under(Conditions {
        break_permille: 1000,
        ..CALM
    });
    pair.hub.set_failure_after(ms(30));
    let mut channel = loop {
        if let Ok(channel) = pair.a.open(B, Service::Chunks).await {
            break channel;
        }
    };

    let mut echoed = 0;
    let failure = loop {
        channel.send.write_all(b"piece").await.unwrap();
        match channel.recv.read(100).await {
            Ok(read) => echoed += read.unwrap().len() / 5,
            Err(failure) => break failure,
        }
    };

    assert!(matches!(failure, LinkError::Broken { .. }));
    assert!(echoed < 8);
    assert!(channel.send.write_all(b"piece").await.is_err());
    assert!(pair.hub.tally().broken >= 1);
}

#[tokio::test(start_paused = true)]
async fn a_duplicate_reaches_the_handler_twice_and_the_caller_once() {
    let pair = Pair::under(Conditions {
        jitter: ms(100),
        duplicate_permille: 1000,
        ..CALM
    });

    let outcomes = pair.ask_all(20).await;
    tokio::time::sleep(ms(1000)).await;

    let mut arrived = pair.arrived();
    arrived.sort_unstable();
    assert!(arrived_whole(&outcomes));
    assert!(
        arrived
            .chunks(2)
            .map(|twice| (twice[0], twice[1]))
            .eq((0..20).map(|n| (n, n)))
    );
    assert_eq!(pair.hub.tally().duplicated, 20);
    assert_eq!(pair.hub.tally().calls, 20);
}

#[tokio::test(start_paused = true)]
async fn what_shares_a_path_shares_its_rate() {
    let pair = Pair::under(Conditions {
        rate: Some(100_000),
        ..CALM
    });
    pair.hub.set_weather_one_way(B, A, CALM);
    let body = Bytes::from(vec![0; 50_000]);
    let call = || pair.a.call(B, Service::Chunks, body.clone());

    let (first, second) = tokio::join!(call(), call());

    first.unwrap();
    second.unwrap();
    assert_eq!(pair.elapsed(), ms(1000));
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_waits_for_little_of_a_bulk_transfer() {
    let pair = Pair::under(Conditions {
        rate: Some(1_000_000),
        ..CALM
    });
    let mut channel = pair.stream().await;
    let bulk = async {
        let bytes = Bytes::from(vec![0; 4_000_000]);
        channel.send.write_bytes(bytes).await.unwrap();
    };
    let drain = async { while channel.recv.read(usize::MAX).await.unwrap().is_some() {} };

    tokio::select! {
        biased;
        () = bulk => panic!("four megabytes left in no time"),
        () = drain => panic!("nobody finished the stream"),
        answer = async {
            tokio::time::sleep(ms(1000)).await;
            pair.ask(0).await
        } => drop(answer.unwrap()),
    }

    assert!(pair.elapsed() > ms(1100));
    assert!(pair.elapsed() < ms(1400));
}

#[tokio::test(start_paused = true)]
async fn better_weather_does_not_wait_for_the_queue_of_worse() {
    let pair = Pair::under(Conditions {
        rate: Some(100),
        ..CALM
    });
    let slow = tokio::spawn(pair.a.call(B, Service::Rpc, Bytes::from_static(&[0; 1000])));
    tokio::time::sleep(ms(100)).await;

    pair.hub.set_weather(A, B, CALM);
    pair.ask(1).await.unwrap();

    assert_eq!(pair.elapsed(), ms(100));
    assert!(slow.await.unwrap().is_ok());
    assert_eq!(pair.elapsed(), ms(10_000));
}

#[tokio::test(start_paused = true)]
async fn under_weather_a_call_arrives_although_its_caller_has_given_up() {
    let pair = Pair::under(Conditions {
        latency: ms(100),
        ..CALM
    });

    let outcome = timeout(ms(50), pair.ask(7)).await;
    tokio::time::sleep(ms(100)).await;

    assert!(outcome.is_err());
    assert_eq!(pair.arrived(), [7]);
    assert_eq!(pair.hub.tally().late, 1);
}

#[tokio::test(start_paused = true)]
async fn where_nothing_is_set_nothing_is_counted_but_calls() {
    let pair = Pair::under(CALM);
    pair.hub.clear_weather();

    pair.ask_all(10).await;
    let mut channel = pair.stream().await;
    channel.send.write_all(b"piece").await.unwrap();
    channel.recv.read(100).await.unwrap();

    let expected = Tally {
        calls: 10,
        ..Tally::default()
    };
    assert_eq!(pair.hub.tally(), expected);
    assert_eq!(pair.elapsed(), ms(0));
}

#[tokio::test(start_paused = true)]
async fn a_cut_is_counted_for_each_call_answer_and_stream() {
    let pair = Pair::under(CALM);
    let _stream = pair.stream().await;

    pair.hub.cut_one_way(A, B);
    pair.ask(0).await.unwrap_err();
    pair.hub.heal_all();
    pair.hub.cut_one_way(B, A);
    pair.ask(1).await.unwrap_err();

    assert_eq!(pair.hub.tally().cut, 3);
    assert_eq!(pair.arrived(), [1]);
}

#[tokio::test(start_paused = true)]
async fn nothing_flows_through_a_cut_that_nobody_has_noticed_yet() {
    let pair = Pair::under(CALM);
    pair.hub.set_failure_after(ms(500));
    let mut channel = pair.stream().await;

    pair.hub.cut_one_way(A, B);
    channel.send.write_all(b"piece").await.unwrap();
    let early = timeout(ms(400), channel.recv.read(100)).await;
    let late = timeout(ms(200), channel.recv.read(100)).await;

    assert!(early.is_err());
    assert!(late.unwrap().is_err());
}

/// Everything at once for a while; what became of it, and when.
async fn storm(seed: u64) -> (Vec<(Duration, u32)>, Vec<bool>, Tally, Duration) {
    let conditions = Conditions {
        latency: ms(20),
        jitter: ms(30),
        loss_permille: 50,
        break_permille: 50,
        duplicate_permille: 100,
        rate: Some(20_000),
    };
    let pair = Pair::seeded(seed, conditions, ms(3));
    let mut outcomes = Vec::new();
    for _ in 0..5 {
        outcomes.extend(pair.ask_all(40).await.iter().map(Result::is_ok));
        if let Ok(mut channel) = pair.a.open(B, Service::Chunks).await {
            for _ in 0..10 {
                let written = channel.send.write_all(&[0; 500]).await.is_ok();
                outcomes.push(written && channel.recv.read(500).await.is_ok());
            }
        }
    }
    let entries = pair.arrivals().into_iter().zip(pair.arrived()).collect();
    (entries, outcomes, pair.hub.tally(), pair.elapsed())
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_weather() {
    let first = storm(11).await;

    assert!(first == storm(11).await);
    assert!(first != storm(12).await);
    let tally = first.2;
    let counts = [tally.lost, tally.broken, tally.duplicated, tally.overtaken];
    assert!(counts.into_iter().all(|count| count > 0), "{tally:?}");
}
