//! `steadfast strong`: which keys of available state are strong. They are fixed by prefix, for ever, in strong state.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use bytes::Bytes;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use steadfast_client::Etcd;
use steadfast_server::available::Record;
use steadfast_server::available::strong_keys::{AnnounceError, Standing, StrongKeys};
use steadfast_types::NodeId;

use crate::endpoints::Cluster;
use crate::service::{in_words, store};
use crate::usage::UsageError;
use crate::{show, status};

/// What `steadfast strong` takes.
#[derive(Args, Debug)]
pub(crate) struct StrongArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// Make all keys strong whose names begin with a prefix; it stays so
    Add(AddArgs),
    /// List the prefixes, and who holds the keys under them
    List(ListArgs),
}

/// What `add` takes.
#[derive(Args, Debug)]
#[command(after_help = "\
A strong key is a register of its own that a majority of its holders agrees on at each read and write:
conditions like SET NX are exact, and nothing acknowledged is ever undone, but a side of a partition
without a majority does not serve it. There must be no keys under the prefix yet. All nodes have to
take part, as no key may be strong at one node and not at another: until then nobody uses such keys.

Examples:
  steadfast strong add orders:
  redis-cli set orders:17 taken nx")]
struct AddArgs {
    /// What the keys' names begin with
    prefix: String,
    /// How long to wait for the nodes, seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    timeout: u64,
    #[command(flatten)]
    cluster: Cluster,
}

/// What `list` takes.
#[derive(Args, Debug)]
struct ListArgs {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    cluster: Cluster,
}

/// Carries out one of the actions.
pub(crate) async fn run(args: &StrongArgs) -> Result<()> {
    match &args.action {
        Action::Add(args) => add(args).await,
        Action::List(args) => list(args).await,
    }
}

/// The record, and the names of all members.
async fn open(cluster: &Cluster) -> Result<(Record<Etcd, StrongKeys>, BTreeMap<NodeId, String>)> {
    let (id, names) = status::cluster(&cluster.endpoints()?).await?;
    Ok((Record::new(store(cluster)?, id, fastrand::u64(..))?, names))
}

async fn add(args: &AddArgs) -> Result<()> {
    let (record, names) = open(&args.cluster).await?;
    let prefix = Bytes::copy_from_slice(args.prefix.as_bytes());
    let mut announced: Result<bool, AnnounceError> = Ok(false);
    let announce = |keys: &mut StrongKeys| {
        announced = keys.announce(prefix.clone());
        announced == Ok(true)
    };
    record.change(announce).await.map_err(in_words)?;
    announced.map_err(|error| UsageError(error.to_string()))?;
    let mut last = StrongKeys::default();
    let followed = record.follow(|keys, _| {
        last = keys;
        match last.prefixes.get(&prefix) {
            Some(Standing::Announced { .. }) => ControlFlow::Continue(()),
            Some(Standing::Strong) if last.assignment.is_none() => ControlFlow::Continue(()),
            _ => ControlFlow::Break(()),
        }
    });
    let waited = tokio::time::timeout(Duration::from_secs(args.timeout), followed).await;
    if let Ok(Err(error)) = waited {
        bail!("{error}");
    }
    match last.prefixes.get(&prefix) {
        Some(Standing::Refused { node, keys }) => {
            bail!("{} has {keys} keys under {:?}: delete them, or choose another prefix", called(*node, &names), args.prefix)
        }
        Some(Standing::Announced { agreed }) => Err(anyhow!(
            "{:?} is not strong yet, and nobody uses keys under it: {} have not agreed within {} s. They do when they run, with --listen-redis; \
             `steadfast strong list` shows it",
            args.prefix,
            missing(agreed, &names),
            args.timeout
        )),
        Some(Standing::Strong) | None => Ok(show::print(format!("keys under {:?} are strong", args.prefix))?),
    }
}

fn called(node: NodeId, names: &BTreeMap<NodeId, String>) -> String {
    names.get(&node).cloned().unwrap_or_else(|| node.to_string())
}

fn missing(agreed: &BTreeSet<NodeId>, names: &BTreeMap<NodeId, String>) -> String {
    names.iter().filter(|(node, _)| !agreed.contains(node)).map(|(_, name)| name.as_str()).collect::<Vec<_>>().join(", ")
}

async fn list(args: &ListArgs) -> Result<()> {
    let (record, names) = open(&args.cluster).await?;
    let (keys, _) = record.read().await.map_err(in_words)?;
    show::print(if args.json { json(&keys, &names).to_string() } else { text(&keys, &names) })?;
    Ok(())
}

