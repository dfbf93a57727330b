//! The halves of a QUIC stream, with this crate's errors.

use std::sync::Arc;

use bytes::Bytes;
use quinn::{ReadError, StoppedError, WriteError};
use tetryx_protocol::id::NodeId;

use super::close::{self, STREAM_ABANDONED};
use super::link::InUse;
use crate::LinkError;

/// The writing half.
#[derive(Debug)]
pub(crate) struct QuicSend {
    node: NodeId,
    stream: quinn::SendStream,
    _in_use: Arc<InUse>,
}

/// The reading half.
#[derive(Debug)]
pub(crate) struct QuicRecv {
    node: NodeId,
    stream: quinn::RecvStream,
    _in_use: Arc<InUse>,
}

impl QuicSend {
    pub(super) fn new(node: NodeId, stream: quinn::SendStream, in_use: Arc<InUse>) -> Self {
        Self {
            node,
            stream,
            _in_use: in_use,
        }
    }

    pub(crate) fn set_priority(&self, priority: i32) {
        // Fails if it is closed already: then there is nothing to order.
        let _ = self.stream.set_priority(priority);
    }

    pub(crate) async fn write_all(&mut self, bytes: &[u8]) -> Result<(), LinkError> {
        let written = self.stream.write_all(bytes).await;
        written.map_err(|error| self.write_error(error))
    }

    pub(crate) async fn write_bytes(&mut self, bytes: Bytes) -> Result<(), LinkError> {
        let written = self.stream.write_chunk(bytes).await;
        written.map_err(|error| self.write_error(error))
    }

    pub(crate) fn finish(&mut self) -> Result<(), LinkError> {
        self.stream
            .finish()
            .map_err(|_| self.broken("it was already finished"))
    }

    pub(crate) fn reset(&mut self) {
        // Fails if it is closed already, which is what is wanted.
        let _ = self.stream.reset(STREAM_ABANDONED);
    }

    pub(crate) async fn received(&mut self) -> Result<(), LinkError> {
        match self.stream.stopped().await {
            Ok(_) => Ok(()),
            Err(StoppedError::ConnectionLost(error)) => Err(close::of_stream(self.node, &error)),
            Err(StoppedError::ZeroRttRejected) => Err(self.broken("early data was rejected")),
        }
    }

    fn write_error(&self, error: WriteError) -> LinkError {
        match error {
            WriteError::Stopped(_) => self.broken("the other side wants no more of it"),
            WriteError::ConnectionLost(error) => close::of_stream(self.node, &error),
            WriteError::ClosedStream => self.broken("it was already finished"),
            WriteError::ZeroRttRejected => self.broken("early data was rejected"),
        }
    }

    fn broken(&self, reason: &str) -> LinkError {
        LinkError::Broken {
            node: self.node,
            reason: reason.to_owned(),
        }
    }
}

impl QuicRecv {
    pub(super) fn new(node: NodeId, stream: quinn::RecvStream, in_use: Arc<InUse>) -> Self {
        Self {
            node,
            stream,
            _in_use: in_use,
        }
    }

    pub(crate) async fn read(&mut self, max: usize) -> Result<Option<Bytes>, LinkError> {
        let read = self.stream.read_chunk(max, true).await;
        let chunk = read.map_err(|error| self.read_error(error))?;
        Ok(chunk.map(|chunk| chunk.bytes))
    }

    pub(crate) async fn read_pieces(&mut self, pieces: &mut [Bytes]) -> Result<Option<usize>, LinkError> {
        let read = self.stream.read_chunks(pieces).await;
        read.map_err(|error| self.read_error(error))
    }

    fn read_error(&self, error: ReadError) -> LinkError {
        match error {
            ReadError::ConnectionLost(error) => close::of_stream(self.node, &error),
            ReadError::Reset(_) => self.broken("the other side gave it up"),
            other => self.broken(&other.to_string()),
        }
    }

    fn broken(&self, reason: &str) -> LinkError {
        LinkError::Broken {
            node: self.node,
            reason: reason.to_owned(),
        }
    }
}

impl Drop for QuicRecv {
    fn drop(&mut self) {
        // Fails if everything was read, which is fine. Quinn would send code 0 by itself.
        let _ = self.stream.stop(STREAM_ABANDONED);
    }
}
