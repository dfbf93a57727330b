//! Several stations in one cluster, and everybody who works with them.

mod ledger;
mod load;
mod shape;

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use ureq::http::Method;

use crate::emulator::{Emulator, Profile};
use crate::folders::{self, Temporary};
use crate::net::Net;
use crate::patience;
use crate::station::{Joining, Settings, Station};
use crate::store::PrivateStore;
use crate::user::User;
use crate::world::{Cache, log_in};

pub use ledger::Ledger;
pub use load::{Load, Pusher};
pub use shape::{Complaints, Shape};

/// Names for stations, in the order of their numbers; more are called by their number.
const NAMES: [&str; 7] = [
    "svalbard", "hawaii", "punta", "perth", "kiruna", "troll", "dongara",
];

/// The cache that everybody pushes to.
pub const CACHE: &str = "mission-alpha";

/// After how many changes the stations of scenarios compare their states.
pub const AUDIT_EVERY: u64 = 20;

/// So many of a station's last complaints are kept.
const COMPLAINTS: usize = 25;

/// How long a cluster may take to become of one mind, on links without delay.
pub const AGREEMENT: Duration = Duration::from_secs(90);

/// Stations of one cluster. They are counted from 0.
#[derive(Debug)]
pub struct Cluster {
    stations: Vec<Station>,
    operator: Arc<User>,
    store: Arc<PrivateStore>,
    net: Net,
    shape: Shape,
    // Last: everything else lies in it.
    folder: Temporary,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for (number, station) in self.stations.iter().enumerate() {
            let log = station.log();
            let serious = log
                .iter()
                .filter(|line| line.contains(" WARN ") || line.contains(" ERROR "));
            let last: Vec<_> = serious.rev().take(COMPLAINTS).collect();
            let lines = last.into_iter().rev();
            self.shape
                .complaints
                .add(lines.map(|line| format!("{}: {line}", name(number))));
        }
    }
}

