//! One node's end of the hub.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use tetryx_protocol::id::NodeId;
use tokio::sync::watch;

use super::Hub;
use super::pipe::{after, pipe};
use crate::header::{Header, Kind, admit, judge};
use crate::links::{CALL_BYTES_MAX, answer_too_long};
use crate::{Channel, Handler, LinkError, Links, PathInfo, RecvHalf, Roster, SendHalf, Service};

/// The [`Links`] of one node at a [`Hub`].
#[derive(Debug)]
pub struct MemoryLinks {
    hub: Hub,
    node: NodeId,
    roster: Option<Arc<dyn Roster>>,
    gone: watch::Receiver<bool>,
}

impl MemoryLinks {
    pub(super) fn new(
        hub: Hub,
        node: NodeId,
        roster: Option<Arc<dyn Roster>>,
        gone: watch::Receiver<bool>,
    ) -> Self {
        Self {
            hub,
            node,
            roster,
            gone,
        }
    }

    /// This node.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Begins to answer. Whoever called before waits until now.
    pub fn serve(&self, handler: Arc<dyn Handler>) {
        self.hub
            .with_seat(self.node, |seat| seat.handler.send_replace(Some(handler)));
    }

    fn trip(&self, to: NodeId, service: Service) -> Trip {
        Trip {
            hub: self.hub.clone(),
            from: self.node,
            to,
            header: Header {
                service,
                kind: Kind::Call,
                cluster: self.roster.as_ref().and_then(|roster| roster.cluster()),
            },
            own_end: self.gone.clone(),
        }
    }
}

impl Links for MemoryLinks {
    fn call(
        &self,
        to: NodeId,
        service: Service,
        body: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, LinkError>> {
        let trip = self.trip(to, service);
        Box::pin(async move { trip.call(body).await })
    }

    fn open(&self, to: NodeId, service: Service) -> BoxFuture<'static, Result<Channel, LinkError>> {
        let trip = self.trip(to, service);
        Box::pin(async move { trip.open().await })
    }

    fn call_stranger(
        &self,
        _addresses: Vec<String>,
        expect: NodeId,
        service: Service,
        body: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, LinkError>> {
        self.call(expect, service, body)
    }

    fn path(&self, to: NodeId) -> Option<PathInfo> {
        let known = self.hub.with_seat(to, |_| ()).is_some();
        let cut = self.hub.is_cut(self.node, to) || self.hub.is_cut(to, self.node);
        (known && !cut).then(|| PathInfo {
            rtt: self.hub.latency(self.node, to) + self.hub.latency(to, self.node),
            packets_sent: 0,
            packets_lost: 0,
            congestion_window: u64::MAX,
            connected_for: Duration::ZERO,
        })
    }

    fn forget(&self, node: NodeId) {
        self.hub
            .break_streams(self.node, node, "the other side closed the connection");
    }
}

/// A request on its way, and what it needs there and back.
struct Trip {
    hub: Hub,
    from: NodeId,
    to: NodeId,
    header: Header,
    own_end: watch::Receiver<bool>,
}

impl Trip {
    async fn call(mut self, body: Bytes) -> Result<Bytes, LinkError> {
        self.check_len(body.len())?;
        let (handler, gone) = self.arrive().await?;
        let (from, service) = (self.from, self.header.service);
        let mut there_gone = gone.clone();
        let answer = tokio::spawn(async move {
            tokio::select! {
                biased;
                _ = there_gone.wait_for(|gone| *gone) => None,
                answer = handler.call(from, service, body) => Some(answer),
            }
        });
        let answer = answer.await.ok().flatten();
        let Some(answer) = answer else {
            after_wait(self.hub.failure_after()).await;
            return Err(self.no_answer("the node is gone"));
        };
        after_wait(self.hub.latency(self.to, self.from)).await;
        if self.hub.is_cut(self.to, self.from) {
            after_wait(self.hub.failure_after()).await;
            return Err(self.no_answer("the connection timed out"));
        }
        if *self.own_end.borrow_and_update() {
            return Err(self.no_answer("this endpoint is closed"));
        }
        match answer {
            Ok(body) if body.len() > CALL_BYTES_MAX => Err(self.refused(answer_too_long(body.len()))),
            Ok(body) => Ok(body),
            Err(reason) => Err(self.refused(reason)),
        }
    }

