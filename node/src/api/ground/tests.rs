//! What is registered, as clients of the API see it.

use http::{Method, StatusCode};
use serde_json::{Value, json};
use tetryx_protocol::api::{
    ErrorName, MissionInfo, PassList, RefreshResponse, RefreshResult, SatelliteDetails, SatelliteInfo,
    StationInfo,
};
use tetryx_protocol::grant::Grants;
use tetryx_state::ground;

use crate::testing::{Answer, TestNode, request};

const ISS: &str = "ISS (ZARYA)\n1 25544U 98067A   08264.51782528 -.00002182  00000-0 -11606-4 0  2927\n\
                   2 25544  51.6416 247.4627 0006703 130.5360 325.0288 15.72125391563537\n";

/// The set of a day later, with the check sum that it has then.
const ISS_LATER: &str = "1 25544U 98067A   08265.51782528 -.00002182  00000-0 -11606-4 0  2928\n\
                         2 25544  51.6416 247.4627 0006703 130.5360 325.0288 15.72125391563537\n";

/// When the tests of passes begin: an afternoon of the elements' day.
const DAY: &str = "from=2008-09-20T13:00:00Z&hours=24";

async fn put(test: &TestNode, path: &str, token: &str, body: &Value) -> Answer {
    test.ask_json(Method::PUT, &format!("/api/v1/{path}"), Some(token), body)
        .await
}

async fn get(test: &TestNode, path: &str, token: &str) -> Answer {
    test.get(&format!("/api/v1/{path}"), Some(token)).await
}

async fn refresh(test: &TestNode, token: &str, text: &str) -> Answer {
    let request = request(Method::POST, "/api/v1/elements", Some(token));
    test.send(request.body(text.to_owned().into()).unwrap()).await
}

fn zurich() -> Value {
    json!({
        "site": { "latitude_deg": 47.37, "longitude_deg": 8.54, "altitude_m": 430.0 },
        "antennas": [{ "name": "dish", "horizon_deg": [[0.0, 10.0]] }],
    })
}

