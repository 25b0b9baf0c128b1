//! `notify` in the settings: who receives what. Fields are plain, so that the environment can reach them.
//! Long because every kind's fields, checks and words of advice belong side by side.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::dispatcher::Settings as Delivery;
use crate::model::Severity;
use crate::net;
use crate::secret::Secret;

/// `notify` in the settings.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where people reach this daemon's own pages, e.g. `https://sentinelops.example.com`; for links.
    pub base_url: Option<String>,
    /// Slack channels by receiver name.
    pub slack: BTreeMap<String, Slack>,
    /// PagerDuty services by receiver name.
    pub pagerduty: BTreeMap<String, PagerDuty>,
    /// Webhooks by receiver name.
    pub webhook: BTreeMap<String, Webhook>,
    /// Consoles (standard output) by receiver name.
    pub console: BTreeMap<String, Console>,
    /// Who receives what, first match wins. Without any: everything to everyone, but to PagerDuty only
    /// `incidents.pagerduty_severities`.
    pub routes: Vec<Rule>,
    /// How hard a message is tried.
    pub delivery: Delivery,
    /// A sign of life to somewhere else.
    pub heartbeat: Heartbeat,
}

/// A Slack channel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Slack {
    /// A bot token with `chat:write` (and `files:write` for charts).
    pub token: Secret,
    /// The channel's id, e.g. `C0123456789`, or `#name`.
    pub channel: String,
    /// Where Slack's methods are.
    pub base_url: String,
    /// Whom a page of a severity mentions, e.g. `P1: "<!here>"`.
    pub mentions: BTreeMap<String, String>,
    /// Whether a chart is uploaded into the thread.
    pub charts: bool,
    /// The receiver that gets what this one cannot deliver.
    pub fallback: Option<String>,
}

impl Default for Slack {
    fn default() -> Self {
        Self {
            token: Secret::default(),
            channel: String::new(),
            base_url: "https://slack.com/api".to_owned(),
            mentions: BTreeMap::new(),
            charts: true,
            fallback: None,
        }
    }
}

impl Slack {
    /// Whom a page of this severity mentions.
    pub fn mention(&self, severity: Severity) -> Option<&str> {
        self.mentions
            .iter()
            .find(|(name, _)| name.parse() == Ok(severity))
            .map(|(_, mention)| mention.trim())
            .filter(|mention| !mention.is_empty())
    }
}

/// A PagerDuty service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PagerDuty {
    /// The integration key of an Events API v2 integration: 32 characters.
    pub routing_key: Secret,
    /// Where the Events API is.
    pub base_url: String,
    /// The receiver that gets what this one cannot deliver.
    pub fallback: Option<String>,
}

impl Default for PagerDuty {
    fn default() -> Self {
        Self {
            routing_key: Secret::default(),
            base_url: "https://events.pagerduty.com".to_owned(),
            fallback: None,
        }
    }
}

/// A webhook.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Webhook {
    /// Where to post; secret, because such URLs often hold a token.
    pub url: Secret,
    /// The key that signs each request: at least 16 characters.
    pub secret: Secret,
    /// The receiver that gets what this one cannot deliver.
    pub fallback: Option<String>,
}

/// The console: standard output.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Console {
    /// Whether colours are written; if absent, on a terminal only.
    pub colour: Option<bool>,
}

/// A sign of life, posted to somewhere else that notices when it stays away.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Heartbeat {
    /// Where to post; none sends nothing. Secret, because such URLs often hold a token.
    pub url: Secret,
    /// Seconds between two signs of life.
    pub interval_seconds: u64,
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self { url: Secret::default(), interval_seconds: 60 }
    }
}

/// One line of the routing table: what it matches, and who receives it. An empty list matches everything.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rule {
    /// The worst severity that the incident has reached.
    pub severity: Vec<Severity>,
    /// Any of its services; a trailing `*` matches a prefix.
    pub service: Vec<String>,
    /// What kind of trouble.
    pub kind: Vec<Kind>,
    /// The receivers by name; none mutes.
    pub receivers: Vec<String>,
    /// Whether the lines below are looked at too.
    pub r#continue: bool,
}

/// Kinds of incidents, as routes name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Series out of line.
    Anomaly,
    /// A source that cannot be read.
    Blind,
    /// Our own store cannot be written.
    Store,
    /// Many incidents at once, announced as one.
    Storm,
    /// A test that a person asked for.
    Test,
}

impl Settings {
    /// The names of all receivers: Slack, PagerDuty, webhooks, consoles.
    pub fn receivers(&self) -> impl Iterator<Item = &str> {
        self.slack
            .keys()
            .chain(self.pagerduty.keys())
            .chain(self.webhook.keys())
            .chain(self.console.keys())
            .map(String::as_str)
    }

