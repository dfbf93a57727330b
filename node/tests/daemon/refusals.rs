//! Options and configuration: what applies, and what is refused with which words.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::process::Signal;

use crate::fixture::{Home, stderr, write_config};

#[test]
fn a_second_process_on_the_same_data_is_refused() {
    let home = Home::new();
    let _first = home.start(&[]);
    let refused = stderr(&home.run(&["--listen", "127.0.0.1:0"]));
    assert!(refused.contains("another tetryx-node uses"), "{refused}");
    assert!(refused.contains(home.data_dir().to_str().unwrap()), "{refused}");
    assert!(refused.contains("--data-dir"), "{refused}");
}

#[test]
fn a_port_in_use_is_refused_before_anything_is_made() {
    let home = Home::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let refused = stderr(&home.run(&["--listen", &address]));
    assert!(refused.contains(&format!("{address} is in use")), "{refused}");
    assert!(!home.data_dir().exists());
}

#[test]
fn an_address_of_another_machine_is_refused() {
    let refused = stderr(&Home::new().run(&["--listen", "192.0.2.1:8080"]));
    assert!(refused.contains("cannot listen on 192.0.2.1:8080"), "{refused}");
}

#[test]
fn a_mistake_in_the_configuration_is_refused_with_file_line_and_hint() {
    let home = Home::new();
    write_config(&home, "[http]\nlisten_on = \"[::]:1\"\n");
    for arguments in [&[][..], &["check-config"], &["gc", "--once"]] {
        let refused = stderr(&home.run(arguments));
        let place = format!("{}:2:1: unknown key http.listen_on", home.config_file().display());
        assert!(refused.contains(&place), "{refused}");
        assert!(refused.contains("did you mean http.listen?"), "{refused}");
    }
    assert!(!home.data_dir().exists());
}

#[test]
fn a_named_configuration_file_must_exist() {
    let home = Home::new();
    let refused = stderr(&home.run(&["--config", "/nonexistent/node.toml"]));
    assert!(
        refused.contains("/nonexistent/node.toml cannot be read"),
        "{refused}"
    );
}

#[test]
fn check_config_says_what_applies_and_makes_nothing() {
    let home = Home::new();
    let output = home.run(&["check-config"]);
    assert!(output.status.success() && !home.config_file().exists());
    drop(home.start(&[]));
    let output = home.run(&["check-config"]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && said.contains("is in order"), "{said}");
    assert!(said.contains("listens on [::]:8080"), "{said}");
}

#[test]
fn the_options_go_before_the_configuration_file() {
    let home = Home::new();
    let data = home.root.path().join("elsewhere");
    write_config(
        &home,
        "name = \"from-file\"\nzone = \"from-file\"\n[http]\nlisten = \"192.0.2.1:1\"\n",
    );
    let daemon = home.start(&[
        "run",
        "--data-dir",
        data.to_str().unwrap(),
        "--name",
        "from-option",
    ]);
    let status = daemon.get("/api/v1/status", daemon.token());
    assert!(status.contains("\"node_name\":\"from-option\""), "{status}");
    assert!(status.contains("\"zone\":\"from-file\""), "{status}");
    assert!(data.join("node.key").exists() && !home.data_dir().exists());
}

#[test]
fn logs_are_json_when_asked_for() {
    let (_, stderr) = Home::new().start(&["--log-format", "json"]).stop(Signal::TERM);
    assert!(stderr.lines().count() > 1);
    for line in stderr.lines() {
        let parsed: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(parsed["timestamp"].is_string(), "{line}");
    }
}

#[test]
fn a_secret_that_others_can_read_stops_the_start() {
    let home = Home::new();
    drop(home.start(&[]));
    let secret = home.data_dir().join("cluster.secret");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o640)).unwrap();
    let refused = stderr(&home.run(&["--listen", "127.0.0.1:0"]));
    assert!(refused.contains("chmod 600"), "{refused}");
}

#[test]
fn a_lost_secret_is_not_replaced_silently() {
    let home = Home::new();
    drop(home.start(&[]));
    for secret in ["cluster.secret", "node.key"] {
        let path = home.data_dir().join(secret);
        let kept = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let refused = stderr(&home.run(&["--listen", "127.0.0.1:0"]));
        assert!(refused.contains(&format!("{secret} is missing")), "{refused}");
        // And with the backup it starts
        fs::write(&path, kept).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        drop(home.start(&[]));
    }
}

#[test]
fn without_a_home_the_refusal_says_what_to_pass() {
    let home = Home::new();
    let mut command = home.command(&[]);
    let output = command
        .env_remove("XDG_CONFIG_HOME")
        .env_remove("XDG_DATA_HOME")
        .output()
        .unwrap();
    assert!(stderr(&output).contains("pass --config"), "{output:?}");
}

#[test]
fn the_generated_configuration_is_written_once_and_left_alone() {
    let home = Home::new();
    drop(home.start(&[]));
    let generated = fs::read_to_string(home.config_file()).unwrap();
    assert!(generated.contains("[http]") && generated.contains("header_bytes_max"));
    write_config(&home, "zone = \"mine\"\n");
    drop(home.start(&[]));
    assert_eq!(
        fs::read_to_string(home.config_file()).unwrap(),
        "zone = \"mine\"\n"
    );
}

#[test]
fn a_data_directory_that_cannot_be_made_is_named() {
    let home = Home::new();
    let file = home.root.path().join("file");
    fs::write(&file, "").unwrap();
    let below: &Path = &file.join("data");
    let refused = stderr(&home.run(&["--listen", "127.0.0.1:0", "--data-dir", below.to_str().unwrap()]));
    assert!(refused.contains(below.to_str().unwrap()), "{refused}");
}
