//! `station add|update|list|show|remove|maintenance`.

use anyhow::{Result, bail};
use tetryx_protocol::api::{AntennaInfo, PutStationRequest, SiteInfo, StationInfo};
use tetryx_protocol::ground::{Expected, Maintenance, StationName};
use tetryx_protocol::id::NodeId;
use tetryx_station::site::Site;

use crate::args::{Equipment, StationCommand};
use crate::context::Context;
use crate::reference::NodeRef;
use crate::{nodes, render};

/// The antenna of a station of which nobody said anything.
const ANTENNA: &str = "main";

/// Runs the command; `false` if it names a node that is not there.
pub(crate) async fn run(context: &Context, command: StationCommand) -> Result<bool> {
    match command {
        StationCommand::Add {
            name,
            site,
            mut equipment,
        } => {
            if equipment.antennas.is_empty() {
                equipment
                    .antennas
                    .push(ANTENNA.parse().map_err(anyhow::Error::msg)?);
            }
            put(context, &name, Some(site), equipment, false, Expected::New).await
        }
        StationCommand::Update {
            name,
            site,
            mut equipment,
            no_node,
        } => {
            if equipment.antennas.is_empty() && equipment.mask.is_some() {
                equipment
                    .antennas
                    .push(ANTENNA.parse().map_err(anyhow::Error::msg)?);
            }
            put(context, &name, site, equipment, no_node, Expected::Existing).await
        }
        StationCommand::List => {
            let list = context.server()?.client.stations().await?;
            context
                .render
                .either(&list.stations, |stations| list_text(stations))?;
            Ok(true)
        }
        StationCommand::Show { name } => {
            let station = context.server()?.client.station(&name).await?;
            context.render.either(&station, show_text)?;
            Ok(true)
        }
        StationCommand::Remove { name } => {
            let server = context.server()?;
            server.client.remove_station(&name).await?;
            context
                .render
                .talk(&format!("🗑️ Removed station \"{name}\" from \"{}\"", server.name));
            Ok(true)
        }
        StationCommand::Maintenance {
            name,
            from,
            to,
            reason,
            remove,
        } => {
            let client = context.server()?.client;
            let station = match (remove, to, reason) {
                (true, ..) => client.remove_maintenance(&name, from).await?,
                (false, Some(to), Some(reason)) => {
                    client
                        .put_maintenance(&name, &Maintenance { from, to, reason })
                        .await?
                }
                (false, ..) => bail!("a maintenance has an end and a reason; give --to and --reason"),
            };
            context.render.talk(&format!(
                "🔧 Station \"{name}\" has {}",
                render::count(
                    u64::try_from(station.maintenance.len()).unwrap_or(u64::MAX),
                    "maintenance window"
                )
            ));
            if context.render.is_json() {
                context.render.json(&station)?;
            }
            Ok(true)
        }
    }
}

async fn put(
    context: &Context,
    name: &StationName,
    site: Option<Site>,
    equipment: Equipment,
    without_node: bool,
    expected: Expected,
) -> Result<bool> {
    let antennas = (!equipment.antennas.is_empty())
        .then(|| antennas(&equipment))
        .transpose()?;
    let server = context.server()?;
    let node = match &equipment.node {
        None => None,
        Some(node) => match find(context, node).await? {
            Some(node) => Some(node),
            None => return Ok(false),
        },
    };
    let request = PutStationRequest {
        site: site.map(|site| SiteInfo {
            latitude_deg: site.latitude_deg(),
            longitude_deg: site.longitude_deg(),
            altitude_m: site.altitude_m(),
        }),
        antennas,
        node,
        without_node,
    };
    if request == PutStationRequest::default() {
        bail!("nothing to change; name --site, --antenna, --mask, --node or --no-node");
    }
    let station = server.client.put_station(name, expected, &request).await?;
    context.render.talk(&format!(
        "📡 Station \"{name}\" is registered on \"{}\"",
        server.name
    ));
    if context.render.is_json() {
        context.render.json(&station)?;
    }
    Ok(true)
}