/// A node with a mission, the ISS and a station.
async fn registered() -> TestNode {
    let test = TestNode::new().await;
    let root = &test.root;
    for (path, body) in [
        (
            "missions/crewed",
            json!({ "priority": 5, "note": "people on board" }),
        ),
        ("satellites/ISS%20(ZARYA)", satellite()),
        ("stations/zurich", zurich()),
    ] {
        let answer = put(&test, path, root, &body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    }
    test
}

fn satellite() -> Value {
    let link = json!({ "name": "voice", "direction": "down", "frequency_hz": 145_800_000 });
    json!({ "mission": "crewed", "elements": ISS, "links": [link] })
}

/// A token with these grants for missions and stations.
async fn token(test: &TestNode, missions: &[&str], stations: &[&str]) -> String {
    let owned = |patterns: &[&str]| patterns.iter().map(ToString::to_string).collect();
    test.token(Grants {
        missions: owned(missions),
        stations: owned(stations),
        ..Grants::default()
    })
    .await
}

#[tokio::test]
async fn what_was_put_is_shown() {
    let test = registered().await;
    let mission: MissionInfo = get(&test, "missions/crewed", &test.root).await.json();
    assert_eq!((mission.priority, mission.note.as_str()), (5, "people on board"));
    assert_eq!(mission.satellites[0].as_str(), "ISS (ZARYA)");
    let answer = get(&test, "satellites/ISS%20(ZARYA)", &test.root).await;
    let satellite: SatelliteDetails = answer.json();
    assert_eq!(satellite.info.catalogue_number, 25_544);
    assert_eq!(satellite.info.links[0].frequency_hz, 145_800_000);
    assert_eq!(satellite.elements.trim(), ISS.trim());
    assert_eq!(satellite.history.len(), 1);
    let station: StationInfo = get(&test, "stations/zurich", &test.root).await.json();
    assert_eq!(station.site.latitude_deg, 47.37);
    assert_eq!(station.antennas[0].horizon_deg, [[0.0, 10.0]]);
    assert_eq!(station.antennas[0].azimuth_deg, [0.0, 360.0]);
    for (list, key) in [
        ("missions", "missions"),
        ("satellites", "satellites"),
        ("stations", "stations"),
    ] {
        let answer: Value = get(&test, list, &test.root).await.json();
        assert_eq!(answer[key].as_array().map(Vec::len), Some(1), "{list}");
    }
}

#[tokio::test]
async fn old_elements_are_warned_about_with_their_age_and_what_to_do() {
    let test = registered().await;
    let satellite: SatelliteDetails = get(&test, "satellites/ISS%20(ZARYA)", &test.root).await.json();
    let warning = satellite.info.warning.expect("they are of 2008");
    assert_eq!(
        warning,
        "the elements of ISS (ZARYA) are 6372.0 days old (limit 7 for low orbits); run 'tetryx-cli elements refresh'"
    );
    let list: PassList = get(&test, &format!("passes?{DAY}"), &test.root).await.json();
    assert_eq!(list.warnings, [warning]);
}

#[tokio::test]
async fn passes_of_what_is_registered_are_those_of_the_elements() {
    let test = registered().await;
    let list: PassList = get(&test, &format!("passes?{DAY}"), &test.root).await.json();
    let aos: Vec<String> = list
        .passes
        .iter()
        .map(|pass| pass.aos.expect("none is cut").to_string()[..19].to_owned())
        .collect();
    // The same as 'tetryx-cli pass predict' finds (cli/tests/transcripts/passes.txt).
    assert_eq!(
        aos,
        [
            "2008-09-20T18:19:57",
            "2008-09-20T19:54:17",
            "2008-09-20T21:30:07",
            "2008-09-20T23:05:39",
            "2008-09-21T00:41:08"
        ]
    );
    let high: PassList = get(&test, &format!("passes?{DAY}&min_elevation=60"), &test.root)
        .await
        .json();
    assert_eq!(high.passes.len(), 1);
    assert!((high.passes[0].elevation_deg_max - 73.9).abs() < 0.05);
    assert_eq!(high.passes[0].antennas[0].as_str(), "dish");
}

#[tokio::test]
async fn a_search_is_bounded_and_names_what_is_not_registered() {
    let test = registered().await;
    for (query, name) in [
        ("hours=241", ErrorName::BadRequest),
        ("hours=0", ErrorName::BadRequest),
        ("hours=NaN", ErrorName::BadRequest),
        ("min_elevation=NaN", ErrorName::BadRequest),
        ("satellite=TERRA", ErrorName::NoSuchItem),
        ("station=nowhere", ErrorName::NoSuchItem),
        ("station=%2F", ErrorName::BadRequest),
        ("colour=red", ErrorName::BadRequest),
    ] {
        let answer = get(&test, &format!("passes?{query}"), &test.root).await;
        assert_eq!(answer.error().name(), Some(name), "{query}: {answer:?}");
    }
    let one = get(
        &test,
        "passes?satellite=ISS%20(ZARYA)&station=zurich&hours=240",
        &test.root,
    )
    .await;
    assert_eq!(one.status, StatusCode::OK);
}

#[tokio::test]
async fn antennas_with_one_horizon_share_their_passes_and_others_do_not() {
    let test = registered().await;
    let antenna = |name: &str, elevation: f64| json!({ "name": name, "horizon_deg": [[0.0, elevation]] });
    let antennas = json!({ "antennas": [antenna("a", 10.0), antenna("b", 10.0), antenna("c", 60.0)] });
    let answer = put(&test, "stations/zurich", &test.root, &antennas).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let list: PassList = get(&test, &format!("passes?{DAY}"), &test.root).await.json();
    let of = |names: &[&str]| {
        let passes = list.passes.iter();
        passes
            .filter(|pass| {
                pass.antennas
                    .iter()
                    .map(|name| name.as_str())
                    .eq(names.iter().copied())
            })
            .count()
    };
    assert_eq!((of(&["a", "b"]), of(&["c"]), list.passes.len()), (5, 1, 6));
}

#[tokio::test]
async fn a_pass_during_maintenance_says_so() {
    let test = registered().await;
    let body =
        json!({ "from": "2008-09-20T19:00:00Z", "to": "2008-09-20T20:00:00Z", "reason": "new bearings" });
    let answer = put(&test, "stations/zurich/maintenance", &test.root, &body).await;
    assert_eq!(answer.json::<StationInfo>().maintenance.len(), 1);
    let list: PassList = get(&test, &format!("passes?{DAY}"), &test.root).await.json();
    let during: Vec<_> = list
        .passes
        .iter()
        .map(|pass| pass.maintenance.as_deref())
        .collect();
    assert_eq!(during, [None, Some("new bearings"), None, None, None]);
    let path = "/api/v1/stations/zurich/maintenance?from=2008-09-20T19:00:00Z";
    let answer = test.ask(Method::DELETE, path, Some(&test.root)).await;
    assert!(answer.json::<StationInfo>().maintenance.is_empty());
    let answer = test.ask(Method::DELETE, path, Some(&test.root)).await;
    assert_eq!(answer.error().name(), Some(ErrorName::NoSuchItem));
}

#[tokio::test]
async fn a_refresh_says_of_each_entry_what_became_of_it() {
    let test = registered().await;
    let damaged = ISS_LATER.replace("2928", "2921");
    let stranger = "1 00005U 58002B   00179.78495062  .00000023  00000-0  28098-4 0  4753\n\
                    2 00005  34.2682 348.7242 1859667 331.7664  19.3264 10.82419157413667\n";
    let answer: RefreshResponse = refresh(&test, &test.root, &format!("{ISS_LATER}{damaged}{stranger}"))
        .await
        .json();
    let results: Vec<_> = answer.entries.iter().map(|entry| entry.result).collect();
    assert_eq!(
        results,
        [
            RefreshResult::Added,
            RefreshResult::Malformed,
            RefreshResult::Unknown
        ]
    );
    let error = answer.entries[1].error.as_deref().expect("it says what is wrong");
    assert!(error.starts_with("line 3, column 69:"), "{error}");
    for (text, result) in [(ISS_LATER, RefreshResult::Unchanged), (ISS, RefreshResult::Older)] {
        let answer: RefreshResponse = refresh(&test, &test.root, text).await.json();
        assert_eq!(answer.entries[0].result, result);
    }
    let satellite: SatelliteDetails = get(&test, "satellites/ISS%20(ZARYA)", &test.root).await.json();
    assert_eq!(
        (satellite.history.len(), satellite.elements.trim()),
        (2, ISS_LATER.trim())
    );
}

#[tokio::test]
async fn an_entry_that_is_too_long_to_keep_costs_no_other() {
    let test = registered().await;
    let omm = json!({
        "OBJECT_NAME": "ISS (ZARYA)", "OBJECT_ID": "1998-067A", "EPOCH": "2008-09-21T12:25:40.104192",
        "MEAN_MOTION": 15.72125391, "ECCENTRICITY": 0.0006703, "INCLINATION": 51.6416,
        "RA_OF_ASC_NODE": 247.4627, "ARG_OF_PERICENTER": 130.536, "MEAN_ANOMALY": 325.0288,
        "NORAD_CAT_ID": 25_544, "BSTAR": -0.000011606, "MEAN_MOTION_DOT": 0.0, "MEAN_MOTION_DDOT": 0.0,
    });
    let mut long = omm.clone();
    long["COMMENT"] = "x".repeat(9_000).into();
    let answer: RefreshResponse = refresh(&test, &test.root, &json!([long, omm]).to_string())
        .await
        .json();
    assert_eq!((answer.malformed, answer.added), (1, 1), "{answer:?}");
    let error = answer.entries[0].error.as_deref().expect("it says what is wrong");
    assert!(error.contains("more than the 8192 that are kept"), "{error}");
}

#[tokio::test]
async fn a_refresh_of_many_satellites_is_split_into_commands() {
    let test = TestNode::new().await;
    put(&test, "missions/crewed", &test.root, &json!({})).await;
    // The state takes 256 sets in a command: one object that 300 satellites watch needs two.
    for number in 0..300 {
        let body = json!({ "mission": "crewed", "elements": ISS });
        let answer = put(&test, &format!("satellites/copy-{number}"), &test.root, &body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    }
    let answer: RefreshResponse = refresh(&test, &test.root, ISS_LATER).await.json();
    assert_eq!((answer.added, answer.entries.len()), (300, 300));
}

#[tokio::test]
async fn elements_that_cannot_be_used_are_refused_with_their_place() {
    let test = registered().await;
    for (elements, told) in [
        (ISS.replace("2927", "2921"), "line 2, column 69"),
        (String::new(), "there are no elements"),
        (format!("{ISS}{ISS_LATER}"), "there are 2 element sets"),
    ] {
        let body = json!({ "elements": elements });
        let answer = put(&test, "satellites/ISS%20(ZARYA)", &test.root, &body).await;
        assert_eq!(answer.error().name(), Some(ErrorName::BadRequest));
        assert!(answer.error().message.contains(told), "{answer:?}");
    }
}

#[tokio::test]
async fn stations_off_the_earth_and_antennas_that_cannot_be_are_refused() {
    let test = registered().await;
    for body in [
        json!({ "site": { "latitude_deg": 91.0, "longitude_deg": 0.0, "altitude_m": 0.0 } }),
        json!({ "antennas": [{ "name": "a", "horizon_deg": [] }] }),
        json!({ "antennas": [{ "name": "a", "azimuth_deg": [90.0, 0.0] }] }),
        json!({ "antennas": [{ "name": "a", "horizon_deg": [[0.0001, 1.0], [0.0002, 5.0]] }] }),
        json!({ "antennas": [{ "name": "a", "slew_rate_deg_s": [0.0001, 6.0] }] }),
        json!({ "antennas": [{ "name": "a" }, { "name": "a" }] }),
        json!({ "antennas": [{ "name": "a/b" }] }),
        json!({ "colour": "red" }),
        json!({ "without_node": true, "node": "00".repeat(32) }),
    ] {
        let answer = put(&test, "stations/zurich", &test.root, &body).await;
        assert_eq!(answer.error().name(), Some(ErrorName::BadRequest), "{body}");
    }
    let nobody = json!({ "node": "00".repeat(32) });
    let answer = put(&test, "stations/zurich", &test.root, &nobody).await;
    assert_eq!(answer.error().name(), Some(ErrorName::NoSuchMember));
}

#[tokio::test]
async fn what_is_registered_is_shown_to_those_with_a_grant_for_a_part_of_it() {
    let test = registered().await;
    let plain = test.token(Grants::default()).await;
    let (mission, station) = (token(&test, &["x"], &[]).await, token(&test, &[], &["x"]).await);
    for path in [
        "missions",
        "satellites/ISS%20(ZARYA)",
        "stations/zurich",
        "passes",
    ] {
        let nobody = test.get(&format!("/api/v1/{path}"), None).await;
        assert_eq!(nobody.error().name(), Some(ErrorName::Unauthorized), "{path}");
        let answer = get(&test, path, &plain).await;
        assert_eq!(answer.error().name(), Some(ErrorName::AccessError), "{path}");
        for token in [&mission, &station] {
            assert_eq!(get(&test, path, token).await.status, StatusCode::OK, "{path}");
        }
    }
}

#[tokio::test]
async fn changes_need_the_grant_for_what_they_change() {
    let test = registered().await;
    put(&test, "missions/other", &test.root, &json!({})).await;
    let crew = token(&test, &["crew*"], &[]).await;
    let operator = token(&test, &[], &["zur*"]).await;
    let refused = |answer: &Answer| answer.error().name() == Some(ErrorName::AccessError);
    // A satellite: with a grant for its mission, and for the one it is given to.
    let iss = "satellites/ISS%20(ZARYA)";
    assert_eq!(put(&test, iss, &crew, &satellite()).await.status, StatusCode::OK);
    assert!(refused(&put(&test, iss, &operator, &satellite()).await));
    assert!(refused(
        &put(&test, iss, &crew, &json!({ "mission": "other" })).await
    ));
    let foreign = json!({ "mission": "other", "elements": ISS });
    put(&test, "satellites/theirs", &test.root, &foreign).await;
    assert!(refused(
        &put(&test, "satellites/theirs", &crew, &json!({ "mission": "crewed" })).await
    ));
    let answer = test
        .ask(Method::DELETE, "/api/v1/satellites/theirs", Some(&crew))
        .await;
    assert!(refused(&answer));
    // A refresh reaches the satellites of the token's missions only.
    let answer: RefreshResponse = refresh(&test, &crew, ISS_LATER).await.json();
    assert_eq!((answer.added, answer.entries.len()), (1, 1));
    // A station: with a grant for it.
    assert_eq!(
        put(&test, "stations/zurich", &operator, &zurich()).await.status,
        StatusCode::OK
    );
    assert!(refused(&put(&test, "stations/zurich", &crew, &zurich()).await));
    assert!(refused(&put(&test, "stations/bern", &operator, &zurich()).await));
    // Missions: administrators.
    assert!(refused(&put(&test, "missions/crewed", &crew, &json!({})).await));
}

#[tokio::test]
async fn what_is_new_is_not_mistaken_for_what_is_there() {
    let test = registered().await;
    let body = json!({ "priority": 9 });
    let answer = put(&test, "missions/crewed?expected=new", &test.root, &body).await;
    assert_eq!(answer.error().name(), Some(ErrorName::ItemAlreadyExists));
    let answer = put(&test, "missions/uncrewed?expected=existing", &test.root, &body).await;
    assert_eq!(answer.error().name(), Some(ErrorName::NoSuchItem));
    let again: SatelliteInfo = put(
        &test,
        "satellites/ISS%20(ZARYA)?expected=new",
        &test.root,
        &satellite(),
    )
    .await
    .json();
    assert_eq!(again.catalogue_number, 25_544);
    let answer = test
        .ask(Method::DELETE, "/api/v1/missions/crewed", Some(&test.root))
        .await;
    assert_eq!(answer.error().name(), Some(ErrorName::ItemInUse));
    for path in ["satellites/ISS%20(ZARYA)", "missions/crewed", "stations/zurich"] {
        let path = format!("/api/v1/{path}");
        let answer = test.ask(Method::DELETE, &path, Some(&test.root)).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT, "{answer:?}");
        let answer = test.get(&path, Some(&test.root)).await;
        assert_eq!(answer.error().name(), Some(ErrorName::NoSuchItem));
    }
}

#[tokio::test]
async fn nothing_is_registered_before_every_node_knows_how() {
    let test = TestNode::in_cluster_of(ground::FEATURE_LEVEL - 1, 1, |_| {}).await;
    for (path, body) in [
        ("missions/crewed", json!({})),
        ("satellites/ISS", satellite()),
        ("stations/zurich", zurich()),
    ] {
        let answer = put(&test, path, &test.root, &body).await;
        assert_eq!(
            answer.error().name(),
            Some(ErrorName::NeedsUpgrade),
            "{path}: {answer:?}"
        );
    }
    let answer = refresh(&test, &test.root, ISS).await;
    assert_eq!(answer.error().name(), Some(ErrorName::NeedsUpgrade), "{answer:?}");
    let body = json!({ "subject": "a", "validity_seconds": 60, "grants": { "stations": ["*"] } });
    let answer = test
        .ask_json(Method::POST, "/api/v1/tokens", Some(&test.root), &body)
        .await;
    assert_eq!(answer.error().name(), Some(ErrorName::NeedsUpgrade), "{answer:?}");
    assert_eq!(get(&test, "satellites", &test.root).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_search_that_would_take_too_long_is_refused_before_it_begins() {
    let test = registered().await;
    for number in 0..70 {
        let body = json!({ "mission": "crewed", "elements": ISS });
        put(&test, &format!("satellites/copy-{number}"), &test.root, &body).await;
    }
    let antenna = |number: i32| json!({ "name": format!("a{number}"), "horizon_deg": [[0.0, number]] });
    let antennas: Vec<Value> = (0..32).map(antenna).collect();
    let answer = put(
        &test,
        "stations/zurich",
        &test.root,
        &json!({ "antennas": antennas }),
    )
    .await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let error = get(&test, "passes?hours=240", &test.root).await.error();
    assert_eq!(error.name(), Some(ErrorName::BadRequest));
    assert!(
        error.message.contains("71 satellites over 32 horizons"),
        "{error}"
    );
}