fn text(keys: &StrongKeys, names: &BTreeMap<NodeId, String>) -> String {
    let row = |(prefix, standing): (&Bytes, &Standing)| {
        let standing = match standing {
            Standing::Strong => "strong".to_owned(),
            Standing::Announced { agreed } => format!("closed, waits for {}", missing(agreed, names)),
            Standing::Refused { node, keys } => format!("refused: {} has {keys} keys", called(*node, names)),
        };
        vec![show::escape(prefix), standing]
    };
    if keys.prefixes.is_empty() {
        return "no keys are strong; `steadfast strong add PREFIX` makes some so".to_owned();
    }
    let table = show::table(&["PREFIX", "STANDING"], &[], keys.prefixes.iter().map(row));
    let Some(assignment) = &keys.assignment else { return table };
    let moves = match &assignment.next {
        Some(next) => format!("; they move to {}", holders(next, keys, names).join(", ")),
        None => String::new(),
    };
    format!("{table}\n\nheld by {} (epoch {}){moves}", holders(&assignment.current, keys, names).join(", "), assignment.epoch)
}

fn holders(holders: &BTreeSet<NodeId>, keys: &StrongKeys, names: &BTreeMap<NodeId, String>) -> Vec<String> {
    let node = |holder: &NodeId| keys.holders.iter().find(|(_, of)| *of == holder).map(|(node, _)| called(*node, names));
    let names: BTreeSet<String> =
        holders.iter().map(|holder| node(holder).unwrap_or_else(|| format!("a lost directory ({holder})"))).collect();
    names.into_iter().collect()
}

fn json(keys: &StrongKeys, names: &BTreeMap<NodeId, String>) -> Value {
    let prefix = |(prefix, standing): (&Bytes, &Standing)| {
        let mut object = serde_json::Map::new();
        show::json_bytes(&mut object, "prefix", prefix);
        let standing = match standing {
            Standing::Strong => json!({"standing": "strong"}),
            Standing::Announced { agreed } => {
                json!({"standing": "announced", "agreed": agreed.iter().map(|node| called(*node, names)).collect::<Vec<_>>()})
            }
            Standing::Refused { node, keys } => json!({"standing": "refused", "node": called(*node, names), "keys": keys}),
        };
        object.extend(standing.as_object().cloned().unwrap_or_default());
        object
    };
    json!({
        "prefixes": keys.prefixes.iter().map(prefix).collect::<Vec<_>>(),
        "epoch": keys.assignment.as_ref().map(|assignment| assignment.epoch),
        "holders": keys.assignment.as_ref().map(|assignment| holders(&assignment.current, keys, names)),
        "next_holders": keys.assignment.as_ref().and_then(|assignment| assignment.next.as_ref()).map(|next| holders(next, keys, names)),
    })
}

#[cfg(test)]
mod tests {
    use steadfast_server::available::strong_keys::StrongKeys;

    use super::*;

    #[test]
    fn the_list_says_what_is_waited_for_and_who_holds_what() {
        let names: BTreeMap<NodeId, String> = [(1, "n1"), (2, "n2")].map(|(id, name)| (NodeId(id), name.to_owned())).into();
        let mut keys = StrongKeys::default();
        assert!(text(&keys, &names).contains("steadfast strong add"));
        for prefix in ["a:", "b:", "c:"] {
            keys.announce(prefix.into()).unwrap();
            keys.agree(NodeId(1), &prefix.into());
        }
        keys.hold(NodeId(1), NodeId(11));
        keys.hold(NodeId(2), NodeId(12));
        keys.agree(NodeId(2), &"a:".into());
        keys.settle(&names.keys().copied().collect());
        keys.refuse(NodeId(2), &"c:".into(), 7);
        let text = text(&keys, &names);
        for line in ["a:      strong", "b:      closed, waits for n2", "c:      refused: n2 has 7 keys", "held by n1, n2 (epoch 1)"] {
            assert!(text.contains(line), "{text}");
        }
        keys.hold(NodeId(2), NodeId(22));
        assert!(holders(&[NodeId(12)].into(), &keys, &names)[0].contains("lost directory"));
        let json = json(&keys, &names);
        assert_eq!((&json["prefixes"][0]["standing"], &json["epoch"]), (&json!("strong"), &json!(1)));
    }
}