    async fn open(mut self) -> Result<Channel, LinkError> {
        let (handler, mut gone) = self.arrive().await?;
        let (from, to, service) = (self.from, self.to, self.header.service);
        let delay = |a: NodeId, b: NodeId| {
            let hub = self.hub.clone();
            Arc::new(move || hub.latency(a, b))
        };
        let (there_write, there_read, there) = pipe(from, to, delay(from, to));
        let (back_write, back_read, back) = pipe(to, from, delay(to, from));
        self.hub.watch_pipe(from, to, there.clone());
        self.hub.watch_pipe(to, from, back.clone());
        // Cut between the arrival and now: nobody will break the pipes later.
        if self.hub.is_cut(from, to) || self.hub.is_cut(to, from) {
            there.break_with("the connection timed out");
            back.break_with("the connection timed out");
        }
        let theirs = Channel {
            send: SendHalf::memory(from, back_write),
            recv: RecvHalf::memory(from, there_read),
        };
        tokio::spawn(async move {
            tokio::select! {
                biased;
                _ = gone.wait_for(|gone| *gone) => {}
                () = handler.open(from, service, theirs) => {}
            }
        });
        Ok(Channel {
            send: SendHalf::memory(to, there_write),
            recv: RecvHalf::memory(to, back_read),
        })
    }

    /// Goes to the other node, where it is admitted or not.
    async fn arrive(&mut self) -> Result<(Arc<dyn Handler>, watch::Receiver<bool>), LinkError> {
        if *self.own_end.borrow() {
            return Err(self.unreachable("this endpoint is closed"));
        }
        let mut cuts = self.hub.cuts(self.from, self.to);
        let at_start = *cuts.borrow_and_update();
        after_wait(self.hub.latency(self.from, self.to)).await;
        if at_start % 2 == 1 || *cuts.borrow_and_update() != at_start {
            after_wait(self.hub.failure_after()).await;
            return Err(self.unreachable("the path is cut"));
        }
        let seat = self.hub.with_seat(self.to, |seat| {
            (
                seat.handler.subscribe(),
                seat.roster.clone(),
                seat.gone.subscribe(),
            )
        });
        let Some((mut handler, roster, gone)) = seat else {
            after_wait(self.hub.failure_after()).await;
            return Err(self.unreachable("nobody answers"));
        };
        if let Some(roster) = roster {
            let joining = self.header.service == Service::Join;
            admit(roster.as_ref(), self.from, joining)
                .and_then(|()| judge(roster.as_ref(), &self.header))
                .map_err(|reason| self.refused(reason))?;
        }
        let handler = match handler.wait_for(Option::is_some).await {
            Ok(handler) => handler.clone(),
            Err(_) => None,
        };
        match handler {
            Some(handler) => Ok((handler, gone)),
            None => Err(self.unreachable("the node is gone")),
        }
    }

    fn check_len(&self, len: usize) -> Result<(), LinkError> {
        if len > CALL_BYTES_MAX {
            return Err(LinkError::TooLarge {
                node: self.to,
                len,
                max: CALL_BYTES_MAX,
            });
        }
        Ok(())
    }

    fn unreachable(&self, reason: &str) -> LinkError {
        LinkError::Unreachable {
            node: self.to,
            reason: reason.to_owned(),
        }
    }

    fn no_answer(&self, reason: &str) -> LinkError {
        LinkError::NoAnswer {
            node: self.to,
            reason: reason.to_owned(),
        }
    }

    fn refused(&self, reason: String) -> LinkError {
        LinkError::Refused {
            node: self.to,
            reason,
        }
    }
}

async fn after_wait(delay: Duration) {
    if let Some(wait) = after(delay) {
        wait.await;
    }
}
