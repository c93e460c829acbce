//! `steadfast check`: reads everything on every member, and compares.
//!
//! Each member hashes all keys with their history at one revision (etcd's HashKV). That reads every block of every table through its checksum, so it
//! also finds what has decayed on a disk; the member then repairs itself. Hashes of different compact revisions are not comparable: such a round
//! is begun anew. Members compare what they *compute* by themselves, all the time; this looks at what they *stored*.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use steadfast_etcd_api::proto::etcdserverpb::kv_client::KvClient;
use steadfast_etcd_api::proto::etcdserverpb::maintenance_client::MaintenanceClient;
use steadfast_etcd_api::proto::etcdserverpb::{AlarmRequest, AlarmType, HashKvRequest, HashKvResponse, RangeRequest, alarm_request};
use steadfast_etcd_api::proto::steadfast::v1::StatusResponse;
use tokio::task::JoinSet;

use crate::client::{self, in_words, read_error, write_error};
use crate::endpoints::{Cluster, Endpoint};
use crate::user::{self, User};
use crate::{show, status};

/// So often a round is begun anew because history was compacted meanwhile.
const ROUNDS: usize = 5;

/// What a member may take for its hash: some terabytes at the speed of a disk.
const HASH_WAIT: Duration = Duration::from_secs(3600);

/// What `steadfast check` takes.
#[derive(Args, Debug)]
#[command(after_help = "\
Every voter reads all its keys and their history from its disk and hashes them, which takes as long as
that takes; the members go on serving. With --repair, voters that differ from a majority fetch their
state from the others.

Exit status: 0 if all voters answer and agree, else 1.

Examples:
  steadfast check
  steadfast check --endpoints 10.0.0.1:2379 --repair")]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    cluster: Cluster,
    /// Have voters that differ from the majority fetch their state anew
    #[arg(long)]
    repair: bool,
}

/// One voter, and what it has.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Checked {
    id: u64,
    name: String,
    hash: Result<Hash, String>,
}

/// A hash, and what it is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Hash {
    compacted: i64,
    hash: u32,
}

/// Compares all voters. Fails unless all of them have the same.
pub(crate) async fn run(args: &CheckArgs) -> Result<()> {
    let voters = status::voters(&args.cluster.endpoints()?).await?;
    let mut round = 0;
    let (revision, checked) = loop {
        let revision = revision(&args.cluster).await?;
        let checked = hash_all(&voters, revision, args.cluster.user.as_ref()).await;
        round += 1;
        if round == ROUNDS || !is_overtaken(&checked) {
            break (revision, checked);
        }
    };
    show::print(text(revision, &checked))?;
    let differ = in_minority(&checked);
    for voter in differ.iter().filter(|_| args.repair) {
        repair(&args.cluster, voter).await?;
        show::print(format!("{} fetches its state from the others; `steadfast status` shows when it is back.", voter.name))?;
    }
    match trouble(&checked, &differ) {
        Some(_) if args.repair && !differ.is_empty() => Ok(()),
        Some(trouble) => bail!("{trouble}"),
        None => Ok(()),
    }
}

/// The newest revision of the cluster.
async fn revision(cluster: &Cluster) -> Result<i64> {
    let request = RangeRequest { key: vec![0].into(), ..RangeRequest::default() };
    let answer = KvClient::new(client::open(cluster).await?).range(request).await.map_err(read_error)?.into_inner();
    Ok(answer.header.context("an answer without a header")?.revision)
}

async fn hash_all(voters: &[(Endpoint, Result<StatusResponse, String>)], revision: i64, user: Option<&User>) -> Vec<Checked> {
    let mut asked = JoinSet::new();
    for (at, (endpoint, status)) in voters.iter().cloned().enumerate() {
        let user = user.cloned();
        asked.spawn(async move {
            let (id, name) = status.as_ref().map_or((0, endpoint.to_string()), |status| (status.node_id, status.name.clone()));
            let hash = match status {
                Ok(_) => hash(&endpoint, revision, user.as_ref()).await.map_err(|error| format!("{error:#}")),
                Err(why) => Err(why),
            };
            (at, Checked { id, name, hash })
        });
    }
    let mut checked = asked.join_all().await;
    checked.sort_by_key(|(at, _)| *at);
    checked.into_iter().map(|(_, checked)| checked).collect()
}

async fn hash(endpoint: &Endpoint, revision: i64, user: Option<&User>) -> Result<Hash> {
    let channel = client::connect_patiently(endpoint, HASH_WAIT).await?;
    let mut maintenance = MaintenanceClient::new(user::link(channel, user).await?);
    let answer = maintenance.hash_kv(HashKvRequest { revision }).await;
    let HashKvResponse { hash, compact_revision, .. } = answer.map_err(|status| anyhow::anyhow!("{}", in_words(&status)))?.into_inner();
    Ok(Hash { compacted: compact_revision, hash })
}

