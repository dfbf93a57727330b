//! How large a command may be. What is over a limit is refused before anything else about it is looked at.
//!
//! The limits keep one log entry within a few megabytes and every reply short. [`check_limits`] needs no state, so
//! whoever proposes can ask it first and spare the log a command that would be refused.

mod ground;

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tetryx_protocol::cache::{Replication, Retention};
use tetryx_protocol::id::NodeId;

pub(crate) use self::ground::check_maintenance_count;
use crate::command::{Body, CacheKeyPair, Command, NewPath, NoteAccesses, PublishPaths, RegisterToken};
use crate::reply::Refusal;

/// How many of a client's proposals may be open at once: its serials lie below `oldest_open` plus this.
pub const OPEN_PROPOSALS_MAX: u64 = 4_096;
/// How many log indices back the audit reaches.
pub const AUDIT_KEPT: u64 = 10_000;
/// How long a client is remembered after its last proposal, by the log clock. A client that repeats a proposal
/// later than this may have it applied twice; it gives up long before.
pub const CLIENT_KEPT: Duration = Duration::from_secs(24 * 60 * 60);
/// How long a token stays in the registry after it expired, by the log clock, at least.
pub const TOKEN_KEPT: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// How long an invitation stays known after it expired, by the log clock, at least: so long a late node is told why.
pub const INVITE_KEPT: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// About how many log indices what replicas said is kept.
pub const CHECKS_KEPT: usize = 4;
/// How many replicas can say what their state was at one index; further ones are not noted.
pub const CHECK_HASHES_MAX: usize = 64;
/// How many element sets of a satellite are kept, the latest ones.
pub const ELEMENTS_KEPT: usize = 32;
/// How long a maintenance stays known after it ended, by the log clock, at least.
pub const MAINTENANCE_KEPT: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// A refusal that lists paths lists this many; the rest is counted.
pub const LISTED_MAX: usize = 16;

/// What is limited. Append-only: the position is in stored replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Limit {
    /// Length of [`Command::by`] and [`RegisterToken::subject`] in bytes.
    Subject,
    /// Paths in one [`PublishPaths`].
    PathsPerCommand,
    /// References of one path.
    ReferencesPerPath,
    /// References of all paths of one [`PublishPaths`], and the upstream paths it names.
    ReferencesPerCommand,
    /// Signatures of one path, those it already has included.
    SignaturesPerPath,
    /// Length of the system or the content address of a path in bytes.
    PathAttribute,
    /// Upstream key names of a cache.
    UpstreamKeyNames,
    /// Length of a sealed key in bytes.
    SealedKey,
    /// Length of the name of a mission in bytes.
    MissionName,
    /// Cache patterns in the grants of a token.
    GrantPatterns,
    /// Missions in the grants of a token.
    GrantMissions,
    /// Length of the name or the zone of a member in bytes.
    MemberName,
    /// Addresses of a member.
    MemberAddresses,
    /// Length of one address in bytes.
    MemberAddress,
    /// Weight of a member.
    MemberWeight,
    /// Paths in one [`ExpirePaths`](crate::command::ExpirePaths).
    ExpiredPerCommand,
    /// Paths in one [`NoteAccesses`], and the caches it names.
    AccessesPerCommand,
    /// Stations in the grants of a token.
    GrantStations,
    /// Length of a pattern of stations in bytes.
    StationPattern,
    /// Length of the note of a mission, or of the reason of a maintenance, in bytes.
    Note,
    /// Links of a satellite.
    SatelliteLinks,
    /// Length of the text of one element set in bytes.
    ElementsSource,
    /// Element sets in one [`RefreshElements`].
    ElementsPerCommand,
    /// Antennas of a station.
    StationAntennas,
    /// Points of one horizon mask.
    HorizonPoints,
    /// Times in which a station is not to be used.
    StationMaintenance,
}

