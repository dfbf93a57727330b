//! Several daemons: joining, refusals, restarts.

use std::process::Output;

use rustix::process::Signal;

use crate::fixture::{Daemon, Home, stderr};

/// The value of a string or number in a JSON text, by its key.
pub(crate) fn field<'a>(json: &'a str, key: &str) -> &'a str {
    let rest = json
        .split_once(&format!("\"{key}\":"))
        .unwrap_or_else(|| panic!("no {key} in {json}"))
        .1
        .trim_start_matches('"');
    &rest[..rest.find(['"', ',', '}']).unwrap()]
}

/// Asks until the answer is as wished. Each question takes a moment, so this does not spin.
pub(crate) fn until(daemon: &Daemon, path: &str, token: &str, is_as_wished: impl Fn(&str) -> bool) -> String {
    for _ in 0..20_000 {
        let answer = daemon.get(path, Some(token));
        if is_as_wished(&answer) {
            return answer;
        }
    }
    panic!("never so: {}", daemon.get(path, Some(token)));
}

fn invite(daemon: &Daemon, token: &str) -> String {
    let body = r#"{"expires_seconds":600,"voter":true}"#;
    let answer = daemon.post("/api/v1/invites", token, body);
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    field(&answer, "ticket").to_owned()
}

fn start(home: &Home, name: &str) -> Daemon {
    home.start(&["--name", name])
}

fn join(home: &Home, name: &str, ticket: &str) -> Daemon {
    home.start(&["join", ticket, "--name", name])
}

/// Joins without success.
fn try_join(home: &Home, name: &str, ticket: &str) -> Output {
    home.run(&["join", ticket, "--listen", "127.0.0.1:0", "--name", name])
}

fn voters(answer: &str) -> usize {
    let list = answer.split_once("\"voters\":[").unwrap().1;
    list.split_once(']').unwrap().0.matches('"').count() / 2
}

/// Three daemons in one cluster, all of them voters, and the root token.
pub(crate) struct Three {
    pub(crate) homes: [Home; 3],
    pub(crate) daemons: [Daemon; 3],
    pub(crate) token: String,
}

pub(crate) fn three() -> Three {
    let homes = [Home::new(), Home::new(), Home::new()];
    let first = start(&homes[0], "one");
    let token = first.token().unwrap().to_owned();
    let second = join(&homes[1], "two", &invite(&first, &token));
    let third = join(&homes[2], "three", &invite(&first, &token));
    until(&first, "/api/v1/status", &token, |answer| voters(answer) == 3);
    Three {
        homes,
        daemons: [first, second, third],
        token,
    }
}

#[test]
fn a_node_with_a_ticket_joins_and_prints_its_checks() {
    let (home, other) = (Home::new(), Home::new());
    let first = start(&home, "one");
    let token = first.token().unwrap();
    let second = join(&other, "two", &invite(&first, token));
    for check in [
        "1. reachable: ",
        "2. clock: ",
        "3. key accepted: this node is 'two' in zone 'default', one of 2 members",
        "4. caught up: ",
        "5. serving: ",
    ] {
        assert!(second.printed.contains(check), "{check}: {}", second.printed);
    }
    assert_eq!(second.token(), None, "the root token is the founder's");
    // The token of one counts at the other, and both name both
    let members = second.get("/api/v1/members", Some(token));
    assert!(
        members.contains("\"name\":\"one\"") && members.contains("\"name\":\"two\""),
        "{members}"
    );
}

