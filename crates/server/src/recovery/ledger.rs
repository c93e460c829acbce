//! The records of recovery in strong state: plans, epochs, spares, removed agents, and the head that every decision rewrites.
//!
//! All lie under `steadfast/@CLUSTER/recovery/`, so one read sees them as of one moment. Plans are bounded by the planner
//! ([`steadfast_health::limits::ENDED_PLANS`]); an epoch goes with the last plan of a node that is gone; a spare's mark goes when it votes or is no
//! member any more.

use std::collections::{BTreeMap, BTreeSet};

use steadfast_coordination::limits::BATCH_OPERATIONS;
use steadfast_coordination::{
    Compare, Coordination, Error, Fence, Key, OutOfBounds, Outcome, Prefix, Read, Record, Records, Stored, Update, Write, settle, space,
};
use steadfast_health::Subject;
use steadfast_health::recovery::observed::{Epoch, Observed};
use steadfast_health::recovery::plan::{Plan, PlanError, PlanId, PlanState};
use steadfast_health::recovery::planner::{self, Change, Decision, Recorded};
use steadfast_types::{ClusterId, NodeId, Revision};

/// Changes that are written at once, each with its plan and its epoch; the rest of a decision is decided again.
const CHANGES: usize = BATCH_OPERATIONS / 2 - 1;

/// The key under the prefix that each decision rewrites.
const HEAD: &str = "head";

/// The name of a plan, as people write it: `a1b2-1` is the first about node a1b2.
#[must_use]
pub fn plan_name(id: &PlanId) -> String {
    format!("{}-{}", subject_name(&id.subject), id.epoch)
}

fn subject_name(subject: &Subject) -> String {
    match subject {
        Subject::Node(node) => node.to_string(),
        Subject::Service { node, name } => format!("{node}.{name}"),
    }
}

/// A plan as it is in strong state.
#[derive(Clone, Debug)]
pub struct Kept {
    /// The plan.
    pub plan: Plan,
    record: Record,
}

impl Kept {
    /// The revision that wrote it.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.record.mod_revision
    }

    /// As the planner and the driver read it.
    #[must_use]
    pub fn recorded(&self) -> Recorded {
        Recorded { plan: self.plan.clone(), revision: self.revision() }
    }
}

/// All records as of one moment.
#[derive(Clone, Debug, Default)]
pub struct Book {
    /// The moment.
    pub revision: Revision,
    /// The plans.
    pub plans: BTreeMap<PlanId, Kept>,
    /// The epochs that are not the first.
    pub epochs: BTreeMap<Subject, Epoch>,
    /// The learners that are kept for a voter's place.
    pub spares: BTreeSet<NodeId>,
    /// The agents that were removed and have not come back.
    pub removed: BTreeSet<NodeId>,
    head: Option<Record>,
    decisions: u64,
}

impl Book {
    /// What the planner reads of it.
    #[must_use]
    pub fn records(&self) -> planner::Records {
        planner::Records {
            head: self.head.as_ref().map_or(Revision(0), |record| record.mod_revision),
            plans: self.plans.iter().map(|(id, kept)| (id.clone(), kept.recorded())).collect(),
        }
    }
}

/// Why a plan was not changed. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// There is none of this name.
    #[error("there is no plan `{0}`: see `steadfast recovery list`")]
    NoPlan(String),
    /// No plan of this subject has failed.
    #[error("no plan about {0} has failed: it needs nobody to be tried again")]
    NoneFailed(String),
    /// The plan does not change so.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The store.
    #[error(transparent)]
    Store(#[from] Error),
}

/// The records of one cluster, in its own store or any other.
#[derive(Clone)]
pub struct Ledger<C> {
    store: C,
    prefix: Prefix,
    plans: Records<C, Plan>,
    epochs: Records<C, (Subject, Epoch)>,
    spares: Records<C, NodeId>,
    removed: Records<C, NodeId>,
    heads: Records<C, u64>,
}

