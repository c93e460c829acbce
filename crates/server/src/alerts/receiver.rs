//! Who is told: a webhook, a command, an Alertmanager.

use std::fmt;

use bytes::Bytes;
use serde_json::Value;
use steadfast_health::alerts::{Alert, Labels, Notice};

use super::http::{Failure, Target};
use super::{command, message};
use crate::clock::Clock;
use crate::options::AlertOptions;

/// Alerts in one push, as Prometheus has it.
const BATCH: usize = 256;

/// Where Alertmanager takes alerts.
const ALERTMANAGER_PATH: &str = "/api/v2/alerts";

/// One receiver. Its text form has no secrets.
#[derive(Clone, Debug)]
pub(super) struct Receiver {
    way: Way,
    /// Where people look further.
    link: String,
}

#[derive(Clone, Debug)]
enum Way {
    Webhook(Target),
    Command(String),
    Alertmanager(Target),
}

fn body(value: &Value) -> Bytes {
    value.to_string().into()
}

async fn push(target: &Target, alerts: &[Alert], link: &str) -> Result<(), Failure> {
    for batch in alerts.chunks(BATCH) {
        target.post(body(&message::alerts(batch, Clock::wall_ms(), link))).await?;
    }
    Ok(())
}

impl Receiver {
    /// All that the options name. `link`: where people look further.
    pub(super) fn all(options: &AlertOptions, link: &str) -> Vec<Self> {
        let webhooks = options.alert_webhook.iter().filter_map(|url| Target::new(url, "")).map(Way::Webhook);
        let commands = options.alert_command.iter().cloned().map(Way::Command);
        let managers = options.alertmanager.iter().filter_map(|url| Target::new(url, ALERTMANAGER_PATH)).map(Way::Alertmanager);
        let ways = webhooks.chain(commands).chain(managers);
        ways.map(|way| Receiver { way, link: link.to_owned() }).collect()
    }

    /// It keeps alerts itself: it is told all that stands, again and again, and no single notices.
    pub(super) fn takes_all_that_stands(&self) -> bool {
        match self.way {
            Way::Alertmanager(_) => true,
            Way::Webhook(_) | Way::Command(_) => false,
        }
    }

    /// Delivers a notice.
    pub(super) async fn notify(&self, notice: &Notice) -> Result<(), Failure> {
        let message = || body(&message::notice(notice, &self.link));
        match &self.way {
            Way::Webhook(target) => target.post(message()).await,
            Way::Command(line) => command::run(line, (&message(), message::variables(notice)), command::LIMIT).await,
            Way::Alertmanager(target) => push(target, &notice.alerts, &self.link).await,
        }
    }

    /// Delivers all that stands.
    pub(super) async fn push(&self, alerts: &[Alert]) -> Result<(), Failure> {
        match &self.way {
            Way::Alertmanager(target) => push(target, alerts, &self.link).await,
            Way::Webhook(_) | Way::Command(_) => self.notify(&Notice { group: Labels::new(), alerts: alerts.to_vec(), repeats: 0 }).await,
        }
    }

    /// Delivers one alert that says nothing, once.
    pub(super) async fn test(&self, alert: &Alert) -> Result<(), Failure> {
        let group = alert.labels.iter().filter(|(name, _)| *name == "alertname").map(|(name, value)| (name.clone(), value.clone()));
        self.notify(&Notice { group: group.collect(), alerts: vec![alert.clone()], repeats: 0 }).await
    }
}

impl fmt::Display for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.way {
            Way::Webhook(target) => write!(f, "webhook {}", target.origin),
            Way::Command(line) => write!(f, "command {}", line.split_whitespace().next().unwrap_or_default()),
            Way::Alertmanager(target) => write!(f, "alertmanager {}", target.origin),
        }
    }
}
