//! Missions, satellites and stations by hand: registered, refreshed from a web server, and their passes listed.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tetryx_testnet::user::User;
use tetryx_testnet::world::{World, log_in};

const ISS: &str = "ISS (ZARYA)\n1 25544U 98067A   08264.51782528 -.00002182  00000-0 -11606-4 0  2927\n\
                   2 25544  51.6416 247.4627 0006703 130.5360 325.0288 15.72125391563537\n";
const ISS_LATER: &str = "ISS (ZARYA)\n1 25544U 98067A   08265.51782528 -.00002182  00000-0 -11606-4 0  2928\n\
                         2 25544  51.6416 247.4627 0006703 130.5360 325.0288 15.72125391563537\n";

/// A web server with one file, until the process ends. Gives its address.
fn serve(file: &'static str) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A reader that went away asks again.
            drop(answer(stream, file));
        }
    });
    Ok(format!("http://{address}/gp.php"))
}

fn answer(stream: TcpStream, file: &str) -> Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    let length = file.len();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    Ok(reader.get_mut().write_all(format!("{head}{file}").as_bytes())?)
}

/// A file in the user's home.
fn file(user: &User, name: &str, text: &str) -> Result<String> {
    let path = user.folder(name);
    fs::write(&path, text)?;
    path.into_os_string().into_string().ok().context("UTF-8")
}

/// A station with a mission, a satellite and an antenna on it.
fn registered() -> Result<World> {
    let world = World::new()?;
    let elements = file(&world.operator, "iss.tle", ISS)?;
    let operator = &world.operator;
    operator
        .cli(["mission", "add", "crewed", "--priority", "5"])?
        .ok()?;
    let satellite = ["satellite", "add", "ISS (ZARYA)", "--mission", "crewed"];
    let more = ["--elements", &elements, "--link", "down:145.8MHz"];
    operator.cli(satellite.iter().chain(&more))?.ok()?;
    let station = [
        "station",
        "add",
        "zurich",
        "--site",
        "47.37,8.54,430",
        "--mask",
        "10",
    ];
    operator.cli(station)?.ok()?;
    Ok(world)
}

const WINDOW: [&str; 4] = ["--from", "2008-09-20T13:00:00Z", "--hours", "24"];

fn parsed(text: &str) -> Result<Vec<Value>> {
    serde_json::from_str(text).with_context(|| format!("no JSON array: {text}"))
}

#[test]
fn what_is_registered_has_the_passes_that_its_elements_have() -> Result<()> {
    // Given a registered satellite and station
    let mut world = registered()?;
    // When their passes are listed, and predicted from the same elements without a server
    let list = ["pass", "list", "--json"];
    let listed = parsed(&world.operator.cli(list.iter().chain(&WINDOW))?.ok()?)?;
    let elements = world.operator.folder("iss.tle");
    let elements = elements.to_str().context("UTF-8")?;
    let predict = ["pass", "predict", "--json", "--elements", elements];
    let over = ["--site", "47.37,8.54,430", "--mask", "10"];
    let words = predict.iter().chain(&over).chain(&WINDOW);
    let predicted = parsed(&world.operator.cli(words)?.ok()?)?;
    // Then they are the same, to the millisecond to which the schedule keeps time
    ensure!(listed.len() == 5, "{listed:?}");
    for (listed, predicted) in listed.iter().zip(&predicted) {
        let seconds = |pass: &Value| pass["duration_s"].as_f64().context("a duration");
        ensure!(
            (seconds(listed)? - seconds(predicted)?).abs() < 0.01,
            "{listed} {predicted}"
        );
        let highest = |pass: &Value| pass["elevation_deg_max"].as_f64().context("an elevation");
        ensure!((highest(listed)? - highest(predicted)?).abs() < 1e-4);
        ensure!(listed["station"] == "zurich" && listed["antennas"][0] == "main");
    }
    // And they are after a restart
    world.station.restart()?;
    let again = parsed(&world.operator.cli(list.iter().chain(&WINDOW))?.ok()?)?;
    ensure!(again == listed);
    // And as a table for programs and as a calendar
    let csv = world
        .operator
        .cli(["pass", "list", "--csv"].iter().chain(&WINDOW))?
        .ok()?;
    ensure!(
        csv.lines().count() == 6 && csv.starts_with("satellite,catalogue_number,"),
        "{csv}"
    );
    let calendar = world
        .operator
        .cli(["pass", "list", "--ical"].iter().chain(&WINDOW))?
        .ok()?;
    ensure!(calendar.starts_with("BEGIN:VCALENDAR\r\n") && calendar.ends_with("END:VCALENDAR\r"));
    ensure!(calendar.matches("BEGIN:VEVENT").count() == 5, "{calendar}");
    ensure!(calendar.contains("DTSTART:20080920T181957Z\r\n"), "{calendar}");
    ensure!(calendar.lines().all(|line| line.len() <= 75), "{calendar}");
    Ok(())
}

