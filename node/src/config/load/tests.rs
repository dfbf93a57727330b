use std::collections::BTreeSet;
use std::path::Path;

use super::*;
use crate::config::generated;

fn path() -> &'static Path {
    Path::new("/etc/tetryx/node.toml")
}

/// What a user sees.
fn refusal(text: &str) -> String {
    parse(text, path()).expect_err("must be refused").to_string()
}

/// The dotted names of all values in a TOML table of tables.
fn leaves(table: &toml::Table) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (key, value) in table {
        match value {
            toml::Value::Table(section) => names.extend(section.keys().map(|name| format!("{key}.{name}"))),
            _ => {
                names.insert(key.clone());
            }
        }
    }
    names
}

/// The generated file with its commented-out examples switched on.
fn generated_with_examples() -> String {
    let uncomment = |line: &str| match line.strip_prefix("# ") {
        Some(rest)
            if rest
                .split_once(" = ")
                .is_some_and(|(key, _)| KEYS.iter().any(|known| known.name == key)) =>
        {
            rest.to_owned()
        }
        _ => line.to_owned(),
    };
    generated().lines().map(uncomment).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_generated_file_parses_to_the_defaults() {
    assert_eq!(parse(&generated(), path()).unwrap(), Config::default());
}

#[test]
fn an_empty_file_means_the_defaults() {
    assert_eq!(parse("", path()).unwrap(), Config::default());
}

#[test]
fn the_generated_file_lists_every_key_there_is_and_no_other() {
    // Given every optional key set, so that serialization leaves nothing out
    let config = parse(&generated_with_examples(), path()).unwrap();
    assert!(config.name.is_some() && config.data_dir.is_some() && config.store.quota.is_some());
    let in_type = leaves(&toml::Table::try_from(&config).unwrap());
    // When the file's keys are read
    let in_file = leaves(&generated_with_examples().parse().unwrap());
    // Then they are the same
    assert_eq!(in_file, in_type);
    assert_eq!(in_file.len(), KEYS.len());
}

#[test]
fn every_key_is_documented() {
    for key in KEYS {
        assert!(key.doc.ends_with('.'), "{} lacks a sentence", key.name);
        assert!(
            key.doc.lines().all(|line| line.len() <= 118),
            "{} is too wide",
            key.name
        );
    }
}

#[test]
fn a_misspelt_key_is_refused_with_file_line_and_the_nearest_key() {
    let text = "zone = \"north\"\n\n[http]\n  lisen = \"[::]:1\"\n";
    assert_eq!(
        refusal(text),
        "/etc/tetryx/node.toml:4:3: unknown key http.lisen; did you mean http.listen?"
    );
}

#[test]
fn a_key_in_the_wrong_table_is_refused_with_the_right_one() {
    assert_eq!(
        refusal("listen = \"[::]:1\""),
        "/etc/tetryx/node.toml:1:1: unknown key listen; did you mean http.listen?"
    );
}

#[test]
fn a_misspelt_table_is_refused_with_the_nearest_table() {
    assert_eq!(
        refusal("[limit]\na = 1"),
        "/etc/tetryx/node.toml:1:2: unknown key [limit]; did you mean [limits]?"
    );
}

#[test]
fn a_key_unlike_any_other_is_refused_without_a_guess() {
    assert!(refusal("qqqq = 1").contains("unknown key qqqq; remove it"));
}

#[test]
fn a_value_of_the_wrong_kind_names_its_key_and_line() {
    let message = refusal("[http]\nconnections_max = \"many\"");
    assert!(
        message.starts_with("/etc/tetryx/node.toml:2:19: http.connections_max: "),
        "{message}"
    );
    let message = refusal("[http]\n\nrequest_timeout = \"soon\"");
    assert!(
        message.starts_with("/etc/tetryx/node.toml:3:19: http.request_timeout: "),
        "{message}"
    );
    let message = refusal("[limits]\njson_body_max = \"big\"");
    assert!(
        message.starts_with("/etc/tetryx/node.toml:2:17: limits.json_body_max: \"big\" is not a size"),
        "{message}"
    );
    let message = refusal("http = 5");
    assert!(
        message.starts_with("/etc/tetryx/node.toml:1:8: http: "),
        "{message}"
    );
    let message = refusal("zone = \"a b\"");
    assert!(message.contains("zone: \"a b\" is not a zone name"), "{message}");
}

#[test]
fn a_value_that_cannot_work_names_its_key_and_range() {
    assert_eq!(
        refusal("[limits]\nheader_bytes_max = \"1 KiB\""),
        "/etc/tetryx/node.toml:2:20: limits.header_bytes_max: 1 KiB is outside of 8 KiB to 1 MiB"
    );
    assert!(refusal("data_dir = \"data\"").contains("data_dir: must be an absolute path"));
    assert!(refusal("[http]\npublic_url = \"cache.example.org\"").contains("http.public_url: "));
    assert!(refusal("[http]\nheader_read_timeout = \"0s\"").contains("http.header_read_timeout: "));
}

#[test]
fn broken_toml_is_refused_with_its_line() {
    let message = refusal("zone = \"a\"\nname = ");
    assert!(message.starts_with("/etc/tetryx/node.toml:2:"), "{message}");
    let message = refusal("[http]\nlisten = 1\nlisten = 2");
    assert!(message.starts_with("/etc/tetryx/node.toml:3:"), "{message}");
}

#[test]
fn a_missing_file_is_named() {
    let error = load(Path::new("/nonexistent/node.toml")).expect_err("there is none");
    assert!(error.to_string().contains("/nonexistent/node.toml"), "{error}");
}

#[test]
fn sizes_and_durations_are_written_as_people_write_them() {
    let text = "[store]\nquota = \"1.5 TiB\"\nsegment_size = 2097152\n[gc]\ninterval = \"1h 30m\"";
    let config = parse(text, path()).unwrap();
    assert_eq!(config.store.quota, Some(Size::gib(1536)));
    assert_eq!(config.store.segment_size, Size::mib(2));
    assert_eq!(config.gc.interval, Duration::from_secs(5400));
}

#[test]
fn a_printed_size_reads_back_as_itself() {
    for bytes in [0, 1, 1000, 1024, 1536, 1 << 20, (1 << 30) + 1, 3 << 40] {
        let size = Size::new(bytes);
        assert_eq!(size.to_string().parse(), Ok(size));
    }
}
