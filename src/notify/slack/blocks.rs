//! A message as Slack's Block Kit. Within every limit by construction: each text is cut while it is escaped, and
//! blocks are taken in order of importance until the message's budget is spent. Pure.

use serde_json::{Value, json};

use crate::model::Severity;
use crate::notify::message::{Item, Message, Standing};

/// Slack's limits, in UTF-16 units (the widest way of counting), with some room left.
const HEADER: usize = 150;
const SECTION: usize = 2_900;
const CONTEXT: usize = 1_900;
const URL: usize = 3_000;
const BLOCKS: usize = 50;
/// All blocks of a message, as JSON: messages fail near 13,200 characters.
const MESSAGE: usize = 11_000;
/// The text beside the blocks: what a phone's lock screen shows.
const NOTIFICATION: usize = 900;
/// The whole of a message without blocks.
const PLAIN: usize = 2_900;

/// A message for Slack.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Laid {
    /// For notifications, and for those who cannot see blocks.
    pub(super) text: String,
    /// The message itself.
    pub(super) blocks: Vec<Value>,
}

/// Lays a message out; `mention` is markup from the settings.
pub(super) fn lay_out(message: &Message, mention: Option<&str>) -> Laid {
    Laid {
        text: Text::new(NOTIFICATION)
            .outside(&format!("{} {}", mark(message), message.first_line()))
            .newline()
            .outside(&message.lead)
            .end(),
        blocks: select(candidates(message, mention), footer(message, false), message),
    }
}

/// The message as one plain text of the same content, for when Slack refuses the blocks.
pub(super) fn plain(message: &Message, mention: Option<&str>) -> String {
    let mut text = Text::new(PLAIN)
        .outside(&format!("{} {}", mark(message), message.first_line()))
        .newline()
        .outside(&message.lead)
        .newline()
        .outside(&message.state)
        .ours(mention.map(|mention| format!("\n{mention}")).unwrap_or_default().as_str())
        .newline();
    text = match message.link.as_deref().and_then(|url| link(url, "Open the incident")) {
        Some(link) => text.ours(&link),
        None => text.outside(&message.id),
    };
    for line in &message.anomalies {
        text = text.newline().outside(&format!("• {} ({})", line.what, line.grade));
    }
    text.end()
}

/// One line for the thread.
pub(super) fn thread_line(parts: &[&str], mention: Option<&str>) -> String {
    let mut text = Text::new(NOTIFICATION);
    for (index, part) in parts.iter().filter(|part| !part.is_empty()).enumerate() {
        text = if index > 0 { text.newline().outside(part) } else { text.outside(part) };
    }
    text.ours(mention.map(|mention| format!("\n{mention}")).unwrap_or_default().as_str()).end()
}

/// Beside the words, never instead of them.
fn mark(message: &Message) -> &'static str {
    match (message.standing, message.severity) {
        (Standing::Resolved, _) => "✅",
        (Standing::Test, _) => "🧪",
        (Standing::Acknowledged, _) => "👀",
        (Standing::Open, Severity::P1) => "🔴",
        (Standing::Open, Severity::P2) => "🟠",
        (Standing::Open, Severity::P3) => "🟡",
        (Standing::Open, Severity::P4) => "🔵",
    }
}

/// A block and how much it matters: 0 must be there.
type Candidate = (u8, Value);

/// Every block but the footer, in the order in which they are shown.
fn candidates(message: &Message, mention: Option<&str>) -> Vec<Candidate> {
    let headline = format!("{} {}", mark(message), message.first_line());
    let mut found: Vec<Candidate> = vec![
        (0, header(&Text::new(HEADER).outside(&headline).end())),
        (
            0,
            section(
                &Text::new(SECTION)
                    .bold(&message.lead)
                    .newline()
                    .outside(&message.state)
                    .ours(mention.map(|m| format!("\n{m}")).unwrap_or_default().as_str())
                    .end(),
            ),
        ),
    ];
    for (index, line) in message.anomalies.iter().enumerate() {
        let mut text = Text::new(SECTION).bold(&line.what).newline().outside(&line.grade);
        if !line.evidence.is_empty() {
            text = text.newline().outside(&line.evidence);
        }
        if let Some(sparkline) = &line.sparkline {
            text = text.newline().code(sparkline);
        }
        found.push((if index == 0 { 1 } else { 3 }, section(&text.end())));
    }
    if message.more > 0 {
        let text = format!("and {} more anomalies", message.more);
        found.push((3, context(&Text::new(CONTEXT).outside(&text).end())));
    }
    for part in &message.sections {
        let text = Text::new(SECTION).bold(&part.title);
        found.push((
            2,
            section(&part.lines.iter().fold(text, |text, line| text.newline().item(line)).end()),
        ));
    }
    if !message.missing.is_empty() {
        let text = format!("Not available: {}", message.missing.join("; "));
        found.push((2, context(&Text::new(CONTEXT).outside(&text).end())));
    }
    if !message.timeline.is_empty() {
        found.push((4, context(&Text::new(CONTEXT).outside_lines(&message.timeline).end())));
    }
    found
}

