//! The JSON of the HTTP API.

use std::collections::BTreeSet;
use std::fmt::{Debug, Write as _};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tetryx_protocol::api::*;
use tetryx_protocol::cache::{Replication, Retention};
use tetryx_protocol::grant::Grants;
use tetryx_protocol::hash::{FileHash, NarHash};
use tetryx_protocol::id::{ClusterId, InviteId, NodeId, TokenId, UploadId};
use tetryx_protocol::member::{MemberState, Role};
use tetryx_protocol::store_path::{StoreDir, StorePath};
use tetryx_protocol::time::UtcTime;
use tetryx_protocol::token::TokenClaims;

use crate::fixtures::{assert_golden_text, nix_secret_key};

/// The type, then its JSON, indented. Each must read back as the value.
#[derive(Default)]
struct Document(String);

impl Document {
    fn add<T: Serialize + DeserializeOwned + PartialEq + Debug>(&mut self, name: &str, value: T) {
        let json = serde_json::to_string_pretty(&value).unwrap();
        assert_eq!(serde_json::from_str::<T>(&json).unwrap(), value);
        writeln!(self.0, "{name} {json}").unwrap();
    }
}

fn time() -> UtcTime {
    "2026-03-02T12:03:10.001Z".parse().unwrap()
}

fn path() -> StorePath {
    "00bgd045z0d4icpbc2yyz4gx48ak44la-net-tools".parse().unwrap()
}

