//! The harness tried on itself: a claim that does not hold is seen not to hold.

use anyhow::{Result, bail, ensure};

use super::Story;
use crate::cluster::{CACHE, Ledger, name};

pub(super) fn run(story: &Story) -> Result<()> {
    let cluster = story.cluster(1)?;
    let mut ledger = Ledger::default();
    let paths = cluster.make_paths("promised", 2, 50_000)?;
    cluster.pusher().push_all(0, &paths, &mut ledger)?;
    story.kept(&cluster, &ledger, &[0])?;
    story.when("an acknowledged path is deleted")?;
    let target = format!("{}:{CACHE}", name(0));
    cluster.cli(0, ["path", "delete", &target, &paths[0]])?;
    story.then("it is missed", || {
        let Err(missed) = ledger.expect_kept(&cluster, &[0]) else {
            bail!("nobody misses it");
        };
        let base = paths[0].rsplit('/').next().unwrap_or_default();
        let said = format!("{missed:#}");
        ensure!(said.contains(base), "{said}");
        Ok(())
    })?;
    story.then("and Nix does not get it", || {
        ensure!(
            ledger.expect_served(&cluster, 0).is_err(),
            "Nix gets a deleted path"
        );
        Ok(())
    })
}
