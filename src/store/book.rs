//! Verbs of incidents and silences.

use std::sync::atomic::Ordering;

use sqlx::{Any, Row, Transaction};

use super::{Changes, Error, IncidentFilter, Owed, Result, Store, rows, sql};
use crate::model::{Change, Incident, IncidentId, IncidentState, Silence, UtcTime, micros};

impl Store {
    /// Commits one step of the incident writer, in one transaction: incidents (an older revision never
    /// replaces a newer one), silences, and what is owed.
    ///
    /// An owed [`crate::model::Change::Updated`] is superseded by any newer delivery of the same incident
    /// and receiver, unless it is on its way; all other deliveries stay owed, since receivers need them in
    /// order (`PagerDuty`'s trigger before its resolve) and a message always shows the newest incident.
    ///
    /// Repeating a commit whose outcome is unknown changes nothing: deliveries are unique by incident,
    /// receiver, change and revision.
    pub async fn commit(&self, changes: &Changes) -> Result<()> {
        self.guarded("commit", async {
            let mut tx = self.pool.begin().await?;
            let mut number = self.take_numbers(&mut tx, changes.owed.len()).await?;
            for incident in &changes.incidents {
                put_incident(&mut tx, incident).await?;
            }
            for silence in &changes.silences {
                put_silence(&mut tx, silence).await?;
            }
            for owed in &changes.owed {
                put_owed(&mut tx, number, owed).await?;
                number += 1;
            }
            let endings = endings_for_stand_ins(&mut tx, &changes.owed).await?;
            if !endings.is_empty() {
                let mut number = self.take_numbers(&mut tx, endings.len()).await?;
                for owed in &endings {
                    put_owed(&mut tx, number, owed).await?;
                    number += 1;
                }
            }
            tx.commit().await?;
            Ok(())
        })
        .await?;
        if !changes.owed.is_empty() {
            self.owed.notify_waiters();
            self.owed.notify_one();
        }
        Ok(())
    }

    /// Takes delivery numbers and, with them, the lock that orders all writers. It must be the first
    /// statement of its transaction: `SQLite` refuses a transaction that reads first and writes later while
    /// another one writes.
    pub(super) async fn take_numbers(
        &self,
        tx: &mut Transaction<'static, Any>,
        numbers: usize,
    ) -> Result<i64> {
        let numbers = i64::try_from(numbers).unwrap_or(i64::MAX);
        let next: Option<i64> = sqlx::query_scalar(sql::TAKE_NUMBERS)
            .bind(numbers)
            .bind(self.epoch.load(Ordering::SeqCst))
            .fetch_optional(&mut **tx)
            .await?;
        next.map(|next| next - numbers).ok_or(Error::Fenced)
    }

    /// What the writer needs at start: open incidents and those that changed since `since`, oldest first, and
    /// the silences that were not over at `since`.
    pub async fn load_book(&self, since: UtcTime) -> Result<(Vec<Incident>, Vec<Silence>)> {
        self.guarded("load_book", async {
            let bodies: Vec<String> =
                sqlx::query_scalar(sql::BOOK).bind(micros(since)).fetch_all(&self.pool).await?;
            let incidents = decode_all("an incident", &bodies)?;
            let bodies: Vec<String> = sqlx::query_scalar(sql::LIVING_SILENCES)
                .bind(micros(since))
                .fetch_all(&self.pool)
                .await?;
            Ok((incidents, decode_all("a silence", &bodies)?))
        })
        .await
    }

    /// One incident.
    pub async fn incident(&self, id: &IncidentId) -> Result<Option<Incident>> {
        self.guarded("incident", async {
            let body: Option<String> = sqlx::query_scalar(sql::INCIDENT)
                .bind(id.0.as_str())
                .fetch_optional(&self.pool)
                .await?;
            body.map(|body| rows::decode(&format!("incident {id}"), &body)).transpose()
        })
        .await
    }

