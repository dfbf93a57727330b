//! What lints cannot see: who may know whom, how long a file may grow, and words that would confuse a reader.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Crate folder, and the crates of ours that it may depend on (docs/ARCHITECTURE.md, "Code map").
const LAYERS: &[(&str, &[&str])] = &[
    ("protocol", &[]),
    ("protocol/environment", &["tetryx-protocol"]),
    // The environment with the feature `mutants` only, which asks it for nothing but the deliberate bug.
    ("raft/state", &["tetryx-environment", "tetryx-protocol"]),
    ("raft", &["tetryx-environment", "tetryx-protocol", "tetryx-state"]),
    ("node/station", &["tetryx-protocol"]),
    ("node/store", &["tetryx-protocol"]),
    ("node/link", &["tetryx-protocol"]),
    ("node/gossip", &["tetryx-protocol"]),
    (
        "node/blobs",
        &["tetryx-environment", "tetryx-link", "tetryx-protocol"],
    ),
    (
        "node/transfer",
        &[
            "tetryx-environment",
            "tetryx-link",
            "tetryx-protocol",
            "tetryx-store",
        ],
    ),
    (
        "node",
        &[
            "tetryx-blobs",
            "tetryx-environment",
            "tetryx-gossip",
            "tetryx-link",
            "tetryx-protocol",
            "tetryx-raft",
            "tetryx-state",
            "tetryx-station",
            "tetryx-store",
            "tetryx-transfer",
        ],
    ),
    ("cli", &["tetryx-protocol", "tetryx-station"]),
    (
        "simulations",
        &[
            "tetryx-environment",
            "tetryx-gossip",
            "tetryx-link",
            "tetryx-node",
            "tetryx-protocol",
            "tetryx-raft",
            "tetryx-state",
            "tetryx-store",
        ],
    ),
    ("testnet", &["tetryx-protocol"]),
];

/// Crates that a pure layer must not even be able to name.
const IMPURE: &[&str] = &[
    "tokio",
    "axum",
    "hyper",
    "reqwest",
    "redb",
    "rand",
    "getrandom",
    "openraft",
    "quinn",
    "libp2p",
    "iroh-blobs",
    "tempfile",
    "rustix",
];

/// A file past this length has more than one reason to exist.
const LINES_MAX: usize = 600;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the crate lives below the workspace")
        .to_owned()
}

fn dependencies(folder: &str, section: &str) -> BTreeSet<String> {
    let path = root().join(folder).join("Cargo.toml");
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let manifest: toml::Table = text.parse().unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let table = manifest.get(section).and_then(toml::Value::as_table);
    table.map(|t| t.keys().cloned().collect()).unwrap_or_default()
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder)
        .expect("a readable source folder")
        .map(|e| e.expect("a directory entry"))
    {
        let path = entry.path();
        if path.is_dir()
            && path
                .file_name()
                .is_some_and(|n| n != "target" && !n.to_string_lossy().starts_with('.'))
        {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

fn sources() -> Vec<(String, String)> {
    let root = root();
    let mut files = Vec::new();
    rust_files(&root, &mut files);
    files
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).expect("a readable source file");
            (
                path.strip_prefix(&root)
                    .expect("below the root")
                    .display()
                    .to_string(),
                text,
            )
        })
        .collect()
}

#[test]
fn dependencies_point_one_way() {
    for (folder, allowed) in LAYERS {
        for dependency in dependencies(folder, "dependencies") {
            assert!(
                !dependency.starts_with("tetryx-") || allowed.contains(&dependency.as_str()),
                "{folder} must not know {dependency}; see docs/ARCHITECTURE.md, \"Code map\""
            );
        }
    }
}

#[test]
fn every_crate_has_a_layer() {
    let manifest: toml::Table = fs::read_to_string(root().join("Cargo.toml"))
        .expect("the workspace manifest")
        .parse()
        .expect("TOML");
    let members = manifest["workspace"]["members"]
        .as_array()
        .expect("a list of members");
    for member in members.iter().filter_map(toml::Value::as_str) {
        assert!(
            LAYERS.iter().any(|(folder, _)| *folder == member),
            "{member} has no row in LAYERS"
        );
    }
}

#[test]
fn pure_crates_cannot_name_a_clock_a_disk_a_network_or_randomness() {
    for folder in ["protocol", "raft/state", "node/station"] {
        let known = dependencies(folder, "dependencies");
        for impure in IMPURE {
            assert!(
                !known.contains(*impure),
                "{folder} is pure and must not depend on {impure}"
            );
        }
    }
}

#[test]
fn openraft_is_seen_by_one_crate_only() {
    for (folder, _) in LAYERS.iter().filter(|(folder, _)| *folder != "raft") {
        for section in ["dependencies", "dev-dependencies"] {
            assert!(
                !dependencies(folder, section).contains("openraft"),
                "{folder} names openraft; only raft/ may, so that its next release is a change in one place"
            );
        }
    }
}

#[test]
fn no_source_file_outgrows_its_reason_to_exist() {
    for (path, text) in sources() {
        let lines = text.lines().count();
        assert!(
            lines <= LINES_MAX,
            "{path} has {lines} lines (limit {LINES_MAX}): split it by subject"
        );
    }
}

#[test]
fn no_test_is_ignored_and_nothing_is_left_to_do() {
    // Spelled in halves so that this file does not accuse itself.
    let banned = [
        (concat!("#[", "ignore"), "a test that does not run proves nothing"),
        (concat!("todo", "!("), "finish it or leave it out"),
        (concat!("unimplemented", "!("), "finish it or leave it out"),
        (concat!("FIX", "ME"), "fix it or write an issue"),
    ];
    for (path, text) in sources() {
        for (word, reason) in banned {
            assert!(!text.contains(word), "{path} contains `{word}`: {reason}");
        }
    }
}

#[test]
fn one_word_has_one_meaning() {
    // docs/glossary.md: a Raft node is never called a station, and the store's unit is the chunk.
    let banned = [
        ("raft/src", "station", "Raft keeps node, leader, term"),
        ("node/store/src", "blob", "the store keeps chunks and manifests"),
    ];
    for (path, text) in sources() {
        let text = text.to_lowercase();
        let words: BTreeSet<&str> = text.split(|c: char| !c.is_ascii_alphanumeric()).collect();
        for (folder, word, reason) in banned {
            let stem = words.contains(word) || words.contains(format!("{word}s").as_str());
            assert!(
                !(path.starts_with(folder) && stem),
                "{path} says `{word}`: {reason}"
            );
        }
    }
}
