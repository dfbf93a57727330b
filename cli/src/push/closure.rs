//! What Nix says about a closure: `nix path-info --json`, in every shape it has had.
//!
//! - up to 2.18: a list of objects with `path`; a path that does not exist has `"valid": false`
//! - from 2.19 (`--json-format 1`): an object from store path to object, `null` if it does not exist
//! - `--json-format 2`: `{"version", "storeDir", "info": {BASE NAME: object}}`, paths as base names, `ca` an object
//! - `--json-format 3`: as 2, signatures as `{"keyName", "sig"}`
//!
//! Hashes are SRI text, `sha256:` text, or in some 2.3x versions an object `{"algorithm", "format", "hash"}`.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use tetryx_protocol::hash::NarHash;
use tetryx_protocol::nix32;
use tetryx_protocol::signature::NixSignature;
use tetryx_protocol::store_path::{StoreDir, StorePath};

/// One valid path of the local store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LocalPath {
    pub(crate) store_path: StorePath,
    pub(crate) nar_hash: NarHash,
    pub(crate) nar_size: u64,
    /// What it refers to, itself included if it does.
    pub(crate) references: Vec<StorePath>,
    pub(crate) deriver: Option<StorePath>,
    pub(crate) signatures: Vec<NixSignature>,
    /// The content address as narinfo writes it, for example `fixed:r:sha256:…`.
    pub(crate) ca: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Document {
    List(Vec<RawInfo>),
    Versioned { info: BTreeMap<String, Option<RawInfo>> },
    Map(BTreeMap<String, Option<RawInfo>>),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawInfo {
    path: Option<String>,
    #[serde(default = "yes")]
    valid: bool,
    nar_hash: Option<RawHash>,
    nar_size: Option<u64>,
    #[serde(default)]
    references: Vec<String>,
    deriver: Option<String>,
    #[serde(default)]
    signatures: Vec<RawSignature>,
    ca: Option<RawCa>,
}

fn yes() -> bool {
    true
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RawHash {
    Text(String),
    Parts { algorithm: String, hash: String },
}

impl RawHash {
    /// `ALGORITHM:…` or SRI text.
    fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Parts { algorithm, hash } if hash.starts_with(algorithm.as_str()) => hash.clone(),
            Self::Parts { algorithm, hash } if hash.ends_with('=') => format!("{algorithm}-{hash}"),
            Self::Parts { algorithm, hash } => format!("{algorithm}:{hash}"),
        }
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RawSignature {
    Text(String),
    #[serde(rename_all = "camelCase")]
    Parts {
        key_name: String,
        sig: String,
    },
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RawCa {
    Text(String),
    Parts { method: String, hash: RawHash },
}

impl RawCa {
    /// As narinfo has it: `text:sha256:…`, `fixed:sha256:…`, `fixed:r:sha256:…`, `fixed:git:…`.
    fn text(&self) -> Result<String> {
        let (method, hash) = match self {
            Self::Text(text) => return Ok(text.clone()),
            Self::Parts { method, hash } => (method, hash.text()),
        };
        let prefix = match method.as_str() {
            "text" => "text:",
            "flat" => "fixed:",
            "nar" => "fixed:r:",
            "git" => "fixed:git:",
            other => bail!("its content address uses the unknown method '{other}'"),
        };
        let Some((algorithm, base64)) = hash.split_once('-') else {
            return Ok(format!("{prefix}{hash}"));
        };
        let bytes = data_encoding::BASE64
            .decode(base64.as_bytes())
            .with_context(|| format!("its content address holds '{hash}', which is no hash"))?;
        Ok(format!("{prefix}{algorithm}:{}", nix32::encode(&bytes)))
    }
}

/// Reads the JSON of `nix path-info --json`.
///
/// # Errors
/// When it is no such JSON, or a path in it is not valid in the local store or not of `store_dir`.
pub(crate) fn parse(json: &[u8], store_dir: &StoreDir) -> Result<Vec<LocalPath>> {
    let document: Document = serde_json::from_slice(json)
        .context("the JSON of 'nix path-info' has a shape this version does not know; update tetryx-cli")?;
    let infos: Vec<(String, Option<RawInfo>)> = match document {
        Document::List(list) => list
            .into_iter()
            .map(|info| (info.path.clone().unwrap_or_default(), Some(info)))
            .collect(),
        Document::Versioned { info } | Document::Map(info) => info.into_iter().collect(),
    };
    infos
        .into_iter()
        .map(|(path, info)| local_path(&path, info, store_dir).with_context(|| format!("cannot push {path}")))
        .collect()
}

fn local_path(path: &str, info: Option<RawInfo>, store_dir: &StoreDir) -> Result<LocalPath> {
    let (Some(info), Some(nar_hash), Some(nar_size)) =
        info.filter(|info| info.valid)
            .map_or((None, None, None), |mut info| {
                let (hash, size) = (info.nar_hash.take(), info.nar_size);
                (Some(info), hash, size)
            })
    else {
        bail!("it is not valid in the local Nix store; build or substitute it first")
    };
    Ok(LocalPath {
        store_path: store_path(path, store_dir)?,
        nar_hash: nar_hash
            .text()
            .parse()
            .with_context(|| format!("its NAR hash '{}' is no SHA-256", nar_hash.text()))?,
        nar_size,
        references: info
            .references
            .iter()
            .map(|path| store_path(path, store_dir))
            .collect::<Result<_>>()?,
        // A substituted path may say 'unknown-deriver'; that is no deriver.
        deriver: info
            .deriver
            .as_deref()
            .and_then(|deriver| store_path(deriver, store_dir).ok()),
        signatures: info.signatures.iter().map(signature).collect::<Result<_>>()?,
        ca: info
            .ca
            .as_ref()
            .map(RawCa::text)
            .transpose()?
            .filter(|ca| !ca.is_empty()),
    })
}

fn store_path(text: &str, store_dir: &StoreDir) -> Result<StorePath> {
    if text.starts_with('/') {
        StorePath::from_absolute(store_dir, text)
            .with_context(|| format!("{text} is no path of {store_dir}, the store directory of this cache"))
    } else {
        text.parse().with_context(|| format!("'{text}' is no store path"))
    }
}

fn signature(raw: &RawSignature) -> Result<NixSignature> {
    let text = match raw {
        RawSignature::Text(text) => text.clone(),
        RawSignature::Parts { key_name, sig } => format!("{key_name}:{sig}"),
    };
    text.parse().with_context(|| format!("'{text}' is no signature"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOO: &str = "n5wkd9frr45pa74if5gpz9j7mifg27fh-foo";
    const BAR: &str = "g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-bar";
    const SRI: &str = "sha256-FePFYIlMuycIXPZbWi7LGEiMmZSX9FMbaQenWBzm1Sc=";
    const SIG: &str =
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==";
    const CA: &str = "fixed:r:sha256:1lr187v6dck1rjh2j6svpikcfz53wyl3qrlcbb405zlh13x0khhh";
    const CA_SRI: &str = "sha256-EMIJ+giQ/gLIWoxmPKjno3zHZrxbGymgzGGyZvZBIdM=";

    fn read(json: &str) -> Result<Vec<LocalPath>> {
        parse(json.as_bytes(), &StoreDir::default())
    }

    fn expected() -> Vec<LocalPath> {
        vec![LocalPath {
            store_path: FOO.parse().unwrap(),
            nar_hash: SRI.parse().unwrap(),
            nar_size: 34878,
            references: vec![BAR.parse().unwrap(), FOO.parse().unwrap()],
            deriver: Some(format!("{BAR}.drv").parse().unwrap()),
            signatures: vec![format!("asdf:{SIG}").parse().unwrap()],
            ca: Some(CA.to_owned()),
        }]
    }

    #[test]
    fn the_list_of_nix_2_8_is_read() {
        let json = format!(
            r#"[{{"ca":"{CA}","deriver":"/nix/store/{BAR}.drv","narHash":"{SRI}","narSize":34878,
                "path":"/nix/store/{FOO}","references":["/nix/store/{BAR}","/nix/store/{FOO}"],
                "registrationTime":23423,"signatures":["asdf:{SIG}"],"ultimate":true}}]"#
        );
        assert_eq!(read(&json).unwrap(), expected());
    }

    #[test]
    fn the_object_of_nix_2_19_is_read() {
        let json = format!(
            r#"{{"/nix/store/{FOO}":{{"ca":"{CA}","deriver":"/nix/store/{BAR}.drv","narHash":"{SRI}","narSize":34878,
                "references":["/nix/store/{BAR}","/nix/store/{FOO}"],"registrationTime":23423,
                "signatures":["asdf:{SIG}"],"storeDir":"/nix/store","ultimate":true,"version":1}}}}"#
        );
        assert_eq!(read(&json).unwrap(), expected());
    }

    #[test]
    fn formats_2_and_3_are_read() {
        for (version, signature) in [
            (2, format!(r#""asdf:{SIG}""#)),
            (3, format!(r#"{{"keyName":"asdf","sig":"{SIG}"}}"#)),
        ] {
            let json = format!(
                r#"{{"version":{version},"storeDir":"/nix/store","info":{{"{FOO}":{{
                    "ca":{{"hash":"{CA_SRI}","method":"nar"}},"deriver":"{BAR}.drv","narHash":"{SRI}",
                    "narSize":34878,"references":["{BAR}","{FOO}"],"registrationTime":23423,
                    "signatures":[{signature}],"storeDir":"/nix/store","ultimate":true,"version":{version}}}}}}}"#
            );
            assert_eq!(read(&json).unwrap(), expected(), "format {version}");
        }
    }

    #[test]
    fn a_hash_in_parts_is_read() {
        let base64 = SRI.trim_start_matches("sha256-");
        let json = format!(
            r#"{{"version":2,"info":{{"{FOO}":{{"narHash":{{"algorithm":"sha256","format":"base64","hash":"{base64}"}},
                "narSize":1,"references":[]}}}}}}"#
        );
        assert_eq!(read(&json).unwrap()[0].nar_hash, SRI.parse().unwrap());
    }

    #[test]
    fn nulls_are_absent() {
        let json = format!(
            r#"{{"/nix/store/{FOO}":{{"ca":null,"deriver":null,"narHash":"{SRI}","narSize":1,"references":[],"signatures":[]}}}}"#
        );
        let path = &read(&json).unwrap()[0];
        assert_eq!((&path.ca, &path.deriver), (&None, &None));
    }

    #[test]
    fn a_path_that_is_not_valid_is_refused_by_name() {
        for json in [
            format!(r#"[{{"path":"/nix/store/{FOO}","valid":false}}]"#),
            format!(r#"{{"/nix/store/{FOO}":null}}"#),
            format!(r#"{{"version":3,"info":{{"{FOO}":null}}}}"#),
        ] {
            let error = format!("{:#}", read(&json).unwrap_err());
            assert!(
                error.contains(FOO) && error.contains("not valid in the local Nix store"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_path_of_another_store_directory_is_refused() {
        let json =
            format!(r#"[{{"path":"/gnu/store/{FOO}","narHash":"{SRI}","narSize":1,"references":[]}}]"#);
        let error = format!("{:#}", read(&json).unwrap_err());
        assert!(
            error.contains("/nix/store, the store directory of this cache"),
            "{error}"
        );
    }

    #[test]
    fn text_that_is_no_path_info_is_an_error() {
        assert!(read("not json").is_err());
        assert!(read("[1]").is_err());
    }
}
