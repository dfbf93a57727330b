use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tetryx_protocol::id::NodeId;
use tokio::time::Instant;

use super::{A, B, node};
use crate::memory::{Conditions, Hub, MemoryLinks};
use crate::{Channel, Handler, LinkError, Links, Service};

pub(super) const C: NodeId = node(3);

pub(super) const CALM: Conditions = Conditions {
    latency: Duration::ZERO,
    jitter: Duration::ZERO,
    loss_permille: 0,
    break_permille: 0,
    duplicate_permille: 0,
    rate: None,
};

pub(super) const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// Remembers what reached it and when, answers after a while, and sends streams back.
#[derive(Debug)]
pub(super) struct Diary {
    began: Instant,
    takes: Duration,
    entries: Mutex<Vec<(Duration, Bytes)>>,
}

impl Handler for Diary {
    fn call(&self, _: NodeId, _: Service, body: Bytes) -> BoxFuture<'static, Result<Bytes, String>> {
        let takes = self.takes;
        self.entries.lock().push((since(self.began), body.clone()));
        Box::pin(async move {
            if !takes.is_zero() {
                tokio::time::sleep(takes).await;
            }
            Ok(body)
        })
    }

    fn open(&self, _: NodeId, _: Service, mut channel: Channel) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            while let Ok(read) = channel.recv.read(usize::MAX).await {
                let Some(bytes) = read else {
                    return drop(channel.send.finish());
                };
                if channel.send.write_bytes(bytes).await.is_err() {
                    return;
                }
            }
        })
    }
}

/// A hub with A and B, both of which keep diaries.
pub(super) struct Pair {
    pub(super) hub: Hub,
    pub(super) a: Arc<MemoryLinks>,
    pub(super) b: Arc<MemoryLinks>,
    pub(super) diary: Arc<Diary>,
    began: Instant,
}

impl Pair {
    pub(super) fn under(conditions: Conditions) -> Self {
        Self::seeded(1, conditions, Duration::ZERO)
    }

    pub(super) fn seeded(seed: u64, conditions: Conditions, takes: Duration) -> Self {
        let hub = Hub::seeded(seed);
        hub.set_weather(A, B, conditions);
        let began = began();
        let diary = Arc::new(Diary {
            began,
            takes,
            entries: Mutex::default(),
        });
        let (a, b) = (hub.join(A), hub.join(B));
        a.serve(diary.clone());
        b.serve(diary.clone());
        Self {
            hub,
            a,
            b,
            diary,
            began,
        }
    }

    pub(super) fn elapsed(&self) -> Duration {
        since(self.began)
    }

    /// Calls B with a number.
    pub(super) fn ask(&self, number: u32) -> BoxFuture<'static, Result<Bytes, LinkError>> {
        self.a
            .call(B, Service::Rpc, Bytes::copy_from_slice(&number.to_be_bytes()))
    }

    /// Calls B with each number, all at once; each one's outcome in the order of the numbers.
    pub(super) async fn ask_all(&self, count: u32) -> Vec<Result<Bytes, LinkError>> {
        futures::future::join_all((0..count).map(|number| self.ask(number))).await
    }

    /// The numbers that arrived, in the order of arrival.
    pub(super) fn arrived(&self) -> Vec<u32> {
        let entries = self.diary.entries.lock();
        entries.iter().map(|(_, body)| number(body)).collect()
    }

    /// When each arrived.
    pub(super) fn arrivals(&self) -> Vec<Duration> {
        self.diary.entries.lock().iter().map(|(at, _)| *at).collect()
    }

    pub(super) async fn stream(&self) -> Channel {
        self.a.open(B, Service::Chunks).await.unwrap()
    }
}

pub(super) fn number(body: &Bytes) -> u32 {
    u32::from_be_bytes(body[..].try_into().unwrap())
}

#[expect(clippy::disallowed_methods, reason = "this is the clock of the tests")]
fn began() -> Instant {
    Instant::now()
}

fn since(began: Instant) -> Duration {
    began.elapsed()
}
