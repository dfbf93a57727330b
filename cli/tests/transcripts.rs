//! Golden transcripts: what the tool prints, and what it writes, for command lines typed by a person.
//!
//! A file `transcripts/NAME.txt` is a story in one fresh home directory. Lines that begin with
//! - `$ ` are run by `sh` with the tool on the `PATH`,
//! - `| ` are what they print, stdout and stderr as they come,
//! - `? N` give the exit code, if it is not 0,
//! - `> METHOD PATH STATUS FILE` tell a server what to answer from then on, with a file of `answers/`,
//! - `# ` are comments.
//!
//! Run with `UPDATE_TRANSCRIPTS=1` to write what is printed into the files, and review the change.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

type Answers = Arc<Mutex<BTreeMap<String, (u16, String)>>>;

/// A server that knows nothing but the answers it was told.
struct Server {
    address: String,
    answers: Answers,
}

impl Server {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let answers = Answers::default();
        let known = Arc::clone(&answers);
        let own = address.clone();
        // It ends with the process: the listener has no other owner.
        thread::spawn(move || {
            for stream in listener.incoming() {
                answer(stream.unwrap(), &known, &own);
            }
        });
        Self { address, answers }
    }

    fn learn(&self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [method, path, status, file] = words[..] else {
            panic!("'> {line}' is not METHOD PATH STATUS FILE")
        };
        let body = fs::read_to_string(folder().join("answers").join(file)).unwrap();
        self.answers
            .lock()
            .unwrap()
            .insert(format!("{method} {path}"), (status.parse().unwrap(), body));
    }
}

fn answer(stream: TcpStream, answers: &Answers, own: &str) {
    let mut reader = BufReader::new(stream);
    let mut request = String::new();
    reader.read_line(&mut request).unwrap();
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).unwrap();
        if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if header.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let key = request.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
    let known = answers.lock().unwrap().get(&key).cloned();
    let (status, text) = known.unwrap_or_else(|| (500, format!("no answer for {key}")));
    let text = text.replace("SERVER", own);
    let head = format!(
        "HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        text.len()
    );
    reader
        .get_mut()
        .write_all(format!("{head}{text}").as_bytes())
        .unwrap();
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts")
}

/// Runs every command of a transcript, and returns the transcript as it is now.
fn replay(transcript: &str) -> String {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start();
    let mut now = String::new();
    for line in transcript.lines() {
        if let Some(told) = line.strip_prefix("> ") {
            server.learn(told);
        } else if let Some(command) = line.strip_prefix("$ ") {
            now.push_str(&format!("{line}\n{}", run(home.path(), &server, command)));
            continue;
        } else if !line.starts_with("# ") && !line.is_empty() {
            continue;
        }
        now.push_str(&format!("{line}\n"));
    }
    now
}

fn run(home: &Path, server: &Server, command: &str) -> String {
    let tool = Path::new(env!("CARGO_BIN_EXE_tetryx-cli")).parent().unwrap();
    let script = format!("exec 2>&1; {}", command.replace("SERVER", &server.address));
    let output = Command::new("sh")
        .args(["-c", &script])
        .env_clear()
        .env("PATH", format!("{}:/usr/bin:/bin", tool.display()))
        .env("HOME", home)
        .env("NIX_CONF_DIR", home.join("etc-nix"))
        .current_dir(home)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let text = text
        .replace(&server.address, "SERVER")
        .replace(home.to_str().unwrap(), "~");
    let lines = text
        .lines()
        .map(|line| format!("| {line}").trim_end().to_owned() + "\n")
        .collect::<String>();
    match output.status.code() {
        Some(0) => lines,
        code => format!("{lines}? {}\n", code.unwrap()),
    }
}

fn check(name: &str) {
    let file = folder().join(name).with_extension("txt");
    let expected = fs::read_to_string(&file).unwrap();
    let now = replay(&expected);
    if std::env::var_os("UPDATE_TRANSCRIPTS").is_some() {
        fs::write(&file, &now).unwrap();
        return;
    }
    assert_eq!(
        now,
        expected,
        "{} differs; if that is right, run with UPDATE_TRANSCRIPTS=1",
        file.display()
    );
}

#[test]
fn help_tells_every_command_and_option() {
    check("help");
}

#[test]
fn logging_in_keeps_servers_and_their_tokens() {
    check("login");
}

#[test]
fn wrong_use_is_told_with_what_to_do() {
    check("wrong-use");
}

#[test]
fn caches_are_shown_and_changed() {
    check("caches");
}

#[test]
fn paths_and_tokens_are_listed() {
    check("paths-and-tokens");
}

#[test]
fn pins_end_and_space_comes_back() {
    check("collection");
}

#[test]
fn a_doctor_fails_only_on_damage() {
    check("doctor");
}

#[test]
fn nodes_are_invited_listed_drained_and_removed() {
    check("nodes");
}

#[test]
fn use_edits_what_nix_reads_and_keeps_the_rest() {
    check("use");
}

#[test]
fn passes_are_predicted_without_a_server() {
    check("passes");
}

#[test]
fn what_is_registered_is_shown_refreshed_and_its_passes_listed() {
    check("ground");
}
