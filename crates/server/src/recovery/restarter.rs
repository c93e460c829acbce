//! A node's part in the plans of its services: it runs the command that is declared for a service, when the leader asks, once for each epoch.
//!
//! The question names the service and the epoch, never the command: that is what is declared in strong state, as the node itself follows it. Whoever
//! reaches the peer port can so have a service started anew, and nothing else.
//!
//! Invariants:
//! 1. A command runs at most once under each epoch, and never under an epoch that is older than another one's: the epoch is durable, in the file
//!    `RESTARTS`, before it begins. After a crash in between it is not known whether it ran; the plan's last step sees.
//! 2. One command runs at a time for a service, for as long as its declaration says, and what it said is kept to its last lines.
//! 3. No command runs on a node that runs no scripts.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use steadfast_health::checks::restart::Restart;
use steadfast_health::checks::tally::Outcome;
use steadfast_health::limits::{DETAIL_BYTES, RESTARTS, cut};
use steadfast_health::recovery::observed::Epoch;
use steadfast_types::wire::{Wire, WireError};
use steadfast_types::{ClusterId, NodeId, wire_enum, wire_struct};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::checks::{Progress, Script};
use crate::identity::{IdentityError, replace, unusable};
use crate::peers::{self, Link, Reception, Topic};

/// Where a node keeps under which epochs it has begun.
const FILE: &str = "RESTARTS";
const TEMPORARY: &str = "RESTARTS.tmp";

/// A larger question is none, bytes.
const QUESTION_BYTES: usize = 1024;

/// How long an answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);

/// What the leader asks.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Question {
    cluster: ClusterId,
    /// Who is asked: an address may be another one's by now.
    node: NodeId,
    service: String,
    epoch: Epoch,
}
wire_struct!(Question { cluster, node, service, epoch });

/// What a node says of a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Restarted {
    /// Its command runs.
    Running,
    /// Its command has ended well, or it is not known how.
    Ended,
    /// Its command has ended, and not well: how.
    Failed(String),
    /// It is not begun, and will not be: why.
    Refused(String),
    /// It is not begun yet: why.
    NotYet(String),
}
wire_enum!(Restarted { 1 => Running {}, 2 => Ended {}, 3 => Failed(words), 4 => Refused(words), 5 => NotYet(words) });

/// Puts it to the node at this peer address, once.
///
/// # Errors
/// It did not answer, in words.
pub(super) async fn ask(
    link: &Link,
    address: &str,
    (cluster, node): (ClusterId, NodeId),
    service: &str,
    epoch: Epoch,
) -> Result<Restarted, String> {
    let question = Question { cluster, node, service: service.to_owned(), epoch };
    let answer = peers::ask(link, address, Topic::Restart, &question.to_wire(), ANSWER_LIMIT).await.map_err(|error| error.to_string())?;
    Restarted::from_wire(answer).map_err(|error: WireError| format!("{address} does not know the question: {error}"))
}

/// A command that was begun.
struct Run {
    epoch: Epoch,
    /// `None`: it runs.
    end: Option<Restarted>,
}

/// A node's restarts; clones share them.
#[derive(Clone)]
pub(crate) struct Restarter(Arc<Inner>);

/// What a restarter is made of.
pub(crate) struct Part {
    pub(crate) cluster: ClusterId,
    pub(crate) node: NodeId,
    /// Whether this node runs scripts.
    pub(crate) is_enabled: bool,
    pub(crate) directory: PathBuf,
    /// What is declared for this node.
    pub(crate) declared: watch::Receiver<Arc<Vec<Restart>>>,
}

struct Inner {
    part: Part,
    /// By service.
    runs: Mutex<BTreeMap<String, Run>>,
}

impl Restarter {
    /// One that knows what its directory says.
    ///
    /// # Errors
    /// That can't be read: what was begun is then not known, and would be begun again.
    pub(crate) fn new(part: Part) -> Result<Self, IdentityError> {
        let path = part.directory.join(FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(reason) if reason.kind() == io::ErrorKind::NotFound => String::new(),
            Err(reason) => return Err(unusable("read", &path, reason)),
        };
        let known = |line: &str| {
            let (epoch, service) = line.split_once(' ')?;
            Some((service.to_owned(), Run { epoch: Epoch(epoch.parse().ok()?), end: Some(Restarted::Ended) }))
        };
        let runs = Mutex::new(text.lines().filter_map(known).take(RESTARTS).collect());
        Ok(Restarter(Arc::new(Inner { part, runs })))
    }

