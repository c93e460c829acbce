//! One verdict about a subject, from several observers and several ways, with its evidence named.
//!
//! What one observer's evidence weighs, in [`weigh`]. A way condemns alone only where it is not blind:
//!
//! | hard evidence by | a node | a service | because the way is blind to |
//! | --- | --- | --- | --- |
//! | timeout alone | suspects | suspects | the difference between slow and dead |
//! | checkpoint alone | impairs | condemns | what happens between checkpoints; a node whose process lives is not dead, work that stands is |
//! | probe alone | impairs | impairs | the node behind the log and the store |
//! | heartbeat | condemns | condemns | one-way faults, if only one observer has it: therefore several must |
//! | transport | condemns | condemns | a hung process: it can miss a failure, but who refuses with nothing else coming has no process |
//! | check | impairs | condemns | all that its user did not think of: it is about the service, not its node |
//! | its own report | impairs | impairs | whatever keeps it from reporting: these are soft errors |
//! | timeout and checkpoint | condemns | condemns | nothing in common: it neither answers nor advances |
//!
//! What the observers weigh together, the first row that fits:
//!
//! | rule | verdict | if |
//! | --- | --- | --- |
//! | – | none | the judge itself stood still: it casts none |
//! | [`Rule::Unheard`] | as before | no observer has a say |
//! | [`Rule::Condemned`] | failed | at least H distinct observers condemn, never fewer than two; of a service, the node it runs on is enough |
//! | [`Rule::Suspected`] | suspect | at least L observers suspect or condemn |
//! | [`Rule::Impaired`] | degraded | any observer has anything, or the node reports a soft error |
//! | [`Rule::Returned`] | recovering, each time | nobody has anything, and it was failed or recovers |
//! | [`Rule::Well`] | healthy | nobody has anything |
//!
//! A verdict knows no time, so [`Rule::Returned`] never ends by itself: *for how long* one recovers that has returned is for [`crate::states::Health`], which is told
//! healthy of it, by that rule, and holds it recovering for as long as its configuration says. Who hands on the verdict's own state keeps it recovering for ever.
//!
//! H of K and L of K are kept as shares of the observers in standing, as in Rapid (ATC 2018): who is condemned or left is no observer.
//!
//! 1. A report counts if its observer is in standing, is not the subject itself, was not paused, and the report is fresh; one per observer.
//! 2. Soft errors (a clock offset is one) make degraded at most. Nothing here has a wall clock.
//! 3. More evidence never makes a verdict better.
//! 4. Where the membership itself tells who lives, evidence by other ways adds to its word and never goes beyond it: see [`judge_up_to`].

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::fmt;
use core::time::Duration;

use steadfast_types::{NodeId, wire_enum, wire_struct};

use crate::evidence::{Assessment, Evidence, Suspicion, Way, milliseconds};
use crate::limits::VERDICT_EVIDENCE;
use crate::states::HealthState;
use crate::subject::Subject;

#[cfg(test)]
mod tests;

/// How many observers it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// K: how many observers a node has in a large cluster.
    observers: u32,
    /// H: how many of them condemn.
    high: u32,
    /// L: how many of them make suspect.
    low: u32,
    /// From which age on a report is stale.
    pub stale_after: Duration,
}

/// Why there is no such policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("of {observers} observers {low} suspect and {high} condemn: choose 1 <= low < high <= observers, and high at least 2")]
pub struct PolicyError {
    observers: u32,
    high: u32,
    low: u32,
}

impl Default for Policy {
    /// Rapid's 10, 9 and 3.
    fn default() -> Self {
        Policy { observers: 10, high: 9, low: 3, stale_after: Duration::from_secs(10) }
    }
}

impl Policy {
    /// Of `observers`, `high` condemn and `low` make suspect.
    ///
    /// # Errors
    /// If these are not in order, or one observer could condemn.
    pub fn new(observers: u32, high: u32, low: u32, stale_after: Duration) -> Result<Self, PolicyError> {
        match (1..high).contains(&low) && (2..=observers).contains(&high) {
            true => Ok(Policy { observers, high, low, stale_after }),
            false => Err(PolicyError { observers, high, low }),
        }
    }

    /// `of_all` of K, as the same share of `standing` observers, rounded up.
    fn share(&self, of_all: u32, standing: usize) -> usize {
        (of_all as usize * standing).div_ceil(self.observers as usize)
    }

    /// How many of `standing` observers condemn.
    #[must_use]
    pub fn condemning(&self, standing: usize) -> usize {
        self.share(self.high, standing).max(2)
    }

    /// How many of `standing` observers make suspect.
    #[must_use]
    pub fn suspecting(&self, standing: usize) -> usize {
        self.share(self.low, standing).max(1)
    }
}

/// What one observer says of the subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Who says it.
    pub observer: NodeId,
    /// How long ago, by the judge's own clock: since it came.
    pub age: Duration,
    /// The observer had not paused when it said so.
    pub has_say: bool,
    /// What it says, by each of its ways.
    pub assessments: Vec<Assessment>,
}

