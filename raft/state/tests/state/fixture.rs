//! A state to work on, and short ways to name things.

use std::collections::BTreeMap;
use std::str::FromStr;

use tetryx_protocol::cache::{CacheName, CachePattern, Replication, Retention};
use tetryx_protocol::grant::{CachePermission, CachePermissions, Grants};
use tetryx_protocol::hash::{ChunkHash, FileHash, ManifestHash, NarHash};
use tetryx_protocol::id::{ClientId, ClusterId, InviteId, NodeId, ProposalId, TokenId};
use tetryx_protocol::signature::{KeyName, NixPublicKey, NixSignature};
use tetryx_protocol::store_path::{StoreDir, StorePath, StorePathHash};
use tetryx_protocol::time::UtcTime;
use tetryx_state::command::{
    Body, CacheAccesses, CacheKeyPair, CheckState, Command, CreateCache, CreateInvite, DeletePath,
    DrainMember, ExpirePaths, InitCluster, NewNar, NewPath, NoteAccesses, PinPath, PinPathUntil,
    PublishPaths, RedeemInvite, RegisterToken, RemoveMember, Role, UpdateMember, UpsertMember,
};
use tetryx_state::records::PathRecord;
use tetryx_state::snapshot::{TableRow, dump};
use tetryx_state::{MemoryTables, Outcome, Refusal, Reply, Table, apply, check, query};

/// When the tests begin: 2026-03-02T12:00:00Z.
pub(crate) const START_MS: i64 = 1_772_452_800_000;
/// The day of [`START_MS`], in days since the Unix epoch.
pub(crate) const START_DAY: u32 = 20_514;

/// A state, the log behind it, and a client that proposes.
pub(crate) struct World {
    pub(crate) tables: MemoryTables,
    /// The log index of the next command.
    pub(crate) index: u64,
    /// The serial of the client's next proposal.
    pub(crate) serial: u64,
    /// What the client's clock says.
    pub(crate) now: UtcTime,
    /// On whose behalf the client proposes.
    pub(crate) by: String,
}

impl World {
    /// Empty tables.
    pub(crate) fn empty() -> Self {
        let now = UtcTime::from_unix_ms(START_MS);
        Self {
            tables: MemoryTables::new(),
            index: 1,
            serial: 1,
            now,
            by: "alice".to_owned(),
        }
    }

    /// A cluster without caches.
    pub(crate) fn initialised() -> Self {
        let mut world = Self::empty();
        world.done(init_cluster());
        world
    }

    /// A cluster with the cache `main`.
    pub(crate) fn with_cache() -> Self {
        let mut world = Self::initialised();
        world.done(create_cache("main"));
        world
    }

    /// The next proposal of the client, under its next serial.
    pub(crate) fn command(&mut self, body: impl Into<Body>) -> Command {
        let proposal = ProposalId {
            client: client(1),
            serial: self.serial,
        };
        self.serial += 1;
        Command {
            proposal,
            oldest_open: proposal.serial,
            proposed_at: self.now,
            by: self.by.clone(),
            body: body.into(),
        }
    }

    /// Applies a command at the next log index.
    pub(crate) fn apply(&mut self, command: &Command) -> Reply {
        let before = visible(&self.tables);
        let reply = apply(&mut self.tables, self.index, command).expect("memory never fails");
        self.index += 1;
        assert_eq!(check(&self.tables), [], "after {command:?}");
        if matches!(reply, Reply::Refused(_)) {
            assert_eq!(
                visible(&self.tables),
                before,
                "refused, and yet changed by {command:?}"
            );
        }
        reply
    }

    /// Proposes a command that must be applied.
    pub(crate) fn done(&mut self, body: impl Into<Body>) -> Outcome {
        let command = self.command(body);
        self.apply(&command)
            .into_result()
            .unwrap_or_else(|refusal| panic!("refused: {refusal}"))
    }

    /// Proposes a command that must be refused.
    pub(crate) fn refused(&mut self, body: impl Into<Body>) -> Refusal {
        let command = self.command(body);
        match self.apply(&command) {
            Reply::Done(outcome) => panic!("not refused, but {outcome:?}"),
            Reply::Refused(refusal) => refusal,
        }
    }

    /// Publishes paths in `main`.
    pub(crate) fn publish(&mut self, paths: impl IntoIterator<Item = NewPath>) -> Outcome {
        self.done(publish("main", paths))
    }

