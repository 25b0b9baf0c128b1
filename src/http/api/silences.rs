//! Silences: listed, added, ended early.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State as Extract};
use axum::http::StatusCode;
use chrono::Duration;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::body::{Body, optional, required};
use super::incidents::is_id;
use super::params::Params;
use crate::http::error::ApiError;
use crate::http::state::State;
use crate::incidents::{Command, Reply};
use crate::model::{Recurrence, Severity, Silence, SilenceId, UtcTime, micros};
use crate::store::{self, Store};

/// Nobody remembers why after that long.
const LONGEST_DAYS: i64 = 366;

/// The answer of `GET /api/silences`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SilenceList {
    /// Active ones first, then pending ones, then those that are over; by their start.
    pub silences: Vec<SilenceView>,
}

/// One silence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SilenceView {
    /// Its id.
    pub id: String,
    /// Where it stands.
    pub status: SilenceStatus,
    /// Who asked for it.
    pub owner: String,
    /// Why.
    pub reason: String,
    /// Only this service; a trailing `*` matches a prefix.
    pub service: Option<String>,
    /// Only this signal.
    pub signal: Option<String>,
    /// When it begins.
    pub starts_at: UtcTime,
    /// When it ends (of its first occurrence, if it recurs).
    pub ends_at: UtcTime,
    /// Whether it comes back.
    pub recurrence: Option<Recurrence>,
    /// Incidents of this severity or worse are announced all the same.
    pub unless: Option<Severity>,
    /// When a person ended it early.
    pub expired_at: Option<UtcTime>,
}

/// Where a silence stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SilenceStatus {
    /// It mutes now.
    Active,
    /// It will.
    Pending,
    /// It is over.
    Expired,
}

/// The body of `POST /api/silences`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NewSilence {
    /// Who asks for it.
    pub owner: String,
    /// Why.
    pub reason: String,
    /// Only this service; any if absent. A trailing `*` matches a prefix.
    pub service: Option<String>,
    /// Only this signal; any if absent.
    pub signal: Option<String>,
    /// When it begins; now if absent.
    pub starts_at: Option<UtcTime>,
    /// When it ends; or `duration_minutes`.
    pub ends_at: Option<UtcTime>,
    /// How long it lasts; or `ends_at`.
    pub duration_minutes: Option<u32>,
    /// Whether it comes back.
    pub recurrence: Option<Recurrence>,
    /// Incidents of this severity or worse are announced all the same.
    pub unless: Option<Severity>,
}

pub(in crate::http) async fn list(
    Extract(state): Extract<Arc<State>>,
    params: Params,
) -> Result<Json<SilenceList>, ApiError> {
    params.end(&[])?;
    Ok(Json(read_list(&state.store, state.clock.now()).await?))
}

/// All silences.
pub async fn read_list(store: &Store, now: UtcTime) -> store::Result<SilenceList> {
    let mut silences: Vec<_> =
        store.silences().await?.iter().map(|silence| view(silence, now)).collect();
    silences.sort_by(|a, b| (a.status, a.starts_at, &a.id).cmp(&(b.status, b.starts_at, &b.id)));
    Ok(SilenceList { silences })
}

pub(in crate::http) async fn add(
    Extract(state): Extract<Arc<State>>,
    Body(body): Body<NewSilence>,
) -> Result<(StatusCode, Json<SilenceView>), ApiError> {
    let now = state.clock.now();
    let silence = read(&body, now)?;
    let reply = state.incidents.ask(Command::Silence(silence)).await?;
    Ok((StatusCode::CREATED, answered(reply, now)?))
}

pub(in crate::http) async fn expire(
    Extract(state): Extract<Arc<State>>,
    Path(id): Path<String>,
    mut params: Params,
) -> Result<Json<SilenceView>, ApiError> {
    let actor = required("actor", &params.text("actor").unwrap_or_default())?;
    params.end(&["actor"])?;
    if !is_id(&id) {
        return Err(UNKNOWN);
    }
    let command = Command::ExpireSilence { id: SilenceId(id), actor };
    answered(state.incidents.ask(command).await?, state.clock.now())
}

const UNKNOWN: ApiError = ApiError::NotFound("Silence not found");

fn answered(reply: Reply, now: UtcTime) -> Result<Json<SilenceView>, ApiError> {
    match reply {
        Reply::Silence(silence) => Ok(Json(view(&silence, now))),
        Reply::NotFound => Err(UNKNOWN),
        Reply::Conflict(reason) => Err(ApiError::Conflict(reason)),
        Reply::Unavailable(reason) => Err(ApiError::Unavailable(reason)),
        Reply::Done(_) => Err(ApiError::Internal),
    }
}

fn read(body: &NewSilence, now: UtcTime) -> Result<Silence, ApiError> {
    let owner = required("owner", &body.owner)?;
    let reason = required("reason", &body.reason)?;
    let service = optional("service", body.service.as_deref())?;
    let signal = optional("signal", body.signal.as_deref())?;
    let starts_at = body.starts_at.unwrap_or(now);
    let ends_at = match (body.ends_at, body.duration_minutes) {
        (Some(end), None) => end,
        (None, Some(minutes)) => starts_at + Duration::minutes(i64::from(minutes)),
        (None, None) => {
            return Err(ApiError::invalid("ends_at", "give ends_at or duration_minutes"));
        }
        (Some(_), Some(_)) => {
            return Err(ApiError::invalid("ends_at", "give ends_at or duration_minutes, not both"));
        }
    };
    let length = ends_at - starts_at;
    if length <= Duration::zero() {
        return Err(ApiError::invalid("ends_at", "must be after the start"));
    }
    if length > Duration::days(LONGEST_DAYS) {
        let text = format!("is more than {LONGEST_DAYS} days after the start");
        return Err(ApiError::invalid("ends_at", text));
    }
    let (period, words) = match body.recurrence {
        None if ends_at <= now => return Err(ApiError::invalid("ends_at", "is in the past")),
        None => (Duration::days(LONGEST_DAYS), ""),
        Some(Recurrence::Daily) => (Duration::days(1), "a day"),
        Some(Recurrence::Weekly) => (Duration::days(7), "a week"),
    };
    if length > period {
        let text = format!("lasts longer than {words}, so that it would never end");
        return Err(ApiError::invalid("ends_at", text));
    }
    let mut silence = Silence {
        id: SilenceId(String::new()),
        owner,
        reason,
        service,
        signal,
        starts_at,
        ends_at,
        recurrence: body.recurrence,
        unless: body.unless,
        expired_at: None,
    };
    silence.id = new_id(&silence, now);
    Ok(silence)
}

