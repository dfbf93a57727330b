//! Every scenario, by its name: run by the program in namespaces of its own.

use std::process::Command;

use anyhow::{Result, ensure};

fn scenario(name: &str) -> Result<()> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tetryx-testnet"));
    command.args(["scenario", name]);
    if let Ok(seed) = std::env::var("TETRYX_SEED") {
        command.args(["--seed", &seed]);
    }
    let output = command.output()?;
    let told = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success(),
        "{}\n{told}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    print(&told);
    Ok(())
}

#[expect(
    clippy::print_stdout,
    reason = "what a scenario tells, for those who ask to see it"
)]
fn print(told: &str) {
    println!("{told}");
}

#[test]
fn emulated_links_delay_lose_limit_and_cut_as_they_are_told() -> Result<()> {
    scenario("links")
}
