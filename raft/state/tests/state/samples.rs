//! One of everything that is encoded, with every field filled: for golden bytes and round trips.

use tetryx_protocol::cache::{Replication, Retention};
use tetryx_protocol::ground::{Item, Refreshed};
use tetryx_protocol::time::UtcTime;
use tetryx_state::command::{
    AdvanceEpoch, Body, ConfigureCache, CreateCache, CreateInvite, DeletePath, DestroyCache, ExpirePaths,
    NewPath, PublishPaths, RemoveMaintenance, RemoveMission, RemoveSatellite, RemoveStation, RevokeInvite,
    RevokeToken, Role, SetFeatureLevel, UnpinPath,
};
use tetryx_state::limits::Limit;
use tetryx_state::records::{
    AuditAction, AuditRecord, CacheRecord, CheckRecord, ClientRecord, ClockRecord, ClusterRecord,
    InviteRecord, InviteUse, MemberRecord, MemberState, NarRecord, PathPin, PathRecord, Record, ReplyRecord,
    TokenRecord,
};
use tetryx_state::reply::{Difference, Lacking, Part};
use tetryx_state::{Command, Outcome, Refusal, Reply};

use crate::fixture::{
    START_DAY, START_MS, cache, check_state, client, create_invite, delete, drain, expire, grants, hash,
    init_cluster, invite, key_name, key_pair, new_path, node, parse, pin, pin_until, publish, pulled, redeem,
    register_token, remove, signature, store_path, store_paths, token, update_member, upsert_member,
};
use crate::ground::{put_maintenance, put_mission, put_satellite, put_station, refresh, station_token};
use crate::ground_records::{
    elements_record, mission_record, satellite_record, station_record, token_record_2,
};

fn time() -> UtcTime {
    UtcTime::from_unix_ms(START_MS)
}

/// The name of the golden file of a command. A new variant needs one, and a sample below.
pub(crate) fn command_name(body: &Body) -> &'static str {
    match body {
        Body::InitCluster(_) => "command-init-cluster",
        Body::UpsertMember(_) => "command-upsert-member",
        Body::CreateCache(_) => "command-create-cache",
        Body::ConfigureCache(_) => "command-configure-cache",
        Body::DestroyCache(_) => "command-destroy-cache",
        Body::PublishPaths(_) => "command-publish-paths",
        Body::DeletePath(_) => "command-delete-path",
        Body::PinPath(_) => "command-pin-path",
        Body::UnpinPath(_) => "command-unpin-path",
        Body::RegisterToken(token) if !token.grants.stations.is_empty() => "command-register-token-2",
        Body::RegisterToken(_) => "command-register-token",
        Body::RevokeToken(_) => "command-revoke-token",
        Body::CreateInvite(_) => "command-create-invite",
        Body::RevokeInvite(_) => "command-revoke-invite",
        Body::RedeemInvite(_) => "command-redeem-invite",
        Body::UpdateMember(_) => "command-update-member",
        Body::DrainMember(_) => "command-drain-member",
        Body::RemoveMember(_) => "command-remove-member",
        Body::AdvanceEpoch(_) => "command-advance-epoch",
        Body::CheckState(_) => "command-check-state",
        Body::SetFeatureLevel(_) => "command-set-feature-level",
        Body::ExpirePaths(_) => "command-expire-paths",
        Body::NoteAccesses(_) => "command-note-accesses",
        Body::PinPathUntil(_) => "command-pin-path-until",
        Body::PutMission(_) => "command-put-mission",
        Body::RemoveMission(_) => "command-remove-mission",
        Body::PutSatellite(_) => "command-put-satellite",
        Body::RemoveSatellite(_) => "command-remove-satellite",
        Body::PutStation(_) => "command-put-station",
        Body::RemoveStation(_) => "command-remove-station",
        Body::PutMaintenance(_) => "command-put-maintenance",
        Body::RemoveMaintenance(_) => "command-remove-maintenance",
        Body::RefreshElements(_) => "command-refresh-elements",
    }
}

fn full_path() -> NewPath {
    NewPath {
        deriver: Some(store_path("hello.drv")),
        system: Some("x86_64-linux".to_owned()),
        ca: Some("fixed:r:sha256:0000".to_owned()),
        signatures: vec![signature("build-1")],
        ..new_path("hello", &["glibc", "hello"])
    }
}

fn full_cache() -> CreateCache {
    CreateCache {
        public: true,
        retention: Retention::Period { seconds: 86_400 },
        replication: Replication::Copies(2),
        mission: Some("lander".to_owned()),
        ..CreateCache {
            priority: 300,
            key_pair: key_pair(5),
            ..crate::fixture::create_cache("main")
        }
    }
}

