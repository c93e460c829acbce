//! What the errors of calls say, in plain words.

use std::error::Error;

use tonic::{Code, Status};

use crate::connect::CALL_WAIT;

/// Whether the cluster said that it did not even try.
pub fn is_refusal(status: &Status) -> bool {
    matches!(status.message(), "etcdserver: no leader" | "etcdserver: too many requests")
}

/// A call's error for people: etcd's text without its prefix, or what broke on the way.
pub fn in_words(status: &Status) -> String {
    let message = status.message().strip_prefix("etcdserver: ").unwrap_or(status.message());
    match status.source() {
        Some(source) => root_cause(source),
        None if message == "user name is empty" => "this cluster wants to know who asks: give --user NAME:PASSWORD".into(),
        None if message == "permission denied" => "permission denied: this user may not do that".into(),
        None if message == "invalid auth token" => "the token has ended meanwhile: try again".into(),
        None if message == "no leader" => "the cluster has no leader: a majority of its nodes is down or apart".into(),
        None if status.code() == Code::Cancelled && message.contains("imeout") => format!("no answer in {} s", CALL_WAIT.as_secs()),
        None if message.is_empty() => status.code().description().to_string(),
        None => message.to_string(),
    }
}

/// The innermost cause, which names what happened; those around it only say where.
pub(crate) fn root_cause(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    match cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind) {
        Some(std::io::ErrorKind::ConnectionRefused) => "connection refused".into(),
        Some(std::io::ErrorKind::TimedOut) => "no answer".into(),
        _ => cause.to_string(),
    }
}
