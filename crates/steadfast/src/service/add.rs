//! `steadfast service check add`.

use anyhow::{Result, bail};
use clap::{ArgGroup, Args};
use steadfast_coordination::{Coordination, Fence, Key, Outcome, Read, Record, settle};
use steadfast_server::checks::declared::{self, ALL_NODES, CHECKS, Declaration, DeclarationError, Definition};

use super::{in_words, read_all, store};
use crate::endpoints::Cluster;
use crate::show;
use crate::usage::UsageError;

/// What it takes.
#[derive(Args, Debug)]
#[command(after_help = "\
A service is as the worst of its checks says. Each node runs its own checks, so give addresses as
that node reaches them. Scripts run on nodes that were started with --enable-script-checks.

Examples:
  steadfast service check add --node n1 --service orders --http http://127.0.0.1:8080/health
  steadfast service check add --node n1,n2 --service db --tcp 127.0.0.1:5432 --interval 2s --timeout 1s
  steadfast service check add --all-nodes --service proxy --grpc 127.0.0.1:9000/proxy.Proxy
  steadfast service check add disk --all-nodes --service disk --script -- /usr/lib/nagios/plugins/check_disk -w 10%
  steadfast service check add --node n1 --service nightly --heartbeat --interval 24h --timeout 1h")]
#[command(group(ArgGroup::new("where").required(true).args(["node", "all_nodes"])))]
#[command(group(ArgGroup::new("how").required(true).args(["tcp", "http", "grpc", "script", "heartbeat"])))]
pub(super) struct AddArgs {
    /// What the check is called, one of its node [default: the service's name and how it is checked, like orders-http]
    name: Option<String>,
    /// The service that it is about
    #[arg(long, value_name = "NAME")]
    service: String,
    /// The nodes that run it
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    node: Vec<String>,
    /// All nodes run it, those too that come later
    #[arg(long)]
    all_nodes: bool,
    /// It passes if a connection can be made
    #[arg(long, value_name = "HOST:PORT")]
    tcp: Option<String>,
    /// It passes if a GET is answered with a good status
    #[arg(long, value_name = "URL")]
    http: Option<String>,
    /// With --http: what is a good status, one or a range [default: 200-299]
    #[arg(long, value_name = "STATUS", requires = "http", conflicts_with_all = ["tcp", "grpc", "script", "heartbeat"])]
    status: Option<String>,
    /// It passes if gRPC's health service says SERVING, of the server or of one service
    #[arg(long, value_name = "HOST:PORT[/SERVICE]")]
    grpc: Option<String>,
    /// It passes if the command after -- ends with status 0; 1 is a warning
    #[arg(long, requires = "command")]
    script: bool,
    /// The service says by itself that it lives, by POST /v1/services/NAME/heartbeat on the node's admin port
    #[arg(long)]
    heartbeat: bool,
    /// How often
    #[arg(long, value_name = "TIME", default_value = "10s")]
    interval: String,
    /// How long one run may take; how late a heartbeat may be
    #[arg(long, value_name = "TIME", default_value = "3s")]
    timeout: String,
    /// How many passes in a row make a failed service well again
    #[arg(long, value_name = "N", default_value_t = 2)]
    rise: u32,
    /// How many failures in a row make it failed
    #[arg(long, value_name = "N", default_value_t = 3)]
    fall: u32,
    /// For how long after the check begins failures do not count, until the first pass
    #[arg(long, value_name = "TIME", default_value = "0s")]
    start_period: String,
    /// Take the place of a check of this name that is declared otherwise
    #[arg(long)]
    replace: bool,
    /// The script: a program and its arguments; no shell is between
    #[arg(last = true, value_name = "CMD", requires = "script", conflicts_with_all = ["tcp", "http", "grpc", "heartbeat"])]
    command: Vec<String>,
    #[command(flatten)]
    cluster: Cluster,
}

impl AddArgs {
    fn check(&self) -> String {
        let kind = match self {
            AddArgs { tcp: Some(_), .. } => "tcp",
            AddArgs { http: Some(_), .. } => "http",
            AddArgs { grpc: Some(_), .. } => "grpc",
            AddArgs { script: true, .. } => "script",
            _ => "heartbeat",
        };
        self.name.clone().unwrap_or_else(|| format!("{}-{kind}", self.service))
    }

    fn definition(&self) -> Result<Definition, DeclarationError> {
        let declaration = Declaration {
            service: self.service.clone(),
            tcp: self.tcp.clone(),
            http: self.http.clone(),
            status: self.status.clone(),
            grpc: self.grpc.clone(),
            script: self.script.then(|| self.command.clone()),
            heartbeat: self.heartbeat,
            interval: Some(self.interval.clone()),
            timeout: Some(self.timeout.clone()),
            rise: Some(self.rise),
            fall: Some(self.fall),
            start_period: Some(self.start_period.clone()),
        };
        declaration.definition(&self.check())
    }

    /// Where it is declared: node and key.
    fn places(&self, check: &str) -> Result<Vec<(String, Key)>, DeclarationError> {
        let nodes = if self.all_nodes { vec![ALL_NODES.to_owned()] } else { self.node.clone() };
        nodes.into_iter().map(|node| declared::key(&node, check).map(|key| (node, key))).collect()
    }
}

