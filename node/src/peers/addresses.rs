//! What this node tells others to dial.

use std::net::{IpAddr, SocketAddr};

use crate::config::Config;

/// Where this node says it can be reached, best first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Advertisement {
    /// Data and control, `host:port`.
    pub addresses: Vec<String>,
    /// Gossip, `host:port`.
    pub gossip: Vec<String>,
    /// Where clients reach it.
    pub http_url: Option<String>,
}

/// More are not told: the roster travels with every join.
const ADDRESSES_MAX: usize = 8;

/// What to advertise, given the addresses that are listened on, ports included: what the configuration says; else
/// the address listened on; else, when that is "all of them", those of the machine's interfaces.
pub fn advertise(config: &Config, p2p: SocketAddr, gossip: SocketAddr) -> Advertisement {
    advertise_of(config, p2p, gossip, interface_addresses)
}

fn advertise_of(
    config: &Config,
    p2p: SocketAddr,
    gossip: SocketAddr,
    interfaces: impl Fn() -> Vec<IpAddr>,
) -> Advertisement {
    let configured = &config.p2p.advertise;
    let hosts_of = |listened: IpAddr| {
        if listened.is_unspecified() {
            interfaces()
                .into_iter()
                .filter(|address| listened.is_ipv6() || address.is_ipv4())
                .take(ADDRESSES_MAX)
                .collect()
        } else {
            vec![listened]
        }
    };
    let dialled = |listened: SocketAddr| -> Vec<String> {
        hosts_of(listened.ip())
            .into_iter()
            .map(|host| SocketAddr::new(host, listened.port()).to_string())
            .collect()
    };
    let http = config.http.listen;
    let http_url = config.http.public_url.clone().or_else(|| {
        let host = match configured.first() {
            Some(first) if http.ip().is_unspecified() => first.at(http.port()),
            _ => SocketAddr::new(*hosts_of(http.ip()).first()?, http.port()).to_string(),
        };
        Some(format!("http://{host}"))
    });
    if configured.is_empty() {
        return Advertisement {
            addresses: dialled(p2p),
            gossip: dialled(gossip),
            http_url,
        };
    }
    Advertisement {
        addresses: configured
            .iter()
            .map(|host| host.with_default_port(p2p.port()))
            .collect(),
        gossip: configured.iter().map(|host| host.at(gossip.port())).collect(),
        http_url,
    }
}

/// The addresses of this machine that others may reach: global before private, loopback only when there is no other.
fn interface_addresses() -> Vec<IpAddr> {
    let mut addresses: Vec<IpAddr> = match if_addrs::get_if_addrs() {
        Ok(interfaces) => interfaces.iter().map(if_addrs::Interface::ip).collect(),
        Err(error) => {
            tracing::warn!(%error, "cannot list the addresses of this machine; set p2p.advertise");
            Vec::new()
        }
    };
    addresses.retain(|address| !is_link_local(address));
    addresses.sort_by_key(rank);
    addresses.dedup();
    if addresses.iter().any(|address| !address.is_loopback()) {
        addresses.retain(|address| !address.is_loopback());
    }
    addresses
}

/// Needs the name of an interface to be dialled, which means nothing elsewhere.
fn is_link_local(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

fn rank(address: &IpAddr) -> (u8, IpAddr) {
    let private = match address {
        IpAddr::V4(v4) => v4.is_private(),
        IpAddr::V6(v6) => v6.is_unique_local(),
    };
    let class = match (address.is_loopback(), private) {
        (true, _) => 2,
        (false, true) => 1,
        (false, false) => 0,
    };
    (class, *address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(change: impl FnOnce(&mut Config)) -> Config {
        let mut config = Config::default();
        change(&mut config);
        config
    }

    fn listened(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn two_interfaces() -> Vec<IpAddr> {
        vec!["192.0.2.7".parse().unwrap(), "2001:db8::7".parse().unwrap()]
    }

    #[test]
    fn an_address_that_is_listened_on_is_advertised() {
        let told = advertise_of(
            &config(|config| config.http.listen = listened("127.0.0.1:8080")),
            listened("127.0.0.1:5000"),
            listened("127.0.0.1:5001"),
            two_interfaces,
        );
        assert_eq!(told.addresses, ["127.0.0.1:5000"]);
        assert_eq!(told.gossip, ["127.0.0.1:5001"]);
        assert_eq!(told.http_url.as_deref(), Some("http://127.0.0.1:8080"));
    }

    #[test]
    fn listening_everywhere_advertises_the_interfaces() {
        let told = advertise_of(
            &config(|_| ()),
            listened("[::]:4480"),
            listened("0.0.0.0:4481"),
            two_interfaces,
        );
        assert_eq!(told.addresses, ["192.0.2.7:4480", "[2001:db8::7]:4480"]);
        assert_eq!(told.gossip, ["192.0.2.7:4481"]);
        assert_eq!(told.http_url.as_deref(), Some("http://192.0.2.7:8080"));
    }

    #[test]
    fn what_is_configured_goes_before_what_is_found() {
        let told = advertise_of(
            &config(|config| {
                config.p2p.advertise = vec!["station.example.org:7000".parse().unwrap()];
                config.http.public_url = Some("https://cache.example.org".to_owned());
            }),
            listened("[::]:4480"),
            listened("[::]:4481"),
            two_interfaces,
        );
        assert_eq!(told.addresses, ["station.example.org:7000"]);
        assert_eq!(told.gossip, ["station.example.org:4481"]);
        assert_eq!(told.http_url.as_deref(), Some("https://cache.example.org"));
    }

    #[test]
    fn global_addresses_come_before_private_ones() {
        let mut addresses: Vec<IpAddr> = ["127.0.0.1", "10.0.0.1", "2001:db8::1", "198.51.100.1"]
            .map(|text| text.parse().unwrap())
            .to_vec();
        addresses.sort_by_key(rank);
        assert_eq!(
            addresses.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["198.51.100.1", "2001:db8::1", "10.0.0.1", "127.0.0.1"]
        );
    }
}
