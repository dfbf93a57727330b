//! `login`: remember a server.

use std::io::Read as _;

use anyhow::{Context as _, Result, bail};

use crate::args::Login;
use crate::config::{self, Config, ServerConfig};
use crate::context::Context;

/// Writes the server into the configuration. The server is not asked: it may not run yet.
pub(crate) fn run(context: &Context, args: Login) -> Result<()> {
    let url = checked_url(&args.url)?;
    let token = match args.token.as_deref() {
        Some("-") => {
            let mut text = String::new();
            std::io::stdin()
                .read_to_string(&mut text)
                .context("cannot read the token from stdin")?;
            Some(text)
        }
        token => token.map(str::to_owned),
    };
    let token = token.as_deref().map(checked_token).transpose()?;

    let path = config::path()?;
    let mut config = Config::load(&path)?;
    let is_new = !config.servers.contains_key(&args.name);
    context.render.talk(&format!(
        "✍️ {} server \"{}\"",
        if is_new { "Configuring" } else { "Overwriting" },
        args.name
    ));
    config.servers.insert(
        args.name.clone(),
        ServerConfig {
            url,
            token,
            token_file: None,
        },
    );
    if args.set_default || config.default_server.is_none() {
        config.default_server = Some(args.name);
    }
    config.save(&path)
}

/// The address without a slash at the end.
fn checked_url(text: &str) -> Result<String> {
    let url = reqwest::Url::parse(text)
        .with_context(|| format!("'{text}' is no address; give it as http://HOST:PORT or https://HOST"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        bail!("'{text}' is no http or https address; give it as http://HOST:PORT or https://HOST");
    }
    if !url.username().is_empty()
        || url.password().is_some()
        || url.query().is_some()
        || url.fragment().is_some()
    {
        bail!("'{text}' has a user, a query or a fragment; give only http://HOST:PORT or https://HOST");
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

/// Catches a token that was copied in part; whether it is good, only the server knows.
fn checked_token(text: &str) -> Result<String> {
    let token = text.trim();
    let parts: Vec<&str> = token.split('.').collect();
    let fits = parts.len() == 3
        && parts.iter().all(|part| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        });
    if !fits {
        bail!("this is no token: a token has three parts separated by dots (eyJ….….…); copy it whole");
    }
    Ok(token.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_loses_its_last_slash_and_keeps_its_path() {
        assert_eq!(
            checked_url("http://localhost:8080/").unwrap(),
            "http://localhost:8080"
        );
        assert_eq!(
            checked_url("https://example.org/tetryx/").unwrap(),
            "https://example.org/tetryx"
        );
        assert_eq!(checked_url("http://[::1]:8080").unwrap(), "http://[::1]:8080");
    }

    #[test]
    fn what_is_no_address_is_refused_with_the_form_of_one() {
        for text in [
            "localhost:8080",
            "ftp://x",
            "http://",
            "http://me:pw@x",
            "http://x/?a=b",
        ] {
            let error = format!("{:#}", checked_url(text).unwrap_err());
            assert!(
                error.contains(text) && error.contains("http://HOST:PORT"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_token_copied_in_part_is_refused_and_not_repeated() {
        assert_eq!(checked_token(" eyJh.eyJz.c2ln\n").unwrap(), "eyJh.eyJz.c2ln");
        for text in ["eyJh", "eyJh.eyJz", "eyJh.eyJz.", "a b.c.d"] {
            let error = checked_token(text).unwrap_err().to_string();
            assert!(!error.contains(text), "{error}");
        }
    }
}
