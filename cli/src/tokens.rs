//! `token create|list|revoke`, and `make-token`.

use anyhow::{Result, bail};
use serde::Serialize;
use tetryx_protocol::api::{CreateTokenRequest, TokenInfo};
use tetryx_protocol::cache::CachePattern;
use tetryx_protocol::grant::{CachePermission, Grants};
use tetryx_protocol::id::TokenId;
use tetryx_protocol::time::UtcTime;

use crate::args::{TokenCommand, TokenCreate};
use crate::context::Context;
use crate::{clock, render};

pub(crate) async fn run(context: &Context, command: TokenCommand) -> Result<()> {
    match command {
        TokenCommand::Create(args) => create(context, *args).await,
        TokenCommand::List => list(context).await,
        TokenCommand::Revoke { id } => revoke(context, &id).await,
    }
}

/// Has the server sign a token, or prints what it would say.
pub(crate) async fn create(context: &Context, args: TokenCreate) -> Result<()> {
    if args.subject.trim().is_empty() {
        bail!("--sub is empty; name the person or machine that the token is for");
    }
    let grants = grants(&args);
    if grants == Grants::default() {
        bail!("this token would allow nothing; grant something, for example --pull PATTERN");
    }
    if args.dump_claims {
        let expires = clock::utc_now().plus(args.validity);
        return context.render.json(&Claims {
            sub: &args.subject,
            exp: expires.unix_seconds(),
            grants: &grants,
        });
    }
    let request = CreateTokenRequest {
        subject: args.subject,
        validity_seconds: args.validity.as_secs(),
        grants,
    };
    let answer = context.server()?.client.create_token(&request).await?;
    context.render.either(&answer, |answer| answer.token.clone())
}

/// The claims as far as they are known here; the server adds its id, the token's id and the time of issue.
#[derive(Debug, Serialize)]
struct Claims<'a> {
    sub: &'a str,
    exp: i64,
    #[serde(rename = "https://tetryx.io/jwt/v1")]
    grants: &'a Grants,
}

fn grants(args: &TokenCreate) -> Grants {
    let lists: [(&[CachePattern], CachePermission); 7] = [
        (&args.pull, CachePermission::Pull),
        (&args.push, CachePermission::Push),
        (&args.delete, CachePermission::Delete),
        (&args.create_cache, CachePermission::Create),
        (&args.configure_cache, CachePermission::Configure),
        (
            &args.configure_cache_retention,
            CachePermission::ConfigureRetention,
        ),
        (&args.destroy_cache, CachePermission::Destroy),
    ];
    let mut grants = Grants {
        missions: args.mission.clone(),
        stations: args.station.clone(),
        admin: args.admin,
        ..Grants::default()
    };
    for (patterns, permission) in lists {
        for pattern in patterns {
            grants
                .caches
                .entry(pattern.clone())
                .or_default()
                .insert(permission);
        }
    }
    grants
}

async fn list(context: &Context) -> Result<()> {
    let list = context.server()?.client.tokens().await?;
    let now = clock::utc_now();
    context
        .render
        .either(&list.tokens, |tokens| list_text(tokens, now))
}

fn list_text(tokens: &[TokenInfo], now: UtcTime) -> String {
    let rows: Vec<[String; 5]> = tokens
        .iter()
        .map(|token| {
            let state = match token.revoked {
                Some(_) => "revoked",
                None if token.expires <= now => "expired",
                None => "valid",
            };
            // The id is shown whole: it is what 'revoke' takes.
            [
                token.token.to_string(),
                token.subject.clone(),
                state.to_owned(),
                render::utc(token.expires),
                grants_text(&token.grants),
            ]
        })
        .collect();
    render::table(["TOKEN", "SUBJECT", "STATE", "EXPIRES (UTC)", "GRANTS"], &rows)
}

fn grants_text(grants: &Grants) -> String {
    let mut words: Vec<String> = Vec::new();
    if grants.admin {
        words.push("admin".to_owned());
    }
    for (pattern, permissions) in &grants.caches {
        let permissions: Vec<&str> = permissions.iter().map(CachePermission::word).collect();
        words.push(format!("{pattern}: {}", permissions.join(" ")));
    }
    if !grants.missions.is_empty() {
        words.push(format!("missions: {}", grants.missions.join(" ")));
    }
    if !grants.stations.is_empty() {
        words.push(format!("stations: {}", grants.stations.join(" ")));
    }
    words.join("; ")
}

async fn revoke(context: &Context, id: &TokenId) -> Result<()> {
    let server = context.server()?;
    server.client.revoke_token(id).await?;
    context
        .render
        .talk(&format!("🚫 Revoked token {id} on \"{}\"", server.name));
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use serde_json::json;

    use super::*;
    use crate::args::{Cli, Command};

    fn parsed(args: &[&str]) -> TokenCreate {
        let fixed = [
            "tetryx-cli",
            "make-token",
            "--sub",
            "alice",
            "--validity",
            "3 months",
        ];
        let cli = Cli::try_parse_from(fixed.iter().chain(args)).unwrap();
        let Command::MakeToken(args) = cli.command else {
            panic!("parsed as something else")
        };
        args
    }

    #[test]
    fn permissions_of_one_pattern_are_put_together() {
        let args = parsed(&[
            "--pull",
            "a-*",
            "--push",
            "a-*",
            "--create-cache",
            "a-*",
            "--pull",
            "b",
        ]);
        let claims = Claims {
            sub: "alice",
            exp: 1_680_293_339,
            grants: &grants(&args),
        };
        assert_eq!(
            serde_json::to_value(claims).unwrap(),
            json!({
                "sub": "alice",
                "exp": 1_680_293_339,
                "https://tetryx.io/jwt/v1": {
                    "caches": { "a-*": { "r": 1, "w": 1, "cc": 1 }, "b": { "r": 1 } },
                    "missions": [],
                    "admin": false
                }
            })
        );
    }

    #[test]
    fn grants_are_told_in_the_words_of_the_options() {
        let args = parsed(&[
            "--pull",
            "a",
            "--configure-cache-retention",
            "a",
            "--mission",
            "m",
            "--station",
            "north-*",
            "--admin",
        ]);
        assert_eq!(
            grants_text(&grants(&args)),
            "admin; a: pull configure-cache-retention; missions: m; stations: north-*"
        );
    }
}
