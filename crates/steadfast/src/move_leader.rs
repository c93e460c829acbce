//! `steadfast move-leader`: hands leadership to another voter, before maintenance of the leader's machine, say.

use anyhow::{Context, Result, bail};
use clap::Args;
use steadfast_etcd_api::proto::etcdserverpb::MoveLeaderRequest;
use steadfast_etcd_api::proto::etcdserverpb::maintenance_client::MaintenanceClient;
use steadfast_etcd_api::proto::steadfast::v1::{Member, StatusResponse};

use crate::client::{self, write_error};
use crate::endpoints::{Cluster, Endpoint};
use crate::user::{self, User};
use crate::{show, status};

/// What `steadfast move-leader` takes.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  steadfast move-leader            to the voter that is furthest
  steadfast move-leader n3")]
pub(crate) struct MoveLeaderArgs {
    /// The next leader's name or id [default: the voter with the most of the log]
    target: Option<String>,
    #[command(flatten)]
    cluster: Cluster,
}

/// Asks the leader to hand over.
pub(crate) async fn run(args: &MoveLeaderArgs) -> Result<()> {
    let (endpoint, leader) = status::leader(&args.cluster.endpoints()?).await?;
    let target = match &args.target {
        Some(wanted) => named(&leader.members, wanted)?,
        None => furthest(&leader).context("the cluster has no other voter that answers the leader")?,
    };
    if target.id == leader.node_id {
        show::print(format!("{} leads already.", title(target)))?;
        return Ok(());
    }
    hand_over(&endpoint, args.cluster.user.as_ref(), target).await?;
    show::print(format!("{} leads now.", title(target)))?;
    Ok(())
}

async fn hand_over(leader: &Endpoint, user: Option<&User>, target: &Member) -> Result<()> {
    if target.learner {
        bail!("{} is a learner and can't lead: promote it first", title(target));
    }
    let mut maintenance = MaintenanceClient::new(user::link(client::connect(leader).await?, user).await?);
    maintenance.move_leader(MoveLeaderRequest { target_id: target.id }).await.map_err(write_error)?;
    Ok(())
}

fn title(member: &Member) -> String {
    if member.name.is_empty() { format!("{:x}", member.id) } else { member.name.clone() }
}

fn named<'a>(members: &'a [Member], wanted: &str) -> Result<&'a Member> {
    let id = u64::from_str_radix(wanted, 16).ok();
    let found = members.iter().find(|member| Some(member.id) == id).or_else(|| members.iter().find(|member| member.name == wanted));
    found.with_context(|| format!("no member has the name or id {wanted:?}: `steadfast member list` shows them"))
}

/// The active voter whose log matches the leader's furthest.
fn furthest(leader: &StatusResponse) -> Option<&Member> {
    let voters = leader.members.iter().filter(|member| !member.learner && member.id != leader.node_id);
    let progress = |member: &&Member| {
        let follower = leader.followers.iter().find(|follower| follower.id == member.id && follower.active)?;
        Some(follower.matched_index)
    };
    voters.filter(|member| progress(member).is_some()).max_by_key(progress)
}

#[cfg(test)]
mod tests {
    use super::*;
    use steadfast_etcd_api::proto::steadfast::v1::Follower;

    #[test]
    fn the_furthest_active_voter_is_next() {
        let member = |id, learner| Member { id, learner, name: format!("n{id}"), ..Member::default() };
        let follower = |id, matched_index, active| Follower { id, matched_index, active, lag_entries: 0 };
        let leader = StatusResponse {
            node_id: 1,
            members: vec![member(1, false), member(2, false), member(3, false), member(4, true), member(5, false)],
            followers: vec![follower(2, 10, true), follower(3, 20, true), follower(4, 30, true), follower(5, 40, false)],
            ..StatusResponse::default()
        };
        assert_eq!(furthest(&leader).map(|member| member.id), Some(3));
        assert_eq!(furthest(&StatusResponse { followers: vec![], ..leader.clone() }).map(|member| member.id), None);
        assert_eq!(named(&leader.members, "n5").expect("by name").id, 5);
        assert!(named(&leader.members, "n9").is_err());
    }
}
