//! The caches and the tokens of the cluster, as one thing each per name: what a step does to them.

use tetryx_protocol::api::{CacheInfo, ConfigureCacheRequest};
use tetryx_protocol::cache::{Replication, Retention};

use super::linear::Model;

/// What of a cache is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Settings {
    pub(crate) public: bool,
    pub(crate) priority: u32,
    pub(crate) retention: Retention,
    pub(crate) replication: Replication,
}

impl Settings {
    /// As the API shows them.
    pub(crate) fn of(info: &CacheInfo) -> Self {
        Self {
            public: info.public,
            priority: info.priority,
            retention: info.retention_period,
            replication: info.replication,
        }
    }
}

/// Some of the settings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Changes {
    pub(crate) public: Option<bool>,
    pub(crate) priority: Option<u32>,
    pub(crate) retention: Option<Retention>,
    pub(crate) replication: Option<Replication>,
}

impl Changes {
    fn made_to(self, settings: Settings) -> Settings {
        Settings {
            public: self.public.unwrap_or(settings.public),
            priority: self.priority.unwrap_or(settings.priority),
            retention: self.retention.unwrap_or(settings.retention),
            replication: self.replication.unwrap_or(settings.replication),
        }
    }

    /// As the API takes them.
    pub(crate) fn to_request(self) -> ConfigureCacheRequest {
        ConfigureCacheRequest {
            public: self.public,
            priority: self.priority,
            retention_period: self.retention,
            replication: self.replication,
            ..ConfigureCacheRequest::default()
        }
    }
}

/// A cache name.
#[derive(Debug)]
pub(crate) struct Cache;

/// What is done with a cache name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum CacheInput {
    Create(Settings),
    Configure(Changes),
    Destroy,
    Read,
}

/// What is answered to that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum CacheOutput {
    Done,
    Exists,
    Missing,
    Seen(Option<Settings>),
}

impl Model for Cache {
    type State = Option<Settings>;
    type Input = CacheInput;
    type Output = CacheOutput;

    fn step(state: &Self::State, input: &CacheInput) -> (Self::State, CacheOutput) {
        match (input, *state) {
            (CacheInput::Read, state) => (state, CacheOutput::Seen(state)),
            (CacheInput::Create(settings), None) => (Some(*settings), CacheOutput::Done),
            (CacheInput::Create(_), Some(settings)) => (Some(settings), CacheOutput::Exists),
            (CacheInput::Configure(_) | CacheInput::Destroy, None) => (None, CacheOutput::Missing),
            (CacheInput::Configure(changes), Some(settings)) => {
                (Some(changes.made_to(settings)), CacheOutput::Done)
            }
            (CacheInput::Destroy, Some(_)) => (None, CacheOutput::Done),
        }
    }
}

/// A token, by the subject it is for.
#[derive(Debug)]
pub(crate) struct Token;

/// How a token may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TokenState {
    #[default]
    Absent,
    Live,
    Revoked,
}

/// What is done with a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TokenInput {
    Issue,
    Revoke,
    Read,
}

/// What is answered to that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TokenOutput {
    Done,
    Missing,
    Seen(TokenState),
}

impl Model for Token {
    type State = TokenState;
    type Input = TokenInput;
    type Output = TokenOutput;

    fn step(state: &TokenState, input: &TokenInput) -> (TokenState, TokenOutput) {
        match (input, state) {
            (TokenInput::Read, state) => (*state, TokenOutput::Seen(*state)),
            (TokenInput::Issue, TokenState::Absent) => (TokenState::Live, TokenOutput::Done),
            (TokenInput::Issue, state) => (*state, TokenOutput::Done),
            (TokenInput::Revoke, TokenState::Absent) => (TokenState::Absent, TokenOutput::Missing),
            (TokenInput::Revoke, _) => (TokenState::Revoked, TokenOutput::Done),
        }
    }
}

/// A path in a cache.
#[derive(Debug)]
pub(crate) struct Path;

/// What is done with a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum PathInput {
    Publish,
    Delete,
    Read,
}

/// What is answered to that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum PathOutput {
    /// Published, and it was not there.
    New,
    /// Published, and it was there.
    Same,
    /// Published, and nobody said which of the two.
    Published,
    Deleted,
    Missing,
    Seen(bool),
}

