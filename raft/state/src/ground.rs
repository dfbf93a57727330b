//! Reading what is registered: missions, satellites with their elements, stations.

use tetryx_protocol::ground::{MissionName, SatelliteName, StationName};

use crate::access::{Access, Walk, get};
use crate::error::StateError;
use crate::key;
use crate::records::{ElementsRecord, MissionRecord, Record, SatelliteRecord, StationRecord};
use crate::tables::{ReadTables, Table};

/// The feature level with commands about missions, satellites and stations, and with grants for stations.
pub const FEATURE_LEVEL: u32 = 4;

/// A mission.
pub fn mission<T: ReadTables>(tables: &T, name: &MissionName) -> Access<T, Option<MissionRecord>> {
    get(tables, &key::mission(name))
}

/// All missions, by name.
pub fn missions<T: ReadTables>(tables: &T) -> Access<T, Vec<(MissionName, MissionRecord)>> {
    all(tables, key::parse_mission)
}

/// A satellite.
pub fn satellite<T: ReadTables>(tables: &T, name: &SatelliteName) -> Access<T, Option<SatelliteRecord>> {
    get(tables, &key::satellite(name))
}

/// All satellites, by name.
pub fn satellites<T: ReadTables>(tables: &T) -> Access<T, Vec<(SatelliteName, SatelliteRecord)>> {
    all(tables, key::parse_satellite)
}

/// The names of the satellites of a mission, in order.
pub fn satellites_of<T: ReadTables>(tables: &T, mission: &MissionName) -> Access<T, Vec<SatelliteName>> {
    let all = satellites(tables)?;
    let of = all.into_iter().filter(|(_, record)| record.mission == *mission);
    Ok(of.map(|(name, _)| name).collect())
}

/// At most `limit` element sets of a satellite with their epochs in nanoseconds since the Unix epoch, the latest
/// first: the first one is current.
pub fn elements<T: ReadTables>(
    tables: &T,
    satellite: &SatelliteName,
    limit: usize,
) -> Access<T, Vec<(i64, ElementsRecord)>> {
    let walk = Walk::prefix(tables, Table::Elements, key::elements(satellite));
    let rows = walk.take(limit).map(|row| {
        let (row, value) = row.map_err(StateError::Tables)?;
        let record = ElementsRecord::decode(&row, &value).map_err(StateError::Corrupt)?;
        let (_, epoch_ns) = key::parse_elements(&row).map_err(StateError::Corrupt)?;
        Ok((epoch_ns, record))
    });
    rows.collect()
}

/// A station.
pub fn station<T: ReadTables>(tables: &T, name: &StationName) -> Access<T, Option<StationRecord>> {
    get(tables, &key::station(name))
}

/// All stations, by name.
pub fn stations<T: ReadTables>(tables: &T) -> Access<T, Vec<(StationName, StationRecord)>> {
    all(tables, key::parse_station)
}

fn all<T: ReadTables, K, R: Record>(
    tables: &T,
    parse: impl Fn(&[u8]) -> Result<K, crate::CorruptRecord>,
) -> Access<T, Vec<(K, R)>> {
    let rows = Walk::table(tables, R::TABLE).map(|row| {
        let (row, value) = row.map_err(StateError::Tables)?;
        let record = R::decode(&row, &value).map_err(StateError::Corrupt)?;
        Ok((parse(&row).map_err(StateError::Corrupt)?, record))
    });
    rows.collect()
}
