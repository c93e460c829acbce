//! `steadfast recovery list|show|approve|cancel|retry`: recovery plans as strong state has them, and a person's word about them.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, anyhow};
use clap::Args;
use serde_json::{Value, json};
use steadfast_client::{Etcd, EtcdOptions};
use steadfast_etcd_api::proto::etcdserverpb::MemberListRequest;
use steadfast_etcd_api::proto::etcdserverpb::cluster_client::ClusterClient;
use steadfast_server::recovery::ledger::{Ledger, plan_name};
use steadfast_server::recovery::plan::{Kind, Plan, PlanError, PlanState};
use steadfast_types::ClusterId;

use crate::client::{self, read_error};
use crate::endpoints::{Cluster, Endpoint};
use crate::usage::UsageError;
use crate::{show, user};

/// A node that has not answered by then is passed over.
const ANSWER_WAIT: Duration = Duration::from_secs(4);

/// What `steadfast recovery list` takes.
#[derive(Args, Debug)]
pub(crate) struct ListArgs {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    cluster: Cluster,
}

/// What `steadfast recovery show` takes.
#[derive(Args, Debug)]
pub(crate) struct ShowArgs {
    /// The plan's name, as `steadfast recovery list` shows it
    plan: String,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    cluster: Cluster,
}

/// What `steadfast recovery approve` takes.
#[derive(Args, Debug)]
pub(crate) struct ApproveArgs {
    /// The plan's name, as `steadfast recovery list` shows it
    plan: String,
    #[command(flatten)]
    cluster: Cluster,
}

/// What `steadfast recovery cancel` takes.
#[derive(Args, Debug)]
#[command(after_help = "\
Only a plan whose fence has not begun can be cancelled. If its subject stays failed, another plan is
made for it: give the servers --recovery-approval manual to be asked each time.")]
pub(crate) struct CancelArgs {
    /// The plan's name, as `steadfast recovery list` shows it
    plan: String,
    #[command(flatten)]
    cluster: Cluster,
}

/// What `steadfast recovery retry` takes.
#[derive(Args, Debug)]
#[command(after_help = "\
After three failed plans in a row nothing more is done about a server, agent or service. When what
kept them from succeeding is mended, this has it tried again.")]
pub(crate) struct RetryArgs {
    /// The name of one of the failed plans, as `steadfast recovery list` shows it
    plan: String,
    #[command(flatten)]
    cluster: Cluster,
}

/// A cluster's plans, and the names of its members.
struct Desk {
    ledger: Ledger<Etcd>,
    names: BTreeMap<u64, String>,
}

impl Desk {
    /// By the first node that answers for the cluster: one that only learns does not, and a plan is often about such.
    async fn open(cluster: &Cluster) -> Result<Self> {
        let mut trouble = None;
        for endpoint in cluster.endpoints()? {
            match tokio::time::timeout(ANSWER_WAIT, Desk::open_at(cluster, &endpoint)).await {
                Ok(Ok(desk)) => return Ok(desk),
                Ok(Err(error)) => trouble = Some(error),
                Err(_) => trouble = Some(anyhow!("{endpoint}: no answer in {} s", ANSWER_WAIT.as_secs())),
            }
        }
        Err(trouble.unwrap_or_else(|| anyhow!("give the addresses of running nodes with --endpoints")))
    }

    async fn open_at(cluster: &Cluster, endpoint: &Endpoint) -> Result<Self> {
        let link = user::link(client::connect(endpoint).await?, cluster.user.as_ref()).await?;
        let question = MemberListRequest { linearizable: false };
        let answer = ClusterClient::new(link).member_list(question).await.map_err(read_error)?.into_inner();
        let id = ClusterId(answer.header.map_or(0, |header| header.cluster_id));
        let store = Etcd::new(EtcdOptions { user: cluster.user.clone(), ..EtcdOptions::new(vec![endpoint.clone()]) });
        let names = answer.members.into_iter().map(|member| (member.id, member.name)).collect();
        Ok(Desk { ledger: Ledger::new(store, id, fastrand::u64(..))?, names })
    }

    /// Open ones first, then the newest first.
    async fn plans(&self) -> Result<Vec<Plan>> {
        let mut kept: Vec<_> = self.ledger.read().await?.plans.into_values().collect();
        kept.sort_by_key(|kept| (!kept.plan.is_open(), std::cmp::Reverse(kept.revision())));
        Ok(kept.into_iter().map(|kept| kept.plan).collect())
    }

    async fn plan(&self, name: &str) -> Result<Plan> {
        let found = self.plans().await?.into_iter().find(|plan| plan_name(&plan.id) == name);
        found.ok_or_else(|| UsageError(format!("there is no plan `{name}`: see `steadfast recovery list`")).into())
    }

