//! One of everything that is encoded, with every field filled: for golden bytes and round trips.

use tetryx_protocol::cache::{Replication, Retention};
use tetryx_protocol::time::UtcTime;
use tetryx_state::command::{
    Body, ConfigureCache, CreateCache, DeletePath, DestroyCache, NewPath, PublishPaths, RevokeToken,
    UnpinPath,
};
use tetryx_state::limits::Limit;
use tetryx_state::records::{
    AuditAction, AuditRecord, CacheRecord, ClientRecord, ClockRecord, ClusterRecord, MemberRecord, NarRecord,
    PathPin, PathRecord, Record, ReplyRecord, TokenRecord,
};
use tetryx_state::reply::Difference;
use tetryx_state::{Command, Outcome, Refusal, Reply};

use crate::fixture::{
    START_DAY, START_MS, cache, client, delete, grants, hash, init_cluster, key_name, key_pair, new_path,
    node, parse, pin, publish, register_token, signature, store_path, store_paths, token, upsert_member,
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
        Body::RegisterToken(_) => "command-register-token",
        Body::RevokeToken(_) => "command-revoke-token",
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
    let bodies: [Body; 11] = [
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
        "record-cache": cache_record,
        "record-path": path_record,
        "record-nar": nar_record,
        "record-token": token_record,
        "record-client": client_record,
        "record-reply": reply_record,
        "record-audit": audit_record,
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

fn member_record() -> MemberRecord {
    let member = upsert_member(1, "north");
    MemberRecord {
        name: member.name,
        zone: member.zone,
        addresses: member.addresses,
        role: member.role,
        added: time(),
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
        }),
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

fn token_record() -> TokenRecord {
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

fn outcomes() -> [Outcome; 13] {
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
    ]
}

fn refusals() -> [Refusal; 21] {
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
    ]
}
