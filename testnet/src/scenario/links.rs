//! The emulator against real sockets of the kernel: that a link does what it is told is what all other scenarios
//! stand on.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};

use super::Story;
use crate::clock::Stopwatch;
use crate::emulator::{Calendar, Emulator, LinkSettings, Profile, tun};
use crate::net::{Host, Net};
use crate::process::DEADLINE;

/// Long enough for a packet that comes at all to have come, on an idle link without delay.
const SILENCE: Duration = Duration::from_millis(300);

pub(super) fn run(story: &Story) -> Result<()> {
    story.given("three hosts with wires between them")?;
    let net = Net::new(3, story.footing, story.seed)?;
    let emulator = net.emulator().context("links are emulated")?;
    let here = Socket::on(&net.hosts()[0])?;
    let there = Socket::on(&net.hosts()[1])?;
    let third = Socket::on(&net.hosts()[2])?;

    story.then(
        "packets pass both ways, and their bytes are what they were",
        || {
            for (from, to) in [
                (&here, &there),
                (&there, &here),
                (&here, &third),
                (&third, &there),
            ] {
                ensure!(from.reaches(to)?, "nothing came from {from:?} to {to:?}");
            }
            Ok(())
        },
    )?;

    story.when("a link gets 40 ms one way and 110 ms the other")?;
    let late = |milliseconds| LinkSettings {
        delay: Duration::from_millis(milliseconds),
        ..LinkSettings::default()
    };
    emulator.set(0, 1, late(40));
    emulator.set(1, 0, late(110));
    story.then("a round trip takes at least 150 ms, and hardly more", || {
        let took = here.round_trip(&there)?;
        ensure!(took >= Duration::from_millis(150), "{took:?}");
        // A busy machine may be late; a link that is late by as much again is wrong.
        ensure!(took < Duration::from_millis(300), "{took:?}");
        Ok(())
    })?;
    emulator.set_all(Profile::Lan);

    story.when("one direction of a link is cut")?;
    emulator.cut(0, 1, true);
    story.then("nothing passes that way, and everything the other way", || {
        ensure!(!here.reaches(&there)?, "a packet passed a cut");
        ensure!(there.reaches(&here)?, "the other direction is cut too");
        ensure!(here.reaches(&third)?, "another link is cut too");
        ensure!(emulator.counts(0, 1).dark >= 1);
        Ok(())
    })?;
    story.when("it is healed")?;
    emulator.heal();
    story.then("packets pass again", || {
        ensure!(here.reaches(&there)?);
        Ok(())
    })?;

    story.when("a station's links are dark by calendar, half a second in every second")?;
    let half = Duration::from_millis(500);
    emulator.plan_blackouts(2, &Calendar::new([(half, half * 2)]).every(half * 2));
    story.then(
        "what is sent in the dark is lost, and what is sent in the light arrives",
        || blackout(emulator, &here, &third),
    )?;
    emulator.plan_blackouts(2, &Calendar::default());

    story.when("every tenth packet is lost")?;
    emulator.set(
        0,
        1,
        LinkSettings {
            loss: 0.1,
            ..LinkSettings::default()
        },
    );
    story.then(
        "about so many of 5,000 are missing, and the others are whole",
        || {
            let got = here.flood(&there, 5_000)?;
            ensure!((4_300..=4_700).contains(&got), "{got} of 5,000 came");
            Ok(())
        },
    )?;

    for (rate, bytes) in [(20_000_000_u64, 2 << 20), (100_000_000, 8 << 20)] {
        let megabits = rate / 1_000_000;
        story.when(&format!("a link has {megabits} Mbit/s"))?;
        emulator.set(
            0,
            1,
            LinkSettings {
                rate: Some(rate),
                ..LinkSettings::default()
            },
        );
        story.then(
            &format!("TCP gets most of {megabits} Mbit/s, and no more"),
            || {
                let got = copy(&net.hosts()[0], &net.hosts()[1], bytes)?;
                story.note(&format!("{:.1} Mbit/s", got / 1e6))?;
                let asked = u32::try_from(rate).map(f64::from).context("a rate")?;
                ensure!(got < asked * 1.05, "{got} bit/s");
                ensure!(got > asked * 0.5, "{got} bit/s");
                Ok(())
            },
        )?;
    }
    story.when("the wires have no limits")?;
    emulator.set_all(Profile::Lan);
    story.then("TCP copies 32 MiB whole", || {
        let got = copy(&net.hosts()[0], &net.hosts()[1], 32 << 20)?;
        story.note(&format!("{:.0} Mbit/s: the speed of the router", got / 1e6))
    })
}

/// A UDP socket of a host.
#[derive(Debug)]
struct Socket {
    socket: UdpSocket,
    address: SocketAddr,
}

impl Socket {
    fn on(host: &Host) -> Result<Self> {
        let socket = inside(host, || {
            UdpSocket::bind((host.space, 0)).context("cannot open a UDP port")
        })?;
        let address = socket.local_addr().context("cannot tell a port")?;
        Ok(Self { socket, address })
    }

