//! Power cuts and orderly ends.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use tetryx_testnet::http::Download;
use tetryx_testnet::station::{Settings, Station};
use tetryx_testnet::wire::Wire;
use tetryx_testnet::world::World;

/// Sessions that a power cut left behind may be collected almost at once.
const SHORT_SESSIONS: &str = "[uploads]\nsession_ttl = \"1s\"\n";

/// A moment that the push does not reach counts as one after its end.
const MOMENT: Duration = Duration::from_secs(5);

#[test]
fn a_station_killed_at_fifty_moments_of_a_push_keeps_what_it_promised_and_nothing_else() -> Result<()> {
    let seed = std::env::var("TETRYX_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| fastrand::u64(..));
    kill_fifty_times(seed).with_context(|| format!("repeat with TETRYX_SEED={seed}"))
}

fn kill_fifty_times(seed: u64) -> Result<()> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut world = World::with(Settings {
        config: Some(SHORT_SESSIONS.to_owned()),
        ..Settings::default()
    })?;
    let cache = world.public_cache("mission-alpha")?;
    let batches = world.store.build("batches")?;
    ensure!(batches.len() == 50);
    let (sends, answers) = undisturbed(&batches[0])?;
    let mut promised = BTreeSet::new();
    let mut interrupted = 0;

    for (round, batch) in batches.iter().enumerate() {
        // When the station dies after so many bytes of what the client sends, or of what it is answered
        let wire = Wire::to(world.station.address())?;
        let user = world.user_behind(&wire)?;
        // Names of store paths travel in requests to commit and nowhere else.
        let closure: BTreeSet<_> = user.closure(batch)?.iter().map(|path| base_name(path)).collect();
        wire.watch_for(closure.iter().map(String::as_str));
        let (sent, received) = (wire.sent(), wire.received());
        let mut push = user.start_cli(["push", "mission-alpha", batch])?;
        if random.bool() {
            wire.has_sent(sent + random.u64(0..=sends), MOMENT);
        } else {
            wire.has_received(received + random.u64(0..=answers), MOMENT);
        }
        world.station.kill()?;
        push.kill()?;
        let acknowledged: Vec<_> = push.said().iter().filter_map(|line| acknowledged(line)).collect();
        let asked: BTreeSet<_> = wire.seen().into_iter().collect();
        drop(wire);
        world.station.restart()?;

        // Then what was acknowledged is there, and of what nobody asked to commit there is nothing
        let visible = visible(&world.station)?;
        promised.extend(acknowledged);
        let lost: Vec<_> = promised.difference(&visible).collect();
        ensure!(lost.is_empty(), "round {round}: lost {lost:?}");
        let shown: BTreeSet<_> = visible.intersection(&closure).cloned().collect();
        let strange: Vec<_> = shown.difference(&asked).collect();
        ensure!(
            strange.is_empty(),
            "round {round}: nobody asked to commit {strange:?}"
        );
        interrupted += usize::from(shown.len() < closure.len());
    }
    ensure!(
        interrupted >= 10,
        "only {interrupted} pushes were interrupted: the moments are not where the work is"
    );

    // And everything that is visible is whole
    let store_dir = world.store.store_dir();
    let visible = visible(&world.station)?;
    let paths: Vec<_> = visible
        .iter()
        .map(|name| format!("{}/{name}", store_dir.display()))
        .collect();
    let reader = world.user()?;
    let to = reader.fresh_store("copied")?;
    let args = [
        "copy",
        "--from",
        &cache.url,
        "--to",
        &to,
        "--option",
        "trusted-public-keys",
        &cache.public_key,
    ];
    reader
        .nix(args.into_iter().chain(paths.iter().map(String::as_str)))?
        .ok()?;
    reader.expect_same(&to, &paths)?;

    // And collections leave exactly the chunks that a station has which was never interrupted
    let calm = World::new()?;
    calm.public_cache("mission-alpha")?;
    calm.operator
        .cli(
            ["push", "mission-alpha"]
                .into_iter()
                .chain(paths.iter().map(String::as_str)),
        )?
        .ok()?;
    let needed = store_status(&calm.station)?;
    let left = collect_until(&mut world.station, |left| left["chunks"] == needed["chunks"])?;
    ensure!(left["chunks"] == needed["chunks"], "{left} instead of {needed}");
    // Segments that are mostly live stay as they are: at most half of each is dead.
    let bytes = |status: &serde_json::Value| status["pack_bytes"].as_u64().unwrap_or(u64::MAX);
    ensure!(
        bytes(&left) <= 2 * bytes(&needed) + (1 << 20),
        "{} bytes of packs for {}",
        bytes(&left),
        bytes(&needed)
    );

    // And once the cache is gone, so is everything
    world
        .operator
        .cli(["cache", "destroy", "mission-alpha", "--no-confirm"])?
        .ok()?;
    let left = collect_until(&mut world.station, |left| left["chunks"] == 0)?;
    ensure!(left["chunks"] == 0, "{left}");
    ensure!(
        bytes(&left) < 1 << 20,
        "{} bytes of packs for nothing",
        bytes(&left)
    );
    Ok(())
}