impl Cluster {
    /// The first station of a cluster, and hosts for the others.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn found(shape: Shape) -> Result<Self> {
        let folder = folders::temporary("cluster-")?;
        let net = Net::new(shape.hosts.max(shape.stations), shape.footing, shape.seed)?;
        let store = Arc::new(PrivateStore::open(&folder.path().join("nix"))?);
        let operator = Arc::new(User::new(Arc::clone(&store))?);
        let mut cluster = Self {
            stations: Vec::new(),
            operator,
            store,
            net,
            shape,
            folder,
        };
        let first = Station::start_with(cluster.settings(0)?)?;
        log_in(&cluster.operator, &name(0), &first.url(), first.root_token())?;
        cluster.stations.push(first);
        Ok(cluster)
    }

    /// All stations, joined one after the other; of one mind.
    ///
    /// # Errors
    /// When one does not come up.
    pub fn start(shape: Shape) -> Result<Self> {
        let wanted = shape.stations;
        let mut cluster = Self::found(shape)?;
        for _ in 1..wanted {
            cluster.join_next()?;
        }
        cluster.wait_for_members(wanted)?;
        cluster.agree()?;
        Ok(cluster)
    }

    /// One more station, on the next host.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn join_next(&mut self) -> Result<()> {
        let number = self.stations.len();
        let settings = self.joining_settings(number, self.invite()?)?;
        self.add(Station::start_with(settings)?)
    }

    /// Several more stations, all at once.
    ///
    /// # Errors
    /// When one does not come up.
    pub fn join_at_once(&mut self, stations: usize) -> Result<()> {
        let first = self.stations.len();
        let settings = (first..first + stations)
            .map(|number| self.joining_settings(number, self.invite()?))
            .collect::<Result<Vec<_>>>()?;
        let started: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = settings
                .into_iter()
                .map(|settings| scope.spawn(|| Station::start_with(settings)))
                .collect();
            threads
                .into_iter()
                .map(std::thread::ScopedJoinHandle::join)
                .collect()
        });
        for station in started {
            let Ok(station) = station else {
                bail!("a thread that started a station panicked");
            };
            self.add(station?)?;
        }
        Ok(())
    }

    fn add(&mut self, station: Station) -> Result<()> {
        let number = self.stations.len();
        log_in(
            &self.operator,
            &name(number),
            &station.url(),
            station.root_token(),
        )?;
        self.stations.push(station);
        Ok(())
    }

    /// Puts a station with new data and a new key in the place of one that is gone.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn replace(&mut self, number: usize) -> Result<()> {
        self.stations[number].kill()?;
        let other = (0..self.stations.len())
            .find(|other| *other != number && self.stations[*other].is_running())
            .context("another station is running")?;
        let settings = self.joining_settings(number, self.invite_at(other)?)?;
        let station = Station::start_with(settings)?;
        log_in(
            &self.operator,
            &name(number),
            &station.url(),
            station.root_token(),
        )?;
        self.stations[number] = station;
        Ok(())
    }

    fn settings(&self, number: usize) -> Result<Settings> {
        Ok(Settings {
            config: self.shape.config.clone(),
            data_dir: self.shape.data_dirs.get(&number).cloned(),
            host: Some(self.net.hosts().get(number).context("there is a host")?.clone()),
            name: Some(name(number)),
            ..Settings::default()
        })
    }

    fn joining_settings(&self, number: usize, ticket: String) -> Result<Settings> {
        Ok(Settings {
            joining: Some(Joining {
                ticket,
                root_token: self.stations[0].root_token().to_owned(),
            }),
            ..self.settings(number)?
        })
    }

    /// A ticket, minted at the first station.
    ///
    /// # Errors
    /// When it refuses.
    pub fn invite(&self) -> Result<String> {
        self.invite_at(0)
    }

    fn invite_at(&self, station: usize) -> Result<String> {
        let printed = self.cli(station, ["node", "invite", "--voter"])?;
        let ticket = printed.lines().find(|line| line.trim().starts_with("txjoin1"));
        Ok(ticket
            .with_context(|| format!("no ticket in: {printed}"))?
            .trim()
            .to_owned())
    }

    /// Runs `tetryx-cli` against a station; what it printed.
    ///
    /// # Errors
    /// When it fails.
    pub fn cli<'a>(&self, station: usize, args: impl IntoIterator<Item = &'a str>) -> Result<String> {
        let args = args.into_iter().map(str::to_owned);
        self.operator
            .cli(["--server".to_owned(), name(station)].into_iter().chain(args))?
            .ok()
    }

    /// Makes the public cache that everybody pushes to.
    ///
    /// # Errors
    /// When the station refuses.
    pub fn make_cache(&self) -> Result<()> {
        let store_dir = self.store.store_dir();
        let store_dir = store_dir.to_str().context("a store directory is UTF-8")?;
        let target = format!("{}:{CACHE}", name(0));
        self.operator
            .cli(["cache", "create", &target, "--public", "--store-dir", store_dir])?
            .ok()?;
        Ok(())
    }

    /// The cache as a station shows it to Nix.
    ///
    /// # Errors
    /// When it does not know it.
    pub fn cache_at(&self, station: usize) -> Result<Cache> {
        let info = self.stations[station]
            .root()
            .get_json(&format!("/api/v1/caches/{CACHE}"))?;
        let key = info["public_key"].as_str().context("a public key")?;
        Ok(Cache {
            name: CACHE.to_owned(),
            url: format!("{}/{CACHE}", self.stations[station].url()),
            public_key: key.to_owned(),
        })
    }

    /// Store paths that no other run has: so many, each with so many random bytes.
    ///
    /// # Errors
    /// When Nix refuses.
    pub fn make_paths(&self, prefix: &str, count: usize, bytes: usize) -> Result<Vec<String>> {
        let noise = || -> Vec<u8> { std::iter::repeat_with(|| fastrand::u8(..)).take(bytes).collect() };
        let contents: Vec<Vec<u8>> = std::iter::repeat_with(noise).take(count).collect();
        self.make_paths_of(prefix, &contents)
    }

    /// Store paths with these contents.
    ///
    /// # Errors
    /// When Nix refuses.
    pub fn make_paths_of(&self, prefix: &str, contents: &[Vec<u8>]) -> Result<Vec<String>> {
        let folder = self.folder.path().join("files");
        fs::create_dir_all(&folder).context("cannot make a folder")?;
        let mut args = vec!["--add".to_owned()];
        for (number, content) in (1..).zip(contents) {
            let file = folder.join(format!("{prefix}-{number}"));
            fs::write(&file, content).context("cannot write a file")?;
            args.push(
                file.into_os_string()
                    .into_string()
                    .ok()
                    .context("a folder is UTF-8")?,
            );
        }
        Ok(self
            .operator
            .nix_store(args)?
            .ok()?
            .lines()
            .map(str::to_owned)
            .collect())
    }

    /// Who pushes.
    pub fn pusher(&self) -> Pusher {
        Pusher::new(
            Arc::clone(&self.operator),
            (0..self.shape.hosts).map(name).collect(),
        )
    }

    /// Somebody with an empty home.
    ///
    /// # Errors
    /// When there is no room for one.
    pub fn user(&self) -> Result<User> {
        User::new(Arc::clone(&self.store))
    }

    /// A station.
    pub fn station(&self, number: usize) -> &Station {
        &self.stations[number]
    }

    /// A station, to be started and stopped.
    pub fn station_mut(&mut self, number: usize) -> &mut Station {
        &mut self.stations[number]
    }

    /// How many there are, running or not.
    pub fn len(&self) -> usize {
        self.stations.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.stations.is_empty()
    }

    /// The stations that are running.
    pub fn running(&self) -> Vec<usize> {
        let running = |number: &usize| self.stations[*number].is_running();
        (0..self.stations.len()).filter(running).collect()
    }

    /// The local Nix store that everybody pushes from.
    pub fn store(&self) -> &PrivateStore {
        &self.store
    }

    /// The network.
    pub fn net(&self) -> &Net {
        &self.net
    }

    /// The links.
    ///
    /// # Errors
    /// On the loopback footing.
    pub fn links(&self) -> Result<&Emulator> {
        self.net.emulator().context("no links are emulated here")
    }

    /// Gives all links of a station a profile.
    ///
    /// # Errors
    /// On the loopback footing.
    pub fn set_profile(&self, station: usize, profile: Profile) -> Result<()> {
        self.links()?.set_station(station, profile);
        Ok(())
    }

    /// What a station says of itself.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn status(&self, station: usize) -> Result<Value> {
        self.stations[station].root().get_json("/api/v1/status")
    }

    /// Who leads, as those of these stations say that lead or follow: all of them must say the same.
    ///
    /// # Errors
    /// When they do not, or nobody leads.
    pub fn leader_among(&self, stations: &[usize]) -> Result<usize> {
        let statuses = self.statuses(stations)?;
        let (_, first) = statuses.first().context("somebody is asked")?;
        let leader = first["leader"].as_str().context("nobody leads")?;
        for (number, status) in &statuses {
            ensure!(
                status["leader"] == leader,
                "{} says that {} leads, another {leader}",
                name(*number),
                status["leader"]
            );
        }
        let known = statuses.iter().find(|(_, status)| status["node"] == leader);
        Ok(known.context("the leader is none of those asked")?.0)
    }

    /// Waits until these stations agree on one of them as their leader.
    ///
    /// # Errors
    /// When it takes too long.
    pub fn wait_for_leader(&self, stations: &[usize]) -> Result<usize> {
        patience::until("there is a leader", AGREEMENT, || self.leader_among(stations))
    }

    fn statuses(&self, stations: &[usize]) -> Result<Vec<(usize, Value)>> {
        stations
            .iter()
            .map(|number| Ok((*number, self.status(*number)?)))
            .collect()
    }

    /// Waits until every running station knows of so many members, and that nobody is left out of the vote that
    /// should have one.
    ///
    /// # Errors
    /// When it takes too long.
    pub fn wait_for_members(&self, members: usize) -> Result<()> {
        // Of 1, 3 or 5, the most that there are members for.
        let voters = match members {
            0..3 => 1,
            3..5 => 3,
            _ => 5,
        };
        patience::until(&format!("there are {members} members"), AGREEMENT, || {
            for (number, status) in self.statuses(&self.running())? {
                ensure!(
                    status["members"]["total"] == members,
                    "{} knows of {} members",
                    name(number),
                    status["members"]["total"]
                );
                let votes = status["voters"].as_array().map_or(0, Vec::len);
                ensure!(votes >= voters, "{} knows of {votes} voters", name(number));
            }
            Ok(())
        })
    }

    /// A station's key, in the text form of the tools.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn node_id(&self, station: usize) -> Result<String> {
        let status = self.status(station)?;
        Ok(status["node"].as_str().context("a node has an id")?.to_owned())
    }

    /// Waits until the running stations agree on a leader.
    ///
    /// # Errors
    /// When it takes too long.
    pub fn agree_on_leader(&self) -> Result<()> {
        self.wait_for_leader(&self.running()).map(|_| ())
    }

    /// Waits until no station knows of a copy that is missing, of all that is in the log by now.
    ///
    /// # Errors
    /// When it takes too long.
    pub fn wait_until_copied(&self) -> Result<()> {
        let running = self.running();
        let applied = |(_, status): &(usize, Value)| status["applied_index"].as_u64();
        let from = self
            .statuses(&running)?
            .iter()
            .filter_map(applied)
            .max()
            .unwrap_or(0);
        patience::until("all copies are made", AGREEMENT, || {
            for (number, status) in self.statuses(&running)? {
                let few = &status["under_replicated"];
                ensure!(
                    few["as_of"].as_u64().is_some_and(|index| index >= from),
                    "{} has counted its copies at {}, not after {from}",
                    name(number),
                    few["as_of"]
                );
                ensure!(
                    status["bytes_to_move"] == 0 && few["nars"] == 0,
                    "{} knows of too few copies of {} paths, {} bytes in all",
                    name(number),
                    few["nars"],
                    status["bytes_to_move"]
                );
            }
            Ok(())
        })
    }

    /// Waits until all running stations have one leader and the same state, and nothing waits in an outbox.
    ///
    /// # Errors
    /// When it takes too long.
    pub fn agree(&self) -> Result<()> {
        patience::until("the stations agree", AGREEMENT, || {
            ledger::expect_agreement(self, &self.running())
        })
    }

    /// Makes so many changes that the stations compare the hashes of their states, and waits until they agree and
    /// have done so, with one result. For clusters with a cache that are configured to compare often.
    ///
    /// # Errors
    /// When it takes too long, or the hashes differ.
    pub fn agree_audited(&self, within: Duration) -> Result<()> {
        let running = self.running();
        let leader = self.wait_for_leader(&running)?;
        let from = self.status(leader)?["applied_index"].as_u64().unwrap_or(u64::MAX);
        for priority in 30..30 + 2 * AUDIT_EVERY {
            let body = format!("{{\"priority\":{priority}}}");
            let headers = [("Content-Type", "application/json")];
            self.stations[leader]
                .root()
                .send(
                    Method::PATCH,
                    &format!("/api/v1/caches/{CACHE}"),
                    &headers,
                    body.as_bytes(),
                )?
                .ok()?;
        }
        patience::until(
            "the stations agree and have compared their states",
            within,
            || {
                ledger::expect_agreement(self, &running)?;
                ledger::expect_audit_since(self, &running, from)
            },
        )
    }
}

/// What a station is called.
pub fn name(number: usize) -> String {
    NAMES
        .get(number)
        .map_or_else(|| format!("station-{}", number + 1), |name| (*name).to_owned())
}
