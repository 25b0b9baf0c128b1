//! Verbs of the outbox: what is owed, who has taken it, how it ended.

use sqlx::Row;

use super::{Attempt, Outbox, Result, Store, rows, sql};
use crate::model::{Delivery, DeliveryId, IncidentId, Receipt, UtcTime, from_micros, micros};

impl Store {
    /// The deliveries of an incident, oldest first.
    pub async fn deliveries(&self, incident: &IncidentId) -> Result<Vec<Delivery>> {
        self.guarded("deliveries", async {
            sqlx::query(sql::DELIVERIES)
                .bind(incident.0.as_str())
                .fetch_all(&self.pool)
                .await?
                .iter()
                .map(rows::delivery)
                .collect()
        })
        .await
    }

    /// Takes up to `limit` deliveries of one receiver that are due, in order: the worst severity first, then
    /// by age; of one incident only the oldest owed one, and none while that one is leased or not yet due.
    /// They stay taken until `until`, or until they are settled. Each lease counts as an attempt: the
    /// deliveries carry `attempts` including this one.
    pub async fn lease(
        &self,
        receiver: &str,
        now: UtcTime,
        until: UtcTime,
        limit: u32,
    ) -> Result<Vec<Delivery>> {
        self.guarded("lease", async {
            let taken = sqlx::query(sql::LEASE)
                .bind(receiver)
                .bind(micros(now))
                .bind(micros(until))
                .bind(&*self.holder)
                .bind(i64::from(limit))
                .fetch_all(&self.pool)
                .await?;
            let mut leased = Vec::with_capacity(taken.len());
            for row in &taken {
                leased.push((row.try_get::<i64, _>("urgency")?, rows::delivery(row)?));
            }
            leased.sort_by_key(|(urgency, delivery)| (*urgency, delivery.id));
            Ok(leased.into_iter().map(|(_, delivery)| delivery).collect())
        })
        .await
    }

    /// What [`Store::lease`] would take of P1 and P2 if nothing was leased, without taking it: only reads, for
    /// when the store cannot be written.
    pub async fn urgent(&self, receiver: &str, now: UtcTime, limit: u32) -> Result<Vec<Delivery>> {
        self.guarded("urgent", async {
            sqlx::query(sql::URGENT)
                .bind(receiver)
                .bind(micros(now))
                .bind(i64::from(limit))
                .fetch_all(&self.pool)
                .await?
                .iter()
                .map(rows::delivery)
                .collect()
        })
        .await
    }

    /// Frees every lease of a receiver: those of a process that was killed, or of a call that failed half-way.
    /// Only for the dispatcher while it has nothing under way to that receiver. Answers how many there were.
    pub async fn release(&self, receiver: &str) -> Result<u64> {
        self.guarded("release", async {
            let freed = sqlx::query(sql::RELEASE).bind(receiver).execute(&self.pool).await?;
            Ok(freed.rows_affected())
        })
        .await
    }

    /// The receivers that something is owed to, with the instant from which [`Store::lease`] would take
    /// something (due and not leased, or when that ends), earliest first.
    pub async fn due(&self) -> Result<Vec<(String, UtcTime)>> {
        self.guarded("due", async {
            let mut due = Vec::new();
            for row in sqlx::query(sql::DUE).fetch_all(&self.pool).await? {
                due.push((row.try_get("receiver")?, from_micros(row.try_get("due_at")?)));
            }
            Ok(due)
        })
        .await
    }

