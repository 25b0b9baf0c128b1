//! From settings to receivers that can be sent to.

use std::sync::Arc;

use super::Notifier;
use super::console::Console;
use super::dispatcher::{Pace, Receiver, Receivers};
use super::pagerduty::PagerDuty;
use super::settings::Settings;
use super::slack::Slack;
use super::webhook::Webhook;
use crate::net::{self, Reach};
use crate::telemetry::Metrics;

/// Builds every receiver of the settings, which were checked before.
pub fn receivers(
    settings: &Settings,
    net: &net::Settings,
    metrics: &Metrics,
) -> Result<Receivers, net::Error> {
    let vendors = net::client(net, Reach::Anywhere)?;
    let guarded = net::client(net, Reach::Guarded)?;
    let mut receivers = Receivers::new();
    let mut add = |name: &str, notifier: Arc<dyn Notifier>| {
        let pace = Pace::of(notifier.kind());
        let fallback = settings.fallback(name).map(str::to_owned);
        receivers.insert(name.to_owned(), Receiver { notifier, fallback, pace });
    };
    for (name, one) in &settings.slack {
        let slack = Slack::new(name, one.clone(), vendors.clone(), metrics.clone());
        add(name, Arc::new(slack));
    }
    for (name, one) in &settings.pagerduty {
        add(name, Arc::new(PagerDuty::new(name, one.clone(), vendors.clone())));
    }
    for (name, one) in &settings.webhook {
        add(name, Arc::new(Webhook::new(name, one.clone(), guarded.clone())));
    }
    for (name, one) in &settings.console {
        add(name, Arc::new(Console::stdout(one.colour)));
    }
    Ok(receivers)
}