impl Limit {
    /// Every limit.
    pub const ALL: [Self; 26] = [
        Self::Subject,
        Self::PathsPerCommand,
        Self::ReferencesPerPath,
        Self::ReferencesPerCommand,
        Self::SignaturesPerPath,
        Self::PathAttribute,
        Self::UpstreamKeyNames,
        Self::SealedKey,
        Self::MissionName,
        Self::GrantPatterns,
        Self::GrantMissions,
        Self::MemberName,
        Self::MemberAddresses,
        Self::MemberAddress,
        Self::MemberWeight,
        Self::ExpiredPerCommand,
        Self::AccessesPerCommand,
        Self::GrantStations,
        Self::StationPattern,
        Self::Note,
        Self::SatelliteLinks,
        Self::ElementsSource,
        Self::ElementsPerCommand,
        Self::StationAntennas,
        Self::HorizonPoints,
        Self::StationMaintenance,
    ];

    /// The largest number that is not refused.
    pub const fn bound(self) -> u64 {
        match self {
            Self::Subject => 256,
            Self::PathsPerCommand => 4_096,
            Self::ReferencesPerPath => 8_192,
            Self::ReferencesPerCommand => 65_536,
            Self::SignaturesPerPath => 32,
            Self::PathAttribute => 512,
            Self::UpstreamKeyNames => 64,
            Self::SealedKey => 1_024,
            Self::MissionName => 64,
            Self::GrantPatterns => 256,
            Self::GrantMissions => 256,
            Self::MemberName => 64,
            Self::MemberAddresses => 16,
            Self::MemberAddress => 256,
            Self::MemberWeight => 1_000_000,
            Self::ExpiredPerCommand => 1_024,
            Self::AccessesPerCommand => 16_384,
            Self::GrantStations => 256,
            Self::StationPattern => 64,
            Self::Note => 1_024,
            Self::SatelliteLinks => 32,
            Self::ElementsSource => 8_192,
            Self::ElementsPerCommand => 256,
            Self::StationAntennas => 32,
            Self::HorizonPoints => 720,
            Self::StationMaintenance => 64,
        }
    }

    /// What to do when it is exceeded.
    pub(crate) const fn advice(self) -> &'static str {
        match self {
            Self::PathsPerCommand | Self::ReferencesPerCommand => {
                "publish in several batches, dependencies first"
            }
            Self::ReferencesPerPath => "such a path cannot be cached; split what it bundles",
            Self::SignaturesPerPath => "push fewer signatures",
            Self::UpstreamKeyNames => "name fewer upstream keys",
            Self::GrantPatterns => "use patterns with '*'",
            Self::GrantMissions | Self::GrantStations => "use patterns with '*', or issue several tokens",
            Self::MemberAddresses => "name fewer addresses",
            Self::MemberWeight => "weights only count relative to one another: choose smaller ones",
            Self::ExpiredPerCommand | Self::AccessesPerCommand | Self::ElementsPerCommand => {
                "propose several commands"
            }
            Self::SatelliteLinks | Self::StationAntennas => "name fewer",
            Self::ElementsSource => "give one element set, without comments",
            Self::HorizonPoints => "leave out points that lie on a line with their neighbours",
            Self::StationMaintenance => "take back some with --remove",
            Self::SealedKey => "this is no sealed key; report it as a bug of the proposing node",
            Self::Subject
            | Self::PathAttribute
            | Self::MissionName
            | Self::StationPattern
            | Self::Note
            | Self::MemberName
            | Self::MemberAddress => "shorten it",
        }
    }

    fn check(self, found: usize) -> Result<(), Refusal> {
        let found = u64::try_from(found).unwrap_or(u64::MAX);
        if found > self.bound() {
            Err(Refusal::OverLimit { limit: self, found })
        } else {
            Ok(())
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Subject => "bytes of a subject",
            Self::PathsPerCommand => "paths in one batch",
            Self::ReferencesPerPath => "references of one path",
            Self::ReferencesPerCommand => "references in one batch",
            Self::SignaturesPerPath => "signatures of one path",
            Self::PathAttribute => "bytes of a system or content address",
            Self::UpstreamKeyNames => "upstream key names",
            Self::SealedKey => "bytes of a sealed key",
            Self::MissionName => "bytes of a mission name",
            Self::GrantPatterns => "cache patterns in one token",
            Self::GrantMissions => "missions in one token",
            Self::MemberName => "bytes of a member's name or zone",
            Self::MemberAddresses => "addresses of a member",
            Self::MemberAddress => "bytes of an address",
            Self::MemberWeight => "units of weight",
            Self::ExpiredPerCommand => "paths to expire in one command",
            Self::AccessesPerCommand => "pulled paths in one command",
            Self::GrantStations => "stations in one token",
            Self::StationPattern => "bytes of a station pattern",
            Self::Note => "bytes of a note or reason",
            Self::SatelliteLinks => "links of a satellite",
            Self::ElementsSource => "bytes of an element set",
            Self::ElementsPerCommand => "element sets in one command",
            Self::StationAntennas => "antennas of a station",
            Self::HorizonPoints => "points of a horizon mask",
            Self::StationMaintenance => "maintenances of a station",
        })
    }
}

