//! Checks as people declare them: JSON records in strong state, one a check, under the node's name or under `*` for all nodes.
//!
//! `steadfast/health/checks/n1/orders-http` may say `{"service":"orders","http":"http://127.0.0.1:8080/health","interval":"10s"}`; what is left
//! out has the usual figures. A field that is not known is refused, so that a slip of the pen is not taken for a default.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use steadfast_coordination::{Key, Prefix, space};
pub use steadfast_health::checks::definition::{Definition, DefinitionError, Kind};
pub use steadfast_health::limits::CHECKS;

/// The room below it is `steadfast/health/`.
const ROOM: &str = "health";

/// Stands in a key where else a node's name does.
pub const ALL_NODES: &str = "*";

/// Bytes of a record that may be a declaration: a command of as many words as may be, each as long as may be, with what JSON adds.
pub const DECLARATION_BYTES: usize = 128 * 1024;

/// The statuses that pass a check by HTTP, if none are named.
const STATUSES: (u32, u32) = (200, 299);

/// What is declared for each node; for all of them under [`ALL_NODES`]. Valid each, in the order of their names.
pub type Declared<T = Definition> = BTreeMap<String, Vec<T>>;

/// What people declare for nodes, each in a record of its own under the node's name.
pub trait Declares: Clone + PartialEq + Send + Sync + 'static {
    /// What such a record declares, in words.
    const WHAT: &'static str;

    /// What the keys of all such records begin with.
    fn prefix() -> Prefix;

    /// What it is called, one of its node.
    fn name(&self) -> &str;

    /// The node, and what a record declares for it.
    ///
    /// # Errors
    /// Why it declares nothing, in words.
    fn read(key: &Key, value: &[u8]) -> Result<(String, Self), String>;
}

impl Declares for Definition {
    const WHAT: &'static str = "check";

    fn prefix() -> Prefix {
        prefix()
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn read(key: &Key, value: &[u8]) -> Result<(String, Self), String> {
        read(key, value).map_err(|error| error.to_string())
    }
}

/// What a record says. Exactly one of `tcp`, `http`, `grpc`, `script` and `heartbeat` is there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Declaration {
    /// The service that is checked.
    pub service: String,
    /// `host:port`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp: Option<String>,
    /// A URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<String>,
    /// With `http`: the status that passes, or a range like `200-399`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// `host:port`, or `host:port/service`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grpc: Option<String>,
    /// A program and its arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script: Option<Vec<String>>,
    /// The service says by itself that it lives.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub heartbeat: bool,
    /// How often, like `10s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<String>,
    /// How long one run may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
    /// Passes in a row that make it well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rise: Option<u32>,
    /// Failures in a row that make it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fall: Option<u32>,
    /// For how long after its start failures do not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_period: Option<String>,
}

/// Why a record declares no check, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeclarationError {
    /// Its key is none.
    #[error(
        "the key is not of the form steadfast/health/checks/NODE/CHECK: delete it, and declare the check with `steadfast service check add`"
    )]
    Key,
    /// It is too long for one.
    #[error("{0} bytes are too many for a check: at most {DECLARATION_BYTES}")]
    TooLong(usize),
    /// It is no JSON object, or not with these fields.
    #[error("it is no declaration ({0}): write it with `steadfast service check add`")]
    Malformed(String),
    /// It names no way to check, or several.
    #[error("check {check:?}: {found} of tcp, http, grpc, script and heartbeat are given: give exactly one")]
    Kinds {
        /// Which check.
        check: String,
        /// How many.
        found: usize,
    },
    /// A field is not of its form.
    #[error("check {check:?}: {field} is {value:?}: {remedy}")]
    Field {
        /// Which check.
        check: String,
        /// Which of its fields.
        field: &'static str,
        /// What it says.
        value: String,
        /// What to write instead.
        remedy: &'static str,
    },
    /// A value is out of its bounds.
    #[error(transparent)]
    Definition(#[from] DefinitionError),
}

