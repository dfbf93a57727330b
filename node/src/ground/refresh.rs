//! Many satellites get newer elements at once.

use std::collections::BTreeMap;

use tetryx_protocol::api::{RefreshEntry, RefreshResponse, RefreshResult};
use tetryx_protocol::grant::Grants;
use tetryx_protocol::ground::SatelliteName;
use tetryx_raft::StateView;
use tetryx_state::command::{RefreshElements, SatelliteElements};
use tetryx_state::limits::Limit;
use tetryx_state::{Outcome, ground};
use tetryx_station::elements;

use super::new_elements;
use crate::http::error::HttpError;
use crate::{Node, NodeError};

/// The entries of a batch, and what is proposed for some of them.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    entries: Vec<RefreshEntry>,
    /// The place in `entries` of each set.
    sets: Vec<(usize, SatelliteElements)>,
}

/// Reads a batch, and finds the satellite of each entry among those that the grants reach.
pub(crate) fn read(view: &StateView, grants: &Grants, text: &[u8]) -> Result<Batch, HttpError> {
    let mut named: BTreeMap<u32, Vec<SatelliteName>> = BTreeMap::new();
    for (name, record) in ground::satellites(view)? {
        if grants.acts_for(record.mission.as_str()) {
            named.entry(record.catalogue_number).or_default().push(name);
        }
    }
    let mut batch = Batch::default();
    for entry in elements::read_bytes(text) {
        let elements = match entry {
            Ok(elements) => elements,
            Err(error) => {
                batch.entries.push(RefreshEntry {
                    object: error.object.clone(),
                    satellite: None,
                    result: RefreshResult::Malformed,
                    error: Some(error.to_string()),
                });
                continue;
            }
        };
        let new = new_elements(&elements);
        let (length, most) = (new.source.len() as u64, Limit::ElementsSource.bound());
        if length > most {
            batch.entries.push(RefreshEntry {
                object: Some(elements.label()),
                satellite: None,
                result: RefreshResult::Malformed,
                error: Some(format!(
                    "the elements of {} have {length} bytes, more than the {most} that are kept; leave out comments",
                    elements.label()
                )),
            });
            continue;
        }
        let entry = |satellite| RefreshEntry {
            object: Some(elements.label()),
            satellite,
            result: RefreshResult::Unknown,
            error: None,
        };
        match named.get(&new.catalogue_number) {
            None => batch.entries.push(entry(None)),
            Some(satellites) => {
                for satellite in satellites {
                    let set = SatelliteElements {
                        satellite: satellite.clone(),
                        elements: new.clone(),
                    };
                    batch.sets.push((batch.entries.len(), set));
                    batch.entries.push(entry(Some(satellite.clone())));
                }
            }
        }
    }
    Ok(batch)
}

/// Proposes what a batch brings, in commands of a size that the log takes. Gives the log index of the last one.
pub(crate) async fn propose(
    node: &Node,
    by: &str,
    batch: Batch,
) -> Result<(u64, RefreshResponse), NodeError> {
    let Batch { mut entries, sets } = batch;
    let most = usize::try_from(Limit::ElementsPerCommand.bound()).unwrap_or(usize::MAX);
    let mut index = node.replica().applied_index();
    for piece in sets.chunks(most) {
        let sets = piece.iter().map(|(_, set)| set.clone()).collect();
        let (at, outcome) = node.propose(by, RefreshElements { sets }).await?;
        index = at;
        if let Outcome::ElementsRefreshed { outcomes } = outcome {
            for ((place, _), outcome) in piece.iter().zip(outcomes) {
                entries[*place].result = outcome.into();
            }
        }
    }
    let mut answer = RefreshResponse::default();
    for entry in &entries {
        let count = match entry.result {
            RefreshResult::Added => &mut answer.added,
            RefreshResult::Unchanged => &mut answer.unchanged,
            RefreshResult::Older => &mut answer.older,
            RefreshResult::Unknown => &mut answer.unknown,
            RefreshResult::Malformed => &mut answer.malformed,
        };
        *count += 1;
    }
    answer.entries = entries;
    Ok((index, answer))
}
