//! Whether a node is still held for what its record says. A state is recorded once, when it begins; what it rests on may become something else, and
//! then people must be told so: the record gets another cause. That is no change of state, so it is no event.

use std::collections::BTreeSet;
use std::time::Duration;

use steadfast_health::verdict::Testimony;
use steadfast_types::{Instant, NodeId};

use super::super::cause;

/// Something else has been held for so long: then it is recorded, and no sooner again.
const ANOTHER_AFTER: Duration = Duration::from_secs(10);

/// Who holds what, without figures.
type Kinds = BTreeSet<(NodeId, String)>;

/// What a node was last recorded to be held for.
#[derive(Debug, Default)]
pub(super) struct Causes {
    /// Unknown until this judge has seen it.
    told: Option<Kinds>,
    other_since: Option<Instant>,
}

fn kinds(evidence: &[Testimony]) -> Kinds {
    evidence.iter().map(|testimony| (testimony.observer, cause::about(&testimony.evidence))).collect()
}

impl Causes {
    /// This is recorded.
    pub(super) fn told(&mut self, evidence: &[Testimony]) {
        *self = Causes { told: Some(kinds(evidence)), other_since: None };
    }

    /// Whether what is held now has been something else for long enough to be recorded; then it counts as told.
    pub(super) fn is_another(&mut self, now: Instant, evidence: &[Testimony]) -> bool {
        let kinds = kinds(evidence);
        if *self.told.get_or_insert_with(|| kinds.clone()) == kinds {
            self.other_since = None;
            return false;
        }
        let since = *self.other_since.get_or_insert(now);
        let is_another = now.since(since) >= ANOTHER_AFTER;
        if is_another {
            *self = Causes { told: Some(kinds), other_since: None };
        }
        is_another
    }
}
