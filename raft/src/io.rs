//! Where blocking disk work runs.

use std::future::Future;

/// Where a replica does its blocking reads and writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Io {
    /// On the runtime's pool for blocking work: for real disks.
    #[default]
    Pool,
    /// On the calling task: for disks in memory, where it keeps a simulation on one thread and repeatable.
    Inline,
}

impl Io {
    /// Runs `work` and returns what it returns.
    pub(crate) async fn run<T, F>(self, work: F) -> T
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        match self {
            Self::Inline => work(),
            Self::Pool => match tokio::task::spawn_blocking(work).await {
                Ok(value) => value,
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    // The runtime is shutting down and nobody will look at the result any more.
                    Err(_) => std::future::pending().await,
                },
            },
        }
    }
}

/// Runs `future` until `deadline` has passed; `None` if it has.
pub(crate) async fn within<T>(deadline: std::time::Duration, future: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(deadline, future).await.ok()
}
