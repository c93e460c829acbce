//! The contents of a cell, whatever they are: siblings and runs.

use alloc::vec::Vec;

use smallvec::SmallVec;
use steadfast_types::planted::{Bug, is_planted};

use super::Value;
use super::delta::{Delta, Removed, Run};
use crate::total::Total;
use crate::vector::Covers;
use crate::version::Version;

/// A value that nobody has replaced, or a removal of which somebody may still need to know.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sibling<V: Value> {
    pub(crate) version: Version,
    /// `None` of a removal.
    pub(crate) value: Option<V>,
    /// The runs that it replaced, as its writer saw them.
    pub(crate) cut: Vec<Run<V::Total>>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Parts<V: Value> {
    /// In the order of their versions.
    pub(crate) siblings: SmallVec<[Sibling<V>; 1]>,
    /// In the order of their starts.
    pub(crate) runs: SmallVec<[Run<V::Total>; 1]>,
}

impl<V: Value> Default for Parts<V> {
    fn default() -> Self {
        Self { siblings: SmallVec::new(), runs: SmallVec::new() }
    }
}

impl<V: Value> Parts<V> {
    pub(crate) fn of(sibling: Sibling<V>) -> Self {
        Self { siblings: SmallVec::from_buf([sibling]), runs: SmallVec::new() }
    }

    pub(crate) fn of_run(run: Run<V::Total>) -> Self {
        Self { siblings: SmallVec::new(), runs: SmallVec::from_buf([run]) }
    }

    /// Whether there is a form without a box for it.
    pub(crate) fn is_compact(&self) -> bool {
        match (&self.siblings[..], &self.runs[..]) {
            ([], []) => true,
            ([sibling], []) => sibling.cut.is_empty(),
            ([], [run]) => run.total.small().is_some(),
            _ => false,
        }
    }

    pub(crate) fn is_shown(&self) -> bool {
        !self.runs.is_empty() || self.values().next().is_some()
    }

    pub(crate) fn values(&self) -> impl DoubleEndedIterator<Item = (Version, &V)> {
        self.siblings.iter().filter_map(|sibling| Some((sibling.version, sibling.value.as_ref()?)))
    }

    fn cuts(&self, start: Version) -> impl Iterator<Item = &Run<V::Total>> {
        self.siblings.iter().flat_map(|sibling| &sibling.cut).filter(move |cut| cut.start == start)
    }

    /// What was observed of a run, by whoever observed most of it.
    pub(crate) fn observed(&self, start: Version) -> Option<&V::Total> {
        self.cuts(start).max_by_key(|cut| cut.last).map(|cut| &cut.total)
    }

    /// What a write of this version removes of all that is here.
    pub(crate) fn removed_by(self, version: Version) -> Removed<V::Total> {
        let mut removed = Removed::default();
        for sibling in self.siblings {
            removed.gone.push(sibling.version);
            // The writer knows that its own runs were cut.
            sibling.cut.into_iter().filter(|cut| cut.start.actor() != version.actor()).for_each(|cut| {
                removed.cut(cut);
            });
        }
        self.runs.into_iter().for_each(|run| removed.run(version, run));
        removed
    }

    pub(crate) fn advance(&mut self, version: Version, step: impl FnOnce(Option<&mut V::Total>) -> V::Total) -> Run<V::Total> {
        let own = self.runs.iter().rposition(|run| run.start.actor() == version.actor());
        let open = own.filter(|index| self.cuts(self.runs[*index].start).next().is_none());
        if let Some(index) = open {
            let run = &mut self.runs[index];
            run.last = version;
            return Run { start: run.start, last: version, total: step(Some(&mut run.total)) };
        }
        let run = Run { start: version, last: version, total: step(None) };
        self.put_run(run.clone());
        run
    }

    pub(crate) fn apply(&mut self, delta: &Delta<V>) {
        match delta {
            Delta::Write { version, value, removed } => self.write(*version, value.as_ref(), removed),
            Delta::Add(run) if is_planted(Bug::CounterAppliedTwice) && self.runs.iter().any(|held| held.last >= run.last) => {
                self.put_run(Run { start: run.last, ..run.clone() });
            }
            Delta::Add(run) => match self.runs.iter_mut().find(|held| held.start == run.start) {
                Some(held) if held.last >= run.last => {}
                Some(held) => {
                    held.total.advance(&run.total);
                    held.last = run.last;
                }
                None => self.put_run(run.clone()),
            },
        }
    }

