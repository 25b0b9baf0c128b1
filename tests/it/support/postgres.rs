//! A real `PostgreSQL` for tests: the one that `PG_TEST_URL` names (an administrator's URL), otherwise one of
//! our own for this test process, in a temporary folder, reached through a unix socket, ended by the kernel
//! when the test process ends. A database each test, dropped after it.

use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

const MISSING: &str = "no PostgreSQL server is installed: apt-get install postgresql \
     (or set PG_TEST_URL to an administrator's URL of a running one)";

/// A database of its own.
pub(crate) struct Database {
    pub(crate) url: String,
    name: String,
}

impl Database {
    pub(crate) async fn create() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::SeqCst);
        let name = format!("sentinelops_test_{}_{number}", std::process::id());
        let mut admin = PgConnection::connect(server()).await.unwrap();
        admin.execute(AssertSqlSafe(format!("create database {name}"))).await.unwrap();
        admin.close().await.unwrap();
        let mut url = url::Url::parse(server()).unwrap();
        url.set_path(&name);
        Self { url: url.to_string(), name }
    }

    pub(crate) async fn drop(self) {
        let mut admin = PgConnection::connect(server()).await.unwrap();
        let text = format!("drop database {} with (force)", self.name);
        admin.execute(AssertSqlSafe(text)).await.unwrap();
        admin.close().await.unwrap();
    }
}

/// The administrator's URL of the server, started at the first call.
fn server() -> &'static str {
    static SERVER: OnceLock<String> = OnceLock::new();
    SERVER.get_or_init(|| {
        #[expect(
            clippy::disallowed_methods,
            reason = "tests are told by the script that runs them"
        )]
        let given = std::env::var("PG_TEST_URL").ok().filter(|url| !url.is_empty());
        given.unwrap_or_else(start)
    })
}

fn start() -> String {
    let binaries = binaries();
    sweep();
    let folder = std::env::temp_dir().join(format!("sentinelops-pg-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    let user = ServerUser::find();
    user.give(&folder);
    let data = folder.join("data");
    let made = user
        .command(&binaries.join("initdb"))
        .args(["--auth=trust", "--username=postgres", "--encoding=UTF8", "--no-sync", "-D"])
        .arg(&data)
        .output()
        .unwrap();
    succeeded("initdb", &made);
    let mut command = user.command(&binaries.join("postgres"));
    command
        .arg("-D")
        .arg(&data)
        .arg("-k")
        .arg(&folder)
        .args(["-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=200"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(folder.join("log")).unwrap());
    let mut server = spawn(command);
    wait_until_ready(&binaries, &folder, &mut server);
    format!("postgres://postgres@localhost/postgres?host={}", folder.display())
}

/// Debian keeps the server's binaries out of the path, by version; the newest is taken.
fn binaries() -> PathBuf {
    let mut found: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .filter(|folder| folder.join("initdb").exists())
        .collect();
    found.sort();
    found.pop().expect(MISSING)
}

/// Removes what earlier test processes left behind.
fn sweep() {
    for entry in std::fs::read_dir(std::env::temp_dir()).unwrap().flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix("sentinelops-pg-"));
        if process.is_some_and(|id| !Path::new("/proc").join(id).exists()) {
            // Another test process may remove it at the same time.
            std::fs::remove_dir_all(entry.path()).unwrap_or_default();
        }
    }
}

/// `PostgreSQL` refuses to run as root.
struct ServerUser {
    ids: Option<(String, String)>,
}

impl ServerUser {
    fn find() -> Self {
        let id = |arguments: &[&str]| {
            let output = Command::new("id").args(arguments).output().unwrap();
            output
                .status
                .success()
                .then(|| String::from_utf8(output.stdout).unwrap().trim().to_owned())
        };
        if id(&["-u"]).as_deref() != Some("0") {
            return Self { ids: None };
        }
        let name = ["postgres", "nobody"].into_iter().find(|name| id(&["-u", name]).is_some());
        let name = name.expect("neither a user postgres nor nobody exists");
        Self { ids: id(&["-u", name]).zip(id(&["-g", name])) }
    }

    fn give(&self, folder: &Path) {
        if let Some((user, group)) = &self.ids {
            chown(folder, Some(user.parse().unwrap()), Some(group.parse().unwrap())).unwrap();
        }
    }

    fn command(&self, binary: &Path) -> Command {
        let mut command = Command::new("setpriv");
        // SIGINT is PostgreSQL's fast shutdown.
        command.arg("--pdeathsig=INT");
        if let Some((user, group)) = &self.ids {
            command.args([&format!("--reuid={user}"), &format!("--regid={group}")]);
            command.arg("--clear-groups");
        }
        command.arg("--").arg(binary).current_dir("/");
        command
    }
}

/// Starts it from a thread that never ends: the kernel counts the end of the thread, not of the process, as
/// the parent's death, and the thread of a test ends with it.
fn spawn(mut command: Command) -> Child {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        sender.send(command.spawn().unwrap()).unwrap();
        loop {
            std::thread::park();
        }
    });
    receiver.recv().unwrap()
}

fn wait_until_ready(binaries: &Path, folder: &Path, server: &mut Child) {
    for _ in 0..200 {
        let probe = Command::new(binaries.join("pg_isready"))
            .args(["-q", "-U", "postgres", "-t", "5", "-h"])
            .arg(folder)
            .status()
            .unwrap();
        if probe.success() {
            return;
        }
        assert!(server.try_wait().unwrap().is_none(), "PostgreSQL ended: see {}", folder.display());
        #[expect(
            clippy::disallowed_methods,
            reason = "a process outside has no event to wait for"
        )]
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("PostgreSQL is not ready after ten seconds: see {}/log", folder.display());
}

fn succeeded(what: &str, output: &Output) {
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{what} failed: {words}");
}
