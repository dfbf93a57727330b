//! What can go wrong below the state machine. Refusals are not errors: they are replies.

use crate::tables::Table;

/// Why a command could not be applied or a query not be answered.
///
/// Neither case is an answer about the command: the transaction must be dropped, and the replica must not go on
/// with the next command.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError<E: std::error::Error + 'static> {
    /// The table storage failed.
    #[error("the state tables could not be read or written; the command was not applied")]
    Tables(#[source] E),
    /// A row does not decode.
    #[error("the replicated state is damaged; rebuild this replica from a snapshot of another one")]
    Corrupt(#[source] CorruptRecord),
}

/// A row of the tables that is not what this version, or an older one, wrote.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("table {table}, key {}: {reason}", hex(.key))]
pub struct CorruptRecord {
    /// The table that holds the row.
    pub table: Table,
    /// The key of the row.
    pub key: Vec<u8>,
    /// What is wrong with it.
    pub reason: String,
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            write!(text, "{byte:02x}").expect("writing into a String cannot fail");
            text
        })
}
