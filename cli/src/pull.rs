//! `pull`: let Nix copy paths from a cache, verified against the cache's key.

use std::io::Write as _;

use anyhow::{Context as _, Result};
use tetryx_protocol::store_path::{StoreDir, StorePath};

use crate::args::Pull;
use crate::context::Context;
use crate::nix;

/// Runs `nix copy`; returns its success.
pub(crate) async fn run(context: &Context, args: Pull) -> Result<bool> {
    let server = context.server_of(&args.cache)?;
    let info = server.client.cache(&args.cache.cache).await?;
    let paths = args
        .paths
        .iter()
        .map(|path| absolute(path, &info.store_dir))
        .collect::<Result<Vec<String>>>()?;

    let mut options: Vec<String> = vec!["--from".into(), info.substituter_endpoint.clone()];
    if let Some(store) = args.to {
        options.extend(["--to".into(), store]);
    }
    let mut option = |name: &str, value: String| options.extend(["--option".into(), name.to_owned(), value]);
    option("extra-trusted-public-keys", info.public_key.to_string());
    // The path may have been pushed since Nix last asked for it in vain.
    option("narinfo-cache-negative-ttl", "0".to_owned());
    // Nix takes credentials from a file only; this one lives as long as the command.
    let netrc = match (&server.token, info.public) {
        (Some(token), false) => Some(netrc(&info.substituter_endpoint, token)?),
        _ => None,
    };
    if let Some(file) = &netrc {
        option(
            "netrc-file",
            file.path()
                .to_str()
                .context("the temporary folder's name is not UTF-8")?
                .to_owned(),
        );
    }
    options.extend(paths);
    Ok(nix::command::copy(options).await? == 0)
}

fn netrc(endpoint: &str, token: &str) -> Result<tempfile::NamedTempFile> {
    let host = nix::netrc::host_of(endpoint)?;
    let mut netrc = nix::netrc::Netrc::parse("");
    netrc.put(&host, "tetryx", token);
    let mut file = tempfile::Builder::new()
        .prefix("tetryx-netrc-")
        .tempfile()
        .context("cannot make a temporary file")?;
    file.write_all(netrc.text().as_bytes())?;
    Ok(file)
}

/// A base name belongs to the cache's store directory.
fn absolute(path: &str, store_dir: &StoreDir) -> Result<String> {
    let path = if path.starts_with('/') {
        StorePath::from_absolute(store_dir, path)
    } else {
        path.parse::<StorePath>()
    };
    Ok(path
        .context("a path to pull is given as /nix/store/HASH-NAME or HASH-NAME")?
        .to_absolute(store_dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_name_becomes_a_path_of_the_caches_store_directory() {
        let name = "r5d7217c0rjd5iiz1g2nhvd15frck9x2-tetryx-0.1.0";
        let dir: StoreDir = "/opt/store".parse().unwrap();
        assert_eq!(absolute(name, &dir).unwrap(), format!("/opt/store/{name}"));
        assert_eq!(
            absolute(&format!("/opt/store/{name}"), &dir).unwrap(),
            format!("/opt/store/{name}")
        );
        assert!(absolute(&format!("/nix/store/{name}"), &dir).is_err());
    }
}
