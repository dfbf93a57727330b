//! `use`: configure Nix on this machine to substitute from a cache.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::Serialize;
use tetryx_protocol::api::CacheInfo;

use crate::args::Use;
use crate::context::{Context, Server};
use crate::files;
use crate::nix::conf::{self, Edit, NixConf};
use crate::nix::conf_files::ConfFiles;
use crate::nix::netrc::{self, Netrc};

/// What was configured, for `--json`.
#[derive(Debug, Serialize)]
struct Report {
    substituter: String,
    public_key: String,
    nix_conf: PathBuf,
    netrc: Option<PathBuf>,
    changed: bool,
}

pub(crate) async fn run(context: &Context, args: Use) -> Result<()> {
    let server = context.server_of(&args.cache)?;
    let info = server.client.cache(&args.cache.cache).await?;
    let files = ConfFiles::find()?;
    let text = files::read_if_present(&files.user)?.unwrap_or_default();
    let mut conf = NixConf::parse(&text);

    let mut notes = Vec::new();
    let token = if info.public { None } else { server.token.clone() };
    let credentials = match token {
        Some(token) => Some(write_netrc(
            &files, &mut conf, &server, &info, &token, &mut notes,
        )?),
        None => None,
    };
    let substituter = match credentials.as_ref().and_then(|c| c.user.as_deref()) {
        Some(user) => with_user(&info.substituter_endpoint, user),
        None => info.substituter_endpoint.clone(),
    };
    let key = info.public_key.to_string();
    let mut edits = vec![
        conf.add(conf::SUBSTITUTERS, &substituter, |v| {
            conf::without_user(v) == conf::without_user(&substituter)
        }),
        conf.add(conf::TRUSTED_PUBLIC_KEYS, &key, |v| v == key),
    ];
    if let Some(credentials) = &credentials {
        edits.extend(credentials.edits);
    }
    let conf_changed = conf != NixConf::parse(&text);
    if conf_changed {
        files::replace(&files.user, &conf.to_text(), 0o644)?;
    }
    notes.extend(warnings(&files, &conf, &info, &key));

    let changed = edits.contains(&Edit::Changed);
    report(
        context,
        &server,
        &info,
        changed,
        &notes,
        Report {
            substituter,
            public_key: key,
            nix_conf: files.user,
            netrc: credentials.map(|c| c.file),
            changed,
        },
    )
}

struct Credentials {
    file: PathBuf,
    user: Option<String>,
    /// Of the netrc, and of the setting that points to it.
    edits: [Edit; 2],
}

/// Puts the token into the netrc file that Nix will read, and makes Nix read it.
fn write_netrc(
    files: &ConfFiles,
    conf: &mut NixConf,
    server: &Server,
    info: &CacheInfo,
    token: &str,
    notes: &mut Vec<String>,
) -> Result<Credentials> {
    let file = match files.user_value("netrc-file")? {
        Some(file) => PathBuf::from(file),
        None => files.user.with_file_name("netrc"),
    };
    let mut text = files::read_if_present(&file)?;
    if files.user_value("netrc-file")?.is_none() && text.is_none() {
        // Nix reads one netrc only: what the system's has must move along, or it would no longer be seen.
        let system = match files.system_value("netrc-file")? {
            Some(file) => PathBuf::from(file),
            None => files.system_dir.join("netrc"),
        };
        text = adopted(&system, &file, notes)?;
    }
    let mut netrc = Netrc::parse(text.as_deref().unwrap_or_default());
    let host = netrc::host_of(&info.substituter_endpoint)?;
    let put = netrc.put(&host, server.name.as_str(), token);
    if put.changed || text.is_none() {
        files::replace(&file, netrc.text(), 0o600)?;
    }
    if put.gave_login {
        notes.push(format!(
            "another entry for {host} in {} had no login; it has one now, so that both tokens work",
            file.display()
        ));
    }
    let path = file
        .to_str()
        .with_context(|| format!("{} is not UTF-8", file.display()))?;
    let pointed = if files.user_value("netrc-file")?.is_some() {
        Edit::Unchanged
    } else {
        conf.set("netrc-file", path)
    };
    Ok(Credentials {
        user: put.user,
        edits: [
            if put.changed {
                Edit::Changed
            } else {
                Edit::Unchanged
            },
            pointed,
        ],
        file,
    })
}

/// The content of the system's netrc, to begin the user's with.
fn adopted(system: &Path, user: &Path, notes: &mut Vec<String>) -> Result<Option<String>> {
    match files::read_if_present(system) {
        Ok(Some(text)) => {
            notes.push(format!("copied the entries of {} to {}, which Nix reads instead", system.display(), user.display()));
            Ok(Some(text))
        }
        Ok(None) => Ok(None),
        Err(error) => Err(error.context(format!(
            "Nix would read {} instead of {}, whose entries would be lost; copy it there first, or run this as a user who may read it",
            user.display(),
            system.display()
        ))),
    }
}

fn with_user(url: &str, user: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => format!("{scheme}://{user}@{rest}"),
        None => url.to_owned(),
    }
}

/// What will keep the configuration from taking effect.
fn warnings(files: &ConfFiles, conf: &NixConf, info: &CacheInfo, key: &str) -> Vec<String> {
    let mut warnings = Vec::new();
    for name in ["substituters", "trusted-public-keys", "netrc-file"] {
        if files.environment.get(name).is_some() {
            warnings.push(format!(
                "the environment variable NIX_CONFIG sets {name}, which beats {}",
                files.user.display()
            ));
        }
    }
    let name = format!("{}:", info.public_key.name());
    let others = conf.list(conf::TRUSTED_PUBLIC_KEYS);
    if others
        .iter()
        .any(|other| other != key && other.starts_with(&name))
    {
        warnings.push(format!(
            "{} trusts another key named \"{}\" too; Nix uses only the first of a name, so remove the one that is outdated",
            files.user.display(),
            info.public_key.name()
        ));
    }
    warnings
}

fn report(
    context: &Context,
    server: &Server,
    info: &CacheInfo,
    changed: bool,
    notes: &[String],
    report: Report,
) -> Result<()> {
    let render = context.render;
    if changed {
        render.talk(&format!(
            "Configuring Nix to use \"{}\" on \"{}\":",
            info.name, server.name
        ));
    } else {
        render.talk(&format!(
            "Nix is configured to use \"{}\" on \"{}\" already:",
            info.name, server.name
        ));
    }
    for note in notes {
        render.talk(note);
    }
    render.either(&report, |report| {
        let mut lines = vec![
            format!("+ Substituter: {}", report.substituter),
            format!("+ Trusted Public Key: {}", report.public_key),
        ];
        if report.netrc.is_some() {
            lines.push("+ Access Token".to_owned());
        }
        lines.join("\n")
    })
}
