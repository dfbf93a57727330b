//! A network in one process: UDP sockets joined by paths with delay, loss, and a bottleneck with a bounded queue.
//!
//! Time is tokio's, so under a paused clock a minute of transfer takes as long as its packets take to encrypt.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncTimer, AsyncUdpSocket, Runtime, TokioRuntime, UdpPoller};

/// Bytes of IPv4 and UDP headers, which the bottleneck carries as well.
const HEADERS: usize = 28;

/// One direction between two places.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PathSettings {
    /// From the end of the bottleneck to the other side.
    pub(crate) delay: Duration,
    /// The share of packets that vanish after the bottleneck.
    pub(crate) loss: f64,
    /// Bits per second, headers included; `None` for no bottleneck.
    pub(crate) rate: Option<f64>,
    /// Bytes that wait at the bottleneck at most.
    pub(crate) queue: f64,
}

/// A path that packets of any number of sockets share.
#[derive(Debug, Clone)]
pub(crate) struct Path(Arc<Mutex<PathState>>);

#[derive(Debug)]
struct PathState {
    settings: PathSettings,
    busy_until: Option<Instant>,
    random: u64,
}

impl Path {
    pub(crate) fn new(settings: PathSettings, seed: u64) -> Self {
        Self(Arc::new(Mutex::new(PathState {
            settings,
            busy_until: None,
            random: seed.wrapping_mul(2).wrapping_add(1),
        })))
    }

    /// From now on.
    #[allow(dead_code, reason = "only the test cuts paths")]
    pub(crate) fn set(&self, settings: PathSettings) {
        lock(&self.0).settings = settings;
    }

    /// When a packet that is sent now arrives; `None` if it does not.
    fn send(&self, now: Instant, len: usize) -> Option<Instant> {
        let mut state = lock(&self.0);
        let PathSettings {
            delay,
            loss,
            rate,
            queue,
        } = state.settings;
        let mut leaves = now;
        let size = (len + HEADERS) as f64;
        if let Some(rate) = rate {
            let busy_until = state.busy_until.map_or(now, |busy| busy.max(now));
            let waiting = (busy_until - now).as_secs_f64() * rate / 8.0;
            if waiting + size > queue {
                return None;
            }
            leaves = busy_until + Duration::from_secs_f64(size * 8.0 / rate);
            state.busy_until = Some(leaves);
        }
        let lost = state.chance() < loss;
        (!lost).then(|| leaves + delay)
    }
}

impl PathState {
    /// Evenly in [0, 1): xorshift64*, the same in each run.
    fn chance(&mut self) -> f64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        let high = self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11;
        high as f64 / (1_u64 << 53) as f64
    }
}

/// All sockets, and the ways between them. Clones are the same network.
#[derive(Clone, Default)]
pub(crate) struct Network(Arc<Mutex<NetworkState>>);

#[derive(Default)]
struct NetworkState {
    inboxes: BTreeMap<SocketAddr, Arc<Mutex<Inbox>>>,
    routes: BTreeMap<(SocketAddr, SocketAddr), Path>,
}

#[derive(Default)]
struct Inbox {
    /// By time of arrival.
    packets: BTreeMap<(Instant, u64), Packet>,
    arrived: VecDeque<Packet>,
    counter: u64,
    waker: Option<Waker>,
}

struct Packet {
    from: SocketAddr,
    bytes: Vec<u8>,
}

impl Network {
    pub(crate) fn socket(&self, address: SocketAddr) -> Arc<SimSocket> {
        let inbox = Arc::new(Mutex::new(Inbox::default()));
        lock(&self.0).inboxes.insert(address, inbox.clone());
        Arc::new(SimSocket {
            network: self.clone(),
            address,
            inbox,
            timer: Mutex::new(TokioRuntime.new_timer(TokioRuntime.now())),
        })
    }

    pub(crate) fn route(&self, from: SocketAddr, to: SocketAddr, path: &Path) {
        lock(&self.0).routes.insert((from, to), path.clone());
    }

    fn send(&self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        let state = lock(&self.0);
        let (Some(path), Some(inbox)) = (state.routes.get(&(from, to)), state.inboxes.get(&to)) else {
            return;
        };
        if let Some(arrives) = path.send(TokioRuntime.now(), bytes.len()) {
            let mut inbox = lock(inbox);
            inbox.counter += 1;
            let key = (arrives, inbox.counter);
            let packet = Packet {
                from,
                bytes: bytes.to_vec(),
            };
            inbox.packets.insert(key, packet);
            if let Some(waker) = inbox.waker.take() {
                waker.wake();
            }
        }
    }
}

/// One end.
pub(crate) struct SimSocket {
    network: Network,
    address: SocketAddr,
    inbox: Arc<Mutex<Inbox>>,
    timer: Mutex<Pin<Box<dyn AsyncTimer>>>,
}

impl fmt::Debug for SimSocket {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SimSocket({})", self.address)
    }
}

impl AsyncUdpSocket for SimSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(AlwaysWritable)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let segment = transmit.segment_size.unwrap_or(transmit.contents.len()).max(1);
        for datagram in transmit.contents.chunks(segment) {
            self.network.send(self.address, transmit.destination, datagram);
        }
        Ok(())
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let now = TokioRuntime.now();
        let mut inbox = lock(&self.inbox);
        loop {
            while inbox
                .packets
                .first_key_value()
                .is_some_and(|(key, _)| key.0 <= now)
            {
                let packet = inbox.packets.pop_first().expect("seen just now").1;
                inbox.arrived.push_back(packet);
            }
            if !inbox.arrived.is_empty() {
                let mut count = 0;
                for (buffer, meta) in buffers.iter_mut().zip(meta) {
                    let Some(packet) = inbox.arrived.pop_front() else {
                        break;
                    };
                    buffer[..packet.bytes.len()].copy_from_slice(&packet.bytes);
                    *meta = RecvMeta::default();
                    meta.addr = packet.from;
                    meta.len = packet.bytes.len();
                    meta.stride = packet.bytes.len();
                    count += 1;
                }
                return Poll::Ready(Ok(count));
            }
            inbox.waker = Some(context.waker().clone());
            let Some((&(next, _), _)) = inbox.packets.first_key_value() else {
                return Poll::Pending;
            };
            let mut timer = lock(&self.timer);
            timer.as_mut().reset(next);
            if timer.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            // The runtime counts in milliseconds, and may be early by a fraction of one.
            let packet = inbox.packets.pop_first().expect("seen just now").1;
            inbox.arrived.push_back(packet);
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }

    fn may_fragment(&self) -> bool {
        false
    }
}

#[derive(Debug)]
struct AlwaysWritable;

impl UdpPoller for AlwaysWritable {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nobody panics while holding it")
}
