//! Opens the database: address, pragmas, limits of the pool, migrations.

use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::migrate::Migrator;
use sqlx::{ConnectOptions, Connection};
use tokio::sync::Notify;

use super::{Error, Result, Settings, Store, UNFENCED};

static MIGRATIONS: Migrator = sqlx::migrate!();

/// How long a verb waits for a free connection.
const ACQUIRE: Duration = Duration::from_secs(15);
/// How long a verb may take on a database across a network.
const DEADLINE: Duration = Duration::from_secs(20);

/// A commit reaches the disk before it is reported; a second process waits for the lock instead of failing.
const SQLITE_PRAGMAS: &str = "pragma busy_timeout = 5000; pragma journal_mode = wal; \
     pragma synchronous = full; pragma foreign_keys = on";
/// The server gives up a little before we do, so that nothing stays locked behind us.
const POSTGRES_LIMITS: &str = "set statement_timeout = '15s'; set lock_timeout = '10s'; \
     set idle_in_transaction_session_timeout = '20s'";

impl Store {
    /// Opens the database and brings its tables up to date. `settings.url` is `sqlite:PATH`,
    /// `sqlite::memory:` or `postgres://…`.
    pub async fn open(settings: &Settings) -> Result<Self> {
        sqlx::any::install_default_drivers();
        let address = Address::parse(&settings.url)?;
        let options = AnyConnectOptions::from_str(&address.url)
            .map_err(|_| {
                Error::location("the address is no URL", "write sqlite:PATH or postgres://…")
            })?
            .disable_statement_logging();
        let setup = if address.is_sqlite { SQLITE_PRAGMAS } else { POSTGRES_LIMITS };
        // The pool hides why a connection failed behind its own time-out; one made by hand shows it at once.
        let mut first = options.connect().await?;
        sqlx::raw_sql(setup).execute(&mut first).await?;
        first.close().await?;
        let pool = AnyPoolOptions::new()
            .max_connections(if address.in_memory { 1 } else { 4 })
            .min_connections(1)
            .idle_timeout(None)
            .max_lifetime(if address.is_sqlite { None } else { Some(Duration::from_mins(30)) })
            .test_before_acquire(!address.is_sqlite)
            .acquire_timeout(ACQUIRE)
            .after_connect(move |connection, _| {
                Box::pin(async move { sqlx::raw_sql(setup).execute(connection).await.map(drop) })
            })
            .connect_with(options)
            .await?;
        MIGRATIONS.run(&pool).await?;
        Ok(Self {
            pool,
            owed: Arc::new(Notify::new()),
            holder: Arc::from(holder()),
            epoch: Arc::new(AtomicI64::new(UNFENCED)),
            deadline: (!address.is_sqlite).then_some(DEADLINE),
            faults: None,
        })
    }

    /// Waits for what runs and closes the database; later verbs fail.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

struct Address {
    url: String,
    is_sqlite: bool,
    in_memory: bool,
}

impl Address {
    fn parse(url: &str) -> Result<Self> {
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return Ok(Self { url: url.to_owned(), is_sqlite: false, in_memory: false });
        }
        let Some(rest) = url.strip_prefix("sqlite:") else {
            // Only the scheme is shown: the rest may hold a password.
            let scheme = url.split(':').next().unwrap_or_default();
            return Err(Error::location(
                format!("`{scheme}` is no kind of database that can be used"),
                "write sqlite:PATH or postgres://…",
            ));
        };
        if rest == ":memory:" {
            return Ok(Self { url: url.to_owned(), is_sqlite: true, in_memory: true });
        }
        let path = rest.strip_prefix("//").unwrap_or(rest);
        let path = path.split_once('?').map_or(path, |(path, _)| path);
        if path.is_empty() {
            return Err(Error::location("`sqlite:` names no file", "write sqlite:PATH"));
        }
        let folder = Path::new(path).parent().filter(|folder| !folder.as_os_str().is_empty());
        if let Some(folder) = folder
            && !folder.is_dir()
        {
            return Err(Error::location(
                format!("the folder `{}` does not exist", folder.display()),
                "create it, or change store.url",
            ));
        }
        let url = if rest.contains("mode=") {
            url.to_owned()
        } else {
            format!("{url}{}mode=rwc", if rest.contains('?') { '&' } else { '?' })
        };
        Ok(Self { url, is_sqlite: true, in_memory: false })
    }
}

/// Names this process among those that lease deliveries.
fn holder() -> String {
    let mut bytes = [0_u8; 8];
    // Without randomness the process id alone must do: two replicas on one machine still differ.
    let random = getrandom::fill(&mut bytes).map_or(0, |()| u64::from_le_bytes(bytes));
    format!("{}-{random:016x}", std::process::id())
}
