//! The acceptor's side of streams.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::watch;

use super::close::{Close, cut};
use super::link::{InUse, Link};
use super::refusals::{Culprit, Refusals};
use super::requests::{ANSWERED, DECLINED};
use super::stream::{QuicRecv, QuicSend};
use crate::header::{HEADER_LEN, Header, Kind, admit, judge};
use crate::links::{CALL_BYTES_MAX, REASON_BYTES_MAX, answer_too_long};
use crate::service::Lane;
use crate::{Channel, Handler, LinkError, RecvHalf, Roster, SendHalf};

/// What answering needs.
#[derive(Clone, Debug)]
pub(super) struct Answers {
    pub(super) roster: Arc<dyn Roster>,
    pub(super) refusals: Refusals,
    /// `None` until the endpoint serves: streams wait.
    pub(super) handler: watch::Receiver<Option<Arc<dyn Handler>>>,
}

impl Answers {
    /// Serves the streams that the other side opens, until the connection ends.
    pub(super) async fn serve(&self, link: Arc<Link>) {
        while let Ok((send, recv)) = link.connection.accept_bi().await {
            let Some(in_use) = link.enter() else {
                return;
            };
            let this = self.clone();
            let link = link.clone();
            tokio::spawn(async move {
                let node = link.peer;
                let channel = Channel {
                    send: SendHalf::quic(node, QuicSend::new(node, send, in_use.clone())),
                    recv: RecvHalf::quic(node, QuicRecv::new(node, recv, in_use.clone())),
                };
                this.answer(&link, channel, in_use).await;
            });
        }
    }

    async fn answer(mut self, link: &Link, mut channel: Channel, _in_use: Arc<InUse>) {
        let mut header = [0; HEADER_LEN];
        if channel.recv.read_exact(&mut header).await.is_err() {
            return;
        }
        let header = match Header::decode(&header) {
            Ok(header) if header.service.lane() == link.lane => header,
            Ok(header) => {
                let reason = format!(
                    "a stream of service {} is not for this connection",
                    header.service
                );
                return self.refuse(link, Close::Misbehaved, &reason);
            }
            Err(reason) => return self.refuse(link, Close::Misbehaved, &reason),
        };
        let judged = admit(self.roster.as_ref(), link.peer, link.lane == Lane::Join)
            .and_then(|()| judge(self.roster.as_ref(), &header));
        if let Err(reason) = judged {
            return self.refuse(link, Close::Refused, &reason);
        }
        let handler = match self.handler.wait_for(Option::is_some).await {
            Ok(handler) => handler.clone(),
            Err(_) => None,
        };
        let Some(handler) = handler else {
            return;
        };
        match header.kind {
            Kind::Channel => handler.open(link.peer, header.service, channel).await,
            Kind::Call => {
                // Only a caller that has gone away can make these fail.
                let _ = answer_call(handler, link, header, channel).await;
            }
        }
    }

    fn refuse(&self, link: &Link, close: Close, reason: &str) {
        let address = link.connection.remote_address();
        self.refusals.refused(Culprit::Node(link.peer), address, reason);
        close.close(&link.connection, reason);
    }
}

async fn answer_call(
    handler: Arc<dyn Handler>,
    link: &Link,
    header: Header,
    channel: Channel,
) -> Result<(), LinkError> {
    let Channel { mut send, mut recv } = channel;
    // Whatever happens, the answer goes before bulk on the same connection, as the request did.
    send.set_priority(header.service.priority());
    let answer = match recv.read_to_end(CALL_BYTES_MAX).await {
        Ok(body) => handler.call(link.peer, header.service, body).await,
        Err(LinkError::TooLarge { .. }) => Err(format!(
            "the request has more than {CALL_BYTES_MAX} bytes; send less at once"
        )),
        Err(error) => return Err(error),
    };
    match answer {
        Ok(body) if body.len() <= CALL_BYTES_MAX => {
            send.write_all(&[ANSWERED]).await?;
            send.write_bytes(body).await?;
        }
        Ok(body) => decline(&mut send, &answer_too_long(body.len())).await?,
        Err(reason) => decline(&mut send, &reason).await?,
    }
    send.finish()?;
    send.received().await
}

async fn decline(send: &mut SendHalf, reason: &str) -> Result<(), LinkError> {
    send.write_all(&[DECLINED]).await?;
    let reason = Bytes::copy_from_slice(cut(reason, REASON_BYTES_MAX).as_bytes());
    send.write_bytes(reason).await
}