    /// The receiver that gets what this one cannot deliver.
    pub fn fallback(&self, receiver: &str) -> Option<&str> {
        self.fallbacks().find(|(name, _)| *name == receiver).map(|(_, fallback)| fallback)
    }

    fn fallbacks(&self) -> impl Iterator<Item = (&str, &str)> {
        let slack = self.slack.iter().map(|(name, one)| (name, &one.fallback));
        let pagerduty = self.pagerduty.iter().map(|(name, one)| (name, &one.fallback));
        let webhook = self.webhook.iter().map(|(name, one)| (name, &one.fallback));
        slack
            .chain(pagerduty)
            .chain(webhook)
            .filter_map(|(name, fallback)| Some((name.as_str(), fallback.as_deref()?)))
    }

    /// What is wrong with the settings: path, value and fix, a line each. Secrets are not shown.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if let Some(url) = &self.base_url
            && let Err(problem) = net::check_url(url)
        {
            problems.push(format!("notify.base_url `{url}` {problem}"));
        }
        for (name, slack) in &self.slack {
            slack_problems(&format!("notify.slack.{name}"), slack, &mut problems);
        }
        for (name, pagerduty) in &self.pagerduty {
            pagerduty_problems(&format!("notify.pagerduty.{name}"), pagerduty, &mut problems);
        }
        for (name, webhook) in &self.webhook {
            webhook_problems(&format!("notify.webhook.{name}"), webhook, &mut problems);
        }
        self.name_problems(&mut problems);
        problems.extend(self.delivery.problems());
        if !self.heartbeat.url.is_empty() {
            if let Err(problem) = net::check_url(self.heartbeat.url.expose()) {
                problems.push(format!("notify.heartbeat.url (not shown) {problem}"));
            }
            let seconds = self.heartbeat.interval_seconds;
            if !(5..=86_400).contains(&seconds) {
                problems.push(format!(
                    "notify.heartbeat.interval_seconds is {seconds}: use 5 to 86400"
                ));
            }
        }
        problems
    }

    /// Names that are taken twice, unknown, or go round in a circle.
    fn name_problems(&self, problems: &mut Vec<String>) {
        let mut known = BTreeSet::new();
        for name in self.receivers() {
            if !known.insert(name) {
                problems.push(format!(
                    "notify: two receivers are called `{name}`: names are unique across slack, \
                     pagerduty, webhook and console"
                ));
            }
        }
        let unknown = |path: &str, name: &str| {
            let known: Vec<_> = known.iter().copied().collect();
            format!(
                "{path} `{name}` is no receiver: use one of {} or add it under notify",
                if known.is_empty() { "(none is set up)".to_owned() } else { known.join(", ") }
            )
        };
        for (index, rule) in self.routes.iter().enumerate() {
            for name in rule.receivers.iter().filter(|name| !known.contains(name.as_str())) {
                problems.push(unknown(&format!("notify.routes[{index}].receivers"), name));
            }
        }
        for (name, fallback) in self.fallbacks() {
            if !known.contains(fallback) {
                problems.push(unknown(&format!("notify: the fallback of {name}"), fallback));
            } else if self.leads_back(name) {
                problems.push(format!(
                    "notify: the fallback of {name}, `{fallback}`, leads back to {name}: let the \
                     last one have none"
                ));
            }
        }
    }

    fn leads_back(&self, start: &str) -> bool {
        let mut at = start;
        // A chain longer than the number of receivers has met itself.
        for _ in self.receivers() {
            match self.fallback(at) {
                Some(next) if next == start => return true,
                Some(next) => at = next,
                None => return false,
            }
        }
        false
    }
}

fn slack_problems(path: &str, slack: &Slack, problems: &mut Vec<String>) {
    if slack.token.is_empty() {
        problems.push(format!("{path}.token is empty: set it (SLACK_BOT_TOKEN for `slack`)"));
    } else if slack.base_url == Slack::default().base_url
        && !slack.token.expose().starts_with("xox")
    {
        problems.push(format!(
            "{path}.token (not shown) is no Slack token: use the bot token that begins with xoxb-"
        ));
    }
    if !is_channel(&slack.channel) {
        problems.push(format!(
            "{path}.channel `{}` is no channel: use its id, e.g. C0123456789 (SLACK_CHANNEL_ID for \
             `slack`), or #name",
            slack.channel
        ));
    }
    if let Err(problem) = net::check_url(&slack.base_url) {
        problems.push(format!("{path}.base_url `{}` {problem}", slack.base_url));
    }
    for (severity, mention) in &slack.mentions {
        if let Err(error) = severity.parse::<Severity>() {
            problems.push(format!("{path}.mentions: {error}"));
        }
        if !mention.split_whitespace().all(is_mention) {
            problems.push(format!(
                "{path}.mentions.{severity} `{mention}` is no mention: use <!here>, <!channel>, \
                 <@U0123456789> or <!subteam^S0123456789>"
            ));
        }
    }
}

