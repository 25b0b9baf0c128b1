//! One daemon a store: two of them would page twice.
//!
//! On `SQLite` a lock on a file beside the database, which the system frees even after a kill. On
//! `PostgreSQL` a lease in the database itself: further replicas wait for it, and take over when it ends.

use std::fs::{File, TryLockError};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::store::Store;

/// How long the lease of the active replica lasts; it is renewed three times as often.
const LEASE: Duration = Duration::from_secs(15);

/// The right to be the one daemon of a store, for as long as it lives.
#[derive(Debug)]
pub(super) enum Single {
    /// A lock on a file.
    Locked(#[expect(dead_code, reason = "held, not read: dropping it frees the lock")] File),
    /// A lease in the database, under this name.
    Leased(String),
    /// A database in memory: nobody else can have it.
    Private,
}

impl Single {
    /// Takes the right, or waits for it where another replica may hold it; `None` if asked to stop meanwhile.
    pub(super) async fn take(
        url: &str,
        store: &Store,
        clock: &Arc<dyn Clock>,
        soft: &CancellationToken,
    ) -> anyhow::Result<Option<Self>> {
        let Some(file) = url.strip_prefix("sqlite:") else {
            let holder = holder();
            let mut told = false;
            while !lead(store, &holder, clock).await? {
                if !told {
                    told = true;
                    tracing::info!("another replica is active: standing by");
                }
                tokio::select! {
                    () = soft.cancelled() => return Ok(None),
                    () = tokio::time::sleep(LEASE / 3) => {}
                }
            }
            return Ok(Some(Self::Leased(holder)));
        };
        let path = file.trim_start_matches("//").split('?').next().unwrap_or(file);
        if path.starts_with(":memory:") {
            return Ok(Some(Self::Private));
        }
        let path = PathBuf::from(format!("{path}.lock"));
        let lock = File::create(&path).with_context(|| format!("create {}", path.display()))?;
        match lock.try_lock() {
            Ok(()) => Ok(Some(Self::Locked(lock))),
            Err(TryLockError::WouldBlock) => {
                bail!("another sentinelops runs on this store ({} is locked)", path.display())
            }
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("lock {}", path.display()))
            }
        }
    }

    /// What keeps a lease alive until `soft` fires; it returns early, which ends the process, if the lease is
    /// lost. `None` where there is nothing to renew.
    pub(super) fn keep(
        &self,
        store: &Store,
        clock: &Arc<dyn Clock>,
        soft: &CancellationToken,
    ) -> Option<impl Future<Output = ()> + Send + use<>> {
        let Self::Leased(holder) = self else { return None };
        Some(keep(holder.clone(), store.clone(), Arc::clone(clock), soft.clone()))
    }
}

async fn keep(holder: String, store: Store, clock: Arc<dyn Clock>, soft: CancellationToken) {
    let mut good_until = clock.now() + LEASE;
    loop {
        tokio::select! {
            () = soft.cancelled() => return,
            () = tokio::time::sleep(LEASE / 3) => {}
        }
        match lead(&store, &holder, &clock).await {
            Ok(true) => good_until = clock.now() + LEASE,
            Ok(false) => {
                tracing::error!("another replica has taken over: this one ends");
                return;
            }
            Err(error) if clock.now() >= good_until => {
                tracing::error!(error = %format!("{error:#}"), "the lease ran out: this replica ends");
                return;
            }
            Err(error) => {
                tracing::warn!(error = %format!("{error:#}"), "the lease cannot be renewed yet");
            }
        }
    }
}

/// Names this process among the replicas.
fn holder() -> String {
    let mut bytes = [0_u8; 8];
    // Without randomness the process id alone must do: replicas on one machine still differ.
    let random = getrandom::fill(&mut bytes).map_or(0, |()| u64::from_le_bytes(bytes));
    format!("{}-{random:016x}", std::process::id())
}

async fn lead(store: &Store, holder: &str, clock: &Arc<dyn Clock>) -> anyhow::Result<bool> {
    let now = clock.now();
    store.lead(holder, now, now + LEASE).await.context("take the lease of the active replica")
}
