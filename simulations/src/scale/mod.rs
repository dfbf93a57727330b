//! Many stations: how fast presence, the log and data spread among 50 to 200 of them, some on geostationary links.
//!
//! Real nodes over links, gossip and disks in memory, in virtual time, without faults but one: a third of the stations
//! is cut off for ten minutes. What is measured of gossip, log and data is drawn as curves ([`Findings::draw`]) and put
//! into a table ([`Findings::table`]).
//!
//! # Invariants
//! - The same stations and seed give the same figures.
//! - Nothing is measured by asking over the links that are measured: what a station knows is read from it.
//!
//! # Non-goals
//! - Faults and promises: [`crate::world`].
//! - How long the product's code takes: virtual time stands still while it works.

mod curve;
mod data;
mod gossip;
mod log;
mod plot;
mod table;
mod town;
mod upkeep;

use std::path::Path;
use std::time::Duration;

pub use self::curve::Curve;
use self::data::Copying;
use self::gossip::Listening;
use self::log::Following;
use self::town::Town;
use self::upkeep::Counts;
pub use self::upkeep::Upkeep;

/// How many stations, and which chance.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    pub stations: usize,
    pub seed: u64,
    /// How many of them vote.
    pub voters: usize,
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Findings {
    pub scale: Scale,
    /// Stations behind geostationary satellites.
    pub far: usize,
    /// Presences heard.
    pub gossip: Vec<Curve>,
    /// Entries of the log applied.
    pub log: Vec<Curve>,
    /// NARs held by those who should hold them.
    pub data: Vec<Curve>,
    /// Virtual time that passed.
    pub lived: Duration,
    /// What keeping in touch costs.
    pub upkeep: Upkeep,
}

impl Scale {
    /// As many as asked for; five of them vote, seven from a hundred on.
    pub fn new(stations: usize, seed: u64) -> Self {
        let voters = if stations < 100 { 5 } else { 7 };
        Self {
            stations,
            seed,
            voters: voters.min(stations),
        }
    }
}

/// Time for a new cluster to become quiet.
const REST: Duration = Duration::from_secs(60);
/// How long presences are listened to, and how many of the last ones are still on their way then.
const LISTEN: Duration = Duration::from_secs(60);
const LISTEN_ON: Duration = Duration::from_secs(20);
const COMMITS: u64 = 20;
const PUSHES: u64 = 40;
/// How long a third is away, and what happens meanwhile.
const AWAY: Duration = Duration::from_secs(600);
const COMMITS_MEANWHILE: u64 = 20;
/// Between two looks at what comes back.
const LOOK: Duration = Duration::from_millis(50);
/// How long anything may take to reach everybody.
const PATIENCE: Duration = Duration::from_secs(600);

/// Builds the cluster and measures, and tells how far it is. Once in a process, as
/// [`live_in_this_process`](crate::runner::live_in_this_process).
///
/// # Errors
/// In words: what the cluster did not do.
pub fn measure(
    scale: Scale,
    tell: &mut (dyn FnMut(&str) + Send),
    seed_process: fn(u64),
) -> Result<Findings, String> {
    seed_process(scale.seed);
    std::thread::scope(|scope| {
        let measuring = scope.spawn(|| measure_on_this_thread(scale, tell));
        measuring
            .join()
            .map_err(|_| "the measurement panicked".to_owned())?
    })
}

fn measure_on_this_thread(scale: Scale, tell: &mut (dyn FnMut(&str) + Send)) -> Result<Findings, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .map_err(|error| error.to_string())?;
    runtime.block_on(measure_in_time(scale, tell))
}

async fn measure_in_time(scale: Scale, tell: &mut (dyn FnMut(&str) + Send)) -> Result<Findings, String> {
    let town = Town::build(&scale).await?;
    let say = |what: &str| format!("{:7.1} s: {what}", town.world.now().as_secs_f64());
    tell(&say("everybody has joined"));
    town.come_to_rest(PATIENCE).await?;
    data::create_cache(&town).await?;
    tokio::time::sleep(REST).await;

    let is_far = |at: usize| town.residents[at].is_far();
    tell(&say("listening to presences"));
    let counts = Counts::begin(&town);
    let mut listening = Listening::to_some(&town);
    listening.look(&town);
    let from = town.world.now();
    listening.look_for(&town, LISTEN).await;
    let to = town.world.now();
    listening.look_for(&town, LISTEN_ON).await;
    let heard = |is: bool| listening.delays(from..to, |at| is_far(at) == is);
    let mut gossip = vec![
        Curve::of("on the ground", heard(false)),
        Curve::of("by satellite", heard(true)),
    ];
    let upkeep = counts.end(&town);

    tell(&say("committing"));
    let applied = log::watch_commits(&town, COMMITS).await?;
    let split = |is: bool| {
        applied
            .iter()
            .filter(move |(at, _)| is_far(*at) == is)
            .map(|(_, delay)| *delay)
    };
    let mut log = vec![
        Curve::of("on the ground", split(false)),
        Curve::of("by satellite", split(true)),
    ];

    tell(&say("pushing"));
    let copying = push_and_watch(&town).await?;
    let mut data = vec![
        Curve::of("on the ground", copying.delays(|at| !is_far(at))),
        Curve::of("by satellite", copying.delays(is_far)),
    ];

    let [again_gossip, again_log, again_data] = go_away_and_return(&town, tell).await?;
    gossip.push(again_gossip);
    log.push(again_log);
    data.push(again_data);
    tell(&say("done"));
    Ok(Findings {
        scale,
        far: town.residents.iter().filter(|resident| resident.is_far()).count(),
        gossip,
        log,
        data,
        lived: town.world.now(),
        upkeep,
    })
}

