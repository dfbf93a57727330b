//! One record of everything that is registered, with every field filled: for golden bytes and round trips.

use tetryx_protocol::time::UtcTime;
use tetryx_state::records::{ElementsRecord, MissionRecord, SatelliteRecord, StationRecord, TokenRecord};

use crate::fixture::{START_MS, node, parse};
use crate::ground::{elements, put_maintenance, put_satellite, put_station, station_token};
use crate::samples::token_record;

fn time() -> UtcTime {
    UtcTime::from_unix_ms(START_MS)
}

pub(crate) fn mission_record() -> MissionRecord {
    MissionRecord {
        priority: 300,
        note: "first light in March".to_owned(),
        created: time(),
        created_by: "alice".to_owned(),
    }
}

pub(crate) fn satellite_record() -> SatelliteRecord {
    let put = put_satellite("NOAA 19");
    SatelliteRecord {
        mission: parse("lander"),
        catalogue_number: 33_591,
        links: put.links.unwrap_or_default(),
        created: time(),
        created_by: "alice".to_owned(),
    }
}

pub(crate) fn elements_record() -> ElementsRecord {
    ElementsRecord {
        source: elements(1).source,
        added: time(),
        added_by: "alice".to_owned(),
    }
}

pub(crate) fn station_record() -> StationRecord {
    let put = put_station("north");
    StationRecord {
        place: put.place.expect("the sample has one"),
        antennas: put.antennas.unwrap_or_default(),
        node: Some(node(1)),
        maintenance: vec![put_maintenance("north", 1).maintenance],
        created: time(),
        created_by: "alice".to_owned(),
    }
}

/// Grants for stations need the newer version.
pub(crate) fn token_record_2() -> TokenRecord {
    TokenRecord {
        grants: station_token(2).grants,
        ..token_record()
    }
}
