//! `steadfast service check list`.

use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};
use steadfast_coordination::Record;
use steadfast_server::checks::declared::{self, ALL_NODES, Declaration, Definition, Kind};

use super::{read_all, store};
use crate::endpoints::Cluster;
use crate::show;

/// What it takes.
#[derive(Args, Debug)]
pub(super) struct ListArgs {
    /// What this node runs alone: its own checks, and those of all nodes
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    cluster: Cluster,
}

/// What lies under the prefix: checks with their nodes, and what is none, with what is wrong.
#[derive(Debug, Default)]
struct Found {
    checks: Vec<(String, Definition)>,
    malformed: Vec<(String, String)>,
}

/// Prints what is declared.
pub(super) async fn run(args: &ListArgs) -> Result<()> {
    let mut found = Found::in_records(&read_all(&store(&args.cluster)?, declared::prefix()).await?);
    if let Some(node) = &args.node {
        found.checks.retain(|(declared, _)| declared == node || declared == ALL_NODES);
    }
    show::print(if args.json { found.json().to_string() } else { found.table() })?;
    for (key, problem) in found.malformed.iter().filter(|_| !args.json) {
        eprintln!("steadfast: {key} declares no check: {problem}");
    }
    Ok(())
}

impl Found {
    fn in_records(records: &[Record]) -> Self {
        let mut found = Found::default();
        for record in records {
            match declared::read(&record.key, &record.value) {
                Ok(check) => found.checks.push(check),
                Err(error) => found.malformed.push((record.key.to_string(), show::escape(error.to_string().as_bytes()))),
            }
        }
        found
    }

    fn table(&self) -> String {
        let row = |(node, definition): &(String, Definition)| {
            let figures = Declaration::of(definition);
            let node = if node == ALL_NODES { "(all)".to_owned() } else { node.clone() };
            let (interval, timeout) = (figures.interval.unwrap_or_default(), figures.timeout.unwrap_or_default());
            let (rise, fall) = (definition.rise.to_string(), definition.fall.to_string());
            vec![node, definition.name.clone(), definition.service.clone(), how(&definition.kind), interval, timeout, rise, fall]
        };
        let header = ["NODE", "CHECK", "SERVICE", "HOW", "INTERVAL", "TIMEOUT", "RISE", "FALL"];
        show::table(&header, &["RISE", "FALL"], self.checks.iter().map(row))
    }

    fn json(&self) -> Value {
        let check = |(node, definition): &(String, Definition)| {
            let mut value = json!(Declaration::of(definition));
            value["node"] = json!(node);
            value["check"] = json!(definition.name);
            value
        };
        let malformed = |(key, problem): &(String, String)| json!({ "key": key, "problem": problem });
        json!({
            "checks": self.checks.iter().map(check).collect::<Vec<_>>(),
            "malformed": self.malformed.iter().map(malformed).collect::<Vec<_>>(),
        })
    }
}

fn how(kind: &Kind) -> String {
    match kind {
        Kind::Tcp { address } => format!("tcp {address}"),
        Kind::Http { url, .. } => format!("http {}", show::escape(url.as_bytes())),
        Kind::Grpc { address, service } if service.is_empty() => format!("grpc {address}"),
        Kind::Grpc { address, service } => format!("grpc {address}/{}", show::escape(service.as_bytes())),
        Kind::Script { command } => {
            let words: Vec<String> = command.iter().map(|word| show::escape(show::shell_word(word).as_bytes())).collect();
            format!("script {}", words.join(" "))
        }
        Kind::Heartbeat => "heartbeat".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use steadfast_types::Revision;

    use super::*;

    fn record(key: &str, value: &str) -> Record {
        let key = declared::prefix().key(key).expect("a key");
        let revision = Revision(2);
        Record { key, value: value.to_owned().into(), create_revision: revision, mod_revision: revision, version: 1, lease: None }
    }

    #[test]
    fn both_forms_show_what_is_declared_and_what_is_none() {
        let found = Found::in_records(&[
            record("*/disk", r#"{"service":"disk","script":["check disk","-w"]}"#),
            record("n1/orders-http", r#"{"service":"orders","http":"http://a/","interval":"90s"}"#),
            record("n1/broken", "{"),
        ]);
        let table = found.table();
        let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[1], ["(all)", "disk", "disk", "script", "'check", "disk'", "-w", "10s", "3s", "2", "3"]);
        assert_eq!(lines[2], ["n1", "orders-http", "orders", "http", "http://a/", "1m", "30s", "3s", "2", "3"]);
        let json = found.json();
        assert_eq!((&json["checks"][1]["node"], &json["checks"][1]["http"]), (&json!("n1"), &json!("http://a/")));
        assert_eq!(json["malformed"][0]["key"], "steadfast/health/checks/n1/broken");
    }
}
