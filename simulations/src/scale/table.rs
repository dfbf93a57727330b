//! The figures as a table.

use std::fmt::Write;
use std::time::Duration;

use super::{Curve, Findings};

/// Shares that the table names, in thousandths.
const SHARES: [(usize, &str); 4] = [(500, "half"), (900, "90 %"), (990, "99 %"), (1_000, "all")];

pub(super) fn write(findings: &Findings) -> String {
    let mut table = String::new();
    let names: String = SHARES.iter().map(|(_, name)| format!(" {name} |")).collect();
    let (scale, upkeep) = (findings.scale, &findings.upkeep);
    let _ = writeln!(
        table,
        "{} stations, {} of them by geostationary satellites, {} voters; seed {}.\n",
        scale.stations, findings.far, scale.voters, scale.seed
    );
    let _ = writeln!(
        table,
        "| what | where | of |{names}\n|---|---|---:|---:|---:|---:|---:|"
    );
    let parts = [
        ("a presence is known", &findings.gossip),
        ("a commit is applied", &findings.log),
        ("a holder holds a NAR", &findings.data),
    ];
    for (what, curves) in parts {
        for curve in curves {
            let times: String = SHARES
                .iter()
                .map(|(permille, _)| format!(" {} |", time(curve, *permille)))
                .collect();
            let _ = writeln!(table, "| {what} | {} | {} |{times}", curve.name, curve.total());
        }
    }
    let _ = writeln!(
        table,
        "\nIn a minute at rest, each station announces {:.0} presences and sends {:.0} messages of gossip; the log grows by \
         {:.0} entries. Calls of each station in that minute:\n\n| for | calls | bytes |\n|---|---:|---:|",
        upkeep.announced, upkeep.sent, upkeep.entries
    );
    for (what, (calls, bytes)) in &upkeep.calls {
        let _ = writeln!(table, "| {what} | {calls:.1} | {bytes:.0} |");
    }
    table
}

fn time(curve: &Curve, permille: usize) -> String {
    match curve.after(permille) {
        Some(after) if after < Duration::from_secs(10) => format!("{:.2} s", after.as_secs_f64()),
        Some(after) => format!("{:.0} s", after.as_secs_f64()),
        None => "never".to_owned(),
    }
}
