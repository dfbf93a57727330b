//! The real binary: first start, later starts, crashes, signals, refusals.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// A home with nothing in it, and the daemon's way to live there.
struct Home {
    root: TempDir,
}

impl Home {
    fn new() -> Self {
        Self {
            root: tempfile::tempdir().unwrap(),
        }
    }

    fn config_file(&self) -> PathBuf {
        self.root.path().join("config/tetryx/node.toml")
    }

    fn data_dir(&self) -> PathBuf {
        self.root.path().join("data/tetryx")
    }

    fn command(&self, arguments: &[&str]) -> Command {
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
    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Starts on a free port, and waits until it listens.
    fn start(&self, arguments: &[&str]) -> Daemon {
        let mut all = vec!["--listen", "127.0.0.1:0"];
        all.extend_from_slice(arguments);
        Daemon::wait(self.command(&all).spawn().unwrap())
    }
}

/// A daemon that listens.
struct Daemon {
    child: Child,
    stdout: BufReader<ChildStdout>,
    /// What it printed until it listened.
    printed: String,
    address: SocketAddr,
}

impl Daemon {
    fn wait(mut child: Child) -> Self {
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut printed = String::new();
        loop {
            let mut line = String::new();
            if stdout.read_line(&mut line).unwrap() == 0 {
                panic!("ended before it listened: {}", errors(&mut child));
            }
            printed.push_str(&line);
            if let Some(address) = line.strip_prefix("Listening on ") {
                return Self {
                    child,
                    stdout,
                    printed,
                    address: address.trim().parse().unwrap(),
                };
            }
        }
    }

    fn token(&self) -> Option<&str> {
        let login = self
            .printed
            .lines()
            .find(|line| line.contains("tetryx-cli login"))?;
        login.split_whitespace().last()
    }

