//! What tokens allow.

use proptest::prelude::*;
use tetryx_protocol::cache::CacheName;
use tetryx_protocol::grant::{CachePermission, CachePermissions, Grants};

fn grants(json: &str) -> Grants {
    serde_json::from_str(json).unwrap()
}

fn cache(text: &str) -> CacheName {
    text.parse().unwrap()
}

#[test]
fn permissions_have_attics_json() {
    let all = serde_json::to_string(&CachePermissions::ALL).unwrap();
    assert_eq!(all, r#"{"r":1,"w":1,"d":1,"cc":1,"cr":1,"cq":1,"cd":1}"#);
    let some: CachePermissions = serde_json::from_str(r#"{"w":true,"r":1,"d":0,"cd":false}"#).unwrap();
    assert_eq!(
        some,
        CachePermissions::NONE
            .with(CachePermission::Pull)
            .with(CachePermission::Push)
    );
    assert_eq!(serde_json::to_string(&CachePermissions::NONE).unwrap(), "{}");
}

#[test]
fn unknown_permissions_are_refused_and_never_dropped() {
    for json in [
        r#"{"x":1}"#,
        r#"{"r":2}"#,
        r#"{"r":-1}"#,
        r#"{"r":"yes"}"#,
        r#"{"r":null}"#,
        "1",
        "[]",
    ] {
        assert!(serde_json::from_str::<CachePermissions>(json).is_err(), "{json}");
    }
    assert!(postcard::from_bytes::<CachePermissions>(&[0x80]).is_err());
    assert!(serde_json::from_str::<Grants>(r#"{"admn":true}"#).is_err());
    assert!(serde_json::from_str::<Grants>(r#"{"caches":{"a b":{"r":1}}}"#).is_err());
}

#[test]
fn a_cache_has_the_union_of_what_all_matching_patterns_give() {
    let grants = grants(r#"{"caches":{"*":{"r":1},"team-*":{"w":1},"team-a":{"d":1},"other":{"cd":1}}}"#);
    let team_a = grants.permissions(&cache("team-a"));
    assert_eq!(
        team_a.iter().collect::<Vec<_>>(),
        [
            CachePermission::Pull,
            CachePermission::Push,
            CachePermission::Delete
        ]
    );
    assert!(
        grants.allows(&cache("x"), CachePermission::Pull)
            && !grants.allows(&cache("x"), CachePermission::Push)
    );
}

#[test]
fn an_administrator_may_everything() {
    let admin = Grants::admin();
    assert!(
        CachePermission::ALL
            .into_iter()
            .all(|permission| admin.allows(&cache("any"), permission))
    );
}

#[test]
fn any_permission_on_a_cache_lets_it_be_discovered_and_none_hides_it() {
    let grants = grants(r#"{"caches":{"a":{"cq":1},"b":{}}}"#);
    assert!(grants.may_discover(&cache("a")));
    assert!(!grants.may_discover(&cache("b")) && !grants.may_discover(&cache("c")));
    assert!(!Grants::default().may_discover(&cache("a")) && Grants::admin().may_discover(&cache("a")));
}

#[test]
fn a_token_can_only_mint_what_it_holds() {
    let holder = grants(
        r#"{"caches":{"team-*":{"r":1,"w":1},"team-a*":{"cd":1}},"missions":["eo","sar","geo-*"],"stations":["north-*"]}"#,
    );
    for (json, covered) in [
        (r"{}", true),
        (r#"{"caches":{"team-*":{"r":1,"w":1}}}"#, true),
        (r#"{"caches":{"team-b":{"w":1}}}"#, true),
        (r#"{"caches":{"team-ab*":{"r":1,"cd":1}}}"#, true),
        (r#"{"missions":["sar"]}"#, true),
        (r#"{"caches":{"*":{"r":1}}}"#, false),
        (r#"{"caches":{"team-*":{"cd":1}}}"#, false),
        (r#"{"caches":{"team-a":{"d":1}}}"#, false),
        (r#"{"caches":{"*":{}}}"#, true),
        (r#"{"missions":["eo","x"]}"#, false),
        (r#"{"admin":true}"#, false),
        (r#"{"stations":["north-1","north-*"]}"#, true),
        (r#"{"stations":["*"]}"#, false),
        (r#"{"missions":["geo-1","geo-*"]}"#, true),
        (r#"{"missions":["g*"]}"#, false),
    ] {
        assert_eq!(holder.covers(&grants(json)), covered, "{json}");
        assert!(Grants::admin().covers(&grants(json)), "{json}");
    }
}

#[test]
fn grants_for_missions_and_stations_are_patterns_and_let_what_is_registered_be_read() {
    let holder = grants(r#"{"missions":["eo","geo-*"],"stations":["north*"]}"#);
    assert!(holder.acts_for("eo") && holder.acts_for("geo-5") && !holder.acts_for("eo-2"));
    assert!(holder.operates("north") && !holder.operates("south"));
    assert!(holder.may_read_ground() && Grants::admin().may_read_ground());
    assert!(!grants(r#"{"caches":{"*":{"r":1}}}"#).may_read_ground());
    assert!(Grants::admin().acts_for("any") && Grants::admin().operates("any"));
}

#[test]
fn grants_without_stations_have_the_text_and_the_bytes_that_they_always_had() {
    let old = grants(r#"{"missions":["eo"],"admin":true}"#);
    let text = serde_json::to_string(&old).unwrap();
    assert_eq!(text, r#"{"caches":{},"missions":["eo"],"admin":true}"#);
    assert_eq!(postcard::to_allocvec(&old).unwrap(), b"\0\x01\x02eo\x01");
    for bytes in [&b"\0\0\x04"[..], b"\0\0\x02\0", b"\0\0\x02", b"\0\0"] {
        assert!(postcard::from_bytes::<Grants>(bytes).is_err(), "{bytes:?}");
    }
}

fn any_grants() -> impl Strategy<Value = Grants> {
    let permissions = prop::collection::vec(prop::sample::select(CachePermission::ALL.to_vec()), 0..4);
    let permissions = permissions.prop_map(|some| some.into_iter().collect::<CachePermissions>());
    let pattern = "[ab*]{1,4}".prop_map(|text| text.parse().unwrap());
    let caches = prop::collection::btree_map(pattern, permissions, 0..4);
    let missions = || prop::collection::vec("[ab*]{1,3}", 0..3);
    let admin = prop::bool::weighted(0.1);
    (caches, missions(), missions(), admin).prop_map(|(caches, missions, stations, admin)| Grants {
        caches,
        missions,
        stations,
        admin,
    })
}

proptest! {
    #[test]
    fn what_covers_allows_at_least_as_much(mine in any_grants(), other in any_grants(), text in "[ab]{1,5}") {
        prop_assert!(mine.covers(&mine) && mine.covers(&Grants::default()));
        let exceeded = other.permissions(&cache(&text)).iter().any(|permission| !mine.allows(&cache(&text), permission));
        let exceeded = exceeded
            || (other.acts_for(&text) && !mine.acts_for(&text))
            || (other.operates(&text) && !mine.operates(&text));
        prop_assert!(!(exceeded && mine.covers(&other)));
    }

    #[test]
    fn grants_round_trip_in_json_and_postcard(grants in any_grants()) {
        let json = serde_json::to_string(&grants).unwrap();
        prop_assert_eq!(serde_json::from_str::<Grants>(&json).unwrap(), grants.clone());
        let bytes = postcard::to_allocvec(&grants).unwrap();
        prop_assert_eq!(postcard::from_bytes::<Grants>(&bytes).unwrap(), grants);
    }
}