/// Checks everything about a command that can be checked without the state: sizes first, then values that would
/// make no sense on any state.
pub fn check_limits(command: &Command) -> Result<(), Refusal> {
    Limit::Subject.check(command.by.len())?;
    match &command.body {
        Body::InitCluster(init) => Limit::SealedKey.check(init.sealed_token_key.len()),
        Body::UpsertMember(member) => {
            check_labels(&member.name, &member.zone)?;
            check_addresses(&member.addresses)?;
            check_named(member.node, &member.name)
        }
        Body::RedeemInvite(member) => {
            check_labels(&member.name, &member.zone)?;
            check_addresses(&member.addresses)?;
            check_addresses(&member.gossip)?;
            check_addresses(member.http_url.as_slice())?;
            check_weight(member.weight)?;
            check_named(member.node, &member.name)
        }
        Body::UpdateMember(member) => {
            check_labels(&member.name, &member.zone)?;
            check_addresses(&member.addresses)?;
            check_addresses(&member.gossip)?;
            check_addresses(member.http_url.as_slice())?;
            check_weight(member.weight)?;
            check_named(member.node, &member.name)
        }
        Body::CreateInvite(invite) => Limit::MemberName.check(invite.zone.as_ref().map_or(0, String::len)),
        Body::CreateCache(create) => {
            Limit::UpstreamKeyNames.check(create.upstream_key_names.len())?;
            check_key_pair(&create.key_pair)?;
            check_mission(create.mission.as_deref())?;
            check_retention(create.retention)?;
            check_replication(create.replication)
        }
        Body::ConfigureCache(configure) => {
            Limit::UpstreamKeyNames.check(configure.upstream_key_names.as_ref().map_or(0, Vec::len))?;
            configure.key_pair.as_ref().map_or(Ok(()), check_key_pair)?;
            check_mission(configure.mission.as_ref().and_then(Option::as_deref))?;
            configure.retention.map_or(Ok(()), check_retention)?;
            configure.replication.map_or(Ok(()), check_replication)
        }
        Body::PublishPaths(publish) => check_publish(publish),
        Body::RegisterToken(token) => check_token(token),
        Body::ExpirePaths(expire) => {
            Limit::ExpiredPerCommand.check(expire.paths.len())?;
            check_retention(match expire.default_seconds {
                Some(seconds) => Retention::Period { seconds },
                None => Retention::Forever,
            })
        }
        Body::NoteAccesses(accesses) => check_accesses(accesses),
        Body::PutMission(put) => Limit::Note.check(put.note.as_ref().map_or(0, String::len)),
        Body::PutSatellite(put) => ground::check_satellite(put),
        Body::PutStation(put) => ground::check_station(put),
        Body::PutMaintenance(put) => ground::check_maintenance(&put.maintenance),
        Body::RefreshElements(refresh) => ground::check_refresh(refresh),
        Body::DestroyCache(_)
        | Body::DeletePath(_)
        | Body::PinPath(_)
        | Body::UnpinPath(_)
        | Body::PinPathUntil(_)
        | Body::RevokeToken(_)
        | Body::RevokeInvite(_)
        | Body::DrainMember(_)
        | Body::RemoveMember(_)
        | Body::AdvanceEpoch(_)
        | Body::CheckState(_)
        | Body::SetFeatureLevel(_)
        | Body::RemoveMission(_)
        | Body::RemoveSatellite(_)
        | Body::RemoveStation(_)
        | Body::RemoveMaintenance(_) => Ok(()),
    }
}

