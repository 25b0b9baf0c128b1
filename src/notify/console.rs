//! Messages for people at a terminal: `demo` and dry runs. Narrow, and readable without colour.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::Mutex;

use super::message::{Message, Standing, compose};
use super::{BoxFuture, Failure, Notifier, Outgoing, Reason, Retry};
use crate::model::{Change, Receipt, Severity};

/// Where lines end, so that they fit beside other windows.
const WIDTH: usize = 78;

/// Writes messages to a terminal, a file or a test.
pub struct Console {
    out: Mutex<Box<dyn Write + Send>>,
    colour: bool,
}

impl fmt::Debug for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Console").field("colour", &self.colour).finish_non_exhaustive()
    }
}

impl Console {
    /// Writes to `out`.
    pub fn new(out: Box<dyn Write + Send>, colour: bool) -> Self {
        Self { out: Mutex::new(out), colour }
    }

    /// Writes to standard output; in colour if asked to, or if that is a terminal.
    pub fn stdout(colour: Option<bool>) -> Self {
        let colour = colour.unwrap_or_else(|| io::stdout().is_terminal());
        Self::new(Box::new(io::stdout()), colour)
    }

    fn write(&self, outgoing: &Outgoing) -> Result<Receipt, Failure> {
        let text = render(&compose(outgoing), outgoing.change, self.colour);
        let written =
            self.out.lock().map_err(|_| broken("a writer has panicked")).and_then(|mut out| {
                out.write_all(text.as_bytes())
                    .and_then(|()| out.flush())
                    .map_err(|error| broken(&error.to_string()))
            });
        written.map(|()| Receipt {
            destination: "console".to_owned(),
            reference: outgoing.incident.id.0.clone(),
            at: Some(outgoing.now),
            ..Receipt::default()
        })
    }
}

fn broken(why: &str) -> Failure {
    Failure {
        reason: Reason::Unreachable,
        detail: format!("the console cannot be written: {why}"),
        retry: Retry::Later,
    }
}

impl Notifier for Console {
    fn kind(&self) -> &'static str {
        "console"
    }

    fn send<'a>(&'a self, message: &'a Outgoing) -> BoxFuture<'a, Result<Receipt, Failure>> {
        let written = self.write(message);
        Box::pin(async move { written })
    }
}

/// A message as text: a full block when people must be told or it is over, otherwise two lines.
fn render(message: &Message, change: Change, colour: bool) -> String {
    let mut text = String::new();
    let full = change.pages() || change == Change::Resolved;
    text.push_str(&paint(message, &format!("{} ━━ {}", message.as_of, message.label), colour));
    text.push('\n');
    fold(&mut text, "  ", &message.headline);
    fold(&mut text, "  ", &message.lead);
    fold(&mut text, "  ", &message.state);
    if full {
        for line in &message.anomalies {
            text.push('\n');
            fold(&mut text, "  • ", &line.what);
            fold(&mut text, "    ", &line.grade);
            fold(&mut text, "    ", &line.evidence);
            if let Some(sparkline) = &line.sparkline {
                fold(&mut text, "    ", sparkline);
            }
        }
        if message.more > 0 {
            fold(&mut text, "  • ", &format!("and {} more", message.more));
        }
    }
    for section in &message.sections {
        fold(&mut text, "\n  ", &section.title);
        for item in &section.lines {
            fold(&mut text, "    ", &item.text);
        }
    }
    if change == Change::Resolved && !message.timeline.is_empty() {
        fold(&mut text, "\n  ", "What happened");
        for line in &message.timeline {
            fold(&mut text, "    ", line);
        }
    }
    for missing in &message.missing {
        fold(&mut text, "  ! ", &format!("not available: {missing}"));
    }
    let more = message.link.clone().unwrap_or_else(|| format!("incidents show {}", message.id));
    fold(&mut text, "  ", &format!("→ {more}"));
    text.push('\n');
    text
}

/// The first line in the colour of its severity.
fn paint(message: &Message, line: &str, colour: bool) -> String {
    if !colour {
        return line.to_owned();
    }
    let code = match (message.standing, message.severity) {
        (Standing::Resolved, _) => 32,
        (Standing::Test, _) => 36,
        (_, Severity::P1) => 31,
        (_, Severity::P2) => 35,
        (_, Severity::P3) => 33,
        (_, Severity::P4) => 34,
    };
    format!("\u{1b}[1;{code}m{line}\u{1b}[0m")
}

/// Adds a line, folded at [`WIDTH`] between words; what follows is indented as far as `prefix`.
fn fold(text: &mut String, prefix: &str, line: &str) {
    if line.is_empty() {
        return;
    }
    text.push_str(prefix);
    let indent = prefix.trim_start_matches('\n').chars().count();
    let mut column = indent;
    for (index, word) in line.split(' ').enumerate() {
        let length = word.chars().count();
        if index > 0 {
            if column + 1 + length > WIDTH {
                text.push('\n');
                text.extend(std::iter::repeat_n(' ', indent));
                column = indent;
            } else {
                text.push(' ');
                column += 1;
            }
        }
        text.push_str(word);
        column += length;
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::IncidentState;
    use crate::notify::samples::{at, outage, outgoing};

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn an_outage_on_the_console() {
        let seen = Shared::default();
        let console = Console::new(Box::new(seen.clone()), false);
        let mut message = outgoing(outage(), Change::Opened);
        console.send(&message).await.unwrap();
        message.change = Change::Updated;
        console.send(&message).await.unwrap();
        message.change = Change::Resolved;
        message.base_url = None;
        message.incident.state = IncidentState::Resolved;
        message.incident.resolved_at = Some(at("2026-11-21T03:41:00Z"));
        console.send(&message).await.unwrap();
        let text = String::from_utf8(seen.0.lock().unwrap().clone()).unwrap();
        insta::assert_snapshot!(text);
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH));
    }

    #[test]
    fn colour_only_paints_the_first_line() {
        let message = compose(&outgoing(outage(), Change::Opened));
        let painted = render(&message, Change::Opened, true);
        let plain = render(&message, Change::Opened, false);
        assert_eq!(painted.replace("\u{1b}[1;31m", "").replace("\u{1b}[0m", ""), plain);
        assert!(!plain.contains('\u{1b}'));
    }
}
