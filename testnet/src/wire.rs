//! A wire that can be watched and cut: a TCP proxy between a client and a station.
//!
//! It counts bytes each way over all connections, keeps the beginning of what clients send on each of them, notes
//! when a text goes by, and breaks answers off in the middle.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// As much of what a client sends on a connection is kept for [`Wire::requests`].
const KEPT: usize = 64 << 10;

/// The proxy. Its connections end when it is dropped.
#[derive(Debug)]
pub struct Wire {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    to: SocketAddr,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    sent: u64,
    received: u64,
    /// The beginning of each connection's requests.
    requests: Vec<Vec<u8>>,
    watched: Vec<Watch>,
    cut: Option<Cut>,
    cuts_made: u64,
    streams: Vec<TcpStream>,
    closed: bool,
}

#[derive(Debug)]
struct Watch {
    text: String,
    seen: bool,
}

#[derive(Clone, Copy, Debug)]
struct Cut {
    /// After so many bytes of answers on one connection.
    after: u64,
    times_left: u64,
}

impl Wire {
    /// A wire to a server.
    ///
    /// # Errors
    /// When no port can be opened.
    pub fn to(server: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).context("cannot open a port")?;
        let address = listener.local_addr().context("cannot tell the port")?;
        let shared = Arc::new(Shared {
            to: server,
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || accept(&listener, &accepting));
        Ok(Self { address, shared })
    }

    /// What clients connect to.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Bytes from clients to the server.
    pub fn sent(&self) -> u64 {
        self.shared.lock().sent
    }

    /// Bytes from the server to clients.
    pub fn received(&self) -> u64 {
        self.shared.lock().received
    }

    /// The beginnings of what clients sent, connection after connection.
    pub fn requests(&self) -> String {
        let state = self.shared.lock();
        state
            .requests
            .iter()
            .map(|bytes| String::from_utf8_lossy(bytes))
            .collect()
    }

    /// Breaks the connection after so many bytes of its answers, on the next `times` connections that get so far.
    pub fn cut_answers_after(&self, bytes: u64, times: u64) {
        self.shared.lock().cut = Some(Cut {
            after: bytes,
            times_left: times,
        });
    }

    /// How many connections were cut.
    pub fn cuts_made(&self) -> u64 {
        self.shared.lock().cuts_made
    }

    /// Notes from now on which of these texts clients send.
    pub fn watch_for<'a>(&self, texts: impl IntoIterator<Item = &'a str>) {
        let watch = |text: &str| Watch {
            text: text.to_owned(),
            seen: false,
        };
        self.shared.lock().watched = texts.into_iter().map(watch).collect();
    }

    /// Those of the watched texts that went by.
    pub fn seen(&self) -> Vec<String> {
        let state = self.shared.lock();
        state
            .watched
            .iter()
            .filter(|watch| watch.seen)
            .map(|watch| watch.text.clone())
            .collect()
    }

    /// Waits until clients have sent so many bytes in all; false if they have not within the time.
    pub fn has_sent(&self, bytes: u64, within: Duration) -> bool {
        self.reaches(within, |state| state.sent >= bytes)
    }

    /// Waits until the server has answered so many bytes in all; false if it has not within the time.
    pub fn has_received(&self, bytes: u64, within: Duration) -> bool {
        self.reaches(within, |state| state.received >= bytes)
    }

    fn reaches(&self, within: Duration, reached: impl Fn(&State) -> bool) -> bool {
        let guard = self.shared.lock();
        let waited = self
            .shared
            .changed
            .wait_timeout_while(guard, within, |state| !reached(state));
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        let streams = {
            let mut state = self.shared.lock();
            state.closed = true;
            std::mem::take(&mut state.streams)
        };
        for stream in streams {
            // Best effort: it may be closed already.
            let _ = stream.shutdown(Shutdown::Both);
        }
        // Wakes the listener, which then sees that it is over.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    while let Ok((client, _)) = listener.accept() {
        let Ok(server) = TcpStream::connect(shared.to) else {
            continue;
        };
        // Without these the proxy would change the timing that it is there to watch.
        let _ = client.set_nodelay(true);
        let _ = server.set_nodelay(true);
        let Some([up, down]) = join(shared, client, server) else {
            return;
        };
        let (first, second) = (Arc::clone(shared), Arc::clone(shared));
        thread::spawn(move || up.pump(&first));
        thread::spawn(move || down.pump(&second));
    }
}

