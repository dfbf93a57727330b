//! Whatever happens to a cluster: what was acknowledged can be read, and collections never take what is needed.

use std::time::Duration;

use http::StatusCode;
use tetryx_simulations::{Cluster, TestPath, decompress, nar_url, noise};
use tetryx_state::query;

/// What happens, drawn from a seed.
#[derive(Clone, Copy, Debug)]
enum Event {
    Push,
    Delete,
    Pull,
    Collect,
    Replicate,
    Kill,
    Restart,
    Lose,
    Join,
    Drain,
    TimePasses,
}

const EVENTS: [Event; 17] = [
    Event::Push,
    Event::Push,
    Event::Push,
    Event::Delete,
    Event::Pull,
    Event::Pull,
    Event::Collect,
    Event::Collect,
    Event::Collect,
    Event::Replicate,
    Event::Replicate,
    Event::Kill,
    Event::Restart,
    Event::Lose,
    Event::Join,
    Event::Drain,
    Event::TimePasses,
];

const STEPS: usize = 40;
const NODES_MAX: usize = 6;

/// A cluster, and what its clients were promised.
struct World {
    cluster: Cluster,
    draws: std::vec::IntoIter<u8>,
    published: Vec<TestPath>,
    made: usize,
    /// Places of nodes that do not run, of those that never will again, and of those that leave.
    down: Vec<usize>,
    lost: Vec<usize>,
    leaving: Vec<usize>,
    log: Vec<String>,
}

impl World {
    async fn new(seed: u64, write_replicas: u8) -> Self {
        let cluster = Cluster::with(4, |_, config| {
            config.replication.keep_surplus = Duration::from_secs(30);
            config.replication.write_replicas = write_replicas;
        })
        .await;
        cluster.node(0).create_cache("main", true).await;
        cluster.settle().await;
        Self {
            cluster,
            draws: noise(seed, STEPS * 8).into_iter(),
            published: Vec::new(),
            made: 0,
            down: Vec::new(),
            lost: Vec::new(),
            leaving: Vec::new(),
            log: vec![format!("seed {seed}")],
        }
    }

    fn draw(&mut self, below: usize) -> usize {
        usize::from(self.draws.next().expect("enough draws for every step")) % below
    }

    /// How many members there are.
    fn count(&self) -> usize {
        self.cluster.places() - self.lost.len()
    }

    fn running(&self) -> Vec<usize> {
        let is_gone = |at: &usize| self.down.contains(at) || self.lost.contains(at);
        (0..self.cluster.places()).filter(|at| !is_gone(at)).collect()
    }

    async fn step(&mut self) {
        let event = EVENTS[self.draw(EVENTS.len())];
        let running = self.running();
        let at = running[self.draw(running.len())];
        self.log.push(format!("{event:?} at {at}"));
        match event {
            Event::Push => self.push(at).await,
            Event::Delete => {
                if !self.published.is_empty() {
                    let chosen = self.draw(self.published.len());
                    let path = self.published.remove(chosen);
                    self.cluster.node(at).delete(&path).await;
                    self.cluster.settle().await;
                }
            }
            Event::Pull => {
                if !self.published.is_empty() && self.down.is_empty() {
                    let chosen = self.draw(self.published.len());
                    self.check(at, chosen).await;
                }
            }
            Event::Collect => {
                self.cluster
                    .node(at)
                    .node
                    .collect_once()
                    .await
                    .expect("a collection");
            }
            Event::Replicate => {
                self.cluster.node(at).node.replicate_once().await.expect("a pass");
            }
            // One at a time, and never the only voter: then what is acknowledged has a copy that runs.
            Event::Kill => {
                if at > 0 && self.down.is_empty() {
                    self.cluster.kill(at).await;
                    self.down.push(at);
                }
            }
            Event::Restart => {
                if let Some(at) = self.down.pop() {
                    self.cluster.restart(at).await;
                }
            }
            // What was acknowledged is on two disks, and survives the loss of one; then it is repaired.
            Event::Lose => {
                if at > 0 && self.down.is_empty() && self.count() > 3 {
                    self.lose(at).await;
                    self.cluster.replicate().await;
                }
            }
            Event::Join => {
                if self.count() < NODES_MAX && self.down.is_empty() {
                    self.cluster
                        .join(|config| config.replication.keep_surplus = Duration::from_secs(30))
                        .await;
                }
            }
            Event::Drain => {
                if at > 0 && self.leaving.is_empty() {
                    self.cluster.drain(at).await;
                    self.leaving.push(at);
                }
            }
            Event::TimePasses => self.cluster.node(0).machine.clock.turn(Duration::from_secs(400)),
        }
    }

