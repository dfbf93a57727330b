//! Passes as a table of comma-separated values (RFC 4180).

use anyhow::{Context as _, Result};
use serde::Serialize;
use tetryx_protocol::api::PassInfo;

/// A row. What the window cuts off is empty.
#[derive(Debug, Serialize)]
struct Row<'a> {
    satellite: &'a str,
    catalogue_number: u32,
    station: &'a str,
    antennas: String,
    aos: Option<String>,
    tca: String,
    los: Option<String>,
    duration_s: f64,
    elevation_deg_max: f64,
    azimuth_deg_aos: Option<f64>,
    azimuth_deg_tca: f64,
    azimuth_deg_los: Option<f64>,
    range_km_tca: f64,
    range_rate_km_s_aos: Option<f64>,
    range_rate_km_s_tca: f64,
    range_rate_km_s_los: Option<f64>,
    maintenance: Option<&'a str>,
}

/// The table with its head; only the head if there is no pass.
///
/// # Errors
/// Never for what the server sends: the writer's own errors are those of its output, which is memory.
pub(super) fn of(passes: &[PassInfo]) -> Result<String> {
    let mut writer = csv::WriterBuilder::new()
        .has_headers(false)
        .from_writer(Vec::new());
    writer.write_record(HEAD)?;
    for pass in passes {
        writer.serialize(row(pass))?;
    }
    let bytes = writer.into_inner().context("cannot write the table")?;
    Ok(String::from_utf8(bytes)?)
}

const HEAD: [&str; 17] = [
    "satellite",
    "catalogue_number",
    "station",
    "antennas",
    "aos",
    "tca",
    "los",
    "duration_s",
    "elevation_deg_max",
    "azimuth_deg_aos",
    "azimuth_deg_tca",
    "azimuth_deg_los",
    "range_km_tca",
    "range_rate_km_s_aos",
    "range_rate_km_s_tca",
    "range_rate_km_s_los",
    "maintenance",
];

fn row(pass: &PassInfo) -> Row<'_> {
    let antennas: Vec<&str> = pass.antennas.iter().map(|name| name.as_str()).collect();
    Row {
        satellite: pass.satellite.as_str(),
        catalogue_number: pass.catalogue_number,
        station: pass.station.as_str(),
        antennas: antennas.join(";"),
        aos: pass.aos.map(|time| time.to_string()),
        tca: pass.tca.to_string(),
        los: pass.los.map(|time| time.to_string()),
        duration_s: pass.duration_s,
        elevation_deg_max: pass.elevation_deg_max,
        azimuth_deg_aos: pass.azimuth_deg_aos,
        azimuth_deg_tca: pass.azimuth_deg_tca,
        azimuth_deg_los: pass.azimuth_deg_los,
        range_km_tca: pass.range_km_tca,
        range_rate_km_s_aos: pass.range_rate_km_s_aos,
        range_rate_km_s_tca: pass.range_rate_km_s_tca,
        range_rate_km_s_los: pass.range_rate_km_s_los,
        maintenance: pass.maintenance.as_deref(),
    }
}
