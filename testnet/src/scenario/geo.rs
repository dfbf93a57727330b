//! Two of five stations are behind satellites 36,000 km up.

use std::time::Duration;

use anyhow::Result;

use super::{Story, config};
use crate::cluster::{Cluster, Ledger, Shape, name};
use crate::emulator::Profile;

/// For a cluster on such links to be of one mind.
const AGREEMENT: Duration = Duration::from_secs(180);

pub(super) fn run(story: &Story) -> Result<()> {
    story.given("a cluster of 5 stations")?;
    let cluster = Cluster::start(Shape {
        config: Some(config("geo")),
        ..story.shape(5)
    })?;
    cluster.make_cache()?;
    let pusher = cluster.pusher();
    let mut ledger = Ledger::default();

    story.when(&format!(
        "{} and {} go behind links of 600 ms, 1 % loss and 10 Mbit/s, the others behind fibre",
        name(3),
        name(4)
    ))?;
    cluster.links()?.set_all(Profile::Fibre);
    for far in [3, 4] {
        cluster.set_profile(far, Profile::Geo)?;
    }
    story.then("pushes at a near station are acknowledged", || {
        pusher.push_all(0, &cluster.make_paths("near", 4, 300_000)?, &mut ledger)
    })?;
    story.then("pushes at a far station are acknowledged", || {
        pusher.push_all(4, &cluster.make_paths("far", 3, 200_000)?, &mut ledger)
    })?;
    story.then(
        "the stations come to agree: one leader, one list, equal hashes of the state",
        || cluster.agree_audited(AGREEMENT),
    )?;
    story.kept(&cluster, &ledger, &[0, 3, 4])
}
