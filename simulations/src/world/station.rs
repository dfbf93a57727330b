//! A station: a machine that survives, and the process that runs on it, is killed, frozen and started again.

mod harm;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::Request;
use http_body_util::BodyExt;
use parking_lot::Mutex;
use tetryx_environment::Io;
use tetryx_node::config::Config;
use tetryx_node::host::Host;
use tetryx_node::http::router::router;
use tetryx_node::peers::{Dispatch, NodeRoster};
use tetryx_node::secrets::{ClusterSecret, NodeKey};
use tetryx_node::{Ending, Node};
use tetryx_protocol::id::NodeId;
use tetryx_protocol::ticket::JoinTicket;
use tetryx_raft::Compaction;
use tetryx_store::disk::{MemoryDisk, Remains, Survivors};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::clock::SimClock;
use super::doors::SimDoors;
use super::entropy::SimEntropy;
use super::io::SimIo;
use super::promise::Promise;
use super::{Fault, Weak, World};
use crate::answer::Answer;
use crate::disk::Folder;

/// After how long whoever watches a process starts it again.
const RESTART_AFTER: Duration = Duration::from_secs(2);
/// How long an orderly stop may take before the process is killed.
const STOP_PATIENCE: Duration = Duration::from_secs(90);

/// What became of a request.
#[derive(Debug)]
pub enum Outcome {
    Answer(Answer),
    /// It may have been carried out, or may yet be.
    Unknown(String),
    /// It was certainly not carried out.
    NotSent(String),
}

/// One machine, and the process on it. Cheap to clone.
#[derive(Clone)]
pub struct Station {
    inner: Arc<Inner>,
}

struct Inner {
    world: Weak,
    number: usize,
    key_seed: [u8; 32],
    disk: Arc<MemoryDisk>,
    clock: Arc<SimClock>,
    io: Arc<SimIo>,
    entropy: Arc<SimEntropy>,
    roster: Arc<NodeRoster>,
    config: Config,
    compaction: Compaction,
    /// What the installed program understands.
    feature_level: AtomicU32,
    secret: Mutex<Option<[u8; 32]>>,
    /// The ticket of a join that may not have come to its end.
    ticket: Mutex<Option<JoinTicket>>,
    life: Mutex<Life>,
    frozen: watch::Sender<bool>,
    /// Until when faults of the disk may end the process.
    may_fail_until: Mutex<Duration>,
    /// What the crash leaves that comes with the next failure of the disk.
    doom: Mutex<Option<Survivors>>,
    /// The machine is gone for good.
    is_gone: AtomicBool,
}

/// The process.
enum Life {
    Down,
    Starting(CancellationToken),
    Up {
        node: Node,
        app: Router,
        end: CancellationToken,
    },
}

/// What a machine is made of.
pub(super) struct Machine {
    pub(super) number: usize,
    pub(super) config: Config,
    pub(super) compaction: Compaction,
    pub(super) feature_level: u32,
    /// The cluster's secret, where the machine founds the cluster.
    pub(super) secret: Option<[u8; 32]>,
}

impl fmt::Debug for Station {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

impl Station {
    pub(super) fn new(world: &World, machine: Machine) -> Self {
        let Machine {
            number,
            config,
            compaction,
            feature_level,
            secret,
        } = machine;
        let stream = |purpose: &str| world.chance(&format!("{purpose} of station {number}"));
        let mut key_seed = [0; 32];
        stream("key").fill(&mut key_seed);
        let node = NodeKey::from_seed(&key_seed).node_id();
        Self {
            inner: Arc::new(Inner {
                world: world.downgrade(),
                number,
                key_seed,
                disk: Arc::new(MemoryDisk::new()),
                clock: Arc::new(SimClock::new(world.began())),
                io: Arc::new(SimIo::new(stream("disk"))),
                entropy: Arc::new(SimEntropy::new(stream("entropy"))),
                roster: Arc::new(NodeRoster::in_memory(node, config.p2p.clone())),
                config,
                compaction,
                feature_level: AtomicU32::new(feature_level),
                secret: Mutex::new(secret),
                ticket: Mutex::default(),
                life: Mutex::new(Life::Down),
                frozen: watch::Sender::new(false),
                may_fail_until: Mutex::default(),
                doom: Mutex::default(),
                is_gone: AtomicBool::new(false),
            }),
        }
    }

