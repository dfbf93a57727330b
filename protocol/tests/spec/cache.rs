//! Cache names and patterns.

use proptest::prelude::*;
use tetryx_protocol::cache::{CACHE_NAME_LEN_MAX, CacheName, CachePattern, Replication, Retention};

fn name(text: &str) -> CacheName {
    text.parse().unwrap()
}

fn pattern(text: &str) -> CachePattern {
    text.parse().unwrap()
}

#[test]
fn a_cache_name_is_a_letter_or_digit_and_up_to_49_more() {
    for text in ["a", "0", "main", "My-Cache_2+x", &"a".repeat(CACHE_NAME_LEN_MAX)] {
        assert_eq!(text.parse::<CacheName>().unwrap().as_str(), text);
    }
    for text in [
        "",
        "-a",
        "_a",
        "+a",
        "a.b",
        "a/b",
        "..",
        "a b",
        "ä",
        "a*",
        "a\n",
        &"a".repeat(CACHE_NAME_LEN_MAX + 1),
    ] {
        let error = text.parse::<CacheName>().unwrap_err().to_string();
        assert!(
            error.contains("is not a cache name: expected 1 to 50 characters"),
            "{error}"
        );
    }
}

#[test]
fn a_pattern_may_hold_stars_anywhere() {
    for text in ["*", "**", "team-*", "*-prod", "a*b*c", "main"] {
        assert_eq!(text.parse::<CachePattern>().unwrap().as_str(), text);
    }
    for text in ["", "-*", "a?", "[a]", "a.*", &"*".repeat(CACHE_NAME_LEN_MAX + 1)] {
        assert!(text.parse::<CachePattern>().is_err(), "{text}");
    }
}

#[test]
fn a_star_stands_for_any_run_of_characters() {
    for (glob, text, expected) in [
        ("main", "main", true),
        ("main", "main2", false),
        ("*", "anything", true),
        ("team-*", "team-", true),
        ("team-*", "team-a-b", true),
        ("team-*", "team", false),
        ("*-prod", "a-prod-prod", true),
        ("*-prod", "a-prod-x", false),
        ("a*b*c", "abc", true),
        ("a*b*c", "axbxbxc", true),
        ("a*b*c", "acb", false),
        ("a*a", "a", false),
        ("**a**", "bab", true),
        ("Main", "main", false),
    ] {
        assert_eq!(pattern(glob).matches(&name(text)), expected, "{glob} {text}");
    }
}

#[test]
fn a_pattern_covers_another_only_if_a_star_answers_every_star() {
    for (wide, narrow, expected) in [
        ("*", "team-*", true),
        ("*", "*", true),
        ("team-*", "team-a*", true),
        ("team-*", "team-a", true),
        ("team-*", "*", false),
        ("team-a", "team-*", false),
        ("a*b", "a*c*b", true),
        ("a*b", "a*", false),
        ("a*", "*a", false),
    ] {
        assert_eq!(
            pattern(wide).covers(&pattern(narrow)),
            expected,
            "{wide} {narrow}"
        );
    }
}

#[test]
fn matching_against_many_stars_is_not_exponential() {
    let stars = pattern(&"*a".repeat(25));
    assert!(!stars.matches(&name(&format!("{}b", "a".repeat(49)))));
}

#[test]
fn retention_and_replication_have_attics_json_and_ours() {
    let json = |value: Retention| serde_json::to_string(&value).unwrap();
    assert_eq!(json(Retention::Default), r#""Global""#);
    assert_eq!(json(Retention::Period { seconds: 3600 }), r#"{"Period":3600}"#);
    assert_eq!(json(Retention::Forever), r#""Forever""#);
    assert!(serde_json::from_str::<Retention>(r#"{"Period":-1}"#).is_err());
    let json = |value: Replication| serde_json::to_string(&value).unwrap();
    assert_eq!(
        (json(Replication::All), json(Replication::Copies(3))),
        (r#""All""#.into(), r#"{"Copies":3}"#.into())
    );
}

/// What matching means, by trying every split: slow and obvious.
fn matches_by_definition(glob: &[u8], text: &[u8]) -> bool {
    match (glob.split_first(), text.split_first()) {
        (None, rest) => rest.is_none(),
        (Some((b'*', glob_rest)), _) => {
            (0..=text.len()).any(|n| matches_by_definition(glob_rest, &text[n..]))
        }
        (Some((byte, glob_rest)), Some((first, rest))) => {
            byte == first && matches_by_definition(glob_rest, rest)
        }
        (Some(_), None) => false,
    }
}

/// The pattern with its stars replaced by these runs, in order.
fn fill_stars(glob: &str, runs: &[String]) -> String {
    let mut runs = runs.iter();
    let fill = |c: char| {
        if c == '*' {
            runs.next().cloned().unwrap_or_default()
        } else {
            c.to_string()
        }
    };
    glob.chars().map(fill).collect()
}

proptest! {
    #[test]
    fn matching_is_what_its_definition_says(glob in "[ab*]{1,8}", text in "[ab]{1,12}") {
        let expected = matches_by_definition(glob.as_bytes(), text.as_bytes());
        prop_assert_eq!(pattern(&glob).matches(&name(&text)), expected);
    }

    #[test]
    fn what_a_covered_pattern_matches_the_covering_one_matches(
        wide in "[ab*]{1,8}",
        stars in prop::collection::vec("[ab*]{0,3}", 8),
        runs in prop::collection::vec("[ab]{0,2}", 24),
    ) {
        // Each star of `wide` becomes a run that may hold stars itself, and each of those a run without.
        let narrow = fill_stars(&wide, &stars);
        let text = fill_stars(&narrow, &runs);
        prop_assume!(!narrow.is_empty() && !text.is_empty());
        let (wide, narrow, text) = (pattern(&wide), pattern(&narrow), name(&text));
        prop_assert!(wide.covers(&narrow) && narrow.matches(&text) && wide.matches(&text));
    }

    #[test]
    fn no_pattern_covers_what_matches_a_name_it_does_not(
        wide in "[ab*]{1,5}", narrow in "[ab*]{1,5}", runs in prop::collection::vec("[abc]{0,2}", 5)
    ) {
        let text = fill_stars(&narrow, &runs);
        prop_assume!(!text.is_empty());
        if !pattern(&wide).matches(&name(&text)) {
            prop_assert!(!pattern(&wide).covers(&pattern(&narrow)));
        }
    }

    #[test]
    fn no_text_makes_reading_a_name_or_pattern_panic(text in ".{0,60}") {
        if let Ok(name) = text.parse::<CacheName>() {
            prop_assert!(CachePattern::from(&name).matches(&name));
        }
        let _ = text.parse::<CachePattern>();
    }
}