/// One command of every variant.
pub(crate) fn commands() -> Vec<Command> {
    let bodies: [Body; 33] = [
        init_cluster().into(),
        upsert_member(1, "north").into(),
        full_cache().into(),
        ConfigureCache {
            public: Some(false),
            priority: Some(30),
            store_dir: Some(parse("/gnu/store")),
            upstream_key_names: Some(vec![key_name("other-1")]),
            retention: Some(Retention::Forever),
            replication: Some(Replication::All),
            key_pair: Some(key_pair(6)),
            mission: Some(None),
            ..ConfigureCache::new(cache("main"))
        }
        .into(),
        DestroyCache { cache: cache("main") }.into(),
        PublishPaths {
            upstream: store_paths(&["glibc"]),
            ..publish("main", [full_path()])
        }
        .into(),
        DeletePath {
            force: true,
            ..delete("hello")
        }
        .into(),
        pin("hello").into(),
        UnpinPath {
            cache: cache("main"),
            path: hash("hello"),
        }
        .into(),
        register_token(1).into(),
        RevokeToken { token: token(1) }.into(),
        CreateInvite {
            zone: Some("svalbard".to_owned()),
            ..create_invite(1)
        }
        .into(),
        RevokeInvite {
            secret_hash: invite(1),
        }
        .into(),
        redeem(2, "south").into(),
        update_member(2, "south").into(),
        drain(2).into(),
        remove(2).into(),
        AdvanceEpoch { epoch: 300 }.into(),
        check_state(2, 300).into(),
        SetFeatureLevel { level: 2 }.into(),
        ExpirePaths {
            default_seconds: Some(86_400),
            ..expire(&["hello", "glibc"])
        }
        .into(),
        pulled(START_DAY, &["hello", "glibc"]).into(),
        pin_until("hello", time()).into(),
        put_mission("lander").into(),
        RemoveMission {
            mission: parse("lander"),
        }
        .into(),
        put_satellite("NOAA 19").into(),
        RemoveSatellite {
            satellite: parse("NOAA 19"),
        }
        .into(),
        put_station("north").into(),
        RemoveStation {
            station: parse("north"),
        }
        .into(),
        put_maintenance("north", 1).into(),
        RemoveMaintenance {
            station: parse("north"),
            from: time(),
        }
        .into(),
        refresh([("NOAA 19", 1)]).into(),
        station_token(2).into(),
    ];
    let command = |body| Command {
        proposal: tetryx_protocol::id::ProposalId {
            client: client(1),
            serial: 300,
        },
        oldest_open: 299,
        proposed_at: time(),
        by: "alice".to_owned(),
        body,
    };
    bodies.into_iter().map(command).collect()
}