    /// A path of `main`.
    pub(crate) fn path(&self, name: &str) -> Option<PathRecord> {
        query::path(&self.tables, &cache("main"), &hash(name)).expect("memory never fails")
    }

    /// How many paths have the NAR of this content, by its record.
    pub(crate) fn nar_references(&self, content: &str) -> Option<u64> {
        let nar = query::nar(&self.tables, &NarHash::of(content.as_bytes())).expect("memory never fails");
        nar.map(|nar| nar.references)
    }
}

/// Everything but the log clock and what is remembered of proposals.
fn visible(tables: &MemoryTables) -> Vec<TableRow> {
    let rows = dump(tables).map(|row| row.expect("memory never fails"));
    rows.filter(|(table, key, _)| *table != Table::Proposals && key != b"clock")
        .collect()
}

/// Parses a text form.
pub(crate) fn parse<V: FromStr>(text: &str) -> V
where
    V::Err: std::fmt::Debug,
{
    text.parse().expect("a valid text form")
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("ascii"), 16).expect("hex");
    digits.chunks(2).map(byte).collect()
}

pub(crate) fn client(number: u8) -> ClientId {
    ClientId::from_bytes([number; 16])
}

pub(crate) fn node(number: u8) -> NodeId {
    NodeId::from_bytes([number; 32])
}

pub(crate) fn token(number: u8) -> TokenId {
    TokenId::from_bytes([number; 16])
}

pub(crate) fn cache(name: &str) -> CacheName {
    parse(name)
}

pub(crate) fn key_name(name: &str) -> KeyName {
    parse(name)
}

/// The hash of the path called `name`.
pub(crate) fn hash(name: &str) -> StorePathHash {
    let digest = ChunkHash::of(name.as_bytes());
    StorePathHash::from_bytes(digest.as_bytes()[..20].try_into().expect("20 bytes"))
}

/// The path called `name`: its hash follows from the name.
pub(crate) fn store_path(name: &str) -> StorePath {
    StorePath::new(hash(name), parse(name))
}

pub(crate) fn store_paths(names: &[&str]) -> Vec<StorePath> {
    let mut paths: Vec<_> = names.iter().map(|name| store_path(name)).collect();
    paths.sort();
    paths
}

pub(crate) fn signature(name: &str) -> NixSignature {
    NixSignature::new(key_name(name), [7; 64])
}

/// A NAR whose facts all follow from its content.
pub(crate) fn new_nar(content: &str) -> NewNar {
    let digest = *ChunkHash::of(content.as_bytes()).as_bytes();
    NewNar {
        nar_size: 1_000 + u64::from(digest[0]),
        manifest: ManifestHash::from_bytes(digest),
        file_size: 500,
        file_hash: FileHash::from_bytes(digest),
        origin: node(1),
    }
}

/// A path whose content is its name.
pub(crate) fn new_path(name: &str, references: &[&str]) -> NewPath {
    NewPath {
        store_path: store_path(name),
        nar_hash: NarHash::of(name.as_bytes()),
        references: store_paths(references),
        deriver: None,
        system: None,
        ca: None,
        signatures: Vec::new(),
        nar: new_nar(name),
    }
}

/// The same path with other content.
pub(crate) fn with_content(mut path: NewPath, content: &str) -> NewPath {
    path.nar_hash = NarHash::of(content.as_bytes());
    path.nar = new_nar(content);
    path
}

pub(crate) fn publish(name: &str, paths: impl IntoIterator<Item = NewPath>) -> PublishPaths {
    PublishPaths {
        cache: cache(name),
        paths: paths.into_iter().collect(),
        upstream: Vec::new(),
    }
}

pub(crate) fn delete(name: &str) -> DeletePath {
    DeletePath {
        cache: cache("main"),
        path: hash(name),
        force: false,
    }
}

pub(crate) fn pin(name: &str) -> PinPath {
    PinPath {
        cache: cache("main"),
        path: hash(name),
    }
}

pub(crate) fn pin_until(name: &str, until: UtcTime) -> PinPathUntil {
    PinPathUntil {
        cache: cache("main"),
        path: hash(name),
        until,
    }
}

/// Lets paths of `main` go, where the default is to keep everything.
pub(crate) fn expire(names: &[&str]) -> ExpirePaths {
    ExpirePaths {
        cache: cache("main"),
        default_seconds: None,
        paths: names.iter().map(|name| hash(name)).collect(),
    }
}