impl<C: Coordination> Ledger<C> {
    /// The records of `cluster`. The seed must be another one in each process life.
    ///
    /// # Errors
    /// None that could be: the names are short.
    pub fn new(store: C, cluster: ClusterId, seed: u64) -> Result<Self, OutOfBounds> {
        let prefix = space::of_cluster(cluster, "recovery")?;
        Ok(Ledger {
            plans: Records::new(store.clone(), prefix.prefix("plans/")?, seed),
            epochs: Records::new(store.clone(), prefix.prefix("epochs/")?, seed.wrapping_add(1)),
            spares: Records::new(store.clone(), prefix.prefix("spares/")?, seed.wrapping_add(2)),
            heads: Records::new(store.clone(), prefix.clone(), seed.wrapping_add(3)),
            removed: Records::new(store.clone(), prefix.prefix("removed/")?, seed.wrapping_add(4)),
            prefix,
            store,
        })
    }

    /// Reads everything, as of one moment.
    ///
    /// # Errors
    /// As [`Coordination::read`]; [`Error::NotARecord`]: something else lies there.
    pub async fn read(&self) -> Result<Book, Error> {
        let (mut book, mut next) = (Book::default(), Read::prefix(self.prefix.clone()));
        loop {
            let page = self.store.read(next).await?;
            book.revision = page.revision;
            for record in page.records {
                self.enter(&mut book, record)?;
            }
            match page.next {
                Some(read) => next = read,
                None => return Ok(book),
            }
        }
    }

    /// What has another name is none of ours, or of a later release's.
    fn enter(&self, book: &mut Book, record: Record) -> Result<(), Error> {
        if self.plans.prefix().strip(&record.key).is_some() {
            let Stored { value: plan, record } = Stored::<Plan>::of(record)?;
            book.plans.insert(plan.id.clone(), Kept { plan, record });
        } else if self.epochs.prefix().strip(&record.key).is_some() {
            let (subject, epoch) = Stored::<(Subject, Epoch)>::of(record)?.value;
            book.epochs.insert(subject, epoch);
        } else if self.spares.prefix().strip(&record.key).is_some() {
            book.spares.insert(Stored::<NodeId>::of(record)?.value);
        } else if self.removed.prefix().strip(&record.key).is_some() {
            book.removed.insert(Stored::<NodeId>::of(record)?.value);
        } else if self.prefix.strip(&record.key) == Some(HEAD.as_bytes()) {
            let Stored { value, record } = Stored::<u64>::of(record)?;
            (book.decisions, book.head) = (value, Some(record));
        }
        Ok(())
    }

    /// Writes a decision that was made from `book`, all of it at once. False: somebody has changed what it rests on, and nothing is written.
    ///
    /// # Errors
    /// As [`settle`].
    pub(super) async fn commit(&self, book: &Book, decision: Decision, observed: &Observed) -> Result<bool, Error> {
        let fence = Fence { key: self.prefix.key(HEAD)?, record: book.head.clone(), read_at: book.revision };
        let mut batch = self.heads.put(&fence, &(book.decisions + 1));
        for change in decision.changes.into_iter().take(CHANGES) {
            let (id, if_revision, write) = match change {
                Change::Create(plan) => (plan.id.clone(), None, Some(plan)),
                Change::Update { plan, if_revision } => (plan.id.clone(), Some(if_revision), Some(plan)),
                Change::Delete { id, if_revision } => (id, Some(if_revision), None),
            };
            let key = self.plan_key(&id)?;
            batch = batch.when(match if_revision {
                Some(revision) => Compare::ModRevision(key.clone(), revision),
                None => Compare::Absent(key.clone()),
            });
            batch = batch.then(match &write {
                Some(plan) => Write::put(key, self.plans.encode(plan)),
                None => Write::Delete(key.into()),
            });
            let is_gone = write.is_none() && !observed.subjects.contains_key(&id.subject);
            if is_gone && book.plans.keys().filter(|other| other.subject == id.subject).count() == 1 {
                batch = batch.then(Write::Delete(self.epochs.prefix().key(subject_name(&id.subject))?.into()));
            }
        }
        Ok(matches!(settle(&self.store, &fence, &batch).await?, Outcome::Applied(_)))
    }

    fn plan_key(&self, id: &PlanId) -> Result<Key, OutOfBounds> {
        self.plans.prefix().key(plan_name(id))
    }

