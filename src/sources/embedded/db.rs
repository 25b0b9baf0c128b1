//! The log store's own SQLite file: minute buckets, warning and error events, counts of refused documents. All its
//! SQL stands here. One connection writes (the writer task), two read.
//!
//! A commit is on the disk before it is acknowledged (WAL, `synchronous=full`): what Elasticsearch promises with
//! `index.translog.durability: request`, its default.
//!
//! Long because all statements on the file stand together.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::{
    SqliteAutoVacuum, SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{
    ConnectOptions, Connection, QueryBuilder, Row as _, Sqlite, SqliteConnection, SqlitePool,
};

use super::buckets::{Bucket, Event};
use super::rejection::Reason;
use crate::model::{ServiceName, UtcTime, from_micros, micros};
use crate::sources::level::Level;

/// The layout of the file, kept in SQLite's `user_version`.
const LAYOUT: i64 = 1;
/// Rows a statement writes: ten columns stay far below SQLite's 32,766 parameters.
const ROWS: usize = 500;
/// Rows a read fetches at once.
const PAGE: i64 = 20_000;

/// How long one connection waits for another.
const BUSY: Duration = Duration::from_secs(5);

const SCHEMA: &str = "
create table services (
    id integer primary key,
    name text not null unique,
    first_seen bigint not null,
    telling bigint not null
);
create table buckets (
    minute bigint not null,
    service bigint not null,
    documents bigint not null,
    requests bigint not null,
    errors bigint not null,
    warnings bigint not null,
    events bigint not null,
    sketch blob not null,
    primary key (minute, service)
) without rowid;
create table events (
    id integer primary key,
    at bigint not null,
    service bigint not null,
    level text not null,
    message text,
    trace_id text,
    template text
);
create index events_by_time on events (at);
create index events_by_trace on events (trace_id) where trace_id is not null;
create table rejected (reason text primary key, documents bigint not null) without rowid;
create table meta (key text primary key, value bigint not null) without rowid;
";

/// The file could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder cannot be made, or the lock beside the file cannot be written.
    #[error("open the log store {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// Another process has it.
    #[error("open the log store {path}: another sentinelops process uses it")]
    Taken {
        /// The file.
        path: PathBuf,
    },
    /// Written by a newer release.
    #[error(
        "open the log store {path}: its layout {found} is newer than this release's {LAYOUT}; upgrade, or set embedded.path to another file"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The layout it has.
        found: i64,
    },
    /// SQLite refuses it.
    #[error("open the log store {path}")]
    Sql {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: sqlx::Error,
    },
}

/// The file, opened.
#[derive(Debug)]
pub(super) struct Opened {
    pub writer: SqliteConnection,
    pub readers: SqlitePool,
    /// Held as long as the file is used; the operating system frees it even after kill −9.
    pub lock: File,
}

/// Opens the file, makes it and its tables where they are missing.
pub(super) async fn open(path: &Path) -> Result<Opened, OpenError> {
    let lock = lock(path)?;
    let sql = |source| OpenError::Sql { path: path.to_owned(), source };
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .auto_vacuum(SqliteAutoVacuum::Incremental)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .pragma("journal_size_limit", "67108864")
        .busy_timeout(BUSY)
        .disable_statement_logging();
    let mut writer = options.connect().await.map_err(sql)?;
    let found: i64 = sqlx::query_scalar("select user_version from pragma_user_version")
        .fetch_one(&mut writer)
        .await
        .map_err(sql)?;
    if found > LAYOUT {
        return Err(OpenError::Newer { path: path.to_owned(), found });
    }
    if found == 0 {
        let mut tx = writer.begin().await.map_err(sql)?;
        sqlx::raw_sql(SCHEMA).execute(&mut *tx).await.map_err(sql)?;
        sqlx::raw_sql("pragma user_version = 1").execute(&mut *tx).await.map_err(sql)?;
        tx.commit().await.map_err(sql)?;
    }
    let reader = SqliteConnectOptions::new()
        .filename(path)
        .read_only(true)
        .busy_timeout(BUSY)
        .disable_statement_logging();
    let readers = SqlitePoolOptions::new()
        .max_connections(2)
        .min_connections(0)
        .connect_with(reader)
        .await
        .map_err(sql)?;
    Ok(Opened { writer, readers, lock })
}

fn lock(path: &Path) -> Result<File, OpenError> {
    let file = |source| OpenError::File { path: path.to_owned(), source };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(file)?;
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push(".lock");
    let lock = File::options().create(true).append(true).open(beside).map_err(file)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(std::fs::TryLockError::WouldBlock) => Err(OpenError::Taken { path: path.to_owned() }),
        Err(std::fs::TryLockError::Error(source)) => Err(file(source)),
    }
}

/// A service's number, and whether it tells requests apart from other lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Service {
    pub id: i64,
    pub telling: bool,
}