    /// Records how a delivery ended; false if it is not owed any more, or another process has taken it. A
    /// lease that ran out without anybody else taking it does not matter.
    pub async fn settle(&self, id: DeliveryId, attempt: &Attempt, now: UtcTime) -> Result<bool> {
        let settled = self
            .guarded("settle", async {
                match attempt {
                    Attempt::Delivered(receipt) => self.settle_delivered(id, receipt, now).await,
                    Attempt::Superseded => self.settle_superseded(id, now).await,
                    Attempt::Retry { due_at, error, fallback } => {
                        let failed = Failed { text: sql::SETTLE_RETRY, at: *due_at, error };
                        self.settle_failed(id, &failed, fallback.as_deref(), now).await
                    }
                    Attempt::Dead { error, fallback } => {
                        let failed = Failed { text: sql::SETTLE_DEAD, at: now, error };
                        self.settle_failed(id, &failed, fallback.as_deref(), now).await
                    }
                }
            })
            .await?;
        // Whatever waited behind it can be taken now, and a fallback is owed.
        self.owed.notify_one();
        Ok(settled)
    }

    async fn settle_superseded(&self, id: DeliveryId, now: UtcTime) -> Result<bool> {
        let done = sqlx::query(sql::SETTLE_SUPERSEDED)
            .bind(id.0)
            .bind(&*self.holder)
            .bind(micros(now))
            .execute(&self.pool)
            .await?;
        Ok(done.rows_affected() == 1)
    }

    async fn settle_delivered(
        &self,
        id: DeliveryId,
        receipt: &Receipt,
        now: UtcTime,
    ) -> Result<bool> {
        let mut tx = self.pool.begin().await?;
        let row = sqlx::query(sql::SETTLE_DELIVERED)
            .bind(id.0)
            .bind(&*self.holder)
            .bind(micros(now))
            .fetch_optional(&mut *tx)
            .await?;
        let Some(row) = row else { return Ok(false) };
        sqlx::query(sql::PUT_RECEIPT)
            .bind(row.try_get::<String, _>("incident_id")?)
            .bind(row.try_get::<String, _>("receiver")?)
            .bind(rows::encode("a receipt", receipt)?)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(true)
    }

    /// A fallback is owed the same message in the same transaction, once however often it is named.
    async fn settle_failed(
        &self,
        id: DeliveryId,
        failed: &Failed<'_>,
        fallback: Option<&str>,
        now: UtcTime,
    ) -> Result<bool> {
        let mut tx = self.pool.begin().await?;
        let number = self.take_numbers(&mut tx, usize::from(fallback.is_some())).await?;
        let row = sqlx::query(failed.text)
            .bind(id.0)
            .bind(&*self.holder)
            .bind(micros(failed.at))
            .bind(failed.error)
            .fetch_optional(&mut *tx)
            .await?;
        let Some(row) = row else { return Ok(false) };
        if let Some(fallback) = fallback {
            sqlx::query(sql::OWE)
                .bind(number)
                .bind(row.try_get::<String, _>("incident_id")?)
                .bind(fallback)
                .bind(row.try_get::<String, _>("change")?)
                .bind(row.try_get::<i64, _>("severity")?)
                .bind(row.try_get::<i64, _>("revision")?)
                .bind(micros(now))
                .bind(micros(now))
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await?;
        Ok(true)
    }

    /// What a receiver answered for an incident.
    pub async fn receipt(&self, incident: &IncidentId, receiver: &str) -> Result<Option<Receipt>> {
        self.guarded("receipt", async {
            let body: Option<String> = sqlx::query_scalar(sql::RECEIPT)
                .bind(incident.0.as_str())
                .bind(receiver)
                .fetch_optional(&self.pool)
                .await?;
            body.map(|body| rows::decode("a receipt", &body)).transpose()
        })
        .await
    }

    /// What is owed.
    pub async fn outbox(&self) -> Result<Outbox> {
        self.guarded("outbox", async {
            let row = sqlx::query(sql::OUTBOX).fetch_one(&self.pool).await?;
            let count = |name| row.try_get::<i64, _>(name).map(|n| u64::try_from(n).unwrap_or(0));
            Ok(Outbox {
                owed: count("owed")?,
                oldest: row.try_get::<Option<i64>, _>("oldest")?.map(from_micros),
                dead: count("dead")?,
            })
        })
        .await
    }
}

/// How a failed attempt is recorded.
struct Failed<'a> {
    text: &'static str,
    at: UtcTime,
    error: &'a str,
}
