//! How services are started anew, as people declare it: JSON records in strong state, one a service, under the node's name or under `*` for all nodes.
//!
//! `steadfast/health/restarts/n1/orders` may say `{"command":["systemctl","restart","orders"],"timeout":"1m"}`. It is a plan that runs the command, on the
//! node itself, and only where scripts may run (`recovery::restarter`).

use serde::{Deserialize, Serialize};
use std::time::Duration;
use steadfast_coordination::{Key, Prefix, space};
use steadfast_health::checks::restart::TIMEOUT_MS;
pub use steadfast_health::checks::restart::{Restart, RestartError};
pub use steadfast_health::limits::RESTARTS;

use super::declared::{DECLARATION_BYTES, DeclarationError, Declares, is_node, milliseconds};

/// What a record says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestartDeclaration {
    /// A program and its arguments.
    pub command: Vec<String>,
    /// How long it may run, like `1m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
}

/// Why a record declares no restart, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestartDeclarationError {
    /// Its key is none.
    #[error(
        "the key is not of the form steadfast/health/restarts/NODE/SERVICE: delete it, and declare it with `steadfast service restart set`"
    )]
    Key,
    /// It is too long for one.
    #[error("{0} bytes are too many for a restart: at most {DECLARATION_BYTES}")]
    TooLong(usize),
    /// It is no JSON object, or not with these fields.
    #[error("it is no declaration ({0}): write it with `steadfast service restart set`")]
    Malformed(String),
    /// Its time is not of the form.
    #[error(transparent)]
    Time(#[from] DeclarationError),
    /// A value is out of its bounds.
    #[error(transparent)]
    Restart(#[from] RestartError),
}

/// What the keys of all declared restarts begin with.
///
/// # Panics
/// Never: the prefix is short.
pub fn prefix() -> Prefix {
    space::room("health").and_then(|room| room.prefix("restarts/")).expect("a short prefix")
}

/// Where a service's restart is declared.
///
/// # Errors
/// A name is none, or both together are too long.
pub fn key(node: &str, service: &str) -> Result<Key, RestartDeclarationError> {
    let prefix = is_node(node).then(|| prefix().prefix(format!("{node}/")).ok()).flatten().ok_or(RestartDeclarationError::Key)?;
    prefix.key(service).map_err(|_| RestartDeclarationError::Key)
}

/// The node and the service that a record is about, and how it is started anew.
///
/// # Errors
/// It declares none.
pub fn read(key: &Key, value: &[u8]) -> Result<(String, Restart), RestartDeclarationError> {
    let prefix = prefix();
    let name = prefix.strip(key).and_then(|name| std::str::from_utf8(name).ok()).ok_or(RestartDeclarationError::Key)?;
    let (node, service) = name.split_once('/').filter(|(node, _)| is_node(node)).ok_or(RestartDeclarationError::Key)?;
    if value.len() > DECLARATION_BYTES {
        return Err(RestartDeclarationError::TooLong(value.len()));
    }
    let declaration: RestartDeclaration =
        serde_json::from_slice(value).map_err(|error| RestartDeclarationError::Malformed(error.to_string()))?;
    Ok((node.to_owned(), declaration.restart(service)?))
}

impl RestartDeclaration {
    /// How the service of this name is started anew.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn restart(&self, service: &str) -> Result<Restart, RestartDeclarationError> {
        let timeout_ms = self.timeout.as_ref().map_or(Ok(TIMEOUT_MS), |text| milliseconds(service, "timeout", text))?;
        Ok(Restart { service: service.to_owned(), command: self.command.clone(), timeout_ms }.validate()?)
    }

    /// The declaration of a restart, with its figure in it.
    pub fn of(restart: &Restart) -> Self {
        let timeout = humantime::format_duration(Duration::from_millis(restart.timeout_ms)).to_string();
        RestartDeclaration { command: restart.command.clone(), timeout: Some(timeout) }
    }

    /// Its record.
    ///
    /// # Panics
    /// Never: it is plain data.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a declaration is plain data")
    }
}

impl Declares for Restart {
    const WHAT: &'static str = "restart of a service";

    fn prefix() -> Prefix {
        prefix()
    }

    fn name(&self) -> &str {
        &self.service
    }

    fn read(key: &Key, value: &[u8]) -> Result<(String, Self), String> {
        read(key, value).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_declared_is_read_and_what_is_none_says_why() {
        let read = |json: &str| read(&key("n1", "orders").unwrap(), json.as_bytes());
        let restart = Restart { service: "orders".into(), command: vec!["systemctl".into(), "restart".into()], timeout_ms: 2_000 };
        assert_eq!(read(r#"{"command":["systemctl","restart"],"timeout":"2s"}"#), Ok(("n1".to_owned(), restart.clone())));
        assert_eq!(read(&RestartDeclaration::of(&restart).to_json()), Ok(("n1".to_owned(), restart)));
        for (json, said) in [
            ("", "it is no declaration"),
            (r#"{"command":["a"],"script":["b"]}"#, "unknown field"),
            (r#"{"command":[]}"#, "command is \"\": write a program"),
            (r#"{"command":["a"],"timeout":"soon"}"#, "timeout is \"soon\""),
            (r#"{"command":["a"],"timeout":"1h"}"#, "10 minutes"),
        ] {
            let error = read(json).unwrap_err().to_string();
            assert!(error.contains(said), "{json}: {error}");
        }
        assert!(key("a/b", "c").is_err());
        let foreign = Key::new("steadfast/health/restarts/n1").unwrap();
        assert_eq!(super::read(&foreign, b"{}"), Err(RestartDeclarationError::Key));
    }
}