/// What the keys of all declarations begin with.
///
/// # Panics
/// Never: the prefix is short.
pub fn prefix() -> Prefix {
    space::room(ROOM).and_then(|room| room.prefix("checks/")).expect("a short prefix")
}

/// What the keys of one node's declarations begin with.
///
/// # Errors
/// The name is none of a node, nor [`ALL_NODES`].
pub fn node_prefix(node: &str) -> Result<Prefix, DeclarationError> {
    if !is_node(node) {
        return Err(DeclarationError::Field {
            check: String::new(),
            field: "node",
            value: node.chars().take(crate::options::NAME_BYTES).collect(),
            remedy: "give a node's name, as `steadfast status` shows it",
        });
    }
    prefix().prefix(format!("{node}/")).map_err(|_| DeclarationError::Key)
}

/// Where a check is declared.
///
/// # Errors
/// A name is none, or both together are too long.
pub fn key(node: &str, check: &str) -> Result<Key, DeclarationError> {
    node_prefix(node)?.key(check).map_err(|_| DeclarationError::Key)
}

pub(super) fn is_node(name: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    name == ALL_NODES || (1..=crate::options::NAME_BYTES).contains(&name.len()) && name.bytes().all(good)
}

/// The node and the check that a key names.
pub fn names(key: &Key) -> Option<(&str, &str)> {
    let prefix = prefix();
    let name = std::str::from_utf8(prefix.strip(key)?).ok()?;
    let (node, check) = name.split_once('/')?;
    is_node(node).then_some((node, check))
}

/// The node and the check that a record declares.
///
/// # Errors
/// It declares none.
pub fn read(key: &Key, value: &[u8]) -> Result<(String, Definition), DeclarationError> {
    let (node, check) = names(key).ok_or(DeclarationError::Key)?;
    if value.len() > DECLARATION_BYTES {
        return Err(DeclarationError::TooLong(value.len()));
    }
    let declaration: Declaration = serde_json::from_slice(value).map_err(|error| DeclarationError::Malformed(error.to_string()))?;
    Ok((node.to_owned(), declaration.definition(check)?))
}

/// What is declared for a node: by its name, or for all. Where both have one of the same name, its own counts.
pub fn for_node<T: Declares>(all: &Declared<T>, node: &str) -> Vec<T> {
    let of = |node: &str| all.get(node).into_iter().flatten().map(|declared| (declared.name().to_owned(), declared.clone()));
    let declared: BTreeMap<String, T> = of(ALL_NODES).chain(of(node)).collect();
    declared.into_values().collect()
}

