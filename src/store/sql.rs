//! Every SQL text, once, for `SQLite` and `PostgreSQL`. Parameters are `$1 … $n`, times bigint microseconds,
//! flags and severities bigint. Not here: what the texts are for; the verbs beside this file say that.

/// Takes delivery numbers, which also locks the one row that orders all writers; no row if fenced off.
pub(super) const TAKE_NUMBERS: &str = "update writer set next_delivery = next_delivery + $1 \
     where name = 'writer' and ($2 < 0 or epoch = $2) returning next_delivery";

pub(super) const LEAD: &str = "update writer set \
     epoch = case when holder = $1 then epoch else epoch + 1 end, holder = $1, until_at = $2 \
     where name = 'writer' and (holder = $1 or until_at <= $3) returning epoch";

pub(super) const PUT_INCIDENT: &str = "insert into incidents \
     (id, fingerprint, state, severity, services, opened_at, updated_at, resolved_at, revision, body) \
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) \
     on conflict (id) do update set state = excluded.state, severity = excluded.severity, \
     services = excluded.services, updated_at = excluded.updated_at, \
     resolved_at = excluded.resolved_at, revision = excluded.revision, body = excluded.body \
     where incidents.revision <= excluded.revision";

pub(super) const INCIDENT: &str = "select body from incidents where id = $1";

pub(super) const BOOK: &str = "select body from incidents \
     where state <> 'resolved' or updated_at >= $1 order by opened_at, id";

pub(super) const INCIDENTS: &str = "select body from incidents \
     where state in ($1, $2, $3) and severity <= $4 \
     and ($5 = '' or replace(services, $5, '') <> services) \
     order by opened_at desc, id desc limit $6 offset $7";

pub(super) const COUNT_INCIDENTS: &str = "select count(*) from incidents \
     where state in ($1, $2, $3) and severity <= $4 \
     and ($5 = '' or replace(services, $5, '') <> services)";

pub(super) const PUT_SILENCE: &str = "insert into silences (id, ends_at, recurs, expired_at, body) \
     values ($1, $2, $3, $4, $5) on conflict (id) do update set ends_at = excluded.ends_at, \
     recurs = excluded.recurs, expired_at = excluded.expired_at, body = excluded.body";

pub(super) const SILENCES: &str = "select body from silences order by ends_at, id";

pub(super) const LIVING_SILENCES: &str = "select body from silences \
     where (expired_at is null or expired_at >= $1) and (recurs = 1 or ends_at >= $1) \
     order by ends_at, id";

pub(super) const SUPERSEDE: &str = "update deliveries set state = 'superseded', finished_at = $4 \
     where incident_id = $1 and receiver = $2 and state = 'owed' and change = 'updated' \
     and revision < $3 and (leased_until is null or leased_until <= $4)";

pub(super) const OWE: &str = "insert into deliveries \
     (id, incident_id, receiver, change, severity, revision, state, attempts, due_at, created_at) \
     values ($1, $2, $3, $4, $5, $6, 'owed', 0, $7, $8) \
     on conflict (incident_id, receiver, change, revision) do nothing";

pub(super) const TOLD: &str =
    "select distinct receiver from deliveries where incident_id = $1 order by receiver";

pub(super) const DELIVERIES: &str = "select id, incident_id, receiver, change, severity, revision, state, \
     attempts, due_at, leased_until, last_error, created_at, finished_at \
     from deliveries where incident_id = $1 order by id";

/// Of each incident only the oldest owed one (the head) can be taken; a head goes by the worst severity that
/// waits behind it, so that a P1 is not kept waiting by the P3 it grew from.
pub(super) const LEASE: &str = "update deliveries \
     set leased_until = $3, leased_by = $4, attempts = attempts + 1 \
     where state = 'owed' and (leased_until is null or leased_until <= $2) and id in ( \
       select head.id from deliveries head \
       where head.receiver = $1 and head.state = 'owed' and head.due_at <= $2 \
       and (head.leased_until is null or head.leased_until <= $2) \
       and not exists (select 1 from deliveries older \
         where older.incident_id = head.incident_id and older.receiver = head.receiver \
         and older.state = 'owed' and older.id < head.id) \
       order by (select min(waiting.severity) from deliveries waiting \
         where waiting.incident_id = head.incident_id and waiting.receiver = head.receiver \
         and waiting.state = 'owed'), head.id limit $5) \
     returning id, incident_id, receiver, change, severity, revision, state, \
     attempts, due_at, leased_until, last_error, created_at, finished_at, \
     (select min(waiting.severity) from deliveries waiting \
       where waiting.incident_id = deliveries.incident_id \
       and waiting.receiver = deliveries.receiver and waiting.state = 'owed') as urgency";