    async fn answer(&self, question: Bytes) -> Bytes {
        let this = self.clone();
        // It syncs a file.
        let answer = tokio::task::spawn_blocking(move || this.take(question)).await;
        answer.unwrap_or_else(|error| Restarted::NotYet(error.to_string())).to_wire().into()
    }

    fn take(&self, question: Bytes) -> Restarted {
        let Part { cluster, node, is_enabled, declared, .. } = &self.0.part;
        let question = Some(question).filter(|question| question.len() <= QUESTION_BYTES).map(Question::from_wire);
        let Some(Ok(Question { cluster: of, node: asked, service, epoch })) = question else {
            return Restarted::Refused("the question is malformed".to_owned());
        };
        if (of, asked) != (*cluster, *node) {
            return Restarted::NotYet(format!("another node has this address: {node}"));
        }
        let Some(restart) = declared.borrow().iter().find(|restart| restart.service == service).cloned() else {
            return Restarted::NotYet(format!("the node knows of no restart of {service} that is declared for it"));
        };
        if !is_enabled {
            return Restarted::Refused("the node runs no scripts: start it with --enable-script-checks".to_owned());
        }
        self.begin(restart, epoch)
    }

    fn begin(&self, restart: Restart, epoch: Epoch) -> Restarted {
        let mut runs = self.0.runs.lock();
        match runs.get(&restart.service) {
            Some(run) if run.epoch > epoch => return Restarted::Refused(format!("it was begun under epoch {} since", run.epoch)),
            Some(run) if run.epoch == epoch => return run.end.clone().unwrap_or(Restarted::Running),
            Some(Run { end: None, epoch }) => return Restarted::NotYet(format!("its command of epoch {epoch} still runs")),
            Some(Run { end: Some(_), .. }) | None => {}
        }
        let declared = self.0.part.declared.borrow().clone();
        runs.retain(|service, run| run.end.is_none() || declared.iter().any(|restart| restart.service == *service));
        let before = runs.insert(restart.service.clone(), Run { epoch, end: None });
        if let Err(trouble) = self.save(&runs) {
            match before {
                Some(before) => runs.insert(restart.service, before),
                None => runs.remove(&restart.service),
            };
            return Restarted::NotYet(trouble);
        }
        drop(runs);
        tokio::spawn(self.clone().run(restart, epoch));
        Restarted::Running
    }

    fn save(&self, runs: &BTreeMap<String, Run>) -> Result<(), String> {
        let text: String = runs.iter().map(|(service, run)| format!("{} {service}\n", run.epoch)).collect();
        replace(&self.0.part.directory, (FILE, TEMPORARY), &text).map_err(|error| error.to_string())
    }

    async fn run(self, restart: Restart, epoch: Epoch) {
        tracing::info!(service = restart.service, %epoch, command = restart.command.first(), "recovery: the service is started anew");
        let end = carry_out(&restart, epoch).await;
        tracing::info!(service = restart.service, %epoch, ?end, "recovery: its command has ended");
        if let Some(run) = self.0.runs.lock().get_mut(&restart.service).filter(|run| run.epoch == epoch) {
            run.end = Some(end);
        }
    }
}

async fn carry_out(restart: &Restart, epoch: Epoch) -> Restarted {
    let (epoch, progress) = (epoch.to_string(), Progress::default());
    let variables: &[(&str, &str)] = &[("STEADFAST_SERVICE", &restart.service), ("STEADFAST_EPOCH", &epoch)];
    let script = Script { command: &restart.command, variables, leaves_processes: true };
    let words = match timeout(restart.timeout(), script.run(&progress)).await {
        Ok(Ok(ended)) => match ended.judge() {
            Outcome::Passed => return Restarted::Ended,
            Outcome::Warned(words) | Outcome::Failed(words) => words,
        },
        Ok(Err(words)) => words,
        Err(_) => format!("it did not end in {:?}: {}", restart.timeout(), progress.last_lines()),
    };
    Restarted::Failed(cut(&words, DETAIL_BYTES).to_owned())
}

/// A peer port's reception with restarts in front: their questions are answered here, all else goes on.
pub(crate) struct Restarting<R> {
    restarter: Restarter,
    behind: R,
}