fn join(shared: &Arc<Shared>, client: TcpStream, server: TcpStream) -> Option<[Pump; 2]> {
    let mut state = shared.lock();
    if state.closed {
        return None;
    }
    let copy = |stream: &TcpStream| stream.try_clone().ok();
    state.streams.extend([copy(&client)?, copy(&server)?]);
    let connection = state.requests.len();
    state.requests.push(Vec::new());
    let up = Pump {
        from: copy(&client)?,
        to: copy(&server)?,
        way: Way::Up {
            connection,
            tail: Vec::new(),
        },
    };
    let down = Pump {
        from: server,
        to: client,
        way: Way::Down { passed: 0 },
    };
    Some([up, down])
}

/// One direction of one connection.
struct Pump {
    from: TcpStream,
    to: TcpStream,
    way: Way,
}

enum Way {
    /// Client to server. The tail is what a watched text might have begun with.
    Up { connection: usize, tail: Vec<u8> },
    /// Server to client.
    Down { passed: u64 },
}

impl Pump {
    fn pump(mut self, shared: &Shared) {
        let mut block = vec![0; 64 << 10];
        loop {
            let read = match self.from.read(&mut block) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => break,
            };
            let (pass, cut) = self.note(shared, &block[..read]);
            if self.to.write_all(&block[..pass]).is_err() {
                break;
            }
            if cut {
                let _ = self.from.shutdown(Shutdown::Both);
                let _ = self.to.shutdown(Shutdown::Both);
                return;
            }
        }
        let _ = self.to.shutdown(Shutdown::Write);
        let _ = self.from.shutdown(Shutdown::Read);
    }

    /// How many of the bytes to pass on, and whether that is the end.
    fn note(&mut self, shared: &Shared, bytes: &[u8]) -> (usize, bool) {
        let mut state = shared.lock();
        let decision = match &mut self.way {
            Way::Up { connection, tail } => {
                state.sent += bytes.len() as u64;
                let kept = &mut state.requests[*connection];
                let room = KEPT.saturating_sub(kept.len()).min(bytes.len());
                kept.extend_from_slice(&bytes[..room]);
                if let Some(longest) = state.watched.iter().map(|watch| watch.text.len()).max() {
                    tail.extend_from_slice(bytes);
                    for watch in state.watched.iter_mut().filter(|watch| !watch.seen) {
                        let text = watch.text.as_bytes();
                        watch.seen = tail.windows(text.len()).any(|window| window == text);
                    }
                    let keep_from = (tail.len() + 1).saturating_sub(longest);
                    tail.drain(..keep_from);
                }
                (bytes.len(), false)
            }
            Way::Down { passed } => {
                let before = *passed;
                *passed += bytes.len() as u64;
                match &mut state.cut {
                    Some(cut) if cut.times_left > 0 && *passed > cut.after => {
                        cut.times_left -= 1;
                        let pass = usize::try_from(cut.after.saturating_sub(before)).unwrap_or(bytes.len());
                        state.cuts_made += 1;
                        state.received += pass as u64;
                        (pass, true)
                    }
                    _ => {
                        state.received += bytes.len() as u64;
                        (bytes.len(), false)
                    }
                }
            }
        };
        drop(state);
        shared.changed.notify_all();
        decision
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers every byte with the same byte, until told to stop by the end of the stream.
    fn echo() -> SocketAddr {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut copy = stream.try_clone().unwrap();
                thread::spawn(move || std::io::copy(&mut copy, &mut stream));
            }
        });
        address
    }

    fn say(wire: &Wire, bytes: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(wire.address).unwrap();
        stream.write_all(bytes).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut heard = Vec::new();
        // A cut connection may end with an error; what came before counts.
        let _ = stream.read_to_end(&mut heard);
        heard
    }

    #[test]
    fn bytes_are_passed_on_counted_and_watched() {
        let wire = Wire::to(echo()).unwrap();
        wire.watch_for(["bcab", "cx"]);
        assert_eq!(say(&wire, b"abcabc"), b"abcabc");
        // One text across two connections is none.
        assert_eq!(say(&wire, b"xbc"), b"xbc");
        assert_eq!(
            (wire.sent(), wire.received(), wire.seen()),
            (9, 9, vec!["bcab".to_owned()])
        );
        assert_eq!(wire.requests(), "abcabcxbc");
    }

    #[test]
    fn an_answer_is_cut_as_often_as_asked() {
        let wire = Wire::to(echo()).unwrap();
        wire.cut_answers_after(4, 1);
        assert_eq!(say(&wire, b"abcdefgh"), b"abcd");
        assert_eq!(say(&wire, b"abcdefgh"), b"abcdefgh");
        assert_eq!(wire.cuts_made(), 1);
    }
}
