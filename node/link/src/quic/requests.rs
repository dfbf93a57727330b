//! The opener's side of streams.

use bytes::Bytes;
use tetryx_protocol::id::NodeId;

use super::close::{Close, foreign_reason};
use super::link::Link;
use super::stream::{QuicRecv, QuicSend};
use crate::header::{Header, Kind};
use crate::links::CALL_BYTES_MAX;
use crate::{Channel, LinkError, RecvHalf, SendHalf};

/// First byte of an answer to a call: the handler's answer follows.
pub(super) const ANSWERED: u8 = 0;

/// First byte of an answer to a call: the handler's reason follows.
pub(super) const DECLINED: u8 = 1;

/// Why a stream on a connection came to nothing.
pub(super) enum Failure {
    /// The connection was let go of before the stream was looked at: open it on another one.
    Elsewhere,
    /// What the caller is told.
    Error(LinkError),
}

/// Opens a stream and sends the header.
pub(super) async fn open(link: &Link, header: Header) -> Result<Channel, Failure> {
    let node = link.peer;
    let Some(in_use) = link.enter() else {
        return Err(Failure::Elsewhere);
    };
    let (send, recv) = link
        .connection
        .open_bi()
        .await
        .map_err(|error| not_opened(node, &error))?;
    let mut send = SendHalf::quic(node, QuicSend::new(node, send, in_use.clone()));
    send.set_priority(header.service.priority());
    let recv = RecvHalf::quic(node, QuicRecv::new(node, recv, in_use));
    if let Err(error) = send.write_all(&header.encode()).await {
        return Err(broke(link, error));
    }
    Ok(Channel { send, recv })
}

/// Makes a call on a connection.
pub(super) async fn call(link: &Link, header: Header, body: Bytes) -> Result<Bytes, Failure> {
    debug_assert_eq!(header.kind, Kind::Call);
    let Channel { mut send, mut recv } = open(link, header).await?;
    // A write that fails is not the end: the other side may have answered without reading everything.
    let written = match send.write_bytes(body).await {
        Ok(()) => send.finish(),
        Err(error) => Err(error),
    };
    let answer = match (recv.read_to_end(CALL_BYTES_MAX + 1).await, written) {
        (Ok(answer), _) => answer,
        (Err(LinkError::Broken { .. }), Err(error)) | (Err(error), _) => return Err(broke(link, error)),
    };
    let mut body = answer;
    let status = if body.is_empty() {
        None
    } else {
        Some(body.split_to(1)[0])
    };
    match status {
        Some(ANSWERED) => Ok(body),
        Some(DECLINED) => Err(Failure::Error(LinkError::Refused {
            node: link.peer,
            reason: foreign_reason(&body),
        })),
        _ => Err(Failure::Error(LinkError::NoAnswer {
            node: link.peer,
            reason: "the answer makes no sense; do both nodes run the same release?".to_owned(),
        })),
    }
}

/// No stream was opened, so nothing can have been carried out.
fn not_opened(node: NodeId, error: &quinn::ConnectionError) -> Failure {
    let reason = super::close::in_words(error);
    if Close::Superseded.is_cause_of(error) {
        Failure::Elsewhere
    } else if Close::Refused.is_cause_of(error) {
        Failure::Error(LinkError::Refused { node, reason })
    } else {
        Failure::Error(LinkError::Unreachable { node, reason })
    }
}

/// A stream that was open broke.
fn broke(link: &Link, error: LinkError) -> Failure {
    let closed = link.connection.close_reason();
    if closed.is_some_and(|cause| Close::Superseded.is_cause_of(&cause)) {
        return Failure::Elsewhere;
    }
    Failure::Error(match error {
        LinkError::Broken { node, reason } => LinkError::NoAnswer { node, reason },
        other => other,
    })
}
