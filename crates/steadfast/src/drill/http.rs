//! One HTTP request to a node's admin port.

use std::time::Duration;

use anyhow::{Context, Result};
use ureq::Agent;
use ureq::http::Request;

/// The most that is read of an answer, bytes.
const ANSWER_BYTES: u64 = 64 * 1024;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// The status code and the body of the answer.
pub(super) async fn call(address: &str, method: &'static str, path: &'static str, body: String) -> Result<(u16, String)> {
    let address = address.to_owned();
    tokio::task::spawn_blocking(move || call_at_once(&address, method, path, body)).await?
}

/// The same without a runtime, for a process that is about to end.
pub(super) fn call_at_once(address: &str, method: &str, path: &str, body: String) -> Result<(u16, String)> {
    let exchange = || {
        let agent: Agent = Agent::config_builder().timeout_global(Some(PATIENCE)).http_status_as_error(false).proxy(None).build().into();
        let request = Request::builder().method(method).uri(format!("http://{address}{path}")).body(body)?;
        let mut answer = agent.run(request)?;
        let text = answer.body_mut().with_config().limit(ANSWER_BYTES).read_to_string()?;
        anyhow::Ok((answer.status().as_u16(), text))
    };
    exchange().with_context(|| format!("{method} http://{address}{path}"))
}