fn grants() -> Grants {
    serde_json::from_str(r#"{"caches":{"team-*":{"r":1,"w":1}}}"#).unwrap()
}

fn cache_info() -> CacheInfo {
    CacheInfo {
        name: "main".parse().unwrap(),
        public: true,
        public_key: nix_secret_key().public_key(),
        substituter_endpoint: "http://localhost:8080/main".to_owned(),
        api_endpoint: "http://localhost:8080/".to_owned(),
        store_dir: StoreDir::default(),
        priority: 41,
        upstream_cache_key_names: vec!["cache.nixos.org-1".parse().unwrap()],
        retention_period: Retention::Period { seconds: 86_400 },
        replication: Replication::Copies(2),
        mission: None,
        created: time(),
    }
}

fn status() -> StatusResponse {
    StatusResponse {
        version: "0.1.0".to_owned(),
        node: NodeId::from_bytes([1; 32]),
        node_name: "svalbard".to_owned(),
        zone: "north".to_owned(),
        cluster: ClusterId::from_bytes([2; 16]),
        leader: Some(NodeId::from_bytes([1; 32])),
        term: 1,
        applied_index: 42,
        voters: vec![NodeId::from_bytes([1; 32])],
        uptime_seconds: 60,
        quorum: "1 of 1 voters".to_owned(),
        caches: 1,
        paths: 3,
        nars: 2,
        path_bytes: 300,
        nar_bytes: 200,
        store: StoreStatus::default(),
        members: MembersSummary {
            total: 3,
            reachable: 2,
            draining: 1,
        },
        state_hash: Some(StateHashInfo {
            index: 40,
            hash: "05".repeat(32),
        }),
        state_age_seconds: Some(2),
        read_level: ReadLevel::Bounded,
        under_replicated: UnderReplicated {
            nars: 1,
            bytes: 100,
            as_of: 41,
        },
        bytes_to_move: 7,
        outbox: OutboxCounts {
            waiting: 1,
            ..OutboxCounts::default()
        },
        safety: vec!["Everything acknowledged here is on 2 nodes.".to_owned()],
    }
}

fn path_info() -> PathInfo {
    PathInfo {
        store_path: path(),
        nar_hash: NarHash::of(b"nar"),
        nar_size: 3,
        file_hash: FileHash::of(b"file"),
        file_size: 4,
        references: vec![path()],
        deriver: None,
        system: Some("x86_64-linux".to_owned()),
        ca: None,
        signatures: vec![nix_secret_key().sign("x")],
        created: time(),
        created_by: "alice".to_owned(),
        last_access_day: 20_514,
        pin: Some(PinInfo {
            by: "bob".to_owned(),
            at: time(),
            until: Some(time()),
        }),
    }
}

fn path_upload() -> PathUpload {
    PathUpload {
        store_path: path(),
        nar_hash: NarHash::of(b"nar"),
        references: vec![path()],
        deriver: Some("10dx1q4ivjb115y3h90mipaaz533nr0d-net-tools.drv".parse().unwrap()),
        system: Some("x86_64-linux".to_owned()),
        ca: Some("text:sha256:0q0hnl0a3h1k9rqszkgxg9rl4gkw6wnz8ggsi2919nd2x6f8vadn".to_owned()),
        signatures: vec![nix_secret_key().sign("x")],
    }
}

fn claims() -> TokenClaims {
    TokenClaims {
        token: TokenId::from_bytes([3; 16]),
        cluster: ClusterId::from_bytes([2; 16]),
        subject: "alice".to_owned(),
        issued: UtcTime::from_unix_ms(1_772_452_990_000),
        not_before: UtcTime::from_unix_ms(1_772_452_990_000),
        expires: UtcTime::from_unix_ms(1_772_539_390_000),
        grants: grants(),
    }
}

fn members(document: &mut Document) {
    let node = NodeId::from_bytes([1; 32]);
    let member = MemberInfo {
        node,
        name: "svalbard".to_owned(),
        zone: "north".to_owned(),
        role: Role::Voter,
        votes: true,
        state: MemberState::Draining { since: time() },
        addresses: vec!["[2001:db8::1]:4480".to_owned()],
        http_url: Some("http://localhost:8080".to_owned()),
        weight: 100,
        added: time(),
        version: Some("0.1.0".to_owned()),
        last_seen_seconds: Some(1),
        applied_index: Some(42),
        rtt_ms: Some(600),
        free_bytes: None,
    };
    document.add(
        "MemberList",
        MemberList {
            members: vec![member],
        },
    );
    let invite = CreateInviteRequest {
        zone: Some("north".to_owned()),
        expires_seconds: 3_600,
        voter: true,
    };
    document.add("CreateInviteRequest", invite);
    let created = CreateInviteResponse {
        ticket: "txjoin1abc".to_owned(),
        invite: InviteId::from_bytes([5; 32]),
        expires: time(),
    };
    assert!(!format!("{created:?}").contains("txjoin1"));
    document.add("CreateInviteResponse", created);
    let invite = InviteInfo {
        invite: InviteId::from_bytes([5; 32]),
        zone: None,
        voter: false,
        expires: time(),
        used_by: Some(node),
    };
    document.add(
        "InviteList",
        InviteList {
            invites: vec![invite],
        },
    );
    let drained = DrainMemberResponse {
        node,
        index: 44,
        bytes_left: Some(100),
    };
    document.add("DrainMemberResponse", drained);
    document.add("RemoveMemberResponse", RemoveMemberResponse { node, index: 45 });
    let entry = |state| OutboxEntry {
        cache: "main".parse().unwrap(),
        store_path: path(),
        by: "alice".to_owned(),
        accepted: time(),
        state,
    };
    let report = OutboxReport {
        counts: OutboxCounts {
            waiting: 1,
            applied: 1,
            duplicate: 1,
            refused: 1,
        },
        entries: vec![
            entry(OutboxState::Waiting),
            entry(OutboxState::Applied { index: 46 }),
            entry(OutboxState::Duplicate { index: 47 }),
            entry(OutboxState::Refused {
                reason: "there is no cache 'main'".to_owned(),
            }),
        ],
    };
    document.add("OutboxReport", report);
    document.add("GcRequest", GcRequest { dry_run: true });
    let collected = NodeGc {
        node,
        name: "svalbard".to_owned(),
        chunks: 2,
        bytes: 100,
        error: Some("it does not answer".to_owned()),
    };
    let collected = GcResponse {
        dry_run: true,
        paths: 3,
        nars: 2,
        nar_bytes: 200,
        nodes: vec![collected],
    };
    document.add("GcResponse", collected);
}

#[test]
fn a_status_of_an_older_node_is_read() {
    let mut json = serde_json::to_value(status()).unwrap();
    let object = json.as_object_mut().unwrap();
    for key in [
        "members",
        "state_hash",
        "state_age_seconds",
        "read_level",
        "under_replicated",
        "bytes_to_move",
        "outbox",
        "safety",
    ] {
        object.remove(key).expect("the field exists");
    }
    let read: StatusResponse = serde_json::from_value(json).unwrap();
    assert_eq!((read.read_level, read.state_age_seconds), (ReadLevel::Any, None));
}

#[test]
fn the_json_of_version_1_is_this() {
    let mut document = Document::default();
    document.add("StatusResponse", status());
    document.add(
        "DoctorReport",
        DoctorReport {
            checks: vec![DoctorCheck {
                name: "room".to_owned(),
                state: CheckState::Warning,
                evidence: "12.0 MiB may still be stored".to_owned(),
                fix: Some("raise store.quota".to_owned()),
            }],
        },
    );
    document.add(
        "CacheList",
        CacheList {
            caches: vec![cache_info()],
        },
    );
    let create = r#"{"name":"main"}"#;
    document.add(
        "CreateCacheRequest",
        serde_json::from_str::<CreateCacheRequest>(create).unwrap(),
    );
    let configure = ConfigureCacheRequest {
        public: Some(false),
        retention_period: Some(Retention::Forever),
        ..ConfigureCacheRequest::default()
    };
    document.add("ConfigureCacheRequest", configure);
    let hashes = vec![path().hash];
    document.add(
        "MissingPathsRequest",
        MissingPathsRequest {
            store_path_hashes: hashes.clone(),
        },
    );
    document.add("MissingPathsResponse", MissingPathsResponse { missing: hashes });
    document.add(
        "PathsPage",
        PathsPage {
            paths: vec![path_info()],
            next: Some(path().hash),
        },
    );
    let upload = UploadId::from_bytes([4; 16]);
    document.add(
        "StartUploadResponse",
        StartUploadResponse {
            upload,
            expires: time(),
        },
    );
    let uploaded = UploadNarResponse {
        nar_hash: NarHash::of(b"nar"),
        nar_size: 3,
        file_size: 4,
        chunks: 1,
        received_chunks: 1,
        received_bytes: 4,
    };
    document.add("UploadNarResponse", uploaded);
    document.add(
        "CommitUploadRequest",
        CommitUploadRequest {
            paths: vec![path_upload()],
            upstream: vec![path()],
        },
    );
    document.add(
        "CommitUploadResponse",
        CommitUploadResponse {
            index: 43,
            published: 1,
            unchanged: 0,
            provisional: 0,
        },
    );
    let create = CreateTokenRequest {
        subject: "alice".to_owned(),
        validity_seconds: 86_400,
        grants: grants(),
    };
    document.add("CreateTokenRequest", create);
    document.add(
        "CreateTokenResponse",
        CreateTokenResponse {
            token: "a.b.c".to_owned(),
            claims: claims(),
        },
    );
    let token = TokenInfo {
        token: TokenId::from_bytes([3; 16]),
        subject: "alice".to_owned(),
        grants: grants(),
        issued: time(),
        expires: time(),
        revoked: None,
    };
    document.add("TokenList", TokenList { tokens: vec![token] });
    members(&mut document);
    document.add(
        "ApiError",
        ApiError::new(ErrorName::NoSuchCache, "there is no cache main; create it first"),
    );
    assert_golden_text("api_v1.txt", include_str!("../golden/api_v1.txt"), &document.0);
}

#[test]
fn every_error_has_one_name_and_its_status() {
    let lines = ErrorName::ALL.map(|name| format!("{} {name}\n", name.status()));
    assert_golden_text(
        "errors_v1.txt",
        include_str!("../golden/errors_v1.txt"),
        &lines.concat(),
    );
    assert_eq!(lines.iter().collect::<BTreeSet<_>>().len(), lines.len());
    for name in ErrorName::ALL {
        assert_eq!(ApiError::new(name, "").name(), Some(name));
        assert!((400..600).contains(&name.status()));
    }
}

#[test]
fn an_error_of_a_newer_node_is_still_an_error() {
    let error: ApiError =
        serde_json::from_str(r#"{"code":418,"error":"Teapot","message":"no","more":1}"#).unwrap();
    assert_eq!((error.code, error.name()), (418, None));
    assert_eq!(error.to_string(), "Teapot (418): no");
}

#[test]
fn requests_refuse_fields_they_do_not_know() {
    for json in [
        r#"{"name":"main","publik":true}"#,
        r#"{"public":true}"#,
        r#"{"name":"a b"}"#,
        "[]",
    ] {
        assert!(
            serde_json::from_str::<CreateCacheRequest>(json).is_err(),
            "{json}"
        );
    }
    assert!(serde_json::from_str::<ConfigureCacheRequest>(r#"{"retention":"Forever"}"#).is_err());
    assert!(serde_json::from_str::<CreateTokenRequest>(r#"{"subject":"a","validity_seconds":-1}"#).is_err());
}

#[test]
fn a_pin_of_an_older_node_has_no_end() {
    let read: PinInfo = serde_json::from_str(r#"{"by":"bob","at":"2026-03-02T12:03:10.001Z"}"#).unwrap();
    assert_eq!(read.until, None);
}

#[test]
fn configuring_nothing_says_nothing() {
    let json = serde_json::to_string(&ConfigureCacheRequest::default()).unwrap();
    assert_eq!(json, r#"{"regenerate_keypair":false}"#);
    let read: ConfigureCacheRequest = serde_json::from_str("{}").unwrap();
    assert_eq!(read, ConfigureCacheRequest::default());
}

#[test]
fn a_path_whose_fields_would_break_a_narinfo_is_refused() {
    let with = |key: &str, value: &str| {
        let mut json = serde_json::to_value(path_upload()).unwrap();
        json[key] = value.into();
        serde_json::from_value::<PathUpload>(json)
    };
    assert!(with("system", "aarch64-darwin").is_ok());
    let error = with("system", "x\nSig: evil").unwrap_err().to_string();
    assert!(error.contains("is not a system"), "{error}");
    let error = with("ca", "anything").unwrap_err().to_string();
    assert!(error.contains("is not a content address"), "{error}");
    assert!(with("deriver", "/nix/store/x").is_err() && with("store_path", "../x").is_err());
}

#[test]
fn a_token_does_not_show_in_debug_output() {
    let response = CreateTokenResponse {
        token: "secret.secret.secret".to_owned(),
        claims: claims(),
    };
    assert!(!format!("{response:?}").contains("secret.secret"));
}