    fn write(&mut self, version: Version, value: Option<&V>, removed: &Removed<V::Total>) {
        self.siblings.retain(|sibling| !removed.gone.contains(&sibling.version));
        self.runs.retain(|run| !removed.has(run.last));
        for run in &mut self.runs {
            removed.cut.iter().filter(|cut| cut.start == run.start).for_each(|cut| run.total.reduce(&cut.total));
        }
        if value.is_some() || !removed.cut.is_empty() {
            self.put_sibling(Sibling { version, value: value.cloned(), cut: removed.cut.clone() });
        }
    }

    fn put_sibling(&mut self, sibling: Sibling<V>) {
        if let Err(index) = self.siblings.binary_search_by_key(&sibling.version, |held| held.version) {
            self.siblings.insert(index, sibling);
        }
    }

    fn put_run(&mut self, run: Run<V::Total>) {
        if let Err(index) = self.runs.binary_search_by_key(&run.start, |held| held.start) {
            self.runs.insert(index, run);
        }
    }

    pub(crate) fn join(&mut self, mut other: Self, mine: &impl Covers, theirs: &impl Covers) {
        self.join_siblings(&mut other, mine, theirs);
        self.join_runs(&mut other, mine, theirs);
        let Self { siblings, runs } = self;
        for run in runs {
            let cuts = siblings.iter().flat_map(|sibling| &sibling.cut).filter(|cut| cut.start == run.start);
            cuts.for_each(|cut| run.total.reduce(&cut.total));
        }
    }

    fn join_siblings(&mut self, other: &mut Self, mine: &impl Covers, theirs: &impl Covers) {
        self.siblings.retain(|sibling| match other.siblings.iter().find(|one| one.version == sibling.version) {
            // What one of them has forgotten is not needed.
            Some(one) => {
                sibling.cut.retain(|cut| one.cut.iter().any(|other| other.start == cut.start));
                sibling.value.is_some() || !sibling.cut.is_empty()
            }
            None => !theirs.covers(sibling.version),
        });
        let is_new = |sibling: &Sibling<V>| !mine.covers(sibling.version);
        core::mem::take(&mut other.siblings).into_iter().filter(is_new).for_each(|sibling| self.put_sibling(sibling));
    }

    fn join_runs(&mut self, other: &mut Self, mine: &impl Covers, theirs: &impl Covers) {
        self.runs.retain(|run| match other.runs.iter().find(|one| one.last == run.last) {
            Some(one) => {
                run.total.meet(&one.total);
                true
            }
            None => !theirs.covers(run.last),
        });
        let is_new = |run: &Run<V::Total>| !mine.covers(run.last);
        core::mem::take(&mut other.runs).into_iter().filter(is_new).for_each(|run| self.put_run(run));
    }

    /// Whether [`Self::collect`] keeps it, whatever is stable.
    pub(crate) fn matters(&self, sibling: &Sibling<V>) -> bool {
        sibling.value.is_some() || sibling.cut.iter().any(|cut| self.runs.iter().any(|run| run.start == cut.start))
    }

    pub(crate) fn collect(&mut self, stable: &impl Covers) {
        let Self { siblings, runs } = self;
        siblings.retain(|sibling| {
            if stable.covers(sibling.version) {
                sibling.cut.retain(|cut| runs.iter().any(|run| run.start == cut.start));
            }
            sibling.value.is_some() || !sibling.cut.is_empty()
        });
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        let run_bytes = |run: &Run<V::Total>| run.total.heap_bytes();
        let cut_bytes =
            |sibling: &Sibling<V>| sibling.cut.capacity() * size_of::<Run<V::Total>>() + sibling.cut.iter().map(run_bytes).sum::<usize>();
        let sibling_bytes = |sibling: &Sibling<V>| sibling.value.as_ref().map_or(0, V::heap_bytes) + cut_bytes(sibling);
        let spilled = |is_spilled: bool, capacity: usize, size: usize| if is_spilled { capacity * size } else { 0 };
        size_of::<Self>()
            + spilled(self.siblings.spilled(), self.siblings.capacity(), size_of::<Sibling<V>>())
            + spilled(self.runs.spilled(), self.runs.capacity(), size_of::<Run<V::Total>>())
            + self.siblings.iter().map(sibling_bytes).sum::<usize>()
            + self.runs.iter().map(run_bytes).sum::<usize>()
    }
}
