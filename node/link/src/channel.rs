//! A stream in both directions between two nodes, over QUIC or within a process.
//!
//! # Invariants
//! - The end of a stream is a statement: a [`SendHalf`] that is dropped unfinished is reset, so the other side
//!   never takes a truncated stream for a whole one.
//! - Bytes arrive in order, once, and unchanged.

use bytes::{Bytes, BytesMut};
use tetryx_protocol::id::NodeId;

use crate::LinkError;
use crate::memory::pipe::{PipeReader, PipeWriter};
use crate::quic::stream;

/// Two halves that can be moved apart.
#[derive(Debug)]
pub struct Channel {
    /// What this side says.
    pub send: SendHalf,
    /// What the other side says.
    pub recv: RecvHalf,
}

/// The writing half of a [`Channel`].
#[derive(Debug)]
pub struct SendHalf {
    node: NodeId,
    inner: SendInner,
    finished: bool,
}

#[derive(Debug)]
enum SendInner {
    Quic(stream::QuicSend),
    Memory(PipeWriter),
}

/// The reading half of a [`Channel`].
#[derive(Debug)]
pub struct RecvHalf {
    node: NodeId,
    inner: RecvInner,
}

#[derive(Debug)]
enum RecvInner {
    Quic(stream::QuicRecv),
    Memory(PipeReader),
}

impl SendHalf {
    pub(crate) fn quic(node: NodeId, stream: stream::QuicSend) -> Self {
        Self {
            node,
            inner: SendInner::Quic(stream),
            finished: false,
        }
    }

    pub(crate) fn memory(node: NodeId, pipe: PipeWriter) -> Self {
        Self {
            node,
            inner: SendInner::Memory(pipe),
            finished: false,
        }
    }

    /// The node at the other end.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Orders this stream among those of its connection: while one of a higher priority has something to send, it
    /// waits. Without effect in memory.
    pub fn set_priority(&self, priority: i32) {
        match &self.inner {
            SendInner::Quic(stream) => stream.set_priority(priority),
            SendInner::Memory(_) => {}
        }
    }

    /// Hands over all of `bytes`, waiting while the other side reads too slowly.
    ///
    /// Not cancel-safe: dropped midway, some of the bytes are on their way.
    ///
    /// # Errors
    /// [`LinkError::Broken`] or [`LinkError::Refused`]; the half is then useless.
    pub async fn write_all(&mut self, bytes: &[u8]) -> Result<(), LinkError> {
        match &mut self.inner {
            SendInner::Quic(stream) => stream.write_all(bytes).await,
            SendInner::Memory(pipe) => pipe.write(Bytes::copy_from_slice(bytes)).await,
        }
    }

    /// As [`SendHalf::write_all`], without a copy.
    ///
    /// # Errors
    /// As [`SendHalf::write_all`].
    pub async fn write_bytes(&mut self, bytes: Bytes) -> Result<(), LinkError> {
        match &mut self.inner {
            SendInner::Quic(stream) => stream.write_bytes(bytes).await,
            SendInner::Memory(pipe) => pipe.write(bytes).await,
        }
    }

    /// Says that nothing more comes. What was written is delivered although the half is then dropped.
    ///
    /// # Errors
    /// [`LinkError::Broken`]: the stream was already finished, or the other side wants no more.
    pub fn finish(&mut self) -> Result<(), LinkError> {
        self.finished = true;
        match &mut self.inner {
            SendInner::Quic(stream) => stream.finish(),
            SendInner::Memory(pipe) => pipe.finish(),
        }
    }

    /// Gives up: what was not delivered yet is thrown away, and the other side's reads fail.
    pub fn reset(mut self) {
        self.abandon();
    }

    /// Waits until the other side has received everything that was finished, or wants no more of it.
    ///
    /// # Errors
    /// [`LinkError::Broken`] or [`LinkError::Refused`] if the connection breaks before.
    pub async fn received(&mut self) -> Result<(), LinkError> {
        match &mut self.inner {
            SendInner::Quic(stream) => stream.received().await,
            SendInner::Memory(pipe) => pipe.received().await,
        }
    }

