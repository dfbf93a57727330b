//! The thread that moves packets between the stations' TUN devices.

use std::io::{self, ErrorKind, PipeReader, PipeWriter};
use std::net::Ipv4Addr;
use std::os::fd::AsFd as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tun_rs::SyncDevice;

use super::calendar::Calendar;
use super::link::{Counts, LinkSettings};
use super::profile::Profile;
use super::switchboard::{Station, Switchboard};
use super::tun::MTU;
use crate::clock::Stopwatch;

/// Packets taken from one device before the others have their turn.
const TURN: usize = 64;

/// The links between the stations, at work until this is dropped.
#[derive(Debug)]
pub struct Emulator {
    board: Arc<Mutex<Switchboard>>,
    clock: Stopwatch,
    /// Its end tells the thread to go.
    stop: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

impl Emulator {
    /// Wires between stations, each given by its device and its address.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(stations: Vec<(SyncDevice, Ipv4Addr)>, seed: u64) -> Result<Self> {
        let (devices, addresses): (Vec<_>, Vec<_>) = stations.into_iter().unzip();
        let board = Arc::new(Mutex::new(Switchboard::new(&addresses, seed)));
        let clock = Stopwatch::start();
        let (stopped, stop) = io::pipe().context("cannot make a pipe")?;
        let router = Router {
            devices: devices.into_iter().map(Some).collect(),
            board: Arc::clone(&board),
            clock,
            stopped,
        };
        let thread = thread::Builder::new()
            .name("links".to_owned())
            .spawn(move || router.run())
            .context("cannot start a thread")?;
        Ok(Self {
            board,
            clock,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// The time that blackouts are counted from.
    pub fn elapsed(&self) -> Duration {
        self.clock.elapsed()
    }

    /// Makes the link from one station to another such a link. The other direction stays as it is.
    pub fn set(&self, from: Station, to: Station, settings: LinkSettings) {
        if let Some(link) = lock(&self.board).link(from, to) {
            link.set(settings);
        }
    }

    /// Makes all links of a station such links, in both directions.
    pub fn set_station(&self, station: Station, profile: Profile) {
        for link in lock(&self.board).links_of(station) {
            link.set(profile.settings());
        }
    }

    /// Makes all links such links.
    pub fn set_all(&self, profile: Profile) {
        for link in lock(&self.board).links() {
            link.set(profile.settings());
        }
    }

    /// Cuts or heals one direction of a link; what it is like otherwise stays.
    pub fn cut(&self, from: Station, to: Station, cut: bool) {
        if let Some(link) = lock(&self.board).link(from, to) {
            link.change(|settings| settings.cut = cut);
        }
    }

    /// Cuts all links between stations of the group and the others, both ways.
    pub fn split(&self, group: &[Station]) {
        let mut board = lock(&self.board);
        for from in 0..board.len() {
            for to in 0..board.len() {
                if group.contains(&from) != group.contains(&to)
                    && let Some(link) = board.link(from, to)
                {
                    link.change(|settings| settings.cut = true);
                }
            }
        }
    }

    /// Takes back every cut.
    pub fn heal(&self) {
        for link in lock(&self.board).links() {
            link.change(|settings| settings.cut = false);
        }
    }

    /// Plans when all links of a station are dark, in both directions.
    pub fn plan_blackouts(&self, station: Station, calendar: &Calendar) {
        for link in lock(&self.board).links_of(station) {
            link.change(|settings| settings.blackouts = calendar.clone());
        }
    }

    /// What became of the packets from one station to another.
    pub fn counts(&self, from: Station, to: Station) -> Counts {
        lock(&self.board).counts(from, to)
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so, and there is nobody to tell here.
            let _ = thread.join();
        }
    }
}

struct Router {
    /// A device goes when its namespace goes.
    devices: Vec<Option<SyncDevice>>,
    board: Arc<Mutex<Switchboard>>,
    clock: Stopwatch,
    stopped: PipeReader,
}

impl Router {
    fn run(mut self) {
        let mut buffer = vec![0; usize::from(MTU) + 64];
        while let Some(readable) = self.wait() {
            for station in readable {
                if !self.take(station, &mut buffer) {
                    self.devices[station] = None;
                }
            }
            self.deliver();
        }
    }

    /// The stations that have sent something, once one has or a packet is due; nothing at the end.
    fn wait(&self) -> Option<Vec<Station>> {
        let next = lock(&self.board).next_arrival();
        let timeout = next.map(|at| {
            let left = at.saturating_sub(self.clock.elapsed());
            Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            }
        });
        let open = || {
            (0..)
                .zip(&self.devices)
                .filter_map(|(station, device)| Some((station, device.as_ref()?)))
        };
        let mut polled: Vec<_> = open()
            .map(|(_, device)| PollFd::from_borrowed_fd(device.as_fd(), PollFlags::IN))
            .collect();
        polled.push(PollFd::from_borrowed_fd(self.stopped.as_fd(), PollFlags::IN));
        match poll(&mut polled, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return None,
        }
        if polled.last().is_some_and(|stop| !stop.revents().is_empty()) {
            return None;
        }
        let readable = open()
            .zip(&polled)
            .filter(|(_, polled)| !polled.revents().is_empty());
        Some(readable.map(|((station, _), _)| station).collect())
    }

    /// Takes what a station has sent; false if its device is gone.
    fn take(&self, station: Station, buffer: &mut [u8]) -> bool {
        let Some(device) = &self.devices[station] else {
            return false;
        };
        for _ in 0..TURN {
            match device.recv(buffer) {
                Ok(length) => {
                    lock(&self.board).offer(self.clock.elapsed(), station, &buffer[..length]);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        true
    }

    /// Hands over what has arrived.
    fn deliver(&self) {
        let now = self.clock.elapsed();
        loop {
            let Some((to, packet)) = lock(&self.board).arrived(now) else {
                return;
            };
            if let Some(device) = &self.devices[to] {
                // A station whose device is down or full loses the packet, as with any network card.
                let _ = device.send(&packet);
            }
        }
    }
}

fn lock(board: &Mutex<Switchboard>) -> MutexGuard<'_, Switchboard> {
    board.lock().unwrap_or_else(PoisonError::into_inner)
}
