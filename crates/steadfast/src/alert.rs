//! `steadfast alert`: whether alerts reach the people that they are for.

use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use clap::{Args, Subcommand};
use serde_json::json;
use steadfast_etcd_api::proto::steadfast::v1::cluster_client::ClusterClient;
use steadfast_etcd_api::proto::steadfast::v1::{AlertDelivery, TestAlertsRequest};
use tonic::Code;

use crate::endpoints::{Cluster, Endpoint};
use crate::{client, show, user};

/// How long a server may take: as its slowest receiver may, and a little.
const ANSWER_WAIT: Duration = Duration::from_secs(40);

/// What `steadfast alert` takes.
#[derive(Args, Debug)]
pub(crate) struct AlertArgs {
    #[command(subcommand)]
    command: AlertCommand,
}

#[derive(Subcommand, Debug)]
enum AlertCommand {
    /// Send a test alert through every receiver of a server, and show what came of it
    Test(TestArgs),
}

/// What `steadfast alert test` takes.
#[derive(Args, Debug)]
#[command(after_help = "\
Receivers are given to each server: serve --alert-webhook URL, --alert-command CMD, --alertmanager URL.
The first of --endpoints that answers sends the test, whether it leads or not: test each server by itself.

Exit status: 0 if every receiver took it, else 1.")]
struct TestArgs {
    #[command(flatten)]
    cluster: Cluster,
    /// Print one JSON array
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) async fn run(args: &AlertArgs) -> Result<()> {
    match &args.command {
        AlertCommand::Test(args) => test(args).await,
    }
}

async fn test(args: &TestArgs) -> Result<()> {
    let deliveries = ask_any(args).await?;
    if deliveries.is_empty() {
        bail!("this server has no receivers: give it --alert-webhook, --alert-command or --alertmanager");
    }
    show::print(if args.json { json_of(&deliveries) } else { table(&deliveries) })?;
    match deliveries.iter().filter(|delivery| !delivery.error.is_empty()).count() {
        0 => Ok(()),
        failed => bail!("{failed} of {} receivers did not take the test", deliveries.len()),
    }
}

fn table(deliveries: &[AlertDelivery]) -> String {
    let result = |error: &str| if error.is_empty() { "taken".to_string() } else { error.to_string() };
    show::table(&["RECEIVER", "RESULT"], &[], deliveries.iter().map(|delivery| vec![delivery.receiver.clone(), result(&delivery.error)]))
}

fn json_of(deliveries: &[AlertDelivery]) -> String {
    let one = |delivery: &AlertDelivery| {
        let error = Some(&delivery.error).filter(|error| !error.is_empty());
        json!({ "receiver": delivery.receiver, "taken": error.is_none(), "error": error })
    };
    deliveries.iter().map(one).collect::<serde_json::Value>().to_string()
}

/// The test is sent once: only a server that can't be reached is passed over.
async fn ask_any(args: &TestArgs) -> Result<Vec<AlertDelivery>> {
    let mut reasons = Vec::new();
    for endpoint in args.cluster.endpoints()? {
        match client::connect_patiently(&endpoint, ANSWER_WAIT).await {
            Ok(channel) => return ask(args, &endpoint, channel).await,
            Err(error) => reasons.push(error.to_string()),
        }
    }
    Err(anyhow!("no server can be asked ({}): give the address of a running one with --endpoints", reasons.join("; ")))
}

async fn ask(args: &TestArgs, endpoint: &Endpoint, channel: tonic::transport::Channel) -> Result<Vec<AlertDelivery>> {
    let link = user::link(channel, args.cluster.user.as_ref()).await?;
    match ClusterClient::new(link).test_alerts(TestAlertsRequest {}).await {
        Ok(response) => Ok(response.into_inner().deliveries),
        Err(status) if status.code() == Code::Unimplemented => bail!("{endpoint} is no Steadfast node that knows of alerts"),
        Err(status) => Err(client::read_error(status).context(format!("{endpoint}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_show_who_took_it() {
        let delivery = |receiver: &str, error: &str| AlertDelivery { receiver: receiver.into(), error: error.into() };
        let deliveries = [delivery("webhook http://h", ""), delivery("command page", "it failed")];
        let text = table(&deliveries);
        assert!(text.contains("webhook http://h  taken") && text.contains("command page      it failed"), "{text}");
        let expected = json!([
            { "receiver": "webhook http://h", "taken": true, "error": null },
            { "receiver": "command page", "taken": false, "error": "it failed" },
        ]);
        assert_eq!(json_of(&deliveries), expected.to_string());
    }
}
