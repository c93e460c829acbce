//! `steadfast drill membership`: servers and agents on one machine, of which one after the other is killed, paused, cut off or slowed down.
//!
//! Every node is asked again and again whom it holds to be alive (`views`). The report says after what time the first other node had noticed each
//! fault, half of them, and all (`figures`, `report`). What the drill asks for:
//! 1. Who is dead, stands still or can't be reached is found dead by all others, and is back with all of them when it is healed.
//! 2. Nobody else is ever found dead by anybody: not who is slow, not who loses packets, not who is restarted in order.
//!
//! Left out: several machines; many faults at once, which the scorecard has.

mod cluster;
mod cpu_load;
mod faults;
mod figures;
mod page;
mod report;
mod run;
mod views;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::show;

/// What the drill is called.
pub(super) const NAME: &str = "membership";

/// What it shows, in a sentence.
pub(super) const PURPOSE: &str =
    "Servers and agents are killed, paused, cut off, slowed and restarted in turn: all others notice what they should, and nothing else.";

/// How many servers there are.
const SERVERS: usize = 3;

/// What to do.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    /// How many agents take part beside the servers.
    pub(super) agents: usize,
    /// Whether all processors are kept busy meanwhile.
    pub(super) cpu_load: bool,
    /// How long faults go on; `None`: each is done once, and is short.
    pub(super) minutes: Option<u64>,
    /// Where the report goes as JSON.
    pub(super) json: Option<PathBuf>,
    /// Where it goes as a page.
    pub(super) html: Option<PathBuf>,
}

impl Settings {
    /// How long a fault lasts that nobody's notice ends.
    fn fault_length(&self) -> Duration {
        Duration::from_secs(if self.minutes.is_some() { 30 } else { 8 })
    }
}

/// Runs it, and shows and writes what came out.
pub(super) async fn run(settings: &Settings) -> Result<()> {
    let report = run::run(settings).await?;
    show::print(report.text())?;
    let write = |path: &PathBuf, text: String| std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()));
    if let Some(path) = &settings.json {
        write(path, serde_json::to_string_pretty(&report.json())? + "\n")?;
    }
    if let Some(path) = &settings.html {
        write(path, page::page(&report))?;
    }
    if !report.passed {
        bail!("the membership drill failed: {} problems, named above", report.problems.len());
    }
    Ok(())
}
