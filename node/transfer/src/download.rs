//! The shell around the planner: carries its orders out, tells it what happened, flushes now and then.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use tetryx_environment::WorkPanicked;
use tetryx_protocol::id::NodeId;
use tetryx_protocol::time::Elapsed;
use tetryx_store::StoreError;
use tokio::sync::{OwnedSemaphorePermit, TryAcquireError, mpsc, oneshot, watch};
use tokio::task::JoinSet;

use crate::error::FetchError;
use crate::fetcher::{FetchReport, Priority, Shared};
use crate::flight::{Content, Flight};
use crate::order::{Errand, Event};
use crate::plan::{OrderId, PlanState, Planner, ReaderId};
use crate::verify::Verified;

/// A flush that runs.
type Flushing = BoxFuture<'static, Result<Result<(), StoreError>, WorkPanicked>>;

/// Bytes stored after which they are made durable, so that a crash loses little.
const FLUSH_BYTES: u64 = 16 << 20;
/// How often the round trips to the providers are looked up.
const PATHS_EVERY: Duration = Duration::from_secs(1);
/// Events that may wait.
const EVENTS_MAX: usize = 256;

/// Fetches everything that is missing of `content`; all of it is in the store then, the last of it not yet flushed.
pub(crate) async fn run(
    shared: &Arc<Shared>,
    flight: &Arc<Flight>,
    content: &Arc<Content>,
) -> Result<FetchReport, FetchError> {
    let mut download = Download::new(shared, flight, content);
    let outcome = download.run().await;
    let mut rates = shared.rates.lock();
    rates.extend(download.planner.rates());
    drop(rates);
    outcome?;
    let wire = download.wire_bytes.load(Ordering::Relaxed);
    download.report.duplicate_bytes = wire.saturating_sub(download.report.bytes);
    Ok(download.report)
}

struct Download<'a> {
    shared: &'a Arc<Shared>,
    flight: &'a Arc<Flight>,
    content: &'a Arc<Content>,
    planner: Planner,
    events: mpsc::Receiver<Event>,
    sender: mpsc::Sender<Event>,
    /// Dropped, it ends all orders.
    errands: JoinSet<()>,
    cancels: BTreeMap<OrderId, oneshot::Sender<()>>,
    report: FetchReport,
    wire_bytes: Arc<AtomicU64>,
    unflushed: u64,
    flushing: Option<Flushing>,
    interactive: watch::Receiver<usize>,
    urgent: Option<Urgent>,
    priority: Priority,
    readers: BTreeMap<ReaderId, usize>,
    asked: usize,
    last_failure: String,
    drops_seen: u64,
    paths_at: Option<Elapsed>,
}

/// Counts an interactive flight as long as it is at work.
struct Urgent(watch::Sender<usize>);

impl Urgent {
    fn new(count: &watch::Sender<usize>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(count.clone())
    }
}

impl Drop for Urgent {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

impl<'a> Download<'a> {
    fn new(shared: &'a Arc<Shared>, flight: &'a Arc<Flight>, content: &'a Arc<Content>) -> Self {
        let raw_lens: Vec<u32> = content.items.iter().map(|(_, raw_len)| *raw_len).collect();
        let (sender, events) = mpsc::channel(EVENTS_MAX);
        Self {
            shared,
            flight,
            content,
            planner: Planner::new((shared.now)(), &raw_lens, content.sequence.clone(), shared.config),
            events,
            sender,
            errands: JoinSet::new(),
            cancels: BTreeMap::new(),
            report: FetchReport::default(),
            wire_bytes: Arc::default(),
            unflushed: 0,
            flushing: None,
            interactive: shared.interactive.subscribe(),
            urgent: None,
            priority: Priority::Background,
            readers: BTreeMap::new(),
            asked: 0,
            last_failure: "nothing came".to_owned(),
            drops_seen: 0,
            paths_at: None,
        }
    }

