//! The flake and the NixOS module evaluate, against a nixpkgs of stubs (there is no network in a test).

use std::process::Command;

#[test]
fn every_flake_output_and_the_nixos_module_evaluate() {
    // Given the flake at the root and stubs for what it takes from nixpkgs
    let stubs = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/stubbed-nixpkgs.nix");
    let home = tempfile::tempdir().expect("a temporary directory");

    // When a real Nix forces every output
    let out = Command::new("nix-instantiate")
        .args(["--eval", "--strict", "--json", stubs])
        .env("HOME", home.path())
        .env("NIX_STATE_DIR", home.path().join("state"))
        .env("NIX_STORE_DIR", home.path().join("store"))
        .output()
        .expect("nix-instantiate starts (testnet/setup.sh installs it)");

    // Then it evaluates, and the values that operators depend on are there
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let flake: serde_json::Value = serde_json::from_slice(&out.stdout).expect("JSON from nix-instantiate");
    assert_eq!(flake["package"], "tetryx");
    assert_eq!(flake["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(flake["checks"]["tests"], "tetryx-tests");
    assert_eq!(flake["ports"], serde_json::json!([8080]));
    let start = flake["start"].as_str().expect("ExecStart is text");
    assert!(
        start.contains("/bin/tetryx-node run --config /etc/node.toml-"),
        "{start}"
    );
}
