//! A home for a daemon, the daemon, and how tests talk to it.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// A home with nothing in it, and the daemon's way to live there.
pub(crate) struct Home {
    pub(crate) root: TempDir,
}

impl Home {
    pub(crate) fn new() -> Self {
        Self {
            root: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn config_file(&self) -> PathBuf {
        self.root.path().join("config/tetryx/node.toml")
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.root.path().join("data/tetryx")
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tetryx-node"));
        command
            .args(arguments)
            .env_clear()
            .env("XDG_CONFIG_HOME", self.root.path().join("config"))
            .env("XDG_DATA_HOME", self.root.path().join("data"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs to the end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Starts on a free port, and waits until it listens.
    pub(crate) fn start(&self, arguments: &[&str]) -> Daemon {
        let mut all = vec!["--listen", "127.0.0.1:0"];
        all.extend_from_slice(arguments);
        Daemon::wait(self.command(&all).spawn().unwrap())
    }
}

/// A daemon that listens.
pub(crate) struct Daemon {
    pub(crate) child: Child,
    pub(crate) stdout: BufReader<ChildStdout>,
    /// What it printed until it listened.
    pub(crate) printed: String,
    pub(crate) address: SocketAddr,
    /// For data and control.
    pub(crate) peers: SocketAddr,
    pub(crate) gossip: SocketAddr,
}

impl Daemon {
    pub(crate) fn wait(mut child: Child) -> Self {
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut printed = String::new();
        let mut addresses = [None; 3];
        loop {
            let mut line = String::new();
            if stdout.read_line(&mut line).unwrap() == 0 {
                panic!("ended before it listened: {}", errors(&mut child));
            }
            printed.push_str(&line);
            for (address, prefix) in addresses
                .iter_mut()
                .zip(["Listening on ", "Peers on ", "Gossip on "])
            {
                if let Some(found) = line.strip_prefix(prefix) {
                    *address = Some(found.trim().parse().unwrap());
                }
            }
            if let [Some(address), Some(peers), Some(gossip)] = addresses {
                return Self {
                    child,
                    stdout,
                    printed,
                    address,
                    peers,
                    gossip,
                };
            }
        }
    }

    pub(crate) fn token(&self) -> Option<&str> {
        let login = self
            .printed
            .lines()
            .find(|line| line.contains("tetryx-cli login"))?;
        login.split_whitespace().last()
    }

    /// One request on a connection of its own; the whole answer.
    pub(crate) fn ask(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    pub(crate) fn get(&self, path: &str, token: Option<&str>) -> String {
        let authorization = token
            .map(|token| format!("Authorization: Bearer {token}\r\n"))
            .unwrap_or_default();
        self.ask(&format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{authorization}\r\n"
        ))
    }

    /// A request with a JSON body.
    pub(crate) fn post(&self, path: &str, token: &str, body: &str) -> String {
        self.ask(&format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ))
    }

    pub(crate) fn delete(&self, path: &str, token: &str) -> String {
        self.ask(&format!(
            "DELETE {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\r\n"
        ))
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Ends it by a signal; what it said on standard error.
    pub(crate) fn stop(mut self, signal: Signal) -> (ExitStatus, String) {
        self.signal(signal);
        let stderr = errors(&mut self.child);
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "", "standard output is for the welcome only");
        (self.child.wait().unwrap(), stderr)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Both fail when it has ended already, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn errors(child: &mut Child) -> String {
    let mut text = String::new();
    child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    text
}

pub(crate) fn stderr(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}

pub(crate) fn write_config(home: &Home, text: &str) {
    fs::create_dir_all(home.config_file().parent().unwrap()).unwrap();
    fs::write(home.config_file(), text).unwrap();
}

/// Sends bytes and reads until the other side has had enough.
pub(crate) fn exchange(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    // The daemon may close before it has read everything: that is an answer as well.
    let _ = stream.write_all(request);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}
