//! All links between the stations, and the packets under way on them. Knows no clock and no device.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::Ipv4Addr;
use std::time::Duration;

use super::link::{Counts, Fate, Link, LinkSettings};

/// A station by its place in the list that the switchboard was made with, from 0.
pub type Station = usize;

/// Where an IPv4 header says that a packet goes; nothing for anything else.
fn destination(packet: &[u8]) -> Option<Ipv4Addr> {
    let is_ipv4 = packet.first()? >> 4 == 4 && packet.len() >= 20;
    let address: [u8; 4] = packet.get(16..20)?.try_into().ok()?;
    is_ipv4.then(|| Ipv4Addr::from(address))
}

/// The links between stations.
#[derive(Debug)]
pub struct Switchboard {
    stations: BTreeMap<Ipv4Addr, Station>,
    /// By sender and receiver.
    links: BTreeMap<(Station, Station), Link>,
    under_way: BinaryHeap<Reverse<UnderWay>>,
    /// Packets that were accepted so far: keeps those of one moment in order.
    accepted: u64,
}

#[derive(Debug, Eq, Ord, PartialEq, PartialOrd)]
struct UnderWay {
    arrives: Duration,
    accepted: u64,
    to: Station,
    packet: Vec<u8>,
}

impl Switchboard {
    /// Wires between all of these stations.
    pub fn new(stations: &[Ipv4Addr], seed: u64) -> Self {
        let places = 0..stations.len();
        let pairs = places
            .clone()
            .flat_map(|from| places.clone().map(move |to| (from, to)));
        let links = pairs.filter(|(from, to)| from != to).map(|(from, to)| {
            let own = (seed ^ ((from as u64) << 32) ^ to as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            ((from, to), Link::new(LinkSettings::default(), own))
        });
        Self {
            stations: stations.iter().copied().zip(0..).collect(),
            links: links.collect(),
            under_way: BinaryHeap::new(),
            accepted: 0,
        }
    }

    /// How many stations there are.
    pub fn len(&self) -> usize {
        self.stations.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.stations.is_empty()
    }

    /// The link from a station to another; none to itself.
    pub fn link(&mut self, from: Station, to: Station) -> Option<&mut Link> {
        self.links.get_mut(&(from, to))
    }

    /// Both directions of every link that a station has.
    pub fn links_of(&mut self, station: Station) -> impl Iterator<Item = &mut Link> {
        let mine = move |(from, to): &(Station, Station)| *from == station || *to == station;
        self.links
            .iter_mut()
            .filter_map(move |(ends, link)| mine(ends).then_some(link))
    }

    /// Every link.
    pub fn links(&mut self) -> impl Iterator<Item = &mut Link> {
        self.links.values_mut()
    }

    /// What became of the packets of a link.
    pub fn counts(&self, from: Station, to: Station) -> Counts {
        self.links.get(&(from, to)).map(Link::counts).unwrap_or_default()
    }

    /// Takes a packet that a station sends now. Returns whether it is under way.
    pub fn offer(&mut self, now: Duration, from: Station, packet: &[u8]) -> bool {
        let to = destination(packet).and_then(|address| self.stations.get(&address).copied());
        let Some(to) = to else { return false };
        let Some(link) = self.links.get_mut(&(from, to)) else {
            return false;
        };
        let Fate::Arrives(arrives) = link.offer(now, packet.len()) else {
            return false;
        };
        self.accepted += 1;
        self.under_way.push(Reverse(UnderWay {
            arrives,
            accepted: self.accepted,
            to,
            packet: packet.to_owned(),
        }));
        true
    }

    /// When the next packet arrives.
    pub fn next_arrival(&self) -> Option<Duration> {
        self.under_way.peek().map(|Reverse(next)| next.arrives)
    }

    /// The next packet that has arrived by now, and where.
    pub fn arrived(&mut self, now: Duration) -> Option<(Station, Vec<u8>)> {
        self.next_arrival().filter(|at| *at <= now)?;
        self.under_way.pop().map(|Reverse(next)| (next.to, next.packet))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATIONS: [Ipv4Addr; 3] = [
        Ipv4Addr::new(10, 0, 0, 1),
        Ipv4Addr::new(10, 0, 0, 2),
        Ipv4Addr::new(10, 0, 0, 3),
    ];

    fn packet(to: Ipv4Addr, content: u8) -> Vec<u8> {
        let mut packet = vec![0; 20];
        packet[0] = 0x45;
        packet[16..20].copy_from_slice(&to.octets());
        packet.push(content);
        packet
    }

    fn board() -> Switchboard {
        Switchboard::new(&STATIONS, 1)
    }

    #[test]
    fn a_packet_goes_where_its_header_says_once_it_is_due() {
        let mut board = board();
        let delay = Duration::from_millis(30);
        board.link(0, 2).unwrap().change(|link| link.delay = delay);
        assert!(board.offer(Duration::ZERO, 0, &packet(STATIONS[2], 1)));
        assert!(board.offer(Duration::ZERO, 0, &packet(STATIONS[1], 2)));
        let now = |board: &mut Switchboard, at| board.arrived(at).map(|(to, packet)| (to, packet[20]));
        assert_eq!(now(&mut board, Duration::ZERO), Some((1, 2)));
        assert_eq!(now(&mut board, delay - Duration::from_nanos(1)), None);
        assert_eq!(board.next_arrival(), Some(delay));
        assert_eq!(now(&mut board, delay), Some((2, 1)));
    }

    #[test]
    fn packets_of_one_moment_arrive_in_the_order_they_were_sent() {
        let mut board = board();
        for content in 0..100 {
            board.offer(Duration::ZERO, 0, &packet(STATIONS[1], content));
        }
        let got: Vec<_> = std::iter::from_fn(|| board.arrived(Duration::ZERO))
            .map(|(_, packet)| packet[20])
            .collect();
        assert!(got.is_sorted() && got.len() == 100);
    }

    #[test]
    fn a_cut_is_one_way() {
        let mut board = board();
        board.link(0, 1).unwrap().change(|link| link.cut = true);
        assert!(!board.offer(Duration::ZERO, 0, &packet(STATIONS[1], 0)));
        assert!(board.offer(Duration::ZERO, 1, &packet(STATIONS[0], 0)));
        assert!(board.offer(Duration::ZERO, 0, &packet(STATIONS[2], 0)));
        assert_eq!((board.counts(0, 1).dark, board.counts(1, 0).dark), (1, 0));
    }

    #[test]
    fn a_station_has_both_directions_of_its_links_and_no_others() {
        let mut board = board();
        for link in board.links_of(2) {
            link.change(|link| link.cut = true);
        }
        let mut passes =
            |from: Station, to: usize| board.offer(Duration::ZERO, from, &packet(STATIONS[to], 0));
        assert!(passes(0, 1) && passes(1, 0));
        assert!(!passes(0, 2) && !passes(2, 1));
    }

    #[test]
    fn what_is_not_for_a_station_goes_nowhere() {
        let mut board = board();
        for strange in [
            packet(Ipv4Addr::new(10, 0, 0, 9), 0),
            packet(STATIONS[0], 0),
            vec![0x45; 10],
            vec![0x60; 40],
            Vec::new(),
        ] {
            assert!(!board.offer(Duration::ZERO, 0, &strange), "{strange:?}");
        }
        assert_eq!(board.next_arrival(), None);
    }
}
