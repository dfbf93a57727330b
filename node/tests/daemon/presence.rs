//! What daemons say of themselves, and what the others make of it.

use crate::join::{Three, field, three, until};

/// How often the key has a value in a JSON text.
fn known(json: &str, key: &str) -> usize {
    let with_value = json.matches(&format!("\"{key}\":")).count();
    with_value - json.matches(&format!("\"{key}\":null")).count()
}

#[test]
fn every_member_shows_what_the_others_say_of_themselves() {
    let Three {
        homes: _homes,
        daemons,
        token,
    } = three();
    for daemon in &daemons {
        let members = until(daemon, "/api/v1/members", &token, |answer| {
            ["version", "last_seen_seconds", "applied_index", "free_bytes"]
                .iter()
                .all(|key| known(answer, key) == 3)
        });
        assert!(
            known(&members, "rtt_ms") <= 2,
            "there is no way to oneself: {members}"
        );
        let status = until(daemon, "/api/v1/status", &token, |answer| {
            answer.contains("\"reachable\":3")
        });
        assert!(
            status.contains("survives the loss of any one of the 3 voters"),
            "{status}"
        );
    }
}

#[test]
fn any_member_tells_what_a_drained_one_has_left() {
    let Three {
        homes: _homes,
        daemons,
        token,
    } = three();
    let [first, second, third] = &daemons;
    let leaving = field(&third.get("/api/v1/status", Some(&token)), "node").to_owned();
    let drain = format!("/api/v1/members/{leaving}/drain");
    for daemon in [second, first, third] {
        let answer = daemon.post(&drain, &token, "");
        assert!(answer.contains("\"bytes_left\":0"), "{answer}");
    }
    until(third, "/api/v1/status", &token, |answer| {
        answer.contains("has nothing left to hand over")
    });
}