    /// Its place, from 0, in the order of joining.
    pub fn number(&self) -> usize {
        self.inner.number
    }

    pub fn name(&self) -> String {
        format!("station-{}", self.inner.number)
    }

    pub fn node_id(&self) -> NodeId {
        self.inner.roster.own()
    }

    pub fn disk(&self) -> &Arc<MemoryDisk> {
        &self.inner.disk
    }

    pub fn clock(&self) -> &SimClock {
        &self.inner.clock
    }

    pub fn io(&self) -> &SimIo {
        &self.inner.io
    }

    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// The node, while its process runs.
    pub fn node(&self) -> Option<Node> {
        match &*self.inner.life.lock() {
            Life::Up { node, .. } => Some(node.clone()),
            Life::Down | Life::Starting(_) => None,
        }
    }

    /// Whether nobody has its process run.
    pub fn is_down(&self) -> bool {
        matches!(*self.inner.life.lock(), Life::Down)
    }

    /// The program that the next start runs.
    pub fn install(&self, feature_level: u32) {
        self.inner.feature_level.store(feature_level, Ordering::Relaxed);
    }

    pub fn feature_level(&self) -> u32 {
        self.inner.feature_level.load(Ordering::Relaxed)
    }

    fn world(&self) -> World {
        self.inner.world.upgrade()
    }

    /// What the next process runs on, with doors of its own.
    fn host(&self) -> Host {
        let (inner, world) = (&self.inner, self.world());
        let node = self.node_id();
        let links = world.hub().join_with_roster(node, inner.roster.as_roster());
        let dispatch = Dispatch::default();
        links.serve(Arc::new(dispatch.clone()));
        inner.clock.begin_process();
        let doors = SimDoors {
            links,
            mesh: world.gossip_mesh().clone(),
            gossip: None,
            key_seed: inner.key_seed,
            roster: Arc::clone(&inner.roster),
            config: inner.config.clone(),
            clock: Arc::clone(&inner.clock) as _,
            name: self.name(),
        };
        Host {
            config: inner.config.clone(),
            clock: Arc::clone(&inner.clock) as _,
            entropy: Arc::clone(&inner.entropy) as _,
            io: Io::new(Arc::clone(&inner.io) as _),
            compaction: inner.compaction,
            feature_level: self.feature_level(),
            node_key: NodeKey::from_seed(&inner.key_seed),
            roster: Arc::clone(&inner.roster),
            raft_files: Folder::new(&inner.disk, "raft/"),
            store: Folder::new(&inner.disk, "chunks/"),
            outbox: Folder::new(&inner.disk, "outbox/"),
            doors: Box::new(doors),
            dispatch,
        }
    }

    /// Starts the process on what the disk holds. Resolves when it serves.
    ///
    /// # Errors
    /// Why it does not come up; it is down then.
    pub async fn start(&self) -> Result<(), String> {
        let station = self.clone();
        to_the_end(async move { station.start_now().await }).await
    }

    async fn start_now(&self) -> Result<(), String> {
        let secret = *self.inner.secret.lock();
        let Some(secret) = secret else {
            let ticket = self.inner.ticket.lock().clone();
            return self
                .join_now(ticket.ok_or("it is not a member of a cluster")?)
                .await;
        };
        let end = self.begin()?;
        let started = self.host().start(ClusterSecret::from_bytes(&secret));
        let started = end.run_until_cancelled(started).await;
        self.go_up(end, started)
    }