    /// A page of incidents, newest first, and how many there are in all.
    pub async fn incidents(&self, filter: &IncidentFilter) -> Result<(u64, Vec<Incident>)> {
        const ALL: [IncidentState; 3] =
            [IncidentState::Open, IncidentState::Acknowledged, IncidentState::Resolved];
        let wanted = |state: &IncidentState| {
            if filter.states.is_empty() || filter.states.contains(state) {
                state.as_str()
            } else {
                ""
            }
        };
        let states = ALL.each_ref().map(wanted);
        let rank = filter.at_least.map_or(4, rows::rank);
        let service = filter.service.as_deref().map(rows::service_mark).unwrap_or_default();
        self.guarded("incidents", async {
            let total: i64 = sqlx::query_scalar(sql::COUNT_INCIDENTS)
                .bind(states[0])
                .bind(states[1])
                .bind(states[2])
                .bind(rank)
                .bind(service.as_str())
                .fetch_one(&self.pool)
                .await?;
            let bodies: Vec<String> = sqlx::query(sql::INCIDENTS)
                .bind(states[0])
                .bind(states[1])
                .bind(states[2])
                .bind(rank)
                .bind(service.as_str())
                .bind(i64::from(filter.limit))
                .bind(i64::from(filter.offset))
                .fetch_all(&self.pool)
                .await?
                .iter()
                .map(|row| row.try_get("body"))
                .collect::<std::result::Result<_, _>>()?;
            Ok((u64::try_from(total).unwrap_or(0), decode_all("an incident", &bodies)?))
        })
        .await
    }

    /// All silences that have not been over for longer than the retention.
    pub async fn silences(&self) -> Result<Vec<Silence>> {
        self.guarded("silences", async {
            let bodies: Vec<String> =
                sqlx::query_scalar(sql::SILENCES).fetch_all(&self.pool).await?;
            decode_all("a silence", &bodies)
        })
        .await
    }
}

fn decode_all<T: serde::de::DeserializeOwned>(what: &str, bodies: &[String]) -> Result<Vec<T>> {
    bodies.iter().map(|body| rows::decode(what, body)).collect()
}

async fn put_incident(tx: &mut Transaction<'static, Any>, incident: &Incident) -> Result<()> {
    let body = rows::encode(&format!("incident {}", incident.id), incident)?;
    sqlx::query(sql::PUT_INCIDENT)
        .bind(incident.id.0.as_str())
        .bind(incident.fingerprint.as_str())
        .bind(incident.state.as_str())
        .bind(rows::rank(incident.severity))
        .bind(rows::services(incident))
        .bind(micros(incident.opened_at))
        .bind(micros(incident.updated_at))
        .bind(incident.resolved_at.map(micros))
        .bind(incident.revision)
        .bind(body)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

async fn put_silence(tx: &mut Transaction<'static, Any>, silence: &Silence) -> Result<()> {
    sqlx::query(sql::PUT_SILENCE)
        .bind(silence.id.0.as_str())
        .bind(micros(silence.ends_at))
        .bind(i64::from(silence.recurrence.is_some()))
        .bind(silence.expired_at.map(micros))
        .bind(rows::encode(&format!("silence {}", silence.id), silence)?)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Whoever was told of an incident in another's stead is told of its end too, though no route says so: else
/// its alert would stay open for ever.
async fn endings_for_stand_ins(
    tx: &mut Transaction<'static, Any>,
    owed: &[Owed],
) -> Result<Vec<Owed>> {
    let mut endings: Vec<Owed> = Vec::new();
    for end in owed.iter().filter(|owed| owed.change == Change::Resolved) {
        let told: Vec<String> = sqlx::query_scalar(sql::TOLD)
            .bind(end.incident.0.as_str())
            .fetch_all(&mut **tx)
            .await?;
        for receiver in told {
            let same = |other: &Owed| {
                other.incident == end.incident
                    && other.receiver == receiver
                    && other.change == Change::Resolved
            };
            if !owed.iter().any(same) && !endings.iter().any(same) {
                endings.push(Owed { receiver, ..end.clone() });
            }
        }
    }
    Ok(endings)
}

async fn put_owed(tx: &mut Transaction<'static, Any>, number: i64, owed: &Owed) -> Result<()> {
    sqlx::query(sql::SUPERSEDE)
        .bind(owed.incident.0.as_str())
        .bind(owed.receiver.as_str())
        .bind(owed.revision)
        .bind(micros(owed.created_at))
        .execute(&mut **tx)
        .await?;
    sqlx::query(sql::OWE)
        .bind(number)
        .bind(owed.incident.0.as_str())
        .bind(owed.receiver.as_str())
        .bind(owed.change.as_str())
        .bind(rows::rank(owed.severity))
        .bind(owed.revision)
        .bind(micros(owed.due_at))
        .bind(micros(owed.created_at))
        .execute(&mut **tx)
        .await?;
    Ok(())
}
