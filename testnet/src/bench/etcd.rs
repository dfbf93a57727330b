//! The peer that replicates records: three etcd nodes on loopback, each with a folder of its own.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::folders::{self, Temporary};
use crate::http::Http;
use crate::process::Running;

/// A cluster of etcd. Ends when dropped.
#[derive(Debug)]
pub(super) struct Etcd {
    nodes: Vec<Node>,
    _work: Temporary,
}

#[derive(Debug)]
struct Node {
    /// Nothing once it was killed.
    running: Option<Running>,
    clients: SocketAddr,
}

impl Etcd {
    /// Starts `count` nodes with the defaults of Debian, and waits until they take writes.
    pub(super) fn start(count: usize) -> Result<Self> {
        let work = folders::temporary("etcd-")?;
        let ports = free_ports(2 * count)?;
        let (clients, peers) = ports.split_at(count);
        let members: Vec<String> = peers
            .iter()
            .enumerate()
            .map(|(number, address)| format!("n{number}=http://{address}"))
            .collect();
        let mut nodes = Vec::new();
        for (number, (client, peer)) in clients.iter().zip(peers).enumerate() {
            let data: PathBuf = work.path().join(format!("n{number}"));
            let (client_url, peer_url) = (format!("http://{client}"), format!("http://{peer}"));
            let mut command = Command::new("etcd");
            command.args([
                "--name",
                &format!("n{number}"),
                "--log-level",
                "error",
                "--data-dir",
            ]);
            command.arg(&data);
            command.args([
                "--listen-client-urls",
                &client_url,
                "--advertise-client-urls",
                &client_url,
            ]);
            command.args([
                "--listen-peer-urls",
                &peer_url,
                "--initial-advertise-peer-urls",
                &peer_url,
            ]);
            command.args([
                "--initial-cluster-state",
                "new",
                "--initial-cluster",
                &members.join(","),
            ]);
            let running = Running::start(command).context("testnet/setup.sh installs etcd-server")?;
            nodes.push(Node {
                running: Some(running),
                clients: *client,
            });
        }
        let etcd = Self { nodes, _work: work };
        for node in &etcd.nodes {
            etcd.wait_healthy(node.clients)?;
        }
        Ok(etcd)
    }

    /// etcd does not say when it is ready: ask until it does, as often as its start can take.
    fn wait_healthy(&self, client: SocketAddr) -> Result<()> {
        let http = Http::new(&format!("http://{client}"), None);
        for _ in 0..1_000_000 {
            if http
                .get_json("/health")
                .is_ok_and(|health| health["health"] == "true")
            {
                return Ok(());
            }
            std::thread::yield_now();
        }
        let printed: String = self
            .nodes
            .iter()
            .filter_map(|node| node.running.as_ref())
            .map(Running::printed)
            .collect();
        bail!("etcd does not become healthy:\n{printed}")
    }

    /// Where clients of the nodes that run connect.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        let running = self.nodes.iter().filter(|node| node.running.is_some());
        running.map(|node| node.clients).collect()
    }

    /// Kills the leader, and returns where it was.
    pub(super) fn kill_leader(&mut self) -> Result<SocketAddr> {
        for node in &mut self.nodes {
            let http = Http::new(&format!("http://{}", node.clients), None);
            let status = http
                .post_json("/v3/maintenance/status", &serde_json::json!({}))?
                .ok()?
                .json()?;
            if status["leader"].is_string() && status["leader"] == status["header"]["member_id"] {
                let mut running = node.running.take().context("the leader was killed before")?;
                running.kill()?;
                return Ok(node.clients);
            }
        }
        bail!("no node of etcd leads")
    }
}

/// Ports that are free at this moment; etcd binds by number.
fn free_ports(count: usize) -> Result<Vec<SocketAddr>> {
    let held: Vec<_> = (0..count)
        .map(|_| TcpListener::bind(("127.0.0.1", 0)))
        .collect::<Result<_, _>>()?;
    held.iter().map(|socket| Ok(socket.local_addr()?)).collect()
}
