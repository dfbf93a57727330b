//! A simulated station's doors: links and gossip in memory.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use tetryx_environment::Clock;
use tetryx_gossip::Gossip;
use tetryx_gossip::memory::{MemoryGossip, Mesh};
use tetryx_link::memory::MemoryLinks;
use tetryx_link::{Endpoint, Links};
use tetryx_node::config::Config;
use tetryx_node::host::Doors;
use tetryx_node::peers::{Advertisement, NodeRoster};
use tetryx_node::{NodeError, presence};
use tetryx_protocol::id::ClusterId;
use zeroize::Zeroizing;

/// What a station's doors are made of.
#[derive(Debug)]
pub(super) struct SimDoors {
    pub(super) links: Arc<MemoryLinks>,
    pub(super) mesh: Mesh,
    pub(super) gossip: Option<Arc<MemoryGossip>>,
    pub(super) key_seed: [u8; 32],
    pub(super) roster: Arc<NodeRoster>,
    pub(super) config: Config,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) name: String,
}

impl Doors for SimDoors {
    fn links(&self) -> Arc<dyn Links> {
        Arc::clone(&self.links) as _
    }

    fn endpoint(&self) -> Option<Endpoint> {
        None
    }

    fn is_open(&self) -> bool {
        true
    }

    fn open_gossip(&mut self, _cluster: ClusterId) -> BoxFuture<'_, Result<(), NodeError>> {
        async {
            if self.gossip.is_none() {
                let clock = Arc::clone(&self.clock);
                let joined = self.mesh.join(
                    Zeroizing::new(self.key_seed),
                    Arc::clone(&self.roster) as _,
                    presence::timing(&self.config),
                    Arc::new(move || clock.elapsed()),
                )?;
                self.gossip = Some(joined);
            }
            Ok(())
        }
        .boxed()
    }

    fn gossip(&self) -> Option<Arc<dyn Gossip>> {
        self.gossip.clone().map(|gossip| gossip as _)
    }

    fn advertised(&self) -> Advertisement {
        Advertisement {
            addresses: vec![format!("{}:4480", self.name)],
            gossip: vec![format!("{}:4481", self.name)],
            http_url: None,
        }
    }
}
