//! `cache create|configure|info|list|destroy`.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tetryx_protocol::api::{CACHE_PRIORITY_DEFAULT, CacheInfo, ConfigureCacheRequest, CreateCacheRequest};
use tetryx_protocol::cache::{Replication, Retention};
use tetryx_protocol::signature::KeyName;
use tetryx_protocol::store_path::StoreDir;

use crate::args::{CacheCommand, CacheConfigure, CacheCreate};
use crate::context::Context;
use crate::reference::CacheRef;
use crate::{duration, render};

/// The key that most people's upstream signs with.
const DEFAULT_UPSTREAM_KEY: &str = "cache.nixos.org-1";

pub(crate) async fn run(context: &Context, command: CacheCommand) -> Result<()> {
    match command {
        CacheCommand::Create(args) => create(context, args).await,
        CacheCommand::Configure(args) => configure(context, args).await,
        CacheCommand::Info { cache } => info(context, &cache).await,
        CacheCommand::List => list(context).await,
        CacheCommand::Destroy { cache, no_confirm } => destroy(context, &cache, no_confirm).await,
    }
}

async fn create(context: &Context, args: CacheCreate) -> Result<()> {
    let server = context.server_of(&args.cache)?;
    let upstream = match args.upstream_cache_key_names {
        Some(names) => names,
        None => vec![DEFAULT_UPSTREAM_KEY.parse().expect("the constant is a key name")],
    };
    let request = CreateCacheRequest {
        name: args.cache.cache,
        public: args.public,
        priority: args.priority.unwrap_or(CACHE_PRIORITY_DEFAULT),
        store_dir: store_dir(args.store_dir.as_deref())?.unwrap_or_default(),
        upstream_cache_key_names: upstream,
        retention_period: Retention::Default,
        replication: args.replication.unwrap_or_default(),
        mission: None,
    };
    let cache = server.client.create_cache(&request).await?;
    context.render.talk(&format!(
        "✨ Created cache \"{}\" on \"{}\"",
        cache.name, server.name
    ));
    if context.render.is_json() {
        context.render.json(&cache)
    } else {
        Ok(())
    }
}

async fn configure(context: &Context, args: CacheConfigure) -> Result<()> {
    let request = configure_request(&args)?;
    if request == ConfigureCacheRequest::default() {
        bail!("nothing to change; name a setting, see 'tetryx-cli cache configure --help'");
    }
    let server = context.server_of(&args.cache)?;
    let cache = server.client.configure_cache(&args.cache.cache, &request).await?;
    context.render.talk(&format!(
        "✅ Configured \"{}\" on \"{}\"",
        cache.name, server.name
    ));
    if request.regenerate_keypair {
        context.render.talk(&format!(
            "its key is new; run 'tetryx-cli use {}' again on every client",
            cache.name
        ));
    }
    if context.render.is_json() {
        context.render.json(&cache)
    } else {
        Ok(())
    }
}

/// Names only what the command line names: what is absent stays as it is on the server.
fn configure_request(args: &CacheConfigure) -> Result<ConfigureCacheRequest> {
    let upstream = args
        .upstream_cache_key_names
        .as_ref()
        .map(|names| key_names(names))
        .transpose()?;
    Ok(ConfigureCacheRequest {
        public: match (args.public, args.private) {
            (true, _) => Some(true),
            (_, true) => Some(false),
            _ => None,
        },
        priority: args.priority,
        store_dir: store_dir(args.store_dir.as_deref())?,
        upstream_cache_key_names: upstream,
        retention_period: if args.reset_retention_period {
            Some(Retention::Default)
        } else {
            args.retention_period
        },
        replication: args.replication,
        regenerate_keypair: args.regenerate_keypair,
    })
}

async fn info(context: &Context, cache: &CacheRef) -> Result<()> {
    let server = context.server_of(cache)?;
    let info = server.client.cache(&cache.cache).await?;
    context.render.either(&info, info_text)
}

async fn list(context: &Context) -> Result<()> {
    let list = context.server()?.client.caches().await?;
    context.render.either(&list.caches, |caches| {
        let rows: Vec<[String; 5]> = caches
            .iter()
            .map(|cache| {
                [
                    cache.name.to_string(),
                    if cache.public { "public" } else { "private" }.to_owned(),
                    cache.priority.to_string(),
                    retention_text(cache.retention_period),
                    replication_text(cache.replication),
                ]
            })
            .collect();
        render::table(["CACHE", "ACCESS", "PRIORITY", "RETENTION", "COPIES"], &rows)
    })
}

async fn destroy(context: &Context, cache: &CacheRef, no_confirm: bool) -> Result<()> {
    let server = context.server_of(cache)?;
    let name = &cache.cache;
    if !no_confirm {
        context.render.talk(&format!(
            "this destroys \"{name}\" on \"{}\" with all its paths",
            server.name
        ));
        match context.render.ask(&format!("type its name to go on ({name}):"))? {
            None => bail!("there is no terminal to confirm on; pass --no-confirm to destroy \"{name}\""),
            Some(answer) if answer == name.as_str() => {}
            Some(answer) => bail!("'{answer}' is not '{name}'; nothing was destroyed"),
        }
    }
    server.client.destroy_cache(name).await?;
    context
        .render
        .talk(&format!("🗑️ Destroyed cache \"{name}\" on \"{}\"", server.name));
    Ok(())
}

