//! What a Nix client gets from the substituter routes.

use http::{Method, StatusCode};
use tetryx_protocol::api::ErrorName;
use tetryx_protocol::cache_info::NixCacheInfo;
use tetryx_protocol::grant::{CachePermission, CachePermissions, Grants};
use tetryx_protocol::hash::FileHash;
use tetryx_protocol::narinfo::{Compression, NarInfo};
use tetryx_protocol::store_path::StoreDir;
use tetryx_simulations::{TestNode, TestPath, decompress, nar, nar_url, noise};

/// A node whose public cache `main` holds one path of several chunks.
async fn node_with(path: &TestPath) -> TestNode {
    let node = TestNode::with_cache(true).await;
    node.push("main", &[path]).await;
    node
}

async fn narinfo(node: &TestNode, path: &TestPath) -> NarInfo {
    let answer = node.narinfo("main", path).await.expect(StatusCode::OK);
    assert_eq!(answer.header("content-type"), "text/x-nix-narinfo");
    NarInfo::parse(answer.text(), &StoreDir::default()).expect("a narinfo")
}

#[tokio::test]
async fn what_is_pushed_is_pulled_back_and_verifies_with_the_printed_key() {
    let lib = TestPath::of_noise("lib", 400_000).referring_to_itself();
    let app = TestPath::new("app", b"#!lib").referring_to(&[&lib]);
    let empty = TestPath::new("empty", b"");
    let node = TestNode::with_cache(true).await;
    node.push("main", &[&app, &lib, &empty]).await;

    let key = node.cache("main").await.public_key;
    for path in [&lib, &app, &empty] {
        let info = narinfo(&node, path).await;
        assert_eq!(
            (&info.store_path, &info.references),
            (&path.store_path, &path.references)
        );
        assert_eq!(
            (info.nar_hash, info.nar_size),
            (path.nar_hash(), path.nar.len() as u64)
        );
        assert_eq!(info.compression, Compression::Zstd);
        assert_eq!(info.system.as_deref(), Some("x86_64-linux"));
        assert_eq!(info.signatures.len(), 1);
        assert!(key.verify(&info.fingerprint(&StoreDir::default()), &info.signatures[0]));

        let file = node
            .get(&format!("/main/{}", info.url))
            .await
            .expect(StatusCode::OK);
        assert_eq!(decompress(&file.body), path.nar);
        assert_eq!(info.file_size, Some(file.body.len() as u64));
        assert_eq!(info.file_hash, Some(FileHash::of(&file.body)));
        assert_eq!(file.header("content-length"), file.body.len().to_string());
        assert_eq!(file.header("accept-ranges"), "bytes");
    }
}

#[tokio::test]
async fn a_cache_says_how_nix_shall_treat_it() {
    let node = TestNode::with_cache(true).await;
    let answer = node.get("/main/nix-cache-info").await.expect(StatusCode::OK);
    let info: NixCacheInfo = answer.text().parse().expect("a nix-cache-info");
    assert_eq!(
        (info.store_dir, info.want_mass_query),
        (StoreDir::default(), true)
    );
    assert_eq!(info.priority, node.cache("main").await.priority);
    assert_eq!(answer.header("content-type"), "text/x-nix-cache-info");
}

#[tokio::test]
async fn signatures_of_the_client_are_served_beside_the_one_of_the_cache() {
    let node = TestNode::with_cache(true).await;
    let path = TestPath::new("signed", b"by others too");
    let theirs = "builder-1:".to_owned() + &"A".repeat(86) + "==";
    let upload = node.upload("main").await;
    upload.send_whole(&path).await.expect(StatusCode::OK);
    let mut commit = path.upload();
    commit.signatures = vec![theirs.parse().expect("a signature")];
    let commit = serde_json::json!({ "paths": [commit] });
    node.ask_json(Method::POST, &upload.path("/commit"), &node.root, &commit)
        .await
        .expect(StatusCode::OK);

    let signatures = narinfo(&node, &path).await.signatures;
    assert_eq!(signatures.len(), 2);
    assert!(signatures.iter().any(|signature| signature.to_string() == theirs));
}

