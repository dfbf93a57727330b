//! Where blocking work runs: reading and writing disks, hashing, compressing.

use std::any::Any;
use std::fmt::{self, Debug};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::oneshot;

use crate::load::load_permille;

/// Runs work that blocks a thread.
pub trait Blocking: Send + Sync + Debug {
    /// Has the work done, beginning now; resolves when it is done. It is done to its end even if nobody waits for it,
    /// unless the process ends.
    fn run(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()>;

    /// How many pieces of work that computes make progress at one time; at least 1.
    fn parallelism(&self) -> usize;

    /// How busy the machine is: the runnable tasks of the last minute for each processor, in thousandths. Nothing but
    /// what is told of a node depends on it.
    fn load_permille(&self) -> u32 {
        0
    }
}

/// A handle on whatever runs blocking work. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Io(Arc<dyn Blocking>);

impl Io {
    /// Runs work as this one does it.
    pub fn new(blocking: Arc<dyn Blocking>) -> Self {
        Self(blocking)
    }

    /// On the runtime's pool for blocking work: for real disks.
    pub fn pool() -> Self {
        Self::new(Arc::new(Pool))
    }

    /// On the calling task, at once: for disks in memory, where it keeps a test on one thread and repeatable.
    pub fn inline() -> Self {
        Self::new(Arc::new(Inline))
    }

    /// Begins `work`, and resolves to what it returns. Dropping the future does not stop the work.
    ///
    /// # Errors
    /// [`WorkPanicked`] if it did.
    pub fn run<T, F>(&self, work: F) -> BoxFuture<'static, Result<T, WorkPanicked>>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let outcome = self.begin(work);
        async move { outcome.await.map_err(|panic| WorkPanicked::new(panic.as_ref())) }.boxed()
    }

    /// [`Self::run`] for work whose panic is the caller's own.
    ///
    /// # Panics
    /// When polled, if `work` panicked.
    pub fn run_unwinding<T, F>(&self, work: F) -> BoxFuture<'static, T>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let outcome = self.begin(work);
        async move { outcome.await.unwrap_or_else(|panic| resume_unwind(panic)) }.boxed()
    }

    /// How many pieces of work that computes make progress at one time; at least 1.
    pub fn parallelism(&self) -> usize {
        self.0.parallelism()
    }

    /// How busy the machine is: the runnable tasks of the last minute for each processor, in thousandths.
    pub fn load_permille(&self) -> u32 {
        self.0.load_permille()
    }

    fn begin<T, F>(&self, work: F) -> impl Future<Output = std::thread::Result<T>> + Send + use<T, F>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        let done = self.0.run(Box::new(move || {
            // Who asked may have gone.
            let _ = sender.send(catch_unwind(AssertUnwindSafe(work)));
        }));
        async move {
            done.await;
            match receiver.await {
                Ok(outcome) => outcome,
                // The process is ending and nobody will look at the result any more.
                Err(_) => std::future::pending().await,
            }
        }
    }
}

/// Work ended without a result.
#[derive(Debug)]
pub struct WorkPanicked(String);

impl WorkPanicked {
    fn new(panic: &(dyn Any + Send)) -> Self {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        Self(text.unwrap_or_else(|| "no reason given".to_owned()))
    }
}

impl fmt::Display for WorkPanicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a task panicked: {}", self.0)
    }
}

impl std::error::Error for WorkPanicked {}

#[derive(Debug)]
struct Pool;

impl Blocking for Pool {
    #[expect(clippy::disallowed_methods, reason = "this is the seam")]
    fn run(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        // It fails only while the runtime shuts down.
        tokio::task::spawn_blocking(work).map(drop).boxed()
    }

    fn parallelism(&self) -> usize {
        std::thread::available_parallelism().map_or(2, usize::from)
    }

    fn load_permille(&self) -> u32 {
        load_permille()
    }
}

#[derive(Debug)]
struct Inline;

impl Blocking for Inline {
    fn run(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        work();
        futures::future::ready(()).boxed()
    }

    fn parallelism(&self) -> usize {
        1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_is_done_wherever_it_runs_and_gives_its_result() {
        for io in [Io::pool(), Io::inline()] {
            assert_eq!(io.run(|| 6 * 7).await.expect("no panic"), 42, "{io:?}");
        }
    }

    #[tokio::test]
    async fn work_that_nobody_waits_for_is_done_all_the_same() {
        for io in [Io::pool(), Io::inline()] {
            let (sender, receiver) = oneshot::channel();
            drop(io.run(move || sender.send(())));
            receiver.await.expect("it is done");
        }
    }

    #[tokio::test]
    async fn a_panic_of_the_work_is_told() {
        for io in [Io::pool(), Io::inline()] {
            let error = io.run(|| panic!("no such luck")).await.expect_err("a panic");
            assert_eq!(error.to_string(), "a task panicked: no such luck");
        }
    }

    #[tokio::test]
    #[should_panic(expected = "no such luck")]
    async fn a_panic_goes_on_in_the_caller_who_wants_it() {
        Io::inline().run_unwinding(|| panic!("no such luck")).await
    }
}
