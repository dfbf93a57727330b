//! What nobody needs any more gives its place back.
//!
//! Judged at rest, when sessions and holds have ended and every station has collected: a store names no chunk and no
//! manifest but those of the NARs that some path has, no more than a tenth of its packs is garbage, and nothing else lies
//! on its disk.

use std::collections::BTreeSet;

use tetryx_store::{Object, StoreStats};

/// What a store may take beyond what is live and its share of garbage: the pack that is being written, and headers.
const SLACK_BYTES: u64 = 64 << 10;

/// A store at rest.
#[derive(Clone, Debug)]
pub(super) struct Store {
    pub(super) stats: StoreStats,
    /// Objects of live NARs that the store has.
    pub(super) live: BTreeSet<Object>,
    /// Bytes of their records.
    pub(super) live_bytes: u64,
    /// Names of the files on the disk that belong to store and outbox.
    pub(super) files: Vec<String>,
}

/// Judges a store.
///
/// # Errors
/// In words, how the promise is broken.
pub(super) fn judge(store: &Store) -> Result<(), String> {
    let stats = &store.stats;
    let manifests = store
        .live
        .iter()
        .filter(|object| matches!(object, Object::Manifest(_)));
    let manifests = manifests.count() as u64;
    let chunks = store.live.len() as u64 - manifests;
    if stats.pins > 0 || stats.pinned > 0 {
        return Err(format!(
            "{} pins, and {} objects are still protected by pins and holds",
            stats.pins, stats.pinned
        ));
    }
    if stats.chunks > chunks || stats.manifests > manifests {
        return Err(format!(
            "the store names {} chunks and {} manifests, of which {chunks} and {manifests} belong to live NARs",
            stats.chunks, stats.manifests
        ));
    }
    let bound = store.live_bytes * 10 / 9 + SLACK_BYTES;
    if stats.pack_bytes > bound {
        return Err(format!(
            "the packs take {} bytes, of which {} are live",
            stats.pack_bytes, store.live_bytes
        ));
    }
    let packs = store.files.iter().filter(|name| name.ends_with(".pack")).count() as u64;
    let journals = store
        .files
        .iter()
        .filter(|name| name.starts_with("outbox/journal-"))
        .count();
    let known =
        packs + journals as u64 + u64::from(store.files.iter().any(|name| name == "chunks/index.redb"));
    if packs != stats.segments || journals > 1 || known != store.files.len() as u64 {
        return Err(format!(
            "the store counts {} segments, and on the disk are {:?}",
            stats.segments, store.files
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{chunk, manifest};
    use super::*;

    fn tidy() -> Store {
        Store {
            stats: StoreStats {
                chunks: 2,
                manifests: 1,
                segments: 1,
                pack_bytes: 150_000,
                ..StoreStats::default()
            },
            live: [chunk(1), chunk(2), Object::Manifest(manifest(1))].into(),
            live_bytes: 100_000,
            files: [
                "chunks/index.redb",
                "chunks/segment-0000000001.pack",
                "outbox/journal-0000000000000001",
            ]
            .map(str::to_owned)
            .into(),
        }
    }

    #[test]
    fn a_store_with_nothing_but_what_is_live_is_tidy() {
        assert_eq!(judge(&tidy()), Ok(()));
    }

    #[test]
    fn each_kind_of_litter_is_noticed() {
        let litter: [fn(&mut Store); 6] = [
            |store| store.stats.chunks += 1,
            |store| store.stats.manifests += 1,
            |store| store.stats.pins += 1,
            |store| store.stats.pack_bytes = 300_000,
            |store| store.files.push("chunks/segment-0000000002.pack".to_owned()),
            |store| store.files.push("outbox/journal-0000000000000002".to_owned()),
        ];
        for litter in litter {
            let mut store = tidy();
            litter(&mut store);
            judge(&store).expect_err("litter");
        }
    }
}
