//! `steadfast health`: every server and agent of a cluster and how it is, as the first node that answers holds it.

use std::io::{self, Write as _};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Result, anyhow, bail};
use clap::Args;
use serde_json::{Value, json};
use steadfast_etcd_api::proto::steadfast::v1::cluster_client::ClusterClient;
use steadfast_etcd_api::proto::steadfast::v1::{
    HealthEvent, HealthRequest, HealthResponse, HealthState, MemberHealth, MemberRole, ServiceHealth,
};
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
Any one server is asked. STATE is healthy, degraded (errors that are tolerated), suspect (too late), failed
(found dead), recovering (back, and has to show that it stays) or left (it said goodbye): as the leader
decided it, for the CAUSE, and strong state has it. Where nothing was decided, or no leader is known, it is
as gossip shows it; SILENT FOR are those who got no answer.

Exit status: 0 if all nodes and services are healthy (agents that were stopped in order do not count), else 1; with --events 0.

Examples:
  steadfast health
  steadfast health --watch
  steadfast health --events
  steadfast health --json | jq -r '.nodes[] | select(.state == \"failed\").name'")]
pub(crate) struct HealthArgs {
    #[command(flatten)]
    cluster: Cluster,
    /// Print again whenever something has changed, until it is stopped
    #[arg(long)]
    watch: bool,
    /// Print the last changes instead: when, who, from which state to which, why
    #[arg(long, conflicts_with = "watch", value_name = "NUMBER", num_args = 0..=1, default_missing_value = "50")]
    events: Option<u32>,
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
    let health = ask_any(&endpoints, args.events.unwrap_or(0)).await?;
    warn_unread(&health);
    if args.events.is_some() {
        show::print(if args.json { events_json(&health.events).to_string() } else { events_table(&health.events) })?;
        return Ok(());
    }
    show::print(shown(args, &health))?;
    match trouble(&health) {
        Some(trouble) => bail!("{trouble}"),
        None => Ok(()),
    }
}

fn warn_unread(health: &HealthResponse) {
    if !health.unread.is_empty() {
        eprintln!("steadfast: {}", health.unread);
    }
}

fn shown(args: &HealthArgs, health: &HealthResponse) -> String {
    if args.json { json_of(health).to_string() } else { tables(health) }
}

