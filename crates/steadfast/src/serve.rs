//! `steadfast serve`: one node, in the foreground, until SIGTERM or SIGINT.
//!
//! Every setting is a flag, an environment variable and a key of the file given with `--config`, by one name; a flag wins over the environment,
//! that over the file, that over the default.

mod file;
mod logging;
mod settings;

use std::io::Read;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use settings::Settings;

/// Set, in the environment of a node, by a parent that wants the node to stop when its standard input ends. Not a setting: the same command,
/// started by hand, must run on.
pub(crate) const PARENT_PIPE: &str = "STEADFAST_PARENT_PIPE";

/// What `steadfast serve` takes.
#[derive(Args, Debug)]
#[command(after_help = "\
Each setting is also a variable (--data-dir: STEADFAST_DATA_DIR) and a key of the --config file in
TOML (data-dir = \"/var/lib/steadfast\"). A flag wins over the variable, the variable over the file.
STEADFAST_LOG says what is logged: info, debug, steadfast_server::peers=debug [default: info]

Examples:
  A cluster of one:
    steadfast serve --name n1 --data-dir /var/lib/steadfast --initial-cluster n1=127.0.0.1:2380

  A new cluster of three; on the machine 10.0.0.1, and likewise on the other two, in a file n1.toml:
    name = \"n1\"
    data-dir = \"/var/lib/steadfast\"
    listen-client = \"10.0.0.1:2379\"
    listen-peer = \"10.0.0.1:2380\"
    initial-cluster = \"n1=10.0.0.1:2380,n2=10.0.0.2:2380,n3=10.0.0.3:2380\"
    cert-file = \"server.crt\"
    key-file = \"server.key\"
    trusted-ca-file = \"ca.crt\"
    peer-cert-file = \"peer.crt\"
    peer-key-file = \"peer.key\"
    peer-trusted-ca-file = \"ca.crt\"
  then
    steadfast serve --config n1.toml
  `steadfast certs` makes these files for a trial.

  One more node for it, after `steadfast member add n4 --peer 10.0.0.4:2380 --learner`: the same with
    join = \"10.0.0.1:2380\"    # in place of initial-cluster

  Again, after a stop or a crash: the same command. What the directory holds wins over --initial-cluster and --join.")]
pub(crate) struct ServeArgs {
    /// A TOML file with any of these settings
    #[arg(long, env = "STEADFAST_CONFIG", hide_env = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
}

/// Runs the node until it is told to stop.
pub(crate) fn run(args: ServeArgs) -> Result<()> {
    // The allocator asks for pages of 2 MiB, of which a node that has little to do uses a little each; docs/benchmarks.md has the figures. A system
    // that has no such pages refuses, and nothing is lost.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    let from_file = args.config.as_deref().map(file::read).transpose()?;
    let settings = args.settings.over(from_file.unwrap_or_default())?;
    logging::start(settings.log_format())?;
    if std::env::var_os(PARENT_PIPE).is_some() {
        std::thread::Builder::new().name("parent-pipe".into()).spawn(stop_with_parent)?;
    }
    #[cfg(planted)]
    plant()?;
    Ok(steadfast_server::run(settings.into_options()?)?)
}

/// In a build with bugs to choose from (`steadfast_types::planted`), plants the one whose number is in the environment: so a drill can be seen to
/// find it. In any other build there is neither this nor any bug.
#[cfg(planted)]
fn plant() -> Result<()> {
    use steadfast_types::planted::{BUGS, MARKER, plant};
    tracing::warn!("{MARKER}");
    let Ok(number) = std::env::var("STEADFAST_PLANT") else { return Ok(()) };
    let chosen = BUGS.iter().find(|(bug, _)| (*bug as u32).to_string() == number);
    let (bug, what) = chosen.ok_or_else(|| crate::usage::UsageError(format!("STEADFAST_PLANT={number}: no bug has this number")))?;
    tracing::warn!(number, what, "a bug is planted");
    plant(Some(*bug));
    Ok(())
}

/// Waits for the end of standard input, then stops this process as SIGTERM would.
fn stop_with_parent() {
    let mut ignored = [0; 64];
    while matches!(std::io::stdin().lock().read(&mut ignored), Ok(1..)) {}
    tracing::warn!("the process that started this node has gone: stopping");
    if rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM).is_err() {
        std::process::exit(1);
    }
}
