//! The tutorial, typed line by line by somebody new: every command of `docs/tutorial.md` runs, and prints what the
//! tutorial says, up to what differs from machine to machine.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use tetryx_testnet::binaries;
use tetryx_testnet::process::{Finished, Running};
use tetryx_testnet::store::PrivateStore;
use tetryx_testnet::user::User;

/// What the tutorial's reader types, and what the tutorial prints below it.
struct Step {
    command: String,
    printed: Vec<String>,
}

/// The steps of the second terminal: the first block of the tutorial is the first terminal.
fn steps(tutorial: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut in_block = false;
    let mut blocks = 0;
    for line in tutorial.lines() {
        if line.starts_with("```") {
            in_block = line == "```console";
            blocks += usize::from(in_block);
        } else if in_block && blocks > 1 {
            match line.strip_prefix("$ ") {
                Some(command) => steps.push(Step {
                    command: command.to_owned(),
                    printed: Vec::new(),
                }),
                None => steps
                    .last_mut()
                    .expect("a block begins with a command")
                    .printed
                    .push(line.to_owned()),
            }
        }
    }
    steps
}

/// The lines without what differs from run to run: words with digits, units of sizes, tokens, the order of lists that
/// are sorted by random ids, and warnings of a Nix that has no network.
fn shape(lines: &[String]) -> Vec<String> {
    let word = |word: &str| {
        let word = word.trim_matches(|c| "(),".contains(c));
        match word {
            "KiB" | "MiB" | "KiB/s" | "MiB/s" => "SIZE".to_owned(),
            word if word.chars().any(|c| c.is_ascii_digit()) => "#".to_owned(),
            word => word.to_owned(),
        }
    };
    let mut shape: Vec<String> = lines
        .iter()
        .filter(|line| !line.trim().is_empty() && !line.contains("https://cache.nixos.org"))
        // How this bash says that a job was killed.
        .filter(|line| !line.starts_with("bash: line "))
        // Whose clock is a few milliseconds ahead is measured, like the milliseconds.
        .map(|line| line.replace(" ms ahead of ", " ms behind "))
        .map(|line| line.split_whitespace().map(word).collect::<Vec<_>>().join(" "))
        .collect();
    shape.sort();
    shape
}

/// The ports of the tutorial's second and third station.
const PORTS: [&str; 6] = [":8081", ":4490", ":4491", ":8082", ":4590", ":4591"];

/// Ports that are free at this moment, for TCP.
fn free_ports(count: usize) -> Result<Vec<u16>> {
    let held: Vec<_> = (0..count)
        .map(|_| TcpListener::bind(("127.0.0.1", 0)))
        .collect::<Result<_, _>>()?;
    held.iter()
        .map(|socket| Ok(socket.local_addr()?.port()))
        .collect()
}

#[test]
fn the_tutorial_works_as_printed() -> Result<()> {
    // Given a new machine: a home, a Nix store, the two programs, a station started as the tutorial does
    let tutorial = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/tutorial.md");
    let steps = steps(&fs::read_to_string(tutorial).context("docs/tutorial.md")?);
    let user = User::new(Arc::new(PrivateStore::shared()?))?;
    let mut node = user.command(binaries::node()?);
    node.args(["--listen", "127.0.0.1:0"]).args([
        "--p2p-listen",
        "127.0.0.1:0",
        "--gossip-listen",
        "127.0.0.1:0",
    ]);
    let node = Running::start(node)?;
    let login = node.wait_for_line("how to log in", |line| {
        line.trim()
            .strip_prefix("tetryx-cli login")
            .map(|_| line.trim().to_owned())
    })?;
    node.wait_for_line("where it listens", |line| {
        line.strip_prefix("Listening on ").map(drop)
    })?;
    let url = login
        .split_whitespace()
        .nth(3)
        .context("the login line names a URL")?
        .to_owned();

    // When every line is typed into one shell; the ports of its other stations may be taken here
    let ports = free_ports(PORTS.len())?;
    let mut script = String::from("exec 2>&1\ntrap 'kill -KILL $(jobs -p) 2>/dev/null' EXIT\n");
    for step in &steps {
        let command = match step.command.as_str() {
            line if line.starts_with("export PATH=") => "true",
            line if line.starts_with("tetryx-cli login local") => &login,
            line => line,
        };
        let mut command = command.replace("http://localhost:8080", &url);
        for (theirs, ours) in PORTS.iter().zip(&ports) {
            command = command.replace(theirs, &format!(":{ours}"));
        }
        script.push_str(&command);
        script.push_str("\necho; echo \"== end\"\n");
    }
    let clone = user.home().join("clone");
    fs::create_dir(&clone).context("cannot make a folder")?;
    let programs = binaries::cli()?
        .parent()
        .context("the programs have a folder")?
        .to_owned();
    let mut shell = user.command("bash");
    shell
        .args(["-c", &script])
        .current_dir(&clone)
        .env(
            "PATH",
            format!(
                "{}:{}",
                programs.display(),
                std::env::var("PATH").unwrap_or_default()
            ),
        )
        // The lists of substituters and keys are those of the files, as for anybody.
        .env(
            "NIX_CONFIG",
            "build-users-group =\nsandbox = false\nconnect-timeout = 1\ndownload-attempts = 1\n",
        );
    let printed = Finished::run(shell)?.ok()? + "\n";

    // Then each has printed what the tutorial says
    let mut outputs = printed.split("== end\n");
    for step in &steps {
        let output: Vec<String> = outputs
            .next()
            .unwrap_or_default()
            .lines()
            .map(str::to_owned)
            .collect();
        let abridged = step.printed.iter().any(|line| line.contains('…'));
        ensure!(
            abridged || shape(&output) == shape(&step.printed),
            "$ {}\nprinted\n{}\nbut the tutorial says\n{}",
            step.command,
            output.join("\n"),
            step.printed.join("\n")
        );
    }
    Ok(())
}