    async fn run(&mut self) -> Result<(), FetchError> {
        self.heed_wishes((self.shared.now)());
        loop {
            let now = (self.shared.now)();
            self.look_at_paths(now);
            self.planner.handle_timeout(now);
            let starved = self.issue(now);
            match self.planner.state(now) {
                PlanState::Working => {}
                PlanState::Done => return self.end().await,
                PlanState::Nobody { item } => {
                    return Err(FetchError::NoChunk {
                        manifest: self.flight.name,
                        chunk: self.content.items[item as usize].0,
                        asked: self.asked,
                    });
                }
                PlanState::Unreachable => {
                    return Err(FetchError::Unreachable {
                        manifest: self.flight.name,
                        asked: self.asked,
                        reason: std::mem::take(&mut self.last_failure),
                    });
                }
            }
            let wait = self.planner.poll_timeout(now).map(|at| at.saturating_sub(now));
            let orders = &self.shared.orders;
            // What is rare first: there are always more chunks.
            tokio::select! {
                biased;
                flushed = async { self.flushing.as_mut().expect("checked").await }, if self.flushing.is_some() => {
                    self.flushing = None;
                    self.flushed(flushed)?;
                }
                () = self.flight.changed.notified() => self.heed_wishes((self.shared.now)()),
                Ok(()) = self.interactive.changed() => self.make_way(),
                Some(_) = self.errands.join_next() => {}
                Some(event) = self.events.recv() => {
                    self.handle(event)?;
                    while let Ok(event) = self.events.try_recv() {
                        self.handle(event)?;
                    }
                }
                permit = orders.acquire(), if starved => drop(permit),
                () = tokio::time::sleep(wait.unwrap_or(PATHS_EVERY)) => {}
            }
        }
    }

    /// Waits for the flush that runs; the last one is the caller's.
    async fn end(&mut self) -> Result<(), FetchError> {
        match self.flushing.take() {
            Some(flushing) => {
                let flushed = flushing.await;
                self.flushed(flushed)
            }
            None => Ok(()),
        }
    }

    fn flushed(&self, flushed: Result<Result<(), StoreError>, WorkPanicked>) -> Result<(), FetchError> {
        match flushed {
            Ok(Ok(())) => Ok(()),
            Ok(Err(source)) => Err(self.flight.store_error(source)),
            Err(_) => Err(FetchError::BrokenOff {
                manifest: self.flight.name,
            }),
        }
    }

    /// Takes over what the handles want.
    fn heed_wishes(&mut self, now: Elapsed) {
        let (providers, priority, readers) = {
            let wishes = self.flight.wishes.lock();
            (wishes.providers.clone(), wishes.priority, wishes.readers.clone())
        };
        self.asked = providers.len();
        self.drops_seen = self.shared.drops.load(Ordering::Acquire);
        let dropped = self.shared.dropped_now();
        self.planner.set_providers(now, &providers);
        for node in dropped {
            self.planner.ban(now, node);
        }
        for reader in self.readers.keys().filter(|reader| !readers.contains_key(reader)) {
            self.planner.forget_reader(*reader);
        }
        for (reader, chunk) in &readers {
            if self.readers.get(reader) != Some(chunk) {
                self.planner.want(*reader, *chunk);
            }
        }
        self.readers = readers;
        self.priority = priority;
        if priority == Priority::Interactive && self.urgent.is_none() {
            self.urgent = Some(Urgent::new(&self.shared.interactive));
        }
        self.paths_at = None;
        self.make_way();
    }

    fn make_way(&mut self) {
        let others = *self.interactive.borrow_and_update() > 0;
        self.planner
            .set_throttled(self.priority == Priority::Background && others);
    }

    fn look_at_paths(&mut self, now: Elapsed) {
        if self.drops_seen != self.shared.drops.load(Ordering::Acquire) {
            self.heed_wishes(now);
        }
        if self
            .paths_at
            .is_some_and(|at| now.saturating_sub(at) < PATHS_EVERY)
        {
            return;
        }
        self.paths_at = Some(now);
        let rates = self.shared.rates.lock().clone();
        for node in &self.flight.wishes.lock().providers {
            let rtt = self.shared.links.path(*node).map(|path| path.rtt);
            self.planner.handle_path(*node, rtt, rates.get(node).copied());
        }
    }

