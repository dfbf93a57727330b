//! `pass list`: the passes of what is registered.

use anyhow::Result;
use tetryx_protocol::api::{PassInfo, PassesQuery};

use super::{calendar, csv};
use crate::args::PassList;
use crate::context::Context;
use crate::{clock, render};

/// Runs the command; `false` if there is no pass.
pub(crate) async fn list(context: &Context, args: PassList) -> Result<bool> {
    let query = PassesQuery {
        satellite: args.satellite,
        station: args.station,
        from: args.from,
        hours: Some(args.hours),
        min_elevation: args.min_elevation,
    };
    let found = context.server()?.client.passes(&query).await?;
    for warning in &found.warnings {
        context.render.talk(warning);
    }
    if args.ical {
        context.render.data(&calendar::of(&found, clock::utc_now()))?;
    } else if args.csv {
        context.render.data(&csv::of(&found.passes)?)?;
    } else if context.render.is_json() {
        context.render.json(&found.passes)?;
    } else if !found.passes.is_empty() {
        context.render.data(&table(&found.passes))?;
    }
    if found.passes.is_empty() {
        context.render.talk("no pass is in this window");
    }
    Ok(!found.passes.is_empty())
}

/// A row for each pass.
pub(super) fn table(passes: &[PassInfo]) -> String {
    let time = |time| render::utc(time);
    let unknown = || "-".to_owned();
    let azimuth = |degrees: f64| format!("{degrees:.0}°");
    let rows: Vec<[String; 9]> = passes
        .iter()
        .map(|pass| {
            [
                pass.satellite.to_string(),
                pass.station.to_string(),
                pass.aos.map_or_else(unknown, time),
                time(pass.tca),
                pass.los.map_or_else(unknown, time),
                format!("{:.1}°", pass.elevation_deg_max),
                pass.azimuth_deg_aos.map_or_else(unknown, azimuth),
                pass.azimuth_deg_los.map_or_else(unknown, azimuth),
                remarks(pass),
            ]
        })
        .collect();
    let head = [
        "SATELLITE",
        "STATION",
        "AOS (UTC)",
        "TCA (UTC)",
        "LOS (UTC)",
        "MAX EL",
        "AZ AOS",
        "AZ LOS",
        "ANTENNAS",
    ];
    render::table(head, &rows)
}

fn remarks(pass: &PassInfo) -> String {
    let antennas: Vec<&str> = pass.antennas.iter().map(|name| name.as_str()).collect();
    let antennas = antennas.join(" ");
    match &pass.maintenance {
        Some(reason) => format!("{antennas} (maintenance: {reason})"),
        None => antennas,
    }
}
