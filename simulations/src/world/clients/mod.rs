//! Those who use the cluster: they push, pull, pin, configure, revoke, delete and operate, at any station, whatever its state,
//! and tell the oracle what they were promised.
//!
//! # Invariants
//! - Each client draws from its own stream of chance, so one that is added changes nothing about the others.
//! - A client that has sent something hears of it, or gives up after two minutes: nobody waits for ever.
//! - What is promised is judged by log index, not by time: a station that has applied the promise keeps it.

mod configurer;
mod deleter;
mod holder;
mod keeper;
mod look;
mod operator;
mod outbox;
mod puller;
mod pusher;
mod setting;
mod talk;
mod verify;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use self::setting::Setting;
use self::talk::Client;
use super::{Promise, World};

/// How long the last client may take to go home: a station that shall join tries for a while.
const HOME_WITHIN: Duration = Duration::from_secs(60 * 60);

/// The clients of a world.
#[derive(Debug)]
pub(crate) struct Clients {
    setting: Arc<Setting>,
    tasks: JoinSet<()>,
}

impl Clients {
    /// Prepares what they need, in a world without faults yet.
    ///
    /// # Errors
    /// In words, when the cluster does not do the first few things it is asked for.
    pub(crate) async fn prepare(world: &World) -> Result<Self, String> {
        Ok(Self {
            setting: Arc::new(Setting::prepare(world).await?),
            tasks: JoinSet::new(),
        })
    }

    /// Lets them begin. They go home at the calm.
    pub(crate) fn begin(&mut self, world: &World) {
        self.several(world, "pusher", 3, pusher::run);
        self.several(world, "puller", 2, puller::run);
        self.several(world, "configurer", 2, configurer::run);
        self.several(world, "holder", 2, holder::run);
        self.several(world, "deleter", 1, deleter::run);
        self.several(world, "keeper", 1, keeper::run);
        self.several(world, "outbox", 1, outbox::run);
        self.several(world, "operator", 1, operator::run);
        self.several(world, "membership", 1, operator::run_membership);
    }

    fn several<F>(&mut self, world: &World, what: &str, count: usize, run: fn(Client) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        for number in 0..count {
            let client = Client::new(world, &self.setting, format!("{what} {number}"));
            self.tasks.spawn(run(client));
        }
    }

    /// Resolves when all of them have gone home.
    pub(crate) async fn finished(&mut self, world: &World) {
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(HOME_WITHIN, all).await.is_err() {
            let why = "a client still waits for an answer long after the trouble".to_owned();
            world.violated(Promise::Converges, why);
        }
    }

    /// Asks every station about everything that was promised. The cluster is at rest.
    pub(crate) async fn verify(&self, world: &World) {
        verify::verify(world, &self.setting).await;
    }
}