/// The name of a golden file, the bytes of a record, and whether bytes decode to it.
pub(crate) type RecordSample = (&'static str, Vec<u8>, fn(&[u8]) -> bool);

/// One record of every kind.
pub(crate) fn records() -> Vec<RecordSample> {
    fn sample<R: Record + PartialEq>(
        name: &'static str,
        record: &R,
        same: fn(&[u8]) -> bool,
    ) -> RecordSample {
        (name, record.encode(), same)
    }
    macro_rules! samples {
        ($($name:literal: $make:ident,)*) => {
            vec![$(sample($name, &$make(), |bytes| Record::decode(b"", bytes).as_ref() == Ok(&$make())),)*]
        };
    }
    samples! {
        "record-cluster": cluster_record,
        "record-clock": clock_record,
        "record-member": member_record,
        "record-member-2": member_record_2,
        "record-member-removed": member_record_removed,
        "record-cache": cache_record,
        "record-path": path_record,
        "record-path-2": path_record_2,
        "record-nar": nar_record,
        "record-token": token_record,
        "record-client": client_record,
        "record-reply": reply_record,
        "record-audit": audit_record,
        "record-invite": invite_record,
        "record-check": check_record,
        "record-mission": mission_record,
        "record-satellite": satellite_record,
        "record-elements": elements_record,
        "record-station": station_record,
        "record-token-2": token_record_2,
    }
}

fn cluster_record() -> ClusterRecord {
    let init = init_cluster();
    ClusterRecord {
        id: init.cluster,
        epoch: 1,
        feature_level: 1,
        token_public_key: init.token_public_key,
        sealed_token_key: init.sealed_token_key,
        created: time(),
    }
}

fn clock_record() -> ClockRecord {
    ClockRecord { now: time() }
}

/// What a build without peers wrote: still written, and read, as it was.
fn member_record() -> MemberRecord {
    let member = upsert_member(1, "north");
    MemberRecord {
        name: member.name,
        zone: member.zone,
        addresses: member.addresses,
        gossip: Vec::new(),
        http_url: None,
        role: member.role,
        weight: 100,
        state: MemberState::Active,
        added: time(),
        feature_level: 1,
    }
}

fn member_record_2() -> MemberRecord {
    let member = redeem(2, "south");
    MemberRecord {
        name: member.name,
        zone: member.zone,
        addresses: member.addresses,
        gossip: member.gossip,
        http_url: member.http_url,
        role: Role::Learner,
        weight: member.weight,
        state: MemberState::Draining { since: time() },
        added: time(),
        feature_level: member.feature_level,
    }
}

fn member_record_removed() -> MemberRecord {
    MemberRecord {
        state: MemberState::Removed { at: time() },
        ..member_record()
    }
}

fn invite_record() -> InviteRecord {
    InviteRecord {
        zone: Some("svalbard".to_owned()),
        voter: true,
        created: time(),
        created_by: "alice".to_owned(),
        expires: create_invite(1).expires,
        used: Some(InviteUse {
            by: node(1),
            at: time(),
        }),
    }
}

fn check_record() -> CheckRecord {
    CheckRecord {
        hashes: vec![(node(1), [7; 32]), (node(2), [8; 32])],
    }
}

fn cache_record() -> CacheRecord {
    let create = full_cache();
    CacheRecord {
        public: create.public,
        priority: create.priority,
        store_dir: create.store_dir,
        upstream_key_names: create.upstream_key_names,
        retention: create.retention,
        replication: create.replication,
        public_key: create.key_pair.public_key,
        sealed_secret_key: create.key_pair.sealed_secret_key,
        mission: create.mission,
        created: time(),
    }
}

fn path_record() -> PathRecord {
    let path = full_path();
    PathRecord {
        store_path: path.store_path,
        nar_hash: path.nar_hash,
        references: path.references,
        absent_references: store_paths(&["glibc"]),
        deriver: path.deriver,
        system: path.system,
        ca: path.ca,
        signatures: path.signatures,
        created: time(),
        created_by: "alice".to_owned(),
        last_access_day: START_DAY,
        pinned: Some(PathPin {
            by: "bob".to_owned(),
            at: time(),
            until: None,
        }),
    }
}

/// A pin with an end needs the newer version.
fn path_record_2() -> PathRecord {
    PathRecord {
        pinned: Some(PathPin {
            by: "bob".to_owned(),
            at: time(),
            until: Some(time().plus(std::time::Duration::from_secs(3_600))),
        }),
        ..path_record()
    }
}

fn nar_record() -> NarRecord {
    let nar = new_path("hello", &[]).nar;
    NarRecord {
        nar_size: nar.nar_size,
        manifest: nar.manifest,
        file_size: nar.file_size,
        file_hash: nar.file_hash,
        references: 2,
        origin: nar.origin,
    }
}

pub(crate) fn token_record() -> TokenRecord {
    let register = register_token(1);
    TokenRecord {
        subject: register.subject,
        grants: grants("main-*"),
        issued: register.issued,
        expires: register.expires,
        revoked: Some(time()),
    }
}

fn client_record() -> ClientRecord {
    ClientRecord {
        floor: 299,
        seen: time(),
    }
}

fn reply_record() -> ReplyRecord {
    ReplyRecord {
        reply: Reply::Done(Outcome::Published {
            published: 1,
            updated: 2,
            unchanged: 3,
        }),
    }
}

fn audit_record() -> AuditRecord {
    AuditRecord {
        at: time(),
        by: "alice".to_owned(),
        action: AuditAction::PublishPaths,
        cache: Some(cache("main")),
        object: Some(store_path("hello").to_string()),
        paths: 1,
    }
}

/// Every reply there is, by name.
pub(crate) fn replies() -> Vec<(String, Reply)> {
    let done = outcomes().into_iter().map(Reply::Done);
    let refused = refusals().into_iter().map(Reply::Refused);
    let name = |reply: &Reply| match reply {
        Reply::Done(outcome) => first_word(&format!("{outcome:?}")),
        Reply::Refused(refusal) => first_word(&format!("{refusal:?}")),
    };
    done.chain(refused).map(|reply| (name(&reply), reply)).collect()
}

fn first_word(debug: &str) -> String {
    debug.split(' ').next().expect("a name").to_owned()
}

fn outcomes() -> [Outcome; 27] {
    [
        Outcome::Unchanged,
        Outcome::Initialised,
        Outcome::MemberAdded,
        Outcome::MemberUpdated,
        Outcome::CacheCreated,
        Outcome::CacheConfigured,
        Outcome::CacheDestroyed {
            paths: 300,
            nars: 299,
        },
        Outcome::Published {
            published: 1,
            updated: 2,
            unchanged: 3,
        },
        Outcome::PathDeleted { nar_removed: true },
        Outcome::PathPinned,
        Outcome::PathUnpinned,
        Outcome::TokenRegistered,
        Outcome::TokenRevoked,
        Outcome::InviteCreated,
        Outcome::InviteRevoked,
        Outcome::Joined,
        Outcome::MemberDraining,
        Outcome::MemberRemoved,
        Outcome::EpochAdvanced,
        Outcome::StateChecked,
        Outcome::FeatureLevelSet,
        Outcome::PathsExpired {
            paths: 300,
            nars: 299,
        },
        Outcome::AccessesNoted { paths: 300 },
        Outcome::ItemAdded { item: Item::Mission },
        Outcome::ItemUpdated {
            item: Item::Satellite,
        },
        Outcome::ItemRemoved { item: Item::Station },
        Outcome::ElementsRefreshed {
            outcomes: vec![
                Refreshed::Added,
                Refreshed::Unchanged,
                Refreshed::Older,
                Refreshed::Unknown,
            ],
        },
    ]
}

fn refusals() -> [Refusal; 42] {
    let (main, path) = (cache("main"), store_path("hello"));
    [
        Refusal::ProposalFinished {
            serial: 1,
            floor: 300,
        },
        Refusal::TooManyOpenProposals {
            serial: 9_000,
            floor: 300,
        },
        Refusal::OverLimit {
            limit: Limit::PathsPerCommand,
            found: 5_000,
        },
        Refusal::MemberWithoutName { node: node(1) },
        Refusal::RetentionOfNothing,
        Refusal::ReplicationOfNothing,
        Refusal::TokenNeverValid {
            token: token(1),
            expires: time(),
        },
        Refusal::NotInitialised,
        Refusal::AlreadyInitialised {
            cluster: init_cluster().cluster,
        },
        Refusal::MemberNameTaken {
            name: "north".to_owned(),
            node: node(1),
        },
        Refusal::NoSuchCache { cache: main.clone() },
        Refusal::CacheExists { cache: main.clone() },
        Refusal::CacheNotEmpty { cache: main.clone() },
        Refusal::DuplicatePath { path: path.clone() },
        Refusal::PathConflict {
            cache: main.clone(),
            path: path.clone(),
            what: Difference::Content,
            nar_hash: new_path("hello", &[]).nar_hash,
        },
        Refusal::MissingReferences {
            path: path.clone(),
            missing: store_paths(&["glibc"]),
            more: 1,
        },
        Refusal::NoSuchPath {
            cache: main,
            path: hash("hello"),
        },
        Refusal::PathPinned {
            path: path.clone(),
            by: "bob".to_owned(),
            at: time(),
        },
        Refusal::PathReferenced {
            path,
            by: store_paths(&["user"]),
            more: 2,
        },
        Refusal::TokenExists { token: token(1) },
        Refusal::NoSuchToken { token: token(1) },
        Refusal::InviteNeverValid { expires: time() },
        Refusal::InviteExists { invite: invite(1) },
        Refusal::NoSuchInvite { invite: invite(1) },
        Refusal::InviteUsed { by: node(2) },
        Refusal::InviteExpired { expires: time() },
        Refusal::AlreadyMember { node: node(2) },
        Refusal::MemberRemoved {
            node: node(2),
            at: time(),
        },
        Refusal::NoSuchMember { node: node(2) },
        Refusal::LastMember { node: node(2) },
        Refusal::EpochNotNewer {
            epoch: 299,
            current: 300,
        },
        Refusal::CheckAhead { index: 301, at: 300 },
        Refusal::FeatureLevelNotNewer { level: 1, current: 2 },
        Refusal::FeatureLevelNotShared {
            node: node(2),
            name: "south".to_owned(),
            has: 1,
            level: 2,
        },
        Refusal::PinNeverValid { until: time() },
        Refusal::NamedTwice {
            what: Part::Link,
            name: "s-band".to_owned(),
        },
        Refusal::MaintenanceNeverValid {
            from: time(),
            to: time(),
        },
        Refusal::NoSuchItem {
            item: Item::Satellite,
            name: "NOAA 19".to_owned(),
        },
        Refusal::ItemExists {
            item: Item::Station,
            name: "north".to_owned(),
        },
        Refusal::ItemIncomplete {
            item: Item::Station,
            name: "north".to_owned(),
            lacking: Lacking::Site,
        },
        Refusal::MissionInUse {
            mission: parse("lander"),
            satellites: vec![parse("NOAA 19")],
            more: 1,
        },
        Refusal::NoSuchMaintenance {
            station: parse("north"),
            from: time(),
        },
    ]
}