    /// Starts the process of an empty machine, which joins the ticket's cluster. Resolves when it serves.
    ///
    /// # Errors
    /// Why it is not a member; it is down then.
    pub(super) async fn join(&self, ticket: &JoinTicket) -> Result<(), String> {
        let (station, ticket) = (self.clone(), ticket.clone());
        to_the_end(async move { station.join_now(ticket).await }).await
    }

    async fn join_now(&self, ticket: JoinTicket) -> Result<(), String> {
        *self.inner.ticket.lock() = Some(ticket.clone());
        let end = self.begin()?;
        let keep = |welcome: &tetryx_protocol::join::Welcome| {
            let secret = *welcome.cluster_secret.as_bytes();
            *self.inner.secret.lock() = Some(secret);
            Ok(ClusterSecret::from_bytes(&secret))
        };
        let mut tell = |_| {};
        let joined = self.host().join(&ticket, keep, &mut tell);
        let joined = end.run_until_cancelled(joined).await;
        self.go_up(end, joined)
    }

    fn begin(&self) -> Result<CancellationToken, String> {
        let end = CancellationToken::new();
        let mut life = self.inner.life.lock();
        match &*life {
            Life::Down => *life = Life::Starting(end.clone()),
            Life::Starting(_) | Life::Up { .. } => return Err("it runs already".to_owned()),
        }
        Ok(end)
    }

    fn go_up(
        &self,
        end: CancellationToken,
        started: Option<Result<Node, tetryx_node::NodeError>>,
    ) -> Result<(), String> {
        let world = self.world();
        let node = match started {
            Some(Ok(node)) if !end.is_cancelled() => node,
            Some(Err(error)) if !end.is_cancelled() => {
                let why = error.chain();
                world.trace(format_args!("{} does not come up: {why}", self.name()));
                *self.inner.life.lock() = Life::Down;
                self.leave();
                // What still runs of the process must not write beside the next one.
                self.inner.disk.end_process();
                return Err(why);
            }
            _ => return Err("it was killed while it started".to_owned()),
        };
        node.start_tasks();
        let app = router(node.clone());
        world.trace(format_args!("{} is up", self.name()));
        world.count("process up");
        *self.inner.life.lock() = Life::Up {
            node: node.clone(),
            app,
            end: end.clone(),
        };
        let station = self.clone();
        tokio::spawn(async move {
            if let Some(why) = end.run_until_cancelled(node.ending()).await {
                station.ended(why).await;
            }
        });
        Ok(())
    }

    /// What the daemon does when a node must end, and what whoever watches the daemon does then.
    async fn ended(&self, why: Ending) {
        let world = self.world();
        match why {
            Ending::Failed(error) => {
                world.trace(format_args!("{} fails: {}", self.name(), error.chain()));
                world.count("process failed");
                if world.now() > *self.inner.may_fail_until.lock() {
                    world.violated(
                        Promise::StaysUp,
                        format!(
                            "{} ended although its disk is well: {}",
                            self.name(),
                            error.chain()
                        ),
                    );
                }
                let doom = self.inner.doom.lock().take();
                self.crash(doom.unwrap_or(Survivors::Everything));
                tokio::time::sleep(RESTART_AFTER).await;
            }
            Ending::Rebuild => {
                world.violated(
                    Promise::SameState,
                    format!("{} found its own state to differ from the others'", self.name()),
                );
            }
            Ending::Retime(profile) => {
                world.trace(format_args!("{} takes the timing {profile:?}", self.name()));
                world.count("timing changed");
                self.stop().await;
            }
        }
        self.keep_up().await;
    }

    /// Starts the process, again and again until it is up, as whoever watches it does; unless somebody else does.
    pub async fn keep_up(&self) {
        let is_gone = || self.inner.is_gone.load(Ordering::Relaxed);
        while !is_gone() && self.is_down() && self.start().await.is_err() {
            tokio::time::sleep(RESTART_AFTER).await;
        }
    }

    fn leave(&self) {
        let world = self.world();
        world.hub().take_away(self.node_id());
        world.gossip_mesh().take_away(self.node_id());
    }

