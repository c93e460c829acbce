//! What the views say about the faults: when each was noticed, and who was condemned though nothing was wrong with it. Pure.

use std::time::Duration;

use serde::Serialize;
use steadfast_proof::time::Time;

use super::faults::Kind;
use super::views::{Change, State, What};

/// A fault that was carried out.
#[derive(Clone, Debug)]
pub(super) struct Mark {
    /// What.
    pub(super) kind: Kind,
    /// In which round, from 1.
    pub(super) round: u64,
    /// To which nodes.
    pub(super) nodes: Vec<usize>,
    /// When.
    pub(super) began: Time,
    /// When it was healed.
    pub(super) healed: Time,
    /// When all nodes were seen to hold all others to be healthy again.
    pub(super) over: Time,
}

/// What was measured of one fault.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct FaultFigures {
    pub(super) kind: Kind,
    pub(super) round: u64,
    pub(super) nodes: Vec<String>,
    pub(super) at_ms: f64,
    pub(super) lasted_ms: f64,
    /// When the first other node suspected it, after its beginning.
    pub(super) suspected_ms: Option<f64>,
    /// When each of the other nodes held it to be dead, in order.
    pub(super) notices_ms: Vec<f64>,
    /// How many others there were.
    pub(super) observers: usize,
    /// When the last of them held it to be healthy again, after it was healed.
    pub(super) back_ms: Option<f64>,
}

impl FaultFigures {
    /// When the first of the others had noticed, half of them, and all.
    pub(super) fn notice_ms(&self) -> [Option<f64>; 3] {
        [1, self.observers.div_ceil(2), self.observers].map(|count| self.notices_ms.get(count.max(1) - 1).copied())
    }
}

