//! Which receivers an incident is owed to. Pure: settings and incident in, names out.

use super::settings::{Kind, Rule, Settings};
use crate::model::{Change, Incident, IncidentKind, Severity};

/// The routing table with what it needs from other sections.
#[derive(Debug, Clone, PartialEq)]
pub struct Router {
    settings: Settings,
    pagerduty_severities: Vec<Severity>,
}

impl Router {
    /// A router; `pagerduty_severities` are those of `incidents.pagerduty_severities`.
    pub fn new(settings: Settings, pagerduty_severities: Vec<Severity>) -> Self {
        Self { settings, pagerduty_severities }
    }

    /// The names of the receivers that are owed a message, each once, in the order of the settings.
    ///
    /// Routes go by the *worst* severity since the incident was (re)opened, so that a receiver which was
    /// paged also hears of its easing, acknowledgement and end. A route without severities leaves PagerDuty to
    /// `incidents.pagerduty_severities`; one that names severities decides for itself. A test goes to everyone.
    pub fn route(&self, incident: &Incident, _change: Change) -> Vec<String> {
        let everyone = || self.settings.receivers().map(str::to_owned);
        if incident.kind == IncidentKind::Test {
            return everyone().collect();
        }
        let worst = incident.worst.max(incident.severity);
        if self.settings.routes.is_empty() {
            return everyone().filter(|name| self.paged_for(name, worst)).collect();
        }
        let mut chosen: Vec<String> = Vec::new();
        for rule in self.settings.routes.iter().filter(|rule| matches(rule, incident, worst)) {
            for name in &rule.receivers {
                let wanted = !rule.severity.is_empty() || self.paged_for(name, worst);
                if wanted && !chosen.contains(name) {
                    chosen.push(name.clone());
                }
            }
            if !rule.r#continue {
                break;
            }
        }
        chosen
    }

    /// Whether a receiver that no route limits by severity hears of incidents this bad.
    fn paged_for(&self, receiver: &str, worst: Severity) -> bool {
        !self.settings.pagerduty.contains_key(receiver)
            || self.pagerduty_severities.contains(&worst)
    }
}

fn matches(rule: &Rule, incident: &Incident, worst: Severity) -> bool {
    let service = |pattern: &String| {
        incident.services().iter().any(|service| match pattern.strip_suffix('*') {
            Some(prefix) => service.starts_with(prefix),
            None => *service == pattern.as_str(),
        })
    };
    (rule.severity.is_empty() || rule.severity.contains(&worst))
        && (rule.service.is_empty() || rule.service.iter().any(service))
        && (rule.kind.is_empty() || rule.kind.contains(&kind(&incident.kind)))
}

fn kind(kind: &IncidentKind) -> Kind {
    match kind {
        IncidentKind::Anomaly => Kind::Anomaly,
        IncidentKind::Blind { .. } => Kind::Blind,
        IncidentKind::Store { .. } => Kind::Store,
        IncidentKind::Storm { .. } => Kind::Storm,
        IncidentKind::Test => Kind::Test,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::samples::{outage, test_incident};

    const RECEIVERS: &str = "
slack: { slack: {}, low: {} }
pagerduty: { pagerduty: {} }
webhook: { hook: {} }
";

    fn routed(routes: &str, incident: &Incident) -> String {
        let settings = serde_yaml::from_str(&format!("{RECEIVERS}{routes}")).unwrap();
        let router = Router::new(settings, vec![Severity::P1, Severity::P2]);
        router.route(incident, Change::Opened).join(" ")
    }

    fn of(severity: Severity, worst: Severity) -> Incident {
        Incident { severity, worst, ..outage() }
    }

    #[test]
    fn by_default_everything_goes_everywhere_and_to_pagerduty_what_pages() {
        assert_eq!(routed("", &of(Severity::P2, Severity::P2)), "low slack pagerduty hook");
        assert_eq!(routed("", &of(Severity::P3, Severity::P3)), "low slack hook");
        // What reached PagerDuty is also eased and resolved there.
        assert_eq!(routed("", &of(Severity::P3, Severity::P1)), "low slack pagerduty hook");
    }

    #[test]
    fn the_first_matching_route_decides_unless_it_continues() {
        let routes = "
routes:
  - { service: ['payment-*'], severity: [P1], receivers: [slack], continue: true }
  - { kind: [blind, store], receivers: [hook] }
  - { severity: [P3, P4], receivers: [low] }
  - { receivers: [slack, pagerduty] }
";
        assert_eq!(routed(routes, &of(Severity::P1, Severity::P1)), "slack pagerduty");
        assert_eq!(routed(routes, &of(Severity::P2, Severity::P2)), "slack pagerduty");
        assert_eq!(routed(routes, &of(Severity::P4, Severity::P4)), "low");
        let mut store = of(Severity::P3, Severity::P3);
        store.kind = IncidentKind::Store { reason: String::new() };
        assert_eq!(routed(routes, &store), "hook");
    }

    #[test]
    fn a_route_with_severities_overrides_the_default_of_pagerduty() {
        let named = "routes: [{ severity: [P4], receivers: [pagerduty] }]";
        assert_eq!(routed(named, &of(Severity::P4, Severity::P4)), "pagerduty");
        let unnamed = "routes: [{ receivers: [pagerduty, low] }]";
        assert_eq!(routed(unnamed, &of(Severity::P4, Severity::P4)), "low");
    }

    #[test]
    fn services_match_whole_or_by_prefix() {
        let p1 = of(Severity::P1, Severity::P1);
        for (pattern, expected) in
            [("gateway", "low"), ("gate*", "low"), ("gate", ""), ("*", "low"), ("other", "")]
        {
            let routes = format!("routes: [{{ service: ['{pattern}'], receivers: [low] }}]");
            assert_eq!(routed(&routes, &p1), expected, "{pattern}");
        }
    }

    #[test]
    fn a_test_goes_to_everyone() {
        let muted = "routes: [{ receivers: [] }]";
        assert_eq!(routed(muted, &test_incident()), "low slack pagerduty hook");
        assert_eq!(routed(muted, &of(Severity::P1, Severity::P1)), "");
    }
}
