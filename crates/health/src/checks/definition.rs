//! What a user declares: a check of a service, and what is wrong with it if it can't be one.
//!
//! A definition is what came in; a [`Check`] is one that holds what it promises. The record in strong state is the definition.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use steadfast_types::{wire_enum, wire_struct};

use crate::limits::{CHECK_TEXT_BYTES, CHECK_WORDS};

/// How a service is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A connection can be made.
    Tcp {
        /// `host:port`.
        address: String,
    },
    /// A request is answered with a status in a range.
    Http {
        /// `http://` or `https://`, without a password.
        url: String,
        /// The least status that passes.
        least_status: u32,
        /// The highest status that passes.
        most_status: u32,
    },
    /// The standard health service of gRPC says SERVING.
    Grpc {
        /// `host:port`.
        address: String,
        /// The name that is asked for; empty for the whole server.
        service: String,
    },
    /// A command ends with status 0; 1 is a warning.
    Script {
        /// The program and its arguments; no shell is between.
        command: Vec<String>,
    },
    /// The service says by itself that it lives, once an interval.
    Heartbeat,
}
wire_enum!(Kind {
    1 => Tcp { address }, 2 => Http { url, least_status, most_status }, 3 => Grpc { address, service }, 4 => Script { command }, 5 => Heartbeat {},
});

/// A check as it was declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// What the check is called; one of its node.
    pub name: String,
    /// The service that it is about.
    pub service: String,
    /// How.
    pub kind: Kind,
    /// How often, ms.
    pub interval_ms: u64,
    /// How long one run may take, ms.
    pub timeout_ms: u64,
    /// How many passes in a row make a failed service well.
    pub rise: u32,
    /// How many failures in a row make it failed.
    pub fall: u32,
    /// For how long after the start failures do not count, until the first pass, ms.
    pub start_period_ms: u64,
}
wire_struct!(Definition { name, service, kind, interval_ms, timeout_ms, rise, fall, start_period_ms });

/// What is wrong with a definition, and what to do. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct DefinitionError {
    /// Which check.
    pub check: String,
    /// Which of its fields.
    pub field: &'static str,
    /// What it says.
    pub value: String,
    /// What to write instead.
    pub remedy: &'static str,
}

impl fmt::Display for DefinitionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "check {:?}: {} is {:?}: {}", self.check, self.field, self.value, self.remedy)
    }
}

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;
const LEAST_INTERVAL_MS: u64 = 100;
const MOST_THRESHOLD: u32 = 100;

impl Definition {
    /// With the usual figures: every 10 s, at most 3 s, 3 failures to fall, 2 passes to rise.
    #[must_use]
    pub fn new(name: &str, service: &str, kind: Kind) -> Self {
        let (name, service) = (name.into(), service.into());
        Definition { name, service, kind, interval_ms: 10_000, timeout_ms: 3_000, rise: 2, fall: 3, start_period_ms: 0 }
    }

    /// The check, if it can be one.
    ///
    /// # Errors
    /// Names the first field that is wrong.
    pub fn validate(self) -> Result<Check, DefinitionError> {
        self.demand("name", &self.name, is_name(&self.name), "choose 1 to 128 of a-z, A-Z, 0-9, '.', '-', '_'")?;
        self.demand("service", &self.service, is_name(&self.service), "choose 1 to 128 of a-z, A-Z, 0-9, '.', '-', '_'")?;
        self.validate_kind()?;
        let interval = (LEAST_INTERVAL_MS..=DAY_MS).contains(&self.interval_ms);
        self.demand("interval", &format!("{} ms", self.interval_ms), interval, "choose between 100 ms and a day")?;
        let timeout = (1..=self.interval_ms).contains(&self.timeout_ms);
        self.demand("timeout", &format!("{} ms", self.timeout_ms), timeout, "choose at least 1 ms and at most the interval")?;
        let threshold = |value: u32| (1..=MOST_THRESHOLD).contains(&value);
        self.demand("rise", &self.rise.to_string(), threshold(self.rise), "choose between 1 and 100 passes")?;
        self.demand("fall", &self.fall.to_string(), threshold(self.fall), "choose between 1 and 100 failures")?;
        let start = self.start_period_ms <= DAY_MS;
        self.demand("start period", &format!("{} ms", self.start_period_ms), start, "choose at most a day")?;
        Ok(Check { definition: self })
    }

    fn validate_kind(&self) -> Result<(), DefinitionError> {
        match &self.kind {
            Kind::Tcp { address } => self.demand("address", address, is_address(address), ADDRESS),
            Kind::Http { url, least_status, most_status } => {
                self.demand(
                    "url",
                    without_userinfo(url),
                    is_url(url),
                    "write http://host[:port]/path or https://…, without user and password",
                )?;
                let is_range = 100 <= *least_status && least_status <= most_status && *most_status <= 599;
                self.demand("status", &format!("{least_status} to {most_status}"), is_range, "choose a range within 100 to 599")
            }
            Kind::Grpc { address, service } => {
                self.demand("address", address, is_address(address), ADDRESS)?;
                self.demand("service", service, is_text(service), "write a name without control characters, or nothing")
            }
            Kind::Script { command } => self.demand(
                "command",
                &command.join(" "),
                is_command(command),
                "write a program and its arguments as a list of up to 64 words",
            ),
            Kind::Heartbeat => Ok(()),
        }
    }