#[test]
fn a_change_at_any_node_shows_at_every_node_even_after_one_is_killed() {
    let Three {
        homes: _homes,
        daemons: [first, second, third],
        token,
    } = three();
    let created = second.post("/api/v1/caches", &token, r#"{"name":"alpha"}"#);
    assert!(created.starts_with("HTTP/1.1 201"), "{created}");
    until(&third, "/api/v1/caches", &token, |answer| {
        answer.contains("alpha")
    });
    first.stop(Signal::KILL);
    let created = third.post("/api/v1/caches", &token, r#"{"name":"beta"}"#);
    assert!(created.starts_with("HTTP/1.1 201"), "{created}");
    until(&second, "/api/v1/caches", &token, |answer| {
        answer.contains("beta")
    });
}

#[test]
fn whoever_changed_something_at_one_node_reads_it_at_another_by_its_index() {
    let Three {
        daemons: [first, second, third],
        token,
        homes: _homes,
    } = three();
    for (number, (changed, asked)) in [(&first, &second), (&second, &third), (&third, &first)]
        .into_iter()
        .enumerate()
    {
        let name = format!("cache-{number}");
        let created = changed.post("/api/v1/caches", &token, &format!(r#"{{"name":"{name}"}}"#));
        let index = created
            .lines()
            .find_map(|line| line.strip_prefix("tetryx-index: "))
            .unwrap_or_else(|| panic!("{created}"));
        let shown = asked.ask(&format!(
            "GET /api/v1/caches HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
             Authorization: Bearer {token}\r\nTetryx-Wait-Index: {index}\r\n\r\n"
        ));
        assert!(shown.contains(&name), "{shown}");
        // And a strong read needs no index
        let shown = asked.get("/api/v1/caches?read=strong", Some(&token));
        assert!(
            shown.contains(&name) && shown.contains("tetryx-age-ms: "),
            "{shown}"
        );
    }
}

#[test]
fn members_find_each_other_again_after_all_were_stopped() {
    let Three {
        homes,
        daemons,
        token,
    } = three();
    let ports = daemons
        .each_ref()
        .map(|daemon| [daemon.peers.to_string(), daemon.gossip.to_string()]);
    for daemon in daemons {
        let (status, stderr) = daemon.stop(Signal::TERM);
        assert!(status.success(), "{stderr}");
    }
    let daemons: Vec<_> = homes
        .iter()
        .zip(&ports)
        .map(|(home, [peers, gossip])| home.start(&["--p2p-listen", peers, "--gossip-listen", gossip]))
        .collect();
    let created = until_created(&daemons[1], &token, "gamma");
    assert!(created.starts_with("HTTP/1.1 201"), "{created}");
    for daemon in &daemons {
        until(daemon, "/api/v1/caches", &token, |answer| {
            answer.contains("gamma")
        });
    }
}

fn until_created(daemon: &Daemon, token: &str, cache: &str) -> String {
    until(daemon, "/ready", token, |answer| {
        answer.starts_with("HTTP/1.1 200")
    });
    daemon.post("/api/v1/caches", token, &format!(r#"{{"name":"{cache}"}}"#))
}

#[test]
fn a_ticket_used_twice_is_refused() {
    let (home, other, late) = (Home::new(), Home::new(), Home::new());
    let first = start(&home, "one");
    let ticket = invite(&first, first.token().unwrap());
    let _second = join(&other, "two", &ticket);
    let refused = stderr(&try_join(&late, "three", &ticket));
    assert!(refused.contains("this ticket was used by node"), "{refused}");
    assert!(refused.contains("tetryx-cli node invite"), "{refused}");
}

#[test]
fn a_mistyped_ticket_is_refused_before_anybody_is_asked() {
    let (home, other) = (Home::new(), Home::new());
    let first = start(&home, "one");
    let ticket = invite(&first, first.token().unwrap());
    let middle = ticket.len() / 2;
    let swapped = if &ticket[middle..=middle] == "a" { "b" } else { "a" };
    let mistyped = format!("{}{swapped}{}", &ticket[..middle], &ticket[middle + 1..]);
    let refused = stderr(&try_join(&other, "two", &mistyped));
    assert!(refused.contains("the ticket was mistyped"), "{refused}");
    let cut = stderr(&try_join(&other, "two", &ticket[..middle]));
    assert!(cut.contains("the ticket is cut off"), "{cut}");
    let nonsense = stderr(&try_join(&other, "two", "hello"));
    assert!(nonsense.contains("this is not a join ticket"), "{nonsense}");
}

#[test]
fn a_node_of_one_cluster_does_not_join_another() {
    let (home, other) = (Home::new(), Home::new());
    let first = start(&home, "one");
    let ticket = invite(&first, first.token().unwrap());
    start(&other, "two").stop(Signal::TERM);
    let refused = stderr(&try_join(&other, "two", &ticket));
    assert!(refused.contains("belongs to cluster"), "{refused}");
    assert!(refused.contains("--data-dir"), "{refused}");
}

#[test]
fn a_name_that_is_taken_is_refused_and_another_one_joins_with_the_same_ticket() {
    let (home, other) = (Home::new(), Home::new());
    let first = start(&home, "one");
    let ticket = invite(&first, first.token().unwrap());
    let refused = stderr(&try_join(&other, "one", &ticket));
    assert!(
        refused.contains("the name 'one' belongs to another member"),
        "{refused}"
    );
    let second = join(&other, "two", &ticket);
    assert!(second.printed.contains("'two'"), "{}", second.printed);
}

#[test]
fn when_nobody_answers_the_refusal_says_whom_it_tried() {
    let (home, other) = (Home::new(), Home::new());
    let first = start(&home, "one");
    let ticket = invite(&first, first.token().unwrap());
    let peers = first.peers.to_string();
    first.stop(Signal::TERM);
    let refused = stderr(&try_join(&other, "two", &ticket));
    assert!(
        refused.contains("no member of the cluster could be asked"),
        "{refused}"
    );
    assert!(refused.contains(&peers), "{refused}");
}

#[test]
fn a_survivor_of_a_lost_quorum_goes_on_alone_once_that_is_confirmed() {
    let Three {
        homes,
        daemons: [first, second, third],
        token,
    } = three();
    let created = first.post("/api/v1/caches", &token, r#"{"name":"alpha"}"#);
    assert!(created.starts_with("HTTP/1.1 201"), "{created}");
    until(&third, "/api/v1/caches", &token, |answer| {
        answer.contains("alpha")
    });
    let peers = second.peers.to_string();
    let cluster = field(&third.get("/api/v1/status", Some(&token)), "cluster").to_owned();
    first.stop(Signal::KILL);
    second.stop(Signal::KILL);
    third.stop(Signal::KILL);
    // Given that it is only looked at, nothing changes
    let looked = homes[2].run(&["recover"]);
    let shown = String::from_utf8(looked.stdout).unwrap();
    assert!(
        shown.contains(&cluster) && shown.contains("Nothing was changed"),
        "{shown}"
    );
    let refused = stderr(&homes[2].run(&["recover", "--confirm", "something"]));
    assert!(refused.contains("not the id of the cluster"), "{refused}");
    // When it is confirmed
    let recovered = homes[2].run(&["recover", "--confirm", &cluster]);
    let said = String::from_utf8(recovered.stdout).unwrap();
    assert!(said.contains("in epoch 2; 2 other members are removed"), "{said}");
    // Then it has everything and takes changes, and the others are strangers to it
    let third = homes[2].start(&[]);
    let caches = third.get("/api/v1/caches", Some(&token));
    assert!(caches.contains("alpha"), "{caches}");
    let created = third.post("/api/v1/caches", &token, r#"{"name":"beta"}"#);
    assert!(created.starts_with("HTTP/1.1 201"), "{created}");
    let second = homes[1].start(&["--p2p-listen", &peers]);
    let ready = second.get("/ready", None);
    assert!(ready.starts_with("HTTP/1.1 503"), "{ready}");
}

#[test]
fn a_removed_node_says_so_and_is_not_ready() {
    let (home, other) = (Home::new(), Home::new());
    let first = start(&home, "one");
    let token = first.token().unwrap();
    let second = join(&other, "two", &invite(&first, token));
    let node = field(&second.get("/api/v1/status", Some(token)), "node").to_owned();
    let drained = first.post(&format!("/api/v1/members/{node}/drain"), token, "");
    assert!(drained.starts_with("HTTP/1.1 200"), "{drained}");
    until(&second, "/api/v1/members", token, |answer| {
        answer.contains("draining")
    });
    let removed = first.delete(&format!("/api/v1/members/{node}"), token);
    assert!(removed.starts_with("HTTP/1.1 200"), "{removed}");
    // Whether it still hears of its removal, or only that nobody talks to it any more: it is not ready
    until(&second, "/ready", token, |answer| {
        answer.starts_with("HTTP/1.1 503")
    });
    let members = first.get("/api/v1/members", Some(token));
    assert!(!members.contains("\"name\":\"two\""), "{members}");
    // And its name is free for another
    let another = Home::new();
    let third = join(&another, "two", &invite(&first, token));
    assert!(third.printed.contains("'two'"), "{}", third.printed);
}