/// All that a verdict is found from.
#[derive(Clone, Debug)]
pub struct Case<'a> {
    /// Whom it is about.
    pub subject: &'a Subject,
    /// The state so far.
    pub state: HealthState,
    /// Its observers, less those that are failed or left.
    pub standing: &'a BTreeSet<NodeId>,
    /// What they say, the latest of each last.
    pub reports: &'a [Report],
    /// Soft errors that the subject's node reports of itself.
    pub soft_errors: &'a [Evidence],
    /// The judge itself had not paused.
    pub judge_has_say: bool,
}

/// The rule that a verdict was found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// Nobody has a say.
    Unheard,
    /// Enough observers condemn.
    Condemned,
    /// Enough observers suspect.
    Suspected,
    /// Somebody has something.
    Impaired,
    /// Nobody has anything, after a failure. It is given for as long as the state is not healthy: see above how it ends.
    Returned,
    /// Nobody has anything.
    Well,
    /// Checks that a user declared.
    Checked,
}
wire_enum!(Rule {
    1 => Unheard {}, 2 => Condemned {}, 3 => Suspected {}, 4 => Impaired {}, 5 => Returned {}, 6 => Well {}, 7 => Checked {},
});

/// One piece of evidence and who has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Testimony {
    /// Who.
    pub observer: NodeId,
    /// What.
    pub evidence: Evidence,
}
wire_struct!(Testimony { observer, evidence });

/// What a subject is held to be, by which rule, and on what evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whom it is about.
    pub subject: Subject,
    /// What it is held to be.
    pub state: HealthState,
    /// By which rule.
    pub rule: Rule,
    /// The observers that it rests on.
    pub observers: BTreeSet<NodeId>,
    /// How many observers are in standing.
    pub standing: u32,
    /// How many of them condemn.
    pub condemning: u32,
    /// For how long it has been so, ms: the longest of the evidence.
    pub lasting_ms: u64,
    /// The evidence, the strongest first, at most [`VERDICT_EVIDENCE`] pieces.
    pub evidence: Vec<Testimony>,
}
wire_struct!(Verdict { subject, state, rule, observers, standing, condemning, lasting_ms, evidence });

impl Verdict {
    /// The ways that the evidence came by.
    #[must_use]
    pub fn ways(&self) -> BTreeSet<Way> {
        self.evidence.iter().map(|testimony| testimony.evidence.way).collect()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, standing, condemning) = (self.observers.len(), self.standing, self.condemning);
        write!(f, "{} is {}: {count} of {standing} observers, {condemning} condemn", self.subject, self.state)?;
        for testimony in &self.evidence {
            write!(f, "; {} has {}", testimony.observer, testimony.evidence)?;
        }
        Ok(())
    }
}

/// What one observer's evidence comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// It has nothing against the subject.
    Nothing,
    /// The subject has errors.
    Impairs,
    /// The subject may have failed.
    Suspects,
    /// The subject has failed, as far as one observer can say.
    Condemns,
}

/// Weighs what one observer has, by the first table above.
#[must_use]
pub fn weigh<'a>(subject: &Subject, evidence: impl Iterator<Item = &'a Evidence>) -> Weight {
    let mut strongest: BTreeMap<Way, Suspicion> = BTreeMap::new();
    for evidence in evidence {
        let known = strongest.entry(evidence.way).or_insert(evidence.strength);
        *known = (*known).max(evidence.strength);
    }
    let hung = [Way::Timeout, Way::Checkpoint].iter().all(|way| strongest.get(way) == Some(&Suspicion::Hard));
    let weights = strongest.iter().map(|(way, strength)| weigh_alone(subject, *way, *strength));
    let heaviest = weights.max().unwrap_or(Weight::Nothing);
    if hung { Weight::Condemns } else { heaviest }
}

/// What one way comes to alone.
fn weigh_alone(subject: &Subject, way: Way, strength: Suspicion) -> Weight {
    let (suspects, condemns) = match (way, subject) {
        (Way::Timeout, _) => (true, false),
        (Way::Probe | Way::SelfReport, _) | (Way::Checkpoint | Way::Check, Subject::Node(_)) => (false, false),
        (Way::Checkpoint | Way::Check, Subject::Service { .. }) | (Way::Heartbeat | Way::Transport, _) => (true, true),
    };
    match strength {
        Suspicion::Unknown | Suspicion::Clear => Weight::Nothing,
        Suspicion::Hard if condemns => Weight::Condemns,
        Suspicion::Hard | Suspicion::Suspect if suspects => Weight::Suspects,
        Suspicion::Hard | Suspicion::Suspect | Suspicion::Soft => Weight::Impairs,
    }
}

/// What each observer that has a say comes to, and on what evidence.
type Opinions<'a> = BTreeMap<NodeId, (Weight, Vec<(Duration, &'a Evidence)>)>;

