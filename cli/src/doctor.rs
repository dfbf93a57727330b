//! `doctor`: what is wrong with a server, and what to do about it.

use anyhow::Result;
use tetryx_protocol::api::{CheckState, DoctorCheck, DoctorReport};

use crate::context::Context;
use crate::render;

/// Prints the checks; `false` if something is damaged and could not be healed.
pub(crate) async fn run(context: &Context) -> Result<bool> {
    let server = context.server()?;
    let report = server.client.doctor().await?;
    context.render.either(&report, text)?;
    Ok(!report.is_damaged())
}

fn text(report: &DoctorReport) -> String {
    let rows: Vec<[String; 3]> = report.checks.iter().map(row).collect();
    let mut text = render::table(["CHECK", "STATE", "FOUND"], &rows);
    for check in &report.checks {
        if let Some(fix) = &check.fix {
            text.push_str(&format!("\n{}: {fix}", check.name));
        }
    }
    text
}

fn row(check: &DoctorCheck) -> [String; 3] {
    let state = match check.state {
        CheckState::Ok => "ok",
        CheckState::Warning => "warning",
        CheckState::Damage => "DAMAGE",
    };
    [check.name.clone(), state.to_owned(), check.evidence.clone()]
}