pub(super) const URGENT: &str = "select head.id, head.incident_id, head.receiver, head.change, \
     head.severity, head.revision, head.state, head.attempts, head.due_at, head.leased_until, \
     head.last_error, head.created_at, head.finished_at, min(waiting.severity) as urgency \
     from deliveries head join deliveries waiting \
       on waiting.incident_id = head.incident_id and waiting.receiver = head.receiver \
       and waiting.state = 'owed' \
     where head.receiver = $1 and head.state = 'owed' and head.due_at <= $2 \
     group by head.id having min(waiting.severity) <= 2 and min(waiting.id) = head.id \
     order by urgency, head.id limit $3";

pub(super) const RELEASE: &str = "update deliveries set leased_until = null, leased_by = null \
     where receiver = $1 and state = 'owed' and leased_by is not null";

pub(super) const SETTLE_DELIVERED: &str = "update deliveries set state = 'delivered', \
     finished_at = $3, leased_until = null, leased_by = null, last_error = null \
     where id = $1 and state = 'owed' and (leased_by is null or leased_by = $2) \
     returning incident_id, receiver";

pub(super) const SETTLE_SUPERSEDED: &str = "update deliveries set state = 'superseded', \
     finished_at = $3, leased_until = null, leased_by = null \
     where id = $1 and state = 'owed' and (leased_by is null or leased_by = $2)";

pub(super) const SETTLE_RETRY: &str = "update deliveries set due_at = $3, last_error = $4, \
     leased_until = null, leased_by = null \
     where id = $1 and state = 'owed' and (leased_by is null or leased_by = $2) \
     returning incident_id, change, severity, revision";

pub(super) const SETTLE_DEAD: &str = "update deliveries set state = 'dead', finished_at = $3, \
     last_error = $4, leased_until = null, leased_by = null \
     where id = $1 and state = 'owed' and (leased_by is null or leased_by = $2) \
     returning incident_id, change, severity, revision";

pub(super) const PUT_RECEIPT: &str = "insert into receipts (incident_id, receiver, body) \
     values ($1, $2, $3) on conflict (incident_id, receiver) do update set body = excluded.body";

pub(super) const RECEIPT: &str =
    "select body from receipts where incident_id = $1 and receiver = $2";

pub(super) const OUTBOX: &str = "select \
     count(case when state = 'owed' then 1 end) as owed, \
     min(case when state = 'owed' then created_at end) as oldest, \
     count(case when state = 'dead' then 1 end) as dead \
     from deliveries where state in ('owed', 'dead')";

pub(super) const DUE: &str = "select head.receiver, min(case when head.leased_until > head.due_at \
       then head.leased_until else head.due_at end) as due_at from deliveries head \
     where head.state = 'owed' and not exists (select 1 from deliveries older \
       where older.incident_id = head.incident_id and older.receiver = head.receiver \
       and older.state = 'owed' and older.id < head.id) group by head.receiver order by 2, 1";

/// How many values one `remember` statement takes.
pub(super) const REMEMBER_ROWS: usize = 100;

/// The text that remembers `rows` values at once: four parameters each.
pub(super) fn remember(rows: usize) -> String {
    let values: Vec<String> = (0..rows)
        .map(|row| {
            let first = row * 4;
            format!("(${}, ${}, ${}, ${})", first + 1, first + 2, first + 3, first + 4)
        })
        .collect();
    format!(
        "insert into memory (kind, key, at, body) values {} \
         on conflict (kind, key) do update set at = excluded.at, body = excluded.body",
        values.join(", ")
    )
}

pub(super) const RECALL: &str =
    "select kind, key, at, body from memory where kind = $1 and at >= $2";

/// By `substr`, since the order of text differs between databases and their locales.
pub(super) const RECALL_KEYS: &str = "select kind, key, at, body from memory \
     where kind = $1 and substr(key, 1, cast($3 as integer)) = $2";

pub(super) const FORGET: &str = "delete from memory where kind = $1 and key = $2";

pub(super) const PRUNE_INCIDENTS: &str =
    "delete from incidents where state = 'resolved' and resolved_at < $1";

pub(super) const PRUNE_DELIVERIES: &str = "delete from deliveries \
     where (state = 'superseded' and finished_at < $1) \
     or (state in ('delivered', 'dead') and finished_at < $2)";

pub(super) const PRUNE_SILENCES: &str = "delete from silences \
     where expired_at < $1 or (recurs = 0 and ends_at < $1)";

pub(super) const PRUNE_BUCKETS: &str = "delete from memory where kind like 'series_%' and at < $1";

pub(super) const PRUNE_MEMORY: &str = "delete from memory where at < $1";