impl Declaration {
    /// The check of this name that it declares: one that can be run.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn definition(&self, check: &str) -> Result<Definition, DeclarationError> {
        let usual = Definition::new(check, &self.service, self.kind(check)?);
        let ms = |field, given: &Option<String>, usual| given.as_ref().map_or(Ok(usual), |text| milliseconds(check, field, text));
        let definition = Definition {
            interval_ms: ms("interval", &self.interval, usual.interval_ms)?,
            timeout_ms: ms("timeout", &self.timeout, usual.timeout_ms)?,
            rise: self.rise.unwrap_or(usual.rise),
            fall: self.fall.unwrap_or(usual.fall),
            start_period_ms: ms("start_period", &self.start_period, usual.start_period_ms)?,
            ..usual
        };
        definition.clone().validate()?;
        Ok(definition)
    }

    fn kind(&self, check: &str) -> Result<Kind, DeclarationError> {
        if self.status.is_some() && self.http.is_none() {
            let value = self.status.clone().unwrap_or_default();
            return Err(DeclarationError::Field { check: check.into(), field: "status", value, remedy: "leave it out: it goes with http" });
        }
        let tcp = self.tcp.clone().map(|address| Kind::Tcp { address });
        let http = self.http.clone().map(|url| statuses(check, self.status.as_deref(), url)).transpose()?;
        let grpc = self.grpc.as_deref().map(grpc);
        let script = self.script.clone().map(|command| Kind::Script { command });
        let heartbeat = self.heartbeat.then_some(Kind::Heartbeat);
        let mut given: Vec<Kind> = [tcp, http, grpc, script, heartbeat].into_iter().flatten().collect();
        match (given.pop(), given.len()) {
            (Some(kind), 0) => Ok(kind),
            (last, others) => Err(DeclarationError::Kinds { check: check.into(), found: others + usize::from(last.is_some()) }),
        }
    }

    /// The declaration of a check, with every figure in it.
    pub fn of(definition: &Definition) -> Self {
        let Definition { name: _, service, kind, interval_ms, timeout_ms, rise, fall, start_period_ms } = definition;
        let time = |ms: u64| Some(humantime::format_duration(Duration::from_millis(ms)).to_string());
        let declaration = Declaration {
            service: service.clone(),
            interval: time(*interval_ms),
            timeout: time(*timeout_ms),
            rise: Some(*rise),
            fall: Some(*fall),
            start_period: time(*start_period_ms),
            ..Declaration::default()
        };
        match kind.clone() {
            Kind::Tcp { address } => Declaration { tcp: Some(address), ..declaration },
            Kind::Http { url, least_status, most_status } => {
                let status = ((least_status, most_status) != STATUSES).then(|| format!("{least_status}-{most_status}"));
                Declaration { http: Some(url), status, ..declaration }
            }
            Kind::Grpc { address, service } if service.is_empty() => Declaration { grpc: Some(address), ..declaration },
            Kind::Grpc { address, service } => Declaration { grpc: Some(format!("{address}/{service}")), ..declaration },
            Kind::Script { command } => Declaration { script: Some(command), ..declaration },
            Kind::Heartbeat => Declaration { heartbeat: true, ..declaration },
        }
    }

    /// Its record.
    ///
    /// # Panics
    /// Never: it is plain data.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a declaration is plain data")
    }
}

fn statuses(check: &str, text: Option<&str>, url: String) -> Result<Kind, DeclarationError> {
    let Some(text) = text else { return Ok(Kind::Http { url, least_status: STATUSES.0, most_status: STATUSES.1 }) };
    let (least, most) = text.split_once('-').unwrap_or((text, text));
    match (least.parse(), most.parse()) {
        (Ok(least_status), Ok(most_status)) => Ok(Kind::Http { url, least_status, most_status }),
        _ => Err(DeclarationError::Field {
            check: check.into(),
            field: "status",
            value: text.chars().take(32).collect(),
            remedy: "write a status like 204, or a range like 200-399",
        }),
    }
}

fn grpc(target: &str) -> Kind {
    let (address, service) = target.split_once('/').unwrap_or((target, ""));
    Kind::Grpc { address: address.into(), service: service.into() }
}