    /// One request on a connection of its own; the whole answer.
    fn ask(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn get(&self, path: &str, token: Option<&str>) -> String {
        let authorization = token
            .map(|token| format!("Authorization: Bearer {token}\r\n"))
            .unwrap_or_default();
        self.ask(&format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{authorization}\r\n"
        ))
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Ends it by a signal; what it said on standard error.
    fn stop(mut self, signal: Signal) -> (ExitStatus, String) {
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

fn errors(child: &mut Child) -> String {
    let mut text = String::new();
    child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    text
}

fn stderr(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn a_first_start_needs_nothing_and_prints_how_to_log_in() {
    let home = Home::new();
    let daemon = home.start(&[]);
    let token = daemon.token().expect("the welcome shows the token");
    let login = format!(
        "tetryx-cli login local http://localhost:{} {token}",
        daemon.address.port()
    );
    assert!(daemon.printed.contains(&login), "{}", daemon.printed);
    for named in [home.config_file(), home.data_dir()] {
        assert!(
            daemon.printed.contains(named.to_str().unwrap()),
            "{}",
            daemon.printed
        );
    }
    assert!(
        daemon
            .get("/api/v1/tokens", Some(token))
            .starts_with("HTTP/1.1 200")
    );
    assert!(daemon.get("/ready", None).starts_with("HTTP/1.1 200"));
}

#[test]
fn later_starts_keep_everything_and_do_not_show_the_token() {
    let home = Home::new();
    let first = home.start(&[]);
    let token = first.token().unwrap().to_owned();
    let status = first.get("/api/v1/status", Some(&token));
    assert!(first.stop(Signal::TERM).0.success());
    let second = home.start(&[]);
    assert_eq!(second.token(), None, "{}", second.printed);
    let node = |answer: &str| {
        answer
            .split("\"node\":\"")
            .nth(1)
            .map(|rest| rest[..64].to_owned())
            .unwrap()
    };
    assert_eq!(node(&second.get("/api/v1/status", Some(&token))), node(&status));
}

#[test]
fn secrets_on_disk_are_for_their_owner_only() {
    let home = Home::new();
    drop(home.start(&[]));
    for file in ["node.key", "cluster.secret"] {
        let mode = fs::metadata(home.data_dir().join(file))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    assert_eq!(
        fs::metadata(home.data_dir()).unwrap().permissions().mode() & 0o777,
        0o700
    );
}

#[test]
fn sigterm_and_sigint_end_it_in_order() {
    let home = Home::new();
    for signal in [Signal::TERM, Signal::INT] {
        let (status, stderr) = home.start(&[]).stop(signal);
        assert_eq!(status.code(), Some(0), "{stderr}");
        assert!(stderr.contains("stopped"), "{stderr}");
    }
}

#[test]
fn a_request_that_runs_when_the_signal_comes_is_answered() {
    let home = Home::new();
    let mut daemon = home.start(&[]);
    let token = daemon.token().unwrap().to_owned();
    // Given a request whose body is on its way
    let body = r#"{"name":"alpha"}"#;
    let mut stream = TcpStream::connect(daemon.address).unwrap();
    let head = format!(
        "POST /api/v1/caches HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\nExpect: 100-continue\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    assert!(line.starts_with("HTTP/1.1 100"), "{line}");
    // When the daemon is told to stop, and has stopped listening
    daemon.signal(Signal::TERM);
    let mut stderr = BufReader::new(daemon.child.stderr.take().unwrap());
    while !line.contains("stopped listening") {
        line.clear();
        assert_ne!(stderr.read_line(&mut line).unwrap(), 0);
    }
    assert!(TcpStream::connect(daemon.address).is_err());
    // Then the request is still served, and after it the process ends well
    stream.write_all(body.as_bytes()).unwrap();
    let mut answer = String::new();
    reader.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("HTTP/1.1 201"), "{answer}");
    assert_eq!(daemon.child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_request_that_never_ends_does_not_hold_the_process_beyond_the_limit() {
    let home = Home::new();
    write_config(&home, "[http]\ndrain_timeout = \"100ms\"\n");
    let daemon = home.start(&[]);
    let mut stream = TcpStream::connect(daemon.address).unwrap();
    let head =
        "POST /api/v1/caches HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n";
    stream
        .write_all(format!("{head}Expect: 100-continue\r\n\r\n").as_bytes())
        .unwrap();
    let mut continued = [0; 12];
    stream.read_exact(&mut continued).unwrap();
    let (status, stderr) = daemon.stop(Signal::TERM);
    assert_eq!(status.code(), Some(0), "{stderr}");
    assert!(stderr.contains("http.drain_timeout"), "{stderr}");
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let home = Home::new();
    let mut daemon = home.start(&[]);
    let mut stream = TcpStream::connect(daemon.address).unwrap();
    let head =
        "POST /api/v1/caches HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n";
    stream
        .write_all(format!("{head}Expect: 100-continue\r\n\r\n").as_bytes())
        .unwrap();
    stream.read_exact(&mut [0; 12]).unwrap();
    daemon.signal(Signal::TERM);
    let mut stderr = BufReader::new(daemon.child.stderr.take().unwrap()).lines();
    stderr
        .find(|line| line.as_ref().unwrap().contains("stopped listening"))
        .unwrap()
        .unwrap();
    daemon.signal(Signal::INT);
    assert_eq!(daemon.child.wait().unwrap().code(), Some(0));
    let rest: Vec<_> = stderr.map(Result::unwrap).collect();
    assert!(rest.iter().any(|line| line.contains("second signal")), "{rest:?}");
}

/// What a first start makes, in the order it makes it.
const STEPS: &[&str] = &[
    "config/tetryx/node.toml",
    "data/tetryx/lock",
    "data/tetryx/node.key.new",
    "data/tetryx/node.key",
    "data/tetryx/cluster.secret.new",
    "data/tetryx/cluster.secret",
    "data/tetryx/store",
    "data/tetryx/store/index.redb",
    "data/tetryx/raft",
    "data/tetryx/raft/log.redb",
    "data/tetryx/raft/state.redb",
    "data/tetryx/root-token.shown.new",
    "data/tetryx/root-token.shown",
];

#[test]
fn a_first_start_that_is_killed_at_any_step_is_completed_by_the_next() {
    let mut ended_at = BTreeSet::new();
    for step in STEPS {
        let home = Home::new();
        let mut child = home.command(&["--listen", "127.0.0.1:0"]).spawn().unwrap();
        // Given a first start that is killed as soon as the step shows, or that was faster
        let path = home.root.path().join(step);
        while !path.exists() && child.try_wait().unwrap().is_none() && !is_listening(&home) {
            std::thread::yield_now();
        }
        child.kill().unwrap();
        let killed = child.wait().unwrap();
        assert_eq!(killed.signal(), Some(9), "{}", errors(&mut child));
        ended_at.insert(
            STEPS
                .iter()
                .filter(|step| home.root.path().join(step).exists())
                .count(),
        );
        let was_shown = {
            let mut printed = String::new();
            child.stdout.take().unwrap().read_to_string(&mut printed).unwrap();
            printed.contains("tetryx-cli login")
        };
        // When it starts again
        let daemon = home.start(&[]);
        // Then it works, and a token was shown by the one or the other
        assert!(daemon.get("/ready", None).starts_with("HTTP/1.1 200"), "{step}");
        match daemon.token() {
            Some(token) => assert!(
                daemon
                    .get("/api/v1/tokens", Some(token))
                    .starts_with("HTTP/1.1 200"),
                "{step}"
            ),
            None => assert!(was_shown, "{step}: no token was ever shown"),
        }
        assert!(daemon.stop(Signal::TERM).0.success());
    }
    assert!(
        ended_at.len() > 3,
        "the kills hit too few different moments: {ended_at:?}"
    );
}

fn is_listening(home: &Home) -> bool {
    home.data_dir().join("root-token.shown").exists()
}

#[test]
fn a_second_process_on_the_same_data_is_refused() {
    let home = Home::new();
    let _first = home.start(&[]);
    let refused = stderr(&home.run(&["--listen", "127.0.0.1:0"]));
    assert!(refused.contains("another tetryx-node uses"), "{refused}");
    assert!(refused.contains(home.data_dir().to_str().unwrap()), "{refused}");
    assert!(refused.contains("--data-dir"), "{refused}");
}

#[test]
fn a_port_in_use_is_refused_before_anything_is_made() {
    let home = Home::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let refused = stderr(&home.run(&["--listen", &address]));
    assert!(refused.contains(&format!("{address} is in use")), "{refused}");
    assert!(!home.data_dir().exists());
}

#[test]
fn an_address_of_another_machine_is_refused() {
    let refused = stderr(&Home::new().run(&["--listen", "192.0.2.1:8080"]));
    assert!(refused.contains("cannot listen on 192.0.2.1:8080"), "{refused}");
}

fn write_config(home: &Home, text: &str) {
    fs::create_dir_all(home.config_file().parent().unwrap()).unwrap();
    fs::write(home.config_file(), text).unwrap();
}

#[test]
fn a_mistake_in_the_configuration_is_refused_with_file_line_and_hint() {
    let home = Home::new();
    write_config(&home, "[http]\nlisten_on = \"[::]:1\"\n");
    for arguments in [&[][..], &["check-config"], &["gc", "--once"]] {
        let refused = stderr(&home.run(arguments));
        let place = format!("{}:2:1: unknown key http.listen_on", home.config_file().display());
        assert!(refused.contains(&place), "{refused}");
        assert!(refused.contains("did you mean http.listen?"), "{refused}");
    }
    assert!(!home.data_dir().exists());
}

#[test]
fn a_named_configuration_file_must_exist() {
    let home = Home::new();
    let refused = stderr(&home.run(&["--config", "/nonexistent/node.toml"]));
    assert!(
        refused.contains("/nonexistent/node.toml cannot be read"),
        "{refused}"
    );
}

#[test]
fn check_config_says_what_applies_and_makes_nothing() {
    let home = Home::new();
    let output = home.run(&["check-config"]);
    assert!(output.status.success() && !home.config_file().exists());
    drop(home.start(&[]));
    let output = home.run(&["check-config"]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && said.contains("is in order"), "{said}");
    assert!(said.contains("listens on [::]:8080"), "{said}");
}

#[test]
fn the_options_go_before_the_configuration_file() {
    let home = Home::new();
    let data = home.root.path().join("elsewhere");
    write_config(
        &home,
        "name = \"from-file\"\nzone = \"from-file\"\n[http]\nlisten = \"192.0.2.1:1\"\n",
    );
    let daemon = home.start(&[
        "run",
        "--data-dir",
        data.to_str().unwrap(),
        "--name",
        "from-option",
    ]);
    let status = daemon.get("/api/v1/status", daemon.token());
    assert!(status.contains("\"node_name\":\"from-option\""), "{status}");
    assert!(status.contains("\"zone\":\"from-file\""), "{status}");
    assert!(data.join("node.key").exists() && !home.data_dir().exists());
}

#[test]
fn gc_once_collects_on_a_running_node() {
    let home = Home::new();
    let daemon = home.start(&[]);
    let output = home.run(&["gc", "--once"]);
    assert!(output.status.success(), "{output:?}");
    assert!(
        String::from_utf8(output.stdout)
            .unwrap()
            .starts_with("freed 0 B:")
    );
    assert!(
        daemon
            .get("/metrics", None)
            .contains("tetryx_collections_total 1")
    );
}

#[test]
fn gc_once_collects_on_a_stopped_node() {
    let home = Home::new();
    drop(home.start(&[]));
    let output = home.run(&["gc", "--once"]);
    assert!(output.status.success(), "{output:?}");
    assert!(
        String::from_utf8(output.stdout)
            .unwrap()
            .starts_with("freed 0 B:")
    );
    // And it serves afterwards
    home.start(&[]);
}

#[test]
fn logs_are_json_when_asked_for() {
    let (_, stderr) = Home::new().start(&["--log-format", "json"]).stop(Signal::TERM);
    assert!(stderr.lines().count() > 1);
    for line in stderr.lines() {
        let parsed: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(parsed["timestamp"].is_string(), "{line}");
    }
}

#[test]
fn a_secret_that_others_can_read_stops_the_start() {
    let home = Home::new();
    drop(home.start(&[]));
    let secret = home.data_dir().join("cluster.secret");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o640)).unwrap();
    let refused = stderr(&home.run(&["--listen", "127.0.0.1:0"]));
    assert!(refused.contains("chmod 600"), "{refused}");
}

#[test]
fn a_lost_secret_is_not_replaced_silently() {
    let home = Home::new();
    drop(home.start(&[]));
    for secret in ["cluster.secret", "node.key"] {
        let path = home.data_dir().join(secret);
        let kept = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let refused = stderr(&home.run(&["--listen", "127.0.0.1:0"]));
        assert!(refused.contains(&format!("{secret} is missing")), "{refused}");
        // And with the backup it starts
        fs::write(&path, kept).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        drop(home.start(&[]));
    }
}

#[test]
fn without_a_home_the_refusal_says_what_to_pass() {
    let home = Home::new();
    let mut command = home.command(&[]);
    let output = command
        .env_remove("XDG_CONFIG_HOME")
        .env_remove("XDG_DATA_HOME")
        .output()
        .unwrap();
    assert!(stderr(&output).contains("pass --config"), "{output:?}");
}

#[test]
fn port_zero_takes_a_free_port_and_prints_it() {
    let home = Home::new();
    let other = Home::new();
    let (one, two) = (home.start(&[]), other.start(&[]));
    assert_ne!(one.address.port(), 0);
    assert_ne!(one.address, two.address);
}

/// Sends bytes and reads until the other side has had enough.
fn exchange(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    // The daemon may close before it has read everything: that is an answer as well.
    let _ = stream.write_all(request);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn a_head_far_beyond_the_limits_is_cut_off_at_the_connection() {
    let daemon = Home::new().start(&[]);
    let large = format!(
        "GET /health HTTP/1.1\r\nHost: x\r\nx: {}\r\n\r\n",
        "a".repeat(1 << 20)
    );
    assert!(exchange(daemon.address, large.as_bytes()).starts_with("HTTP/1.1 431"));
    let many = "x: y\r\n".repeat(10_000);
    let many = format!("GET /health HTTP/1.1\r\nHost: x\r\n{many}\r\n");
    assert!(exchange(daemon.address, many.as_bytes()).starts_with("HTTP/1.1 431"));
    assert!(daemon.get("/health", None).starts_with("HTTP/1.1 200"));
}

#[test]
fn nonsense_on_the_socket_does_no_harm() {
    let daemon = Home::new().start(&[]);
    for nonsense in [
        &b"\x16\x03\x01\x02\x00\x01\x00"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /../../../../etc/passwd HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET http://other/health HTTP/1.1\r\nConnection: close\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\r\n\r\n\r\n",
        b"",
    ] {
        let answer = exchange(daemon.address, nonsense);
        assert!(!answer.contains("root:"), "{answer}");
        assert!(daemon.get("/health", None).starts_with("HTTP/1.1 200"));
    }
}

#[test]
fn a_client_that_does_not_finish_its_head_is_disconnected() {
    let home = Home::new();
    write_config(&home, "[http]\nheader_read_timeout = \"1s\"\n");
    let daemon = home.start(&[]);
    for begun in ["", "GET /health HTTP/1.1\r\nHos"] {
        let mut stream = TcpStream::connect(daemon.address).unwrap();
        stream.write_all(begun.as_bytes()).unwrap();
        // Returns when the daemon closes; it would not without the timeout
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
    }
}

#[test]
fn connections_beyond_the_limit_wait_for_their_turn() {
    let home = Home::new();
    write_config(&home, "[http]\nconnections_max = 1\n");
    let daemon = home.start(&[]);
    let first = TcpStream::connect(daemon.address).unwrap();
    let mut second = TcpStream::connect(daemon.address).unwrap();
    second
        .write_all(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .unwrap();
    drop(first);
    let mut answer = String::new();
    second.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn the_generated_configuration_is_written_once_and_left_alone() {
    let home = Home::new();
    drop(home.start(&[]));
    let generated = fs::read_to_string(home.config_file()).unwrap();
    assert!(generated.contains("[http]") && generated.contains("header_bytes_max"));
    write_config(&home, "zone = \"mine\"\n");
    drop(home.start(&[]));
    assert_eq!(
        fs::read_to_string(home.config_file()).unwrap(),
        "zone = \"mine\"\n"
    );
}

#[test]
fn what_a_killed_daemon_acknowledged_is_there_after_the_restart() {
    let home = Home::new();
    let daemon = home.start(&[]);
    let token = daemon.token().unwrap().to_owned();
    let names: Vec<_> = (0..5).map(|n| format!("cache-{n}")).collect();
    for name in &names {
        let body = format!("{{\"name\":\"{name}\"}}");
        let answer = daemon.ask(&format!(
            "POST /api/v1/caches HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    }
    daemon.signal(Signal::KILL);
    drop(daemon);
    let again = home.start(&[]);
    let caches = again.get("/api/v1/caches", Some(&token));
    assert!(names.iter().all(|name| caches.contains(name)), "{caches}");
}

#[test]
fn a_data_directory_that_cannot_be_made_is_named() {
    let home = Home::new();
    let file = home.root.path().join("file");
    fs::write(&file, "").unwrap();
    let below: &Path = &file.join("data");
    let refused = stderr(&home.run(&["--listen", "127.0.0.1:0", "--data-dir", below.to_str().unwrap()]));
    assert!(refused.contains(below.to_str().unwrap()), "{refused}");
}
