//! Which incidents a silence mutes, and when.

use chrono::Duration;

use crate::model::{Incident, IncidentKind, Member, MemberState, Recurrence, Silence, UtcTime};

/// Whether the silence mutes at `now`: from its start to its end, each time it comes back.
pub fn is_active(silence: &Silence, now: UtcTime) -> bool {
    if now < silence.starts_at || silence.expired_at.is_some_and(|at| at <= now) {
        return false;
    }
    let Some(recurrence) = silence.recurrence else { return now < silence.ends_at };
    let period = match recurrence {
        Recurrence::Daily => Duration::days(1),
        Recurrence::Weekly => Duration::weeks(1),
    };
    let into = (now - silence.starts_at).num_microseconds().unwrap_or(i64::MAX)
        % period.num_microseconds().unwrap_or(i64::MAX);
    Duration::microseconds(into) < silence.ends_at - silence.starts_at
}

/// Whether it will never mute again.
pub fn is_over(silence: &Silence, now: UtcTime) -> bool {
    silence.expired_at.is_some_and(|at| at <= now)
        || (silence.recurrence.is_none() && silence.ends_at <= now)
}

/// The silence that mutes an incident, if *everything* that goes on in it is muted by some active silence: a
/// silence of one service never hides the trouble of another. What is not about a series goes by the names
/// `blind`, `store` and `storm` as its signal, and by the source's name, or `sentinelops`, as its service.
pub fn muting<'a>(
    silences: impl Iterator<Item = &'a Silence> + Clone,
    incident: &Incident,
    now: UtcTime,
) -> Option<&'a Silence> {
    let active = silences.filter(|silence| {
        is_active(silence, now) && silence.unless.is_none_or(|bar| incident.severity < bar)
    });
    let find = |service: &str, signal: &str| {
        active.clone().find(|silence| {
            fits(silence.service.as_deref(), service) && fits(silence.signal.as_deref(), signal)
        })
    };
    match &incident.kind {
        IncidentKind::Anomaly => {
            let mut firing =
                incident.members.iter().filter(|member| member.state == MemberState::Firing);
            let mut series = firing.by_ref().map(Member::series);
            let first = series.next().and_then(|series| find(&series.service, &series.signal))?;
            series.all(|series| find(&series.service, &series.signal).is_some()).then_some(first)
        }
        IncidentKind::Blind { source, .. } => find(source, "blind"),
        IncidentKind::Store { .. } => find("sentinelops", "store"),
        IncidentKind::Storm { .. } => find("sentinelops", "storm"),
        IncidentKind::Test => None,
    }
}

/// No pattern fits everything; a trailing `*` fits what begins so.
fn fits(pattern: Option<&str>, name: &str) -> bool {
    match pattern.map(|pattern| (pattern, pattern.strip_suffix('*'))) {
        None => true,
        Some((_, Some(prefix))) => name.starts_with(prefix),
        Some((pattern, None)) => name == pattern,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SilenceId;

    fn silence(recurrence: Option<Recurrence>) -> Silence {
        Silence {
            id: SilenceId("SIL-1".to_owned()),
            owner: "ada".to_owned(),
            reason: "backup".to_owned(),
            service: None,
            signal: None,
            starts_at: at("2026-11-21T22:00:00Z"),
            ends_at: at("2026-11-22T01:00:00Z"),
            recurrence,
            unless: None,
            expired_at: None,
        }
    }

    fn at(text: &str) -> UtcTime {
        text.parse().unwrap()
    }

    #[test]
    fn a_silence_has_a_beginning_and_an_end() {
        let check = |recurrence, text: &str, expected: bool| {
            assert_eq!(
                is_active(&silence(recurrence), at(text)),
                expected,
                "{recurrence:?} {text}"
            );
        };
        check(None, "2026-11-21T21:59:59Z", false);
        check(None, "2026-11-21T22:00:00Z", true);
        check(None, "2026-11-22T00:59:59Z", true);
        check(None, "2026-11-22T01:00:00Z", false);
        check(Some(Recurrence::Daily), "2026-11-22T23:30:00Z", true);
        check(Some(Recurrence::Daily), "2026-11-25T00:30:00Z", true);
        check(Some(Recurrence::Daily), "2026-11-25T01:00:00Z", false);
        check(Some(Recurrence::Weekly), "2026-11-22T23:30:00Z", false);
        check(Some(Recurrence::Weekly), "2026-11-29T00:30:00Z", true);
        let mut expired = silence(Some(Recurrence::Daily));
        expired.expired_at = Some(at("2026-11-21T23:00:00Z"));
        assert!(!is_active(&expired, at("2026-11-21T23:00:00Z")));
        assert!(is_over(&expired, at("2026-11-21T23:00:00Z")));
    }

    #[test]
    fn patterns_fit_whole_or_by_prefix() {
        for (pattern, expected) in
            [(None, true), (Some("pay"), false), (Some("pay*"), true), (Some("payment"), true)]
        {
            assert_eq!(fits(pattern, "payment"), expected, "{pattern:?}");
        }
    }
}
