//! Clients that write one record after the other, each on a connection of its own, and what they saw.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytes::{BufMut as _, Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::{http1, http2};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::clock::Stopwatch;

/// How the writers of one run fared.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outcome {
    /// Writes that were acknowledged, a second.
    pub(super) per_second: f64,
    /// Half of the writes took no longer, in milliseconds.
    pub(super) p50_ms: f64,
    /// All but one in a hundred took no longer, in milliseconds.
    pub(super) p99_ms: f64,
}

/// Somebody who writes records.
pub(super) trait Writer: Send + 'static {
    /// Writes record `number`, and returns when it is acknowledged.
    fn write(&mut self, number: usize) -> impl Future<Output = Result<()>> + Send;
}

/// Has every writer write for so long, all at the same time.
pub(super) async fn drive<W: Writer>(writers: Vec<W>, duration: Duration) -> Result<Outcome> {
    let watch = Stopwatch::start();
    let mut running = JoinSet::new();
    for mut writer in writers {
        running.spawn(async move {
            let mut latencies = Vec::new();
            while watch.elapsed() < duration {
                let one = Stopwatch::start();
                writer.write(latencies.len()).await?;
                latencies.push(one.seconds() * 1e3);
            }
            anyhow::Ok(latencies)
        });
    }
    let mut latencies = Vec::new();
    while let Some(done) = running.join_next().await {
        latencies.extend(done.context("a writer panicked")??);
    }
    let seconds = watch.seconds();
    latencies.sort_by(f64::total_cmp);
    let at = |percent: usize| latencies.get(latencies.len() * percent / 100).copied();
    Ok(Outcome {
        per_second: f64::from(u32::try_from(latencies.len())?) / seconds,
        p50_ms: at(50).context("nothing was written")?,
        p99_ms: at(99).context("nothing was written")?,
    })
}

/// Writes keys of etcd over its own protocol, gRPC.
#[derive(Debug)]
pub(super) struct EtcdWriter {
    connection: http2::SendRequest<Full<Bytes>>,
    address: SocketAddr,
    name: usize,
}

/// Bytes of a record's value: about what a pin of a path takes in our log.
const VALUE_BYTES: usize = 200;

impl EtcdWriter {
    pub(super) async fn connect(address: SocketAddr, name: usize) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (connection, driver) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        tokio::spawn(driver);
        Ok(Self {
            connection,
            address,
            name,
        })
    }
}

impl Writer for EtcdWriter {
    async fn write(&mut self, number: usize) -> Result<()> {
        // The message `PutRequest { key = 1, value = 2 }`, behind gRPC's flag and length.
        let key = format!("client-{}/{}", self.name, number % 27);
        let mut message = BytesMut::new();
        put_field(&mut message, 1, key.as_bytes());
        put_field(&mut message, 2, &[b'v'; VALUE_BYTES]);
        let mut body = BytesMut::new();
        body.put_u8(0);
        body.put_u32(u32::try_from(message.len())?);
        body.put(message);
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("http://{}/etcdserverpb.KV/Put", self.address))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Full::new(body.freeze()))?;
        let answer = self.connection.send_request(request).await?;
        let status = answer.headers().get("grpc-status").cloned();
        let answer = answer.into_body().collect().await?;
        let trailers = answer.trailers().and_then(|trailers| trailers.get("grpc-status"));
        let status = status
            .or_else(|| trailers.cloned())
            .context("etcd gave no status")?;
        ensure!(status == "0", "etcd refused a write: {status:?}");
        Ok(())
    }
}

/// A field of bytes, in protobuf.
fn put_field(message: &mut BytesMut, field: u8, bytes: &[u8]) {
    message.put_u8(field << 3 | 2);
    let mut len = bytes.len();
    while len >= 0x80 {
        message.put_u8(u8::try_from(len & 0x7f).expect("seven bits") | 0x80);
        len >>= 7;
    }
    message.put_u8(u8::try_from(len).expect("seven bits"));
    message.put_slice(bytes);
}

/// Pins and unpins a path, over the HTTP API.
#[derive(Debug)]
pub(super) struct PinWriter {
    connection: http1::SendRequest<Full<Bytes>>,
    address: SocketAddr,
    token: String,
    /// The API's paths of what it pins, in turn.
    paths: Vec<String>,
}

impl PinWriter {
    pub(super) async fn connect(address: SocketAddr, token: &str, paths: Vec<String>) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (connection, driver) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(driver);
        Ok(Self {
            connection,
            address,
            token: token.to_owned(),
            paths,
        })
    }
}

impl Writer for PinWriter {
    async fn write(&mut self, number: usize) -> Result<()> {
        let turn = number / self.paths.len();
        let path = &self.paths[number % self.paths.len()];
        let method = if turn.is_multiple_of(2) {
            Method::PUT
        } else {
            Method::DELETE
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", self.address.to_string())
            .header("authorization", format!("Bearer {}", self.token))
            .body(Full::default())?;
        self.connection.ready().await?;
        let answer = self.connection.send_request(request).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        ensure!(
            matches!(status, StatusCode::OK | StatusCode::NO_CONTENT),
            "a pin was answered with {status}: {}",
            String::from_utf8_lossy(&body)
        );
        Ok(())
    }
}
