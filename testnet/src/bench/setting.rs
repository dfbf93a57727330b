//! What all benchmarks begin with: the corpus, a station that has it, and the peer's folder with the same.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};

use crate::clock::Stopwatch;
use crate::corpus::Corpus;
use crate::folders::{self, Temporary};
use crate::process::Finished;
use crate::station::Station;
use crate::user::User;
use crate::world::log_in;

/// The name of the cache in every benchmark.
pub(super) const CACHE: &str = "bench";

#[derive(Debug)]
pub(super) struct Setting {
    pub(super) corpus: Corpus,
    pub(super) rounds: usize,
}

/// A station, and a user who is logged into it and has the corpus.
#[derive(Debug)]
pub(super) struct Bench {
    pub(super) station: Station,
    pub(super) user: User,
}

impl Setting {
    /// An empty station with an empty public cache.
    pub(super) fn empty(&self) -> Result<Bench> {
        let station = Station::start()?;
        let user = User::new(Arc::clone(&self.corpus.store))?;
        log_in(&user, "local", &station.url(), station.root_token())?;
        let bench = Bench { station, user };
        self.make_cache(&bench.user, CACHE)?;
        Ok(bench)
    }

    /// A station whose cache has the corpus.
    pub(super) fn filled(&self) -> Result<Bench> {
        let bench = self.empty()?;
        self.push(&bench.user, CACHE)?;
        Ok(bench)
    }

    pub(super) fn make_cache(&self, user: &User, name: &str) -> Result<()> {
        let store_dir = self.corpus.store.store_dir();
        let store_dir = store_dir.to_str().context("a store directory is UTF-8")?;
        user.cli(["cache", "create", name, "--public", "--store-dir", store_dir])?
            .ok()
            .map(|_| ())
    }

    /// Waits until everything written so far is on disk, so that nobody pays for what another wrote.
    pub(super) fn settle() -> Result<()> {
        Finished::run(Command::new("sync"))?.ok().map(|_| ())
    }

    /// Pushes the corpus with the default of five jobs; the seconds it took.
    pub(super) fn push(&self, user: &User, cache: &str) -> Result<f64> {
        let watch = Stopwatch::start();
        user.cli(["push", cache].into_iter().chain(self.corpus.paths()))?
            .ok()?;
        Ok(watch.seconds())
    }

    /// What plain Nix makes of the corpus: a folder that any web server can serve as a cache, with zstd.
    pub(super) fn nix_copy(&self) -> Result<Folder> {
        let user = User::new(Arc::clone(&self.corpus.store))?;
        let folder = folders::temporary("nix-copy-")?;
        let to = format!("file://{}?compression=zstd", folder.path().display());
        let watch = Stopwatch::start();
        user.nix(
            ["copy", "--to", to.as_str()]
                .into_iter()
                .chain(self.corpus.paths()),
        )?
        .ok()?;
        Ok(Folder {
            seconds: watch.seconds(),
            folder,
        })
    }
}

impl Bench {
    /// The narinfo of every path of the corpus, as served, with the path of its NAR on the server.
    pub(super) fn narinfos(&self, corpus: &Corpus) -> Result<Vec<Served>> {
        let http = self.station.http();
        let serve = |path: &str| {
            let name = path.rsplit('/').next().unwrap_or_default();
            let hash = name
                .get(..32)
                .with_context(|| format!("{path} is no store path"))?;
            let text = http.get(&format!("/{CACHE}/{hash}.narinfo"))?.ok()?.text();
            let url = text
                .lines()
                .find_map(|line| line.strip_prefix("URL: "))
                .context("a narinfo has a URL")?;
            Ok(Served {
                hash: hash.to_owned(),
                nar: url.to_owned(),
                text,
            })
        };
        corpus.paths().map(serve).collect()
    }

    /// Copies what the station serves into a folder, byte for byte, for another server to serve.
    pub(super) fn mirror(&self, corpus: &Corpus, folder: &Path) -> Result<Vec<Served>> {
        let served = self.narinfos(corpus)?;
        let http = self.station.http();
        fs::create_dir_all(folder.join("nar")).context("cannot make a folder")?;
        fs::write(
            folder.join("nix-cache-info"),
            http.get(&format!("/{CACHE}/nix-cache-info"))?.ok()?.body,
        )?;
        for item in &served {
            fs::write(folder.join(format!("{}.narinfo", item.hash)), &item.text)?;
            let nar = http.get(&format!("/{CACHE}/{}", item.nar))?.ok()?.body;
            ensure!(!nar.is_empty(), "{} is empty", item.nar);
            fs::write(folder.join(&item.nar), nar).with_context(|| format!("cannot write {}", item.nar))?;
        }
        Ok(served)
    }
}

/// A path as it is served.
#[derive(Clone, Debug)]
pub(super) struct Served {
    pub(super) hash: String,
    /// Relative to the cache.
    pub(super) nar: String,
    pub(super) text: String,
}

/// What `nix copy` made.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) seconds: f64,
    folder: Temporary,
}

impl Folder {
    pub(super) fn path(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// Bytes of the compressed NARs.
    pub(super) fn nar_bytes(&self) -> Result<u64> {
        let entries = fs::read_dir(self.folder.path().join("nar")).context("nix copy made no NARs")?;
        entries.map(|entry| Ok(entry?.metadata()?.len())).sum()
    }
}