async fn watch(args: &HealthArgs, endpoints: &[Endpoint]) -> Result<()> {
    let mut last = None;
    loop {
        match ask_any(endpoints, 0).await {
            Ok(health) => {
                // How long each has been so changes always.
                let members = health.members.iter().cloned().map(|member| MemberHealth { since_ms: 0, ..member }).collect();
                let timeless = HealthResponse { members, ..health.clone() };
                if last.as_ref() != Some(&timeless) {
                    warn_unread(&health);
                    show::print(shown(args, &health))?;
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
async fn ask_any(endpoints: &[Endpoint], events: u32) -> Result<HealthResponse> {
    let mut reasons = Vec::new();
    for endpoint in endpoints {
        match tokio::time::timeout(ANSWER_WAIT, ask(endpoint, events)).await {
            Ok(Ok(health)) => return Ok(health),
            Ok(Err(reason)) => reasons.push(format!("{endpoint}: {reason}")),
            Err(_) => reasons.push(format!("{endpoint}: no answer in {} ms", ANSWER_WAIT.as_millis())),
        }
    }
    Err(anyhow!("no node tells how the cluster is ({}): give the addresses of running servers with --endpoints", reasons.join("; ")))
}

async fn ask(endpoint: &Endpoint, events: u32) -> Result<HealthResponse, String> {
    let without_address = |error: anyhow::Error| error.to_string().trim_start_matches(&format!("{endpoint}: ")).to_string();
    let channel = client::connect(endpoint).await.map_err(without_address)?;
    match ClusterClient::new(channel).health(HealthRequest { events }).await {
        Ok(response) => Ok(response.into_inner()),
        Err(status) if status.code() == Code::Unimplemented => Err("answers, but is no Steadfast node that knows of health".into()),
        Err(status) => Err(client::in_words(&status)),
    }
}

fn state_word(state: HealthState) -> &'static str {
    match state {
        HealthState::Healthy => "healthy",
        HealthState::Suspect => "suspect",
        HealthState::Failed => "failed",
        HealthState::Left => "left",
        HealthState::Degraded => "degraded",
        HealthState::Recovering => "recovering",
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

/// As long as a cell of a table may be.
const CAUSE_WIDTH: usize = 80;

/// A cause in a table; all of it is in the JSON form.
fn short(cause: &str) -> String {
    match cause.char_indices().nth(CAUSE_WIDTH) {
        None if cause.is_empty() => "-".to_string(),
        None => cause.to_string(),
        Some((end, _)) => format!("{}…", &cause[..end]),
    }
}

fn time(unix_ms: u64) -> String {
    // The year 9999 is the last that has a form.
    let last = Duration::from_secs(253_402_300_799);
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(unix_ms).min(last)).to_string()
}

fn tables(health: &HealthResponse) -> String {
    let nodes = node_table(&health.members);
    if health.services.is_empty() { nodes } else { format!("{nodes}\n\n{}", service_table(&health.services)) }
}

fn node_table(members: &[MemberHealth]) -> String {
    let row = |member: &MemberHealth| {
        let witnesses = if member.witnesses.is_empty() { "-".to_string() } else { member.witnesses.join(",") };
        let (role, state) = (role_word(member).to_string(), state_word(member.state()).to_string());
        let address = if member.address.is_empty() { "-".to_string() } else { member.address.clone() };
        vec![member.name.clone(), role, state, age(member.since_ms), witnesses, address, short(&member.cause)]
    };
    show::table(&["NAME", "ROLE", "STATE", "SINCE", "SILENT FOR", "ADDRESS", "CAUSE"], &[], members.iter().map(row))
}

fn service_table(services: &[ServiceHealth]) -> String {
    let row = |service: &ServiceHealth| {
        let state = state_word(service.state()).to_string();
        vec![service.service.clone(), service.node.clone(), state, time(service.since_unix_ms), short(&service.cause)]
    };
    show::table(&["SERVICE", "NODE", "STATE", "SINCE", "CAUSE"], &[], services.iter().map(row))
}

fn events_table(events: &[HealthEvent]) -> String {
    let row = |event: &HealthEvent| {
        let service = if event.service.is_empty() { "-".to_string() } else { event.service.clone() };
        let change = format!("{} → {}", state_word(event.from()), state_word(event.to()));
        vec![event.number.to_string(), time(event.at_unix_ms), event.node.clone(), service, change, event.cause.clone()]
    };
    show::table(&["EVENT", "TIME", "NODE", "SERVICE", "CHANGE", "CAUSE"], &[], events.iter().map(row))
}

fn json_of(health: &HealthResponse) -> Value {
    let node = |member: &MemberHealth| {
        json!({
            "name": member.name,
            "id": format!("{:x}", member.id),
            "role": role_word(member),
            "state": state_word(member.state()),
            "gossip": state_word(member.gossip()),
            "cause": member.cause,
            "since_ms": member.since_ms,
            "witnesses": member.witnesses,
            "address": member.address,
            "incarnation": member.incarnation,
        })
    };
    let service = |service: &ServiceHealth| {
        json!({
            "service": service.service,
            "node": service.node,
            "state": state_word(service.state()),
            "since": time(service.since_unix_ms),
            "cause": service.cause,
        })
    };
    let mut shown = json!({
        "nodes": health.members.iter().map(node).collect::<Vec<_>>(),
        "services": health.services.iter().map(service).collect::<Vec<_>>(),
    });
    if !health.unread.is_empty() {
        shown["unread"] = json!(health.unread);
    }
    shown
}

fn events_json(events: &[HealthEvent]) -> Value {
    let event = |event: &HealthEvent| {
        json!({
            "number": event.number,
            "at": time(event.at_unix_ms),
            "node": event.node,
            "service": event.service,
            "from": state_word(event.from()),
            "to": state_word(event.to()),
            "cause": event.cause,
        })
    };
    json!({ "events": events.iter().map(event).collect::<Vec<_>>() })
}

/// Who is not healthy, if anybody.
fn trouble(health: &HealthResponse) -> Option<String> {
    // An agent that was stopped in order owes nobody anything; a server has its vote, and a copy of the data.
    let has_gone = |member: &&MemberHealth| member.state() == HealthState::Left && member.role() == MemberRole::Agent;
    let nodes = health.members.iter().filter(|member| !has_gone(member)).map(|member| (member.name.clone(), member.state()));
    let services = health.services.iter().map(|service| (format!("{} on {}", service.service, service.node), service.state()));
    let unwell = nodes.chain(services).filter(|(_, state)| *state != HealthState::Healthy);
    let unwell: Vec<String> = unwell.map(|(name, state)| format!("{name} {}", state_word(state))).collect();
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
            gossip: state.into(),
            cause: "found dead".into(),
            since_ms: 61_000,
            witnesses: witnesses.iter().map(|name| (*name).to_string()).collect(),
            address: "127.0.0.1:2380".into(),
            incarnation: "1.0".into(),
        }
    }

    fn health(members: &[MemberHealth]) -> HealthResponse {
        HealthResponse { members: members.to_vec(), ..HealthResponse::default() }
    }

    fn service(state: HealthState) -> ServiceHealth {
        ServiceHealth { service: "orders".into(), node: "n1".into(), state: state.into(), since_unix_ms: 0, cause: "refused".into() }
    }

    #[test]
    fn who_is_not_healthy_is_named() {
        let well = member("n1", HealthState::Healthy, &[]);
        assert_eq!(trouble(&health(std::slice::from_ref(&well))), None);
        let gone = MemberHealth { role: MemberRole::Agent.into(), ..member("a1", HealthState::Left, &[]) };
        assert_eq!(trouble(&health(&[well.clone(), gone])), None);
        for (state, word) in [
            (HealthState::Suspect, "suspect"),
            (HealthState::Failed, "failed"),
            (HealthState::Left, "left"),
            (HealthState::Degraded, "degraded"),
            (HealthState::Recovering, "recovering"),
        ] {
            let found = trouble(&health(&[well.clone(), member("n2", state, &[])]));
            assert_eq!(found, Some(format!("not healthy: n2 {word}")));
        }
        let found = HealthResponse { services: vec![service(HealthState::Failed)], ..health(&[well]) };
        assert_eq!(trouble(&found).as_deref(), Some("not healthy: orders on n1 failed"));
    }

    #[test]
    fn both_forms_show_the_evidence() {
        let members = [member("n1", HealthState::Healthy, &[]), member("n2", HealthState::Failed, &["n1", "n3"])];
        let text = tables(&health(&members));
        let words = ["n2", "failed", "1m", "n1,n3", "found dead"];
        assert!(text.lines().any(|line| words.iter().all(|word| line.contains(word))) && !text.contains("SERVICE"), "{text}");
        let value = json_of(&health(&members));
        assert_eq!((&value["nodes"][1]["state"], &value["nodes"][1]["witnesses"]), (&json!("failed"), &json!(["n1", "n3"])));
        assert_eq!(
            (&value["nodes"][0]["state"], &value["nodes"][0]["role"], &value["services"]),
            (&json!("healthy"), &json!("server"), &json!([]))
        );
        assert!(value.get("unread").is_none());
    }

    #[test]
    fn services_and_events_are_shown_with_their_causes() {
        let found = HealthResponse { services: vec![service(HealthState::Failed)], ..health(&[]) };
        assert!(tables(&found).lines().any(|line| line.contains("orders") && line.contains("1970-01-01T00:00:00.000Z")));
        assert_eq!(json_of(&found)["services"][0]["state"], "failed");
        let (from, to) = (HealthState::Healthy.into(), HealthState::Failed.into());
        let event =
            HealthEvent { number: 7, at_unix_ms: 1_000, node: "n2".into(), service: String::new(), from, to, cause: "silent".into() };
        let text = events_table(std::slice::from_ref(&event));
        assert!(text.lines().any(|line| line.contains("healthy → failed") && line.contains("silent")), "{text}");
        assert_eq!(events_json(&[event])["events"][0]["at"], "1970-01-01T00:00:01.000Z");
    }

    #[test]
    fn long_causes_are_cut_between_characters() {
        assert_eq!((short(""), short("why")), ("-".to_string(), "why".to_string()));
        assert_eq!(short(&"ä".repeat(200)).chars().count(), CAUSE_WIDTH + 1);
    }
}
