//! Each injector has its fault happen, in a short world with nothing else.

use std::collections::BTreeSet;
use std::time::Duration;

use super::super::clients::Clients;
use super::super::{Fault, LinkClass, Plan, World, run};
use super::start;

/// How long an injector may take: a cut that hits nobody, or a liar whom nobody asks, is no fault yet.
const PATIENCE: Duration = Duration::from_secs(40 * 60);

/// Lives until the fault has happened; panics if it does not, or a promise is broken meanwhile.
async fn happens(fault: Fault) {
    let plan = Plan {
        stations: 3,
        duration: Duration::from_secs(120),
        links: LinkClass::Fibre,
        faults: BTreeSet::from([fault]),
        fault_every: Duration::from_secs(60),
        request_every: Duration::from_secs(8),
    };
    let world = World::with_plan(7, plan, false);
    run::found(&world).await.unwrap();
    let mut clients = Clients::prepare(&world).await.unwrap();
    world.inner.calm.send_replace(false);
    clients.begin(&world);
    let _injectors = start(&world);
    let began = world.now();
    while world.counted(fault.name()) == 0 {
        assert!(world.now() - began < PATIENCE, "{fault} does not happen");
        tokio::time::sleep(Duration::from_secs(1)).await;
        let violation = world.inner.violation.lock().clone();
        assert_eq!(violation, None, "{fault}");
    }
}

macro_rules! each_happens {
    ($($name:ident: $fault:ident,)*) => {
        $(
            #[tokio::test(start_paused = true)]
            async fn $name() {
                happens(Fault::$fault).await;
            }
        )*
    };
}

each_happens! {
    a_bit_flips: BitFlip,
    a_blackout_is_noticed: Blackout,
    a_clock_drifts: ClockDrift,
    a_clock_is_set_wrong: ClockOffset,
    a_cut_in_both_directions_is_noticed: FullCut,
    a_cut_in_one_direction_is_noticed: OneWayCut,
    a_disk_is_full: DiskFull,
    a_disk_is_lost: LostDisk,
    a_disk_is_slow: SlowDisk,
    a_disk_stops_in_mid_write: CrashMidWrite,
    a_liar_is_heard: LyingPeer,
    a_release_is_installed_everywhere: Upgrade,
    a_station_crashes: Crash,
    a_station_joins: Membership,
    a_station_stands_still: Pause,
    a_sync_fails: FailingSync,
    a_write_is_torn: TornWrite,
    an_operator_acts: Operators,
}