    async fn change(&self, name: &str, word: impl Fn(Plan) -> Result<Plan, PlanError> + Send + Sync) -> Result<()> {
        let plan = self.ledger.change(name, word).await?;
        show::print(format!("{name}: {}", state_word(&plan)))?;
        Ok(())
    }

    /// A member by its name, if it has one.
    fn name(&self, id: u64) -> String {
        self.names.get(&id).filter(|name| !name.is_empty()).cloned().unwrap_or_else(|| format!("{id:x}"))
    }

    fn kind(&self, plan: &Plan) -> String {
        match plan.kind {
            Kind::ReplaceVoter { spare } => format!("replaced by {}", self.name(spare.0)),
            Kind::RemoveNode => "removed".to_string(),
            Kind::RestartService => "started anew".to_string(),
        }
    }

    fn json(&self, plan: &Plan) -> Value {
        let steps = plan.steps.iter().map(|step| {
            json!({
                "name": step.name.to_string(),
                "effect": step.effect.to_string(),
                "state": step.state.to_string(),
                "attempts": step.attempts,
                "trouble": step.trouble,
            })
        });
        json!({
            "plan": plan_name(&plan.id),
            "subject": plan.id.subject.to_string(),
            "epoch": plan.id.epoch.0,
            "kind": self.kind(plan),
            "state": state_word(plan),
            "cause": plan.cause,
            "steps": steps.collect::<Vec<_>>(),
            "end": plan.end,
        })
    }
}

/// Prints all plans.
pub(crate) async fn list(args: &ListArgs) -> Result<()> {
    let desk = Desk::open(&args.cluster).await?;
    let plans = desk.plans().await?;
    if args.json {
        show::print(json!({ "plans": plans.iter().map(|plan| desk.json(plan)).collect::<Vec<_>>() }))?;
        return Ok(());
    }
    if plans.is_empty() {
        show::print(
            "There are no recovery plans: nothing has been failed for long enough to need one, or nothing may be done about it (the leader's log and alerts say so).",
        )?;
        return Ok(());
    }
    let row = |plan: &Plan| vec![plan_name(&plan.id), desk.kind(plan), state_word(plan).to_string(), progress(plan), plan.cause.clone()];
    show::print(show::table(&["PLAN", "WHAT", "STATE", "STEP", "CAUSE"], &[], plans.iter().map(row)))?;
    Ok(())
}

/// Prints one plan with its steps.
pub(crate) async fn show(args: &ShowArgs) -> Result<()> {
    let desk = Desk::open(&args.cluster).await?;
    let plan = desk.plan(&args.plan).await?;
    show::print(if args.json { desk.json(&plan).to_string() } else { text(&plan) })?;
    Ok(())
}

/// A person agrees to a plan.
pub(crate) async fn approve(args: &ApproveArgs) -> Result<()> {
    Desk::open(&args.cluster).await?.change(&args.plan, Plan::approve).await
}

/// A person refuses a plan.
pub(crate) async fn cancel(args: &CancelArgs) -> Result<()> {
    Desk::open(&args.cluster).await?.change(&args.plan, |plan| plan.cancel("cancelled by a person")).await
}

/// What was given up is tried again.
pub(crate) async fn retry(args: &RetryArgs) -> Result<()> {
    let deleted = Desk::open(&args.cluster).await?.ledger.retry(&args.plan).await?;
    show::print(format!("{deleted} failed plans are deleted; if it is still failed, another plan is made."))?;
    Ok(())
}

fn state_word(plan: &Plan) -> &'static str {
    match plan.state {
        PlanState::Open if plan.is_waiting() && plan.approved => "approved",
        PlanState::Open if plan.is_waiting() => "waiting for approval",
        PlanState::Open => "open",
        PlanState::Done => "done",
        PlanState::Failed => "failed",
        PlanState::Cancelled => "cancelled",
    }
}

/// The step that it is at.
fn progress(plan: &Plan) -> String {
    let number = plan.current().and_then(|current| plan.steps.iter().position(|step| step.name == current.name));
    match (number, plan.current()) {
        (Some(at), Some(step)) => format!("{}/{} {}", at + 1, plan.steps.len(), step.name),
        (None, _) | (_, None) => "-".to_string(),
    }
}

fn text(plan: &Plan) -> String {
    let end = plan.end.as_ref().map_or_else(String::new, |end| format!(": {end}"));
    format!("{}, {}{end}\n{}", plan_name(&plan.id), state_word(plan), plan.to_string().trim_end())
}
