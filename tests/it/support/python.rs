//! The vendors' own Python clients as judges: a virtual environment made once from
//! `tests/judges/requirements.txt`, and a way to run a script of `tests/judges/` in it.
//!
//! `JUDGES_PYTHON` names an interpreter that has everything already; otherwise the environment is made under
//! `target/judges-venv`, behind a lock, and made again when the requirements change.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use tokio::io::AsyncWriteExt;

/// A Python interpreter with everything in `tests/judges/requirements.txt`. Blocks while it is being made.
pub(crate) fn python() -> PathBuf {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON
        .get_or_init(|| match std::env::var_os("JUDGES_PYTHON") {
            Some(given) if !given.is_empty() => PathBuf::from(given),
            _ => make_environment(),
        })
        .clone()
}

/// Runs `tests/judges/SCRIPT` with arguments and input; answers its standard output, and fails the test with
/// both outputs when it does not succeed within a minute.
pub(crate) async fn judge(script: &str, arguments: &[&str], input: &str) -> String {
    let python = tokio::task::spawn_blocking(python).await.unwrap();
    let mut child = tokio::process::Command::new(python)
        .arg(judges().join(script))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.as_bytes().to_owned();
    // Written beside the reading, so that neither side waits for the other; a judge may also end unread.
    let writing = async move {
        drop(stdin.write_all(&input).await);
        drop(stdin);
    };
    let (output, ()) = tokio::join!(
        tokio::time::timeout(Duration::from_mins(1), child.wait_with_output()),
        writing
    );
    let output = output.unwrap_or_else(|_| panic!("{script} took longer than a minute")).unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{script} says no:\n{stdout}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    stdout
}

fn judges() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/judges")
}

fn make_environment() -> PathBuf {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("target");
    fs::create_dir_all(&target).unwrap();
    let lock = File::create(target.join("judges-venv.lock")).unwrap();
    lock.lock().unwrap();
    let folder = target.join("judges-venv");
    let python = folder.join("bin/python");
    let requirements = judges().join("requirements.txt");
    let wanted = fs::read_to_string(&requirements).unwrap();
    let stamp = folder.join("requirements.done");
    if fs::read_to_string(&stamp).ok().as_deref() != Some(&wanted) {
        if folder.exists() {
            fs::remove_dir_all(&folder).unwrap();
        }
        run(Command::new("python3").args(["-m", "venv"]).arg(&folder));
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"];
        run(Command::new(&python).args(pip).arg(&requirements));
        fs::write(&stamp, wanted).unwrap();
    }
    python
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| {
        panic!("{command:?} cannot be run ({error}): install python3 and python3-venv")
    });
    assert!(
        output.status.success(),
        "{command:?} failed: {}\n(Debian: apt-get install python3-venv)",
        String::from_utf8_lossy(&output.stderr)
    );
}
