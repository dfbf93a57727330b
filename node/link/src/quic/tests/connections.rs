use std::sync::Arc;

use bytes::Bytes;
use futures::future::join_all;

use super::relay::Relay;
use super::station::{HANG, Log, Station, pair, patiently};
use crate::quic::link::Link;
use crate::quic::table::Way;
use crate::service::Lane;
use crate::{Admission, Endpoint, LinkConfig, LinkError, Links, Service};

/// The connection in use.
fn current(station: &Station, other: &Station, lane: Lane) -> Arc<Link> {
    match station.endpoint.way(other.node, lane) {
        Some(Way::Link(link)) => link,
        _ => panic!("no connection"),
    }
}

#[tokio::test]
async fn one_connection_serves_both_directions() {
    let (a, b) = pair();

    a.ask(&b).await.unwrap();
    b.ask(&a).await.unwrap();

    let (there, back) = (current(&a, &b, Lane::Rpc), current(&b, &a, Lane::Rpc));
    assert_eq!((there.dialler, back.dialler), (a.node, a.node));
    assert_eq!(a.endpoint.connections(), 1);
    assert_eq!(b.endpoint.connections(), 1);
}

#[tokio::test]
async fn elections_and_bulk_have_connections_of_their_own() {
    let (a, b) = pair();

    for service in [Service::Raft, Service::Rpc, Service::RaftBulk, Service::Chunks] {
        let call = a.endpoint.call(b.node, service, Bytes::from_static(b"x"));
        assert_eq!(patiently(call).await.unwrap(), "x");
    }

    assert_eq!(a.endpoint.connections(), 3);
}

#[tokio::test]
async fn simultaneous_dials_settle_on_one_connection() {
    for _ in 0..20 {
        let (a, b) = pair();

        let (there, back) = tokio::join!(a.ask(&b), b.ask(&a));

        assert_eq!(there.unwrap(), "hello");
        assert_eq!(back.unwrap(), "hello");
        let calls = (0..20).map(|_| a.ask(&b));
        assert!(join_all(calls).await.into_iter().all(|answer| answer.is_ok()));
        let (there, back) = (current(&a, &b, Lane::Rpc), current(&b, &a, Lane::Rpc));
        assert_eq!(there.dialler, back.dialler);
    }
}

#[tokio::test]
async fn the_connection_not_settled_on_is_closed_when_it_is_idle() {
    let (a, b) = pair();
    b.ask(&a).await.unwrap();
    let older = current(&a, &b, Lane::Rpc);

    // The other side has lost the connection, and dials anew: the newer one is taken, the older one let go of.
    let connection = b.endpoint.dial_anew(a.node, Lane::Rpc).await;
    assert_eq!(a.ask(&b).await.unwrap(), "hello");

    patiently(older.connection.closed()).await;
    assert!(connection.close_reason().is_none());
    assert_eq!(current(&a, &b, Lane::Rpc).dialler, b.node);
}

#[tokio::test]
async fn a_peer_that_restarts_at_its_address_is_found_again_at_once() {
    let (a, b) = pair();
    let relay = Relay::to(&b.address).await;
    a.roster
        .set(b.node, Admission::Member, std::slice::from_ref(&relay.address));
    a.ask(&b).await.unwrap();

    // Killed: it says no goodbye that anybody hears.
    let restarted = Station::start_with(2, b.roster.clone());
    relay.turn_to(&restarted.address);
    drop(b);
    let void = a.ask(&restarted).await;
    let answer = a.ask(&restarted).await;

    assert!(matches!(void, Err(LinkError::NoAnswer { reason, .. }) if reason.contains("restarted")));
    assert_eq!(answer.unwrap(), "hello");
}

#[tokio::test]
async fn a_peer_that_shuts_down_says_so() {
    let (a, b) = pair();
    a.ask(&b).await.unwrap();
    let link = current(&a, &b, Lane::Rpc);

    b.endpoint.close().await;

    patiently(link.connection.closed()).await;
    assert!(a.endpoint.path(b.node).is_none());
}

