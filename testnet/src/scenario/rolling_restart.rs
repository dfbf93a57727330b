//! Every station is restarted in turn, as for a new version.

use std::time::Duration;

use anyhow::Result;

use super::Story;
use crate::cluster::name;

const HANGS: Duration = Duration::from_secs(60);

pub(super) fn run(story: &Story) -> Result<()> {
    let mut cluster = story.cluster(3)?;
    let load = cluster
        .pusher()
        .load(&[0, 1, 2], cluster.make_paths("stream", 60, 100_000)?);
    load.wait_for_more(4, HANGS)?;
    for number in 0..cluster.len() {
        story.when(&format!(
            "{} is stopped in good order, and started again",
            name(number)
        ))?;
        cluster.station_mut(number).stop()?;
        cluster.station_mut(number).start_again()?;
        story.then("it is of use again, and pushes go on", || {
            cluster.station(number).wait_ready()?;
            cluster.agree_on_leader()?;
            load.wait_for_more(3, HANGS)
        })?;
    }
    story.note(&format!(
        "{} paths were acknowledged meanwhile; {} pushes had to be tried elsewhere",
        load.acknowledged(),
        load.failures()
    ))?;
    let ledger = load.stop()?;
    story.ends_well(&cluster, &ledger)
}
