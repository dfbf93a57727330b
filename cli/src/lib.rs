//! The Tetryx operator tool: push, pull, caches, tokens, nodes, passes.
//!
//! Arguments are parsed ([`args`]), resolved against the configuration ([`context`]), and handed to the module of the
//! command, which talks to the server through [`api`] and prints through [`render`].
//!
//! # Invariants
//! - Data is on stdout, talk on stderr; only [`render`] prints, and [`push`]'s progress bars draw.
//! - Exit code 0: done. 1: refused, or nothing found. 2: wrong use, or failure. A closed pipe is no failure.

mod api;
mod args;
mod caches;
mod clock;
mod config;
mod context;
mod doctor;
mod duration;
mod files;
mod frequency;
mod gc;
mod ground;
mod login;
mod nix;
mod nodes;
mod outbox;
mod passes;
mod paths;
mod pull;
mod push;
mod reference;
mod render;
mod specs;
mod status;
mod tokens;
mod use_cache;

use std::io;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser as _;

use crate::api::ClientError;
use crate::args::{Cli, Command};
use crate::context::Context;

const REFUSED: u8 = 1;
const FAILED: u8 = 2;

/// Runs the tool with the arguments of the process.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            render::usage(&error);
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(FAILED));
        }
    };
    let context = Context::new(cli.global);
    match run(&context, cli.command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(REFUSED),
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            context.render.talk(&format!("{error:#}"));
            ExitCode::from(exit_code(&error))
        }
    }
}

/// Runs a command to its end; `false` if somebody else said no and has said why.
fn run(context: &Context, command: Command) -> Result<bool> {
    // Both rustls providers may be linked in, so neither is chosen by itself. It is set once, before any connection.
    drop(rustls::crypto::ring::default_provider().install_default());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the async runtime")?;
    let result = runtime.block_on(async {
        match command {
            Command::Login(args) => login::run(context, args)?,
            Command::Use(args) => use_cache::run(context, args).await?,
            Command::Cache(command) => caches::run(context, command).await?,
            Command::Push(args) => return push::run(context, args).await,
            Command::Pull(args) => return pull::run(context, args).await,
            Command::Path(command) => paths::run(context, command).await?,
            Command::Token(command) => tokens::run(context, command).await?,
            Command::MakeToken(args) => tokens::create(context, args).await?,
            Command::Node(command) => return nodes::run(context, command).await,
            Command::Gc { dry_run } => return gc::run(context, dry_run).await,
            Command::Mission(command) => ground::mission(context, command).await?,
            Command::Satellite(command) => ground::satellite(context, command).await?,
            Command::Station(command) => return ground::station(context, command).await,
            Command::Elements(command) => return ground::elements(context, command).await,
            Command::Pass(command) => return passes::run(context, command).await,
            Command::Status => status::run(context).await?,
            Command::Doctor => return doctor::run(context).await,
            Command::Outbox => outbox::run(context).await?,
        }
        Ok(true)
    });
    // A reader that is in the middle of a file when a push fails is not waited for.
    runtime.shutdown_background();
    result
}

fn exit_code(error: &anyhow::Error) -> u8 {
    match error
        .chain()
        .find_map(|cause| cause.downcast_ref::<ClientError>())
    {
        Some(error) if error.is_refusal() => REFUSED,
        _ => FAILED,
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