#[tokio::test]
async fn a_new_key_pair_signs_what_was_asked_for_before() {
    let path = TestPath::new("path", b"contents");
    let node = node_with(&path).await;
    let (old, before) = (node.cache("main").await.public_key, narinfo(&node, &path).await);
    let change = serde_json::json!({ "regenerate_keypair": true });
    node.ask_json(Method::PATCH, "/api/v1/caches/main", &node.root, &change)
        .await
        .expect(StatusCode::OK);

    let (new, after) = (node.cache("main").await.public_key, narinfo(&node, &path).await);
    let fingerprint = after.fingerprint(&StoreDir::default());
    assert_ne!(old, new);
    assert!(
        old.verify(&fingerprint, &before.signatures[0]) && !new.verify(&fingerprint, &before.signatures[0])
    );
    assert!(
        new.verify(&fingerprint, &after.signatures[0]) && !old.verify(&fingerprint, &after.signatures[0])
    );
}

#[tokio::test]
async fn a_narinfo_is_never_older_than_the_state() {
    let path = TestPath::new("path", b"contents");
    let node = node_with(&path).await;
    narinfo(&node, &path).await;
    node.delete(&path).await;
    node.narinfo("main", &path).await.refused(ErrorName::NoSuchObject);
    node.get(&nar_url("main", &path))
        .await
        .refused(ErrorName::NoSuchObject);

    node.push("main", &[&path]).await;
    narinfo(&node, &path).await;
    let private = serde_json::json!({ "public": false });
    node.ask_json(Method::PATCH, "/api/v1/caches/main", &node.root, &private)
        .await
        .expect(StatusCode::OK);
    node.narinfo("main", &path).await.refused(ErrorName::NoSuchCache);
}

#[tokio::test]
async fn an_unchanged_narinfo_is_not_sent_again() {
    let path = TestPath::new("path", b"contents");
    let node = node_with(&path).await;
    let url = format!("/main/{}.narinfo", path.hash());
    let etag = node
        .get(&url)
        .await
        .expect(StatusCode::OK)
        .header("etag")
        .to_owned();
    assert!(etag.starts_with('"'), "{etag} is a strong tag");
    let again = node
        .get_with(&url, &[("if-none-match", &etag)])
        .await
        .expect(StatusCode::NOT_MODIFIED);
    assert_eq!((again.body.len(), again.header("etag")), (0, etag.as_str()));
    node.get_with(&url, &[("if-none-match", "\"other\"")])
        .await
        .expect(StatusCode::OK);

    let head = node
        .ask_with(Method::HEAD, &url, &[])
        .await
        .expect(StatusCode::OK);
    let whole = node.get(&url).await;
    assert_eq!(
        (head.body.len(), head.header("content-length")),
        (0, whole.body.len().to_string().as_str())
    );
}

#[tokio::test]
async fn a_private_cache_looks_like_none_to_whoever_may_not_pull() {
    let path = TestPath::new("secret", b"contents");
    let node = TestNode::with_cache(false).await;
    node.push("main", &[&path]).await;
    let pull = CachePermissions::NONE.with(CachePermission::Pull);
    let push = CachePermissions::NONE.with(CachePermission::Push);
    let grants = |pattern: &str, permissions| Grants {
        caches: [(pattern.parse().expect("a pattern"), permissions)].into(),
        ..Grants::default()
    };
    let (reader, other, pusher) = (
        node.token(grants("main", pull)).await,
        node.token(grants("other", pull)).await,
        node.token(grants("main", push)).await,
    );
    let narinfo = format!("/main/{}.narinfo", path.hash());
    let listing = format!("/main/{}.ls", path.hash());
    for url in [
        "/main/nix-cache-info",
        &narinfo,
        &listing,
        &nar_url("main", &path),
    ] {
        let nobody = node.get(url).await;
        nobody.refused(ErrorName::NoSuchCache);
        assert_eq!(
            nobody.body,
            node.get(&url.replace("/main/", "/nope/"))
                .await
                .body_with("nope", "main"),
            "{url}"
        );
        for token in [other.as_str(), pusher.as_str(), "forged.token.here", ""] {
            node.ask(Method::GET, url, token)
                .await
                .refused(ErrorName::NoSuchCache);
        }
        node.ask(Method::GET, url, &reader).await.expect(StatusCode::OK);
        let basic = data_encoding::BASE64.encode(format!("nix:{reader}").as_bytes());
        node.get_with(url, &[("authorization", &format!("Basic {basic}"))])
            .await
            .expect(StatusCode::OK);
    }
}