/// Pushes NARs here and there, and watches their copies until all are there.
async fn push_and_watch(town: &Town) -> Result<Copying, String> {
    let mut chance = town.world.chance("who pushes");
    let mut copying = Copying::nothing();
    for number in 0..PUSHES {
        let at = chance.usize(0..town.residents.len());
        let pushed = {
            let mut pushing = std::pin::pin!(data::push(town, at, number));
            loop {
                tokio::select! {
                    biased;
                    pushed = &mut pushing => break pushed?,
                    () = tokio::time::sleep(LOOK) => copying.look(town)?,
                }
            }
        };
        copying.add(town, &pushed)?;
        copying.look(town)?;
    }
    let until = town.world.now() + PATIENCE;
    while !copying.is_whole() && town.world.now() < until {
        tokio::time::sleep(LOOK).await;
        copying.look(town)?;
    }
    Ok(copying)
}

/// Cuts a third of the stations off, lets the others work, and watches the third come back: gossip, log, data.
async fn go_away_and_return(town: &Town, tell: &mut (dyn FnMut(&str) + Send)) -> Result<[Curve; 3], String> {
    let say = |what: &str| format!("{:7.1} s: {what}", town.world.now().as_secs_f64());
    let away = town.draw_third();
    let present: Vec<usize> = (0..town.residents.len())
        .filter(|at| !away.contains(at))
        .collect();
    tell(&say("a third is cut off"));
    town.set_away(&away, true);
    let back_at = town.world.now() + AWAY;
    let mut chance = town.world.chance("who works meanwhile");
    let mut copying = Copying::nothing();
    for number in 0..COMMITS_MEANWHILE {
        tokio::time::sleep(AWAY / 2 / u32::try_from(COMMITS_MEANWHILE).unwrap_or(u32::MAX)).await;
        let mut somebody = || present[chance.usize(0..present.len())];
        // An election may be under way: what is not decided is of no interest here.
        if log::commit(town, somebody(), 1_000 + number).await.is_ok()
            && let Ok(pushed) = data::push(town, somebody(), 1_000 + number).await
        {
            copying.add(town, &pushed)?;
        }
    }
    tokio::time::sleep(back_at.saturating_sub(town.world.now())).await;
    copying.look(town)?;
    let last = present
        .iter()
        .map(|at| town.residents[*at].node().replica().applied_index());
    let last = last.max().unwrap_or(0);
    let mut following = Following::from_now(town);
    let mut listening = Listening::to((0..town.residents.len()).collect());
    tell(&say("the third is back"));
    town.set_away(&away, false);
    let since = town.world.now();
    copying.begin_anew(since);
    let crosses = |listener: usize, author: usize| away.contains(&listener) || away.contains(&author);
    for look in 1_u32.. {
        tokio::time::sleep(LOOK).await;
        following.look(town);
        if look % 8 == 0 {
            listening.look(town);
            copying.look(town)?;
            let all_hear = || {
                let delays = listening.delays_since(town, since, crosses);
                delays.iter().all(Option::is_some)
            };
            let applied = away.iter().all(|at| following.has(*at, last));
            let is_over = applied && copying.is_whole() && (look % 80 == 0 && all_hear());
            if is_over || town.world.now() >= since + PATIENCE {
                break;
            }
        }
    }
    let name = "after a third was away for 10 min";
    let applied = away
        .iter()
        .map(|at| following.when(*at, last).map(|when| when.saturating_sub(since)));
    Ok([
        Curve::of(name, listening.delays_since(town, since, crosses)),
        Curve::of(name, applied),
        Curve::of(name, copying.delays(|_| true)),
    ])
}

impl Findings {
    /// Whether everything reached everybody.
    pub fn is_whole(&self) -> bool {
        let all = [&self.gossip, &self.log, &self.data];
        all.into_iter()
            .flatten()
            .all(|curve| curve.total() == 0 || curve.is_whole())
    }

    /// Draws `scale-gossip.svg`, `scale-log.svg` and `scale-data.svg` into a folder.
    ///
    /// # Errors
    /// When one cannot be written; in words.
    pub fn draw(&self, folder: &Path) -> Result<(), String> {
        let count = self.scale.stations;
        let draw = |file: &str, what: &str, curves: &[Curve]| {
            plot::draw(&folder.join(file), &format!("{what} ({count} stations)"), curves)
        };
        draw(
            "scale-gossip.svg",
            "Stations that know a new presence",
            &self.gossip,
        )?;
        draw("scale-log.svg", "Stations that applied a commit", &self.log)?;
        draw("scale-data.svg", "Holders that hold a pushed NAR", &self.data)
    }

    /// The figures as a table in Markdown.
    pub fn table(&self) -> String {
        table::write(self)
    }
}
