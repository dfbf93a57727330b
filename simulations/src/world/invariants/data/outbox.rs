//! What a station took while it was cut off stays with it until its fate is decided, and is decided once.
//!
//! An entry that was seen to wait is seen to wait or to be decided at each later look, restarts or not. What was decided
//! stays so, and never waits again, as far back as a station remembers. What a client was told to wait is there.

use std::collections::{BTreeMap, BTreeSet};

use tetryx_protocol::api::{OutboxReport, OutboxState};

/// Decided paths that a station remembers at least.
const REMEMBERED: usize = 2_000;

/// A path that was taken: its cache, the hash of its store path, and when it was taken.
type Taken = (String, String, i64);

/// What one station's outbox has said.
#[derive(Debug, Default)]
pub(super) struct OutboxKept {
    waiting: BTreeSet<Taken>,
    decided: BTreeMap<Taken, OutboxState>,
}

impl OutboxKept {
    /// Judges what the station says now. `promised` are the caches and hashes of paths that clients were told to wait
    /// there.
    ///
    /// # Errors
    /// In words, how the promise is broken.
    pub(super) fn look(
        &mut self,
        report: &OutboxReport,
        promised: &[(String, String)],
    ) -> Result<(), String> {
        let mut waiting = BTreeSet::new();
        let mut decided = BTreeMap::new();
        // The newest come first, so what is taken again keeps its last fate.
        for entry in &report.entries {
            let taken = (
                entry.cache.to_string(),
                entry.store_path.hash.to_string(),
                entry.accepted.unix_ms(),
            );
            match &entry.state {
                OutboxState::Waiting => {
                    waiting.insert(taken);
                }
                state => {
                    decided.entry(taken).or_insert_with(|| state.clone());
                }
            }
        }
        let remembers_all = decided.len() < REMEMBERED;
        if let Some((cache, hash, _)) = self
            .waiting
            .iter()
            .find(|taken| remembers_all && !waiting.contains(*taken) && !decided.contains_key(*taken))
        {
            return Err(format!(
                "the path {hash} of cache {cache} waited, and nobody knows what became of it"
            ));
        }
        for (taken, state) in &self.decided {
            let (cache, hash, _) = taken;
            if waiting.contains(taken) {
                return Err(format!(
                    "the path {hash} of cache {cache} was {state:?}, and waits again"
                ));
            }
            match decided.get(taken) {
                Some(now) if now != state => {
                    return Err(format!(
                        "the path {hash} of cache {cache} was {state:?}, and now is {now:?}"
                    ));
                }
                None if remembers_all => {
                    return Err(format!(
                        "the path {hash} of cache {cache} was {state:?}, which is forgotten"
                    ));
                }
                _ => {}
            }
        }
        let is_known = |(cache, hash): &(String, String)| {
            let mut all = waiting.iter().chain(decided.keys());
            all.any(|(at, path, _)| at == cache && path == hash)
        };
        if let Some((cache, hash)) = promised.iter().find(|path| remembers_all && !is_known(path)) {
            return Err(format!(
                "a client was told that the path {hash} of cache {cache} waits here, and it does not"
            ));
        }
        self.waiting = waiting;
        self.decided = decided;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tetryx_protocol::api::OutboxEntry;
    use tetryx_protocol::time::UtcTime;

    use super::*;
    use crate::nar::TestPath;

    fn report(entries: &[(&str, OutboxState)]) -> OutboxReport {
        let entries = entries.iter().map(|(name, state)| OutboxEntry {
            cache: "main".parse().expect("a name"),
            store_path: TestPath::new(name, b"").store_path,
            by: "somebody".to_owned(),
            accepted: UtcTime::from_unix_ms(5),
            state: state.clone(),
        });
        OutboxReport {
            entries: entries.collect(),
            ..OutboxReport::default()
        }
    }

    const APPLIED: OutboxState = OutboxState::Applied { index: 9 };

    fn waited() -> OutboxKept {
        let mut check = OutboxKept::default();
        let first = report(&[("one", OutboxState::Waiting)]);
        check.look(&first, &[]).expect("it waits");
        check
    }

    #[test]
    fn what_waits_may_wait_on_or_be_decided() {
        assert_eq!(
            waited().look(&report(&[("one", OutboxState::Waiting)]), &[]),
            Ok(())
        );
        assert_eq!(waited().look(&report(&[("one", APPLIED)]), &[]), Ok(()));
    }

    #[test]
    fn an_entry_that_is_forgotten_is_missed() {
        assert!(waited().look(&report(&[]), &[]).is_err());
        let mut check = waited();
        check
            .look(&report(&[("one", APPLIED)]), &[])
            .expect("it is decided");
        assert!(check.look(&report(&[]), &[]).is_err());
    }

    #[test]
    fn a_fate_that_changes_is_noticed() {
        for later in [OutboxState::Waiting, OutboxState::Applied { index: 10 }] {
            let mut check = waited();
            check
                .look(&report(&[("one", APPLIED)]), &[])
                .expect("it is decided");
            assert!(check.look(&report(&[("one", later)]), &[]).is_err());
        }
    }

    #[test]
    fn what_a_client_was_told_to_wait_must_be_there() {
        let hash = TestPath::new("one", b"").store_path.hash.to_string();
        let promised = [("main".to_owned(), hash)];
        assert!(OutboxKept::default().look(&report(&[]), &promised).is_err());
        for state in [OutboxState::Waiting, APPLIED] {
            let report = report(&[("one", state)]);
            assert_eq!(OutboxKept::default().look(&report, &promised), Ok(()));
        }
    }
}
