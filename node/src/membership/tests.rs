//! What a member answers to those who want to join.

use std::time::Duration;

use tetryx_protocol::id::{ClusterId, NodeId};
use tetryx_protocol::join::{JoinAnswer, JoinRefusal, JoinRequest, Welcome};
use tetryx_protocol::message::Message;
use tetryx_protocol::ticket::JoinTicket;
use tetryx_protocol::time::UtcTime;
use tetryx_state::command::RemoveMember;

use crate::first_start::FEATURE_LEVEL;
use crate::membership::{admit, invite};
use crate::testing::TestNode;

const HOUR: Duration = Duration::from_secs(3600);

fn stranger(number: u8) -> NodeId {
    NodeId::from_bytes([number; 32])
}

impl TestNode {
    async fn ticket(&self) -> JoinTicket {
        invite(&self.node, "root", None, HOUR, true).await.unwrap().ticket
    }

    fn request(&self, ticket: &JoinTicket, name: &str) -> JoinRequest {
        JoinRequest {
            cluster: ticket.cluster,
            secret: ticket.secret.clone(),
            name: name.to_owned(),
            zone: "north".to_owned(),
            addresses: vec!["192.0.2.7:4480".to_owned()],
            gossip: vec!["192.0.2.7:4481".to_owned()],
            http_url: None,
            weight: 100,
            now: self.node.clock().utc(),
            feature_level: FEATURE_LEVEL,
        }
    }

    async fn asked(&self, from: NodeId, request: &JoinRequest) -> Result<Welcome, JoinRefusal> {
        let answer = admit(&self.node, from, &request.encode()).await.unwrap();
        match JoinAnswer::decode(&answer).unwrap() {
            JoinAnswer::Welcome(welcome) => Ok(*welcome),
            JoinAnswer::Refused { reason } => Err(reason),
        }
    }

    async fn joins(&self, number: u8, ticket: &JoinTicket) -> Result<Welcome, JoinRefusal> {
        let name = format!("station-{number}");
        self.asked(stranger(number), &self.request(ticket, &name)).await
    }
}

#[tokio::test]
async fn who_has_a_ticket_is_told_all_it_needs() {
    let member = TestNode::new().await;
    let ticket = member.ticket().await;
    let welcome = member.joins(7, &ticket).await.unwrap();
    assert_eq!(welcome.cluster, ticket.cluster);
    assert_eq!(welcome.epoch, 1);
    let entry = welcome
        .members
        .iter()
        .find(|entry| entry.node == stranger(7))
        .unwrap();
    assert_eq!((entry.name.as_str(), entry.zone.as_str()), ("station-7", "north"));
    assert_eq!(entry.addresses, ["192.0.2.7:4480"]);
    // And its links will be let in from now on
    assert!(member.node.roster().others().contains(&stranger(7)));
}

#[tokio::test]
async fn a_ticket_admits_one_node_which_may_ask_again() {
    let member = TestNode::new().await;
    let ticket = member.ticket().await;
    member.joins(7, &ticket).await.unwrap();
    member.joins(7, &ticket).await.unwrap();
    assert_eq!(
        member.joins(8, &ticket).await,
        Err(JoinRefusal::UsedTicket { by: stranger(7) })
    );
}

#[tokio::test]
async fn an_expired_ticket_is_refused() {
    let member = TestNode::new().await;
    let ticket = member.ticket().await;
    member.clock.turn(HOUR + Duration::from_secs(1));
    assert_eq!(
        member.joins(7, &ticket).await,
        Err(JoinRefusal::ExpiredTicket { at: ticket.expires })
    );
}

#[tokio::test]
async fn a_ticket_of_another_cluster_is_refused() {
    let member = TestNode::new().await;
    let ticket = JoinTicket {
        cluster: ClusterId::from_bytes([9; 16]),
        ..member.ticket().await
    };
    assert_eq!(member.joins(7, &ticket).await, Err(JoinRefusal::OtherCluster));
}

#[tokio::test]
async fn a_secret_that_nobody_gave_out_is_refused() {
    let (member, other) = (TestNode::new().await, TestNode::with(2, |_| {}).await);
    let ticket = JoinTicket {
        secret: other.ticket().await.secret,
        ..member.ticket().await
    };
    assert_eq!(member.joins(7, &ticket).await, Err(JoinRefusal::UnknownTicket));
}

#[tokio::test]
async fn a_clock_that_is_off_is_refused_before_the_ticket_is_used() {
    let member = TestNode::new().await;
    let ticket = member.ticket().await;
    let mut request = member.request(&ticket, "station-7");
    let right = request.now;
    request.now = UtcTime::from_unix_ms(right.unix_ms() - 60_000);
    assert_eq!(
        member.asked(stranger(7), &request).await,
        Err(JoinRefusal::ClockOff { by_ms: -60_000 })
    );
    request.now = right;
    member.asked(stranger(7), &request).await.unwrap();
}

#[tokio::test]
async fn a_node_that_was_removed_is_refused_for_ever() {
    let member = TestNode::new().await;
    member.joins(7, &member.ticket().await).await.unwrap();
    let remove = RemoveMember { node: stranger(7) };
    member.node.propose("root", remove).await.unwrap();
    assert_eq!(
        member.joins(7, &member.ticket().await).await,
        Err(JoinRefusal::RemovedNode)
    );
}

#[tokio::test]
async fn an_older_version_than_the_clusters_is_refused() {
    let member = TestNode::new().await;
    let ticket = member.ticket().await;
    let mut request = member.request(&ticket, "station-7");
    request.feature_level = FEATURE_LEVEL - 1;
    assert_eq!(
        member.asked(stranger(7), &request).await,
        Err(JoinRefusal::NeedsUpgrade)
    );
}
