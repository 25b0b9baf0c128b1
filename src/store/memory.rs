//! Verbs of detection's memory, retention, and the lease of the active replica.

use std::sync::LazyLock;
use std::sync::atomic::Ordering;

use chrono::Duration;
use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row};

use super::{Memory, Result, Settings, Store, sql};
use crate::model::{UtcTime, from_micros, micros};

/// Superseded deliveries explain themselves for a week only.
const SUPERSEDED_DAYS: i64 = 7;

static REMEMBER_MANY: LazyLock<String> = LazyLock::new(|| sql::remember(sql::REMEMBER_ROWS));
static REMEMBER_ONE: LazyLock<String> = LazyLock::new(|| sql::remember(1));

impl Store {
    /// Keeps values for detection, replacing those of the same kind and key: all of them or, on an error,
    /// none. A value given twice keeps its last body.
    pub async fn remember(&self, values: &[Memory]) -> Result<()> {
        // One statement may not touch a row twice on PostgreSQL, so only the last of each key is written.
        let mut last = std::collections::BTreeMap::new();
        for value in values {
            last.insert((value.kind.as_str(), value.key.as_str()), value);
        }
        let values: Vec<&Memory> = last.into_values().collect();
        let (many, rest) = values.as_chunks::<{ sql::REMEMBER_ROWS }>();
        self.guarded("remember", async {
            let mut tx = self.pool.begin().await?;
            let chunks = many.iter().map(|chunk| (&*REMEMBER_MANY, chunk.as_slice()));
            for (text, chunk) in chunks.chain(rest.chunks(1).map(|one| (&*REMEMBER_ONE, one))) {
                let mut query = sqlx::query(AssertSqlSafe(text.as_str()));
                for value in chunk {
                    query = query
                        .bind(value.kind.as_str())
                        .bind(value.key.as_str())
                        .bind(micros(value.at))
                        .bind(value.body.as_str());
                }
                query.execute(&mut *tx).await?;
            }
            tx.commit().await?;
            Ok(())
        })
        .await
    }

    /// The kept values of a kind since an instant, by key.
    pub async fn recall(&self, kind: &str, since: UtcTime) -> Result<Vec<Memory>> {
        self.guarded("recall", async {
            let found = sqlx::query(sql::RECALL)
                .bind(kind)
                .bind(micros(since))
                .fetch_all(&self.pool)
                .await?;
            by_key(&found)
        })
        .await
    }

    /// The kept values of a kind whose key begins with `prefix`, by key.
    pub async fn recall_keys(&self, kind: &str, prefix: &str) -> Result<Vec<Memory>> {
        self.guarded("recall_keys", async {
            let length = i64::try_from(prefix.chars().count()).unwrap_or(i64::MAX);
            let found = sqlx::query(sql::RECALL_KEYS)
                .bind(kind)
                .bind(prefix)
                .bind(length)
                .fetch_all(&self.pool)
                .await?;
            by_key(&found)
        })
        .await
    }

    /// Drops kept values.
    pub async fn forget(&self, kind: &str, keys: &[String]) -> Result<()> {
        self.guarded("forget", async {
            let mut tx = self.pool.begin().await?;
            for key in keys {
                sqlx::query(sql::FORGET).bind(kind).bind(key.as_str()).execute(&mut *tx).await?;
            }
            tx.commit().await?;
            Ok(())
        })
        .await
    }

    /// Removes what is past its retention; answers how many rows. Resolved incidents go with their
    /// deliveries and receipts after `incident_retention_days`, and so do silences that are over and values
    /// that detection has not renewed; superseded deliveries after a week; values of a kind that begins with
    /// `series_` (buckets) after `bucket_retention_hours`.
    pub async fn prune(&self, settings: &Settings, now: UtcTime) -> Result<u64> {
        let before =
            |age: Duration| micros(now.checked_sub_signed(age).unwrap_or(UtcTime::MIN_UTC));
        let days = before(Duration::days(i64::from(settings.incident_retention_days)));
        let week = before(Duration::days(SUPERSEDED_DAYS));
        let hours = before(Duration::hours(i64::from(settings.bucket_retention_hours)));
        self.guarded("prune", async {
            let mut removed = 0;
            for (text, first) in [
                (sql::PRUNE_INCIDENTS, days),
                (sql::PRUNE_SILENCES, days),
                (sql::PRUNE_BUCKETS, hours),
                (sql::PRUNE_MEMORY, days),
            ] {
                removed += sqlx::query(text).bind(first).execute(&self.pool).await?.rows_affected();
            }
            removed += sqlx::query(sql::PRUNE_DELIVERIES)
                .bind(week)
                .bind(days)
                .execute(&self.pool)
                .await?
                .rows_affected();
            Ok(removed)
        })
        .await
    }

    /// Takes or renews the lease of the active replica until `until`; false while another one holds it.
    /// From the first success on, commits of this process fail with [`super::Error::Fenced`] once another
    /// replica has taken over.
    pub async fn lead(&self, holder: &str, now: UtcTime, until: UtcTime) -> Result<bool> {
        self.guarded("lead", async {
            let epoch: Option<i64> = sqlx::query_scalar(sql::LEAD)
                .bind(holder)
                .bind(micros(until))
                .bind(micros(now))
                .fetch_optional(&self.pool)
                .await?;
            if let Some(epoch) = epoch {
                self.epoch.store(epoch, Ordering::SeqCst);
            }
            Ok(epoch.is_some())
        })
        .await
    }
}

/// Sorted here: databases order text by their own locale.
fn by_key(found: &[AnyRow]) -> Result<Vec<Memory>> {
    let mut values = Vec::with_capacity(found.len());
    for row in found {
        values.push(Memory {
            kind: row.try_get("kind")?,
            key: row.try_get("key")?,
            at: from_micros(row.try_get("at")?),
            body: row.try_get("body")?,
        });
    }
    values.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(values)
}
