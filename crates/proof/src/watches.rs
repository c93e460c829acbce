//! The promises of a watch (etcd's documentation, "Watch guarantees"): ordered, unique, reliable, atomic, resumable, bookmarkable, and the right
//! previous values.
//!
//! What a watcher must be told is known: the store's changes of its keys from its first revision on. So the deliveries are compared with
//! exactly that, one revision after the other:
//!
//! 1. *Ordered, unique, reliable, resumable*: the next event is of the next revision that changed its keys; none is skipped or repeated.
//! 2. *Atomic*: the changes of a revision come in one delivery.
//! 3. *Bookmarkable*: a progress notice at a revision comes after all events up to it.
//! 4. *Previous values*: if asked for, each event has the value that its key had before, unless that is compacted.
//! 5. A watcher is told that history was compacted only if its next revision was.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use steadfast_types::Revision;

use crate::Violation;
use crate::history::{Change, Revised, Span, Version};
use crate::store::Store;

/// One watcher and what it was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    /// Its keys.
    pub span: Span,
    /// The first revision that it wants.
    pub from: Revision,
    /// Whether it wants previous values.
    pub previous: bool,
    /// In order.
    pub deliveries: Vec<Delivery>,
}

/// What a watcher is told at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Events.
    Events(Vec<Event>),
    /// Everything up to this revision was told.
    Progress(Revision),
    /// The watch ended: history up to this revision is gone.
    Compacted(Revision),
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The revision that changed the key.
    pub revision: Revision,
    /// The key.
    pub key: Bytes,
    /// The new value; `None`: deleted.
    pub value: Option<Bytes>,
    /// What was there before, if that was asked for.
    pub previous: Option<Version>,
}

/// Checks what a watcher was told. `compactions`: the revisions up to which anybody compacted. `complete_to`: it must have been told everything up to there, unless its watch ended.
///
/// # Errors
/// A promise was broken.
pub fn check(
    watch: &Watch,
    changes: &BTreeMap<Revision, Revised>,
    compactions: &BTreeSet<Revision>,
    complete_to: Option<Revision>,
) -> Result<(), Violation> {
    let store = Store::new(changes)?;
    let mut reader = Reader { watch, changes, compactions, store: &store, next: watch.from };
    for delivery in &watch.deliveries {
        match delivery {
            Delivery::Events(events) => reader.events(events)?,
            Delivery::Progress(revision) => reader.nothing_missing(*revision)?,
            Delivery::Compacted(revision) if *revision >= reader.next => return Ok(()),
            Delivery::Compacted(revision) => return Err(reader.violation(&format!("it was told that history up to {revision} is gone"))),
        }
    }
    complete_to.map_or(Ok(()), |revision| reader.nothing_missing(revision))
}

struct Reader<'a> {
    watch: &'a Watch,
    changes: &'a BTreeMap<Revision, Revised>,
    compactions: &'a BTreeSet<Revision>,
    store: &'a Store<'a>,
    /// Everything before it was told.
    next: Revision,
}

