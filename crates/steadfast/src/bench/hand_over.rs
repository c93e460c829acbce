//! Leadership goes from node to node while clients write: the longest time without an answer to anybody, for each time that it does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use steadfast_etcd_api::proto::etcdserverpb::cluster_client::ClusterClient;
use steadfast_etcd_api::proto::etcdserverpb::maintenance_client::MaintenanceClient;
use steadfast_etcd_api::proto::etcdserverpb::{MemberListRequest, MoveLeaderRequest, StatusRequest};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::Settings;
use super::measured::Measured;
use super::side::Side;
use super::work::{Client, Work};
use crate::client::{read_error, write_error};
use crate::user::Link;

/// From one to the next.
const EVERY: Duration = Duration::from_secs(1);

/// After a failure a client waits so long before it asks again.
const PAUSE: Duration = Duration::from_millis(1);

/// Hands over once a second.
pub(super) async fn run(side: &Side, clients: usize, settings: &Settings) -> Result<Measured> {
    let answers = Arc::new(Answers {
        epoch: Instant::now(),
        last: AtomicU64::new(0),
        longest: AtomicU64::new(0),
        good: AtomicU64::new(0),
        bad: AtomicU64::new(0),
    });
    let mut writers = JoinSet::new();
    for number in 0..clients {
        let client = Work::Put.client(side.link(number), settings).await.map_err(read_error)?;
        writers.spawn(write(client, answers.clone()));
    }
    sleep(EVERY).await;
    let begin = Instant::now();
    let (good, bad) = answers.counts();
    let mut measured = Measured::new();
    for number in 0..settings.duration.as_secs() {
        answers.longest();
        hand_over(side).await?;
        sleep_until(begin + EVERY * (number as u32 + 1)).await;
        measured.note(answers.longest());
    }
    measured.took = begin.elapsed();
    (measured.done, measured.failed) = (answers.counts().0 - good, answers.counts().1 - bad);
    writers.shutdown().await;
    Ok(measured)
}

/// The answers to all clients. Times are in microseconds.
struct Answers {
    epoch: Instant,
    last: AtomicU64,
    /// The longest time between two since it was last asked for.
    longest: AtomicU64,
    good: AtomicU64,
    bad: AtomicU64,
}

impl Answers {
    fn good(&self) {
        self.good.fetch_add(1, Ordering::Relaxed);
        let now = self.now();
        let gap = now.saturating_sub(self.last.swap(now, Ordering::Relaxed));
        self.longest.fetch_max(gap, Ordering::Relaxed);
    }

    /// The longest time without one since this was last called.
    fn longest(&self) -> Duration {
        let still = self.now().saturating_sub(self.last.load(Ordering::Relaxed));
        Duration::from_micros(self.longest.swap(0, Ordering::Relaxed).max(still))
    }

    fn counts(&self) -> (u64, u64) {
        (self.good.load(Ordering::Relaxed), self.bad.load(Ordering::Relaxed))
    }

    fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

async fn write(mut client: Client, answers: Arc<Answers>) {
    loop {
        match client.ask().await {
            Ok(()) => answers.good(),
            Err(_) => {
                answers.bad.fetch_add(1, Ordering::Relaxed);
                sleep(PAUSE).await;
            }
        }
    }
}

/// The leader hands over to the voter whose id comes after its own.
async fn hand_over(side: &Side) -> Result<()> {
    let (link, leader) = leader(side).await?;
    let members = ClusterClient::new(link.clone()).member_list(MemberListRequest::default()).await.map_err(read_error)?.into_inner();
    let mut voters: Vec<u64> = members.members.iter().filter(|member| !member.is_learner).map(|member| member.id).collect();
    voters.sort_unstable();
    let at = voters.partition_point(|id| *id <= leader);
    let target_id = voters[at % voters.len()];
    anyhow::ensure!(target_id != leader, "hand-over needs a second voter");
    MaintenanceClient::new(link).move_leader(MoveLeaderRequest { target_id }).await.map_err(write_error)?;
    Ok(())
}

/// The connection to the leader, and its id.
async fn leader(side: &Side) -> Result<(Link, u64)> {
    for number in 0..side.connections() {
        let link = side.link(number);
        let status = MaintenanceClient::new(link.clone()).status(StatusRequest {}).await.map_err(read_error)?.into_inner();
        let id = status.header.map_or(0, |header| header.member_id);
        if status.leader == id {
            return Ok((link, id));
        }
    }
    None.context("none of the endpoints is the leader: give all of them")
}