    /// Writes a plan in the place of the one that was read. `None`: somebody else has changed it, and nothing is written.
    ///
    /// # Errors
    /// As [`settle`].
    pub(super) async fn write(&self, kept: &Kept, plan: Plan) -> Result<Option<Kept>, Error> {
        let fence = Fence { key: kept.record.key.clone(), record: Some(kept.record.clone()), read_at: kept.record.mod_revision };
        let value = self.plans.encode(&plan);
        let Outcome::Applied(revision) = settle(&self.store, &fence, &fence.put(value.clone())).await? else { return Ok(None) };
        let record = Record { value, mod_revision: revision, version: kept.record.version + 1, ..kept.record.clone() };
        Ok(Some(Kept { plan, record }))
    }

    /// Changes the plan of this name by a person's word.
    ///
    /// # Errors
    /// There is none, it does not change so, or the store refuses; it is as before.
    pub async fn change(&self, name: &str, word: impl Fn(Plan) -> Result<Plan, PlanError> + Send + Sync) -> Result<Plan, ChangeError> {
        let mut said = None;
        let update = |plan: Option<&Plan>| {
            said = plan.cloned().map(&word);
            match &said {
                Some(Ok(plan)) => Update::Put(plan.clone()),
                Some(Err(_)) | None => Update::Keep,
            }
        };
        self.plans.update(name, update).await?;
        Ok(said.ok_or_else(|| ChangeError::NoPlan(name.to_owned()))??)
    }

    /// The failed plans of the subject of the plan of this name no longer count: they go, and it is tried again. How many went.
    ///
    /// # Errors
    /// There is none of this name, or none of them has failed, or the store refuses.
    pub async fn retry(&self, name: &str) -> Result<usize, ChangeError> {
        let book = self.read().await?;
        let named = book.plans.keys().find(|id| plan_name(id) == name).ok_or_else(|| ChangeError::NoPlan(name.to_owned()))?;
        let is_failed = |kept: &&Kept| kept.plan.id.subject == named.subject && kept.plan.state == PlanState::Failed;
        let failed: Vec<&Kept> = book.plans.values().filter(is_failed).collect();
        if failed.is_empty() {
            return Err(ChangeError::NoneFailed(named.subject.to_string()));
        }
        for kept in &failed {
            // Ended plans never change: somebody else can only have deleted it.
            let fence = Fence { key: kept.record.key.clone(), record: Some(kept.record.clone()), read_at: kept.record.mod_revision };
            settle(&self.store, &fence, &fence.delete()).await?;
        }
        Ok(failed.len())
    }

    /// The subject's epoch is at least this.
    ///
    /// # Errors
    /// As [`Records::update`].
    pub(super) async fn raise_epoch(&self, subject: &Subject, epoch: Epoch) -> Result<(), Error> {
        let raise = |known: Option<&(Subject, Epoch)>| match known {
            Some((_, known)) if *known >= epoch => Update::Keep,
            Some(_) | None => Update::Put((subject.clone(), epoch)),
        };
        self.epochs.update(&subject_name(subject), raise).await.map(drop)
    }

    /// Marks a learner, which may not be a member yet, as a spare.
    ///
    /// # Errors
    /// As [`Records::update`].
    pub(crate) async fn mark_spare(&self, node: NodeId) -> Result<(), Error> {
        let mark = |known: Option<&NodeId>| if known.is_some() { Update::Keep } else { Update::Put(node) };
        self.spares.update(&node.to_string(), mark).await.map(drop)
    }

    /// Marks an agent as removed: until it takes part again nothing is recorded of it.
    ///
    /// # Errors
    /// As [`Records::update`].
    pub(super) async fn mark_removed(&self, node: NodeId) -> Result<(), Error> {
        let mark = |known: Option<&NodeId>| if known.is_some() { Update::Keep } else { Update::Put(node) };
        self.removed.update(&node.to_string(), mark).await.map(drop)
    }

    /// Takes the mark of a removed agent away.
    ///
    /// # Errors
    /// As [`Records::update`].
    pub(super) async fn unmark_removed(&self, node: NodeId) -> Result<(), Error> {
        self.removed.update(&node.to_string(), |_| Update::Delete).await.map(drop)
    }

    /// Takes the mark away.
    ///
    /// # Errors
    /// As [`Records::update`].
    pub(crate) async fn unmark_spare(&self, node: NodeId) -> Result<(), Error> {
        self.spares.update(&node.to_string(), |_| Update::Delete).await.map(drop)
    }
}
