//! Nix stores to build in and to push from.
//!
//! The store is a folder of ours that stands at `/nix` for our commands only ([`Namespace`]), so that paths are
//! `/nix/store/…` as everywhere. Where that is not allowed, or where Nix itself lives in `/nix`, it is a store with
//! another store directory (`NIX_STORE_DIR`), which a cache has to be told of.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::folders;
use crate::namespace::Namespace;
use crate::process::Finished;

/// The derivations that tests and demo push.
const CLOSURE: &str = include_str!("../nix/closure.nix");

/// A store that nobody else on this machine sees.
#[derive(Debug)]
pub struct PrivateStore {
    folder: PathBuf,
    place: Place,
}

#[derive(Debug)]
enum Place {
    /// At `/nix`, inside the namespace.
    Mounted(Namespace),
    /// Where the folder is.
    Elsewhere,
}

impl PrivateStore {
    /// Opens the store in `folder`, making it if need be; at `/nix` if this machine allows it.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn open(folder: &Path) -> Result<Self> {
        match Self::at_nix(folder) {
            Ok(store) => Ok(store),
            Err(_) => Self::elsewhere(folder),
        }
    }

    /// Opens the store in `folder` as `/nix`.
    ///
    /// # Errors
    /// When private mounts are not allowed, `/nix` does not exist, or Nix itself lives there.
    pub fn at_nix(folder: &Path) -> Result<Self> {
        if nix_program()?.starts_with("/nix") {
            bail!("this machine's Nix lives in /nix and would be hidden");
        }
        make(folder)?;
        let nix = Path::new("/nix");
        if !nix.is_dir() {
            fs::create_dir(nix).context("there is no folder /nix; make it as root: mkdir /nix")?;
        }
        let namespace = Namespace::new()?;
        namespace.bind(folder, nix)?;
        Ok(Self {
            folder: folder.to_owned(),
            place: Place::Mounted(namespace),
        })
    }

    /// Opens the store in `folder` with the store directory `folder/store`.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn elsewhere(folder: &Path) -> Result<Self> {
        make(folder)?;
        let folder = folder
            .canonicalize()
            .with_context(|| format!("cannot resolve {}", folder.display()))?;
        Ok(Self {
            folder,
            place: Place::Elsewhere,
        })
    }

    /// The store that all tests of this build share, with [`Self::build`]'s derivations already there from earlier
    /// runs. Nix itself guards it against being used by several at once.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn shared() -> Result<Self> {
        Self::open(&folders::kept()?.join("nix"))
    }

    /// What the store calls its own directory.
    pub fn store_dir(&self) -> PathBuf {
        match self.place {
            Place::Mounted(_) => PathBuf::from("/nix/store"),
            Place::Elsewhere => self.folder.join("store"),
        }
    }

    /// Whether its paths are `/nix/store/…`.
    pub fn is_default(&self) -> bool {
        matches!(self.place, Place::Mounted(_))
    }

    /// Where a path of the store lies for programs outside of the namespace.
    ///
    /// # Errors
    /// When the path is not of this store.
    pub fn on_disk(&self, store_path: &str) -> Result<PathBuf> {
        let dir = self.store_dir();
        let inside = Path::new(store_path).strip_prefix(&dir);
        let inside = inside.with_context(|| format!("{store_path} is not in {}", dir.display()))?;
        Ok(self.folder.join("store").join(inside))
    }

    /// A command that sees this store as its local one. `home` is where it keeps its own things.
    pub fn command(&self, program: impl AsRef<Path>, home: &Path) -> Command {
        let mut command = match &self.place {
            Place::Mounted(namespace) => namespace.command(program),
            Place::Elsewhere => Command::new(program.as_ref()),
        };
        for name in [
            "NIX_PATH",
            "NIX_CONF_DIR",
            "NIX_USER_CONF_FILES",
            "NIX_SSL_CERT_FILE",
            "http_proxy",
            "all_proxy",
        ] {
            command.env_remove(name);
        }
        command
            .env("HOME", home)
            .env("USER", "tester")
            .env("XDG_CACHE_HOME", home.join(".cache"))
            .env("XDG_CONFIG_HOME", home.join(".config"))
            .env("XDG_DATA_HOME", home.join(".local/share"))
            .env("XDG_STATE_HOME", home.join(".local/state"))
            .env("NIX_REMOTE", "local")
            .env("NIX_CONFIG", NIX_CONFIG);
        if let Place::Elsewhere = self.place {
            command
                .env("NIX_STORE_DIR", self.folder.join("store"))
                .env("NIX_STATE_DIR", self.folder.join("var"))
                .env("NIX_LOG_DIR", self.folder.join("log"));
        }
        command
    }

    /// Builds an attribute of the test closure, or finds it built, and says where its outputs are.
    ///
    /// # Errors
    /// When the build fails.
    pub fn build(&self, attribute: &str) -> Result<Vec<String>> {
        let _alone = folders::lock(&self.folder.join("build.lock"))?;
        let file = self.folder.join("closure.nix");
        if fs::read_to_string(&file).ok().as_deref() != Some(CLOSURE) {
            fs::write(&file, CLOSURE).with_context(|| format!("cannot write {}", file.display()))?;
        }
        let home = self.folder.join("home");
        let mut command = self.command("nix-build", &home);
        command.arg(&file).args(["-A", attribute, "--no-out-link"]);
        let built = Finished::run(command)?
            .ok()
            .with_context(|| format!("cannot build {attribute}"))?;
        Ok(built.lines().map(str::to_owned).collect())
    }
}

/// For every Nix that the harness runs: as the user who runs it, without a network, and without waiting for the disk,
/// since its stores need not survive a power cut.
pub const NIX_CONFIG: &str = "build-users-group =\nsandbox = false\nsubstituters =\nexperimental-features = nix-command\n\
    connect-timeout = 5\ndownload-attempts = 5\nstalled-download-timeout = 20\nfsync-metadata = false\n";

fn make(folder: &Path) -> Result<()> {
    for part in ["store", "var", "log", "home"] {
        let part = folder.join(part);
        fs::create_dir_all(&part).with_context(|| format!("cannot make {}", part.display()))?;
    }
    Ok(())
}

/// Where this machine's Nix really is.
fn nix_program() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .map(|folder| folder.join("nix-store"))
        .find(|file| file.exists());
    let found = found
        .context("cannot find 'nix-store'; run testnet/setup.sh, or on Debian: apt-get install nix-bin")?;
    found.canonicalize().context("cannot resolve nix-store")
}