fn info_text(cache: &CacheInfo) -> String {
    let keys: Vec<String> = cache
        .upstream_cache_key_names
        .iter()
        .map(|key| format!("\"{key}\""))
        .collect();
    let mut fields = vec![
        ("Public", cache.public.to_string()),
        ("Public Key", cache.public_key.to_string()),
        ("Binary Cache Endpoint", cache.substituter_endpoint.clone()),
        ("API Endpoint", cache.api_endpoint.clone()),
        ("Store Directory", cache.store_dir.to_string()),
        ("Priority", cache.priority.to_string()),
        ("Upstream Cache Keys", format!("[{}]", keys.join(", "))),
        ("Retention Period", retention_text(cache.retention_period)),
        ("Copies", replication_text(cache.replication)),
    ];
    if let Some(mission) = &cache.mission {
        fields.push(("Mission", mission.clone()));
    }
    render::fields(&fields)
}

fn retention_text(retention: Retention) -> String {
    match retention {
        Retention::Default => "Global Default".to_owned(),
        Retention::Period { seconds } => duration::print(Duration::from_secs(seconds)),
        Retention::Forever => "Forever".to_owned(),
    }
}

fn replication_text(replication: Replication) -> String {
    match replication {
        Replication::Default => "Global Default".to_owned(),
        Replication::Copies(copies) => copies.to_string(),
        Replication::All => "All Nodes".to_owned(),
    }
}

/// `forever`, or a period.
pub(crate) fn parse_retention(text: &str) -> Result<Retention, String> {
    if text.eq_ignore_ascii_case("forever") {
        return Ok(Retention::Forever);
    }
    let period = duration::parse(text)?;
    if period.as_secs() == 0 {
        return Err(
            "a retention below one second deletes at once; use at least '1s', or 'forever'".to_owned(),
        );
    }
    Ok(Retention::Period {
        seconds: period.as_secs(),
    })
}

/// `all`, `default`, or a number.
pub(crate) fn parse_replication(text: &str) -> Result<Replication, String> {
    match text.to_ascii_lowercase().as_str() {
        "all" => Ok(Replication::All),
        "default" => Ok(Replication::Default),
        number => match number.parse() {
            Ok(copies @ 1..) => Ok(Replication::Copies(copies)),
            _ => Err(format!(
                "'{text}' is no number of copies; use 1 to 255, 'all' or 'default'"
            )),
        },
    }
}

fn store_dir(text: Option<&str>) -> Result<Option<StoreDir>> {
    text.map(|text| text.parse().context("--store-dir")).transpose()
}

/// The names; a lone empty one stands for none.
fn key_names(names: &[String]) -> Result<Vec<KeyName>> {
    if matches!(names, [only] if only.is_empty()) {
        return Ok(Vec::new());
    }
    names
        .iter()
        .map(|name| name.parse().context("--upstream-cache-key-name"))
        .collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Cli, Command};

    fn request(args: &[&str]) -> ConfigureCacheRequest {
        let cli = Cli::try_parse_from(["tetryx-cli", "cache", "configure", "c"].iter().chain(args)).unwrap();
        let Command::Cache(CacheCommand::Configure(args)) = cli.command else {
            panic!("parsed as something else")
        };
        configure_request(&args).unwrap()
    }

    #[test]
    fn making_a_cache_public_touches_nothing_else() {
        let json = serde_json::to_value(request(&["--public"])).unwrap();
        assert_eq!(
            json,
            serde_json::json!({ "public": true, "regenerate_keypair": false })
        );
    }

    #[test]
    fn retention_is_sent_only_when_named() {
        assert_eq!(request(&["--private"]).retention_period, None);
        assert_eq!(
            request(&["--retention-period", "1s"]).retention_period,
            Some(Retention::Period { seconds: 1 })
        );
        assert_eq!(
            request(&["--retention-period", "forever"]).retention_period,
            Some(Retention::Forever)
        );
        assert_eq!(
            request(&["--reset-retention-period"]).retention_period,
            Some(Retention::Default)
        );
    }

    #[test]
    fn upstream_keys_can_be_named_and_cleared() {
        assert_eq!(
            request(&["--upstream-cache-key-name", ""]).upstream_cache_key_names,
            Some(Vec::new())
        );
        let names = request(&[
            "--upstream-cache-key-name",
            "a-1",
            "--upstream-cache-key-name",
            "b-1",
        ]);
        assert_eq!(names.upstream_cache_key_names.unwrap().len(), 2);
    }

    #[test]
    fn configuring_nothing_is_wrong_use() {
        assert_eq!(request(&[]), ConfigureCacheRequest::default());
        assert!(
            Cli::try_parse_from(["tetryx-cli", "cache", "configure", "c", "--public", "--private"]).is_err()
        );
    }

    #[test]
    fn copies_are_a_number_all_or_default() {
        assert_eq!(parse_replication("all"), Ok(Replication::All));
        assert_eq!(parse_replication("3"), Ok(Replication::Copies(3)));
        assert!(parse_replication("0").is_err());
        assert!(parse_replication("many").unwrap_err().contains("'many'"));
    }
}
