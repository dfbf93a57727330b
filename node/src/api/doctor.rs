//! `/api/v1/doctor`: how the node is, check by check, and what to do about it.
//!
//! The checks are a pure function of [`Signs`]; they claim nothing that is not known here.

use std::time::Duration;

use axum::extract::State;
use bytesize::ByteSize;
use tetryx_protocol::api::{CheckState, DoctorCheck, DoctorReport, OutboxCounts, StoreStatus};
use tetryx_protocol::time::UtcTime;

use super::standing::Facts;
use super::status::store_status;
use crate::Node;
use crate::http::auth::Caller;
use crate::http::error::HttpError;
use crate::http::extract::ApiJson;
use crate::room::low_mark;

/// Damaged NARs that the evidence names.
const NAMED_MAX: usize = 5;

pub(super) async fn report(
    State(node): State<Node>,
    caller: Caller,
) -> Result<ApiJson<DoctorReport>, HttpError> {
    caller.token()?;
    let replica = node.replica().status();
    let store = store_status(&node).await?;
    let facts = Facts::gather(&node, &replica, node.outbox().counts(), store.damaged);
    let hurt = node.scrub_standing().hurt;
    let signs = Signs {
        now: node.clock().utc(),
        uptime: node.uptime(),
        facts,
        room_low: low_mark(
            node.config().store.segment_size.bytes(),
            store.disk_bytes,
            store.free_bytes,
        ),
        store,
        damaged: hurt.iter().take(NAMED_MAX).map(ToString::to_string).collect(),
        is_tried: hurt.iter().any(|hurt| hurt.is_tried),
    };
    Ok(ApiJson(DoctorReport {
        checks: signs.checks(),
    }))
}

/// What the checks are made of.
#[derive(Debug)]
struct Signs {
    now: UtcTime,
    uptime: Duration,
    facts: Facts,
    store: StoreStatus,
    /// Below this much free space, copies are given up.
    room_low: u64,
    /// The first damaged NARs that are needed here.
    damaged: Vec<String>,
    /// Whether fetching any of them anew has failed.
    is_tried: bool,
}

impl Signs {
    fn checks(&self) -> Vec<DoctorCheck> {
        vec![
            self.quorum(),
            self.members(),
            self.copies(),
            self.outbox(),
            self.room(),
            self.scrub(),
            self.data(),
        ]
    }

    fn quorum(&self) -> DoctorCheck {
        match self.facts.has_leader {
            true => ok("quorum", "a leader is known: changes can be made"),
            false => warning(
                "quorum",
                format!("no majority of the {} voters is reached", self.facts.voters),
                "start the missing voters; if they are gone for good, see 'tetryx-node recover'",
            ),
        }
    }

    fn members(&self) -> DoctorCheck {
        let (silent, total) = (&self.facts.silent, self.facts.members.total);
        match silent.len() {
            0 => ok("members", format!("all {total} are heard")),
            _ => warning(
                "members",
                format!("{} of {total} are not heard: {}", silent.len(), silent.join(", ")),
                "see 'tetryx-cli node list'; a node that is gone for good goes with 'tetryx-cli node remove'",
            ),
        }
    }

    fn copies(&self) -> DoctorCheck {
        let few = self.facts.copies.under_replicated;
        match few.nars {
            0 => ok("copies", "every NAR has as many as it should"),
            nars => warning(
                "copies",
                format!(
                    "{nars} NARs ({}) have too few, or a holder is not heard",
                    ByteSize(few.bytes)
                ),
                "they are made as nodes come back and have room; see 'tetryx-cli status'",
            ),
        }
    }

    fn outbox(&self) -> DoctorCheck {
        let OutboxCounts { waiting, refused, .. } = self.facts.outbox;
        match (waiting, refused) {
            (0, 0) => ok("outbox", "nothing waits"),
            _ => warning(
                "outbox",
                format!("{waiting} paths wait for the cluster, {refused} were refused"),
                "see 'tetryx-cli outbox'",
            ),
        }
    }

    fn room(&self) -> DoctorCheck {
        let free = self.store.free_bytes;
        let left = format!("{} may still be stored", ByteSize(free));
        if free >= self.room_low {
            return ok("room", left);
        }
        warning(
            "room",
            left,
            match self.store.quota_bytes {
                Some(_) => {
                    "raise store.quota, run 'tetryx-node gc --once', or shorten the retention of caches"
                }
                None => {
                    "free some of the disk, run 'tetryx-node gc --once', or shorten the retention of caches"
                }
            },
        )
    }

