//! `steadfast health`: every server and agent of a cluster and how it is, as the first node that answers holds it.

use std::io::{self, Write as _};
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use clap::Args;
use serde_json::{Value, json};
use steadfast_etcd_api::proto::steadfast::v1::cluster_client::ClusterClient;
use steadfast_etcd_api::proto::steadfast::v1::{HealthRequest, HealthState, MemberHealth, MemberRole};
use tonic::Code;

use crate::endpoints::{Cluster, Endpoint};
use crate::{client, show};

/// A node that has not answered by then is passed over.
const ANSWER_WAIT: Duration = Duration::from_millis(1500);

/// How often `--watch` asks.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// What `steadfast health` takes.
#[derive(Args, Debug)]
#[command(after_help = "\
Any one server is asked. STATE is healthy, suspect (somebody got no answer), failed (found dead by the
WITNESSES) or left (it said goodbye); SINCE is for how long, as the server that answers saw it.

Exit status: 0 if all nodes are healthy, else 1.

Examples:
  steadfast health
  steadfast health --watch
  steadfast health --json | jq -r '.nodes[] | select(.state == \"failed\").name'")]
pub(crate) struct HealthArgs {
    #[command(flatten)]
    cluster: Cluster,
    /// Print again whenever something has changed, until it is stopped
    #[arg(long)]
    watch: bool,
    /// Print one JSON object; with --watch one a line
    #[arg(long)]
    json: bool,
}

/// Prints how all are. Fails if some are not healthy.
pub(crate) async fn run(args: &HealthArgs) -> Result<()> {
    let endpoints = args.cluster.endpoints()?;
    if args.watch {
        return watch(args, &endpoints).await;
    }
    let members = ask_any(&endpoints).await?;
    show::print(shown(args, &members))?;
    match trouble(&members) {
        Some(trouble) => bail!("{trouble}"),
        None => Ok(()),
    }
}

fn shown(args: &HealthArgs, members: &[MemberHealth]) -> String {
    if args.json { json_of(members).to_string() } else { table(members) }
}

async fn watch(args: &HealthArgs, endpoints: &[Endpoint]) -> Result<()> {
    let mut last = None;
    loop {
        match ask_any(endpoints).await {
            Ok(members) => {
                // How long each has been so changes always.
                let timeless = members.iter().cloned().map(|member| MemberHealth { since_ms: 0, ..member }).collect::<Vec<_>>();
                if last.as_ref() != Some(&timeless) {
                    show::print(shown(args, &members))?;
                    io::stdout().flush()?;
                    last = Some(timeless);
                }
            }
            Err(error) => eprintln!("steadfast: {error:#}"),
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

/// What the first node that answers holds.
async fn ask_any(endpoints: &[Endpoint]) -> Result<Vec<MemberHealth>> {
    let mut reasons = Vec::new();
    for endpoint in endpoints {
        match tokio::time::timeout(ANSWER_WAIT, ask(endpoint)).await {
            Ok(Ok(members)) => return Ok(members),
            Ok(Err(reason)) => reasons.push(format!("{endpoint}: {reason}")),
            Err(_) => reasons.push(format!("{endpoint}: no answer in {} ms", ANSWER_WAIT.as_millis())),
        }
    }
    Err(anyhow!("no node tells how the cluster is ({}): give the addresses of running servers with --endpoints", reasons.join("; ")))
}

async fn ask(endpoint: &Endpoint) -> Result<Vec<MemberHealth>, String> {
    let without_address = |error: anyhow::Error| error.to_string().trim_start_matches(&format!("{endpoint}: ")).to_string();
    let channel = client::connect(endpoint).await.map_err(without_address)?;
    match ClusterClient::new(channel).health(HealthRequest {}).await {
        Ok(response) => Ok(response.into_inner().members),
        Err(status) if status.code() == Code::Unimplemented => Err("answers, but is no Steadfast node that knows of health".into()),
        Err(status) => Err(client::in_words(&status)),
    }
}

fn state_word(member: &MemberHealth) -> &'static str {
    match member.state() {
        HealthState::Healthy => "healthy",
        HealthState::Suspect => "suspect",
        HealthState::Failed => "failed",
        HealthState::Left => "left",
        HealthState::Unspecified => "unknown",
    }
}

fn role_word(member: &MemberHealth) -> &'static str {
    match member.role() {
        MemberRole::Server => "server",
        MemberRole::Agent => "agent",
        MemberRole::Unspecified => "unknown",
    }
}

/// The largest unit that is at least one, and no more.
fn age(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

fn table(members: &[MemberHealth]) -> String {
    let row = |member: &MemberHealth| {
        let witnesses = if member.witnesses.is_empty() { "-".to_string() } else { member.witnesses.join(",") };
        let (role, state) = (role_word(member).to_string(), state_word(member).to_string());
        vec![member.name.clone(), role, state, age(member.since_ms), witnesses, member.address.clone()]
    };
    show::table(&["NAME", "ROLE", "STATE", "SINCE", "WITNESSES", "ADDRESS"], &[], members.iter().map(row))
}

fn json_of(members: &[MemberHealth]) -> Value {
    let node = |member: &MemberHealth| {
        json!({
            "name": member.name,
            "id": format!("{:x}", member.id),
            "role": role_word(member),
            "state": state_word(member),
            "since_ms": member.since_ms,
            "witnesses": member.witnesses,
            "address": member.address,
            "incarnation": member.incarnation,
        })
    };
    json!({ "nodes": members.iter().map(node).collect::<Vec<_>>(), "services": [] })
}

/// Who is not healthy, if anybody.
fn trouble(members: &[MemberHealth]) -> Option<String> {
    let unwell = members.iter().filter(|member| member.state() != HealthState::Healthy);
    let unwell: Vec<String> = unwell.map(|member| format!("{} {}", member.name, state_word(member))).collect();
    (!unwell.is_empty()).then(|| format!("not healthy: {}", unwell.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, state: HealthState, witnesses: &[&str]) -> MemberHealth {
        MemberHealth {
            id: 0xab,
            name: name.into(),
            role: MemberRole::Server.into(),
            state: state.into(),
            since_ms: 61_000,
            witnesses: witnesses.iter().map(|name| (*name).to_string()).collect(),
            address: "127.0.0.1:2380".into(),
            incarnation: "1.0".into(),
        }
    }

    #[test]
    fn who_is_not_healthy_is_named() {
        let well = member("n1", HealthState::Healthy, &[]);
        assert_eq!(trouble(std::slice::from_ref(&well)), None);
        for (state, word) in [(HealthState::Suspect, "suspect"), (HealthState::Failed, "failed"), (HealthState::Left, "left")] {
            assert_eq!(trouble(&[well.clone(), member("n2", state, &[])]), Some(format!("not healthy: n2 {word}")));
        }
    }

    #[test]
    fn both_forms_show_the_evidence() {
        let members = [member("n1", HealthState::Healthy, &[]), member("n2", HealthState::Failed, &["n1", "n3"])];
        let text = table(&members);
        assert!(
            text.lines().any(|line| line.contains("n2") && line.contains("failed") && line.contains("1m") && line.contains("n1,n3")),
            "{text}"
        );
        let value = json_of(&members);
        assert_eq!((&value["nodes"][1]["state"], &value["nodes"][1]["witnesses"]), (&json!("failed"), &json!(["n1", "n3"])));
        assert_eq!(
            (&value["nodes"][0]["state"], &value["nodes"][0]["role"], &value["services"]),
            (&json!("healthy"), &json!("server"), &json!([]))
        );
    }
}