/// When it was made, and a hash of what it says: two at the same microsecond with the same words are one.
fn new_id(silence: &Silence, now: UtcTime) -> SilenceId {
    let said = format!(
        "{}\n{}\n{}\n{:?}\n{:?}\n{}\n{}",
        micros(now),
        silence.owner,
        silence.reason,
        silence.service,
        silence.signal,
        micros(silence.starts_at),
        micros(silence.ends_at)
    );
    let hash = Sha256::digest(said.as_bytes());
    let short = format!("{:02x}{:02x}{:02x}", hash[0], hash[1], hash[2]);
    let stamp = now.format("%Y%m%d-%H%M%S");
    SilenceId(format!("SIL-{stamp}-{short}"))
}

fn view(silence: &Silence, now: UtcTime) -> SilenceView {
    SilenceView {
        id: silence.id.0.clone(),
        status: status(silence, now),
        owner: silence.owner.clone(),
        reason: silence.reason.clone(),
        service: silence.service.clone(),
        signal: silence.signal.clone(),
        starts_at: silence.starts_at,
        ends_at: silence.ends_at,
        recurrence: silence.recurrence,
        unless: silence.unless,
        expired_at: silence.expired_at,
    }
}

fn status(silence: &Silence, now: UtcTime) -> SilenceStatus {
    if silence.expired_at.is_some_and(|at| at <= now) {
        return SilenceStatus::Expired;
    }
    if now < silence.starts_at {
        return SilenceStatus::Pending;
    }
    let since = now - silence.starts_at;
    let length = silence.ends_at - silence.starts_at;
    let (period, comes_back) = match silence.recurrence {
        None => (Duration::MAX, false),
        Some(Recurrence::Daily) => (Duration::days(1), true),
        Some(Recurrence::Weekly) => (Duration::days(7), true),
    };
    let into = Duration::microseconds(
        since.num_microseconds().unwrap_or(i64::MAX)
            % period.num_microseconds().unwrap_or(i64::MAX).max(1),
    );
    match (into < length, comes_back) {
        (true, _) => SilenceStatus::Active,
        (false, true) => SilenceStatus::Pending,
        (false, false) => SilenceStatus::Expired,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minutes: i64) -> UtcTime {
        UtcTime::from_timestamp(1_800_000_000 + minutes * 60, 0).unwrap()
    }

    fn asked() -> NewSilence {
        NewSilence {
            owner: "ana".to_owned(),
            reason: "deploy".to_owned(),
            duration_minutes: Some(60),
            ..NewSilence::default()
        }
    }

    #[test]
    fn status_follows_the_clock() {
        let once = read(&asked(), at(0)).unwrap();
        let daily =
            read(&NewSilence { recurrence: Some(Recurrence::Daily), ..asked() }, at(0)).unwrap();
        let day = 24 * 60;
        for (now, one, other) in [
            (-1, SilenceStatus::Pending, SilenceStatus::Pending),
            (0, SilenceStatus::Active, SilenceStatus::Active),
            (59, SilenceStatus::Active, SilenceStatus::Active),
            (60, SilenceStatus::Expired, SilenceStatus::Pending),
            (day, SilenceStatus::Expired, SilenceStatus::Active),
            (day + 60, SilenceStatus::Expired, SilenceStatus::Pending),
        ] {
            assert_eq!(status(&once, at(now)), one, "{now}");
            assert_eq!(status(&daily, at(now)), other, "{now}");
        }
        let ended = Silence { expired_at: Some(at(5)), ..daily };
        assert_eq!(status(&ended, at(6)), SilenceStatus::Expired);
    }

    #[test]
    fn silences_that_make_no_sense_are_refused() {
        let field = |body: NewSilence| match read(&body, at(0)) {
            Err(ApiError::Invalid(field, _)) => field,
            other => panic!("accepted: {other:?}"),
        };
        assert_eq!(field(NewSilence { owner: " ".to_owned(), ..asked() }), "owner");
        assert_eq!(field(NewSilence { reason: String::new(), ..asked() }), "reason");
        assert_eq!(field(NewSilence { reason: "a\nb".to_owned(), ..asked() }), "reason");
        assert_eq!(field(NewSilence { duration_minutes: None, ..asked() }), "ends_at");
        assert_eq!(field(NewSilence { duration_minutes: Some(0), ..asked() }), "ends_at");
        assert_eq!(field(NewSilence { ends_at: Some(at(9)), ..asked() }), "ends_at");
        assert_eq!(field(NewSilence { starts_at: Some(at(-90)), ..asked() }), "ends_at");
        let year = NewSilence { duration_minutes: Some(600_000), ..asked() };
        assert_eq!(field(year), "ends_at");
        let always = NewSilence {
            duration_minutes: Some(1_441),
            recurrence: Some(Recurrence::Daily),
            ..asked()
        };
        assert_eq!(field(always), "ends_at");
    }
}
