//! The core loop: the one task that runs the node, and the threads that do what it may not: the log writer and the jobs. It is a task beside
//! those of the connections, so that what goes from them to it and back mostly stays on one thread.
//!
//! The loop takes everything that waits in its inbox as one turn, and carries the turn's outputs out: log commands to the writer, frames to the
//! peers, jobs to their lanes, answers to the clients, events to the watch hub. It never blocks on a disk or a socket.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use steadfast_node::{Answer, Input, Job, Lane, LogCommand, LogDriver, Node, Notice, Outputs, Repair, start};
use steadfast_state::Changes;
use steadfast_state::auth::AuthEvent;
use steadfast_storage::disk::FileDisk;
use steadfast_types::{Instant, NodeId};
use tokio::sync::oneshot;

use crate::clock::Clock;
use crate::inbox::{Alarm, Inbox};
use crate::published::Published;

/// Where a client's answer goes.
pub(crate) type Slot = oneshot::Sender<Answer>;

/// Of the thread that flushes and merges tables.
const BACKGROUND_NICENESS: i32 = 5;

/// A sync slower than this gets a log line.
const SLOW_SYNC: Duration = Duration::from_millis(500);

/// A clean stop waits this long for another leader.
const HAND_OVER_PATIENCE: Duration = Duration::from_millis(1500);

/// Something for the core loop.
#[allow(clippy::large_enum_variant, reason = "nearly all items are inputs")]
pub(crate) enum Item {
    /// For the node.
    Input(Input<Slot, FileDisk>),
    /// Stop cleanly: hand over leadership, make everything durable.
    Stop,
    /// A peer says that this node is no longer a member.
    Removed,
    /// A thread of ours met something that the node can't go on with.
    Fault(String),
}

/// What the core loop tells the rest of the process.
pub(crate) trait Surroundings: Send + 'static {
    /// Sends a frame to a peer, without blocking.
    fn send(&self, to: NodeId, frame: Bytes);
    /// Hands to the watch hub what changed.
    fn changed(&self, changes: Changes);
    /// Has tokens and watches follow what happened to users and roles.
    fn auth(&self, events: &[AuthEvent]);
    /// The state is another one: readers and watchers start from it.
    fn state_replaced(&self);
    /// A log line, or something to act on.
    fn notice(&self, notice: &Notice);
    /// Before each sync of the log, on the writer's thread.
    fn before_sync(&self);
    /// How long a sync took.
    fn synced(&self, took: Duration, commands: usize);
}

/// How the loop ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// As asked.
    Stopped,
    /// The node is no longer a member.
    Removed,
    /// The node can't go on; why.
    Fault(String),
}

/// Why a running node is left.
enum Left {
    Ended(Ended),
    /// It must be opened again, to fetch its state from its peers.
    StateLost,
}

/// Runs a node that has been opened, to its end.
pub(crate) async fn run(
    opened: start::Opened<Slot, FileDisk>,
    inbox: Inbox<Item>,
    clock: Clock,
    published: Arc<Published>,
    surroundings: impl Surroundings + Sync,
) -> Ended {
    let core = Core { inbox, clock, published, surroundings: Arc::new(surroundings) };
    // A task of its own, so that a panic is an end like another.
    let end = tokio::spawn(core.run(opened)).await;
    end.unwrap_or_else(|_| Ended::Fault("the core loop panicked; its message stands above".into()))
}

struct Core<E> {
    inbox: Inbox<Item>,
    clock: Clock,
    published: Arc<Published>,
    surroundings: Arc<E>,
}

/// The threads of a running node.
struct Workers {
    log: crossbeam_channel::Sender<LogCommand>,
    peers: crossbeam_channel::Sender<Job<FileDisk>>,
    tables: crossbeam_channel::Sender<Job<FileDisk>>,
    threads: Vec<JoinHandle<()>>,
}

/// Runs what may wait for a disk or for another thread.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Ended> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Ended::Fault(format!("a thread of the node: {error}")))
}