/// Says that paths of `main` were pulled on a day.
pub(crate) fn pulled(day: u32, names: &[&str]) -> NoteAccesses {
    let paths = names.iter().map(|name| hash(name)).collect();
    NoteAccesses {
        day,
        caches: vec![CacheAccesses {
            cache: cache("main"),
            paths,
        }],
    }
}

pub(crate) fn init_cluster() -> InitCluster {
    InitCluster {
        cluster: ClusterId::from_bytes([1; 16]),
        feature_level: 1,
        token_public_key: [2; 32],
        sealed_token_key: vec![3; 48],
    }
}

pub(crate) fn upsert_member(number: u8, name: &str) -> UpsertMember {
    UpsertMember {
        node: node(number),
        name: name.to_owned(),
        zone: "svalbard".to_owned(),
        addresses: vec!["[2001:db8::1]:4480".to_owned()],
        role: Role::Voter,
    }
}

pub(crate) fn invite(number: u8) -> InviteId {
    InviteId::from_bytes([number; 32])
}

/// An invitation that counts for an hour.
pub(crate) fn create_invite(number: u8) -> CreateInvite {
    CreateInvite {
        secret_hash: invite(number),
        zone: None,
        expires: UtcTime::from_unix_ms(START_MS).plus(std::time::Duration::from_secs(3_600)),
        voter: true,
    }
}

/// Node and invitation of one number.
pub(crate) fn redeem(number: u8, name: &str) -> RedeemInvite {
    RedeemInvite {
        secret_hash: invite(number),
        node: node(number),
        name: name.to_owned(),
        zone: "tromso".to_owned(),
        addresses: vec!["[2001:db8::2]:4480".to_owned()],
        gossip: vec!["[2001:db8::2]:4481".to_owned()],
        http_url: Some("http://[2001:db8::2]:8080".to_owned()),
        weight: 200,
        feature_level: 2,
    }
}

pub(crate) fn update_member(number: u8, name: &str) -> UpdateMember {
    UpdateMember {
        node: node(number),
        name: name.to_owned(),
        zone: "andoya".to_owned(),
        addresses: vec!["[2001:db8::3]:4480".to_owned()],
        gossip: vec!["[2001:db8::3]:4481".to_owned()],
        http_url: Some("http://[2001:db8::3]:8080".to_owned()),
        role: Some(Role::Learner),
        weight: 300,
        feature_level: 2,
    }
}

pub(crate) fn drain(number: u8) -> DrainMember {
    DrainMember { node: node(number) }
}

pub(crate) fn remove(number: u8) -> RemoveMember {
    RemoveMember { node: node(number) }
}

/// What node `number` says of index `index`: all agree on a hash that follows from the index.
pub(crate) fn check_state(number: u8, index: u64) -> CheckState {
    CheckState {
        node: node(number),
        index,
        hash: *ChunkHash::of(&index.to_le_bytes()).as_bytes(),
    }
}

pub(crate) fn key_pair(number: u8) -> CacheKeyPair {
    CacheKeyPair {
        public_key: NixPublicKey::new(key_name("main-1"), [number; 32]),
        sealed_secret_key: vec![number; 60],
    }
}

pub(crate) fn create_cache(name: &str) -> CreateCache {
    CreateCache {
        cache: cache(name),
        public: false,
        priority: 41,
        store_dir: StoreDir::default(),
        upstream_key_names: vec![key_name("cache.nixos.org-1")],
        retention: Retention::Default,
        replication: Replication::Default,
        key_pair: key_pair(4),
        mission: None,
    }
}

pub(crate) fn grants(pattern: &str) -> Grants {
    let pattern: CachePattern = parse(pattern);
    let permissions = CachePermissions::NONE
        .with(CachePermission::Pull)
        .with(CachePermission::Push);
    Grants {
        caches: BTreeMap::from([(pattern, permissions)]),
        missions: Vec::new(),
        stations: Vec::new(),
        admin: false,
    }
}

pub(crate) fn register_token(number: u8) -> RegisterToken {
    let issued = UtcTime::from_unix_ms(START_MS);
    RegisterToken {
        token: token(number),
        subject: "ci".to_owned(),
        grants: grants("main-*"),
        issued,
        expires: issued.plus(std::time::Duration::from_secs(3_600)),
    }
}
