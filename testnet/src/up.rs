//! Stations to play with: started, joined, and gone with Ctrl-C.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

use crate::binaries;
use crate::cluster::{Cluster, Shape, name};
use crate::doorway;
use crate::emulator::Profile;
use crate::enclosure::{self, Footing};
use crate::talk::say;

/// What to start.
#[derive(Clone, Debug)]
pub struct Wish {
    /// How many stations.
    pub stations: usize,
    /// What every link is like.
    pub profile: Profile,
    /// Links of single stations that are otherwise: `NAME=PROFILE`.
    pub links: Vec<(String, Profile)>,
    /// The configuration file of every station; nothing: what a first start writes.
    pub config: Option<PathBuf>,
}

/// Starts the stations, says how to use them, and waits until the outer program wants an end.
///
/// # Errors
/// When a station does not come up.
pub fn run(wish: &Wish, footing: Footing) -> Result<()> {
    let doors = if footing == Footing::Namespaces {
        doorway::take()?
    } else {
        Vec::new()
    };
    // From here on: Ctrl-C while they start.
    enclosure::follow(footing);
    say(&match wish.stations {
        1 => "Starting a station ...".to_owned(),
        several => format!("Starting {several} stations ..."),
    })?;
    let config = wish
        .config
        .as_ref()
        .map(|file| fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display())));
    let cluster = Cluster::start(Shape {
        config: config.transpose()?,
        ..Shape::new(wish.stations, footing, 0)
    })?;
    set_links(&cluster, wish)?;
    let urls = open_doors(&cluster, doors)?;

    say("")?;
    say(&format!("{:14}  {:7}  URL", "STATION", "LINKS"))?;
    for (number, url) in urls.iter().enumerate() {
        let station = name(number);
        let links = match footing {
            Footing::Loopback => "-".to_owned(),
            Footing::Namespaces => format!("{:?}", profile_of(wish, &station)).to_lowercase(),
        };
        say(&format!("{station:14}  {links:7}  {url}"))?;
    }
    say("")?;
    say("Log in from another terminal; the token counts at every station:")?;
    let cli = binaries::cli()?;
    let token = cluster.station(0).root_token();
    for (number, url) in urls.iter().enumerate() {
        say(&format!(
            "  {} login {} {url} {token}",
            cli.display(),
            name(number)
        ))?;
    }
    say("")?;
    say("Ctrl-C ends them all and removes everything they wrote.")?;
    loop {
        std::thread::park();
    }
}

fn profile_of(wish: &Wish, station: &str) -> Profile {
    let own = wish.links.iter().find(|(name, _)| name == station);
    own.map_or(wish.profile, |(_, profile)| *profile)
}

fn set_links(cluster: &Cluster, wish: &Wish) -> Result<()> {
    let Some(emulator) = cluster.net().emulator() else {
        return Ok(());
    };
    emulator.set_all(wish.profile);
    for (station, profile) in &wish.links {
        let known = (0..cluster.len()).find(|number| name(*number) == *station);
        let Some(number) = known else {
            bail!(
                "there is no station '{station}' here; the first is called {}",
                name(0)
            );
        };
        emulator.set_station(number, *profile);
    }
    Ok(())
}

/// Where each station is reached from outside.
fn open_doors(cluster: &Cluster, doors: Vec<TcpListener>) -> Result<Vec<String>> {
    let mut urls = Vec::new();
    let mut doors = doors.into_iter();
    for number in 0..cluster.len() {
        let address: SocketAddr = cluster.station(number).address();
        urls.push(match doors.next() {
            None => format!("http://{address}"),
            Some(door) => {
                let outside = door.local_addr().context("cannot tell a port")?;
                doorway::connect(door, address);
                format!("http://{outside}")
            }
        });
    }
    Ok(urls)
}