#[test]
fn elements_are_refreshed_from_a_web_server_and_bad_ones_cost_no_other() -> Result<()> {
    // Given a registered satellite, and a web server with newer elements
    let world = registered()?;
    let url = serve(ISS_LATER)?;
    let refresh = |source: &str| world.operator.cli(["elements", "refresh", source]);
    // When they are fetched, Then the satellite has them, and keeps the older ones
    let first = refresh(&url)?;
    ensure!(first.stderr.contains("1 satellite updated"), "{first:?}");
    ensure!(first.ok()?.contains("ISS (ZARYA)  updated"));
    ensure!(refresh(&url)?.stderr.contains("1 unchanged"));
    let shown = world
        .operator
        .cli(["satellite", "show", "ISS (ZARYA)", "--json"])?
        .ok()?;
    let shown: Value = serde_json::from_str(&shown)?;
    ensure!(shown["history"].as_array().map(Vec::len) == Some(2), "{shown}");
    ensure!(
        shown["elements"]
            .as_str()
            .is_some_and(|text| text.contains("08265")),
        "{shown}"
    );
    // When a file has a bad entry, Then it is told with its place, and the others are taken
    let mixed = format!("{}{ISS}", ISS_LATER.replace("2928", "2921"));
    let path = file(&world.operator, "mixed.tle", &mixed)?;
    let answer = refresh(&format!("file://{path}"))?;
    ensure!(answer.status.code() == Some(1), "{answer:?}");
    ensure!(answer.stderr.contains("line 2, column 69"), "{answer:?}");
    ensure!(answer.stderr.contains("1 older than what is held"), "{answer:?}");
    // When nobody answers, Then that is told with the address
    let answer = refresh("http://127.0.0.1:1/gp.php")?;
    ensure!(answer.status.code() == Some(2) && answer.stderr.contains("cannot fetch http://127.0.0.1:1"));
    Ok(())
}

#[test]
fn a_token_changes_what_its_grants_name_and_reads_the_rest() -> Result<()> {
    // Given a crew whose token acts for one mission, and an operator's for one station
    let world = registered()?;
    world.operator.cli(["mission", "add", "other"])?.ok()?;
    let crew = world.user()?;
    let token = world.token("crew", &["--mission", "crew*"])?;
    log_in(&crew, "local", &world.station.url(), &token)?;
    let operator = world.user()?;
    let token = world.token("operator", &["--station", "zurich"])?;
    log_in(&operator, "local", &world.station.url(), &token)?;
    // Then each changes its own, and not the other's
    let update = [
        "satellite",
        "update",
        "ISS (ZARYA)",
        "--link",
        "voice=down:145.8MHz",
    ];
    crew.cli(update)?.ok()?;
    let refusal = operator.cli(update)?.refused()?;
    ensure!(refusal.contains("grant for mission 'crewed'"), "{refusal}");
    let away = ["satellite", "update", "ISS (ZARYA)", "--mission", "other"];
    ensure!(crew.cli(away)?.refused()?.contains("grant for mission 'other'"));
    let maintenance = [
        "station",
        "maintenance",
        "zurich",
        "--from",
        "2026-03-02T12:00:00Z",
    ];
    let rest = ["--to", "2026-03-02T14:00:00Z", "--reason", "new bearings"];
    operator.cli(maintenance.iter().chain(&rest))?.ok()?;
    ensure!(
        crew.cli(maintenance.iter().chain(&rest))?
            .refused()?
            .contains("station 'zurich'")
    );
    // And both see everything
    for user in [&crew, &operator] {
        ensure!(
            user.cli(["satellite", "show", "ISS (ZARYA)"])?
                .ok()?
                .contains("voice down 145.8 MHz")
        );
        ensure!(
            user.cli(["station", "show", "zurich"])?
                .ok()?
                .contains("new bearings")
        );
        ensure!(user.cli(["mission", "list"])?.ok()?.contains("crewed"));
    }
    // And a mission with satellites stays
    let refusal = world.operator.cli(["mission", "remove", "crewed"])?.refused()?;
    ensure!(refusal.contains("has the satellite ISS (ZARYA)"), "{refusal}");
    world.operator.cli(["satellite", "remove", "ISS (ZARYA)"])?.ok()?;
    world.operator.cli(["mission", "remove", "crewed"])?.ok()?;
    Ok(())
}
