//! The rules, one function each.

use std::collections::{BTreeMap, BTreeSet};

use tetryx_protocol::time::UtcTime;

use super::{Everything, Violation};
use crate::limits::{AUDIT_KEPT, CHECK_HASHES_MAX, CHECKS_KEPT, OPEN_PROPOSALS_MAX};
use crate::records::MemberState;
use crate::tables::Table;

pub(super) struct Rules<'a> {
    pub(super) state: &'a Everything,
    pub(super) clock: UtcTime,
    pub(super) violations: &'a mut Vec<Violation>,
}

impl Rules<'_> {
    pub(super) fn run(mut self) {
        self.nothing_exists_before_the_cluster();
        self.no_record_is_ahead_of_the_clock();
        self.members_have_names_of_their_own();
        self.some_member_is_active();
        self.invites_admit_members();
        self.what_replicas_said_is_bounded();
        self.paths_are_where_they_belong();
        self.lists_are_in_order();
        self.references_are_closed();
        self.referrers_mirror_references();
        self.holders_mirror_paths();
        self.nars_are_counted();
        self.tokens_expire_after_they_were_issued();
        self.pins_end_after_they_were_made();
        self.paths_are_pulled_between_publication_and_now();
        self.only_open_replies_are_kept();
        self.the_audit_is_bounded();
        self.ground_records_are_not_ahead_of_the_clock();
        self.satellites_have_a_mission_and_elements();
        self.stations_are_in_order();
    }

    fn nothing_exists_before_the_cluster(&mut self) {
        let state = self.state;
        if state.cluster.is_some() {
            return;
        }
        let filled = [
            (Table::Members, !state.members.is_empty()),
            (Table::Caches, !state.caches.is_empty()),
            (Table::Paths, !state.paths.is_empty()),
            (Table::Nars, !state.nars.is_empty()),
            (Table::Tokens, !state.tokens.is_empty()),
            (Table::Audit, !state.audit.is_empty()),
            (Table::Referrers, !state.referrers.is_empty()),
            (Table::Holders, !state.holders.is_empty()),
            (Table::Invites, !state.invites.is_empty()),
            (Table::Checks, !state.checks.is_empty()),
            (Table::Missions, !state.missions.is_empty()),
            (Table::Satellites, !state.satellites.is_empty()),
            (Table::Elements, !state.elements.is_empty()),
            (Table::Stations, !state.stations.is_empty()),
        ];
        let rows = filled.into_iter().filter(|(_, filled)| *filled);
        self.violations
            .extend(rows.map(|(table, _)| Violation::BeforeInit { table }));
    }

    fn no_record_is_ahead_of_the_clock(&mut self) {
        let state = self.state;
        if let Some(cluster) = &state.cluster {
            self.not_ahead(cluster.created, || format!("cluster {}", cluster.id));
        }
        for (node, member) in &state.members {
            self.not_ahead(member.added, || format!("member {node}"));
            match member.state {
                MemberState::Active => {}
                MemberState::Draining { since } => {
                    self.not_ahead(since, || format!("the draining of member {node}"));
                }
                MemberState::Removed { at } => {
                    self.not_ahead(at, || format!("the removal of member {node}"));
                }
            }
        }
        for (id, invite) in &state.invites {
            self.not_ahead(invite.created, || format!("invitation {id}"));
            if let Some(used) = invite.used {
                self.not_ahead(used.at, || format!("the use of invitation {id}"));
            }
        }
        for (name, cache) in &state.caches {
            self.not_ahead(cache.created, || format!("cache '{name}'"));
        }
        for ((cache, _), path) in &state.paths {
            self.not_ahead(path.created, || {
                format!("path {} of cache '{cache}'", path.store_path)
            });
            if let Some(pin) = &path.pinned {
                self.not_ahead(pin.at, || {
                    format!("the pin of {} in cache '{cache}'", path.store_path)
                });
            }
        }
        for (id, token) in &state.tokens {
            if let Some(revoked) = token.revoked {
                self.not_ahead(revoked, || format!("the revocation of token {id}"));
            }
        }
        for (id, client) in &state.clients {
            self.not_ahead(client.seen, || format!("client {id}"));
        }
        for (index, record) in &state.audit {
            self.not_ahead(record.at, || format!("audit record {index}"));
        }
    }

    pub(super) fn not_ahead(&mut self, time: UtcTime, object: impl Fn() -> String) {
        if time > self.clock {
            self.violations.push(Violation::AheadOfClock {
                object: object(),
                time,
                clock: self.clock,
            });
        }
    }

    fn members_have_names_of_their_own(&mut self) {
        let mut names = BTreeMap::new();
        let members = self.state.members.iter();
        for (node, member) in members.filter(|(_, member)| !member.state.is_removed()) {
            if let Some(first) = names.insert(&member.name, *node) {
                let name = member.name.clone();
                self.violations.push(Violation::SharedName {
                    name,
                    first,
                    second: *node,
                });
            }
        }
    }

    fn some_member_is_active(&mut self) {
        let members = &self.state.members;
        if !members.is_empty() && !members.iter().any(|(_, member)| member.state.is_active()) {
            self.violations.push(Violation::NobodyActive);
        }
    }

    fn invites_admit_members(&mut self) {
        let mut joined = BTreeMap::new();
        for (invite, record) in &self.state.invites {
            let mut bad = |reason| {
                let invite = *invite;
                self.violations.push(Violation::BadInvite { invite, reason });
            };
            if record.expires <= record.created {
                bad("expires before it was made");
            }
            let Some(used) = record.used else {
                continue;
            };
            if used.at >= record.expires {
                bad("was used after it had expired");
            }
            if !self.state.members.iter().any(|(node, _)| *node == used.by) {
                bad("was used by a node that never was a member");
            }
            if let Some(first) = joined.insert(used.by, *invite) {
                self.violations.push(Violation::JoinedTwice {
                    node: used.by,
                    first,
                    second: *invite,
                });
            }
        }
    }

    fn what_replicas_said_is_bounded(&mut self) {
        let checks = &self.state.checks;
        for (position, (index, check)) in checks.iter().enumerate() {
            let mut bad = |reason| {
                let index = *index;
                self.violations.push(Violation::BadCheck { index, reason });
            };
            if check.hashes.is_empty() {
                bad("nothing");
            }
            if check.hashes.len() > CHECK_HASHES_MAX || position >= CHECKS_KEPT {
                bad("more than is kept");
            }
            if !check
                .hashes
                .is_sorted_by(|(first, _), (second, _)| first < second)
            {
                bad("not in order, each replica once");
            }
        }
    }

    fn paths_are_where_they_belong(&mut self) {
        let caches: BTreeSet<_> = self.state.caches.iter().map(|(name, _)| name).collect();
        for ((cache, key), path) in &self.state.paths {
            let (cache, path) = (cache.clone(), path.store_path.clone());
            if path.hash != *key {
                let (cache, path) = (cache.clone(), path.clone());
                self.violations.push(Violation::PathUnderOtherKey {
                    cache,
                    key: *key,
                    path,
                });
            }
            if !caches.contains(&cache) {
                self.violations.push(Violation::PathOutsideCache { cache, path });
            }
        }
    }

    fn lists_are_in_order(&mut self) {
        for ((cache, _), path) in &self.state.paths {
            let lists = [
                ("references", increases(&path.references)),
                ("absent references", increases(&path.absent_references)),
                ("signatures", increases(&path.signatures)),
            ];
            for (what, _) in lists.into_iter().filter(|(_, ordered)| !ordered) {
                let (cache, path) = (cache.clone(), path.store_path.clone());
                self.violations.push(Violation::OutOfOrder { cache, path, what });
            }
        }
    }

    fn references_are_closed(&mut self) {
        let present: BTreeSet<_> = self
            .state
            .paths
            .iter()
            .map(|((cache, _), path)| (cache, &path.store_path))
            .collect();
        for ((cache, _), path) in &self.state.paths {
            for reference in &path.absent_references {
                if !path.references.contains(reference) {
                    self.violations.push(Violation::AbsentButNotReferenced {
                        cache: cache.clone(),
                        path: path.store_path.clone(),
                        reference: reference.clone(),
                    });
                }
            }
            for reference in &path.references {
                if !present.contains(&(cache, reference)) && !path.may_miss(reference) {
                    self.violations.push(Violation::DanglingReference {
                        cache: cache.clone(),
                        path: path.store_path.clone(),
                        reference: reference.clone(),
                    });
                }
            }
        }
    }

    fn referrers_mirror_references(&mut self) {
        let listed: BTreeSet<_> = self.state.referrers.iter().cloned().collect();
        let mut derived = BTreeSet::new();
        for ((cache, hash), path) in &self.state.paths {
            let others = path
                .references
                .iter()
                .filter(|reference| **reference != path.store_path);
            derived.extend(others.map(|reference| (cache.clone(), reference.hash, *hash)));
        }
        for (cache, target, by) in derived.difference(&listed).cloned() {
            self.violations
                .push(Violation::ReferrerMissing { cache, target, by });
        }
        for (cache, target, by) in listed.difference(&derived).cloned() {
            self.violations
                .push(Violation::ReferrerTooMany { cache, target, by });
        }
    }

    fn holders_mirror_paths(&mut self) {
        let listed: BTreeSet<_> = self.state.holders.iter().cloned().collect();
        let paths = self.state.paths.iter();
        let derived: BTreeSet<_> = paths
            .map(|((cache, by), path)| (cache.clone(), path.nar_hash, *by))
            .collect();
        for (cache, nar, by) in derived.difference(&listed).cloned() {
            self.violations.push(Violation::HolderMissing { cache, nar, by });
        }
        for (cache, nar, by) in listed.difference(&derived).cloned() {
            self.violations.push(Violation::HolderTooMany { cache, nar, by });
        }
    }

    fn nars_are_counted(&mut self) {
        let mut found = BTreeMap::new();
        for (_, path) in &self.state.paths {
            *found.entry(path.nar_hash).or_insert(0_u64) += 1;
        }
        for (nar, record) in &self.state.nars {
            let found = found.get(nar).copied().unwrap_or(0);
            if record.references != found || found == 0 {
                self.violations.push(Violation::NarCount {
                    nar: *nar,
                    counted: record.references,
                    found,
                });
            }
        }
        let known: BTreeSet<_> = self.state.nars.iter().map(|(nar, _)| *nar).collect();
        for ((cache, _), path) in &self.state.paths {
            if !known.contains(&path.nar_hash) {
                let (cache, path, nar) = (cache.clone(), path.store_path.clone(), path.nar_hash);
                self.violations.push(Violation::NarMissing { cache, path, nar });
            }
        }
    }

    fn tokens_expire_after_they_were_issued(&mut self) {
        let never_valid = self
            .state
            .tokens
            .iter()
            .filter(|(_, token)| token.expires <= token.issued);
        self.violations
            .extend(never_valid.map(|(token, _)| Violation::TokenNeverValid { token: *token }));
    }

    fn pins_end_after_they_were_made(&mut self) {
        for ((cache, _), path) in &self.state.paths {
            let pin = path.pinned.as_ref();
            if pin.is_some_and(|pin| pin.until.is_some_and(|until| until <= pin.at)) {
                let (cache, path) = (cache.clone(), path.store_path.clone());
                self.violations.push(Violation::PinNeverValid { cache, path });
            }
        }
    }

    fn paths_are_pulled_between_publication_and_now(&mut self) {
        for ((cache, _), path) in &self.state.paths {
            let day = path.last_access_day;
            if day < path.created.unix_day() || day > self.clock.unix_day() {
                let (cache, path) = (cache.clone(), path.store_path.clone());
                self.violations.push(Violation::BadAccessDay { cache, path, day });
            }
        }
    }

    fn only_open_replies_are_kept(&mut self) {
        let floors: BTreeMap<_, _> = self
            .state
            .clients
            .iter()
            .map(|(id, client)| (*id, client.floor))
            .collect();
        for (client, serial) in self.state.replies.iter().copied() {
            match floors.get(&client).copied() {
                None => self
                    .violations
                    .push(Violation::ReplyWithoutClient { client, serial }),
                Some(floor) if serial < floor || serial - floor >= OPEN_PROPOSALS_MAX => {
                    self.violations.push(Violation::ReplyNotOpen {
                        client,
                        serial,
                        floor,
                    });
                }
                Some(_) => {}
            }
        }
    }

    fn the_audit_is_bounded(&mut self) {
        if let (Some((oldest, _)), Some((newest, _))) = (self.state.audit.first(), self.state.audit.last())
            && newest - oldest >= AUDIT_KEPT
        {
            self.violations.push(Violation::AuditTooLong {
                oldest: *oldest,
                newest: *newest,
            });
        }
    }
}

fn increases<V: Ord>(list: &[V]) -> bool {
    list.windows(2).all(|pair| pair[0] < pair[1])
}
