//! The JSON of `GET /api/v1/doctor`: how a node is, check by check, and what to do about it.

use serde::{Deserialize, Serialize};

use crate::time::UtcTime;

/// Answer of `GET /api/v1/doctor`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoctorReport {
    /// The checks, always the same in the same order.
    pub checks: Vec<DoctorCheck>,
}

impl DoctorReport {
    /// Whether something that is needed is damaged and could not be healed.
    pub fn is_damaged(&self) -> bool {
        self.checks.iter().any(|check| check.state == CheckState::Damage)
    }
}

/// What one check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoctorCheck {
    /// What is checked, in one word.
    pub name: String,
    /// How it is.
    pub state: CheckState,
    /// What was seen.
    pub evidence: String,
    /// What to do, if there is something to do.
    #[serde(default)]
    pub fix: Option<String>,
}

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckState {
    /// Nothing to do.
    Ok,
    /// Something is not as it should be; nothing is lost.
    Warning,
    /// Something that is needed is damaged, and no other node has had it so far.
    Damage,
}

/// How far a node is with reading back what it stores.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScrubStatus {
    /// Within this time everything is read back; 0 if only on demand.
    pub period_seconds: u64,
    /// When everything had last been read back.
    #[serde(default)]
    pub last_ended: Option<UtcTime>,
    /// What was found damaged then: chunks and manifests.
    #[serde(default)]
    pub last_found: u64,
    /// Bytes read in the round under way.
    #[serde(default)]
    pub bytes: u64,
    /// Bytes to read in it; 0 when none is under way.
    #[serde(default)]
    pub bytes_total: u64,
    /// NARs that are needed on this node and of which something is damaged.
    #[serde(default)]
    pub damaged_nars: u64,
}