    fn demand(&self, field: &'static str, value: &str, holds: bool, remedy: &'static str) -> Result<(), DefinitionError> {
        let shown = |text: &str| crate::limits::cut(text, 128).to_string();
        if holds { Ok(()) } else { Err(DefinitionError { check: shown(&self.name), field, value: shown(value), remedy }) }
    }
}

const ADDRESS: &str = "write host:port with a port from 1 to 65535, an IPv6 address in brackets";

/// Whether a command can be started: a program, and so many words as may be.
pub(super) fn is_command(command: &[String]) -> bool {
    let is_short = command.first().is_some_and(|program| !program.is_empty()) && command.len() <= CHECK_WORDS;
    is_short && command.iter().all(|word| word.len() <= CHECK_TEXT_BYTES && !word.contains('\0'))
}

pub(super) fn is_name(name: &str) -> bool {
    (1..=128).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
}

fn is_text(text: &str) -> bool {
    text.len() <= CHECK_TEXT_BYTES && !text.chars().any(char::is_control)
}

fn is_port(port: &str) -> bool {
    port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0)
}

fn is_host(host: &str) -> bool {
    let inner = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match inner {
        Some(inner) => inner.parse::<core::net::Ipv6Addr>().is_ok(),
        None => is_name(host),
    }
}

fn is_address(address: &str) -> bool {
    address.rsplit_once(':').is_some_and(|(host, port)| is_host(host) && is_port(port))
}

fn is_url(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://")) else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    (is_host(authority) || is_address(authority)) && is_text(url) && !url.contains(char::is_whitespace)
}

/// What of a wrong URL may be said aloud: nothing before an `@`, where a password would be.
fn without_userinfo(url: &str) -> &str {
    url.rsplit('@').next().unwrap_or_default()
}

/// A check that can be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    definition: Definition,
}

impl Check {
    /// What was declared.
    #[must_use]
    pub fn definition(&self) -> &Definition {
        &self.definition
    }

    /// How often it is run.
    #[must_use]
    pub fn interval(&self) -> Duration {
        Duration::from_millis(self.definition.interval_ms)
    }

    /// How long one run may take. A heartbeat may be this late.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.definition.timeout_ms)
    }

    /// For how long after the start failures do not count.
    #[must_use]
    pub fn start_period(&self) -> Duration {
        Duration::from_millis(self.definition.start_period_ms)
    }

    /// Whether the service reports by itself, and nothing is run.
    #[must_use]
    pub fn is_heartbeat(&self) -> bool {
        self.definition.kind == Kind::Heartbeat
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use steadfast_types::wire::Wire;

    fn tcp(address: &str) -> Definition {
        Definition::new("orders-port", "orders", Kind::Tcp { address: address.into() })
    }

    fn http(url: &str) -> Definition {
        Definition::new("orders-http", "orders", Kind::Http { url: url.into(), least_status: 200, most_status: 299 })
    }

    #[test]
    fn good_definitions_are_taken() {
        for address in ["localhost:80", "10.0.0.1:65535", "[::1]:8080"] {
            assert_eq!(tcp(address).validate().map(|_| ()), Ok(()), "{address}");
        }
        for url in ["http://localhost", "https://orders.example:8443/health?deep=1", "http://[::1]:80/"] {
            assert_eq!(http(url).validate().map(|_| ()), Ok(()), "{url}");
        }
    }

    #[test]
    fn bad_ones_name_the_input_and_the_remedy() {
        let bad = |definition: Definition| definition.validate().unwrap_err();
        for address in ["", "localhost", "localhost:0", "localhost:65536", ":80", "a b:80", "::1:80", "localhost:+80"] {
            assert_eq!(bad(tcp(address)).field, "address", "{address}");
        }
        for url in ["", "ftp://a", "http://", "http://a b/", "localhost/health", "http://host:99999/"] {
            assert_eq!(bad(http(url)).field, "url", "{url}");
        }
        let error = bad(Definition { timeout_ms: 20_000, ..tcp("localhost:80") });
        assert_eq!(error.to_string(), "check \"orders-port\": timeout is \"20000 ms\": choose at least 1 ms and at most the interval");
        assert_eq!(bad(Definition { name: "a/b".into(), ..tcp("localhost:80") }).field, "name");
        assert_eq!(bad(Definition { fall: 0, ..tcp("localhost:80") }).field, "fall");
        assert_eq!(bad(Definition::new("a", "b", Kind::Script { command: Vec::new() })).field, "command");
    }

    #[test]
    fn a_password_in_a_url_is_refused_and_not_repeated() {
        let error = http("https://admin:hunter2@orders/health").validate().unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }

    proptest! {
        #[test]
        fn any_definition_is_judged_and_survives_the_wire(name in ".{0,20}", text in ".{0,40}", kind in 0..5u8, interval_ms in any::<u64>(), rise in any::<u32>()) {
            let kind = match kind {
                0 => Kind::Tcp { address: text },
                1 => Kind::Http { url: text, least_status: rise, most_status: 299 },
                2 => Kind::Grpc { address: text.clone(), service: text },
                3 => Kind::Script { command: alloc::vec![text] },
                _ => Kind::Heartbeat,
            };
            let definition = Definition { interval_ms, rise, ..Definition::new(&name, "orders", kind) };
            let _ = definition.clone().validate();
            prop_assert_eq!(Definition::from_wire(definition.to_wire().into()), Ok(definition));
        }
    }
}