/// Takes blocks by importance until the budget is spent, and shows them in their order.
fn select(candidates: Vec<Candidate>, footer: Value, message: &Message) -> Vec<Value> {
    let mut order: Vec<usize> = (0..candidates.len()).collect();
    order.sort_by_key(|index| candidates.get(*index).map(|(importance, _)| *importance));
    // The longer of the two footers, so that saying "shortened" never costs a block.
    let shortened = self::footer(message, true);
    let mut used = size(&shortened).max(size(&footer)) + 2;
    let mut taken = vec![false; candidates.len()];
    let mut count = 1;
    for index in order {
        let Some((_, block)) = candidates.get(index) else { continue };
        if count < BLOCKS && used + size(block) < MESSAGE {
            used += size(block) + 1;
            count += 1;
            if let Some(taken) = taken.get_mut(index) {
                *taken = true;
            }
        }
    }
    let all = taken.iter().all(|taken| *taken);
    let mut blocks: Vec<Value> = candidates
        .into_iter()
        .zip(taken)
        .filter_map(|((_, block), taken)| taken.then_some(block))
        .collect();
    blocks.push(if all { footer } else { shortened });
    blocks
}

fn footer(message: &Message, shortened: bool) -> Value {
    let text = Text::new(CONTEXT);
    let text = match message.link.as_deref().and_then(|url| link(url, "Open the incident")) {
        Some(link) => text.ours(&link),
        None => text.code(&format!("sentinelops incidents show {}", message.id)),
    };
    let more = if shortened { " · shortened, the rest is there" } else { "" };
    context(&text.outside(&format!(" · {} · as of {}{more}", message.id, message.as_of)).end())
}

fn size(block: &Value) -> usize {
    block.to_string().encode_utf16().count()
}

fn header(text: &str) -> Value {
    json!({ "type": "header", "text": { "type": "plain_text", "text": text, "emoji": false } })
}

/// `verbatim`: Slack must not look for links, channels and names in text from outside.
fn section(text: &str) -> Value {
    json!({ "type": "section", "text": { "type": "mrkdwn", "text": text, "verbatim": true } })
}

fn context(text: &str) -> Value {
    json!({
        "type": "context",
        "elements": [{ "type": "mrkdwn", "text": text, "verbatim": true }],
    })
}

/// A link in Slack's markup, if the URL can stand in it.
fn link(url: &str, label: &str) -> Option<String> {
    let fits = url.len() < URL
        && (url.starts_with("https://") || url.starts_with("http://"))
        && !url.contains(|c: char| "<>|&\"".contains(c) || c.is_whitespace() || c.is_control());
    fits.then(|| format!("<{url}|{label}>"))
}

/// Builds a text that is escaped and within a limit. Our own markup goes in whole or not at all; text from
/// outside is cut, never in the middle of an escape.
#[derive(Debug)]
struct Text {
    markup: String,
    length: usize,
    limit: usize,
    full: bool,
}

impl Text {
    fn new(limit: usize) -> Self {
        Self { markup: String::new(), length: 0, limit, full: false }
    }

    /// Text from outside: escaped, so that it can neither mention, link nor mark up.
    fn outside(mut self, text: &str) -> Self {
        for c in text.chars() {
            if self.full {
                break;
            }
            match c {
                '&' => self.piece("&amp;"),
                '<' => self.piece("&lt;"),
                '>' => self.piece("&gt;"),
                // A mark of code or emphasis would swallow what follows.
                '`' => self.piece("'"),
                '*' => self.piece("∗"),
                '~' => self.piece("∼"),
                '\n' => self.piece("\n"),
                c if c.is_control() => {}
                c => self.piece(c.encode_utf8(&mut [0; 4])),
            }
        }
        self
    }

    fn outside_lines(self, lines: &[String]) -> Self {
        lines.iter().enumerate().fold(self, |text, (index, line)| {
            if index > 0 { text.newline().outside(line) } else { text.outside(line) }
        })
    }

    /// Text from outside between marks of our own; the closing one always fits.
    fn wrapped(mut self, mark: &str, text: &str) -> Self {
        if text.is_empty() || self.length + 2 * mark.len() + 2 > self.limit || self.full {
            return self.outside(text);
        }
        self.piece(mark);
        self.limit -= mark.len();
        self = self.outside(text);
        self.limit += mark.len();
        self.markup.push_str(mark);
        self.length += mark.len();
        self
    }

    fn bold(self, text: &str) -> Self {
        self.wrapped("*", text)
    }

    fn code(self, text: &str) -> Self {
        self.wrapped("`", text)
    }

    fn item(self, item: &Item) -> Self {
        match item
            .link
            .as_deref()
            .and_then(|url| link(url, &Self::new(200).outside(&item.text).end()))
        {
            Some(link) => self.ours(&link),
            None => self.outside(&item.text),
        }
    }

    /// Our own markup.
    fn ours(mut self, markup: &str) -> Self {
        let length = markup.encode_utf16().count();
        if !self.full && self.length + length < self.limit {
            self.markup.push_str(markup);
            self.length += length;
        }
        self
    }

    fn newline(self) -> Self {
        self.ours("\n")
    }

    /// Adds a piece, or the sign that something is cut.
    fn piece(&mut self, piece: &str) {
        let length = piece.encode_utf16().count();
        if self.length + length < self.limit {
            self.markup.push_str(piece);
            self.length += length;
        } else {
            self.full = true;
            self.markup.push('…');
            self.length += 1;
        }
    }

    /// Slack refuses empty texts.
    fn end(self) -> String {
        if self.markup.trim().is_empty() { "…".to_owned() } else { self.markup }
    }
}