async fn find(context: &Context, node: &NodeRef) -> Result<Option<NodeId>> {
    let server = context.server()?;
    let member = nodes::find(context, &server, node).await?;
    Ok(member.map(|member| member.node))
}

fn antennas(equipment: &Equipment) -> Result<Vec<AntennaInfo>> {
    let antennas = equipment.antennas.iter().map(|spec| {
        let mut antenna = AntennaInfo::new(spec.name.clone());
        if let Some(mask) = spec.mask.as_ref().or(equipment.mask.as_ref()) {
            let mask = super::mask(mask)?;
            antenna.horizon_deg = mask.points().iter().map(|point| [point.0, point.1]).collect();
        }
        antenna.azimuth_deg = spec.azimuth_deg.unwrap_or(antenna.azimuth_deg);
        antenna.elevation_deg = spec.elevation_deg.unwrap_or(antenna.elevation_deg);
        antenna.slew_rate_deg_s = spec.slew_rate_deg_s.unwrap_or(antenna.slew_rate_deg_s);
        Ok(antenna)
    });
    antennas.collect()
}

fn list_text(stations: &[StationInfo]) -> String {
    let rows: Vec<[String; 5]> = stations
        .iter()
        .map(|station| {
            let antennas: Vec<&str> = station
                .antennas
                .iter()
                .map(|antenna| antenna.name.as_str())
                .collect();
            [
                station.name.to_string(),
                site_text(&station.site),
                antennas.join(", "),
                station
                    .node
                    .map_or_else(|| "-".to_owned(), |node| node.fmt_short()),
                station.maintenance.len().to_string(),
            ]
        })
        .collect();
    let head = ["STATION", "SITE (°N, °E, m)", "ANTENNAS", "NODE", "MAINTENANCE"];
    render::table(head, &rows)
}

fn site_text(site: &SiteInfo) -> String {
    format!(
        "{}, {}, {}",
        site.latitude_deg, site.longitude_deg, site.altitude_m
    )
}

fn show_text(station: &StationInfo) -> String {
    let fields = render::fields(&[
        ("Station", station.name.to_string()),
        ("Site", format!("{} (°N, °E, m)", site_text(&station.site))),
        (
            "Node",
            station
                .node
                .map_or_else(|| "-".to_owned(), |node| node.to_string()),
        ),
        ("Registered", format!("{} UTC", render::utc(station.created))),
    ]);
    let rows: Vec<[String; 5]> = station.antennas.iter().map(antenna_row).collect();
    let head = [
        "ANTENNA",
        "HORIZON (°)",
        "AZIMUTH (°)",
        "ELEVATION (°)",
        "SLEW (°/s)",
    ];
    let mut parts = vec![fields];
    if !rows.is_empty() {
        parts.push(render::table(head, &rows));
    }
    let rows: Vec<[String; 3]> = station
        .maintenance
        .iter()
        .map(|one| [render::utc(one.from), render::utc(one.to), one.reason.clone()])
        .collect();
    if !rows.is_empty() {
        parts.push(render::table(
            ["NOT USED FROM (UTC)", "TO (UTC)", "REASON"],
            &rows,
        ));
    }
    parts.join("\n\n")
}

fn antenna_row(antenna: &AntennaInfo) -> [String; 5] {
    let range = |[low, high]: [f64; 2]| format!("{low} to {high}");
    let horizon = match antenna.horizon_deg.as_slice() {
        [[_, elevation]] => format!("{elevation}"),
        points => render::count(u64::try_from(points.len()).unwrap_or(u64::MAX), "point"),
    };
    [
        antenna.name.to_string(),
        horizon,
        range(antenna.azimuth_deg),
        range(antenna.elevation_deg),
        format!("{}/{}", antenna.slew_rate_deg_s[0], antenna.slew_rate_deg_s[1]),
    ]
}
