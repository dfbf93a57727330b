//! The first start: configuration, keys, a cluster of one, and the root token.
//!
//! # Invariants
//! - Each step looks for its own result before it does anything, and leaves it whole or not at all. So a first start
//!   that is cut off anywhere is completed by the next start.
//! - The root token is shown once. The marker that says so is written after it was printed: a crash in between shows
//!   a second, equally valid one.

use std::path::Path;
use std::time::Duration;

use tetryx_environment::Entropy;
use tetryx_protocol::grant::Grants;
use tetryx_protocol::id::ClusterId;
use tetryx_protocol::token::TokenSigner;
use tetryx_raft::Replica;
pub use tetryx_state::command::FEATURE_LEVEL;
use tetryx_state::command::InitCluster;
use tetryx_state::{Refusal, query};

use crate::secrets::{self, ClusterSecret, TOKEN_KEY};
use crate::{Node, NodeError, config, files};

/// Who proposes what the node does by itself.
pub(crate) const BY_NODE: &str = "node";
/// Two years, as long as the root token counts.
const ROOT_TOKEN_VALIDITY: Duration = Duration::from_secs(2 * 365 * 24 * 60 * 60);
/// Its presence in the data directory says that a root token was shown.
const SHOWN_MARKER: &str = "root-token.shown";

/// Writes the documented configuration file, unless there is one. True when it was written.
///
/// # Errors
/// When the file cannot be written.
pub fn write_config(path: &Path) -> Result<bool, NodeError> {
    if files::read_if_present(path)?.is_some() {
        return Ok(false);
    }
    if let Some(parent) = path.parent() {
        files::create_private_dir(parent)?;
    }
    files::write_whole(path, config::generated().as_bytes(), 0o644)?;
    Ok(true)
}

/// Makes the replica a cluster of one with a token key, which begins at this feature level, unless it is part of a cluster.
///
/// # Errors
/// When log or state cannot be written.
pub async fn found_cluster(
    replica: &Replica,
    secret: &ClusterSecret,
    feature_level: u32,
    entropy: &dyn Entropy,
) -> Result<(), NodeError> {
    if !replica.is_initialised().await? {
        replica.bootstrap().await?;
    }
    if query::cluster(&replica.view()?)?.is_some() {
        return Ok(());
    }
    let seed = secrets::fresh_seed(entropy);
    let mut cluster = [0; 16];
    entropy.fill(&mut cluster);
    let init = InitCluster {
        cluster: ClusterId::from_bytes(cluster),
        feature_level,
        token_public_key: TokenSigner::from_seed(*seed).public_key(),
        sealed_token_key: secret.seal(&seed, TOKEN_KEY, entropy),
    };
    let applied = replica.propose(BY_NODE, init.into()).await?;
    match applied.reply.into_result() {
        // It was in the log already, from a start that was cut off before it was applied.
        Ok(_) | Err(Refusal::AlreadyInitialised { .. }) => {}
        Err(refusal) => return Err(refusal.into()),
    }
    replica.wait_applied(applied.index).await?;
    Ok(())
}

/// A root token to show, unless one was shown. Call [`mark_shown`] when it has been.
///
/// # Errors
/// When the token cannot be registered.
pub async fn root_token(node: &Node, data_dir: &Path) -> Result<Option<String>, NodeError> {
    if files::read_if_present(&data_dir.join(SHOWN_MARKER))?.is_some() {
        return Ok(None);
    }
    let issued = node
        .issue_token(BY_NODE, "root".to_owned(), ROOT_TOKEN_VALIDITY, Grants::admin())
        .await?;
    Ok(Some(issued.0))
}

/// Notes that the root token was shown.
///
/// # Errors
/// When the note cannot be written.
pub fn mark_shown(data_dir: &Path) -> Result<(), NodeError> {
    files::write_whole(&data_dir.join(SHOWN_MARKER), b"", 0o600)
}

/// What a first start tells its user.
#[derive(Debug)]
pub struct Welcome<'a> {
    pub config_file: &'a Path,
    pub data_dir: &'a Path,
    pub port: u16,
    pub token: &'a str,
}

impl std::fmt::Display for Welcome<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            config_file,
            data_dir,
            port,
            token,
        } = self;
        write!(
            f,
            "\
-----------------
Welcome to Tetryx!

A cluster of one node has been set up for you. Its configuration is in:

    {config}

and everything it keeps is in:

    {data}

Run the following command to log into it:

    tetryx-cli login local http://localhost:{port} {token}

This root token may do everything and is not shown again. Keep it to yourself.

Enjoy!
-----------------
",
            config = config_file.display(),
            data = data_dir.display(),
        )
    }
}
