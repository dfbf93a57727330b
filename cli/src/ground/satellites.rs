//! `satellite add|update|list|show|remove`.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use tetryx_protocol::api::{PutSatelliteRequest, SatelliteDetails, SatelliteInfo};
use tetryx_protocol::ground::{Expected, Link, SatelliteName};

use super::passes;
use crate::args::SatelliteCommand;
use crate::context::Context;
use crate::{frequency, render, specs};

/// Runs the command.
pub(crate) async fn run(context: &Context, command: SatelliteCommand) -> Result<()> {
    match command {
        SatelliteCommand::Add {
            name,
            elements,
            mission,
            links,
        } => {
            let request = PutSatelliteRequest {
                mission: Some(mission),
                links: Some(specs::links(&links)),
                elements: Some(text(&elements)?),
            };
            put(context, &name, Expected::New, &request).await
        }
        SatelliteCommand::Update {
            name,
            elements,
            mission,
            links,
            no_links,
        } => {
            let request = PutSatelliteRequest {
                mission,
                links: (no_links || !links.is_empty()).then(|| specs::links(&links)),
                elements: elements.as_deref().map(text).transpose()?,
            };
            if request == PutSatelliteRequest::default() {
                bail!("nothing to change; name --elements, --mission, --link or --no-links");
            }
            put(context, &name, Expected::Existing, &request).await
        }
        SatelliteCommand::List => {
            let list = context.server()?.client.satellites().await?;
            for satellite in &list.satellites {
                warn(context, satellite);
            }
            context
                .render
                .either(&list.satellites, |satellites| list_text(satellites))
        }
        SatelliteCommand::Show { name } => {
            let details = context.server()?.client.satellite(&name).await?;
            warn(context, &details.info);
            context.render.either(&details, show_text)
        }
        SatelliteCommand::Remove { name } => {
            let server = context.server()?;
            server.client.remove_satellite(&name).await?;
            context.render.talk(&format!(
                "🗑️ Removed satellite \"{name}\" from \"{}\"",
                server.name
            ));
            Ok(())
        }
    }
}

fn text(path: &Path) -> Result<String> {
    String::from_utf8(super::read(path)?)
        .with_context(|| format!("{} is not UTF-8; save it as UTF-8", path.display()))
}

async fn put(
    context: &Context,
    name: &SatelliteName,
    expected: Expected,
    request: &PutSatelliteRequest,
) -> Result<()> {
    let server = context.server()?;
    let satellite = server.client.put_satellite(name, expected, request).await?;
    context.render.talk(&format!(
        "🛰️ Satellite \"{}\" ({}) is registered on \"{}\"",
        satellite.name, satellite.catalogue_number, server.name
    ));
    warn(context, &satellite);
    if context.render.is_json() {
        context.render.json(&satellite)?;
    }
    Ok(())
}

fn warn(context: &Context, satellite: &SatelliteInfo) {
    if let Some(warning) = &satellite.warning {
        context.render.talk(warning);
    }
}

fn list_text(satellites: &[SatelliteInfo]) -> String {
    let rows: Vec<[String; 6]> = satellites
        .iter()
        .map(|satellite| {
            [
                satellite.name.to_string(),
                satellite.catalogue_number.to_string(),
                satellite.mission.to_string(),
                render::utc(satellite.epoch),
                format!("{:.1}", satellite.elements_age_days),
                links_text(&satellite.links),
            ]
        })
        .collect();
    let head = [
        "SATELLITE",
        "NUMBER",
        "MISSION",
        "EPOCH (UTC)",
        "AGE (DAYS)",
        "LINKS",
    ];
    render::table(head, &rows)
}

fn links_text(links: &[Link]) -> String {
    let links = links.iter().map(|link| {
        let frequency = frequency::print(link.frequency_hz);
        if link.name.as_str() == link.direction.to_string() {
            format!("{} {frequency}", link.direction)
        } else {
            format!("{} {} {frequency}", link.name, link.direction)
        }
    });
    links.collect::<Vec<_>>().join(", ")
}

fn show_text(details: &SatelliteDetails) -> String {
    let info = &details.info;
    let fields = render::fields(&[
        ("Satellite", info.name.to_string()),
        ("Number", info.catalogue_number.to_string()),
        ("Mission", info.mission.to_string()),
        ("Links", links_text(&info.links)),
        ("Elements of", format!("{} UTC", render::utc(info.epoch))),
        ("Age", format!("{:.1} days", info.elements_age_days)),
        (
            "Kept",
            render::count(
                u64::try_from(details.history.len()).unwrap_or(u64::MAX),
                "element set",
            ),
        ),
        ("Registered", format!("{} UTC", render::utc(info.created))),
    ]);
    if details.passes.is_empty() {
        return format!("{fields}\n\nNo station sees it within a day.");
    }
    format!("{fields}\n\n{}", passes::table(&details.passes))
}
