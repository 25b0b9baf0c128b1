//! Makes the n-th call over a seam fail: before it was carried out, or after (the caller cannot tell). A
//! scenario runs once for every n until no fault fires any more.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sentinelops::model::{Completeness, FailureKind, Receipt, Signal, SourceName, Windows};
use sentinelops::notify::{BoxFuture, Failure, Notifier, Outgoing, Reason, Retry};
use sentinelops::sources::{Checked, Source, Span};
use sentinelops::store;

/// Which calls fail: from the `first` on, `length` in a row, counted over all seams that share the plan, where
/// every call counts twice (before and after).
#[derive(Debug)]
pub(crate) struct Faults {
    first: usize,
    length: usize,
    counted: AtomicUsize,
    fired: AtomicUsize,
}

impl Faults {
    pub(crate) fn nth(first: usize, length: usize) -> Arc<Self> {
        let (counted, fired) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Arc::new(Self { first, length, counted, fired })
    }

    /// Whether this call fails.
    pub(crate) fn hit(&self) -> bool {
        let index = self.counted.fetch_add(1, Ordering::SeqCst);
        let hit = index >= self.first && index < self.first + self.length;
        if hit {
            self.fired.fetch_add(1, Ordering::SeqCst);
        }
        hit
    }

    pub(crate) fn length(&self) -> usize {
        self.length
    }

    pub(crate) fn fired(&self) -> bool {
        self.fired.load(Ordering::SeqCst) > 0
    }
}

/// An error as a broken connection gives it.
fn broken() -> store::Error {
    sqlx::Error::Io(std::io::Error::other("connection lost on purpose")).into()
}

impl store::Faults for Faults {
    fn before(&self, _verb: &'static str) -> store::Result<()> {
        if self.hit() { Err(broken()) } else { Ok(()) }
    }

    fn after(&self, _verb: &'static str) -> store::Result<()> {
        if self.hit() { Err(broken()) } else { Ok(()) }
    }
}

/// A notifier or a source some of whose calls fail.
pub(crate) struct Faulty<T> {
    pub(crate) inner: T,
    pub(crate) faults: Arc<Faults>,
}

impl<T: fmt::Debug> fmt::Debug for Faulty<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Faulty").field(&self.inner).finish()
    }
}

impl<N: Notifier + ?Sized> Notifier for Faulty<Arc<N>> {
    fn kind(&self) -> &'static str {
        self.inner.kind()
    }

    fn send<'a>(&'a self, message: &'a Outgoing) -> BoxFuture<'a, Result<Receipt, Failure>> {
        Box::pin(async move {
            if self.faults.hit() {
                let detail = "connection refused on purpose".to_owned();
                return Err(Failure { reason: Reason::Unreachable, detail, retry: Retry::Later });
            }
            let sent = self.inner.send(message).await?;
            if self.faults.hit() {
                let detail = "answer lost on purpose".to_owned();
                return Err(Failure { reason: Reason::Deadline, detail, retry: Retry::Later });
            }
            Ok(sent)
        })
    }

    fn coalesces(&self) -> bool {
        self.inner.coalesces()
    }
}

impl<S: Source> Source for Faulty<S> {
    fn name(&self) -> &SourceName {
        self.inner.name()
    }

    fn signals(&self) -> Vec<Signal> {
        self.inner.signals()
    }

    fn read(&mut self, span: Span) -> sentinelops::sources::BoxFuture<'_, Windows> {
        Box::pin(async move {
            let before = self.faults.hit();
            let mut windows = self.inner.read(span).await;
            // A read has no effect, so that only the answer can be lost.
            if self.faults.hit() || before {
                windows.rows.clear();
                windows.completeness = Completeness::Failed {
                    kind: FailureKind::Unreachable,
                    reason: "connection lost on purpose".to_owned(),
                    retry_at: None,
                };
            }
            windows
        })
    }

    fn check(&mut self) -> sentinelops::sources::BoxFuture<'_, Vec<Checked>> {
        self.inner.check()
    }
}
