//! Names of what is registered.

use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tetryx_protocol::api::{
    AntennaInfo, MissionList, PassList, PassesQuery, PutMissionRequest, PutSatelliteRequest,
    PutStationRequest, RefreshResponse, SatelliteDetails, SatelliteList, StationList,
};
use tetryx_protocol::ground::{MissionName, NAME_LEN_MAX, SatelliteName};

#[test]
fn names_are_those_of_catalogues() {
    for name in [
        "ISS (ZARYA)",
        "NOAA 19",
        "0",
        "COSMOS 2251 DEB",
        "a+b_c.d-e",
        &"x".repeat(NAME_LEN_MAX),
    ] {
        assert_eq!(name.parse::<SatelliteName>().unwrap().as_str(), name);
    }
}

#[test]
fn what_is_no_name_is_told_what_a_name_is() {
    let long = "x".repeat(NAME_LEN_MAX + 1);
    for name in [
        "",
        " a",
        "a ",
        "-a",
        "(a)",
        "a/b",
        "a*",
        "a\nb",
        "a%20b",
        "Troms\u{f8}",
        &long,
    ] {
        assert!(name.parse::<MissionName>().is_err(), "{name}");
    }
    assert_eq!(
        "a/b".parse::<MissionName>().unwrap_err().to_string(),
        "\"a/b\" is not a mission name: expected 1 to 64 characters of A-Z a-z 0-9 . _ + ( ) - and blanks inside, \
         the first a letter or digit"
    );
}

#[test]
fn an_antenna_of_which_only_the_name_is_said_sees_the_sky_and_turns_once_around() {
    let request: PutStationRequest = serde_json::from_str(r#"{"antennas":[{"name":"dish"}]}"#).unwrap();
    let antenna = AntennaInfo::new("dish".parse().unwrap());
    assert_eq!(request.antennas, Some(vec![antenna.clone()]));
    assert_eq!(
        (antenna.azimuth_deg, antenna.elevation_deg),
        ([0.0, 360.0], [0.0, 90.0])
    );
    assert!(serde_json::from_str::<PutStationRequest>(r#"{"antenna":[]}"#).is_err());
}

#[test]
fn details_of_a_satellite_are_its_row_in_the_list_and_more() {
    let text = r#"{"name":"NOAA 19","catalogue_number":33591,"mission":"weather","links":[],
        "epoch":"2026-03-02T12:00:00.000Z","elements_age_days":0.5,"warning":null,
        "created":"2026-03-02T12:00:00.000Z","elements":"1 ...","history":[],"passes":[],"later":"ignored"}"#;
    let details: SatelliteDetails = serde_json::from_str(text).unwrap();
    assert_eq!(details.info.name.as_str(), "NOAA 19");
    let value = serde_json::to_value(&details).unwrap();
    assert_eq!(value["catalogue_number"], 33_591);
}

/// The document as this build writes what it has read.
fn written<T: Serialize + DeserializeOwned>(document: &str) -> Value {
    let value: T = serde_json::from_str(document).unwrap();
    serde_json::to_value(value).unwrap()
}

#[test]
fn the_json_of_version_1_is_this() {
    for line in include_str!("../golden/ground_v1.txt").lines() {
        let (name, document) = line.split_once(' ').expect("a name and a document");
        let now = match name {
            "PutMissionRequest" => written::<PutMissionRequest>(document),
            "MissionList" => written::<MissionList>(document),
            "PutSatelliteRequest" => written::<PutSatelliteRequest>(document),
            "SatelliteList" => written::<SatelliteList>(document),
            "SatelliteDetails" => written::<SatelliteDetails>(document),
            "PutStationRequest" => written::<PutStationRequest>(document),
            "StationList" => written::<StationList>(document),
            "RefreshResponse" => written::<RefreshResponse>(document),
            "PassesQuery" => written::<PassesQuery>(document),
            "PassList" => written::<PassList>(document),
            other => panic!("no document is called {other}"),
        };
        assert_eq!(now, serde_json::from_str::<Value>(document).unwrap(), "{name}");
    }
}

proptest! {
    #[test]
    fn every_name_reads_back_as_it_was_written(text in ".{0,70}") {
        if let Ok(name) = text.parse::<SatelliteName>() {
            prop_assert_eq!(name.to_string(), text);
        }
    }
}
