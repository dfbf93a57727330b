//! The corpus of the benchmarks: this machine's own files, as about 30 store paths of varied kinds.
//!
//! System libraries, the Rust toolchain, locale data, manuals, headers, documentation of many small files: whatever of
//! [`SOURCES`] a Debian machine with a Rust toolchain has, in the order of the table. Two runs on one machine give
//! the same store paths.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};

use crate::folders;
use crate::process::Finished;
use crate::store::PrivateStore;
use crate::talk::say;
use crate::user::User;

/// Uncompressed bytes that a corpus has at least.
const BYTES_MIN: u64 = 1 << 30;
/// A corpus takes nothing more once it has so many.
const BYTES_MAX: u64 = 1600 << 20;

/// Where something is.
#[derive(Clone, Copy, Debug)]
enum Source {
    /// At this path.
    At(&'static str),
    /// In the Rust toolchain.
    Rust(&'static str),
    /// In `/usr/lib/MACHINE-linux-gnu`.
    Machine(&'static str),
}

use Source::{At, Machine, Rust};

const SOURCES: &[Source] = &[
    Rust("lib"),
    Rust("bin"),
    Rust("libexec"),
    Rust("share/man"),
    Rust("share/doc/rust/html/core"),
    Rust("share/doc/rust/html/book"),
    At("/usr/lib/gcc"),
    At("/usr/lib/git-core"),
    At("/usr/lib/python3"),
    At("/usr/lib/python3.11"),
    At("/usr/lib/python3.13"),
    At("/usr/lib/locale"),
    At("/usr/lib/file"),
    At("/usr/lib/systemd"),
    At("/usr/lib/apt"),
    At("/usr/include"),
    At("/usr/share/doc"),
    At("/usr/share/i18n"),
    At("/usr/share/locale"),
    At("/usr/share/man"),
    At("/usr/share/mime"),
    At("/usr/share/perl"),
    At("/usr/share/perl5"),
    At("/usr/share/vim"),
    At("/usr/share/zoneinfo"),
    At("/usr/share/terminfo"),
    At("/usr/share/common-licenses"),
    At("/usr/share/bash-completion"),
    At("/usr/share/readline"),
    At("/usr/share/sensible-utils"),
    At("/usr/share/base-files"),
    Machine("gconv"),
    Machine("perl"),
    Machine("perl-base"),
    Machine("libc.a"),
    Machine("libicudata.a"),
    Machine("libcrypto.a"),
    At("/usr/bin"),
];

/// The corpus in its store.
#[derive(Debug)]
pub struct Corpus {
    /// Where the store is.
    pub store: Arc<PrivateStore>,
    /// The paths, in the order of the table.
    pub items: Vec<Item>,
}

/// One path of it.
#[derive(Clone, Debug)]
pub struct Item {
    /// `/nix/store/…`.
    pub path: String,
    /// Its NAR in bytes.
    pub nar_size: u64,
}

impl Corpus {
    /// Makes the corpus in a folder, or finds it made.
    ///
    /// # Errors
    /// When this machine has too few files, or Nix does not take them.
    pub fn open(folder: &Path) -> Result<Self> {
        let store = Arc::new(PrivateStore::open(&folder.join("nix"))?);
        let listing = folder.join("listing.txt");
        if !listing.exists() {
            make(&User::new(Arc::clone(&store))?, &listing)?;
        }
        let text =
            fs::read_to_string(&listing).with_context(|| format!("cannot read {}", listing.display()))?;
        let items = text
            .lines()
            .map(|line| {
                let mut words = line.split('\t');
                let (path, size) = (words.next(), words.next());
                Some(Item {
                    path: path?.to_owned(),
                    nar_size: size?.parse().ok()?,
                })
            })
            .collect::<Option<Vec<_>>>()
            .with_context(|| format!("{} is damaged; remove its folder", listing.display()))?;
        let dir = store.store_dir();
        if !items.iter().all(|item| Path::new(&item.path).starts_with(&dir)) {
            bail!(
                "{} is of another store directory; remove its folder",
                listing.display()
            );
        }
        Ok(Self { store, items })
    }

    /// The default folder.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn default_folder() -> Result<PathBuf> {
        Ok(folders::kept()?.join("corpus"))
    }

    /// Uncompressed bytes in all.
    pub fn bytes(&self) -> u64 {
        self.items.iter().map(|item| item.nar_size).sum()
    }

    /// The same in MiB.
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    pub fn mib(&self) -> f64 {
        self.bytes() as f64 / f64::from(1 << 20)
    }

    /// The store paths.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.items.iter().map(|item| item.path.as_str())
    }
}

/// `tetryx-testnet corpus`.
///
/// # Errors
/// When the corpus cannot be made.
pub fn run(out: Option<PathBuf>) -> Result<()> {
    let folder = out.map_or_else(Corpus::default_folder, Ok)?;
    let corpus = Corpus::open(&folder)?;
    for item in &corpus.items {
        say(&format!("{:>12}  {}", item.nar_size, item.path))?;
    }
    say(&format!(
        "{:>12}  in {} paths",
        corpus.bytes(),
        corpus.items.len()
    ))
}

/// Adds the sources to the store and writes down what came of them.
fn make(user: &User, listing: &Path) -> Result<()> {
    let mut lines = String::new();
    let mut total = 0;
    for source in SOURCES.iter().filter_map(|source| locate(*source).transpose()) {
        let source = source?;
        if total >= BYTES_MAX {
            break;
        }
        let name = source
            .strip_prefix("/")
            .unwrap_or(&source)
            .to_string_lossy()
            .replace('/', "-");
        // A home's folders say nothing about the content; the toolchain's own folder is what tells.
        let name = name
            .rsplit_once("toolchains-")
            .map_or(name.as_str(), |(_, rest)| rest);
        let added = user
            .nix(["store", "add-path", "--name", name, &source.to_string_lossy()])?
            .ok();
        let path = added.with_context(|| format!("cannot add {}", source.display()))?;
        let size = user.nix_store(["-q", "--size", &path])?.ok()?;
        let size: u64 = size
            .trim()
            .parse()
            .with_context(|| format!("the size of {path}"))?;
        total += size;
        lines.push_str(&format!("{path}\t{size}\t{}\n", source.display()));
    }
    if total < BYTES_MIN {
        bail!(
            "this machine has {total} bytes of the corpus's files, and it takes {BYTES_MIN}; install more of Debian, \
             for example: apt-get install build-essential git python3 vim perl manpages-dev"
        );
    }
    fs::write(listing, lines).with_context(|| format!("cannot write {}", listing.display()))
}

/// The path of a source, if this machine has it.
fn locate(source: Source) -> Result<Option<PathBuf>> {
    let path = match source {
        At(path) => PathBuf::from(path),
        Rust(inside) => {
            let mut command = Command::new("rustc");
            command.args(["--print", "sysroot"]);
            PathBuf::from(Finished::run(command)?.ok()?.trim()).join(inside)
        }
        Machine(inside) => Path::new("/usr/lib")
            .join(format!("{}-linux-gnu", std::env::consts::ARCH))
            .join(inside),
    };
    Ok(path.exists().then_some(path))
}
