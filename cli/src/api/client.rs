//! The HTTP client.
//!
//! # Invariants
//! - Every call is tried again after a transient failure, with exponential backoff and jitter. Calls that would do
//!   something twice are repeated only when the server cannot have seen them.
//! - The token is sent to the server it was given for and nowhere else: redirects are not followed.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use bytes::Bytes;
use futures::Stream;
use reqwest::{Method, RequestBuilder, Response, header};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tetryx_protocol::api::{
    ApiError, CacheInfo, CacheList, CommitUploadRequest, CommitUploadResponse, ConfigureCacheRequest,
    CreateCacheRequest, CreateInviteRequest, CreateInviteResponse, CreateTokenRequest, CreateTokenResponse,
    DoctorReport, DrainMemberResponse, GcRequest, GcResponse, MemberList, MissingPathsRequest,
    MissingPathsResponse, OutboxReport, PathsPage, PinPathQuery, RemoveMemberResponse, StartUploadResponse,
    StatusResponse, TokenList, UploadNarResponse,
};
use tetryx_protocol::cache::CacheName;
use tetryx_protocol::hash::{ChunkHash, NarHash};
use tetryx_protocol::id::{NodeId, TokenId, UploadId};
use tetryx_protocol::store_path::StorePathHash;
use tetryx_protocol::upload::{MISSING_MAX, decode_hashes, encode_hashes};

use super::error::ClientError;

type Result<T, E = ClientError> = std::result::Result<T, E>;

/// How many paths one `missing-paths` question names.
const MISSING_PATHS_BATCH: usize = 4_096;

/// How long to insist when the server cannot be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// About a second: a person waits for the answer.
    Short,
    /// About two minutes: long enough for a node to restart or a link to come back in the middle of a push.
    Long,
}

impl Patience {
    /// The waits between the tries.
    pub(crate) fn backoff(self) -> ExponentialBuilder {
        let builder = ExponentialBuilder::new().with_jitter();
        match self {
            Self::Short => builder
                .with_min_delay(Duration::from_millis(100))
                .with_max_times(3),
            Self::Long => builder
                .with_min_delay(Duration::from_millis(250))
                .with_max_delay(Duration::from_secs(20))
                .with_max_times(10),
        }
    }
}

/// The body of a NAR upload.
#[derive(Debug)]
pub(crate) enum NarBody<S> {
    /// In one piece: can be sent again as it is.
    Whole(Bytes),
    /// Made while it is sent.
    Stream(S),
}

/// A server, and the token to show it.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: String,
    token: Option<String>,
    patience: Patience,
}

/// Whether a call may be made twice.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    /// The second time changes nothing.
    Harmless,
    /// The second time would be refused or do more.
    OnlyIfUnsent,
}

impl Client {
    /// A client for the server at `base`, an address without a slash at the end.
    ///
    /// # Errors
    /// When the address is none, or the system's certificates cannot be read for an `https` one.
    pub(crate) fn new(base: &str, token: Option<String>, patience: Patience) -> Result<Self> {
        let builder = || {
            reqwest::Client::builder()
                .user_agent(concat!("tetryx-cli/", env!("CARGO_PKG_VERSION")))
                .redirect(reqwest::redirect::Policy::none())
                .connect_timeout(Duration::from_secs(10))
                .read_timeout(Duration::from_secs(300))
                .tcp_keepalive(Duration::from_secs(30))
                .tcp_user_timeout(Duration::from_secs(60))
                .tcp_nodelay(true)
        };
        let http = builder()
            .build()
            // A machine without certificates can still talk to a plain http server.
            .or_else(|error| {
                if base.starts_with("http://") {
                    builder().tls_certs_only([]).build()
                } else {
                    Err(error)
                }
            })
            .map_err(|error| ClientError::from_reqwest(base, &error))?;
        Ok(Self {
            http,
            base: base.to_owned(),
            token,
            patience,
        })
    }

    /// The same, with more or less insistence.
    pub(crate) fn with_patience(&self, patience: Patience) -> Self {
        Self {
            patience,
            ..self.clone()
        }
    }

