//! What a node logs, to standard error: text for people, or a JSON object a line.

use std::io::IsTerminal;

use anyhow::Result;
use clap::ValueEnum;
use serde::Deserialize;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::usage::UsageError;

/// The variable that says what is logged.
const FILTER: &str = "STEADFAST_LOG";

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For programs: a JSON object a line.
    Json,
}

/// Starts to log.
pub(super) fn start(format: LogFormat) -> Result<()> {
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    let registry = tracing_subscriber::registry().with(filter()?).with(steadfast_server::diagnosis::recent_log());
    match format {
        LogFormat::Text => registry.with(lines).init(),
        LogFormat::Json => registry.with(lines.json()).init(),
    }
    Ok(())
}

fn filter() -> Result<EnvFilter> {
    let wish = std::env::var(FILTER).unwrap_or_default();
    let wish = if wish.is_empty() { "info" } else { wish.as_str() };
    EnvFilter::try_new(wish)
        .map_err(|error| UsageError(format!("{FILTER}={wish:?} is no filter ({error}): try info, or steadfast_server=debug")).into())
}
