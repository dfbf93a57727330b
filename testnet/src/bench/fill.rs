//! Fills a station with as much as the corpus, in other bytes.
//!
//! Every byte of a NAR is combined with a number by exclusive or. That keeps lengths and compressibility and changes
//! every chunk. What comes out is no NAR that Nix could unpack; the station does not mind, and nobody pulls it.

use std::io::{self, Read};
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use tetryx_protocol::chunking::Cutter;
use tetryx_protocol::frame::Compressor;
use tetryx_protocol::hash::{ChunkHash, NarHash};
use tetryx_protocol::nix32;
use tetryx_protocol::upload::UploadEncoder;

use super::setting::{Bench, CACHE, Setting};
use crate::user::User;

/// Pushes the corpus in the bytes that `number` makes of it, over the upload API.
pub(super) fn push_variant(setting: &Setting, bench: &Bench, number: u8) -> Result<()> {
    let root = bench.station.root();
    let started = root
        .post_json(&format!("/api/v1/caches/{CACHE}/uploads"), &json!({}))?
        .ok()?
        .json()?;
    let upload = started["upload"].as_str().context("no upload id")?;
    let agent = ureq::Agent::new_with_defaults();
    let mut paths = Vec::new();
    for item in &setting.corpus.items {
        let hash = hash_of(bench, &item.path, number)?;
        let url = format!(
            "{}/api/v1/uploads/{upload}/nars/{hash}?nar_size={}",
            bench.station.url(),
            item.nar_size
        );
        let mut stream = UploadStream::new(dump(&bench.user, &item.path, number)?);
        let sent = agent
            .put(&url)
            .header("Authorization", format!("Bearer {}", bench.station.root_token()))
            .header("Content-Type", "application/octet-stream")
            .send(ureq::SendBody::from_reader(&mut stream));
        sent.with_context(|| format!("cannot fill with {}", item.path))?;
        let name = nix32::encode(&hash.as_bytes()[..20]);
        paths.push(json!({ "store_path": format!("{name}-variant-{number}"), "nar_hash": hash.to_string() }));
    }
    let commit = json!({ "paths": paths });
    root.post_json(&format!("/api/v1/uploads/{upload}/commit"), &commit)?
        .ok()?;
    Ok(())
}

fn hash_of(bench: &Bench, path: &str, number: u8) -> Result<NarHash> {
    let mut hasher = NarHash::hasher();
    let mut dump = dump(&bench.user, path, number)?;
    let mut block = vec![0; 256 << 10];
    loop {
        let read = dump.read(&mut block)?;
        if read == 0 {
            return Ok(hasher.finish());
        }
        hasher.update(&block[..read]);
    }
}

/// The NAR of a path, combined with the number.
fn dump(user: &User, path: &str, number: u8) -> Result<impl Read + Send> {
    let mut command = user.command("nix-store");
    command
        .args(["--dump", path])
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut child = command.spawn().context("cannot start nix-store")?;
    let stdout = child.stdout.take().context("stdout is piped")?;
    ensure!(number > 0, "zero changes nothing");
    Ok(Combined {
        inner: stdout,
        child,
        number,
    })
}

struct Combined<R> {
    inner: R,
    child: std::process::Child,
    number: u8,
}

impl<R: Read> Read for Combined<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        if read == 0 && !buffer.is_empty() && !self.child.wait()?.success() {
            return Err(io::Error::other("nix-store --dump failed"));
        }
        buffer[..read].iter_mut().for_each(|byte| *byte ^= self.number);
        Ok(read)
    }
}

/// The body of an upload that sends every chunk.
struct UploadStream<R> {
    nar: R,
    cutter: Cutter,
    compressor: Compressor,
    encoder: Option<UploadEncoder>,
    ready: Vec<u8>,
    given: usize,
    block: Vec<u8>,
    at_end: bool,
}

impl<R: Read> UploadStream<R> {
    fn new(nar: R) -> Self {
        let mut ready = Vec::new();
        let encoder = Some(UploadEncoder::start(&mut ready));
        let (cutter, compressor) = (Cutter::new(), Compressor::new());
        Self {
            nar,
            cutter,
            compressor,
            encoder,
            ready,
            given: 0,
            block: vec![0; 256 << 10],
            at_end: false,
        }
    }

    /// Adds at least one more entry, unless it is over.
    fn refill(&mut self) -> io::Result<()> {
        self.ready.clear();
        self.given = 0;
        while self.ready.is_empty() {
            let Some(mut encoder) = self.encoder.take() else {
                return Ok(());
            };
            let chunk = if self.at_end {
                self.cutter.finish()
            } else {
                self.cutter.next_chunk()
            };
            match chunk {
                Some(raw) => {
                    let raw_len = u32::try_from(raw.len()).map_err(io::Error::other)?;
                    let frame = self.compressor.compress(&raw);
                    encoder.chunk(&mut self.ready, &ChunkHash::of(&raw), raw_len, &frame);
                }
                None if self.at_end => {
                    encoder.end(&mut self.ready);
                    return Ok(());
                }
                None => {
                    let read = self.nar.read(&mut self.block)?;
                    self.at_end = read == 0;
                    self.cutter.push(&self.block[..read]);
                }
            }
            self.encoder = Some(encoder);
        }
        Ok(())
    }
}

impl<R: Read> Read for UploadStream<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.given == self.ready.len() {
            self.refill()?;
        }
        let take = (self.ready.len() - self.given).min(buffer.len());
        buffer[..take].copy_from_slice(&self.ready[self.given..self.given + take]);
        self.given += take;
        Ok(take)
    }
}