/// Every service by name.
pub(super) async fn services(
    db: &mut SqliteConnection,
) -> Result<HashMap<ServiceName, Service>, sqlx::Error> {
    let rows = sqlx::query("select id, name, telling from services").fetch_all(db).await?;
    rows.iter()
        .map(|row| {
            let telling = row.try_get::<i64, _>("telling")? != 0;
            let service = Service { id: row.try_get("id")?, telling };
            Ok((ServiceName::from(row.try_get::<&str, _>("name")?), service))
        })
        .collect()
}

/// Notes that a service tells requests apart from other lines.
pub(super) async fn put_telling(
    db: &mut SqliteConnection,
    service: i64,
) -> Result<(), sqlx::Error> {
    sqlx::query("update services set telling = 1 where id = $1")
        .bind(service)
        .execute(db)
        .await
        .map(drop)
}

/// Gives a new service its number.
pub(super) async fn add_service(
    db: &mut SqliteConnection,
    name: &str,
    now: UtcTime,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(
        "insert into services (name, first_seen, telling) values ($1, $2, 0) returning id",
    )
    .bind(name)
    .bind(micros(now))
    .fetch_one(db)
    .await
}

/// All buckets of a minute by service.
pub(super) async fn minute(
    db: &mut SqliteConnection,
    minute: i64,
) -> Result<HashMap<i64, Bucket>, sqlx::Error> {
    let rows = sqlx::query(
        "select service, documents, requests, errors, warnings, events, sketch from buckets where minute = $1",
    )
    .bind(minute)
    .fetch_all(db)
    .await?;
    rows.iter().map(|row| Ok((row.try_get("service")?, bucket(row)?))).collect()
}

fn bucket(row: &sqlx::sqlite::SqliteRow) -> Result<Bucket, sqlx::Error> {
    let count =
        |name| Ok::<_, sqlx::Error>(u32::try_from(row.try_get::<i64, _>(name)?).unwrap_or(0));
    Ok(Bucket {
        documents: count("documents")?,
        requests: count("requests")?,
        errors: count("errors")?,
        warnings: count("warnings")?,
        events: count("events")?,
        sketch: row.try_get("sketch")?,
    })
}

/// Writes buckets whole.
pub(super) async fn put_buckets(
    db: &mut SqliteConnection,
    buckets: &[(i64, i64, &Bucket)],
) -> Result<(), sqlx::Error> {
    for rows in buckets.chunks(ROWS) {
        let mut query = QueryBuilder::<Sqlite>::new(
            "insert into buckets (minute, service, documents, requests, errors, warnings, events, sketch) ",
        );
        query.push_values(rows, |mut row, (minute, service, bucket)| {
            row.push_bind(*minute)
                .push_bind(*service)
                .push_bind(i64::from(bucket.documents))
                .push_bind(i64::from(bucket.requests))
                .push_bind(i64::from(bucket.errors))
                .push_bind(i64::from(bucket.warnings))
                .push_bind(i64::from(bucket.events))
                .push_bind(bucket.sketch.as_slice());
        });
        query.push(
            " on conflict (minute, service) do update set documents = excluded.documents, requests = excluded.requests, \
             errors = excluded.errors, warnings = excluded.warnings, events = excluded.events, \
             sketch = excluded.sketch",
        );
        // Statements of odd lengths would only crowd the cache.
        query.build().persistent(rows.len() == ROWS).execute(&mut *db).await?;
    }
    Ok(())
}

/// Adds events.
pub(super) async fn put_events(
    db: &mut SqliteConnection,
    events: &[(i64, Event)],
) -> Result<(), sqlx::Error> {
    for rows in events.chunks(ROWS) {
        let mut query = QueryBuilder::<Sqlite>::new(
            "insert into events (at, service, level, message, trace_id) ",
        );
        query.push_values(rows, |mut row, (service, event)| {
            row.push_bind(micros(event.at))
                .push_bind(*service)
                .push_bind(event.level.as_str())
                .push_bind(event.message.as_deref())
                .push_bind(event.trace_id.as_deref());
        });
        query.build().persistent(rows.len() == ROWS).execute(&mut *db).await?;
    }
    Ok(())
}

/// Adds to the counts of refused documents.
pub(super) async fn put_rejected(
    db: &mut SqliteConnection,
    rejected: impl Iterator<Item = (Reason, u64)>,
) -> Result<(), sqlx::Error> {
    for (reason, documents) in rejected {
        sqlx::query(
            "insert into rejected (reason, documents) values ($1, $2) \
             on conflict (reason) do update set documents = documents + excluded.documents",
        )
        .bind(reason.as_str())
        .bind(i64::try_from(documents).unwrap_or(i64::MAX))
        .execute(&mut *db)
        .await?;
    }
    Ok(())
}

/// Notes that the store is alive at `now`.
pub(super) async fn put_alive(db: &mut SqliteConnection, now: UtcTime) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into meta (key, value) values ('alive', $1) \
         on conflict (key) do update set value = excluded.value",
    )
    .bind(micros(now))
    .execute(db)
    .await
    .map(drop)
}

