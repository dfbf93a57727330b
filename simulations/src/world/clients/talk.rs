//! A client of the cluster: it sends requests to stations and waits for a while.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Method, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tetryx_protocol::api::{ApiError, ErrorName};

use super::setting::Setting;
use crate::answer::Answer;
use crate::node::request;
use crate::world::oracle::MemberStanding;
use crate::world::{Outcome, Promise, Station, World};

/// How long a client waits for an answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);

/// What became of a request, as its client knows.
#[derive(Debug)]
pub(super) enum Reply {
    Answer(Answer),
    /// It may have been carried out.
    Unknown,
    /// It was not carried out.
    NotSent,
}

impl Reply {
    /// The answer, if it came and is a success.
    pub(super) fn success(&self) -> Option<&Answer> {
        match self {
            Self::Answer(answer) if answer.status.is_success() => Some(answer),
            _ => None,
        }
    }

    /// Whether the request certainly had no effect: it never arrived, or was refused for a fault of its own.
    pub(super) fn is_refused(&self) -> bool {
        match self {
            Self::Answer(answer) => answer.status.is_client_error(),
            Self::Unknown => false,
            Self::NotSent => true,
        }
    }

    /// The error's name, if the answer is one.
    pub(super) fn error(&self) -> Option<ErrorName> {
        match self {
            Self::Answer(answer) => error_of(answer),
            Self::Unknown | Self::NotSent => None,
        }
    }
}

/// The body of an answer, if it is what was expected.
pub(super) fn parsed<T: DeserializeOwned>(answer: &Answer) -> Option<T> {
    serde_json::from_slice(&answer.body).ok()
}

/// The name of an error answer.
pub(super) fn error_of(answer: &Answer) -> Option<ErrorName> {
    parsed::<ApiError>(answer)?.name()
}

/// An answer in a few words.
pub(super) fn told(answer: &Answer) -> String {
    match parsed::<ApiError>(answer) {
        Some(error) => error.to_string(),
        None => format!("{} with {} bytes", answer.status, answer.body.len()),
    }
}

/// One request.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) path: String,
    /// The token to show; none for anybody.
    pub(super) token: Option<String>,
    pub(super) wait_index: Option<u64>,
    body: Bytes,
    is_json: bool,
    patience: Duration,
}

impl Asked {
    /// A request without a body, by whoever holds the token.
    pub(super) fn new(method: Method, path: impl Into<String>, token: &str) -> Self {
        Self {
            method,
            path: path.into(),
            token: Some(token.to_owned()),
            wait_index: None,
            body: Bytes::new(),
            is_json: false,
            patience: PATIENCE,
        }
    }

    pub(super) fn json(mut self, body: &impl Serialize) -> Self {
        self.body = serde_json::to_vec(body).expect("requests are JSON").into();
        self.is_json = true;
        self
    }

    pub(super) fn bytes(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Waits until the station has applied the log up to there.
    pub(super) fn after(mut self, index: Option<u64>) -> Self {
        self.wait_index = index;
        self
    }

    /// The client goes away after so long.
    pub(super) fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience.min(PATIENCE);
        self
    }
}

/// What all clients of a world have.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) world: World,
    pub(super) setting: Arc<Setting>,
    pub(super) chance: fastrand::Rng,
    /// Who it is, in traces.
    pub(super) name: String,
}

impl Client {
    pub(super) fn new(world: &World, setting: &Arc<Setting>, name: String) -> Self {
        let chance = world.chance(&format!("client {name}"));
        Self {
            world: world.clone(),
            setting: Arc::clone(setting),
            chance,
            name,
        }
    }

    pub(super) fn root(&self) -> String {
        self.world.root().to_owned()
    }

    /// Waits about so long; false when the calm has come, and clients go home.
    pub(super) async fn pause(&mut self, mean: Duration) -> bool {
        let mean = u64::try_from(mean.as_millis()).unwrap_or(u64::MAX).max(1);
        let pause = Duration::from_millis(self.chance.u64(0..=2 * mean));
        tokio::select! {
            biased;
            () = self.world.until_calm() => false,
            () = tokio::time::sleep(pause) => true,
        }
    }

    /// A station to talk to: one that nobody asked to leave, whether it runs or not.
    pub(super) fn a_station(&mut self) -> Station {
        let members = self.members();
        let at = self.chance.usize(0..members.len());
        members[at].clone()
    }

