//! The body of an upload request, handed to the decoder in batches.
//!
//! While one batch is decoded off the async threads, the next one is read from the client: so the network and the
//! processor work at the same time, no thread waits for a client, and a client is read no faster than its NAR is
//! verified.
//!
//! # Invariants
//! - The decoder gets every byte once and in order.
//! - An upload that waits for its client or its turn holds two batches, about twice [`BATCH_BYTES`], and at most one
//!   entry that is not complete.

use std::sync::Arc;

use axum::body::{Body, BodyDataStream};
use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use tetryx_environment::WorkPanicked;
use tetryx_protocol::api::ErrorName;

use super::ingest::{Claim, Ingest, IngestError, Ingested};
use super::session::Lease;
use crate::http::error::HttpError;
use crate::http::extract::unreadable_body;
use crate::{Node, room};

/// Bytes of a stream that are decoded in one go.
const BATCH_BYTES: usize = 512 << 10;

/// Bytes of a refused stream that are still read, so that a client which sends before it listens hears the refusal
/// and not the end of the connection.
const DISCARD_BYTES_MAX: usize = 16 << 20;

/// Takes in one NAR. When the future is dropped, or the client is gone, what had arrived stays stored and pinned.
pub(super) async fn receive(
    node: &Node,
    lease: &Lease,
    claim: Claim,
    body: Body,
) -> Result<Ingested, HttpError> {
    let mut body = body.into_data_stream();
    let ingest = Ingest::new(Arc::clone(node.store()), lease.pin(), claim);
    let mut working = decode(node, ingest, Vec::new()).await;
    loop {
        let batch = read_batch(&mut body).await;
        let ingest = match working.await? {
            Ok(ingest) => ingest,
            Err(error) => {
                discard(&mut body).await;
                return Err(error.into());
            }
        };
        lease.touch(node.clock().elapsed());
        node.store().touch(&lease.pin(), node.clock().utc());
        let batch = batch.map_err(|error| unreadable_body(&error, &error.to_string()))?;
        if batch.is_empty() {
            return Ok(node.io().run(move || ingest.finish()).await??);
        }
        let bytes: usize = batch.iter().map(Bytes::len).sum();
        if let Err(full) = room::ensure(node, bytes as u64).await {
            discard(&mut body).await;
            return Err(full.into());
        }
        working = decode(node, ingest, batch).await;
    }
}

/// Waits for a turn and begins to decode.
async fn decode(
    node: &Node,
    mut ingest: Ingest,
    batch: Vec<Bytes>,
) -> BoxFuture<'static, Result<Result<Ingest, IngestError>, WorkPanicked>> {
    let turns = Arc::clone(&node.uploads().decoding);
    let turn = turns
        .acquire_owned()
        .await
        .expect("the semaphore is never closed");
    node.io().run(move || {
        let _turn = turn;
        ingest.feed(batch).map(|()| ingest)
    })
}

/// The next blocks of the body; none at its end.
async fn read_batch(body: &mut BodyDataStream) -> Result<Vec<Bytes>, axum::Error> {
    let mut batch = Vec::new();
    let mut bytes = 0;
    while bytes < BATCH_BYTES
        && let Some(block) = body.next().await
    {
        match block {
            Ok(block) => {
                bytes += block.len();
                batch.push(block);
            }
            // What came before the break is decoded first: it need not be sent again.
            Err(error) if batch.is_empty() => return Err(error),
            Err(_) => break,
        }
    }
    Ok(batch)
}

async fn discard(body: &mut BodyDataStream) {
    let mut bytes = 0;
    while let Some(Ok(block)) = body.next().await {
        bytes += block.len();
        if bytes > DISCARD_BYTES_MAX {
            break;
        }
    }
}

impl From<IngestError> for HttpError {
    fn from(error: IngestError) -> Self {
        let name = match error {
            IngestError::Store { source, .. } => return (*source).into(),
            IngestError::Stream { .. } | IngestError::TooManyChunks { .. } => ErrorName::BadRequest,
            IngestError::CorruptChunk { .. } => ErrorName::CorruptChunk,
            IngestError::MissingChunk { .. } => ErrorName::MissingChunk,
            IngestError::NarSizeMismatch { .. } => ErrorName::NarSizeMismatch,
            IngestError::NarHashMismatch { .. } => ErrorName::NarHashMismatch,
        };
        // The cause says what exactly is wrong with the client's bytes: it is for the client.
        let cause = std::error::Error::source(&error).map_or_else(String::new, |cause| format!(": {cause}"));
        Self::new(name, format!("{error}{cause}"))
    }
}