    async fn lose(&mut self, at: usize) {
        self.cluster.kill(at).await;
        self.cluster.remove(at).await;
        self.leaving.retain(|leaving| *leaving != at);
        self.lost.push(at);
    }

    async fn push(&mut self, at: usize) {
        self.made += 1;
        let shared = TestPath::of_noise("shared", 60_000);
        let mut path = TestPath::of_noise(&format!("path-{}", self.made), 150_000);
        // Chunks in common with others, so that taking one NAR could cost another.
        path.nar.extend(&shared.nar);
        let upload = self.cluster.node(at).upload("main").await;
        upload.send_missing(&path).await.expect(StatusCode::OK);
        let answer = upload.commit(&[&path]).await;
        upload.end().await.expect(StatusCode::NO_CONTENT);
        assert_eq!(
            answer.status,
            StatusCode::OK,
            "{}: {answer:?}",
            self.log.join(", ")
        );
        self.published.push(path);
        self.cluster.settle().await;
    }

    /// The path is served whole by this node.
    async fn check(&self, at: usize, chosen: usize) {
        let path = &self.published[chosen];
        let answer = self.cluster.node(at).get(&nar_url("main", path)).await;
        assert_eq!(
            answer.status,
            StatusCode::OK,
            "{}: {answer:?}",
            self.log.join(", ")
        );
        assert!(decompress(&answer.body) == path.nar, "{}", self.log.join(", "));
    }

    /// Everything heals: each published path is on three nodes and served by all, and nothing else is kept.
    async fn end(mut self) {
        while let Some(at) = self.down.pop() {
            self.cluster.restart(at).await;
        }
        self.cluster
            .node(0)
            .machine
            .clock
            .turn(Duration::from_secs(24 * 3600));
        let reports = self.cluster.replicate().await;
        for report in reports {
            assert_eq!(
                report.figures.under_replicated.nars,
                0,
                "{}: {report:?}",
                self.log.join(", ")
            );
        }
        for node in self.cluster.running() {
            node.node.collect_once().await.expect("a collection");
        }
        let members = self.count() - self.leaving.len();
        for path in &self.published {
            let copies = self.cluster.running().filter(|node| {
                let view = node.node.replica().view().expect("the replica runs");
                let record = query::nar(&view, &path.nar_hash()).expect("the state is read");
                let manifest = record.expect("the path is published").manifest;
                let held = node.node.store().hold_nar(&manifest).expect("the store is read");
                held.is_some_and(|held| held.is_complete())
            });
            assert_eq!(copies.count(), members.min(3), "{}", self.log.join(", "));
        }
        for at in self.running() {
            for chosen in 0..self.published.len() {
                self.check(at, chosen).await;
            }
        }
    }
}

#[tokio::test]
async fn what_was_acknowledged_is_served_whatever_is_killed_collected_drained_and_joined() {
    for seed in 1..=6 {
        let mut world = World::new(seed, 2).await;
        for _ in 0..STEPS {
            world.step().await;
        }
        world.end().await;
    }
}

/// The oracle of this file, tried on a promise that is too weak.
#[tokio::test]
async fn a_push_that_is_acknowledged_by_one_node_is_lost_with_it() {
    let mut world = World::new(0, 1).await;
    world.push(1).await;
    world.lose(1).await;
    let url = nar_url("main", &world.published[0]);
    let answer = tokio::select! {
        answer = world.cluster.node(0).get(&url) => answer,
        () = time_passes(&world.cluster) => unreachable!("time never ends"),
    };
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
}

/// Turns the clock on while something waits.
async fn time_passes(cluster: &Cluster) {
    loop {
        cluster.node(0).machine.clock.turn(Duration::from_millis(100));
        tokio::task::yield_now().await;
    }
}