    /// Kills the process, or cuts the power of the machine: what was not synced survives as told. It stays down.
    pub fn crash(&self, survivors: Survivors) {
        self.leave();
        let life = std::mem::replace(&mut *self.inner.life.lock(), Life::Down);
        let disk = &self.inner.disk;
        let remains = if survivors == Survivors::Everything && !disk.has_crashed() {
            disk.end_process();
            Remains::default()
        } else {
            disk.restart(survivors)
        };
        *self.inner.doom.lock() = None;
        self.thaw();
        let world = self.world();
        if remains.are_torn() {
            world.trace(format_args!(
                "{} is left with torn writes: {remains:?}",
                self.name()
            ));
            world.count(Fault::TornWrite.name());
        }
        match life {
            Life::Down => {}
            Life::Starting(end) => {
                end.cancel();
                world.trace(format_args!("{} is killed while it starts", self.name()));
            }
            Life::Up { node, end, .. } => {
                end.cancel();
                super::invariants::raft::last_look(&world, node.replica());
                world.trace(format_args!("{} is killed, leaving {survivors:?}", self.name()));
                // Its files are dead and nobody hears it: what still runs of it changes nothing any more.
                tokio::spawn(async move {
                    let _ = node.shutdown().await;
                });
            }
        }
    }

    /// Has the process stop in order, as at SIGTERM.
    pub async fn stop(&self) {
        let station = self.clone();
        let stopped = async move {
            station.stop_now().await;
            Ok(())
        };
        // A panic is reported as one.
        let _ = to_the_end(stopped).await;
    }

    async fn stop_now(&self) {
        let life = std::mem::replace(&mut *self.inner.life.lock(), Life::Down);
        let (node, end) = match life {
            Life::Up { node, end, .. } => (node, end),
            Life::Starting(end) => {
                end.cancel();
                self.crash(Survivors::Everything);
                return;
            }
            Life::Down => return,
        };
        end.cancel();
        self.world()
            .trace(format_args!("{} is told to stop", self.name()));
        // Until it has stopped, nobody may start it again.
        let stopping = CancellationToken::new();
        *self.inner.life.lock() = Life::Starting(stopping.clone());
        let stopped = tokio::time::timeout(STOP_PATIENCE, node.shutdown());
        if stopping.run_until_cancelled(stopped).await.is_some() {
            self.leave();
            // What was written without a sync stays: the machine goes on.
            self.inner.disk.end_process();
            *self.inner.life.lock() = Life::Down;
        }
    }

    /// Sends a request to the station's HTTP service, and reads the whole answer.
    pub async fn send(&self, request: Request<Body>) -> Outcome {
        let (app, end) = match &*self.inner.life.lock() {
            Life::Up { app, end, .. } => (app.clone(), end.clone()),
            Life::Down | Life::Starting(_) => return Outcome::NotSent("the station is down".to_owned()),
        };
        let mut frozen = self.inner.frozen.subscribe();
        let talk = async {
            let _ = frozen.wait_for(|frozen| !frozen).await;
            let response = match app.oneshot(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            };
            let (head, body) = response.into_parts();
            let body = body.collect().await;
            let _ = frozen.wait_for(|frozen| !frozen).await;
            match body {
                Ok(body) => Outcome::Answer(Answer {
                    status: head.status,
                    headers: head.headers,
                    body: body.to_bytes(),
                }),
                Err(error) => Outcome::Unknown(format!("the answer broke off: {error}")),
            }
        };
        tokio::select! {
            biased;
            () = end.cancelled() => Outcome::Unknown("the station went down".to_owned()),
            outcome = talk => outcome,
        }
    }
}

/// Does something to its end, though whoever asked for it goes away: a process must not stay half started.
async fn to_the_end<F>(work: F) -> Result<(), String>
where
    F: Future<Output = Result<(), String>> + Send + 'static,
{
    let done = tokio::spawn(work).await;
    done.unwrap_or_else(|_| Err("it panicked".to_owned()))
}