fn opinions<'a>(policy: &Policy, case: &Case<'a>) -> Opinions<'a> {
    let judges_itself = |observer| *case.subject == Subject::Node(observer);
    let counts = |report: &&Report| {
        let standing = case.standing.contains(&report.observer) && !judges_itself(report.observer);
        standing && report.has_say && report.age < policy.stale_after
    };
    let opinion = |report: &'a Report| {
        let evidence = || report.assessments.iter().flat_map(|assessment| &assessment.evidence);
        (report.observer, (weigh(case.subject, evidence()), evidence().map(|evidence| (report.age, evidence)).collect()))
    };
    case.reports.iter().filter(counts).map(opinion).collect()
}

/// The verdict, or none from a judge that stood still.
#[must_use]
pub fn judge(policy: &Policy, case: &Case<'_>) -> Option<Verdict> {
    judge_up_to(policy, case, HealthState::Failed)
}

/// The same, of a subject that is known to be no worse than `worst`: who answers its membership is not dead, however many connections with it
/// are broken. `degraded` at least.
#[must_use]
pub fn judge_up_to(policy: &Policy, case: &Case<'_>, worst: HealthState) -> Option<Verdict> {
    if !case.judge_has_say {
        return None;
    }
    let opinions = opinions(policy, case);
    let standing = case.standing.iter().filter(|observer| *case.subject != Subject::Node(**observer)).count();
    let at_least = |weight: Weight| opinions.values().filter(|(opinion, _)| *opinion >= weight).count();
    let on_the_spot = match case.subject {
        Subject::Node(_) => false,
        Subject::Service { node, .. } => opinions.get(node).is_some_and(|(weight, _)| *weight == Weight::Condemns),
    };
    let condemning = at_least(Weight::Condemns);
    let may_be = |state: HealthState| state <= worst;
    let (rule, state, from) = match case.state {
        state if opinions.is_empty() && case.soft_errors.is_empty() => (Rule::Unheard, state, Weight::Nothing),
        _ if may_be(HealthState::Failed) && (on_the_spot || condemning >= policy.condemning(standing)) => {
            (Rule::Condemned, HealthState::Failed, Weight::Condemns)
        }
        _ if may_be(HealthState::Suspect) && at_least(Weight::Suspects) >= policy.suspecting(standing) => {
            (Rule::Suspected, HealthState::Suspect, Weight::Suspects)
        }
        // Its own word that it has errors is no word that it lives.
        state if opinions.is_empty() && state > HealthState::Degraded => (Rule::Unheard, state, Weight::Nothing),
        _ if at_least(Weight::Impairs) > 0 || !case.soft_errors.is_empty() => (Rule::Impaired, HealthState::Degraded, Weight::Impairs),
        HealthState::Failed | HealthState::Recovering => (Rule::Returned, HealthState::Recovering, Weight::Nothing),
        HealthState::Healthy | HealthState::Degraded | HealthState::Suspect => (Rule::Well, HealthState::Healthy, Weight::Nothing),
    };
    let observers = opinions.iter().filter(|(_, (weight, _))| *weight >= from).map(|(observer, _)| *observer).collect();
    let evidence = named(case, &opinions);
    let lasting_ms = evidence.iter().map(|testimony| testimony.evidence.lasting_ms).max().unwrap_or(0);
    let (standing, condemning) = (standing as u32, condemning as u32);
    Some(Verdict { subject: case.subject.clone(), state, rule, observers, standing, condemning, lasting_ms, evidence })
}

/// All evidence that counts, as old as it is by now, the strongest first and of these one of each observer before any second.
fn named(case: &Case<'_>, opinions: &Opinions<'_>) -> Vec<Testimony> {
    let aged = |age: Duration, evidence: &Evidence| {
        let lasting_ms = evidence.lasting_ms.saturating_add(milliseconds(age));
        Evidence { lasting_ms, ..evidence.clone() }
    };
    let soft = case.soft_errors.iter().map(|evidence| Testimony { observer: case.subject.node(), evidence: evidence.clone() });
    let testimonies = opinions.iter().flat_map(|(observer, (_, evidence))| {
        evidence.iter().map(|(age, evidence)| Testimony { observer: *observer, evidence: aged(*age, evidence) })
    });
    let mut seen: BTreeMap<NodeId, usize> = BTreeMap::new();
    let mut ranked: Vec<(Reverse<Suspicion>, usize, Testimony)> = Vec::new();
    for testimony in testimonies.chain(soft) {
        let place = seen.entry(testimony.observer).or_default();
        *place += 1;
        ranked.push((Reverse(testimony.evidence.strength), *place, testimony));
    }
    ranked.sort_by_key(|(strength, place, _)| (*strength, *place));
    ranked.into_iter().take(VERDICT_EVIDENCE).map(|(_, _, testimony)| testimony).collect()
}
