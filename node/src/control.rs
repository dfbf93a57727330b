//! How commands on the same machine reach a running node: a socket in its data directory.
//!
//! `tetryx-node gc --once` cannot open data that a running node has open, so it asks that node. Whoever can open the
//! socket can read the data as well: the directory's permissions guard both.
//!
//! One request is one line, a word; one answer is one line of JSON: `{"done": ...}` or `{"failed": "why"}`.
//!
//! # Non-goals
//! - Anything from another machine, or that needs a token: that is the HTTP API.

use std::io;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

use crate::places::DataDir;
use crate::{CollectSummary, Node, NodeError};

/// Longer than any request; a line that is not one ends here.
const REQUEST_MAX: u64 = 64;

const COLLECT: &str = "collect";

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Answer<T> {
    Done(T),
    Failed(String),
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
    let answer = match request.trim_end() {
        COLLECT => match node.collect_once().await {
            Ok(summary) => Answer::Done(summary),
            Err(error) => Answer::Failed(error.chain()),
        },
        other => Answer::Failed(format!(
            "the running node does not know {other:?}; it may be of another version"
        )),
    };
    let mut line = serde_json::to_vec(&answer).map_err(io::Error::other)?;
    line.push(b'\n');
    writer.write_all(&line).await
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
        Err(error) => Err(NodeError::Control {
            why: format!("its answer broke off: {error}"),
        }),
    }
}
