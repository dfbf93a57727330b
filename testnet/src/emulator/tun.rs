//! Things that live in another network namespace: TUN devices, and sockets for measurements.

use std::fs::File;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context as _, Result, anyhow, bail};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tun_rs::{DeviceBuilder, SyncDevice};

/// What the device is called inside of the namespace.
pub const DEVICE: &str = "space";

/// Bytes of a packet, as on Ethernet.
pub const MTU: u16 = 1_500;

/// Does something on a thread that has entered a network namespace: what it opens there stays there.
///
/// # Errors
/// When the namespace cannot be entered, or `work` fails.
pub fn inside<T: Send>(namespace: &Path, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let file = File::open(namespace)
        .with_context(|| format!("cannot open the namespace {}", namespace.display()))?;
    let enter_and_work = || {
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
            .with_context(|| format!("cannot enter the network namespace {}", namespace.display()))?;
        work()
    };
    // Only this thread enters, and it ends with its work.
    thread::scope(|scope| scope.spawn(enter_and_work).join())
        .map_err(|_| anyhow!("the thread in {} panicked", namespace.display()))?
}

/// Opens the TUN device of a station, without an address.
///
/// # Errors
/// When the kernel has no TUN devices, or the caller may not make one.
pub fn open(namespace: &Path) -> Result<SyncDevice> {
    inside(namespace, || {
        let device = DeviceBuilder::new()
            .name(DEVICE)
            .mtu(MTU)
            .build_sync()
            .context("cannot make a TUN device (is there a /dev/net/tun?)")?;
        device
            .set_nonblocking(true)
            .context("cannot make a TUN device non-blocking")?;
        Ok(device)
    })
}

/// What `ip -batch` is told to give the device its address.
pub fn address_lines(address: Ipv4Addr) -> String {
    format!("address add {address}/24 dev {DEVICE}\nlink set {DEVICE} txqueuelen 2000 up\n")
}

/// Runs lines of `ip` commands, by `command`, which is `ip` in some namespace.
///
/// # Errors
/// When `ip` is missing or refuses.
pub fn ip(mut command: Command, lines: &str) -> Result<()> {
    command
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .context("cannot start 'ip' (Debian: apt-get install iproute2)")?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(lines.as_bytes()).context("cannot talk to 'ip'")?;
    }
    let output = child.wait_with_output().context("cannot wait for 'ip'")?;
    if !output.status.success() {
        bail!("ip: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