    /// Sends the planner's orders and cancels; whether it had to stop for want of a slot.
    fn issue(&mut self, now: Elapsed) -> bool {
        while let Some(order) = self.planner.poll_cancel() {
            if let Some(cancel) = self.cancels.remove(&order) {
                // It may have ended by itself.
                let _ = cancel.send(());
            }
        }
        loop {
            let slot: OwnedSemaphorePermit = match Arc::clone(&self.shared.orders).try_acquire_owned() {
                Ok(slot) => slot,
                Err(TryAcquireError::NoPermits | TryAcquireError::Closed) => return true,
            };
            let Some(order) = self.planner.poll_order(now) else {
                return false;
            };
            let (cancel, cancelled) = oneshot::channel();
            self.cancels.insert(order.id, cancel);
            let errand = Errand {
                shared: Arc::clone(self.shared),
                content: Arc::clone(self.content),
                order,
                events: self.sender.clone(),
                wire_bytes: Arc::clone(&self.wire_bytes),
            };
            self.errands.spawn(async move {
                errand.run(cancelled).await;
                drop(slot);
            });
        }
    }

    fn handle(&mut self, event: Event) -> Result<(), FetchError> {
        let now = (self.shared.now)();
        match event {
            Event::Received { order, item, bytes } => {
                let provider = self.planner.handle_received(now, order, item, bytes);
                if self.priority == Priority::Background
                    && let Some(provider) = provider
                    && let Some(until) = self.shared.budgets.spend(now, provider, bytes)
                {
                    self.planner.handle_budget(provider, until);
                }
            }
            Event::Progress { order } => self.planner.handle_progress(now, order),
            Event::Lacking { order, item } => self.planner.handle_lacking(now, order, item),
            Event::Verified { provider, verified } => return self.verified(now, provider, verified),
            Event::Nonsense { provider, error } => self.drop_liar(now, provider, &error),
            Event::Ended { order, error } => {
                if let Some(error) = error {
                    tracing::debug!(%error, "an order ended early");
                    self.last_failure = error.to_string();
                }
                self.cancels.remove(&order);
                self.planner.handle_ended(now, order);
            }
        }
        Ok(())
    }

    fn verified(&mut self, now: Elapsed, provider: NodeId, verified: Verified) -> Result<(), FetchError> {
        for (item, bytes) in &verified.stored {
            if self.planner.handle_stored(*item) {
                self.report.bytes += bytes;
                self.report.chunks += 1;
                *self.report.by_provider.entry(provider).or_default() += bytes;
                self.unflushed += bytes;
            }
        }
        if !verified.stored.is_empty() {
            let items = verified.stored.iter().map(|(item, _)| *item);
            self.flight.stored(self.content, items);
        }
        for (item, error) in &verified.lies {
            self.planner.handle_lost(*item);
            self.drop_liar(now, provider, error);
        }
        if let Some((items, source)) = verified.failed {
            items.into_iter().for_each(|item| self.planner.handle_lost(item));
            return Err(self.flight.store_error(source));
        }
        if self.unflushed >= FLUSH_BYTES && self.flushing.is_none() {
            self.unflushed = 0;
            let store = Arc::clone(&self.shared.store);
            self.flushing = Some(self.shared.io.run(move || store.flush()));
        }
        Ok(())
    }

    fn drop_liar(&mut self, now: Elapsed, provider: NodeId, error: &dyn std::fmt::Display) {
        tracing::warn!(
            peer = %provider.fmt_short(), %error,
            "a peer sent something else than it was asked for; it is dropped for 10 min, fetching elsewhere"
        );
        self.planner.ban(now, provider);
        self.shared.drop_peer(provider);
    }
}
