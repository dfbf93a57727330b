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

#[test]
fn a_promise_broken_on_purpose_is_noticed() -> Result<()> {
    scenario("broken-promise")
}

#[test]
fn a_killed_leader_loses_no_push() -> Result<()> {
    scenario("leader-killed")
}

#[test]
fn a_leader_in_the_minority_takes_pushes_for_later_and_deposes_nobody_when_it_returns() -> Result<()> {
    scenario("minority")
}

#[test]
fn without_a_majority_every_station_serves_and_takes_pushes_for_later() -> Result<()> {
    scenario("majority")
}

#[test]
fn a_leader_that_stood_still_follows() -> Result<()> {
    scenario("paused")
}

#[test]
fn a_station_that_lost_its_disk_joins_again_and_gets_its_copies() -> Result<()> {
    scenario("wiped")
}

#[test]
fn a_full_disk_stops_its_station_only() -> Result<()> {
    scenario("full-disk")
}

#[test]
fn a_station_away_while_200_paths_are_pushed_catches_up() -> Result<()> {
    scenario("blackout")
}

#[test]
fn stations_behind_geostationary_links_take_pushes_and_serve() -> Result<()> {
    scenario("geo")
}

#[test]
fn a_link_cut_one_way_stops_nobody() -> Result<()> {
    scenario("asymmetric-cut")
}

#[test]
fn restarting_every_station_in_turn_loses_no_push() -> Result<()> {
    scenario("rolling-restart")
}

#[test]
fn a_damaged_pack_segment_is_healed_from_the_others() -> Result<()> {
    scenario("corrupted-segment")
}

#[test]
fn a_scrub_finds_and_heals_what_has_rotted() -> Result<()> {
    scenario("scrubbed")
}

#[test]
fn space_of_expired_paths_comes_back_on_every_station_and_what_stays_is_served() -> Result<()> {
    scenario("expired")
}

#[test]
fn a_removed_station_that_keeps_knocking_is_refused() -> Result<()> {
    scenario("removed")
}

#[test]
fn four_stations_join_a_fifth_at_the_same_time() -> Result<()> {
    scenario("five-at-once")
}