    /// The address of the server.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// Waits between tries, for calls that the caller repeats itself.
    pub(crate) fn patience(&self) -> Patience {
        self.patience
    }

    pub(crate) async fn status(&self) -> Result<StatusResponse> {
        self.get("/status").await
    }

    pub(crate) async fn caches(&self) -> Result<CacheList> {
        self.get("/caches").await
    }

    pub(crate) async fn cache(&self, cache: &CacheName) -> Result<CacheInfo> {
        self.get(&format!("/caches/{cache}")).await
    }

    pub(crate) async fn create_cache(&self, request: &CreateCacheRequest) -> Result<CacheInfo> {
        self.with_json(Method::POST, "/caches", request, Repeat::OnlyIfUnsent)
            .await
    }

    pub(crate) async fn configure_cache(
        &self,
        cache: &CacheName,
        request: &ConfigureCacheRequest,
    ) -> Result<CacheInfo> {
        let repeat = if request.regenerate_keypair {
            Repeat::OnlyIfUnsent
        } else {
            Repeat::Harmless
        };
        self.with_json(Method::PATCH, &format!("/caches/{cache}"), request, repeat)
            .await
    }

    pub(crate) async fn destroy_cache(&self, cache: &CacheName) -> Result<()> {
        self.bare(Method::DELETE, &format!("/caches/{cache}"), Repeat::OnlyIfUnsent)
            .await
    }

    /// Which of the paths the cache lacks.
    pub(crate) async fn missing_paths(
        &self,
        cache: &CacheName,
        hashes: &[StorePathHash],
    ) -> Result<Vec<StorePathHash>> {
        let mut missing = Vec::new();
        for batch in hashes.chunks(MISSING_PATHS_BATCH) {
            let request = MissingPathsRequest {
                store_path_hashes: batch.to_vec(),
            };
            let path = format!("/caches/{cache}/missing-paths");
            let answer: MissingPathsResponse = self
                .with_json(Method::POST, &path, &request, Repeat::Harmless)
                .await?;
            missing.extend(answer.missing);
        }
        Ok(missing)
    }

    pub(crate) async fn paths(&self, cache: &CacheName, after: Option<StorePathHash>) -> Result<PathsPage> {
        let after = after.map(|hash| format!("?after={hash}")).unwrap_or_default();
        self.get(&format!("/caches/{cache}/paths{after}")).await
    }

    pub(crate) async fn delete_path(
        &self,
        cache: &CacheName,
        path: &StorePathHash,
        force: bool,
    ) -> Result<()> {
        let force = if force { "?force=true" } else { "" };
        self.bare(
            Method::DELETE,
            &format!("/caches/{cache}/paths/{path}{force}"),
            Repeat::OnlyIfUnsent,
        )
        .await
    }

    pub(crate) async fn pin(
        &self,
        cache: &CacheName,
        path: &StorePathHash,
        until: &PinPathQuery,
    ) -> Result<()> {
        let mut url = format!("/caches/{cache}/paths/{path}/pin");
        if let Some(until) = until.until {
            url.push_str(&format!("?until={until}"));
        } else if let Some(seconds) = until.for_seconds {
            url.push_str(&format!("?for_seconds={seconds}"));
        }
        // Sent again, a period begins a moment later: what was asked for is kept in any case.
        self.bare(Method::PUT, &url, Repeat::Harmless).await
    }

    pub(crate) async fn unpin(&self, cache: &CacheName, path: &StorePathHash) -> Result<()> {
        let url = format!("/caches/{cache}/paths/{path}/pin");
        self.bare(Method::DELETE, &url, Repeat::Harmless).await
    }

    /// What is over is over: a second time finds less, and says what that was.
    pub(crate) async fn collect(&self, request: &GcRequest) -> Result<GcResponse> {
        let repeat = match request.dry_run {
            true => Repeat::Harmless,
            false => Repeat::OnlyIfUnsent,
        };
        self.with_json(Method::POST, "/gc", request, repeat).await
    }

