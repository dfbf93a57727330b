//! First start, later starts, signals, crashes.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;

use rustix::process::Signal;

use crate::fixture::{Home, errors, write_config};

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
fn port_zero_takes_a_free_port_and_prints_it() {
    let home = Home::new();
    let other = Home::new();
    let (one, two) = (home.start(&[]), other.start(&[]));
    assert_ne!(one.address.port(), 0);
    assert_ne!(one.address, two.address);
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
