//! `up`: stations for people to play with.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tetryx_testnet::http::Http;

/// Ends the program if the test does not.
struct Up(Child);

impl Drop for Up {
    fn drop(&mut self) {
        // It may have ended, and there is nobody to tell.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn stations_that_are_up_are_reached_from_outside_until_ctrl_c() -> Result<()> {
    // Given two stations
    let mut up = Up(Command::new(env!("CARGO_BIN_EXE_tetryx-testnet"))
        .args(["up", "--nodes", "2", "--profile", "fibre", "--link", "hawaii=leo"])
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()?);
    let (mut urls, mut token) = (Vec::new(), String::new());
    for line in BufReader::new(up.0.stdout.take().context("stdout is piped")?).lines() {
        let line = line?;
        if let Some((_, login)) = line.split_once(" login ") {
            let words: Vec<_> = login.split(' ').collect();
            urls.push(words[1].to_owned());
            token = words[2].to_owned();
        }
        if line.starts_with("Ctrl-C") {
            break;
        }
    }
    ensure!(urls.len() == 2, "{urls:?}");
    // When each is asked at the URL that was printed, Then both are members of one cluster
    for url in &urls {
        let status = Http::new(url, Some(&token)).get_json("/api/v1/status")?;
        ensure!(status["members"]["total"] == 2, "{status}");
    }
    // And after Ctrl-C neither answers
    let id = Pid::from_raw(i32::try_from(up.0.id())?).context("a process id")?;
    kill_process(id, Signal::INT)?;
    up.0.wait()?;
    for url in &urls {
        ensure!(
            Http::new(url, None).get("/health").is_err(),
            "{url} still answers"
        );
    }
    Ok(())
}
