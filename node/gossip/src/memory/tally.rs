//! What happened in a mesh, in numbers.

/// Counts since the mesh was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tally {
    /// Presences that members announced; a repetition for a member that came later counts again.
    pub announced: u64,
    /// Messages that left a member.
    pub sent: u64,
    /// Messages that never arrived.
    pub lost: u64,
    /// Messages that arrived twice.
    pub duplicated: u64,
    /// Messages that would have told a member what it knew, sent or not.
    pub known: u64,
    /// Presences that a member heard and kept.
    pub kept: u64,
    /// Messages that a member refused: not genuine, or no presence that it accepts.
    pub refused: u64,
    /// Presences that a member asked for because another one said it has them.
    pub asked: u64,
    /// Connections made.
    pub connected: u64,
    /// Ends of connections that one side noticed.
    pub disconnected: u64,
    /// Neighbours taken.
    pub grafts: u64,
    /// Neighbours let go.
    pub prunes: u64,
}