fn is_channel(channel: &str) -> bool {
    if let Some(name) = channel.strip_prefix('#') {
        let fits = |c: char| !c.is_whitespace() && !c.is_uppercase() && !"<>&@,".contains(c);
        return (1..=80).contains(&name.chars().count()) && name.chars().all(fits);
    }
    channel.len() >= 9
        && channel.starts_with(['C', 'G', 'D'])
        && channel.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit())
}

fn is_mention(word: &str) -> bool {
    let Some(inner) = word.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')) else {
        return false;
    };
    let id = |text: &str| {
        text.len() >= 2 && text.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit())
    };
    matches!(inner, "!here" | "!channel" | "!everyone")
        || inner.strip_prefix('@').is_some_and(id)
        || inner.strip_prefix("!subteam^").is_some_and(id)
}

fn pagerduty_problems(path: &str, pagerduty: &PagerDuty, problems: &mut Vec<String>) {
    let key = pagerduty.routing_key.expose();
    if key.is_empty() {
        problems.push(format!(
            "{path}.routing_key is empty: set it (PAGERDUTY_ROUTING_KEY for `pagerduty`)"
        ));
    } else if key.len() != 32 || !key.chars().all(|c| c.is_ascii_alphanumeric()) {
        problems.push(format!(
            "{path}.routing_key (not shown) has {} characters: use the 32 letters and digits of an \
             Events API v2 integration",
            key.chars().count()
        ));
    }
    if let Err(problem) = net::check_url(&pagerduty.base_url) {
        problems.push(format!("{path}.base_url `{}` {problem}", pagerduty.base_url));
    }
}

fn webhook_problems(path: &str, webhook: &Webhook, problems: &mut Vec<String>) {
    if let Err(problem) = net::check_url(webhook.url.expose()) {
        problems.push(format!("{path}.url (not shown) {problem}"));
    }
    let length = webhook.secret.expose().chars().count();
    if length < 16 {
        problems.push(format!(
            "{path}.secret (not shown) has {length} characters: use at least 16, as random as a key"
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Settings {
        serde_yaml::from_str(text).unwrap()
    }

    #[test]
    fn good_settings_have_no_problem() {
        let settings = parse(
            r##"
base_url: https://sentinelops.example.com
slack:
  slack: { token: xoxb-1, channel: C0123456789, mentions: { P1: "<!here> <@U012345>", p2: "<!subteam^S0123>" } }
  team: { token: xoxb-1, channel: "#payments-alerts", fallback: slack }
pagerduty:
  pagerduty: { routing_key: R0123456789012345678901234567890, fallback: slack }
webhook:
  hook: { url: "https://hooks.example.com/t", secret: 0123456789abcdef }
console: { console: {} }
routes:
  - { severity: [P1], service: ["payment-*"], kind: [anomaly], receivers: [team], continue: true }
heartbeat: { url: "https://hc.example.com/1" }
"##,
        );
        assert_eq!(settings.problems(), Vec::<String>::new());
        assert_eq!(settings.fallback("pagerduty"), Some("slack"));
        assert_eq!(settings.slack["slack"].mention(Severity::P2), Some("<!subteam^S0123>"));
        assert_eq!(settings.slack["slack"].mention(Severity::P3), None);
    }

    #[test]
    fn each_problem_names_path_value_and_fix() {
        let settings = parse(
            r#"
base_url: sentinelops.example.com
slack:
  one: { token: "", channel: general }
  two: { token: hunter2, channel: C0123456789, base_url: "ftp://x", mentions: { P9: "<!here>", P1: "@here" } }
  round: { token: xoxb-1, channel: C0123456789, fallback: trip }
  trip: { token: xoxb-1, channel: C0123456789, fallback: round }
pagerduty:
  one: { routing_key: hunter2 }
  two: {}
webhook:
  hook: { url: "http://169.254.169.254/", secret: hunter2, fallback: nobody }
routes:
  - { receivers: [one] }
  - { receivers: [pager] }
heartbeat: { url: x, interval_seconds: 1 }
"#,
        );
        let shown = settings.problems().join("\n");
        assert!(!shown.contains("hunter2"));
        insta::assert_snapshot!(shown);
        assert!(!format!("{settings:?}").contains("hunter2"));
    }

    #[test]
    fn unknown_keys_are_refused() {
        assert!(serde_yaml::from_str::<Settings>("slack: { one: { chanel: x } }").is_err());
    }
}
