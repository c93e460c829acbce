//! Leadership goes from node to node while clients write: the longest time without an answer to anybody, for each time that it does. Beside it
//! the same without hand-overs, for a disk alone makes clients wait now and then.

use std::sync::{Arc, Mutex};
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
use crate::client::{in_words, read_error, write_error};
use crate::user::Link;

/// From one to the next.
const EVERY: Duration = Duration::from_secs(1);

/// The longest time is looked for from the beginning of a hand-over to so long after its end.
const AFTERWARDS: Duration = Duration::from_millis(200);

/// After a failure a client waits so long before it asks again.
const PAUSE: Duration = Duration::from_millis(1);

/// Hands over once a second, or else only looks.
pub(super) async fn run(side: &Side, clients: usize, settings: &Settings, is_handed_over: bool) -> Result<Measured> {
    let answers = Arc::new(Mutex::new(Answers { measured: Measured::new(), last: Instant::now(), longest: Duration::ZERO }));
    let lock = || answers.lock().expect("nothing panics while it holds this");
    let mut writers = JoinSet::new();
    for number in 0..clients {
        let client = Work::Put.client(side.link(number), settings).await.map_err(read_error)?;
        writers.spawn(write(client, answers.clone()));
    }
    sleep(EVERY).await;
    let begin = Instant::now();
    lock().measured = Measured::new();
    for number in 0..settings.duration.as_secs() {
        lock().longest = Duration::ZERO;
        if is_handed_over {
            hand_over(side).await?;
        }
        sleep(AFTERWARDS).await;
        lock().note_longest();
        sleep_until(begin + EVERY * (number as u32 + 1)).await;
    }
    writers.shutdown().await;
    let measured = lock().measured.clone();
    Ok(measured.lasting(begin.elapsed()))
}

/// The answers to all clients.
struct Answers {
    measured: Measured,
    last: Instant,
    /// The longest time between two, since the last hand-over.
    longest: Duration,
}

impl Answers {
    fn good(&mut self) {
        let now = Instant::now();
        self.measured.done += 1;
        self.longest = self.longest.max(now - self.last);
        self.last = now;
    }

    fn note_longest(&mut self) {
        self.measured.note(self.longest.max(self.last.elapsed()));
    }
}

async fn write(mut client: Client, answers: Arc<Mutex<Answers>>) {
    loop {
        let answer = client.ask().await;
        let is_bad = answer.is_err();
        {
            let mut answers = answers.lock().expect("nothing panics while it holds this");
            match answer {
                Ok(()) => answers.good(),
                Err(status) => answers.measured.fail(|| in_words(&status)),
            }
        }
        if is_bad {
            sleep(PAUSE).await;
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