    /// The stations that nobody asked to leave; the founder, if there is none.
    pub(super) fn members(&self) -> Vec<Station> {
        let standing = |number| self.world.oracle().members().standing(number);
        let mut members: Vec<Station> = (0..self.world.station_count())
            .filter(|number| standing(*number) == MemberStanding::Member)
            .map(|number| self.world.station(number))
            .collect();
        if members.is_empty() {
            members.push(self.world.station(0));
        }
        members
    }

    /// One of several.
    pub(super) fn one_of<T: Clone>(&mut self, all: &[T]) -> Option<T> {
        if all.is_empty() {
            return None;
        }
        Some(all[self.chance.usize(0..all.len())].clone())
    }

    /// Whether something of this probability happens.
    pub(super) fn happens(&mut self, probability: f64) -> bool {
        self.chance.f64() < probability
    }
}

/// Sends a request, and waits for its answer for a while.
pub(super) async fn ask(world: &World, station: &Station, asked: Asked) -> Reply {
    let mut head = request(asked.method.clone(), &asked.path, asked.token.as_deref());
    if asked.is_json {
        head = head.header(CONTENT_TYPE, "application/json");
    }
    if let Some(index) = asked.wait_index {
        head = head.header("tetryx-wait-index", index);
    }
    let Ok(request) = head.body(Body::from(asked.body.clone())) else {
        return Reply::NotSent;
    };
    world.count("request");
    let sent = world.now();
    let outcome = in_time(asked.patience, station.send(request)).await;
    let reply = match outcome {
        Some(Outcome::Answer(answer)) => Reply::Answer(answer),
        Some(Outcome::NotSent(_)) => Reply::NotSent,
        Some(Outcome::Unknown(_)) | None => Reply::Unknown,
    };
    match &reply {
        Reply::Answer(answer) => {
            note(world, station, &asked.method, &asked.path, answer);
            check_age(world, station, &asked, sent, answer);
        }
        Reply::Unknown => world.count("request in doubt"),
        Reply::NotSent => world.count("request not sent"),
    }
    reply
}

async fn in_time<T>(patience: Duration, work: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(patience, work).await.ok()
}

fn note(world: &World, station: &Station, method: &Method, path: &str, answer: &Answer) {
    match answer.status {
        StatusCode::SERVICE_UNAVAILABLE => world.count("answered 503"),
        StatusCode::INSUFFICIENT_STORAGE => world.count("answered 507"),
        status if status.is_server_error() => {
            world.count("answered 500");
            let error = parsed::<ApiError>(answer);
            if error.is_some_and(|error| error.message.contains("hit a bug")) {
                world.violated(
                    Promise::NoPanic,
                    format!("{} panicked at {method} {path}", station.name()),
                );
            }
        }
        status if status.is_success() => world.count("answered well"),
        _ => world.count("answered 4xx"),
    }
}

/// Holds what an answer says of its age against what was acknowledged when. An answer to a change names the log index
/// of that.
fn check_age(world: &World, station: &Station, asked: &Asked, sent: Duration, answer: &Answer) {
    let Some(index) = index_of(answer).filter(|_| answer.status.is_success()) else {
        return;
    };
    if asked.method != Method::GET {
        if asked.method != Method::POST || !asked.path.ends_with("/missing-paths") {
            world.oracle().acknowledged().note(world.now(), index);
        }
        return;
    }
    let Ok(age_ms) = answer.header("tetryx-age-ms").parse() else {
        return;
    };
    // Ages are measured by the station's own clock, which may lose a little; and told in whole milliseconds.
    let age = Duration::from_millis(age_ms) * 5 / 4 + Duration::from_millis(2);
    let Some(proved) = sent.checked_sub(age) else {
        return;
    };
    world.count("age of an answer checked");
    let acknowledged = world.oracle().acknowledged().before(proved);
    if index < acknowledged {
        world.violated(
            Promise::AgeTold,
            format!(
                "{} answers {} as of log index {index}, at most {age_ms} ms old; index {acknowledged} was \
                 acknowledged before that",
                station.name(),
                asked.path
            ),
        );
    }
}

/// The log index that an answer names.
pub(super) fn index_of(answer: &Answer) -> Option<u64> {
    answer.header("tetryx-index").parse().ok()
}

/// What a station has applied at this moment, if it runs.
pub(super) fn applied(station: &Station) -> Option<u64> {
    Some(station.node()?.replica().applied_index())
}