    fn abandon(&mut self) {
        if !std::mem::replace(&mut self.finished, true) {
            match &mut self.inner {
                SendInner::Quic(stream) => stream.reset(),
                SendInner::Memory(pipe) => pipe.reset(),
            }
        }
    }
}

impl Drop for SendHalf {
    fn drop(&mut self) {
        self.abandon();
    }
}

impl RecvHalf {
    pub(crate) fn quic(node: NodeId, stream: stream::QuicRecv) -> Self {
        Self {
            node,
            inner: RecvInner::Quic(stream),
        }
    }

    pub(crate) fn memory(node: NodeId, pipe: PipeReader) -> Self {
        Self {
            node,
            inner: RecvInner::Memory(pipe),
        }
    }

    /// The node at the other end.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// The next bytes, at least one and at most `max`; `None` at the end of the stream. Cancel-safe.
    ///
    /// # Errors
    /// [`LinkError::Broken`] or [`LinkError::Refused`]; what came before is not taken back.
    pub async fn read(&mut self, max: usize) -> Result<Option<Bytes>, LinkError> {
        match &mut self.inner {
            RecvInner::Quic(stream) => stream.read(max).await,
            RecvInner::Memory(pipe) => pipe.read(max).await,
        }
    }

    /// The next pieces of the stream, as many as are there, each as it came; `None` at the end of the stream.
    /// Waits for the first one only. Cheaper than [`RecvHalf::read`] for who takes many. Cancel-safe.
    ///
    /// # Errors
    /// As [`RecvHalf::read`].
    pub async fn read_pieces(&mut self, pieces: &mut [Bytes]) -> Result<Option<usize>, LinkError> {
        match &mut self.inner {
            RecvInner::Quic(stream) => stream.read_pieces(pieces).await,
            RecvInner::Memory(pipe) => pipe.read_pieces(pieces).await,
        }
    }

    /// Fills `buffer`. Not cancel-safe.
    ///
    /// # Errors
    /// [`LinkError::Broken`] or [`LinkError::Refused`]; also if the stream ends before the buffer is full.
    pub async fn read_exact(&mut self, buffer: &mut [u8]) -> Result<(), LinkError> {
        let mut filled = 0;
        while filled < buffer.len() {
            let Some(bytes) = self.read(buffer.len() - filled).await? else {
                return Err(LinkError::Broken {
                    node: self.node,
                    reason: format!("it ended after {filled} of {} bytes", buffer.len()),
                });
            };
            buffer[filled..filled + bytes.len()].copy_from_slice(&bytes);
            filled += bytes.len();
        }
        Ok(())
    }

    /// Everything up to the end of the stream. Not cancel-safe.
    ///
    /// # Errors
    /// [`LinkError::TooLarge`] if more than `max` bytes come; else as [`RecvHalf::read`].
    pub async fn read_to_end(&mut self, max: usize) -> Result<Bytes, LinkError> {
        let Some(first) = self.read(max.saturating_add(1)).await? else {
            return Ok(Bytes::new());
        };
        // Most answers are one piece: hand it on without a copy.
        let mut rest = BytesMut::new();
        let mut len = first.len();
        while len <= max {
            let Some(bytes) = self.read(max - len + 1).await? else {
                return Ok(if rest.is_empty() { first } else { rest.freeze() });
            };
            if rest.is_empty() {
                rest.extend_from_slice(&first);
            }
            rest.extend_from_slice(&bytes);
            len += bytes.len();
        }
        Err(LinkError::TooLarge {
            node: self.node,
            len,
            max,
        })
    }

    /// Tells the other side that nothing more is wanted: its writes fail.
    pub fn stop(self) {
        drop(self);
    }
}