    pub(crate) async fn tokens(&self) -> Result<TokenList> {
        self.get("/tokens").await
    }

    pub(crate) async fn create_token(&self, request: &CreateTokenRequest) -> Result<CreateTokenResponse> {
        self.with_json(Method::POST, "/tokens", request, Repeat::OnlyIfUnsent)
            .await
    }

    pub(crate) async fn revoke_token(&self, token: &TokenId) -> Result<()> {
        self.bare(Method::DELETE, &format!("/tokens/{token}"), Repeat::Harmless)
            .await
    }

    /// The members of the cluster; with `all` also those that were removed.
    pub(crate) async fn members(&self, all: bool) -> Result<MemberList> {
        self.get(if all { "/members?all=true" } else { "/members" }).await
    }

    pub(crate) async fn create_invite(&self, request: &CreateInviteRequest) -> Result<CreateInviteResponse> {
        self.with_json(Method::POST, "/invites", request, Repeat::OnlyIfUnsent)
            .await
    }

    /// Harmless to repeat: a node that hands over goes on, and the answer tells what is left.
    pub(crate) async fn drain_member(&self, node: &NodeId) -> Result<DrainMemberResponse> {
        let path = format!("/members/{node}/drain");
        let send = || async { read_json(self.send(self.request(Method::POST, &path)).await?).await };
        self.retried(Repeat::Harmless, send).await
    }

    pub(crate) async fn remove_member(&self, node: &NodeId) -> Result<RemoveMemberResponse> {
        let path = format!("/members/{node}");
        let send = || async { read_json(self.send(self.request(Method::DELETE, &path)).await?).await };
        self.retried(Repeat::OnlyIfUnsent, send).await
    }

    pub(crate) async fn doctor(&self) -> Result<DoctorReport> {
        self.get("/doctor").await
    }

    pub(crate) async fn outbox(&self) -> Result<OutboxReport> {
        self.get("/outbox").await
    }

    pub(crate) async fn start_upload(&self, cache: &CacheName) -> Result<StartUploadResponse> {
        let path = format!("/caches/{cache}/uploads");
        let send = || async { read_json(self.send(self.request(Method::POST, &path)).await?).await };
        self.retried(Repeat::Harmless, send).await
    }

    pub(crate) async fn end_upload(&self, upload: &UploadId) -> Result<()> {
        self.bare(Method::DELETE, &format!("/uploads/{upload}"), Repeat::Harmless)
            .await
    }

    /// Which of the chunks the server lacks; the others are kept for this session.
    pub(crate) async fn missing_chunks(
        &self,
        upload: &UploadId,
        chunks: &[ChunkHash],
    ) -> Result<Vec<ChunkHash>> {
        let mut missing = Vec::new();
        for batch in chunks.chunks(MISSING_MAX) {
            let path = format!("/uploads/{upload}/missing");
            let body = Bytes::from(encode_hashes(batch));
            let send = || async {
                let request = self
                    .request(Method::POST, &path)
                    .header(header::CONTENT_TYPE, "application/octet-stream");
                let response = self.send(request.body(body.clone())).await?;
                let url = response.url().to_string();
                let answer = response
                    .bytes()
                    .await
                    .map_err(|error| ClientError::from_reqwest(&url, &error))?;
                decode_hashes(&answer).map_err(|error| foreign(&url, 200, &error.to_string()))
            };
            missing.extend(self.retried(Repeat::Harmless, send).await?);
        }
        Ok(missing)
    }

    /// Sends a NAR. Not retried here: the body may be gone once it was sent.
    pub(crate) async fn put_nar<S>(
        &self,
        upload: &UploadId,
        nar_hash: &NarHash,
        nar_size: u64,
        body: NarBody<S>,
    ) -> Result<UploadNarResponse>
    where
        S: Stream<Item = std::io::Result<Bytes>> + Send + 'static,
    {
        let path = format!(
            "/uploads/{upload}/nars/{}?nar_size={nar_size}",
            nar_hash.to_nix32()
        );
        let body = match body {
            NarBody::Whole(bytes) => reqwest::Body::from(bytes),
            NarBody::Stream(stream) => reqwest::Body::wrap_stream(stream),
        };
        let request = self
            .request(Method::PUT, &path)
            .header(header::CONTENT_TYPE, "application/octet-stream");
        read_json(self.send(request.body(body)).await?).await
    }