/// Collects garbage on the stopped station until it is as expected, or the last session that a kill left behind has
/// long been over; what the station has then.
fn collect_until(
    station: &mut Station,
    expected: impl Fn(&serde_json::Value) -> bool,
) -> Result<serde_json::Value> {
    let mut left = store_status(station)?;
    for _ in 0..50 {
        if expected(&left) {
            break;
        }
        station.stop()?;
        station.collect_garbage()?;
        station.restart()?;
        left = store_status(station)?;
    }
    Ok(left)
}

/// What a client sends and is answered in a push of a batch that nothing disturbs.
fn undisturbed(batch: &str) -> Result<(u64, u64)> {
    let world = World::new()?;
    world.public_cache("mission-alpha")?;
    let wire = Wire::to(world.station.address())?;
    let user = world.user_behind(&wire)?;
    let (sent, received) = (wire.sent(), wire.received());
    user.cli(["push", "mission-alpha", batch])?.ok()?;
    Ok((wire.sent() - sent, wire.received() - received))
}

/// The path that a line of `tetryx-cli push` says is in the cache.
fn acknowledged(line: &str) -> Option<String> {
    let (_, rest) = line.split_once("✅ ")?;
    rest.split(' ').next().map(str::to_owned)
}

fn base_name(path: &str) -> String {
    path.rsplit('/').next().unwrap_or_default().to_owned()
}

fn visible(station: &Station) -> Result<BTreeSet<String>> {
    let page = station
        .root()
        .get_json("/api/v1/caches/mission-alpha/paths?limit=1000")?;
    let paths = page["paths"].as_array().context("a list of paths")?;
    let names: BTreeSet<String> = paths
        .iter()
        .filter_map(|path| path["store_path"].as_str())
        .map(str::to_owned)
        .collect();
    for path in paths {
        for reference in path["references"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|name| name.as_str())
        {
            ensure!(
                names.contains(reference),
                "{} refers to {reference}, which is not there",
                path["store_path"]
            );
        }
    }
    Ok(names)
}

fn store_status(station: &Station) -> Result<serde_json::Value> {
    Ok(station.root().get_json("/api/v1/status")?["store"].clone())
}

/// A station that has one package, and where its NAR is.
fn with_package() -> Result<(World, String, String)> {
    let world = World::new()?;
    world.public_cache("mission-alpha")?;
    let path = world.store.build("package-1")?.remove(0);
    world.operator.cli(["push", "mission-alpha", &path])?.ok()?;
    let hash = base_name(&path)[..32].to_owned();
    let info = world
        .station
        .http()
        .get(&format!("/mission-alpha/{hash}.narinfo"))?
        .ok()?
        .text();
    let nar = info
        .lines()
        .find_map(|line| line.strip_prefix("URL: "))
        .context("a URL")?;
    Ok((world, path, format!("/mission-alpha/{nar}")))
}

#[test]
fn an_index_that_is_deleted_is_rebuilt_from_the_packs() -> Result<()> {
    let (mut world, path, nar) = with_package()?;
    let before = world.station.http().get(&nar)?.ok()?.body;
    world.station.stop()?;
    fs::remove_file(world.station.data_dir().join("store/index.redb"))?;
    world.station.restart()?;
    ensure!(
        world.station.http().get(&nar)?.ok()?.body == before,
        "another NAR than before"
    );
    // And it knows what it has: the same again costs nothing.
    let said = world.operator.cli(["push", "mission-alpha", &path])?.ok();
    said.map(|_| ())
}

#[test]
fn a_flipped_bit_in_a_pack_is_never_served() -> Result<()> {
    // Given a NAR as it was, and bits flipped all over its packs
    let (mut world, path, nar) = with_package()?;
    let whole = world.station.http().get(&nar)?.ok()?.body;
    world.station.stop()?;
    let packs = packs(&world.station)?;
    let target = packs
        .iter()
        .max_by_key(|(_, length)| *length)
        .context("there are packs")?;
    for part in 1..8 {
        flip(&target.0, target.1 * part / 8)?;
        world.station.restart()?;
        // When it is asked for, Then what comes is the beginning of the truth, and breaks off
        let answer = world.station.http().get(&nar)?;
        ensure!(
            answer.status >= 500 || answer.broke_off,
            "served as if nothing were wrong"
        );
        ensure!(
            answer.status != 200 || whole.starts_with(&answer.body),
            "served a byte that is wrong"
        );
        world.station.stop()?;
        flip(&target.0, target.1 * part / 8)?;
        // What was found damaged stays marked until it is sent again or the index is made anew.
        fs::remove_file(world.station.data_dir().join("store/index.redb"))?;
    }
    // And with the bits back, so is the NAR
    world.station.restart()?;
    ensure!(world.station.http().get(&nar)?.ok()?.body == whole);

    // And Nix, told to copy a damaged path, has nothing afterwards
    world.station.stop()?;
    flip(&target.0, target.1 / 2)?;
    world.station.restart()?;
    let reader = world.user()?;
    let cache = world.cache_info("mission-alpha")?;
    let to = reader.fresh_store("copied")?;
    let copy = reader.nix([
        "copy",
        "--no-check-sigs",
        "--from",
        &cache.url,
        "--to",
        &to,
        &path,
    ])?;
    copy.refused()?;
    reader
        .nix_store(["--store", &to, "-q", "--hash", &path])?
        .refused()?;
    Ok(())
}

