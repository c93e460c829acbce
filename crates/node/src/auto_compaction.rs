//! Compaction without hands: which revision may be forgotten, and when.

use alloc::collections::VecDeque;

use steadfast_types::time::Duration;
use steadfast_types::{Instant, Revision};

/// How much history is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AutoCompaction {
    /// All, until somebody compacts.
    #[default]
    Off,
    /// So many revisions.
    Revisions(u64),
    /// What is not older than this. Counted from when this node began to lead: a leader does not know when what it finds was written.
    Age(Duration),
}

/// How often a leader looks whether there is something to forget.
const EVERY: Duration = Duration::from_secs(10);

/// How often a leader forgets what it may while a member lacks space.
const EVERY_WITHOUT_SPACE: Duration = Duration::from_secs(2);

/// In how many steps history of an age is forgotten.
const STEPS: u64 = 10;

/// A leader's memory of when there were which revisions. Bounded: a mark each [`STEPS`]th of the age.
#[derive(Debug, Default)]
pub(crate) struct Compactor {
    /// Since this node leads; oldest first.
    marks: VecDeque<(Instant, Revision)>,
    next: Instant,
    next_without_space: Instant,
}

impl Compactor {
    /// This node leads no more.
    pub(crate) fn stop(&mut self) {
        self.marks.clear();
    }

    /// The revision to compact at now, if it is time and there is something to forget. `compacted`: the compact revision so far.
    pub(crate) fn due(&mut self, keep: AutoCompaction, now: Instant, current: Revision, compacted: Revision) -> Option<Revision> {
        if keep == AutoCompaction::Off || now < self.next {
            return None;
        }
        self.next = now + EVERY;
        let revision = match keep {
            AutoCompaction::Off => return None,
            AutoCompaction::Revisions(count) => Revision(current.0.saturating_sub_unsigned(count)),
            AutoCompaction::Age(age) => self.older_than(age, now, current)?,
        };
        (revision > compacted && revision.0 > 0).then_some(revision)
    }

    /// The same while a member lacks space and takes nothing more: then keeping the past has the present refused, and all history goes, whatever
    /// is to be kept of it otherwise. Not where all of it is to be kept: then it is for somebody else to say what may go.
    pub(crate) fn due_without_space(
        &mut self,
        keep: AutoCompaction,
        now: Instant,
        current: Revision,
        compacted: Revision,
    ) -> Option<Revision> {
        if keep == AutoCompaction::Off || now < self.next_without_space || current <= compacted {
            return None;
        }
        self.next_without_space = now + EVERY_WITHOUT_SPACE;
        Some(current)
    }

    /// The newest revision that there was `age` ago. Notes the present one.
    fn older_than(&mut self, age: Duration, now: Instant, current: Revision) -> Option<Revision> {
        let step = Duration::from_micros(u64::try_from(age.as_micros()).unwrap_or(u64::MAX) / STEPS);
        if self.marks.back().is_none_or(|(at, _)| now.since(*at) >= step) {
            self.marks.push_back((now, current));
        }
        let is_old = |(at, _): &(Instant, Revision)| now.since(*at) >= age;
        let old = self.marks.iter().take_while(|mark| is_old(mark)).count();
        self.marks.drain(..old).next_back().map(|(_, revision)| revision)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn at(seconds: u64) -> Instant {
        Instant(1) + Duration::from_secs(seconds)
    }

    #[test]
    fn so_many_revisions_stay() {
        let (mut compactor, keep) = (Compactor::default(), AutoCompaction::Revisions(100));
        assert_eq!(compactor.due(keep, at(0), Revision(90), Revision(-1)), None);
        assert_eq!(compactor.due(keep, at(20), Revision(150), Revision(-1)), Some(Revision(50)));
        assert_eq!(compactor.due(keep, at(21), Revision(160), Revision(50)), None, "not again at once");
        assert_eq!(compactor.due(keep, at(40), Revision(150), Revision(50)), None, "nothing to forget");
        assert_eq!(compactor.due(AutoCompaction::Off, at(60), Revision(150), Revision(-1)), None);
    }

    #[test]
    fn without_space_all_history_goes_unless_all_is_to_be_kept() {
        let (mut compactor, keep) = (Compactor::default(), AutoCompaction::Age(10 * MINUTE));
        assert_eq!(compactor.due_without_space(keep, at(5), Revision(90), Revision(80)), Some(Revision(90)));
        assert_eq!(compactor.due_without_space(keep, at(6), Revision(95), Revision(90)), None, "not again at once");
        assert_eq!(compactor.due_without_space(keep, at(8), Revision(90), Revision(90)), None, "there is none");
        assert_eq!(compactor.due_without_space(keep, at(8), Revision(95), Revision(90)), Some(Revision(95)));
        assert_eq!(compactor.due_without_space(AutoCompaction::Off, at(20), Revision(99), Revision(95)), None);
    }

    /// A revision a second: what is forgotten is older than the age, and not much more than a step older; marks are few.
    #[test]
    fn what_is_young_stays() {
        let (mut compactor, keep) = (Compactor::default(), AutoCompaction::Age(10 * MINUTE));
        let mut compacted = Revision(-1);
        for now in 0..7200 {
            let current = Revision(now as i64 + 1);
            if let Some(revision) = compactor.due(keep, at(now), current, compacted) {
                assert!(revision > compacted && now as i64 - revision.0 >= 599, "{revision} at {now}");
                compacted = revision;
            }
            assert!(now < 700 || now as i64 - compacted.0 <= 600 + 60 + 30, "{compacted} at {now}");
            assert!(compactor.marks.len() <= 12);
        }
        compactor.stop();
        assert_eq!(compactor.due(keep, at(8000), Revision(8000), compacted), None, "a new leader begins anew");
    }
}
