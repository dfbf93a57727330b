//! Real overlays on loopback: who hears whom, who is let in, and what a split leaves behind.

mod fixture;

use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::time::Duration;

use fixture::{Mesh, Relays, presence, quick};
use tetryx_gossip::{Gossip as _, GossipError, Timing};

#[tokio::test]
async fn a_presence_arrives_at_all_of_five_nodes() {
    let mesh = Mesh::of(5).await;
    for station in &mesh.stations {
        station.announce(1);
    }
    for station in &mesh.stations {
        for other in mesh.others(station) {
            station.hears(other.node, 1).await;
        }
    }
}

#[tokio::test]
async fn a_node_does_not_hear_itself() {
    let mesh = Mesh::of(2).await;
    mesh.stations[0].announce(1);
    mesh.stations[1].hears(mesh.stations[0].node, 1).await;
    assert!(
        !mesh.stations[0]
            .gossip
            .presences()
            .contains_key(&mesh.stations[0].node)
    );
}

#[tokio::test]
async fn a_member_that_connects_later_hears_what_was_announced_before() {
    let mut mesh = Mesh::of(2).await;
    mesh.stations[0].announce(7);
    let late = mesh.add().await;
    mesh.stations[late].hears(mesh.stations[0].node, 7).await;
}

#[tokio::test]
async fn a_number_that_goes_backwards_is_ignored() {
    let mesh = Mesh::of(2).await;
    let [speaker, listener] = &mesh.stations[..] else {
        unreachable!()
    };
    speaker.announce(5);
    listener.hears(speaker.node, 5).await;
    let mut changes = listener.gossip.watch();
    speaker.announce(3);
    speaker.announce(6);
    let mut heard = Vec::new();
    while heard.last() != Some(&6) {
        changes.changed().await.expect("the overlay runs");
        heard.push(changes.borrow_and_update()[&speaker.node].presence.seq);
    }
    assert!(heard.iter().all(|seq| *seq >= 5), "{heard:?}");
}

#[tokio::test]
async fn a_stranger_is_refused() {
    let mesh = Mesh::of(2).await;
    let stranger = mesh.stranger().await;
    stranger.announce(1);
    mesh.stations[0].announce(1);
    mesh.stations[1].hears(mesh.stations[0].node, 1).await;
    // It has knocked at least twice: its dials succeed, and the connection is closed before anything is said.
    let mut connected = stranger.gossip.watch_connected();
    let mut refused = 0;
    while refused < 2 {
        let was = !connected.borrow_and_update().is_empty();
        connected.changed().await.expect("the overlay runs");
        refused += u32::from(was && connected.borrow().is_empty());
    }
    assert!(stranger.gossip.presences().is_empty());
    for station in &mesh.stations {
        assert!(!station.gossip.presences().contains_key(&stranger.node));
        assert!(!station.gossip.connected().contains(&stranger.node));
    }
}

#[tokio::test]
async fn a_removed_member_is_disconnected_and_forgotten() {
    let mesh = Mesh::of(3).await;
    let [kept, also_kept, removed] = &mesh.stations[..] else {
        unreachable!()
    };
    removed.announce(1);
    kept.hears(removed.node, 1).await;
    mesh.directory.remove(removed.node);
    for station in [kept, also_kept] {
        station.gossip.roster_changed();
        station
            .is_connected_to(&BTreeSet::from([kept.node, also_kept.node]))
            .await;
        assert!(!station.gossip.presences().contains_key(&removed.node));
    }
}

#[tokio::test]
async fn a_split_overlay_re_merges() {
    let relays = Relays::default();
    let mesh = Mesh::behind(5, &relays).await;
    let everybody: BTreeSet<_> = mesh.stations.iter().map(|station| station.node).collect();
    let (left, right) = mesh.stations.split_at(2);
    for station in &mesh.stations {
        station.is_connected_to(&everybody).await;
    }

    relays.cut(left.iter().map(|station| station.node));
    for side in [left, right] {
        let members = side.iter().map(|station| station.node).collect();
        for station in side {
            station.is_connected_to(&members).await;
        }
    }
    for station in &mesh.stations {
        station.announce(2);
    }
    right[0].hears(right[1].node, 2).await;
    left[0].hears(left[1].node, 2).await;
    assert!(right.iter().all(|station| {
        let presences = station.gossip.presences();
        left.iter().all(|other| {
            presences
                .get(&other.node)
                .is_none_or(|seen| seen.presence.seq < 2)
        })
    }));

    relays.heal();
    for station in &mesh.stations {
        for other in mesh.others(station) {
            station.hears(other.node, 2).await;
        }
        station.is_connected_to(&everybody).await;
    }
}

#[tokio::test]
async fn new_timers_are_taken_over_without_losing_what_was_heard() {
    let mesh = Mesh::of(2).await;
    let [speaker, listener] = &mesh.stations[..] else {
        unreachable!()
    };
    speaker.announce(1);
    listener.hears(speaker.node, 1).await;
    let address = listener.gossip.listen_addr();
    let mut connected = listener.gossip.watch_connected();
    connected.mark_unchanged();
    listener.gossip.retime(Duration::from_secs(2));
    connected.changed().await.expect("the overlay runs");
    assert!(listener.gossip.presences().contains_key(&speaker.node));
    speaker.announce(2);
    listener.hears(speaker.node, 2).await;
    listener.announce(1);
    speaker.hears(listener.node, 1).await;
    assert_eq!(listener.gossip.listen_addr(), address);
}

#[tokio::test]
async fn shutting_down_frees_the_port_and_tells_the_others() {
    let mesh = Mesh::of(2).await;
    let [leaving, staying] = &mesh.stations[..] else {
        unreachable!()
    };
    staying
        .is_connected_to(&BTreeSet::from([leaving.node, staying.node]))
        .await;
    let address = leaving.gossip.listen_addr();
    leaving.gossip.shutdown().await;
    UdpSocket::bind(address).expect("the port is free");
    staying.is_connected_to(&BTreeSet::from([staying.node])).await;
    leaving.gossip.shutdown().await;
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let taken = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("it is bound");
    let error = fixture::start_at(address, quick())
        .await
        .expect_err("the port is taken");
    assert!(
        matches!(error, GossipError::Listen { listen, .. } if listen == address),
        "{error}"
    );
    assert!(error.to_string().contains(&address.to_string()));
}

#[tokio::test]
async fn a_wildcard_address_is_reached_over_both_families() {
    let listen = "[::]:0".parse().expect("an address");
    let gossip = fixture::start_at(listen, Timing::for_rtt(Duration::ZERO))
        .await
        .expect("a free port");
    let port = gossip.listen_addr().port();
    assert_ne!(port, 0);
    assert!(UdpSocket::bind(("127.0.0.1", port)).is_err(), "IPv4 is taken");
    gossip.shutdown().await;
    assert!(UdpSocket::bind(("127.0.0.1", port)).is_ok(), "IPv4 is free");
}

#[tokio::test]
async fn a_presence_of_another_node_is_not_announced() {
    let mesh = Mesh::of(3).await;
    let [speaker, listener, victim] = &mesh.stations[..] else {
        unreachable!()
    };
    speaker.gossip.announce(presence(victim.node, 1));
    speaker.announce(1);
    listener.hears(speaker.node, 1).await;
    assert!(!listener.gossip.presences().contains_key(&victim.node));
    assert!(listener.gossip.connected().contains(&speaker.node));
}
