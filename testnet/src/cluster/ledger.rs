//! What clients were promised, and whether it is kept.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{CACHE, Cluster, load::Pushed, name};

/// The paths that were acknowledged, by base name.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    acknowledged: BTreeSet<String>,
    provisional: BTreeSet<String>,
}

impl Ledger {
    /// Notes what a push was told.
    pub fn note(&mut self, pushed: &Pushed) {
        self.acknowledged.extend(pushed.acknowledged.iter().cloned());
        self.provisional.extend(pushed.provisional.iter().cloned());
    }

    /// Takes over what another one has.
    pub fn add(&mut self, other: Self) {
        self.acknowledged.extend(other.acknowledged);
        self.provisional.extend(other.provisional);
    }

    /// How many paths were promised, for good or provisionally.
    pub fn len(&self) -> usize {
        self.promised().count()
    }

    /// Whether none was.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a path was promised, for good or provisionally.
    pub fn has(&self, path: &str) -> bool {
        let name = base_name(path);
        self.acknowledged.contains(name) || self.provisional.contains(name)
    }

    /// Checks that all of these were promised.
    ///
    /// # Errors
    /// When one was not.
    pub fn expect(&self, paths: &[String]) -> Result<()> {
        for path in paths {
            ensure!(
                self.acknowledged.contains(base_name(path)),
                "{path} was pushed and not acknowledged"
            );
        }
        Ok(())
    }

    /// All promised paths, provisional ones included: those too are to be in the cache in the end.
    fn promised(&self) -> impl Iterator<Item = &String> {
        self.acknowledged.union(&self.provisional)
    }

    /// Checks the promises at these stations: each lists every path, and Nix gets every path from each, bit for bit
    /// what it was.
    ///
    /// # Errors
    /// When one does not.
    pub fn expect_kept(&self, cluster: &Cluster, stations: &[usize]) -> Result<()> {
        for station in stations {
            let listed = listing(cluster, *station)?;
            let lost: Vec<_> = self
                .promised()
                .filter(|path| !listed.contains_key(*path))
                .collect();
            ensure!(lost.is_empty(), "{} does not have {lost:?}", name(*station));
            self.expect_served(cluster, *station)?;
        }
        Ok(())
    }

    /// Checks that Nix gets every promised path from a station, bit for bit what it was.
    ///
    /// # Errors
    /// When it does not.
    pub fn expect_served(&self, cluster: &Cluster, station: usize) -> Result<()> {
        let store_dir = cluster.store().store_dir();
        let paths: Vec<_> = self
            .promised()
            .map(|name| format!("{}/{name}", store_dir.display()))
            .collect();
        expect_pulled(cluster, station, &paths)
    }
}

/// Lets Nix copy paths from a station into an empty store, and compares.
///
/// # Errors
/// When it does not get them, or gets something else.
fn expect_pulled(cluster: &Cluster, station: usize, paths: &[String]) -> Result<()> {
    if paths.is_empty() {
        return Ok(());
    }
    let reader = cluster.user()?;
    let cache = cluster.cache_at(station)?;
    let to = reader.fresh_store("copied")?;
    let options = [
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
        .nix(options.into_iter().chain(paths.iter().map(String::as_str)))?
        .ok()
        .with_context(|| format!("Nix does not get what was pushed from {}", name(station)))?;
    reader
        .expect_same(&to, paths)
        .with_context(|| format!("{} serves something else than was pushed", name(station)))
}

/// What a station lists, by base name: everything that must be the same at all of them.
fn listing(cluster: &Cluster, station: usize) -> Result<BTreeMap<String, Value>> {
    let root = cluster.station(station).root();
    let mut found = BTreeMap::new();
    let mut after = String::new();
    loop {
        let page = root.get_json(&format!("/api/v1/caches/{CACHE}/paths?limit=1000{after}"))?;
        for path in page["paths"].as_array().context("a list of paths")? {
            let name = path["store_path"].as_str().context("a store path")?;
            found.insert(name.to_owned(), path.clone());
        }
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return Ok(found),
        }
    }
}

/// Checks that stations are of one mind.
pub(super) fn expect_agreement(cluster: &Cluster, stations: &[usize]) -> Result<()> {
    let statuses = cluster.statuses(stations)?;
    let (first, one) = statuses.first().context("somebody is asked")?;
    ensure!(one["leader"].is_string(), "nobody leads, says {}", name(*first));
    for (number, status) in &statuses {
        for field in [
            "cluster",
            "leader",
            "term",
            "applied_index",
            "voters",
            "caches",
            "paths",
            "nars",
            "path_bytes",
            "nar_bytes",
        ] {
            ensure!(
                status[field] == one[field],
                "{field} is {} at {} and {} at {}",
                status[field],
                name(*number),
                one[field],
                name(*first)
            );
        }
        let waiting = status["outbox"]["waiting"].as_u64().unwrap_or(0);
        ensure!(
            waiting == 0,
            "{waiting} paths wait in the outbox of {}",
            name(*number)
        );
    }
    if one["caches"].as_u64().unwrap_or(0) == 0 {
        return Ok(());
    }
    let shown = listing(cluster, *first)?;
    for number in &stations[1..] {
        ensure!(
            listing(cluster, *number)? == shown,
            "{} lists something else than {}",
            name(*number),
            name(*first)
        );
    }
    Ok(())
}

/// Checks that all of these stations have compared their states after a log index, with one result.
pub(super) fn expect_audit_since(cluster: &Cluster, stations: &[usize], from: u64) -> Result<()> {
    let mut found: Option<(u64, String, usize)> = None;
    for (number, status) in cluster.statuses(stations)? {
        let audited = &status["state_hash"];
        let index = audited["index"].as_u64().unwrap_or(0);
        ensure!(
            index > from,
            "{} has compared its state at {index}, not after {from}",
            name(number)
        );
        let hash = audited["hash"].as_str().context("a hash")?.to_owned();
        let (there, other, first) = found.get_or_insert((index, hash.clone(), number));
        ensure!(
            (*there, other.as_str()) == (index, hash.as_str()),
            "the state after {index} has the hash {hash} at {}, and after {there} {other} at {}",
            name(number),
            name(*first)
        );
    }
    Ok(())
}

fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}
