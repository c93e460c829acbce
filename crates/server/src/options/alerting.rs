//! The options of alerts: who is told.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{OptionsError, ServerOptions, wrong};
use crate::diagnosis::origin;

/// Receivers of one kind.
const RECEIVERS: usize = 16;

/// Who is told of what is wrong, while this server leads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct AlertOptions {
    /// Get each notice by POST, as JSON in the form of Alertmanager's webhooks.
    pub alert_webhook: Vec<SecretUrl>,
    /// Run for each notice, by the shell.
    pub alert_command: Vec<String>,
    /// Alertmanagers, to which all open alerts are pushed.
    pub alertmanager: Vec<SecretUrl>,
}

/// A URL of which any part but scheme, host and port may be secret: these alone are shown.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SecretUrl(String);

impl SecretUrl {
    pub(crate) fn text(&self) -> &str {
        &self.0
    }

    fn is_sound(&self) -> bool {
        let Ok(uri) = self.0.parse::<hyper::Uri>() else { return false };
        ["http", "https"].contains(&uri.scheme_str().unwrap_or_default()) && uri.host().is_some_and(|host| !host.is_empty())
    }
}

impl From<String> for SecretUrl {
    fn from(url: String) -> Self {
        SecretUrl(url)
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", origin(&self.0))
    }
}

impl ServerOptions {
    pub(super) fn check_alerts(&self) -> Result<(), OptionsError> {
        let AlertOptions { alert_webhook, alert_command, alertmanager } = &self.alerts;
        for (option, urls) in [("alert-webhook", alert_webhook), ("alertmanager", alertmanager)] {
            if let Some(url) = urls.iter().find(|url| !url.is_sound()) {
                return Err(wrong(option, format!("{url:?} is no URL"), "give one like https://alerts.example/hook"));
            }
        }
        let counts = [("alert-webhook", alert_webhook.len()), ("alert-command", alert_command.len()), ("alertmanager", alertmanager.len())];
        if let Some((option, count)) = counts.into_iter().find(|(_, count)| *count > RECEIVERS) {
            return Err(wrong(option, format!("{count} are given"), format!("give at most {RECEIVERS}")));
        }
        if alert_command.iter().any(|command| command.trim().is_empty()) {
            return Err(wrong("alert-command", "it is empty", "give a command for the shell, or leave it out"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_checked_and_never_shown_whole() {
        let refused = |url: &str| {
            let alerts = AlertOptions { alert_webhook: vec![url.to_owned().into()], ..AlertOptions::default() };
            ServerOptions { alerts, ..ServerOptions::local("n1", "data") }.validate().err().map(|error| error.to_string())
        };
        for good in ["http://h", "https://u:p@h:1/a?b=c", "http://[::1]:9093/"] {
            assert_eq!(refused(good), None, "{good}");
        }
        for bad in ["", "h:1", "ftp://u:XYZZY@h/", "http://", "http://u:XYZZY @h/", "/XYZZY"] {
            let text = refused(bad).unwrap_or_else(|| panic!("{bad} is no URL"));
            assert!(text.starts_with("alert-webhook: ") && !text.contains("XYZZY"), "{text}");
        }
        let url = SecretUrl::from("https://u:XYZZY@h:1/XYZZY?XYZZY#XYZZY".to_owned());
        assert_eq!(format!("{url:?}"), "\"https://h:1\"");
    }
}
