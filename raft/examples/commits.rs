//! Measures commits of one record: three replicas with files of their own, in one process.
//!
//! ```text
//! cargo run --release -p tetryx-raft --example commits -- [--clients N] [--seconds S] [--voters V] [--follower]
//! ```
//!
//! The replicas share a process, so that what is measured is the log, the state and openraft, and no network. Client
//! `i` waits for each of its commands before it proposes the next one; with `--follower` the clients sit at a node that
//! does not lead. Times are in milliseconds.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::BoxFuture;
use parking_lot::RwLock;
use tetryx_environment::Io;
use tetryx_environment::{Clock, Entropy};
use tetryx_protocol::id::{ClusterId, NodeId};
use tetryx_protocol::time::{Elapsed, UtcTime};
use tetryx_raft::{
    AuditEvery, Compaction, DirectoryFiles, Profile, Replica, ReplicaConfig, RpcClass, Transport,
    TransportError,
};
use tetryx_state::Body;
use tetryx_state::command::{FEATURE_LEVEL, InitCluster, Role, UpsertMember};

type Failed = Box<dyn Error + Send + Sync>;

#[derive(Debug)]
struct SystemClock {
    start: Instant,
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock of the benchmark")]
    fn utc(&self) -> UtcTime {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let ms = since.map_or(0, |since| since.as_millis());
        UtcTime::from_unix_ms(i64::try_from(ms).unwrap_or(i64::MAX))
    }

    fn elapsed(&self) -> Elapsed {
        Elapsed::from_nanos(u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }
}

/// Ids of clients need to differ, and nothing here is secret.
#[derive(Debug)]
struct Counting(u8);

impl Entropy for Counting {
    fn fill(&self, bytes: &mut [u8]) {
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = self
                .0
                .wrapping_mul(31)
                .wrapping_add(u8::try_from(at % 251).unwrap_or(0));
        }
    }
}

/// The replicas of this process by their ids.
#[derive(Debug, Clone, Default)]
struct Process(Arc<RwLock<BTreeMap<NodeId, Replica>>>);

impl Transport for Process {
    fn call(
        &self,
        to: NodeId,
        class: RpcClass,
        body: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, TransportError>> {
        let replica = self.0.read().get(&to).cloned();
        Box::pin(async move {
            let replica = replica.ok_or(TransportError::Unreachable {
                node: to,
                reason: "not started yet".to_owned(),
            })?;
            replica
                .handle_rpc(class, body)
                .await
                .map_err(|error| TransportError::NoAnswer {
                    node: to,
                    reason: error.to_string(),
                })
        })
    }
}

#[derive(Debug, Clone, Copy)]
struct Options {
    clients: usize,
    seconds: u64,
    voters: u8,
    at_follower: bool,
}

impl Options {
    fn from_arguments() -> Result<Self, Failed> {
        let mut options = Self {
            clients: 64,
            seconds: 5,
            voters: 3,
            at_follower: false,
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || {
                arguments
                    .next()
                    .ok_or_else(|| format!("{argument} needs a value"))
            };
            match argument.as_str() {
                "--clients" => options.clients = value()?.parse()?,
                "--seconds" => options.seconds = value()?.parse()?,
                "--voters" => options.voters = value()?.parse()?,
                "--follower" => options.at_follower = true,
                other => return Err(format!("unknown argument {other}").into()),
            }
        }
        Ok(options)
    }
}

fn node(number: u8) -> NodeId {
    NodeId::from_bytes([number; 32])
}

async fn start(options: Options, directory: &std::path::Path) -> Result<Vec<Replica>, Failed> {
    let process = Process::default();
    let mut replicas = Vec::new();
    #[expect(clippy::disallowed_methods, reason = "this is the clock of the benchmark")]
    let clock = Arc::new(SystemClock {
        start: Instant::now(),
    });
    for number in 1..=options.voters {
        let replica = Replica::open(ReplicaConfig {
            node_id: node(number),
            files: Arc::new(DirectoryFiles::new(directory.join(number.to_string()))?),
            io: Io::pool(),
            profile: Profile::Lan,
            compaction: Compaction::default(),
            audit: AuditEvery::default(),
            clock: clock.clone(),
            entropy: Arc::new(Counting(number)),
            transport: Arc::new(process.clone()),
            feature_level: FEATURE_LEVEL,
        })
        .await?;
        process.0.write().insert(node(number), replica.clone());
        replicas.push(replica);
    }
    let founder = &replicas[0];
    founder.bootstrap().await?;
    for number in 2..=options.voters {
        founder.add_learner(node(number)).await?;
    }
    if options.voters > 1 {
        let voters: BTreeSet<NodeId> = (1..=options.voters).map(node).collect();
        founder.change_voters(voters).await?;
    }
    let first = Body::InitCluster(InitCluster {
        cluster: ClusterId::from_bytes([7; 16]),
        feature_level: 1,
        token_public_key: [1; 32],
        sealed_token_key: vec![2; 64],
    });
    founder.propose("bench", first).await?;
    Ok(replicas)
}

fn record(client: usize, round: u64) -> Body {
    let mut id = [0xee; 32];
    id[..8].copy_from_slice(&(client as u64).to_le_bytes());
    Body::UpsertMember(UpsertMember {
        node: NodeId::from_bytes(id),
        name: format!("member-{client}"),
        zone: "bench".to_owned(),
        addresses: vec![format!("192.0.2.1:{}", 1024 + round % 60_000)],
        role: Role::Learner,
    })
}

async fn measure(replica: &Replica, options: Options) -> Result<Vec<Duration>, Failed> {
    #[expect(clippy::disallowed_methods, reason = "it measures")]
    let begun = Instant::now();
    let length = Duration::from_secs(options.seconds);
    let clients: Vec<_> = (0..options.clients)
        .map(|client| {
            let replica = replica.clone();
            tokio::spawn(async move {
                let mut took = Vec::new();
                for round in 0_u64.. {
                    let before = begun.elapsed();
                    if before >= length {
                        break;
                    }
                    replica.propose("bench", record(client, round)).await?;
                    took.push(begun.elapsed() - before);
                }
                Ok::<_, Failed>(took)
            })
        })
        .collect();
    let mut all = Vec::new();
    for client in clients {
        all.extend(client.await??);
    }
    all.sort_unstable();
    Ok(all)
}

#[tokio::main]
async fn main() -> Result<(), Failed> {
    let options = Options::from_arguments()?;
    let directory = tempfile::tempdir_in(".")?;
    let replicas = start(options, directory.path()).await?;
    let leader = replicas[0].wait_leader().await?;
    let asked = replicas
        .iter()
        .find(|replica| (replica.id() == leader) != options.at_follower)
        .ok_or("there is no such replica")?;
    let took = measure(asked, options).await?;
    let at = |permille: usize| {
        took.get(took.len() * permille / 1000)
            .map_or(0.0, |took| took.as_secs_f64() * 1e3)
    };
    let per_second = took.len() as u64 / options.seconds;
    let line = format!(
        "{} voters, {} clients at the {}: {per_second} commits/s, p50 {:.2} ms, p99 {:.2} ms\n",
        options.voters,
        options.clients,
        if options.at_follower { "follower" } else { "leader" },
        at(500),
        at(990),
    );
    std::io::Write::write_all(&mut std::io::stdout(), line.as_bytes())?;
    for replica in &replicas {
        replica.shutdown().await;
    }
    Ok(())
}