/// Whether history was compacted between one member's hash and another's.
fn is_overtaken(checked: &[Checked]) -> bool {
    let mut compacted = checked.iter().filter_map(|voter| Some(voter.hash.as_ref().ok()?.compacted));
    let first = compacted.next();
    let is_gone = |voter: &Checked| voter.hash.as_ref().err().is_some_and(|why| why.contains("required revision has been compacted"));
    compacted.any(|other| Some(other) != first) || checked.iter().any(is_gone)
}

/// The voters that have something else than a majority of all voters has.
fn in_minority(checked: &[Checked]) -> Vec<Checked> {
    let mut votes: BTreeMap<Hash, usize> = BTreeMap::new();
    checked.iter().filter_map(|voter| voter.hash.as_ref().ok()).for_each(|hash| *votes.entry(*hash).or_default() += 1);
    let Some((right, _)) = votes.into_iter().find(|(_, count)| 2 * count > checked.len()) else { return Vec::new() };
    checked.iter().filter(|voter| voter.hash.as_ref().is_ok_and(|hash| *hash != right)).cloned().collect()
}

/// What is wrong, in a line.
fn trouble(checked: &[Checked], differ: &[Checked]) -> Option<String> {
    let names = |voters: &[Checked]| voters.iter().map(|voter| voter.name.as_str()).collect::<Vec<_>>().join(", ");
    if !differ.is_empty() {
        return Some(format!("{} differs from the majority: `steadfast check --repair` has it fetch the others' state", names(differ)));
    }
    if is_overtaken(checked) {
        return Some("history was compacted again and again meanwhile: try again".to_owned());
    }
    let hashes: Vec<Hash> = checked.iter().filter_map(|voter| voter.hash.clone().ok()).collect();
    if hashes.windows(2).any(|pair| pair[0] != pair[1]) {
        return Some("the members differ, and no majority of them agrees: compare with a backup, remove those that are wrong".to_owned());
    }
    let silent: Vec<Checked> = checked.iter().filter(|voter| voter.hash.is_err()).cloned().collect();
    (!silent.is_empty()).then(|| format!("{} could not be compared", names(&silent)))
}

fn text(revision: i64, checked: &[Checked]) -> String {
    let row = |voter: &Checked| {
        let (hash, compacted) = match &voter.hash {
            Ok(hash) => (format!("{:08x}", hash.hash), hash.compacted.to_string()),
            Err(why) => (why.clone(), String::new()),
        };
        vec![voter.name.clone(), revision.to_string(), compacted, hash]
    };
    show::table(&["NODE", "REVISION", "COMPACTED", "HASH"], &["REVISION", "COMPACTED"], checked.iter().map(row))
}

async fn repair(cluster: &Cluster, voter: &Checked) -> Result<()> {
    let (action, alarm) = (alarm_request::AlarmAction::Activate.into(), AlarmType::Corrupt.into());
    let request = AlarmRequest { action, member_id: voter.id, alarm };
    MaintenanceClient::new(client::open(cluster).await?).alarm(request).await.map_err(write_error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(hashes: &[Result<(i64, u32), &str>]) -> Vec<Checked> {
        let voter = |(at, hash): (usize, &Result<(i64, u32), &str>)| Checked {
            id: at as u64,
            name: format!("n{at}"),
            hash: hash.map(|(compacted, hash)| Hash { compacted, hash }).map_err(str::to_owned),
        };
        hashes.iter().enumerate().map(voter).collect()
    }

    #[test]
    fn who_differs_from_a_majority_of_all_is_named() {
        let names = |hashes: &[Result<(i64, u32), &str>]| {
            let checked = checked(hashes);
            let differ = in_minority(&checked);
            (differ.iter().map(|voter| voter.id).collect::<Vec<_>>(), trouble(&checked, &differ).unwrap_or_default())
        };
        assert_eq!(names(&[Ok((1, 7)), Ok((1, 7)), Ok((1, 7))]), (vec![], String::new()));
        let (differ, trouble) = names(&[Ok((1, 7)), Ok((1, 8)), Ok((1, 7))]);
        assert!(differ == [1] && trouble.starts_with("n1 differs from the majority"), "{trouble}");
        let (differ, trouble) = names(&[Ok((1, 7)), Ok((1, 8)), Err("no answer")]);
        assert!(differ.is_empty() && trouble.contains("no majority"), "{trouble}");
        let (differ, trouble) = names(&[Ok((1, 7)), Ok((1, 7)), Err("no answer")]);
        assert!(differ.is_empty() && trouble == "n2 could not be compared", "{trouble}");
    }

    #[test]
    fn what_a_compaction_overtook_is_not_compared() {
        assert!(is_overtaken(&checked(&[Ok((1, 7)), Ok((2, 8)), Ok((1, 7))])));
        assert!(is_overtaken(&checked(&[Ok((1, 7)), Err("mvcc: required revision has been compacted")])));
        assert!(!is_overtaken(&checked(&[Ok((1, 7)), Ok((1, 8)), Err("no answer")])));
    }
}
