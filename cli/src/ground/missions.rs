//! `mission add|update|list|show|remove`.

use anyhow::{Result, bail};
use tetryx_protocol::api::{MissionInfo, PutMissionRequest};
use tetryx_protocol::ground::Expected;

use crate::args::{MissionCommand, MissionPut};
use crate::context::Context;
use crate::render;

/// Runs the command.
pub(crate) async fn run(context: &Context, command: MissionCommand) -> Result<()> {
    match command {
        MissionCommand::Add(args) => put(context, args, Expected::New).await,
        MissionCommand::Update(args) => put(context, args, Expected::Existing).await,
        MissionCommand::List => {
            let list = context.server()?.client.missions().await?;
            context
                .render
                .either(&list.missions, |missions| list_text(missions))
        }
        MissionCommand::Show { name } => {
            let mission = context.server()?.client.mission(&name).await?;
            context.render.either(&mission, show_text)
        }
        MissionCommand::Remove { name } => {
            let server = context.server()?;
            server.client.remove_mission(&name).await?;
            context
                .render
                .talk(&format!("🗑️ Removed mission \"{name}\" from \"{}\"", server.name));
            Ok(())
        }
    }
}

async fn put(context: &Context, args: MissionPut, expected: Expected) -> Result<()> {
    if expected == Expected::Existing && args.priority.is_none() && args.note.is_none() {
        bail!("nothing to change; name --priority or --note");
    }
    let server = context.server()?;
    let request = PutMissionRequest {
        priority: args.priority,
        note: args.note,
    };
    let mission = server.client.put_mission(&args.name, expected, &request).await?;
    context.render.talk(&format!(
        "🚀 Mission \"{}\" is registered on \"{}\"",
        mission.name, server.name
    ));
    if context.render.is_json() {
        context.render.json(&mission)?;
    }
    Ok(())
}

fn list_text(missions: &[MissionInfo]) -> String {
    let rows: Vec<[String; 4]> = missions
        .iter()
        .map(|mission| {
            [
                mission.name.to_string(),
                mission.priority.to_string(),
                mission.satellites.len().to_string(),
                mission.note.clone(),
            ]
        })
        .collect();
    render::table(["MISSION", "PRIORITY", "SATELLITES", "NOTE"], &rows)
}

fn show_text(mission: &MissionInfo) -> String {
    let satellites: Vec<&str> = mission.satellites.iter().map(|name| name.as_str()).collect();
    render::fields(&[
        ("Mission", mission.name.to_string()),
        ("Priority", mission.priority.to_string()),
        ("Note", mission.note.clone()),
        ("Satellites", satellites.join(", ")),
        ("Registered", format!("{} UTC", render::utc(mission.created))),
    ])
}