#[tokio::test]
async fn a_nar_is_served_only_through_a_cache_that_holds_it() {
    let path = TestPath::new("path", b"contents");
    let node = TestNode::with_cache(false).await;
    node.create_cache("open", true).await;
    node.push("main", &[&path]).await;
    node.get(&nar_url("open", &path))
        .await
        .refused(ErrorName::NoSuchObject);
    node.push("open", &[&path]).await;
    node.get(&nar_url("open", &path)).await.expect(StatusCode::OK);
    node.get(&nar_url("main", &path))
        .await
        .refused(ErrorName::NoSuchCache);
}

#[tokio::test]
async fn malformed_addresses_are_plain_absence() {
    let path = TestPath::new("path", b"contents");
    let node = node_with(&path).await;
    let nar = path.nar_hash().to_nix32();
    let hex: String = path
        .nar_hash()
        .as_bytes()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let upper = nar.to_uppercase();
    let urls = [
        "/main/.narinfo".to_owned(),
        "/main/../main/nix-cache-info".to_owned(),
        "/main/%2e%2e%2fsecret.narinfo".to_owned(),
        "/main/eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee.narinfo".to_owned(),
        "/main/%ff.narinfo".to_owned(),
        "/ma%00in/nix-cache-info".to_owned(),
        "/%2fmain/nix-cache-info".to_owned(),
        format!("/main/{}x.narinfo", path.hash()),
        format!("/main/{}.narinfo/", path.hash()),
        format!("/main/nar/{nar}.nar"),
        format!("/main/nar/{upper}.nar.zst"),
        format!("/main/nar/{hex}.nar.zst"),
        format!("/main/nar/sha256:{nar}.nar.zst"),
        format!("/main/nar/..%2fnar%2f{nar}.nar.zst"),
        "/main/nar/.nar.zst".to_owned(),
    ];
    for url in urls {
        assert_eq!(
            node.get(&url).await.refused_as_absent(),
            StatusCode::NOT_FOUND,
            "{url}"
        );
    }
}

#[tokio::test]
async fn a_listing_says_what_is_in_a_path() {
    let contents = noise(3, 1_500_000);
    let tree = nar(&[
        b"nix-archive-1",
        b"(",
        b"type",
        b"directory",
        b"entry",
        b"(",
        b"name",
        b"bin",
        b"node",
        b"(",
        b"type",
        b"directory",
        b"entry",
        b"(",
        b"name",
        b"app",
        b"node",
        b"(",
        b"type",
        b"regular",
        b"executable",
        b"",
        b"contents",
        &contents,
        b")",
        b")",
        b")",
        b")",
        b"entry",
        b"(",
        b"name",
        b"link",
        b"node",
        b"(",
        b"type",
        b"symlink",
        b"target",
        b"bin/app",
        b")",
        b")",
        b")",
    ]);
    let mut path = TestPath::new("tree", b"");
    path.nar = tree;
    let node = node_with(&path).await;
    let url = format!("/main/{}.ls", path.hash());
    let answer = node.get(&url).await.expect(StatusCode::OK);
    let listing: serde_json::Value = answer.json();
    let app = &listing["root"]["entries"]["bin"]["entries"]["app"];
    let offset = usize::try_from(app["narOffset"].as_u64().expect("an offset")).expect("short");
    assert_eq!(listing["version"], 1);
    assert_eq!(
        (app["size"].as_u64(), app["executable"].as_bool()),
        (Some(contents.len() as u64), Some(true))
    );
    assert!(path.nar[offset..].starts_with(&contents));
    assert_eq!(listing["root"]["entries"]["link"]["target"], "bin/app");
    node.get_with(&url, &[("if-none-match", answer.header("etag"))])
        .await
        .expect(StatusCode::NOT_MODIFIED);

    let mut junk = TestPath::new("junk", b"");
    junk.nar = b"this is no NAR".to_vec();
    node.push("main", &[&junk]).await;
    node.get(&format!("/main/{}.ls", junk.hash()))
        .await
        .refused(ErrorName::NoSuchObject);
}
