//! How the world outside reaches stations in namespaces: ports of this machine's loopback interface.
//!
//! The outer program opens the ports, in the network that people are in, and hands them to the inner one over the
//! lifeline (`SCM_RIGHTS`): a socket stays in the network it was opened in, whoever holds it. The inner one connects
//! what comes in with a station.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::thread;

use anyhow::{Context as _, Result, ensure};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};

/// The first port that is tried; any other is as good.
const FIRST_PORT: u16 = 8081;

/// Doors handed over at once: as many as the kernel passes with one message.
pub const DOORS_MAX: usize = 64;

/// Opens so many ports.
///
/// # Errors
/// When there are no more.
pub fn open(doors: usize) -> Result<Vec<TcpListener>> {
    ensure!(
        doors <= DOORS_MAX,
        "no more than {DOORS_MAX} stations have a port outside"
    );
    (FIRST_PORT..)
        .take(doors)
        .map(|port| {
            TcpListener::bind(("127.0.0.1", port))
                .or_else(|_| TcpListener::bind(("127.0.0.1", 0)))
                .context("cannot open a port")
        })
        .collect()
}

/// Hands the ports over.
///
/// # Errors
/// When the other side is gone.
pub fn hand_over(line: BorrowedFd<'_>, doors: &[TcpListener]) -> Result<()> {
    let fds: Vec<_> = doors.iter().map(std::os::fd::AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DOORS_MAX))];
    let mut rights = SendAncillaryBuffer::new(&mut space);
    ensure!(
        rights.push(SendAncillaryMessage::ScmRights(&fds)),
        "too many ports"
    );
    sendmsg(line, &[IoSlice::new(b"doors")], &mut rights, SendFlags::empty())
        .context("cannot hand ports over")?;
    Ok(())
}

/// Takes the ports that the outer program has handed over on standard input.
///
/// # Errors
/// When it has not.
pub fn take() -> Result<Vec<TcpListener>> {
    let line = std::io::stdin();
    let mut word = [0; 16];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DOORS_MAX))];
    let mut rights = RecvAncillaryBuffer::new(&mut space);
    recvmsg(
        line.as_fd(),
        &mut [IoSliceMut::new(&mut word)],
        &mut rights,
        RecvFlags::CMSG_CLOEXEC,
    )
    .context("cannot take ports over")?;
    let mut doors = Vec::new();
    for message in rights.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = message {
            doors.extend(fds.map(TcpListener::from));
        }
    }
    Ok(doors)
}

/// Connects whatever comes to a port with a station, until this program ends.
pub fn connect(door: TcpListener, station: SocketAddr) {
    thread::spawn(move || {
        for client in door.incoming().flatten() {
            // A station that is not there: its client sees the connection close.
            if let Ok(server) = TcpStream::connect(station) {
                join(client, server);
            }
        }
    });
}

fn join(client: TcpStream, server: TcpStream) {
    // What is small is not held back; an error means that the connection is gone.
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    if let (Ok(from_client), Ok(to_server)) = (client.try_clone(), server.try_clone()) {
        thread::spawn(move || pass(from_client, to_server));
        thread::spawn(move || pass(server, client));
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream) {
    // However it ends, the other side learns that nothing more comes.
    let _ = std::io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
    let _ = from.shutdown(Shutdown::Read);
}
