//! What a token allows: permissions on caches by pattern, missions and stations by pattern, and everything.
//!
//! # Invariants
//! - Rights only add up: a cache has the union of what all matching patterns give, whatever their order.
//! - A token can only mint what it holds ([`Grants::covers`]).

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::ser::{SerializeMap, SerializeTuple};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::cache::{CacheName, CachePattern, glob_matches};

/// One thing a token may do with a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum CachePermission {
    /// Read paths. `r`
    Pull = 0,
    /// Add paths. `w`
    Push = 1,
    /// Delete paths. `d`
    Delete = 2,
    /// Create the cache. `cc`
    Create = 3,
    /// Change its settings, retention excepted. `cr`
    Configure = 4,
    /// Change its retention. `cq`
    ConfigureRetention = 5,
    /// Destroy it. `cd`
    Destroy = 6,
}

impl CachePermission {
    /// All of them, in the order of their bits.
    pub const ALL: [Self; 7] = [
        Self::Pull,
        Self::Push,
        Self::Delete,
        Self::Create,
        Self::Configure,
        Self::ConfigureRetention,
        Self::Destroy,
    ];

    /// The key in a token, as attic has it.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Pull => "r",
            Self::Push => "w",
            Self::Delete => "d",
            Self::Create => "cc",
            Self::Configure => "cr",
            Self::ConfigureRetention => "cq",
            Self::Destroy => "cd",
        }
    }

    /// The word for people, as the command line has it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "push",
            Self::Delete => "delete",
            Self::Create => "create-cache",
            Self::Configure => "configure-cache",
            Self::ConfigureRetention => "configure-cache-retention",
            Self::Destroy => "destroy-cache",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl fmt::Display for CachePermission {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.word())
    }
}

/// A set of permissions.
///
/// JSON, as attic has it: an object with 1 for every permission in the set, `{"r":1,"w":1}`; reading takes
/// 0, 1, `false` and `true` and refuses unknown keys. Postcard: one byte, bit `n` for the permission of value `n`.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CachePermissions(u8);

impl CachePermissions {
    /// No permission.
    pub const NONE: Self = Self(0);
    /// Every permission.
    pub const ALL: Self = Self(0b0111_1111);

    /// The set with one more permission.
    #[must_use]
    pub const fn with(self, permission: CachePermission) -> Self {
        Self(self.0 | permission.bit())
    }

    /// Adds a permission.
    pub const fn insert(&mut self, permission: CachePermission) {
        self.0 |= permission.bit();
    }

    /// Whether the permission is in the set.
    pub const fn contains(self, permission: CachePermission) -> bool {
        self.0 & permission.bit() != 0
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// What is in either set.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The permissions in the set, in the order of their bits.
    pub fn iter(self) -> impl Iterator<Item = CachePermission> {
        CachePermission::ALL
            .into_iter()
            .filter(move |permission| self.contains(*permission))
    }
}

impl FromIterator<CachePermission> for CachePermissions {
    fn from_iter<I: IntoIterator<Item = CachePermission>>(permissions: I) -> Self {
        permissions.into_iter().fold(Self::NONE, Self::with)
    }
}

impl fmt::Debug for CachePermissions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.iter()).finish()
    }
}

impl Serialize for CachePermissions {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !serializer.is_human_readable() {
            return serializer.serialize_u8(self.0);
        }
        let mut map = serializer.serialize_map(Some(self.0.count_ones() as usize))?;
        for permission in self.iter() {
            map.serialize_entry(permission.key(), &1)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for CachePermissions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            return deserializer.deserialize_map(PermissionsVisitor);
        }
        let bits = u8::deserialize(deserializer)?;
        if bits & !Self::ALL.0 == 0 {
            Ok(Self(bits))
        } else {
            Err(D::Error::custom(format_args!(
                "permission bits are {bits:#010b}; bit 7 has no meaning"
            )))
        }
    }
}

struct PermissionsVisitor;

impl<'de> Visitor<'de> for PermissionsVisitor {
    type Value = CachePermissions;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object of permissions such as {\"r\":1,\"w\":1}")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<CachePermissions, A::Error> {
        let mut permissions = CachePermissions::NONE;
        while let Some(key) = map.next_key::<String>()? {
            let Some(permission) = CachePermission::ALL.into_iter().find(|known| known.key() == key) else {
                return Err(A::Error::unknown_field(
                    &key,
                    &["r", "w", "d", "cc", "cr", "cq", "cd"],
                ));
            };
            match map.next_value::<Flag>()? {
                Flag::Number(0) | Flag::Bool(false) => {}
                Flag::Number(1) | Flag::Bool(true) => permissions.insert(permission),
                Flag::Number(other) => {
                    return Err(A::Error::custom(format_args!(
                        "permission {key} is {other}; expected 1 or 0"
                    )));
                }
            }
        }
        Ok(permissions)
    }
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected 1, 0, true or false for a permission")]
enum Flag {
    Number(u64),
    Bool(bool),
}

/// What a token allows.
///
/// In postcard the fields follow each other, and `admin` is bit 0 of a byte. The stations stand behind it only if there
/// are any, which bit 1 says: grants without stations have the bytes that they always had.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    /// Permissions by pattern of cache names.
    pub caches: BTreeMap<CachePattern, CachePermissions>,
    /// Missions it may act for: names in which `*` stands for any run of characters.
    pub missions: Vec<String>,
    /// Stations it may change, by pattern as well.
    pub stations: Vec<String>,
    /// Everything, members and tokens of the cluster included.
    pub admin: bool,
}

