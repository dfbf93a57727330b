//! What the configuration says about other nodes: where this one is reached, the links, and the copies.

use std::fmt;
use std::net::{Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Zone;

/// The UDP port for data and control.
pub const P2P_PORT: u16 = 4480;
/// The UDP port for gossip.
pub const GOSSIP_PORT: u16 = 4481;

/// Links to other nodes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct P2p {
    /// Where other nodes reach this one for data and control (UDP). Port 0 takes any free port.
    pub listen: SocketAddr,
    /// Where they reach it for gossip (UDP). Port 0 takes any free port.
    pub gossip_listen: SocketAddr,
    /// What other nodes are told to dial; the addresses of the machine when empty.
    pub advertise: Vec<Advertised>,
    /// Whether members on the local network are looked for.
    pub mdns: bool,
    /// What each link carries, where `links` says nothing else.
    pub rate: Option<Rate>,
    /// The round trip of each link, where `links` says nothing else.
    #[serde(with = "humantime_serde::option")]
    pub rtt: Option<Duration>,
    /// Links that differ: the first entry that fits a node counts.
    pub links: Vec<LinkOverride>,
}

/// What is known about the links to some nodes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LinkOverride {
    /// The node's name or id; every node when unset.
    pub node: Option<String>,
    /// The node's zone; every zone when unset.
    pub zone: Option<Zone>,
    /// What the link carries.
    pub rate: Option<Rate>,
    /// Its round trip.
    #[serde(with = "humantime_serde::option")]
    pub rtt: Option<Duration>,
}

/// Copies of what is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Replication {
    /// How many nodes hold a NAR, where its cache says nothing else.
    pub copies: u8,
    /// How many nodes hold a NAR before its upload is acknowledged; as many as there are, if there are fewer.
    pub write_replicas: u8,
    /// This node's share of the copies, relative to the other nodes' weights.
    pub weight: u32,
    /// What copying in the background may take of one link; everything when unset.
    pub background_rate: Option<Rate>,
    /// How long chunks are kept for an upload at another node that is not committed.
    #[serde(with = "humantime_serde")]
    pub hold_ttl: Duration,
    /// How long a holder may be away before its copies are made elsewhere.
    #[serde(with = "humantime_serde")]
    pub repair_after: Duration,
    /// How long a copy that this node need not hold is kept after it was last read here.
    #[serde(with = "humantime_serde")]
    pub keep_surplus: Duration,
}

impl Default for P2p {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv6Addr::UNSPECIFIED, P2P_PORT)),
            gossip_listen: SocketAddr::from((Ipv6Addr::UNSPECIFIED, GOSSIP_PORT)),
            advertise: Vec::new(),
            mdns: true,
            rate: None,
            rtt: None,
            links: Vec::new(),
        }
    }
}

impl Default for Replication {
    fn default() -> Self {
        Self {
            copies: 3,
            write_replicas: 2,
            weight: 100,
            background_rate: None,
            hold_ttl: Duration::from_secs(10 * 60),
            repair_after: Duration::from_secs(10 * 60),
            keep_surplus: Duration::from_secs(24 * 60 * 60),
        }
    }
}

/// A host that other nodes are told to dial, with or without a port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Advertised {
    /// A host name or an IP address, without brackets.
    host: String,
    port: Option<u16>,
}

impl Advertised {
    /// `host:port`, with this port unless the entry names one.
    pub fn with_default_port(&self, port: u16) -> String {
        self.at(self.port.unwrap_or(port))
    }

    /// `host:port`, whatever port the entry names.
    pub fn at(&self, port: u16) -> String {
        if self.host.contains(':') {
            format!("[{}]:{port}", self.host)
        } else {
            format!("{}:{port}", self.host)
        }
    }
}