#[tokio::test]
async fn forgetting_a_node_drops_its_connections_and_a_later_call_dials_again() {
    let (a, b) = pair();
    a.ask(&b).await.unwrap();
    let link = current(&a, &b, Lane::Rpc);
    let seen_by_b = current(&b, &a, Lane::Rpc);

    a.endpoint.forget(b.node);

    assert!(link.connection.close_reason().is_some());
    assert!(a.endpoint.path(b.node).is_none());
    patiently(seen_by_b.connection.closed()).await;
    assert_eq!(a.ask(&b).await.unwrap(), "hello");
}

#[tokio::test]
async fn a_path_has_figures_once_it_is_used() {
    let (a, b) = pair();
    assert!(a.endpoint.path(b.node).is_none());

    a.ask(&b).await.unwrap();
    let path = a.endpoint.path(b.node).unwrap();

    assert!(path.packets_sent > 0 && path.congestion_window > 0);
    assert!(!path.rtt.is_zero());
}

#[tokio::test]
async fn nobody_at_home_is_said_with_every_address_that_was_tried() {
    let (a, b) = pair();
    let nowhere = vec!["127.0.0.1:9".to_owned(), "no.such.host.invalid:4480".to_owned()];
    a.roster.set(b.node, Admission::Member, &nowhere);

    let error = a.ask(&b).await.unwrap_err();

    let LinkError::Unreachable { reason, .. } = &error else {
        panic!("{error}");
    };
    assert!(
        reason.contains("127.0.0.1:9") && reason.contains("no.such.host.invalid"),
        "{reason}"
    );
    // The next caller is told at once, and does not wait for another dial.
    let again = tokio::time::timeout(std::time::Duration::from_millis(100), a.ask(&b)).await;
    assert!(again.is_ok());
}

#[tokio::test]
async fn a_second_address_is_tried_while_the_first_is_silent() {
    let (a, b) = pair();
    let silent = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let addresses = vec![silent.local_addr().unwrap().to_string(), b.address.clone()];
    a.roster.set(b.node, Admission::Member, &addresses);

    let answer = tokio::time::timeout(std::time::Duration::from_secs(3), a.ask(&b)).await;

    assert_eq!(answer.unwrap().unwrap(), "hello");
}

#[tokio::test]
async fn a_caller_without_patience_does_not_stop_the_dial_for_others() {
    let (a, b) = pair();

    let impatient = a.endpoint.call(b.node, Service::Rpc, Bytes::from_static(b"x"));
    let gave_up = tokio::time::timeout(std::time::Duration::ZERO, impatient).await;
    let answer = a.ask(&b).await;

    assert!(gave_up.is_err());
    assert_eq!(answer.unwrap(), "hello");
    assert_eq!(a.endpoint.connections(), 1);
}

#[tokio::test]
async fn closing_an_endpoint_fails_what_is_under_way() {
    let (a, mut b) = pair();
    let call = tokio::spawn(a.endpoint.call(b.node, Service::Rpc, Bytes::from_static(HANG)));
    b.seen.recv().await.unwrap();

    a.endpoint.close().await;

    assert!(matches!(
        patiently(call).await.unwrap(),
        Err(LinkError::NoAnswer { .. })
    ));
    assert!(matches!(a.ask(&b).await, Err(LinkError::Unreachable { .. })));
}

#[tokio::test]
async fn an_address_that_is_taken_is_named_with_what_to_do() {
    let b = Station::start(2);
    let taken = LinkConfig {
        key: b.key.clone(),
        listen: b.address.parse().unwrap(),
        roster: b.roster.clone(),
    };

    let error = Endpoint::bind(taken).unwrap_err();

    assert!(error.to_string().contains(&b.address) && error.to_string().contains("p2p.listen"));
}

#[tokio::test]
async fn datagrams_of_nonsense_change_nothing() {
    let (log, _guard) = Log::begin();
    let (a, b) = pair();
    let noise = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();

    for n in 0..200_u8 {
        let datagram = vec![n.wrapping_mul(37); usize::from(n) * 7];
        noise.send_to(&datagram, &b.address).await.unwrap();
    }

    assert_eq!(a.ask(&b).await.unwrap(), "hello");
    assert!(!log.has_line_with(&["WARN"]));
}