/// Measures a fault. `changes` are in no order.
pub(super) fn measure(mark: &Mark, names: &[String], changes: &[Change]) -> FaultFigures {
    let of_it = |change: &&Change| mark.nodes.contains(&change.member) && !mark.nodes.contains(&change.observer);
    let within = |change: &&Change, from: Time| (from..=mark.over).contains(&change.at);
    let after = |from: Time, what: What| {
        let times = changes.iter().filter(of_it).filter(move |change| within(change, from) && change.what == what);
        times.map(move |change| (change.observer, milliseconds(change.at.since(from)))).collect::<Vec<_>>()
    };
    // One that finds it dead twice counts once.
    let mut failed = after(mark.began, What::Is(State::Failed));
    failed.sort_by(|one, other| one.0.cmp(&other.0).then(one.1.total_cmp(&other.1)));
    failed.dedup_by_key(|(observer, _)| *observer);
    let mut notices_ms: Vec<f64> = failed.into_iter().map(|(_, ms)| ms).collect();
    notices_ms.sort_by(f64::total_cmp);
    let (suspected, back) = (after(mark.began, What::Is(State::Suspect)), after(mark.healed, What::Is(State::Healthy)));
    FaultFigures {
        kind: mark.kind,
        round: mark.round,
        nodes: mark.nodes.iter().map(|node| names[*node].clone()).collect(),
        at_ms: milliseconds(mark.began.since(Time(0))),
        lasted_ms: milliseconds(mark.healed.since(mark.began)),
        suspected_ms: suspected.into_iter().map(|(_, ms)| ms).min_by(f64::total_cmp),
        observers: names.len() - mark.nodes.len(),
        back_ms: back.into_iter().map(|(_, ms)| ms).max_by(f64::total_cmp).filter(|_| !notices_ms.is_empty()),
        notices_ms,
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// Who was held to be dead, or not healthy, by whom, while no fault was on it that says so.
pub(super) fn false_removals(marks: &[Mark], changes: &[Change]) -> Vec<Change> {
    let is_explained = |change: &Change| {
        marks.iter().any(|mark| {
            let within = mark.nodes.contains(&change.member) && (mark.began..=mark.over).contains(&change.at);
            // Who is restarted in order says goodbye, so it may have been away; and never dead.
            within && (mark.kind.is_death() || (mark.kind == Kind::RestartAll && change.what == What::WasNotHealthy))
        })
    };
    let condemns = |change: &&Change| matches!(change.what, What::Is(State::Failed) | What::WasNotHealthy);
    changes.iter().filter(condemns).filter(|change| !is_explained(change)).copied().collect()
}

/// How often a node was suspected that had no fault, by one that had none.
pub(super) fn idle_suspicions(marks: &[Mark], changes: &[Change]) -> usize {
    let is_explained = |change: &Change| {
        let hit = |mark: &Mark| mark.nodes.contains(&change.member) || mark.nodes.contains(&change.observer);
        marks.iter().any(|mark| hit(mark) && (mark.began..=mark.over).contains(&change.at))
    };
    changes.iter().filter(|change| change.what == What::Is(State::Suspect) && !is_explained(change)).count()
}

/// The value below which this part of all lies.
pub(super) fn quantile(values: &mut [f64], part: f64) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let at = (values.len() as f64 * part).ceil() as usize;
    values.get(at.clamp(1, values.len().max(1)) - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(kind: Kind, node: usize, [began, healed, over]: [u64; 3]) -> Mark {
        Mark { kind, round: 1, nodes: vec![node], began: Time(began * 1000), healed: Time(healed * 1000), over: Time(over * 1000) }
    }

    fn change(at: u64, observer: usize, member: usize, what: What) -> Change {
        Change { at: Time(at * 1000), observer, member, what }
    }

    fn names() -> Vec<String> {
        (1..=4).map(|k| format!("n{k}")).collect()
    }

    #[test]
    fn notices_are_counted_once_a_node_and_the_victims_own_word_does_not_count() {
        let (failed, healthy) = (What::Is(State::Failed), What::Is(State::Healthy));
        let changes = [
            change(1500, 2, 3, What::Is(State::Suspect)),
            change(3000, 1, 3, failed),
            change(2000, 0, 3, failed),
            change(2500, 2, 3, failed),
            change(2700, 2, 3, failed),
            change(2600, 3, 0, failed),
            change(6000, 0, 3, healthy),
            change(7000, 1, 3, healthy),
        ];
        let figures = measure(&mark(Kind::Pause, 3, [1000, 5000, 8000]), &names(), &changes);
        assert_eq!(figures.notices_ms, [1000.0, 1500.0, 2000.0]);
        assert_eq!(figures.notice_ms(), [Some(1000.0), Some(1500.0), Some(2000.0)]);
        assert_eq!((figures.suspected_ms, figures.back_ms, figures.lasted_ms), (Some(500.0), Some(2000.0), 4000.0));
        let missed = measure(&mark(Kind::Pause, 3, [1000, 5000, 8000]), &names(), &changes[1..3]);
        assert_eq!(missed.notice_ms(), [Some(1000.0), Some(2000.0), None]);
    }

    #[test]
    fn what_no_fault_explains_is_a_false_removal() {
        let failed = What::Is(State::Failed);
        let of = |kind, changes: &[Change]| false_removals(&[mark(kind, 3, [1000, 5000, 8000])], changes).len();
        assert_eq!(of(Kind::CutIn, &[change(2000, 0, 3, failed), change(7000, 0, 3, What::WasNotHealthy)]), 0);
        assert_eq!(of(Kind::CutIn, &[change(2000, 3, 0, failed)]), 1, "whom the victim condemns");
        assert_eq!(of(Kind::CutIn, &[change(9000, 0, 3, failed)]), 1, "when it was over");
        assert_eq!(of(Kind::Slow, &[change(2000, 0, 3, failed)]), 1, "who was slow");
        assert_eq!(of(Kind::RestartAll, &[change(2000, 0, 3, failed), change(2000, 0, 3, What::WasNotHealthy)]), 1);
        let suspicions = [change(2000, 0, 3, What::Is(State::Suspect)), change(2000, 0, 2, What::Is(State::Suspect))];
        assert_eq!(idle_suspicions(&[mark(Kind::Slow, 3, [1000, 5000, 8000])], &suspicions), 1);
    }

    #[test]
    fn a_quantile_is_one_of_the_values() {
        let mut values: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!([0.5, 0.99, 1.0].map(|part| quantile(&mut values, part)), [Some(50.0), Some(99.0), Some(100.0)]);
        assert_eq!(quantile(&mut [], 0.5), None);
    }
}
