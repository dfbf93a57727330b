//! What most tests begin with: a station, and somebody who is logged into it.

use std::sync::Arc;

use anyhow::{Context as _, Result};

use crate::station::{Settings, Station};
use crate::store::PrivateStore;
use crate::user::User;
use crate::wire::Wire;

/// A station, an operator with its root token, and the shared store.
#[derive(Debug)]
pub struct World {
    /// The station.
    pub station: Station,
    /// Logged in as `local` with the root token.
    pub operator: User,
    /// The store that the operator has.
    pub store: Arc<PrivateStore>,
}

/// A cache, as its users need it.
#[derive(Clone, Debug)]
pub struct Cache {
    /// Its name.
    pub name: String,
    /// What Nix takes as a substituter.
    pub url: String,
    /// What its paths are signed with.
    pub public_key: String,
}

impl World {
    /// A station with the defaults.
    ///
    /// # Errors
    /// When anything does not start.
    pub fn new() -> Result<Self> {
        Self::with(Settings::default())
    }

    /// A station with settings.
    ///
    /// # Errors
    /// When anything does not start.
    pub fn with(settings: Settings) -> Result<Self> {
        let station = Station::start_with(settings)?;
        let store = Arc::new(PrivateStore::shared()?);
        let operator = User::new(Arc::clone(&store))?;
        log_in(&operator, "local", &station.url(), station.root_token())?;
        Ok(Self {
            station,
            operator,
            store,
        })
    }

    /// Another user of the same machine, logged into nothing.
    ///
    /// # Errors
    /// When there is no room for a home.
    pub fn user(&self) -> Result<User> {
        User::new(Arc::clone(&self.store))
    }

    /// A user who is logged in through a wire, with the root token.
    ///
    /// # Errors
    /// When the login fails.
    pub fn user_behind(&self, wire: &Wire) -> Result<User> {
        let user = self.user()?;
        log_in(&user, "local", &wire.url(), self.station.root_token())?;
        Ok(user)
    }

    /// Makes a public cache.
    ///
    /// # Errors
    /// When the station refuses.
    pub fn public_cache(&self, name: &str) -> Result<Cache> {
        self.cache(name, &["--public"])
    }

    /// Makes a private cache.
    ///
    /// # Errors
    /// When the station refuses.
    pub fn private_cache(&self, name: &str) -> Result<Cache> {
        self.cache(name, &[])
    }

    fn cache(&self, name: &str, options: &[&str]) -> Result<Cache> {
        let store_dir = self.store.store_dir();
        let store_dir = store_dir.to_str().context("a store directory is UTF-8")?;
        let mut args = vec!["cache", "create", name, "--store-dir", store_dir];
        args.extend(options);
        self.operator.cli(args)?.ok()?;
        self.cache_info(name)
    }

    /// What the station says about a cache.
    ///
    /// # Errors
    /// When it does not know it.
    pub fn cache_info(&self, name: &str) -> Result<Cache> {
        let info = self.station.root().get_json(&format!("/api/v1/caches/{name}"))?;
        let field = |field: &str| {
            info[field]
                .as_str()
                .map(str::to_owned)
                .with_context(|| format!("no {field}"))
        };
        Ok(Cache {
            name: name.to_owned(),
            url: field("substituter_endpoint")?,
            public_key: field("public_key")?,
        })
    }

    /// A token, made by the operator with the options of `tetryx-cli token create`.
    ///
    /// # Errors
    /// When the station refuses.
    pub fn token(&self, subject: &str, options: &[&str]) -> Result<String> {
        let mut args = vec!["token", "create", "--sub", subject, "--validity", "1 day"];
        args.extend(options);
        Ok(self.operator.cli(args)?.ok()?.trim().to_owned())
    }
}

/// Logs a user into a server.
///
/// # Errors
/// When the tool refuses.
pub fn log_in(user: &User, name: &str, url: &str, token: &str) -> Result<()> {
    user.cli(["login", name, url, token])?.ok().map(|_| ())
}
