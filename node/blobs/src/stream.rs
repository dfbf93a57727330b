//! Our streams as iroh-blobs wants them.
//!
//! iroh-blobs ends a stream by dropping it, ours are reset when they are dropped: so [`Writer`] finishes its half
//! when it is dropped, unless it was reset. Nothing is taken for whole because it ended: every byte is verified.

use std::io;

use bytes::{Bytes, BytesMut};
use iroh::endpoint::VarInt;
use iroh_blobs::util::{RecvStream, SendStream};
use tetryx_link::{LinkError, RecvHalf, SendHalf};

/// The writing half.
#[derive(Debug)]
pub(crate) struct Writer {
    half: Option<SendHalf>,
    id: u64,
}

/// The reading half.
#[derive(Debug)]
pub(crate) struct Reader {
    half: Option<RecvHalf>,
    id: u64,
    /// Read from the stream, and not handed on yet.
    rest: Bytes,
}

impl Writer {
    pub(crate) const fn new(half: SendHalf, id: u64) -> Self {
        Self { half: Some(half), id }
    }

    fn half(&mut self) -> io::Result<&mut SendHalf> {
        self.half.as_mut().ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if let Some(mut half) = self.half.take() {
            // Fails if the other side wants no more, which is as good an end.
            let _ = half.finish();
        }
    }
}

impl SendStream for Writer {
    async fn send_bytes(&mut self, bytes: Bytes) -> io::Result<()> {
        self.half()?.write_bytes(bytes).await.map_err(broken)
    }

    async fn send(&mut self, buffer: &[u8]) -> io::Result<()> {
        self.half()?.write_all(buffer).await.map_err(broken)
    }

    async fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn reset(&mut self, _: VarInt) -> io::Result<()> {
        if let Some(half) = self.half.take() {
            half.reset();
        }
        Ok(())
    }

    async fn stopped(&mut self) -> io::Result<Option<VarInt>> {
        self.half()?.received().await.map_err(broken)?;
        Ok(None)
    }

    fn id(&self) -> u64 {
        self.id
    }
}

impl Reader {
    pub(crate) const fn new(half: RecvHalf, id: u64) -> Self {
        Self {
            half: Some(half),
            id,
            rest: Bytes::new(),
        }
    }

    /// The next bytes, at most `max`; none at the end.
    async fn some(&mut self, max: usize) -> io::Result<Bytes> {
        if self.rest.is_empty() {
            let half = self.half.as_mut().ok_or(io::ErrorKind::ConnectionAborted)?;
            self.rest = half.read(max).await.map_err(broken)?.unwrap_or_default();
        }
        Ok(self.rest.split_to(max.min(self.rest.len())))
    }
}

impl RecvStream for Reader {
    async fn recv_bytes(&mut self, len: usize) -> io::Result<Bytes> {
        let first = self.some(len).await?;
        if first.len() == len || first.is_empty() {
            return Ok(first);
        }
        let mut bytes = BytesMut::with_capacity(len);
        bytes.extend_from_slice(&first);
        while bytes.len() < len {
            let next = self.some(len - bytes.len()).await?;
            if next.is_empty() {
                break;
            }
            bytes.extend_from_slice(&next);
        }
        Ok(bytes.freeze())
    }

    async fn recv_bytes_exact(&mut self, len: usize) -> io::Result<Bytes> {
        let bytes = self.recv_bytes(len).await?;
        if bytes.len() == len {
            Ok(bytes)
        } else {
            Err(ended(bytes.len()))
        }
    }

    async fn recv_exact(&mut self, target: &mut [u8]) -> io::Result<()> {
        let mut filled = 0;
        while filled < target.len() {
            let bytes = self.some(target.len() - filled).await?;
            if bytes.is_empty() {
                return Err(ended(filled));
            }
            target[filled..filled + bytes.len()].copy_from_slice(&bytes);
            filled += bytes.len();
        }
        Ok(())
    }

    fn stop(&mut self, _: VarInt) -> io::Result<()> {
        if let Some(half) = self.half.take() {
            half.stop();
        }
        Ok(())
    }

    fn id(&self) -> u64 {
        self.id
    }
}

/// iroh-blobs tells an end between two things from one in the middle of something by the kind.
fn ended(after: usize) -> io::Error {
    match after {
        0 => io::ErrorKind::UnexpectedEof.into(),
        _ => io::ErrorKind::InvalidData.into(),
    }
}

fn broken(error: LinkError) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, error)
}
