//! Who should hold which NAR, and since when it does.

use std::time::Duration;

use tetryx_protocol::api::{CommitUploadRequest, StartUploadResponse};
use tetryx_protocol::hash::{ManifestHash, NarHash};
use tetryx_protocol::placement::{Copies, place};
use tetryx_state::query;

use super::town::Town;
use crate::answer::Answer;
use crate::nar::{TestPath, whole_stream};
use crate::world::Outcome;

/// The cache that everything is pushed to.
const CACHE: &str = "main";
/// Bytes of a NAR at the least and at the most.
const NAR_BYTES: std::ops::Range<usize> = 40_000..200_000;
/// Copies of a NAR, as by default.
const COPIES: u8 = 3;

/// A NAR that was pushed.
pub(super) struct Pushed {
    nar: NarHash,
    manifest: ManifestHash,
    /// When the push began.
    began: Duration,
}

/// Copies that should be there.
pub(super) struct Copying {
    copies: Vec<Copy>,
}

struct Copy {
    holder: usize,
    manifest: ManifestHash,
    began: Duration,
    since: Option<Duration>,
}

impl Copying {
    pub(super) fn nothing() -> Self {
        Self { copies: Vec::new() }
    }

    /// Watches the copies of a NAR at its holders, by the state of the first station.
    pub(super) fn add(&mut self, town: &Town, pushed: &Pushed) -> Result<(), String> {
        let view = town.residents[0].node().replica().view();
        let view = view.map_err(|error| error.to_string())?;
        let candidates = query::placement_candidates(&view).map_err(|error| error.to_string())?;
        let copies = Copies::Exactly(COPIES);
        for holder in place(&pushed.nar, &candidates, copies) {
            let at = town.residents.iter().position(|r| r.station.node_id() == holder);
            self.copies.push(Copy {
                holder: at.ok_or("a holder that nobody knows")?,
                manifest: pushed.manifest,
                began: pushed.began,
                since: None,
            });
        }
        Ok(())
    }

    pub(super) fn look(&mut self, town: &Town) -> Result<(), String> {
        let now = town.world.now();
        for copy in self.copies.iter_mut().filter(|copy| copy.since.is_none()) {
            let store = std::sync::Arc::clone(town.residents[copy.holder].node().store());
            let held = store
                .hold_nar(&copy.manifest)
                .map_err(|error| error.to_string())?;
            if held.is_some_and(|held| held.is_complete()) {
                copy.since = Some(now);
            }
        }
        Ok(())
    }

    /// Forgets the copies that are there, and counts the others from now on.
    pub(super) fn begin_anew(&mut self, now: Duration) {
        self.copies.retain(|copy| copy.since.is_none());
        for copy in &mut self.copies {
            copy.began = now;
        }
    }

    pub(super) fn is_whole(&self) -> bool {
        self.copies.iter().all(|copy| copy.since.is_some())
    }

    /// How long each holder in question took.
    pub(super) fn delays(&self, holders: impl Fn(usize) -> bool) -> Vec<Option<Duration>> {
        let copies = self.copies.iter().filter(|copy| holders(copy.holder));
        copies
            .map(|copy| copy.since.map(|since| since.saturating_sub(copy.began)))
            .collect()
    }
}

/// Makes the cache.
pub(super) async fn create_cache(town: &Town) -> Result<(), String> {
    let body = serde_json::json!({ "name": CACHE, "public": true });
    let body = body.to_string().into_bytes();
    ask(
        town,
        0,
        http::Method::POST,
        "/api/v1/caches",
        Some("application/json"),
        body,
    )
    .await
    .map(drop)
}

/// Pushes a NAR of its own at a station, as the client does.
pub(super) async fn push(town: &Town, at: usize, number: u64) -> Result<Pushed, String> {
    let len = town
        .world
        .chance(&format!("length of NAR {number}"))
        .usize(NAR_BYTES);
    let path = TestPath::of_noise(&format!("path-{number}"), len);
    let began = town.world.now();
    let uploads = format!("/api/v1/caches/{CACHE}/uploads");
    let started = ask(town, at, http::Method::POST, &uploads, None, Vec::new()).await?;
    let upload = started.json::<StartUploadResponse>().upload;
    let nar = path.nar_hash();
    let put = format!("/api/v1/uploads/{upload}/nars/{nar}?nar_size={}", path.nar.len());
    let stream = whole_stream(&path.chunks()).to_vec();
    ask(town, at, http::Method::PUT, &put, None, stream).await?;
    let commit = CommitUploadRequest {
        paths: vec![path.upload()],
        upstream: Vec::new(),
    };
    let commit = serde_json::to_vec(&commit).map_err(|error| error.to_string())?;
    let to = format!("/api/v1/uploads/{upload}/commit");
    ask(
        town,
        at,
        http::Method::POST,
        &to,
        Some("application/json"),
        commit,
    )
    .await?;
    let view = town.residents[at].node().replica().view();
    let view = view.map_err(|error| error.to_string())?;
    let record = query::nar(&view, &nar).map_err(|error| error.to_string())?;
    let record = record.ok_or_else(|| format!("NAR {number} is acknowledged and unknown"))?;
    Ok(Pushed {
        nar,
        manifest: record.manifest,
        began,
    })
}

async fn ask(
    town: &Town,
    at: usize,
    method: http::Method,
    path: &str,
    content: Option<&str>,
    body: Vec<u8>,
) -> Result<Answer, String> {
    let mut request = crate::request(method, path, Some(&town.root));
    if let Some(content) = content {
        request = request.header(http::header::CONTENT_TYPE, content);
    }
    let request = request.body(body.into()).map_err(|error| error.to_string())?;
    match town.residents[at].station.send(request).await {
        Outcome::Answer(answer) if answer.status.is_success() => Ok(answer),
        other => Err(format!("{path}: {other:?}")),
    }
}
