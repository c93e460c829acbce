//! `steadfast service restart set|list|remove`: how services are started anew.

use anyhow::{Result, bail};
use clap::{ArgGroup, Args, Subcommand};
use serde_json::{Value, json};
use steadfast_coordination::{Coordination, Fence, Outcome, Read, Record, settle};
use steadfast_server::checks::declared::ALL_NODES;
use steadfast_server::checks::restarts::{self, Restart, RestartDeclaration, RestartDeclarationError};

use super::{in_words, read_all, store};
use crate::endpoints::Cluster;
use crate::show;
use crate::usage::UsageError;

/// What it takes.
#[derive(Args, Debug)]
pub(super) struct RestartArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// Declare the command that starts a service anew
    Set(SetArgs),
    /// List what is declared
    List(ListArgs),
    /// Declare it no longer: the service is left alone when it fails
    Remove(RemoveArgs),
}

/// Where a service runs.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("where").required(true).args(["node", "all_nodes"])))]
struct Place {
    /// The nodes that it runs on
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    node: Vec<String>,
    /// It runs on all nodes, those too that come later
    #[arg(long)]
    all_nodes: bool,
}

impl Place {
    fn nodes(&self) -> Vec<String> {
        if self.all_nodes { vec![ALL_NODES.to_owned()] } else { self.node.clone() }
    }
}

#[derive(Args, Debug)]
#[command(after_help = "\
A service that was failed for --recover-services-after (5s) is started anew by a recovery plan, on its
node, if that was started with --enable-script-checks. What the service prints is not kept: the command
sends it where it belongs, as systemd does.

Examples:
  steadfast service restart set --node n1 --service orders -- systemctl restart orders
  steadfast service restart set --all-nodes --service proxy --timeout 2m -- /usr/local/bin/restart-proxy")]
struct SetArgs {
    /// The service, as its checks name it
    #[arg(long, value_name = "NAME")]
    service: String,
    #[command(flatten)]
    place: Place,
    /// How long the command may run
    #[arg(long, value_name = "TIME", default_value = "1m")]
    timeout: String,
    /// A program and its arguments; no shell is between
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<String>,
    #[command(flatten)]
    cluster: Cluster,
}

#[derive(Args, Debug)]
struct ListArgs {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    cluster: Cluster,
}

#[derive(Args, Debug)]
struct RemoveArgs {
    /// The service
    #[arg(long, value_name = "NAME")]
    service: String,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    cluster: Cluster,
}

/// Carries out one of the actions.
pub(super) async fn run(args: &RestartArgs) -> Result<()> {
    match &args.action {
        Action::Set(args) => set(args).await,
        Action::List(args) => list(args).await,
        Action::Remove(args) => remove(args).await,
    }
}

fn on(node: &str) -> &str {
    if node == ALL_NODES { "all nodes" } else { node }
}

async fn set(args: &SetArgs) -> Result<()> {
    let usage = |error: RestartDeclarationError| UsageError(error.to_string());
    let declaration = RestartDeclaration { command: args.command.clone(), timeout: Some(args.timeout.clone()) };
    let restart = declaration.restart(&args.service).map_err(usage)?;
    let store = store(&args.cluster)?;
    for node in args.place.nodes() {
        let value = RestartDeclaration::of(&restart).to_json();
        replace(&store, &node, &args.service, |fence, _| Ok(fence.put(value.clone()))).await?;
        show::print(format!("The restart of service {} is declared for {}.", args.service, on(&node)))?;
    }
    Ok(())
}

async fn remove(args: &RemoveArgs) -> Result<()> {
    let store = store(&args.cluster)?;
    for node in args.place.nodes() {
        replace(&store, &node, &args.service, |fence, record| match record {
            Some(_) => Ok(fence.delete()),
            None => bail!("no restart of {} is declared for {}: `steadfast service restart list` shows what is", args.service, on(&node)),
        })
        .await?;
        show::print(format!("The restart of service {} is no longer declared for {}.", args.service, on(&node)))?;
    }
    Ok(())
}

/// Writes one record in the place of the one that was read.
async fn replace<C: Coordination>(
    store: &C,
    node: &str,
    service: &str,
    batch: impl Fn(&Fence, Option<&Record>) -> Result<steadfast_coordination::Batch>,
) -> Result<()> {
    let key = restarts::key(node, service).map_err(|error| UsageError(error.to_string()))?;
    let page = store.read(Read::key(key.clone())).await.map_err(in_words)?;
    let fence = Fence { key, record: page.records.into_iter().next(), read_at: page.revision };
    let batch = batch(&fence, fence.record.as_ref())?;
    match settle(store, &fence, &batch).await.map_err(in_words)? {
        Outcome::Applied(_) => Ok(()),
        Outcome::Conflict(_) => bail!("somebody else has just changed the restart of {service} on {}: look, and try again", on(node)),
    }
}

async fn list(args: &ListArgs) -> Result<()> {
    let records = read_all(&store(&args.cluster)?, restarts::prefix()).await?;
    let (mut found, mut malformed) = (Vec::new(), Vec::new());
    for record in &records {
        match restarts::read(&record.key, &record.value) {
            Ok(restart) => found.push(restart),
            Err(error) => malformed.push((record.key.to_string(), error.to_string())),
        }
    }
    show::print(if args.json { in_json(&found, &malformed).to_string() } else { table(&found) })?;
    for (key, problem) in malformed.iter().filter(|_| !args.json) {
        eprintln!("steadfast: {key} declares no restart: {problem}");
    }
    Ok(())
}

fn table(found: &[(String, Restart)]) -> String {
    let row = |(node, restart): &(String, Restart)| {
        let words: Vec<String> = restart.command.iter().map(|word| show::escape(show::shell_word(word).as_bytes())).collect();
        let timeout = RestartDeclaration::of(restart).timeout.unwrap_or_default();
        let node = if node == ALL_NODES { "(all)".to_owned() } else { node.clone() };
        vec![node, restart.service.clone(), timeout, words.join(" ")]
    };
    show::table(&["NODE", "SERVICE", "TIMEOUT", "COMMAND"], &[], found.iter().map(row))
}

fn in_json(found: &[(String, Restart)], malformed: &[(String, String)]) -> Value {
    let restart = |(node, restart): &(String, Restart)| {
        let mut value = json!(RestartDeclaration::of(restart));
        (value["node"], value["service"]) = (json!(node), json!(restart.service));
        value
    };
    let problem = |(key, problem): &(String, String)| json!({ "key": key, "problem": problem });
    json!({
        "restarts": found.iter().map(restart).collect::<Vec<_>>(),
        "malformed": malformed.iter().map(problem).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_show_what_is_declared_and_what_is_none() {
        let restart = Restart { service: "orders".into(), command: vec!["restart it".into(), "-f".into()], timeout_ms: 60_000 };
        let found = [(ALL_NODES.to_owned(), restart)];
        let table = table(&found);
        let line: Vec<&str> = table.lines().nth(1).expect("a line").split_whitespace().collect();
        assert_eq!(line, ["(all)", "orders", "1m", "'restart", "it'", "-f"]);
        let json = in_json(&found, &[("k".to_owned(), "wrong".to_owned())]);
        assert_eq!((&json["restarts"][0]["service"], &json["malformed"][0]["problem"]), (&json!("orders"), &json!("wrong")));
    }
}
