//! The seam at which tests make verbs fail: before they ran, or after (the outcome is then ambiguous to the
//! caller, as when a connection breaks during a commit). Costs a null check when unset.

use std::fmt::Debug;
use std::future::Future;

use super::{Error, Result, Store};

/// Decides which verbs fail.
pub trait Faults: Send + Sync + Debug {
    /// Asked before a verb runs: an error means that it never ran.
    fn before(&self, verb: &'static str) -> Result<()>;

    /// Asked after a verb succeeded: an error hides that it did.
    fn after(&self, verb: &'static str) -> Result<()>;
}

impl Store {
    /// Runs a verb between the faults, under the deadline that a database across a network needs.
    pub(super) async fn guarded<T>(
        &self,
        verb: &'static str,
        work: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        if let Some(faults) = &self.faults {
            faults.before(verb)?;
        }
        let done = match self.deadline {
            None => work.await?,
            Some(deadline) => {
                tokio::time::timeout(deadline, work).await.map_err(|_| Error::Deadline(verb))??
            }
        };
        if let Some(faults) = &self.faults {
            faults.after(verb)?;
        }
        Ok(done)
    }
}
