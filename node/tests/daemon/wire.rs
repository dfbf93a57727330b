//! The socket against clients that misbehave.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::fixture::{Home, exchange, write_config};

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