/// Lets all tasks run first that are ready.
async fn give_way() {
    let mut gave_way = false;
    poll_fn(|context| {
        if std::mem::replace(&mut gave_way, true) {
            return Poll::Ready(());
        }
        // A task that wakes itself goes to the end of the queue.
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

impl<E: Surroundings + Sync> Core<E> {
    /// Moves to `into` what comes in until `deadline` at the latest: as soon as there is anything, everything that other tasks have for it.
    async fn gather(&self, alarm: &mut Alarm, into: &mut Vec<Item>, deadline: Instant) {
        self.inbox.wait(alarm, deadline.since(self.clock.now())).await;
        give_way().await;
        self.inbox.take_all(into);
    }

    /// A node whose tables turn out to be damaged goes back to repair, and a repaired one runs.
    async fn run(self, mut opened: start::Opened<Slot, FileDisk>) -> Ended {
        loop {
            let next = match opened {
                start::Opened::Running(node, driver) => self.run_node(node, *driver).await,
                start::Opened::Repairing(repair) => self.run_repair(*repair).await,
            };
            opened = match next {
                Ok(next) => next,
                Err(ended) => return ended,
            };
        }
    }

    // --- repairing --------------------------------------------------------------------------------------------------------

    async fn run_repair(&self, mut repair: Repair<FileDisk>) -> Result<start::Opened<Slot, FileDisk>, Ended> {
        tracing::warn!(
            missing = repair.missing(),
            "this node lost data and is getting it back from its peers; until then it takes no part"
        );
        let (mut alarm, mut items) = (Alarm::new(), Vec::new());
        while !repair.is_done() {
            self.gather(&mut alarm, &mut items, repair.next_deadline()).await;
            let inputs = sort(items.drain(..))?;
            let out: Outputs<Slot, FileDisk> = repair.turn(self.clock.now(), inputs);
            for (to, frame) in out.frames {
                self.surroundings.send(to, frame);
            }
            for (slot, answer) in out.answers {
                let _ = slot.send(answer);
            }
            for notice in &out.notices {
                self.surroundings.notice(notice);
            }
            if let Some(fault) = fault(&out.notices) {
                return Err(Ended::Fault(fault));
            }
        }
        tracing::info!("everything lost is back");
        repair.finish(self.clock.now()).map_err(|error| Ended::Fault(error.to_string()))
    }

    // --- running -------------------------------------------------------------------------------------------------------------

    /// Runs the node to its end, or until its state is lost; then it is opened again.
    async fn run_node(
        &self,
        mut node: Box<Node<Slot, FileDisk>>,
        driver: LogDriver<FileDisk>,
    ) -> Result<start::Opened<Slot, FileDisk>, Ended> {
        self.published.set_reader(node.reader());
        self.published.update(&node.status());
        self.surroundings.state_replaced();
        self.surroundings.notice(&Notice::MembersChanged);
        let workers = self.start_workers(driver).map_err(|error| Ended::Fault(format!("starting threads: {error}")))?;
        let left = self.turns(&mut node, &workers).await;
        let Workers { log, peers, tables, threads } = workers;
        drop((log, peers, tables));
        // A panic there has been reported by its own message.
        let join = move || threads.into_iter().for_each(|thread| drop(thread.join()));
        let now = match left {
            Left::Ended(ended) => {
                blocking(join).await?;
                return Err(ended);
            }
            Left::StateLost => {
                self.published.clear();
                self.surroundings.auth(&[AuthEvent::Replaced]);
                self.clock.now()
            }
        };
        let reopen = move || {
            join();
            node.reopen(now).map_err(|error| Ended::Fault(error.to_string()))
        };
        blocking(reopen).await?
    }

    async fn turns(&self, node: &mut Node<Slot, FileDisk>, workers: &Workers) -> Left {
        let (mut alarm, mut items) = (Alarm::new(), Vec::new());
        loop {
            self.gather(&mut alarm, &mut items, node.next_deadline()).await;
            let inputs = match sort(items.drain(..)) {
                Ok(inputs) => inputs,
                Err(Ended::Stopped) => return Left::Ended(self.stop(node, workers).await),
                Err(ended) => return Left::Ended(ended),
            };
            if let Some(left) = self.turn(node, workers, inputs) {
                return left;
            }
        }
    }

    fn turn(&self, node: &mut Node<Slot, FileDisk>, workers: &Workers, inputs: Vec<Input<Slot, FileDisk>>) -> Option<Left> {
        let out = node.turn(self.clock.now(), inputs);
        for (to, frame) in out.frames {
            self.surroundings.send(to, frame);
        }
        for command in out.log {
            // The writer is gone only after a fault, which is in the inbox already.
            let _ = workers.log.send(command);
        }
        if !out.auth.is_empty() {
            // Before the answers: a client may use its token on this node as soon as it has it.
            self.surroundings.auth(&out.auth);
        }
        for (slot, answer) in out.answers {
            // A client that has gone does not hear its answer.
            let _ = slot.send(answer);
        }
        for changes in out.events {
            self.surroundings.changed(changes);
        }
        for job in out.jobs {
            let lane = match job.lane() {
                Lane::Peers => &workers.peers,
                Lane::Tables => &workers.tables,
            };
            let _ = lane.send(job);
        }
        if !out.notices.is_empty() || self.published.is_due(self.clock.now()) {
            self.published.update(&node.status());
        }
        for notice in &out.notices {
            if let Notice::SnapshotInstalled(_) = notice {
                self.published.set_reader(node.reader());
                self.surroundings.state_replaced();
            }
            self.surroundings.notice(notice);
        }
        if let Some(fault) = fault(&out.notices) {
            return Some(Left::Ended(Ended::Fault(fault)));
        }
        if out.notices.iter().any(|notice| matches!(notice, Notice::TablesDamaged(_))) {
            return Some(Left::StateLost);
        }
        out.notices.contains(&Notice::Removed).then_some(Left::Ended(Ended::Removed))
    }

    /// Hands over leadership and makes the tables durable, within bounds.
    async fn stop(&self, node: &mut Node<Slot, FileDisk>, workers: &Workers) -> Ended {
        use steadfast_consensus::Role;
        let give_up = self.clock.now() + HAND_OVER_PATIENCE;
        if node.status().consensus.role == Role::Leader {
            node.hand_over_leadership();
            tracing::info!("stopping: handing over leadership");
        }
        node.flush_tables();
        let (mut alarm, mut items) = (Alarm::new(), Vec::new());
        while self.clock.now() < give_up {
            let inputs: Vec<_> =
                items.drain(..).filter_map(|item| if let Item::Input(input) = item { Some(input) } else { None }).collect();
            if self.turn(node, workers, inputs).is_some() {
                break;
            }
            let status = node.status();
            let alone = status.consensus.configuration.voters.len() < 2;
            let handed_over = alone || status.consensus.role != Role::Leader;
            if handed_over && status.durable == status.applied {
                break;
            }
            self.gather(&mut alarm, &mut items, self.clock.now() + Duration::from_millis(20)).await;
        }
        Ended::Stopped
    }

    // --- threads -------------------------------------------------------------------------------------------------------------

    fn start_workers(&self, driver: LogDriver<FileDisk>) -> std::io::Result<Workers> {
        let (log, log_commands) = crossbeam_channel::unbounded();
        let (peers, peer_jobs) = crossbeam_channel::unbounded();
        let (tables, table_jobs) = crossbeam_channel::unbounded();
        let inbox = self.inbox.clone();
        let surroundings = self.surroundings.clone();
        let spawn = |name: &str, body: Box<dyn FnOnce() + Send>| thread::Builder::new().name(name.into()).spawn(body);
        let threads = vec![
            spawn("log-writer", Box::new(move || write_log(driver, &log_commands, &inbox, &*surroundings)))?,
            spawn(
                "peer-jobs",
                Box::new({
                    let inbox = self.inbox.clone();
                    move || run_jobs(&peer_jobs, &inbox)
                }),
            )?,
            spawn(
                "table-jobs",
                Box::new({
                    let inbox = self.inbox.clone();
                    move || {
                        give_precedence();
                        run_jobs(&table_jobs, &inbox);
                    }
                }),
            )?,
        ];
        Ok(Workers { log, peers, tables, threads })
    }
}

/// Writes until the core loop is gone: everything that waits, then one sync.
fn write_log<E: Surroundings>(
    mut driver: LogDriver<FileDisk>,
    commands: &crossbeam_channel::Receiver<LogCommand>,
    inbox: &Inbox<Item>,
    surroundings: &E,
) {
    while let Ok(first) = commands.recv() {
        let batch: Vec<LogCommand> = std::iter::once(first).chain(commands.try_iter()).collect();
        let count = batch.len();
        let began = Clock::stopwatch();
        surroundings.before_sync();
        match driver.run(batch) {
            Ok(done) => {
                let took = began();
                surroundings.synced(took, count);
                tell_if_slow(took, count);
                inbox.push(Item::Input(Input::LogDone(done)));
            }
            Err(error) => return inbox.push(Item::Fault(format!("writing the log: {error}"))),
        }
    }
}

fn tell_if_slow(took: Duration, commands: usize) {
    if took > SLOW_SYNC {
        tracing::warn!(took_ms = took.as_millis(), commands, "slow sync of the log");
    }
}

/// Requests come before the work of this thread when there are more of both than processors. If it falls behind, the node holds requests back.
fn give_precedence() {
    if let Err(error) = rustix::process::nice(BACKGROUND_NICENESS) {
        tracing::debug!(%error, "background work has the priority of all other");
    }
}

fn run_jobs(jobs: &crossbeam_channel::Receiver<Job<FileDisk>>, inbox: &Inbox<Item>) {
    for job in jobs {
        inbox.push(Item::Input(Input::JobDone(job.run())));
    }
}

/// The inputs among the items, unless one of them ends the loop.
fn sort(items: impl Iterator<Item = Item>) -> Result<Vec<Input<Slot, FileDisk>>, Ended> {
    items
        .map(|item| match item {
            Item::Input(input) => Ok(input),
            Item::Stop => Err(Ended::Stopped),
            Item::Removed => Err(Ended::Removed),
            Item::Fault(reason) => Err(Ended::Fault(reason)),
        })
        .collect()
}

fn fault(notices: &[Notice]) -> Option<String> {
    notices.iter().find_map(|notice| if let Notice::Fault(reason) = notice { Some(reason.clone()) } else { None })
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("a lock").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_slow_sync_is_told_in_one_line() {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).with_ansi(false).finish();
        tracing::subscriber::with_default(subscriber, || {
            tell_if_slow(SLOW_SYNC, 3);
            tell_if_slow(Duration::from_millis(1234), 7);
        });
        let text = String::from_utf8(lines.0.lock().expect("a lock").clone()).expect("text");
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains("WARN") && text.contains("slow sync of the log took_ms=1234 commands=7"), "{text}");
    }
}
