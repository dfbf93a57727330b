//! How commands on the same machine reach a running node: a socket in its data directory.
//!
//! `tetryx-node gc --once` cannot open data that a running node has open, so it asks that node. Whoever can open the
//! socket can read the data as well: the directory's permissions guard both.
//!
//! One request is one line, a word; an answer is one line of JSON: `{"done": ...}` or `{"failed": "why"}`. Before the
//! answer to `scrub`, lines of `{"progress": ...}` come.
//!
//! # Non-goals
//! - Anything from another machine, or that needs a token: that is the HTTP API.

use std::io;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;

use crate::places::DataDir;
use crate::{CollectSummary, Node, NodeError, ScrubProgress, ScrubSummary};

/// Longer than any request; a line that is not one ends here.
const REQUEST_MAX: u64 = 64;

const COLLECT: &str = "collect";
const SCRUB: &str = "scrub";

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Answer<T> {
    Done(T),
    Failed(String),
    Progress(ScrubProgress),
}

fn socket(data_dir: &Path) -> PathBuf {
    data_dir.join("control.sock")
}

/// Answers requests until the node stops.
///
/// # Errors
/// When the socket cannot be made, for instance because the path is longer than about 100 bytes. A node can do
/// without.
pub fn serve(node: &Node, data_dir: &DataDir) -> io::Result<()> {
    let path = socket(data_dir.path());
    // Left by a process that was killed: the data directory is ours, so nobody listens there.
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    let served = node.clone();
    node.spawn(async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let node = served.clone();
                    served.spawn(async move {
                        if let Err(error) = answer(&node, stream).await {
                            tracing::debug!(%error, "a control connection broke off");
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "the control socket failed; commands cannot reach this node any more");
                    return;
                }
            }
        }
    });
    Ok(())
}

async fn answer(node: &Node, mut stream: UnixStream) -> io::Result<()> {
    let (reader, mut writer) = stream.split();
    let mut request = String::new();
    BufReader::new(reader.take(REQUEST_MAX))
        .read_line(&mut request)
        .await?;
    let line = match request.trim_end() {
        COLLECT => line(&outcome(node.collect_once().await))?,
        SCRUB => line(&scrubbed(node, &mut writer).await?)?,
        other => line(&Answer::<()>::Failed(format!(
            "the running node does not know {other:?}; it may be of another version"
        )))?,
    };
    writer.write_all(&line).await
}

fn outcome<T>(outcome: Result<T, NodeError>) -> Answer<T> {
    match outcome {
        Ok(done) => Answer::Done(done),
        Err(error) => Answer::Failed(error.chain()),
    }
}

fn line<T: Serialize>(answer: &Answer<T>) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(answer).map_err(io::Error::other)?;
    line.push(b'\n');
    Ok(line)
}

/// Reads everything back at the polite rate, and tells how far it is. Ends early when nobody listens any more.
async fn scrubbed(node: &Node, writer: &mut (impl AsyncWrite + Unpin)) -> io::Result<Answer<ScrubSummary>> {
    let (told, mut progress) = mpsc::channel(1);
    let rate = node.config().scrub.rate.bytes();
    let scrub = node.scrub_once(Some(rate), move |progress| {
        // Whoever has not heard the last one needs no newer one.
        let _ = told.try_send(progress);
    });
    tokio::pin!(scrub);
    loop {
        tokio::select! {
            biased;
            done = &mut scrub => return Ok(outcome(done)),
            Some(progress) = progress.recv() => {
                writer.write_all(&line(&Answer::<()>::Progress(progress))?).await?;
            }
        }
    }
}

/// Has the node that runs on this data directory collect garbage. `None` when none can be reached.
///
/// # Errors
/// [`NodeError::Control`] when the node could not do it.
pub async fn collect(data_dir: &Path) -> Result<Option<CollectSummary>, NodeError> {
    let Ok(stream) = UnixStream::connect(socket(data_dir)).await else {
        return Ok(None);
    };
    ask(stream, COLLECT).await.map(Some)
}

/// Has the node that runs on this data directory read everything back. `progress` is told how far it is. `None` when
/// none can be reached.
///
/// # Errors
/// [`NodeError::Control`] when the node could not do it.
pub async fn scrub(
    data_dir: &Path,
    mut progress: impl FnMut(ScrubProgress),
) -> Result<Option<ScrubSummary>, NodeError> {
    let Ok(mut stream) = UnixStream::connect(socket(data_dir)).await else {
        return Ok(None);
    };
    let broken = |error: io::Error| NodeError::Control {
        why: format!("its answer broke off: {error}"),
    };
    let request = format!("{SCRUB}\n");
    stream.write_all(request.as_bytes()).await.map_err(broken)?;
    let mut lines = BufReader::new(stream).lines();
    while let Some(line) = lines.next_line().await.map_err(broken)? {
        match serde_json::from_str(&line).map_err(|error| broken(error.into()))? {
            Answer::Done(done) => return Ok(Some(done)),
            Answer::Failed(why) => return Err(NodeError::Control { why }),
            Answer::Progress(now) => progress(now),
        }
    }
    Err(broken(io::ErrorKind::UnexpectedEof.into()))
}

async fn ask<T: DeserializeOwned>(mut stream: UnixStream, request: &str) -> Result<T, NodeError> {
    let exchange = async {
        stream.write_all(format!("{request}\n").as_bytes()).await?;
        let mut line = Vec::new();
        stream.read_to_end(&mut line).await?;
        serde_json::from_slice(&line).map_err(io::Error::other)
    };
    match exchange.await {
        Ok(Answer::Done(done)) => Ok(done),
        Ok(Answer::Failed(why)) => Err(NodeError::Control { why }),
        Ok(Answer::Progress(_)) => Err(NodeError::Control {
            why: "its answer broke off".to_owned(),
        }),
        Err(error) => Err(NodeError::Control {
            why: format!("its answer broke off: {error}"),
        }),
    }
}
