use std::sync::Arc;

use bytes::Bytes;
use ed25519_dalek::SigningKey;
use rustls::client::AlwaysResolvesClientRawPublicKeys;
use rustls::pki_types::CertificateDer;
use rustls::sign::CertifiedKey;
use tetryx_protocol::id::{ClusterId, NodeId};

use super::station::{CLUSTER, Log, Station, pair, patiently};
use crate::quic::tls::Identity;
use crate::service::Lane;
use crate::{Admission, LinkError, Links, Service};

fn reason_of(refused: &LinkError) -> &str {
    match refused {
        LinkError::Refused { reason, .. } => reason,
        other => panic!("not a refusal: {other}"),
    }
}

#[tokio::test]
async fn two_members_talk() {
    let (a, mut b) = pair();

    let answer = a.ask(&b).await;

    assert_eq!(answer.unwrap(), "hello");
    assert_eq!(b.seen.recv().await, Some((a.node, Service::Rpc)));
}

#[tokio::test]
async fn a_stranger_is_told_why_and_both_sides_log_it() {
    let (log, _guard) = Log::begin();
    let (member, stranger) = (Station::start(1), Station::start(2));
    stranger.knows(&member);

    let refused = stranger.refusal(&member).await;

    assert!(refused.contains("not a member of this cluster; join with a ticket"));
    let who = stranger.node.to_string();
    log.line_with(&["refused a connection", &who, "not a member", "127.0.0.1"])
        .await;
    log.line_with(&["another node refuses this one", "not a member"])
        .await;
    assert_eq!(member.roster.knocked.lock().first(), Some(&stranger.node));
}

#[tokio::test]
async fn a_removed_node_is_told_so() {
    let (log, _guard) = Log::begin();
    let (a, b) = pair();
    b.roster.set(a.node, Admission::Removed, &[]);

    let refused = a.refusal(&b).await;

    assert!(refused.contains("was removed from this cluster"));
    log.line_with(&["refused a connection", "was removed"]).await;
}

#[tokio::test]
async fn a_removed_node_is_refused_on_the_connection_that_it_has() {
    let (a, b) = pair();
    a.ask(&b).await.unwrap();

    b.roster.set(a.node, Admission::Removed, &[]);
    let refused = a.refusal(&b).await;

    assert!(refused.contains("was removed from this cluster"));
}

#[tokio::test]
async fn a_removed_node_is_not_called() {
    let (a, mut b) = pair();
    a.roster
        .set(b.node, Admission::Removed, std::slice::from_ref(&b.address));

    let error = a.ask(&b).await.unwrap_err();

    assert!(matches!(error, LinkError::Unreachable { reason, .. } if reason.contains("removed")));
    assert!(b.seen.try_recv().is_err());
}

#[tokio::test]
async fn a_node_of_another_cluster_is_refused_by_name() {
    let (log, _guard) = Log::begin();
    let (a, mut b) = pair();
    let other = ClusterId::from_bytes([0xee; 16]);
    *a.roster.cluster.lock() = Some((other, 1));

    let refused = a.refusal(&b).await;

    assert!(refused.contains("belongs to cluster eeeeeeeeee"));
    log.line_with(&["refused a connection", "belongs to cluster eeeeeeeeee"])
        .await;
    log.line_with(&["another node refuses this one", "belongs to cluster"])
        .await;
    assert!(b.seen.try_recv().is_err());
}

#[tokio::test]
async fn a_node_of_an_older_epoch_is_refused_and_one_of_a_newer_epoch_is_not() {
    let (log, _guard) = Log::begin();
    let (a, b) = pair();
    *b.roster.cluster.lock() = Some((CLUSTER, 2));

    let refused = a.refusal(&b).await;

    assert!(refused.contains("epoch 1"));
    log.line_with(&["refused a connection", "epoch 1", "epoch 2"])
        .await;
    assert_eq!(b.ask(&a).await.unwrap(), "hello");
}

#[tokio::test]
async fn a_public_key_without_its_private_key_opens_nothing() {
    let (log, _guard) = Log::begin();
    let (member, mut victim) = pair();
    let thief = SigningKey::from_bytes(&[99; 32]);

    let outcome = patiently(dial_as(&thief, member.node, &victim)).await;

    assert!(
        outcome.contains("signature") || outcome.contains("handshake"),
        "{outcome}"
    );
    log.line_with(&["refused a connection", "127.0.0.1", "BadSignature"])
        .await;
    assert!(victim.seen.try_recv().is_err());
}