/// The bit of `admin` in the byte that ends the grants.
const ADMIN: u8 = 1;
/// The bit that says that stations follow.
const STATIONS: u8 = 2;

/// [`Grants`] in JSON. Stations are left out where there are none: nodes that know of none refuse unknown fields.
#[derive(Serialize, Deserialize)]
#[serde(rename = "Grants", deny_unknown_fields)]
struct TextGrants {
    #[serde(default)]
    caches: BTreeMap<CachePattern, CachePermissions>,
    #[serde(default)]
    missions: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    stations: Vec<String>,
    #[serde(default)]
    admin: bool,
}

impl Serialize for Grants {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return TextGrants {
                caches: self.caches.clone(),
                missions: self.missions.clone(),
                stations: self.stations.clone(),
                admin: self.admin,
            }
            .serialize(serializer);
        }
        let mut flags = if self.admin { ADMIN } else { 0 };
        if !self.stations.is_empty() {
            flags |= STATIONS;
        }
        let mut tuple = serializer.serialize_tuple(4)?;
        tuple.serialize_element(&self.caches)?;
        tuple.serialize_element(&self.missions)?;
        tuple.serialize_element(&flags)?;
        if !self.stations.is_empty() {
            tuple.serialize_element(&self.stations)?;
        }
        tuple.end()
    }
}

impl<'de> Deserialize<'de> for Grants {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            return deserializer.deserialize_tuple(4, GrantsVisitor);
        }
        let text = TextGrants::deserialize(deserializer)?;
        Ok(Self {
            caches: text.caches,
            missions: text.missions,
            stations: text.stations,
            admin: text.admin,
        })
    }
}

struct GrantsVisitor;

impl<'de> Visitor<'de> for GrantsVisitor {
    type Value = Grants;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("caches, missions, a byte of flags, and stations if it says so")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Grants, A::Error> {
        let ends = || A::Error::custom("the grants end too early");
        let caches = parts.next_element()?.ok_or_else(ends)?;
        let missions = parts.next_element()?.ok_or_else(ends)?;
        let flags: u8 = parts.next_element()?.ok_or_else(ends)?;
        if flags & !(ADMIN | STATIONS) != 0 {
            return Err(A::Error::custom(format_args!(
                "the flags of the grants are {flags:#010b}; only bits 0 and 1 have a meaning"
            )));
        }
        let stations: Vec<String> = match flags & STATIONS {
            0 => Vec::new(),
            _ => parts.next_element()?.ok_or_else(ends)?,
        };
        if flags & STATIONS != 0 && stations.is_empty() {
            return Err(A::Error::custom("the grants announce stations and name none"));
        }
        Ok(Grants {
            caches,
            missions,
            stations,
            admin: flags & ADMIN != 0,
        })
    }
}

impl Grants {
    /// The grants of a cluster's root token.
    pub fn admin() -> Self {
        Self {
            admin: true,
            ..Self::default()
        }
    }

    /// The permissions on a cache: all of them for an administrator, else the union over the matching patterns.
    pub fn permissions(&self, cache: &CacheName) -> CachePermissions {
        if self.admin {
            return CachePermissions::ALL;
        }
        let matching = self.caches.iter().filter(|(pattern, _)| pattern.matches(cache));
        matching.fold(CachePermissions::NONE, |all, (_, some)| all.union(*some))
    }

    /// Whether this may be done with the cache.
    pub fn allows(&self, cache: &CacheName, permission: CachePermission) -> bool {
        self.permissions(cache).contains(permission)
    }

    /// Whether the cache's existence may be shown: with any permission on it.
    pub fn may_discover(&self, cache: &CacheName) -> bool {
        !self.permissions(cache).is_empty()
    }

    /// Whether this may be done for a mission of that name.
    pub fn acts_for(&self, mission: &str) -> bool {
        self.admin || any_matches(&self.missions, mission)
    }

    /// Whether a station of that name may be changed.
    pub fn operates(&self, station: &str) -> bool {
        self.admin || any_matches(&self.stations, station)
    }

    /// Whether the registered missions, satellites and stations may be read: with a grant for any of them.
    pub fn may_read_ground(&self) -> bool {
        self.admin || !self.missions.is_empty() || !self.stations.is_empty()
    }

    /// Whether everything that `other` allows is allowed here, so that who holds this may mint that.
    ///
    /// Careful rather than clever: each permission of a pattern of `other` must be held on one pattern here that
    /// covers it; two patterns that only together would cover it do not count.
    pub fn covers(&self, other: &Self) -> bool {
        if self.admin {
            return true;
        }
        let covered = |pattern: &CachePattern, permission| {
            let mut held = self
                .caches
                .iter()
                .filter(|(_, permissions)| permissions.contains(permission));
            held.any(|(mine, _)| mine.covers(pattern))
        };
        !other.admin
            && other
                .missions
                .iter()
                .all(|mission| any_matches(&self.missions, mission))
            && other
                .stations
                .iter()
                .all(|station| any_matches(&self.stations, station))
            && other.caches.iter().all(|(pattern, permissions)| {
                permissions.iter().all(|permission| covered(pattern, permission))
            })
    }
}

/// Whether one of the patterns matches a name, or covers a pattern: only a star matches the character `*`.
fn any_matches(patterns: &[String], name: &str) -> bool {
    let mut patterns = patterns.iter();
    patterns.any(|pattern| glob_matches(pattern.as_bytes(), name.as_bytes()))
}