fn check_labels(name: &str, zone: &str) -> Result<(), Refusal> {
    Limit::MemberName.check(name.len())?;
    Limit::MemberName.check(zone.len())
}

fn check_named(node: NodeId, name: &str) -> Result<(), Refusal> {
    if name.is_empty() {
        Err(Refusal::MemberWithoutName { node })
    } else {
        Ok(())
    }
}

fn check_addresses(addresses: &[String]) -> Result<(), Refusal> {
    Limit::MemberAddresses.check(addresses.len())?;
    addresses
        .iter()
        .try_for_each(|address| Limit::MemberAddress.check(address.len()))
}

fn check_weight(weight: u32) -> Result<(), Refusal> {
    Limit::MemberWeight.check(usize::try_from(weight).unwrap_or(usize::MAX))
}

fn check_key_pair(pair: &CacheKeyPair) -> Result<(), Refusal> {
    Limit::SealedKey.check(pair.sealed_secret_key.len())
}

fn check_mission(mission: Option<&str>) -> Result<(), Refusal> {
    Limit::MissionName.check(mission.map_or(0, str::len))
}

fn check_retention(retention: Retention) -> Result<(), Refusal> {
    match retention {
        Retention::Period { seconds: 0 } => Err(Refusal::RetentionOfNothing),
        Retention::Default | Retention::Period { .. } | Retention::Forever => Ok(()),
    }
}

fn check_replication(replication: Replication) -> Result<(), Refusal> {
    match replication {
        Replication::Copies(0) => Err(Refusal::ReplicationOfNothing),
        Replication::Default | Replication::Copies(_) | Replication::All => Ok(()),
    }
}

fn check_accesses(accesses: &NoteAccesses) -> Result<(), Refusal> {
    let paths = accesses.caches.iter().map(|cache| cache.paths.len());
    Limit::AccessesPerCommand.check(paths.sum::<usize>())?;
    Limit::AccessesPerCommand.check(accesses.caches.len())
}

fn check_publish(publish: &PublishPaths) -> Result<(), Refusal> {
    Limit::PathsPerCommand.check(publish.paths.len())?;
    let references = publish
        .paths
        .iter()
        .map(|path| path.references.len())
        .sum::<usize>();
    Limit::ReferencesPerCommand.check(references)?;
    Limit::ReferencesPerCommand.check(publish.upstream.len())?;
    publish.paths.iter().try_for_each(check_path)
}

fn check_path(path: &NewPath) -> Result<(), Refusal> {
    Limit::ReferencesPerPath.check(path.references.len())?;
    Limit::SignaturesPerPath.check(path.signatures.len())?;
    Limit::PathAttribute.check(path.system.as_ref().map_or(0, String::len))?;
    Limit::PathAttribute.check(path.ca.as_ref().map_or(0, String::len))
}

/// Also used when a signature is added to a path that has some.
pub(crate) fn check_signatures(count: usize) -> Result<(), Refusal> {
    Limit::SignaturesPerPath.check(count)
}

fn check_token(token: &RegisterToken) -> Result<(), Refusal> {
    Limit::Subject.check(token.subject.len())?;
    Limit::GrantPatterns.check(token.grants.caches.len())?;
    Limit::GrantMissions.check(token.grants.missions.len())?;
    token
        .grants
        .missions
        .iter()
        .try_for_each(|mission| Limit::MissionName.check(mission.len()))?;
    Limit::GrantStations.check(token.grants.stations.len())?;
    let mut stations = token.grants.stations.iter();
    stations.try_for_each(|station| Limit::StationPattern.check(station.len()))?;
    if token.expires <= token.issued {
        return Err(Refusal::TokenNeverValid {
            token: token.token,
            expires: token.expires,
        });
    }
    Ok(())
}