    fn scrub(&self) -> DoctorCheck {
        let scrub = &self.store.scrub;
        let period = Duration::from_secs(scrub.period_seconds);
        let age = scrub.last_ended.map(|ended| self.now.since(ended));
        let seen = match age {
            Some(age) => format!("everything was read back {} ago", days(age)),
            None => "not everything was read back yet".to_owned(),
        };
        if period.is_zero() {
            return ok("scrub", format!("{seen}; scrub.period is off"));
        }
        if age.unwrap_or(self.uptime) <= period {
            return ok("scrub", seen);
        }
        warning(
            "scrub",
            seen,
            "raise scrub.rate, or run 'tetryx-node scrub --once'",
        )
    }

    fn data(&self) -> DoctorCheck {
        let nars = self.store.scrub.damaged_nars;
        if nars == 0 {
            return ok("data", "no damage is known to anything that is needed here");
        }
        let mut evidence = format!(
            "{nars} NARs are damaged on this disk: {}",
            self.damaged.join("; ")
        );
        if nars > self.damaged.len() as u64 {
            evidence.push_str("; and more");
        }
        match self.is_tried {
            true => DoctorCheck {
                name: "data".to_owned(),
                state: CheckState::Damage,
                evidence,
                fix: Some(
                    "bring back a node that has them, or push their paths again, or delete the paths"
                        .to_owned(),
                ),
            },
            false => warning("data", evidence, "nothing: they are being fetched anew"),
        }
    }
}

fn ok(name: &str, evidence: impl Into<String>) -> DoctorCheck {
    DoctorCheck {
        name: name.to_owned(),
        state: CheckState::Ok,
        evidence: evidence.into(),
        fix: None,
    }
}

fn warning(name: &str, evidence: impl Into<String>, fix: &str) -> DoctorCheck {
    DoctorCheck {
        name: name.to_owned(),
        state: CheckState::Warning,
        evidence: evidence.into(),
        fix: Some(fix.to_owned()),
    }
}

fn days(age: Duration) -> String {
    match age.as_secs() / 86_400 {
        0 => "less than a day".to_owned(),
        1 => "1 day".to_owned(),
        days => format!("{days} days"),
    }
}

#[cfg(test)]
mod tests {
    use tetryx_protocol::api::ScrubStatus;

    use super::*;

    fn healthy() -> Signs {
        Signs {
            now: UtcTime::from_unix_ms(10_000_000),
            facts: Facts {
                has_leader: true,
                ..Facts::default()
            },
            store: StoreStatus {
                free_bytes: 1 << 30,
                scrub: ScrubStatus {
                    period_seconds: 30 * 86_400,
                    ..ScrubStatus::default()
                },
                ..StoreStatus::default()
            },
            room_low: 1 << 20,
            uptime: Duration::ZERO,
            damaged: Vec::new(),
            is_tried: false,
        }
    }

    fn worst(signs: &Signs) -> CheckState {
        signs.checks().iter().map(|check| check.state).max().unwrap()
    }

    #[test]
    fn a_sound_node_has_nothing_to_fix() {
        let checks = healthy().checks();
        assert!(
            checks
                .iter()
                .all(|check| check.state == CheckState::Ok && check.fix.is_none()),
            "{checks:?}"
        );
    }

    #[test]
    fn only_damage_that_nobody_could_heal_is_damage() {
        let mut signs = healthy();
        // Known to the store, and needed by nobody.
        signs.store.damaged = 7;
        assert_eq!(worst(&signs), CheckState::Ok);
        signs.store.scrub.damaged_nars = 1;
        signs.damaged = vec!["NAR x: 1 chunk".to_owned()];
        assert_eq!(worst(&signs), CheckState::Warning);
        signs.is_tried = true;
        assert_eq!(worst(&signs), CheckState::Damage);
        let data = signs.checks().pop().unwrap();
        assert!(data.evidence.contains("NAR x: 1 chunk"), "{data:?}");
    }

    #[test]
    fn trouble_that_costs_no_data_is_a_warning_with_a_way_out() {
        let mut cases: Vec<Signs> = std::iter::repeat_with(healthy).take(5).collect();
        cases[0].facts.has_leader = false;
        cases[1].facts.silent = vec!["moor".to_owned()];
        cases[2].store.free_bytes = 5;
        cases[3].facts.outbox.waiting = 1;
        cases[4].uptime = Duration::from_secs(31 * 86_400);
        for signs in cases {
            assert_eq!(worst(&signs), CheckState::Warning);
            let checks = signs.checks();
            let fixes = checks.iter().filter(|check| check.fix.is_some());
            assert_eq!(fixes.count(), 1);
        }
    }
}
