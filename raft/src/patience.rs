//! Waiting no longer than one wants to.

use std::future::Future;
use std::time::Duration;

/// Runs `future` until `deadline` has passed; `None` if it has.
pub(crate) async fn within<T>(deadline: Duration, future: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(deadline, future).await.ok()
}
