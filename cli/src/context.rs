//! What a command works with: how to print, and which server to talk to.

use anyhow::{Result, bail};

use crate::api::{Client, Patience};
use crate::args::Global;
use crate::config::{self, Config};
use crate::reference::{CacheRef, ServerName};
use crate::render::Render;

/// The resolved global options.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    /// Where output goes.
    pub(crate) render: Render,
    server: Option<ServerName>,
}

/// A server that was logged in to.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    /// Its name here.
    pub(crate) name: ServerName,
    /// Its token, if there is one.
    pub(crate) token: Option<String>,
    /// How to talk to it.
    pub(crate) client: Client,
}

impl Context {
    /// From the command line.
    pub(crate) fn new(global: Global) -> Self {
        Self {
            render: Render::new(global.json),
            server: global.server,
        }
    }

    /// The server that `--server` names, or the default one.
    pub(crate) fn server(&self) -> Result<Server> {
        self.resolve(self.server.as_ref())
    }

    /// The server that a cache is on.
    pub(crate) fn server_of(&self, cache: &CacheRef) -> Result<Server> {
        if let (Some(option), Some(prefix)) = (&self.server, &cache.server)
            && option != prefix
        {
            bail!("--server names '{option}', but the cache is given on '{prefix}'; name one server");
        }
        self.resolve(cache.server.as_ref().or(self.server.as_ref()))
    }

    fn resolve(&self, name: Option<&ServerName>) -> Result<Server> {
        let config = Config::load(&config::path()?)?;
        let (name, server) = config.server(name)?;
        let token = server.token()?;
        Ok(Server {
            name: name.clone(),
            client: Client::new(&server.url, token.clone(), Patience::Short)?,
            token,
        })
    }
}