/// When the store was last alive.
pub(super) async fn alive(db: &mut SqliteConnection) -> Result<Option<UtcTime>, sqlx::Error> {
    let value: Option<i64> =
        sqlx::query_scalar("select value from meta where key = 'alive'").fetch_optional(db).await?;
    Ok(value.map(from_micros))
}

/// Hands every bucket of the minutes `[from, to)` to `take`, in one consistent view.
pub(super) async fn read(
    readers: &SqlitePool,
    (from, to): (i64, i64),
    mut take: impl FnMut(&str, bool, i64, Bucket),
) -> Result<(), sqlx::Error> {
    let mut tx = readers.begin().await?;
    let mut after = (from, i64::MIN);
    loop {
        let rows = sqlx::query(
            "select b.minute, b.service, s.name, s.telling, b.documents, b.requests, b.errors, b.warnings, b.events, b.sketch \
             from buckets b join services s on s.id = b.service \
             where (b.minute, b.service) > ($1, $2) and b.minute < $3 \
             order by b.minute, b.service limit $4",
        )
        .bind(after.0)
        .bind(after.1)
        .bind(to)
        .bind(PAGE)
        .fetch_all(&mut *tx)
        .await?;
        for row in &rows {
            after = (row.try_get("minute")?, row.try_get("service")?);
            let telling = row.try_get::<i64, _>("telling")? != 0;
            take(row.try_get("name")?, telling, after.0, bucket(row)?);
        }
        if i64::try_from(rows.len()).unwrap_or(i64::MAX) < PAGE {
            return tx.commit().await;
        }
    }
}

/// The newest warning and error events of `[from, to)`, newest first, at most `limit`.
pub(super) async fn events(
    readers: &SqlitePool,
    (from, to): (UtcTime, UtcTime),
    limit: u32,
) -> Result<Vec<Event>, sqlx::Error> {
    let rows = sqlx::query(
        "select e.at, s.name, e.level, e.message, e.trace_id \
         from events e join services s on s.id = e.service \
         where e.at >= $1 and e.at < $2 order by e.at desc, e.id desc limit $3",
    )
    .bind(micros(from))
    .bind(micros(to))
    .bind(i64::from(limit))
    .fetch_all(readers)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(Event {
                service: row.try_get::<&str, _>("name")?.into(),
                at: from_micros(row.try_get("at")?),
                level: Level::from_text(row.try_get("level")?).unwrap_or(Level::Normal),
                message: row.try_get("message")?,
                trace_id: row.try_get("trace_id")?,
            })
        })
        .collect()
}

/// Counts of refused documents by reason, since the file was made.
pub(super) async fn rejected(readers: &SqlitePool) -> Result<Vec<(String, u64)>, sqlx::Error> {
    let rows = sqlx::query("select reason, documents from rejected order by reason")
        .fetch_all(readers)
        .await?;
    rows.iter()
        .map(|row| {
            let documents: i64 = row.try_get("documents")?;
            Ok((row.try_get("reason")?, u64::try_from(documents).unwrap_or(0)))
        })
        .collect()
}

/// Bytes in use: the file without its free pages.
pub(super) async fn used_bytes(db: &mut SqliteConnection) -> Result<u64, sqlx::Error> {
    let bytes: i64 = sqlx::query_scalar(
        "select (p.page_count - f.freelist_count) * s.page_size \
         from pragma_page_count p, pragma_freelist_count f, pragma_page_size s",
    )
    .fetch_one(db)
    .await?;
    Ok(u64::try_from(bytes).unwrap_or(0))
}

/// Drops at most `limit` of the oldest events, those before `before` only if it is given; returns how many.
pub(super) async fn drop_events(
    db: &mut SqliteConnection,
    before: Option<UtcTime>,
    limit: u32,
) -> Result<u64, sqlx::Error> {
    sqlx::query(
        "delete from events where id in (select id from events where at < $1 order by at limit $2)",
    )
    .bind(before.map_or(i64::MAX, micros))
    .bind(i64::from(limit))
    .execute(db)
    .await
    .map(|done| done.rows_affected())
}

/// Drops the oldest buckets, at most an hour of them and only minutes before `before`; returns how many.
pub(super) async fn drop_buckets(
    db: &mut SqliteConnection,
    before: i64,
) -> Result<u64, sqlx::Error> {
    sqlx::query(
        "delete from buckets where minute < min($1, (select min(minute) from buckets) + 60)",
    )
    .bind(before)
    .execute(db)
    .await
    .map(|done| done.rows_affected())
}

/// Drops services that have neither buckets nor events; returns their names.
pub(super) async fn drop_services(db: &mut SqliteConnection) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(
        "delete from services where id not in (select service from buckets) \
         and id not in (select service from events) returning name",
    )
    .fetch_all(db)
    .await
}

/// Gives free pages back to the file system, a few at a time.
pub(super) async fn shrink(db: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    sqlx::raw_sql("pragma incremental_vacuum(1000)").execute(db).await.map(drop)
}