#[test]
fn a_damaged_chunk_is_healed_by_pushing_it_again() -> Result<()> {
    let (mut world, path, nar) = with_package()?;
    let whole = world.station.http().get(&nar)?.ok()?.body;
    world.station.stop()?;
    let packs = packs(&world.station)?;
    let target = packs
        .iter()
        .max_by_key(|(_, length)| *length)
        .context("there are packs")?;
    flip(&target.0, target.1 / 2)?;
    world.station.restart()?;
    // Reading finds the damage; what is known to be damaged is asked for again.
    ensure!(world.station.http().get(&nar)?.broke_off);
    world.public_cache("another")?;
    world.operator.cli(["push", "another", &path])?.ok()?;
    ensure!(world.station.http().get(&nar)?.ok()?.body == whole);
    Ok(())
}

/// Nix gets the path, and it is what it was.
fn expect_whole(world: &World, path: &str) -> Result<()> {
    let reader = world.user()?;
    let cache = world.cache_info("mission-alpha")?;
    let to = reader.fresh_store("copied")?;
    let key = &cache.public_key;
    reader
        .nix([
            "copy",
            "--from",
            &cache.url,
            "--to",
            &to,
            path,
            "--option",
            "trusted-public-keys",
            key,
        ])?
        .ok()?;
    reader.expect_same(&to, &[path.to_owned()])
}

fn packs(station: &Station) -> Result<Vec<(std::path::PathBuf, u64)>> {
    let mut packs = Vec::new();
    for entry in fs::read_dir(station.data_dir().join("store"))? {
        let entry = entry?;
        let mut magic = [0; 6];
        let file = fs::File::open(entry.path())?;
        if std::os::unix::fs::FileExt::read_exact_at(&file, &mut magic, 0).is_ok() && &magic == b"txpack" {
            packs.push((entry.path(), entry.metadata()?.len()));
        }
    }
    Ok(packs)
}

fn flip(file: &std::path::Path, at: u64) -> Result<()> {
    use std::os::unix::fs::FileExt as _;
    let file = fs::File::options().read(true).write(true).open(file)?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at)?;
    file.write_all_at(&[byte[0] ^ 0x10], at)?;
    Ok(())
}

#[test]
fn a_station_asked_to_stop_finishes_the_pull_that_is_under_way() -> Result<()> {
    // Given a client in the middle of a NAR
    let (mut world, _, nar) = with_package()?;
    let mut download = Download::start(world.station.address(), &nar)?;
    let mut buffer = vec![0; 64 << 10];
    let mut got = download.read(&mut buffer)? as u64;
    // When the station is asked to stop, and new clients are turned away already
    world.station.ask_to_stop()?;
    let http = world.station.http();
    while http.get("/health").is_ok() {}
    // Then the client gets the rest, and the station ends in good order
    loop {
        match download.read(&mut buffer)? as u64 {
            0 => break,
            more => got += more,
        }
    }
    assert_eq!(got, download.length);
    world.station.wait()?.ok()?;
    world.station.restart()
}

#[test]
fn a_second_daemon_on_the_same_data_is_refused() -> Result<()> {
    let station = Station::start()?;
    let refusal = station.run_second()?.refused()?;
    ensure!(refusal.contains("another tetryx-node uses"), "{refusal}");
    Ok(())
}

#[test]
fn garbage_is_collected_while_the_station_serves_and_while_it_is_stopped() -> Result<()> {
    let (mut world, path, _) = with_package()?;
    world.public_cache("doomed")?;
    let doomed = world.store.build("big")?.remove(0);
    for running in [true, false] {
        // Given a path that was pushed and deleted
        world.operator.cli(["push", "doomed", &doomed])?.ok()?;
        world.operator.cli(["path", "delete", "doomed", &doomed])?.ok()?;
        let before = store_status(&world.station)?;
        // When garbage is collected
        if !running {
            world.station.stop()?;
        }
        world.station.collect_garbage()?;
        if !running {
            world.station.restart()?;
        }
        // Then its space comes back, and what stayed is served
        let after = store_status(&world.station)?;
        let bytes = |status: &serde_json::Value| status["pack_bytes"].as_u64().unwrap_or_default();
        ensure!(
            bytes(&after) + (30 << 20) < bytes(&before),
            "{before} before, {after} after"
        );
        expect_whole(&world, &path)?;
    }
    Ok(())
}

#[test]
fn an_interrupt_is_an_orderly_stop_too() -> Result<()> {
    let mut station = Station::start()?;
    station.signal(Signal::INT)?;
    station.wait()?.ok().map(|_| ())
}