/// Dials with a key of its own and the public key of `claimed`; returns what came of it.
async fn dial_as(own: &SigningKey, claimed: NodeId, victim: &Station) -> String {
    let forged = {
        let real = Identity::new(own).unwrap().certified_key();
        let mut spki = real.cert[0].as_ref()[..12].to_vec();
        spki.extend_from_slice(claimed.as_bytes());
        Arc::new(CertifiedKey::new(
            vec![CertificateDer::from(spki)],
            real.key.clone(),
        ))
    };
    let identity = Identity::new(own).unwrap();
    let resolver = AlwaysResolvesClientRawPublicKeys::new(forged);
    let config = identity.client_with(victim.node, Lane::Rpc, resolver).unwrap();
    let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let connecting = endpoint.connect_with(
        quinn::ClientConfig::new(Arc::new(config)),
        victim.address.parse().unwrap(),
        "tetryx",
    );
    match connecting.unwrap().await {
        // The dialler is done before the listener has seen the signature.
        Ok(connection) => connection.closed().await.to_string(),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn an_address_where_somebody_else_lives_is_not_taken_for_the_node() {
    let (a, mut b) = pair();
    let absent = NodeId::from_bytes([5; 32]);
    a.roster
        .set(absent, Admission::Member, std::slice::from_ref(&b.address));

    let call = a
        .endpoint
        .call(absent, Service::Rpc, Bytes::from_static(b"secret"));
    let error = patiently(call).await.unwrap_err();

    let words = format!("node {} is at this address", b.node.fmt_short());
    assert!(
        matches!(&error, LinkError::Unreachable { reason, .. } if reason.contains(&words)),
        "{error}"
    );
    assert!(b.seen.try_recv().is_err());
}

#[tokio::test]
async fn a_stranger_may_join_and_nothing_else() {
    let (mut member, stranger) = (Station::start(1), Station::start(2));
    *stranger.roster.cluster.lock() = None;
    let addresses = vec!["127.0.0.1:1".to_owned(), member.address.clone()];

    let call = |service| {
        let body = Bytes::from_static(b"let me in");
        let links = stranger.endpoint.clone();
        let addresses = addresses.clone();
        async move { patiently(links.call_stranger(addresses, member.node, service, body)).await }
    };
    let joined = call(Service::Join).await;
    let refused = call(Service::Rpc).await;

    assert_eq!(joined.unwrap(), "let me in");
    assert!(reason_of(&refused.unwrap_err()).contains("not a member"));
    assert_eq!(member.seen.try_recv(), Ok((stranger.node, Service::Join)));
    assert!(member.seen.try_recv().is_err());
}

#[tokio::test]
async fn a_joiners_connection_carries_no_other_service() {
    let (mut member, stranger) = (Station::start(1), Station::start(2));
    let identity = Identity::new(&stranger.key).unwrap();
    let config = identity.client(member.node, Lane::Join).unwrap();
    let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let config = quinn::ClientConfig::new(Arc::new(config));
    let connecting = endpoint.connect_with(config, member.address.parse().unwrap(), "tetryx");
    let connection = patiently(connecting.unwrap()).await.unwrap();

    let (mut send, _recv) = connection.open_bi().await.unwrap();
    let mut header = vec![1, Service::Raft.number(), 0];
    header.extend_from_slice(CLUSTER.as_bytes());
    header.extend_from_slice(&1_u64.to_le_bytes());
    send.write_all(&header).await.unwrap();
    let closed = patiently(connection.closed()).await;

    assert!(closed.to_string().contains("not for this connection"), "{closed}");
    assert!(member.seen.try_recv().is_err());
}

#[tokio::test]
async fn a_stream_that_begins_with_nonsense_closes_the_connection() {
    let (a, b) = pair();
    let identity = Identity::new(&a.key).unwrap();
    let config = identity.client(b.node, Lane::Chunks).unwrap();
    let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let config = quinn::ClientConfig::new(Arc::new(config));
    let connecting = endpoint.connect_with(config, b.address.parse().unwrap(), "tetryx");
    let connection = patiently(connecting.unwrap()).await.unwrap();

    let (mut send, _recv) = connection.open_bi().await.unwrap();
    send.write_all(&[0xff; 64]).await.unwrap();
    let closed = patiently(connection.closed()).await;

    assert!(closed.to_string().contains("version 255"), "{closed}");
    assert_eq!(a.ask(&b).await.unwrap(), "hello");
}