impl Reader<'_> {
    fn violation(&self, what: &str) -> Violation {
        let Watch { span, from, .. } = self.watch;
        Violation::new("watches", format!("a watch of {span:?} from {from}, told everything before {}: {what}", self.next))
    }

    /// The next revision that concerns the watcher, and its changes by key.
    fn expected(&self) -> Option<(Revision, BTreeMap<&Bytes, &Change>)> {
        self.changes.range(self.next..).find_map(|(revision, revised)| {
            let changes = revised.changes.iter().filter(|change| self.watch.span.contains(&change.key));
            let changes: BTreeMap<_, _> = changes.map(|change| (&change.key, change)).collect();
            (!changes.is_empty()).then_some((*revision, changes))
        })
    }

    fn events(&mut self, events: &[Event]) -> Result<(), Violation> {
        for told in events.chunk_by(|a, b| a.revision == b.revision) {
            let at = told[0].revision;
            let Some((revision, mut changes)) = self.expected().filter(|(revision, _)| *revision == at) else {
                let expected = self.expected().map(|(revision, _)| revision);
                return Err(self.violation(&format!("it was told of revision {at}, and the next is {expected:?}")));
            };
            for event in told {
                let is_right = changes.remove(&event.key).is_some_and(|change| change.value == event.value);
                if !is_right || !self.previous_is_right(event) {
                    return Err(self.violation(&format!("it was told {event:?}")));
                }
            }
            if !changes.is_empty() {
                return Err(self.violation(&format!("of revision {revision} it was not told {changes:?} at once")));
            }
            self.next = Revision(revision.0 + 1);
        }
        Ok(())
    }

    fn previous_is_right(&self, event: &Event) -> bool {
        let before = self.store.read(&Span::one(event.key.clone()), Revision(event.revision.0 - 1));
        match &event.previous {
            // With everything before this revision its previous value may be gone.
            None => !self.watch.previous || !before.contains_key(&event.key) || self.compactions.contains(&event.revision),
            previous => self.watch.previous && previous.as_ref() == before.get(&event.key),
        }
    }

    fn nothing_missing(&mut self, revision: Revision) -> Result<(), Violation> {
        match self.expected() {
            Some((missing, _)) if missing <= revision => {
                Err(self.violation(&format!("it should have been told everything up to {revision}, and was not told of {missing}")))
            }
            _ => {
                self.next = self.next.max(Revision(revision.0 + 1));
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Time;

    /// `a` and `b` are put at 2, `a` again at 3, and deleted at 5; `c` is put at 4.
    fn changes() -> BTreeMap<Revision, Revised> {
        let change = |key: &'static str, value: Option<&'static str>| Change { key: key.into(), value: value.map(Into::into), lease: 0 };
        let of = |changes| Revised { seen: Time(0), changes };
        [
            (Revision(2), of(vec![change("a", Some("1")), change("b", Some("2"))])),
            (Revision(3), of(vec![change("a", Some("3"))])),
            (Revision(4), of(vec![change("c", Some("4"))])),
            (Revision(5), of(vec![change("a", None)])),
        ]
        .into()
    }

    fn event(revision: i64, key: &'static str, value: Option<&'static str>) -> Event {
        Event { revision: Revision(revision), key: key.into(), value: value.map(Into::into), previous: None }
    }

    fn told(from: i64, deliveries: Vec<Delivery>, complete_to: Option<i64>) -> bool {
        let span = Span { first: "a".into(), end: Some("c".into()) };
        let watch = Watch { span, from: Revision(from), previous: false, deliveries };
        check(&watch, &changes(), &BTreeSet::new(), complete_to.map(Revision)).is_ok()
    }

    #[test]
    fn what_is_told_must_be_all_in_order_and_once() {
        let first = || Delivery::Events(vec![event(2, "a", Some("1")), event(2, "b", Some("2"))]);
        let second = || Delivery::Events(vec![event(3, "a", Some("3"))]);
        let last = || Delivery::Events(vec![event(5, "a", None)]);
        assert!(told(1, vec![first(), second(), last()], Some(5)));
        assert!(told(3, vec![second(), last()], Some(5)));
        assert!(told(1, vec![first(), second()], Some(4)), "nothing of 4 is its");
        assert!(!told(1, vec![first(), second()], Some(5)), "lost at the end");
        assert!(!told(1, vec![first(), last()], None), "lost in between");
        assert!(!told(1, vec![first(), first()], None), "twice");
        assert!(!told(1, vec![second(), first()], None), "out of order");
        assert!(!told(1, vec![Delivery::Events(vec![event(2, "a", Some("1"))])], None), "torn");
        assert!(!told(3, vec![Delivery::Events(vec![event(3, "a", Some("9"))])], None), "another value");
    }

    #[test]
    fn progress_comes_after_the_events_that_it_covers() {
        let second = || Delivery::Events(vec![event(3, "a", Some("3"))]);
        assert!(told(3, vec![second(), Delivery::Progress(Revision(4))], None));
        assert!(!told(3, vec![Delivery::Progress(Revision(3)), second()], None));
        assert!(!told(3, vec![second(), Delivery::Progress(Revision(5))], None));
    }

    #[test]
    fn only_what_was_needed_can_be_compacted() {
        assert!(told(2, vec![Delivery::Compacted(Revision(2))], Some(5)));
        assert!(!told(3, vec![Delivery::Compacted(Revision(2))], None));
    }

    #[test]
    fn previous_values_are_those_before() {
        let watch = |value: &'static str| {
            let previous = Some(Version { revision: Revision(2), value: value.into() });
            let deliveries = vec![Delivery::Events(vec![Event { previous, ..event(3, "a", Some("3")) }])];
            let watch = Watch { span: Span::one("a".into()), from: Revision(3), previous: true, deliveries };
            check(&watch, &changes(), &BTreeSet::new(), None).is_ok()
        };
        assert!(watch("1") && !watch("2"));
    }
}
