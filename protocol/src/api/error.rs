//! Errors of the HTTP API: one JSON shape, and names that programs can rely on.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The body of every answer that is not a success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{error} ({code}): {message}")]
pub struct ApiError {
    /// The HTTP status.
    pub code: u16,
    /// The name of the error, for programs.
    pub error: String,
    /// What happened, to what, and what to do next, for people.
    pub message: String,
}

impl ApiError {
    /// The error of this name, with its status.
    pub fn new(name: ErrorName, message: impl Into<String>) -> Self {
        Self {
            code: name.status(),
            error: name.as_str().to_owned(),
            message: message.into(),
        }
    }

    /// The error's name, if this version knows it.
    pub fn name(&self) -> Option<ErrorName> {
        ErrorName::ALL
            .into_iter()
            .find(|name| name.as_str() == self.error)
    }
}

macro_rules! error_names {
    ($($(#[$doc:meta])* $name:ident = $status:literal,)*) => {
        /// What went wrong, for programs. The names are stable; there may be more of them in time.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum ErrorName {
            $($(#[$doc])* $name,)*
        }

        impl ErrorName {
            /// Every name.
            pub const ALL: [Self; [$($status),*].len()] = [$(Self::$name),*];

            /// The name as it stands in the JSON.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }

            /// The HTTP status it comes with.
            pub const fn status(self) -> u16 {
                match self {
                    $(Self::$name => $status,)*
                }
            }
        }
    };
}

error_names! {
    /// No such path, NAR or route; or a cache the caller may not discover.
    NoSuchObject = 404,
    /// No such cache, or one the caller may not discover.
    NoSuchCache = 404,
    /// No such upload session, or it has ended.
    NoSuchUpload = 404,
    /// No such token.
    NoSuchToken = 404,
    /// A cache of this name exists.
    CacheAlreadyExists = 409,
    /// No token, or one that does not count.
    Unauthorized = 401,
    /// The token does not allow this.
    AccessError = 403,
    /// The request makes no sense.
    BadRequest = 400,
    /// The route exists, but not with this method.
    MethodNotAllowed = 405,
    /// Not a cache name.
    InvalidCacheName = 400,
    /// Not a store path.
    InvalidStorePath = 400,
    /// Not the hash of a store path.
    InvalidStorePathHash = 400,
    /// Not a narinfo.
    InvalidNarInfo = 400,
    /// The NAR that came has another hash.
    NarHashMismatch = 422,
    /// The NAR that came has another size.
    NarSizeMismatch = 422,
    /// The upload names a chunk that the node has not.
    MissingChunk = 409,
    /// A chunk that came is not what its name says.
    CorruptChunk = 422,
    /// The cache lacks paths that the new ones refer to.
    MissingReferences = 409,
    /// The cache has this path with another NAR.
    PathConflict = 409,
    /// The path is pinned, or others refer to it.
    PathInUse = 409,
    /// No such range of the NAR.
    RangeNotSatisfiable = 416,
    /// Larger than the node's limits.
    TooLarge = 413,
    /// The node's disk or quota is full.
    StorageFull = 507,
    /// The node cannot reach a majority now.
    NoQuorum = 503,
    /// The node has not started up yet, or is going down.
    NotReady = 503,
    /// No such member, or it was removed.
    NoSuchMember = 404,
    /// No such invitation, or it was used.
    NoSuchInvite = 404,
    /// The name belongs to another member.
    MemberNameTaken = 409,
    /// The cluster would be left without a member.
    LastMember = 409,
    /// No such mission, satellite, station or maintenance.
    NoSuchItem = 404,
    /// A mission, satellite or station of this name exists.
    ItemAlreadyExists = 409,
    /// Satellites belong to the mission.
    ItemInUse = 409,
    /// The member was removed; its key is refused for ever.
    MemberRemoved = 409,
    /// The ticket is unknown, used, expired, or for another cluster.
    TicketRefused = 403,
    /// Too few nodes can be reached to keep as many copies as were promised.
    NotEnoughCopies = 503,
    /// This node's state differs from the others'; it serves nothing until it is rebuilt.
    Diverged = 503,
    /// The cluster runs a newer version than this node.
    NeedsUpgrade = 503,
    /// What this node has is older than was asked for.
    TooStale = 503,
    /// A fault of the node; its log says more.
    InternalServerError = 500,
}

impl fmt::Display for ErrorName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}