    /// Makes paths visible. Harmless to repeat: a path that is there stays as it is.
    pub(crate) async fn commit(
        &self,
        upload: &UploadId,
        request: &CommitUploadRequest,
    ) -> Result<CommitUploadResponse> {
        self.with_json(
            Method::POST,
            &format!("/uploads/{upload}/commit"),
            request,
            Repeat::Harmless,
        )
        .await
    }

    pub(super) async fn get<R: DeserializeOwned>(&self, path: &str) -> Result<R> {
        let send = || async { read_json(self.send(self.request(Method::GET, path)).await?).await };
        self.retried(Repeat::Harmless, send).await
    }

    pub(super) async fn with_json<B: Serialize + Sync, R: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &B,
        repeat: Repeat,
    ) -> Result<R> {
        let send =
            || async { read_json(self.send(self.request(method.clone(), path).json(body)).await?).await };
        self.retried(repeat, send).await
    }

    /// A call whose answer has nothing of interest in it.
    pub(super) async fn bare(&self, method: Method, path: &str, repeat: Repeat) -> Result<()> {
        let send = || async { self.send(self.request(method.clone(), path)).await.map(drop) };
        self.retried(repeat, send).await
    }

    pub(super) async fn retried<T, F: Future<Output = Result<T>>>(
        &self,
        repeat: Repeat,
        send: impl FnMut() -> F,
    ) -> Result<T> {
        send.retry(self.patience.backoff())
            .when(|error: &ClientError| match repeat {
                Repeat::Harmless => error.is_transient(),
                Repeat::OnlyIfUnsent => error.was_not_sent(),
            })
            .adjust(|error: &ClientError, wait| wait.map(|wait| error.retry_after().unwrap_or(wait)))
            .await
    }

    pub(super) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}/api/v1{path}", self.base));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Sends a request and lets only a success through.
    pub(super) async fn send(&self, request: RequestBuilder) -> Result<Response> {
        let response = request
            .send()
            .await
            .map_err(|error| ClientError::from_reqwest(&self.base, &error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let url = response.url().to_string();
        let location = header_text(&response, &header::LOCATION);
        let retry_after = header_text(&response, &header::RETRY_AFTER)
            .and_then(|text| text.parse().ok())
            .map(|seconds: u64| Duration::from_secs(seconds.min(60)));
        let body = response
            .bytes()
            .await
            .map_err(|error| ClientError::from_reqwest(&url, &error))?;
        match serde_json::from_slice::<ApiError>(&body) {
            Ok(error) => Err(ClientError::Refused { error, retry_after }),
            Err(_) => {
                let to = location
                    .map(|location| format!(" to {location}"))
                    .unwrap_or_default();
                Err(foreign(&url, status.as_u16(), &format!("{status}{to}")))
            }
        }
    }
}

fn header_text(response: &Response, name: &header::HeaderName) -> Option<String> {
    response
        .headers()
        .get(name)
        .and_then(|value| value.to_str().ok())
        .map(str::to_owned)
}

fn foreign(url: &str, status: u16, answer: &str) -> ClientError {
    ClientError::Foreign {
        url: url.to_owned(),
        status,
        answer: answer.to_owned(),
    }
}

pub(super) async fn read_json<R: DeserializeOwned>(response: Response) -> Result<R> {
    let (url, status) = (response.url().to_string(), response.status());
    let body = response
        .bytes()
        .await
        .map_err(|error| ClientError::from_reqwest(&url, &error))?;
    serde_json::from_slice(&body).map_err(|error| {
        foreign(
            &url,
            status.as_u16(),
            &format!("{status} with a body that does not fit ({error})"),
        )
    })
}
