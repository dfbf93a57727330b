//! Bits that flip in packs: in chunks and manifests that the store would hand out.
//!
//! Promised is: a damaged record is never served, it is found when it is read, and replaced from another station.
//! Nothing is promised about the log and the state (restore all of them), and about the outbox (it is refused in words);
//! there nothing flips. Nor does it in what only one disk has, as long as a push waits in an outbox.

use std::collections::BTreeSet;

use tetryx_node::Node;
use tetryx_state::query;
use tetryx_store::{ChunkStore, Object, PackRecord, RecordState, read_pack};

use super::super::{Fault, Station, World};
use super::atlas::{self, Harm};
use super::pace::Pace;
use super::targets;

/// Where the packs are.
const FOLDER: &str = "chunks/";
/// The bytes before a record's payload.
const RECORD_HEADER_LEN: u64 = 68;
/// The bits that flip in a manifest are among its last bytes: its length is not looked up.
const MANIFEST_TAIL: u64 = 16;

/// A flipped bit.
#[derive(Clone, Debug)]
struct Wound {
    station: Station,
    object: Object,
    pack: String,
    end: u64,
}

pub(crate) async fn run(world: World) {
    let mut pace = Pace::new(&world, Fault::BitFlip);
    let mut chance = world.chance("fault bit flip");
    let mut wounds: Vec<Wound> = Vec::new();
    loop {
        pace.next().await;
        wounds.retain(|wound| !is_healed(wound));
        let doubtful = world.trouble().atlas().doubtful();
        if let (Some(number), true) = (doubtful, wounds.is_empty()) {
            world.trouble().atlas().end(number, Harm::Flips);
        }
        atlas::review(&world).await;
        let candidates = targets::harmable(&world, Harm::Flips);
        let Some(victim) = targets::one_of(&mut chance, &candidates) else {
            continue;
        };
        if let Some(wound) = flip(&world, &victim, &mut chance) {
            world.trouble().atlas().begin(victim.number(), Harm::Flips);
            world.trace(format_args!(
                "a bit flips on the disk of {victim:?}, in {} before byte {}",
                wound.pack, wound.end
            ));
            world.count(Fault::BitFlip.name());
            wounds.push(wound);
        }
    }
}

/// Flips a bit of something that the station's store would hand out, that belongs to a published path, and that another
/// station has on its disk: what waits in an outbox is on one disk only, and nobody promises more.
fn flip(world: &World, victim: &Station, chance: &mut fastrand::Rng) -> Option<Wound> {
    let node = victim.node()?;
    let records = records(victim);
    let published = published(&node, &records)?;
    let others: Vec<Station> = targets::present(world)
        .into_iter()
        .filter(|station| station.number() != victim.number())
        .collect();
    let elsewhere: BTreeSet<Object> = others
        .iter()
        .flat_map(self::records)
        .filter(|(_, record)| matches!(record.state, RecordState::Chunk | RecordState::Manifest(_)))
        .map(|(_, record)| record.object)
        .collect();
    let mut live = Vec::new();
    for (pack, record) in records {
        if published.contains(&record.object)
            && elsewhere.contains(&record.object)
            && let Some(payload) = live_payload(node.store(), &pack, &record)
        {
            live.push((format!("{FOLDER}{pack}"), record, payload));
        }
    }
    if live.is_empty() {
        return None;
    }
    let (pack, record, payload) = live.swap_remove(chance.usize(0..live.len()));
    let at = record.end - 1 - chance.u64(0..payload);
    victim.disk().flip_bit(&pack, at, chance.u8(0..8));
    Some(Wound {
        station: victim.clone(),
        object: record.object,
        pack,
        end: record.end,
    })
}

/// What lies durably in a station's packs, and in which of them.
fn records(station: &Station) -> Vec<(String, PackRecord)> {
    let mut all = Vec::new();
    for pack in station.disk().durable_files(FOLDER) {
        let name = pack.name.trim_start_matches(FOLDER);
        let content = station.disk().durable_content(&pack.name, 0).unwrap_or_default();
        // What is not a pack has no records.
        let records = read_pack(name, 0, &content).ok().flatten().unwrap_or_default();
        all.extend(records.into_iter().map(|record| (name.to_owned(), record)));
    }
    all
}

/// The manifests of published paths, and the chunks that those of them list that are among the records.
fn published(node: &Node, records: &[(String, PackRecord)]) -> Option<BTreeSet<Object>> {
    let view = node.replica().view().ok()?;
    let live = query::live_manifests(&view, None, usize::MAX).ok()?;
    let mut published: BTreeSet<Object> = live
        .into_iter()
        .map(|(_, manifest)| Object::Manifest(manifest))
        .collect();
    let mut chunks = BTreeSet::new();
    for (_, record) in records {
        if let RecordState::Manifest(manifest) = &record.state
            && published.contains(&record.object)
        {
            chunks.extend(manifest.chunks.iter().map(|chunk| Object::Chunk(chunk.hash)));
        }
    }
    published.append(&mut chunks);
    Some(published)
}

/// How many of the record's last bytes are payload, if it is intact and the store knows the object by it.
fn live_payload(store: &ChunkStore, pack: &str, record: &PackRecord) -> Option<u64> {
    match (&record.state, &record.object) {
        (RecordState::Chunk, Object::Chunk(chunk)) => {
            let location = (*store.locate(&[*chunk]).ok()?.first()?)?;
            let len = u64::from(location.frame_len);
            let is_it = pack == pack_name(location.segment)
                && location.offset + RECORD_HEADER_LEN + len == record.end;
            is_it.then_some(len)
        }
        (RecordState::Manifest(_), Object::Manifest(manifest)) => {
            store.contains_manifest(manifest).ok()?.then_some(MANIFEST_TAIL)
        }
        _ => None,
    }
}

/// Whether the store knows the object by another record, or not at all.
fn is_healed(wound: &Wound) -> bool {
    if wound.station.is_gone() {
        return true;
    }
    let Some(node) = wound.station.node() else {
        return false;
    };
    let is_there = wound.station.disk().content(&wound.pack).is_some();
    match wound.object {
        Object::Chunk(chunk) => match node.store().locate(&[chunk]).as_deref() {
            Ok([Some(location)]) => {
                let end = location.offset + RECORD_HEADER_LEN + u64::from(location.frame_len);
                end != wound.end || wound.pack != format!("{FOLDER}{}", pack_name(location.segment))
            }
            Ok(_) => true,
            Err(_) => false,
        },
        Object::Manifest(_) => !is_there,
    }
}

fn pack_name(segment: u32) -> String {
    format!("segment-{segment:010}.pack")
}