impl Model for Path {
    type State = bool;
    type Input = PathInput;
    type Output = PathOutput;

    fn step(is_there: &bool, input: &PathInput) -> (bool, PathOutput) {
        match (input, *is_there) {
            (PathInput::Read, is_there) => (is_there, PathOutput::Seen(is_there)),
            (PathInput::Publish, false) => (true, PathOutput::New),
            (PathInput::Publish, true) => (true, PathOutput::Same),
            (PathInput::Delete, true) => (false, PathOutput::Deleted),
            (PathInput::Delete, false) => (false, PathOutput::Missing),
        }
    }

    fn agrees(said: &PathOutput, stepped: &PathOutput) -> bool {
        match said {
            PathOutput::Published => matches!(stepped, PathOutput::New | PathOutput::Same),
            said => said == stepped,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::linear::History;
    use super::*;

    const SETTINGS: Settings = Settings {
        public: false,
        priority: 41,
        retention: Retention::Default,
        replication: Replication::Default,
    };

    #[test]
    fn a_cache_is_created_once_changed_in_part_and_destroyed() {
        let mut history = History::<Cache>::default();
        let mut does = |input, said| {
            let id = history.begin(input);
            history.answered(id, &said)
        };
        let priority = Changes {
            priority: Some(7),
            ..Changes::default()
        };
        does(CacheInput::Create(SETTINGS), CacheOutput::Done).unwrap();
        does(CacheInput::Create(SETTINGS), CacheOutput::Exists).unwrap();
        does(CacheInput::Configure(priority), CacheOutput::Done).unwrap();
        let changed = Settings {
            priority: 7,
            ..SETTINGS
        };
        does(CacheInput::Read, CacheOutput::Seen(Some(changed))).unwrap();
        does(CacheInput::Destroy, CacheOutput::Done).unwrap();
        does(CacheInput::Read, CacheOutput::Seen(None)).unwrap();
        assert!(does(CacheInput::Read, CacheOutput::Seen(Some(changed))).is_err());
    }

    #[test]
    fn a_setting_that_was_lost_is_noticed() {
        let mut history = History::<Cache>::default();
        let create = history.begin(CacheInput::Create(SETTINGS));
        history.answered(create, &CacheOutput::Done).unwrap();
        let public = Changes {
            public: Some(true),
            ..Changes::default()
        };
        let priority = Changes {
            priority: Some(3),
            ..Changes::default()
        };
        let (one, other) = (
            history.begin(CacheInput::Configure(public)),
            history.begin(CacheInput::Configure(priority)),
        );
        history.answered(one, &CacheOutput::Done).unwrap();
        history.answered(other, &CacheOutput::Done).unwrap();
        let read = history.begin(CacheInput::Read);
        let lost = Settings {
            priority: 3,
            ..SETTINGS
        };
        assert!(history.answered(read, &CacheOutput::Seen(Some(lost))).is_err());
    }

    #[test]
    fn a_revoked_token_never_lives_again() {
        let mut history = History::<Token>::default();
        let issue = history.begin(TokenInput::Issue);
        history.answered(issue, &TokenOutput::Done).unwrap();
        let revoke = history.begin(TokenInput::Revoke);
        history.in_doubt(revoke);
        for (seen, is_possible) in [
            (TokenState::Live, true),
            (TokenState::Revoked, true),
            (TokenState::Live, false),
        ] {
            let read = history.begin(TokenInput::Read);
            let answered = history.answered(read, &TokenOutput::Seen(seen));
            assert_eq!(answered.is_ok(), is_possible, "{answered:?}");
        }
    }

    #[test]
    fn a_push_that_was_applied_twice_is_noticed() {
        let mut history = History::<Path>::default();
        let (push, again) = (
            history.begin(PathInput::Publish),
            history.begin(PathInput::Publish),
        );
        history.answered(push, &PathOutput::New).unwrap();
        history.answered(again, &PathOutput::Published).unwrap();
        let delete = history.begin(PathInput::Delete);
        history.answered(delete, &PathOutput::Deleted).unwrap();
        let read = history.begin(PathInput::Read);
        assert!(history.answered(read, &PathOutput::Seen(true)).is_err());
    }
}