    fn send(&self, to: &Self, text: &[u8]) -> Result<()> {
        self.socket
            .send_to(text, to.address)
            .with_context(|| format!("cannot send to {}", to.address))?;
        Ok(())
    }

    /// What comes within a time, if anything does.
    fn hear(&self, within: Duration) -> Result<Option<Vec<u8>>> {
        self.socket
            .set_read_timeout(Some(within))
            .context("cannot set a timeout")?;
        let mut buffer = [0; 2_048];
        match self.socket.recv(&mut buffer) {
            Ok(length) => Ok(Some(buffer[..length].to_owned())),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(None),
            Err(error) => Err(error).context("cannot receive"),
        }
    }

    /// Whether a packet of an unusual length comes there as it was sent.
    fn reaches(&self, to: &Self) -> Result<bool> {
        let text: Vec<u8> = (0..=255).cycle().take(1_307).collect();
        self.send(to, &text)?;
        let heard = to.hear(SILENCE)?;
        ensure!(
            heard.as_ref().is_none_or(|heard| *heard == text),
            "something else came than was sent"
        );
        Ok(heard.is_some())
    }

    fn round_trip(&self, to: &Self) -> Result<Duration> {
        let clock = Stopwatch::start();
        self.send(to, b"there")?;
        to.hear(DEADLINE)?.context("nothing came there")?;
        to.send(self, b"and back")?;
        self.hear(DEADLINE)?.context("nothing came back")?;
        Ok(clock.elapsed())
    }

    /// Sends packets as fast as they are taken; how many come, all of them as they were sent.
    fn flood(&self, to: &Self, packets: u32) -> Result<usize> {
        let mut got = 0;
        // In small lots: a socket drops what its receiver does not take in time, which is no loss of the link.
        for lot in (0..packets).collect::<Vec<_>>().chunks(50) {
            for number in lot {
                self.send(to, &number.to_be_bytes())?;
            }
            self.send(to, b"end of lot")?;
            while let Some(heard) = to.hear(SILENCE)? {
                if heard == b"end of lot" {
                    break;
                }
                let number: [u8; 4] = heard.try_into().map_err(|_| anyhow!("a strange packet"))?;
                ensure!(
                    lot.contains(&u32::from_be_bytes(number)),
                    "a packet of another lot"
                );
                got += 1;
            }
        }
        Ok(got)
    }
}

/// Sends through three whole periods; every packet's fate must be the calendar's.
fn blackout(emulator: &Emulator, from: &Socket, to: &Socket) -> Result<()> {
    let (mut light, mut dark) = (0, 0);
    let start = emulator.elapsed();
    while emulator.elapsed() < start + Duration::from_secs(3) {
        let before = emulator.elapsed();
        from.send(to, b"light?")?;
        let came = to.hear(Duration::from_millis(100))?.is_some();
        // The moment of sending is known to within this much.
        let (first, last) = (before.as_millis() % 1_000, (before.as_millis() + 50) % 1_000);
        if (500..=950).contains(&first) && last >= 500 {
            ensure!(
                !came,
                "a packet sent in the dark came, {first} ms into the second"
            );
            dark += 1;
        } else if first < 450 {
            ensure!(
                came,
                "a packet sent in the light was lost, {first} ms into the second"
            );
            light += 1;
        }
    }
    ensure!(light > 0 && dark > 0, "{light} in the light, {dark} in the dark");
    Ok(())
}

/// Copies bytes by TCP; bits in a second, as the receiver sees them.
fn copy(from: &Host, to: &Host, bytes: usize) -> Result<f64> {
    let listener = inside(to, || {
        TcpListener::bind((to.space, 0)).context("cannot open a TCP port")
    })?;
    let address = listener.local_addr().context("cannot tell a port")?;
    let stream = inside(from, || TcpStream::connect(address).context("cannot connect"))?;
    let (mut received, peer) = listener.accept().context("cannot accept")?;
    ensure!(peer.ip() == from.space, "the connection comes from {peer}");
    ensure!(from.space != Ipv4Addr::LOCALHOST);
    let pattern = |at: usize| u8::try_from(at % 251).unwrap_or_default();
    let sent: Vec<u8> = (0..bytes).map(pattern).collect();
    let clock = Stopwatch::start();
    thread::scope(|scope| {
        let sender = scope.spawn(move || {
            let mut stream = stream;
            stream.write_all(&sent)
        });
        let mut got = Vec::with_capacity(bytes);
        received.read_to_end(&mut got).context("cannot receive")?;
        let seconds = clock.seconds();
        sender
            .join()
            .map_err(|_| anyhow!("the sender panicked"))?
            .context("cannot send")?;
        ensure!(got.len() == bytes, "{} of {bytes} bytes came", got.len());
        ensure!(
            got.iter().enumerate().all(|(at, byte)| *byte == pattern(at)),
            "other bytes came than were sent"
        );
        let bits = u32::try_from(bytes).map(f64::from).context("a length")? * 8.0;
        Ok(bits / seconds)
    })
}

fn inside<T: Send>(host: &Host, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let namespace = host.namespace.as_ref().context("the host has a namespace")?;
    let network: PathBuf = namespace.network();
    tun::inside(&network, work)
}