/// Declares it.
pub(super) async fn run(args: &AddArgs) -> Result<()> {
    let usage = |error: DeclarationError| UsageError(error.to_string());
    let definition = args.definition().map_err(usage)?;
    let places = args.places(&definition.name).map_err(usage)?;
    let store = store(&args.cluster)?;
    for (node, key) in places {
        add(&store, &node, key, &definition, args.replace).await?;
        let on = if node == ALL_NODES { "all nodes".to_owned() } else { node };
        show::print(format!("Check {} of service {} is declared for {on}.", definition.name, definition.service))?;
    }
    Ok(())
}

async fn add<C: Coordination>(store: &C, node: &str, key: Key, definition: &Definition, replaces: bool) -> Result<()> {
    let page = store.read(Read::key(key.clone())).await.map_err(in_words)?;
    let record = page.records.into_iter().next();
    match record.as_ref() {
        None => check_room(store, node).await?,
        Some(record) if is_same(record, definition) => return Ok(()),
        Some(_) if replaces => {}
        Some(_) => bail!("a check {} is declared for {node} already, and otherwise: give --replace, or another name", definition.name),
    }
    let fence = Fence { key, record, read_at: page.revision };
    let batch = fence.put(Declaration::of(definition).to_json());
    match settle(store, &fence, &batch).await.map_err(in_words)? {
        Outcome::Applied(_) => Ok(()),
        Outcome::Conflict(_) => bail!("somebody else has just declared the check {} for {node}: look, and try again", definition.name),
    }
}

fn is_same(record: &Record, definition: &Definition) -> bool {
    declared::read(&record.key, &record.value).is_ok_and(|(_, declared)| declared == *definition)
}

/// A node runs so many checks and no more.
async fn check_room<C: Coordination>(store: &C, node: &str) -> Result<()> {
    let declared = read_all(store, declared::node_prefix(node)?).await?.len();
    if declared >= CHECKS {
        bail!("{declared} checks are declared for {node} already, and a node runs {CHECKS}: remove some, or declare it for another node");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use steadfast_coordination::{Batch, Memory, Write};

    use super::*;

    #[derive(Parser, Debug)]
    struct CommandLine {
        #[command(flatten)]
        args: AddArgs,
    }

    fn parse(line: &str) -> Result<AddArgs, clap::Error> {
        CommandLine::try_parse_from(["add"].into_iter().chain(line.split(' '))).map(|line| line.args)
    }

    fn definition(line: &str) -> Definition {
        parse(line).expect("an argument list").definition().expect("a definition")
    }

    #[test]
    fn one_way_to_check_and_one_place_are_given() {
        for wrong in [
            "--node n1 --service a",
            "--service a --heartbeat",
            "--node n1 --all-nodes --service a --heartbeat",
            "--node n1 --service a --tcp a:1 --heartbeat",
            "--node n1 --service a --script",
            "--node n1 --service a --heartbeat -- true",
            "--node n1 --service a --tcp a:1 --status 200",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn arguments_become_a_definition() {
        let http = definition("--node n1,n2 --service orders --http http://a/ --status 204 --interval 2s --timeout 500ms --fall 1");
        assert_eq!((http.name.as_str(), http.interval_ms, http.timeout_ms, http.rise, http.fall), ("orders-http", 2_000, 500, 2, 1));
        let script = definition("disk --all-nodes --service disk --script -- check_disk -w 10%");
        let command = ["check_disk", "-w", "10%"].map(String::from).into();
        assert_eq!(script, Definition::new("disk", "disk", declared::Kind::Script { command }));
        let places = parse("--node n1,n2 --service a --heartbeat").expect("valid").places("a").expect("good names");
        assert_eq!(places.iter().map(|(node, _)| node.as_str()).collect::<Vec<_>>(), ["n1", "n2"]);
        let error = parse("--node n1 --service a --tcp a").expect("an argument list").definition().expect_err("no port").to_string();
        assert!(error.contains("address is \"a\"") && error.contains("host:port"), "{error}");
        assert!(parse("--node n/1 --service a --heartbeat").expect("an argument list").places("a").is_err());
    }

    async fn add_to(store: &Memory, line: &str, replaces: bool) -> Result<()> {
        let definition = definition(line);
        add(store, "n1", declared::key("n1", &definition.name)?, &definition, replaces).await
    }

    #[tokio::test]
    async fn nothing_is_replaced_by_chance() {
        let store = Memory::new();
        add_to(&store, "--node n1 --service a --tcp a:1", false).await.expect("new");
        let revision = store.revision();
        add_to(&store, "--node n1 --service a --tcp a:1", false).await.expect("the same");
        assert_eq!(store.revision(), revision);
        let error = add_to(&store, "--node n1 --service a --tcp a:2", false).await.expect_err("another").to_string();
        assert!(error.contains("--replace"), "{error}");
        add_to(&store, "--node n1 --service a --tcp a:2", true).await.expect("asked for");
        let records = read_all(&store, declared::prefix()).await.expect("readable");
        assert!(records.len() == 1 && String::from_utf8_lossy(&records[0].value).contains("a:2"));
    }

    #[tokio::test]
    async fn no_more_are_declared_than_a_node_runs() {
        let store = Memory::new();
        for chunk in (0..CHECKS).collect::<Vec<_>>().chunks(100) {
            let put = |batch: Batch, k: &usize| batch.then(Write::put(declared::key("n1", &format!("c{k}")).expect("a key"), "{}"));
            store.commit(chunk.iter().fold(Batch::default(), put)).await.expect("written");
        }
        let error = add_to(&store, "--node n1 --service a --heartbeat", false).await.expect_err("too many").to_string();
        assert!(error.contains("4096 checks are declared for n1 already"), "{error}");
    }
}
