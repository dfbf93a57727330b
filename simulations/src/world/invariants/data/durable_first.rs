//! A path is published only when its chunks are durable, on as many machines as were promised.
//!
//! Checked at the first look after some station has applied the publication: its manifest and all its chunks lie intact
//! and durable on `min(replication.write_replicas, what its cache asks for, active members)` machines, or did at an
//! earlier look since it was uploaded. The latter for a publication that nobody heard of for longer than holds last.
//! Of the two figures that may change, the smallest counts that was seen so far: whoever published may have known an
//! older state. A machine whose disk has damaged the NAR counts as having it.

use std::collections::{BTreeMap, BTreeSet};

use tetryx_protocol::cache::CacheName;
use tetryx_protocol::hash::{ManifestHash, NarHash};

use super::asked::{Asked, AskedNar, rank};

#[derive(Debug)]
pub(super) struct DurableFirst {
    /// The most machines on which what is not published yet was durable at once.
    most: BTreeMap<ManifestHash, usize>,
    published: BTreeMap<NarHash, ManifestHash>,
    write_replicas: u16,
    least_members: u16,
    least_copies: BTreeMap<CacheName, u16>,
}

impl DurableFirst {
    pub(super) fn new(write_replicas: u8) -> Self {
        Self {
            most: BTreeMap::new(),
            published: BTreeMap::new(),
            write_replicas: u16::from(write_replicas),
            least_members: u16::MAX,
            least_copies: BTreeMap::new(),
        }
    }

    /// Takes note of where what is not published is durable: `count` machines.
    pub(super) fn look_ahead<'a>(
        &mut self,
        manifests: impl Iterator<Item = &'a ManifestHash>,
        count: impl Fn(&ManifestHash) -> usize,
    ) {
        let published: BTreeSet<ManifestHash> = self.published.values().copied().collect();
        let present: BTreeSet<ManifestHash> = manifests.copied().collect();
        self.most.retain(|manifest, _| present.contains(manifest));
        for manifest in present.difference(&published) {
            let count = count(manifest);
            let most = self.most.entry(*manifest).or_default();
            *most = count.max(*most);
        }
    }

    /// Judges what is published in this state and was not before.
    ///
    /// # Errors
    /// In words, how the promise is broken.
    pub(super) fn look(
        &mut self,
        asked: &Asked,
        count: impl Fn(&ManifestHash) -> usize,
    ) -> Result<(), String> {
        let members = u16::try_from(asked.members()).unwrap_or(u16::MAX);
        self.least_members = self.least_members.min(members.max(1));
        for (name, copies) in &asked.copies {
            let least = self.least_copies.entry(name.clone()).or_insert(u16::MAX);
            *least = rank(copies).min(*least);
        }
        self.published
            .retain(|nar, manifest| asked.nars.get(nar).is_some_and(|row| row.manifest == *manifest));
        for (nar, row) in &asked.nars {
            if self.published.contains_key(nar) {
                continue;
            }
            let most = self.most.remove(&row.manifest).unwrap_or(0);
            self.published.insert(*nar, row.manifest);
            let (wanted, have) = (self.wanted(row), most.max(count(&row.manifest)));
            if have < wanted {
                return Err(format!(
                    "the NAR {nar} is published by log entry {} at the latest, and is durable on {have} machines of {wanted}",
                    asked.index
                ));
            }
        }
        Ok(())
    }

    /// On how many machines it must be durable.
    fn wanted(&self, row: &AskedNar) -> usize {
        let copies = row.caches.iter().filter_map(|name| self.least_copies.get(name));
        let copies = copies.copied().min().unwrap_or(1);
        usize::from(self.write_replicas.min(self.least_members).min(copies))
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{asked, manifest, nar};
    use super::*;

    fn durable_on(machines: usize) -> impl Fn(&ManifestHash) -> usize {
        move |_| machines
    }

    #[test]
    fn what_is_durable_on_as_many_machines_as_promised_is_fine() {
        let mut check = DurableFirst::new(2);
        assert_eq!(check.look(&asked(7, &[1], 3, 3), durable_on(2)), Ok(()));
        let mut check = DurableFirst::new(2);
        assert_eq!(
            check.look(&asked(7, &[1], 1, 3), durable_on(1)),
            Ok(()),
            "one copy is asked for"
        );
        let mut check = DurableFirst::new(2);
        assert_eq!(
            check.look(&asked(7, &[1], 3, 1), durable_on(1)),
            Ok(()),
            "there is one member"
        );
    }

    #[test]
    fn what_is_published_before_it_is_durable_is_noticed() {
        let mut check = DurableFirst::new(2);
        let error = check.look(&asked(7, &[1], 3, 3), durable_on(1)).unwrap_err();
        assert!(
            error.contains(&nar(1).to_string()) && error.contains("1 machines of 2"),
            "{error}"
        );
        assert!(
            DurableFirst::new(2)
                .look(&asked(7, &[1], 1, 3), durable_on(0))
                .is_err()
        );
    }

    #[test]
    fn what_was_durable_while_its_publication_was_under_way_is_fine() {
        let mut check = DurableFirst::new(2);
        check.look_ahead([manifest(1)].iter(), durable_on(2));
        check.look_ahead([manifest(1)].iter(), durable_on(1));
        assert_eq!(check.look(&asked(7, &[1], 3, 3), durable_on(1)), Ok(()));
        // Deleted, and published again.
        assert_eq!(check.look(&asked(8, &[], 3, 3), durable_on(1)), Ok(()));
        assert!(check.look(&asked(9, &[1], 3, 3), durable_on(1)).is_err());
    }

    #[test]
    fn who_published_may_have_known_an_older_state() {
        let mut check = DurableFirst::new(2);
        assert_eq!(check.look(&asked(7, &[], 1, 3), durable_on(0)), Ok(()));
        assert_eq!(check.look(&asked(8, &[1], 3, 3), durable_on(1)), Ok(()));
    }
}
