//! The network of a run: a host for each station, the links between them, and the operator's side.
//!
//! Every host is a network namespace (and a mount namespace, for disks of its own) with two interfaces: `space`, the
//! emulated link to the other stations, and `desk`, a plain wire to whoever operates the testnet, over which nothing
//! is ever lost: the harness, `tetryx-cli` and Nix come that way. Stations do not reach each other over `desk`.
//!
//! On the loopback footing all hosts are this machine, and there is nothing to emulate.

use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};

use crate::emulator::{Emulator, tun};
use crate::enclosure::Footing;
use crate::namespace::Namespace;

/// Hosts in a network: their addresses have room for so many.
const HOSTS_MAX: usize = 200;

/// Where a station runs.
#[derive(Clone, Debug)]
pub struct Host {
    /// The namespaces; nothing: those of this program.
    pub namespace: Option<Arc<Namespace>>,
    /// Its address for operators and Nix.
    pub desk: Ipv4Addr,
    /// Its address for other stations.
    pub space: Ipv4Addr,
}

/// Hosts and what is between them.
#[derive(Debug)]
pub struct Net {
    // Before the hosts: it holds devices in their namespaces.
    emulator: Option<Emulator>,
    hosts: Vec<Host>,
}

impl Net {
    /// So many hosts, with wires between them all.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn new(hosts: usize, footing: Footing, seed: u64) -> Result<Self> {
        ensure!(hosts <= HOSTS_MAX, "a testnet has room for {HOSTS_MAX} stations");
        if footing == Footing::Loopback {
            let here = Host {
                namespace: None,
                desk: Ipv4Addr::LOCALHOST,
                space: Ipv4Addr::LOCALHOST,
            };
            return Ok(Self {
                emulator: None,
                hosts: vec![here; hosts],
            });
        }
        // Nothing is passed on between the operator's wires.
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "0").context("cannot switch off forwarding")?;
        tun::ip(Command::new("ip"), "link set lo up\n")?;
        let (mut list, mut devices) = (Vec::new(), Vec::new());
        for number in 1..=u8::try_from(hosts).context("a host's number")? {
            let namespace = Arc::new(Namespace::with_network().with_context(|| format!("host {number}"))?);
            let host = Host {
                desk: Ipv4Addr::new(10, 99, number, 2),
                space: Ipv4Addr::new(10, 77, 0, number),
                namespace: Some(Arc::clone(&namespace)),
            };
            tun::ip(
                Command::new("ip"),
                &format!(
                    "link add desk{number} type veth peer name desk netns {}\n\
                     address add 10.99.{number}.1/24 dev desk{number}\n\
                     link set desk{number} up\n",
                    namespace.holder()
                ),
            )?;
            let device = tun::open(&namespace.network())?;
            tun::ip(
                namespace.command("ip"),
                &format!(
                    "link set lo up\naddress add {}/24 dev desk\nlink set desk up\n{}",
                    host.desk,
                    tun::address_lines(host.space)
                ),
            )?;
            devices.push((device, host.space));
            list.push(host);
        }
        Ok(Self {
            emulator: Some(Emulator::start(devices, seed)?),
            hosts: list,
        })
    }

    /// The hosts.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// The links, where they are emulated.
    pub fn emulator(&self) -> Option<&Emulator> {
        self.emulator.as_ref()
    }
}