pub(super) fn milliseconds(check: &str, field: &'static str, text: &str) -> Result<u64, DeclarationError> {
    let time = humantime::parse_duration(text).ok().and_then(|time| u64::try_from(time.as_millis()).ok());
    time.ok_or_else(|| DeclarationError::Field {
        check: check.into(),
        field,
        value: text.chars().take(32).collect(),
        remedy: "write a time like 500ms, 10s or 2m",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn definition(json: &str) -> Result<Definition, DeclarationError> {
        read(&key("n1", "orders-http").unwrap(), json.as_bytes()).map(|(_, definition)| definition)
    }

    #[test]
    fn what_is_left_out_has_the_usual_figures() {
        let read = definition(r#"{"service":"orders","http":"http://127.0.0.1:8080/health","interval":"2s","timeout":"500ms"}"#).unwrap();
        let kind = Kind::Http { url: "http://127.0.0.1:8080/health".into(), least_status: 200, most_status: 299 };
        assert_eq!(read, Definition { interval_ms: 2_000, timeout_ms: 500, ..Definition::new("orders-http", "orders", kind) });
    }

    #[test]
    fn what_is_no_declaration_names_the_field_and_the_remedy() {
        for (json, said) in [
            ("", "it is no declaration"),
            ("[]", "it is no declaration"),
            (r#"{"service":"a","htpt":"http://a"}"#, "unknown field `htpt`"),
            (r#"{"service":"a"}"#, "0 of tcp, http"),
            (r#"{"service":"a","tcp":"a:1","heartbeat":true}"#, "2 of tcp, http"),
            (r#"{"service":"a","tcp":"a:1","interval":"soon"}"#, "interval is \"soon\": write a time like"),
            (r#"{"service":"a","tcp":"a"}"#, "address is \"a\": write host:port"),
            (r#"{"service":"a","tcp":"a:1","status":"200"}"#, "it goes with http"),
            (r#"{"service":"a","http":"http://a","status":"2xx"}"#, "write a status like 204"),
            (r#"{"service":"a","http":"http://a","status":"300-200"}"#, "choose a range"),
            (r#"{"service":"","heartbeat":true}"#, "service is \"\""),
        ] {
            let error = definition(json).unwrap_err().to_string();
            assert!(error.contains(said), "{json}: {error}");
        }
        let long = format!(r#"{{"service":"a","script":["{}"]}}"#, "x".repeat(DECLARATION_BYTES));
        assert!(matches!(definition(&long), Err(DeclarationError::TooLong(_))));
    }

    #[test]
    fn keys_name_a_node_and_a_check() {
        assert_eq!(key("n1", "a").unwrap().bytes().as_ref(), b"steadfast/health/checks/n1/a");
        assert_eq!(names(&key("*", "a").unwrap()), Some(("*", "a")));
        for wrong in
            ["steadfast/health/checks/n1", "steadfast/health/nodes/n1/a", "steadfast/health/checks//a", "steadfast/health/checks/a b/c"]
        {
            assert_eq!(read(&Key::new(wrong).unwrap(), b"{}"), Err(DeclarationError::Key), "{wrong}");
        }
        assert!(key("a/b", "c").is_err());
    }

    #[test]
    fn a_node_has_its_own_checks_and_those_of_all() {
        let beat = |name: &str, service: &str| Definition::new(name, service, Kind::Heartbeat);
        let all: Declared = [
            (ALL_NODES.to_owned(), vec![beat("a", "everywhere"), beat("b", "everywhere")]),
            ("n1".to_owned(), vec![beat("b", "here"), beat("c", "here")]),
        ]
        .into();
        assert_eq!(for_node(&all, "n1"), [beat("a", "everywhere"), beat("b", "here"), beat("c", "here")]);
        assert_eq!(for_node(&all, "n2"), [beat("a", "everywhere"), beat("b", "everywhere")]);
    }

    fn any_kind() -> impl Strategy<Value = Kind> {
        let address = "[a-z]{1,8}:[1-9][0-9]{0,3}";
        prop_oneof![
            address.prop_map(|address| Kind::Tcp { address }),
            ("https?://[a-z]{1,8}(:[1-9][0-9]{0,3})?(/[a-z?=&]{0,9})?", 100..300u32, 300..600u32)
                .prop_map(|(url, least_status, most_status)| Kind::Http { url, least_status, most_status }),
            (address, "[a-z./]{0,9}").prop_map(|(address, service)| Kind::Grpc { address, service }),
            prop::collection::vec("[^\0]{1,9}", 1..5).prop_map(|command| Kind::Script { command }),
            Just(Kind::Heartbeat),
        ]
    }

    proptest! {
        #[test]
        fn every_check_survives_its_record(kind in any_kind(), timeout_ms in 1..=100u64, interval_ms in 100..=86_400_000u64, rise in 1..=100u32, start_period_ms in 0..=86_400_000u64) {
            let definition = Definition { timeout_ms, interval_ms, rise, start_period_ms, ..Definition::new("a", "b", kind) };
            let record = Declaration::of(&definition).to_json();
            prop_assert_eq!(read(&key("n1", "a").unwrap(), record.as_bytes()), Ok(("n1".to_owned(), definition)), "{}", record);
        }

        #[test]
        fn any_record_is_judged(key_end in ".{0,12}", value in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = read(&prefix().key(format!("{key_end}x")).unwrap(), &value);
        }
    }
}