impl<R: Reception> Restarting<R> {
    pub(crate) fn new(restarter: Restarter, behind: R) -> Self {
        Restarting { restarter, behind }
    }
}

impl<R: Reception> Reception for Restarting<R> {
    async fn answer(&self, topic: Topic, question: Bytes) -> Bytes {
        match topic {
            Topic::Restart => self.restarter.answer(question).await,
            Topic::Founding | Topic::Claim | Topic::Gossip | Topic::Attend | Topic::Health | Topic::Diagnosis | Topic::Admit => {
                self.behind.answer(topic, question).await
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const CLUSTER: ClusterId = ClusterId(7);

    /// A node that starts `orders` by a script that says in a file that it ran, and under which epoch.
    fn restarter(directory: &Path, script: &str, is_enabled: bool) -> Restarter {
        let command = ["sh", "-c", script].map(str::to_owned).into();
        let declared = watch::channel(Arc::new(vec![Restart { service: "orders".into(), command, timeout_ms: 20_000 }])).1;
        Restarter::new(Part { cluster: CLUSTER, node: NodeId(3), is_enabled, directory: directory.to_owned(), declared })
            .expect("its file is there or not")
    }

    async fn asked(restarter: &Restarter, service: &str, epoch: u64) -> Restarted {
        let question = Question { cluster: CLUSTER, node: NodeId(3), service: service.into(), epoch: Epoch(epoch) };
        Restarted::from_wire(restarter.answer(question.to_wire().into()).await).expect("an answer")
    }

    async fn end(restarter: &Restarter, epoch: u64) -> Restarted {
        loop {
            match asked(restarter, "orders", epoch).await {
                Restarted::Running => tokio::task::yield_now().await,
                end => return end,
            }
        }
    }

    #[tokio::test]
    async fn a_command_runs_once_under_each_epoch_whoever_asks_and_however_often() {
        let directory = tempfile::tempdir().expect("a directory");
        let ran = directory.path().join("ran");
        let script = format!("echo $STEADFAST_SERVICE $STEADFAST_EPOCH >> {}", ran.display());
        let node = restarter(directory.path(), &script, true);
        for epoch in [4, 4, 5] {
            assert_eq!(end(&node, epoch).await, Restarted::Ended);
        }
        assert!(matches!(asked(&node, "orders", 4).await, Restarted::Refused(words) if words.contains("epoch 5")));
        // A node that was started anew knows what it has begun.
        let again = restarter(directory.path(), &script, true);
        assert_eq!(asked(&again, "orders", 5).await, Restarted::Ended);
        assert!(matches!(asked(&again, "orders", 4).await, Restarted::Refused(_)));
        assert_eq!(std::fs::read_to_string(&ran).expect("it ran"), "orders 4\norders 5\n");
    }

    #[test]
    fn what_was_begun_is_known_or_nothing_is() {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(directory.path().join(FILE)).expect("in the file's place");
        let declared = watch::channel(Arc::default()).1;
        let part = Part { cluster: CLUSTER, node: NodeId(3), is_enabled: true, directory: directory.path().to_owned(), declared };
        let error = Restarter::new(part).err().expect("it can't be read").to_string();
        assert!(error.contains(FILE), "{error}");
    }

    #[tokio::test]
    async fn what_goes_wrong_is_said_and_what_is_not_allowed_is_not_run() {
        let directory = tempfile::tempdir().expect("a directory");
        let node = restarter(directory.path(), "echo no such unit; exit 5", true);
        assert_eq!(end(&node, 1).await, Restarted::Failed("exit status 5: no such unit".into()));
        assert!(matches!(asked(&node, "others", 1).await, Restarted::NotYet(words) if words.contains("no restart of others")));
        let shut = restarter(directory.path(), "true", false);
        assert!(matches!(asked(&shut, "orders", 2).await, Restarted::Refused(words) if words.contains("--enable-script-checks")));
        let other = Question { cluster: CLUSTER, node: NodeId(4), service: "orders".into(), epoch: Epoch(2) };
        let answer = Restarted::from_wire(node.answer(other.to_wire().into()).await).expect("an answer");
        assert!(matches!(answer, Restarted::NotYet(_)), "{answer:?}");
        let noise = Restarted::from_wire(node.answer(Bytes::from_static(&[0xff; 9])).await).expect("an answer");
        assert!(matches!(noise, Restarted::Refused(_)), "{noise:?}");
    }
}