impl FromStr for Advertised {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = || {
            format!(
                "{text:?} is not an address; write a host or host:port, such as \"192.0.2.1\" or \"[2001:db8::1]:4480\""
            )
        };
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            let (host, rest) = rest.split_once(']').ok_or_else(refuse)?;
            host.parse::<Ipv6Addr>().map_err(|_| refuse())?;
            match rest.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if rest.is_empty() => (host, None),
                None => return Err(refuse()),
            }
        } else if text.parse::<Ipv6Addr>().is_ok() {
            (text, None)
        } else {
            match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            }
        };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'_');
        if host.is_empty() || host.len() > 253 || !host.bytes().all(plain) {
            return Err(refuse());
        }
        let port = match port {
            None => None,
            Some(port) => match port.parse() {
                Ok(0) | Err(_) => return Err(refuse()),
                Ok(port) => Some(port),
            },
        };
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for Advertised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => f.write_str(&self.at(port)),
            None => f.write_str(&self.host),
        }
    }
}

impl TryFrom<String> for Advertised {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Advertised> for String {
    fn from(advertised: Advertised) -> Self {
        advertised.to_string()
    }
}

/// What a link carries, written like `10 Mbit/s`. In bits per second, decimal prefixes, as links are sold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Rate(u64);

const RATE_UNITS: [(&str, u64); 4] = [
    ("Gbit/s", 1_000_000_000),
    ("Mbit/s", 1_000_000),
    ("kbit/s", 1_000),
    ("bit/s", 1),
];

impl Rate {
    /// Wraps bits per second.
    pub const fn from_bits_per_second(bits: u64) -> Self {
        Self(bits)
    }

    pub const fn bits_per_second(self) -> u64 {
        self.0
    }

    pub const fn bytes_per_second(self) -> u64 {
        self.0 / 8
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = || format!("{text:?} is not a rate; write a number and a unit, such as \"10 Mbit/s\"");
        let trimmed = text.trim();
        let (number, factor) = RATE_UNITS
            .iter()
            .find_map(|(unit, factor)| Some((trimmed.strip_suffix(unit)?, *factor)))
            .ok_or_else(refuse)?;
        let number: f64 = number.trim().parse().map_err(|_| refuse())?;
        #[expect(clippy::cast_precision_loss, reason = "no unit has more than 30 bits")]
        let bits = number * factor as f64;
        // The slowest link that can carry the log at all, and more than any there is.
        if !(1_000.0..=1e15).contains(&bits) {
            return Err(format!("{text:?} is outside of 1 kbit/s to 1000000 Gbit/s"));
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "within the bounds just checked"
        )]
        Ok(Self(bits.round() as u64))
    }
}

/// Exact: the largest unit that divides the rate.
impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, factor) = RATE_UNITS
            .iter()
            .find(|(_, factor)| self.0.is_multiple_of(*factor))
            .expect("1 divides every rate");
        write!(f, "{} {unit}", self.0 / factor)
    }
}

impl TryFrom<String> for Rate {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Rate> for String {
    fn from(rate: Rate) -> Self {
        rate.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_as_links_are_sold() {
        for (text, bits) in [
            ("10 Mbit/s", 10_000_000),
            ("1.5Gbit/s", 1_500_000_000),
            ("64 kbit/s", 64_000),
        ] {
            assert_eq!(text.parse::<Rate>().unwrap().bits_per_second(), bits, "{text}");
        }
        assert_eq!("10 Mbit/s".parse::<Rate>().unwrap().to_string(), "10 Mbit/s");
        for text in [
            "",
            "10",
            "10 MB/s",
            "-1 Mbit/s",
            "0 Mbit/s",
            "nan Mbit/s",
            "1e30 Gbit/s",
        ] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
    }

    #[test]
    fn advertised_hosts_take_the_port_that_is_listened_on() {
        for (text, dialled) in [
            ("192.0.2.1", "192.0.2.1:4480"),
            ("192.0.2.1:5000", "192.0.2.1:5000"),
            ("2001:db8::1", "[2001:db8::1]:4480"),
            ("[2001:db8::1]", "[2001:db8::1]:4480"),
            ("[2001:db8::1]:5000", "[2001:db8::1]:5000"),
            ("station.example.org", "station.example.org:4480"),
        ] {
            let advertised: Advertised = text.parse().unwrap();
            assert_eq!(advertised.with_default_port(4480), dialled);
            assert_eq!(advertised.to_string().parse::<Advertised>().unwrap(), advertised);
        }
        for text in ["", ":4480", "a:b", "a:0", "[::1", "[x]:1", "a b", "http://x"] {
            assert!(text.parse::<Advertised>().is_err(), "{text}");
        }
    }
}
