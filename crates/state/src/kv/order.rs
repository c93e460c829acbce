//! A range's filters by revision, and its order.

use alloc::vec::Vec;
use core::cmp::Ordering;
use steadfast_types::Revision;

use crate::command::{KeyValue, Range, SortOrder, SortTarget};

/// The bounds on revisions that a range asks for; 0: no bound.
pub(crate) struct Filter {
    min_mod: Revision,
    max_mod: Revision,
    min_create: Revision,
    max_create: Revision,
}

impl Filter {
    /// The filter of a range.
    pub(crate) fn of(range: &Range) -> Self {
        Filter {
            min_mod: range.min_mod_revision,
            max_mod: range.max_mod_revision,
            min_create: range.min_create_revision,
            max_create: range.max_create_revision,
        }
    }

    /// Whether it may leave anything out.
    pub(crate) fn is_any(&self) -> bool {
        [self.min_mod, self.max_mod, self.min_create, self.max_create].iter().any(|bound| bound.0 != 0)
    }

    /// The key, if it passes.
    pub(crate) fn keep(&self, kv: KeyValue) -> Option<KeyValue> {
        let within = |value: Revision, min: Revision, max: Revision| (min.0 == 0 || value >= min) && (max.0 == 0 || value <= max);
        let passes = within(kv.mod_revision, self.min_mod, self.max_mod) && within(kv.create_revision, self.min_create, self.max_create);
        passes.then_some(kv)
    }
}

/// The keys, which come in ascending order, in the order the range asks for. Equals stay in the order of their keys.
pub(crate) fn sorted(mut kvs: Vec<KeyValue>, range: &Range) -> Vec<KeyValue> {
    let compare: fn(&KeyValue, &KeyValue) -> Ordering = match range.sort_target {
        SortTarget::Key => |a, b| a.key.cmp(&b.key),
        SortTarget::Version => |a, b| a.version.cmp(&b.version),
        SortTarget::CreateRevision => |a, b| a.create_revision.cmp(&b.create_revision),
        SortTarget::ModRevision => |a, b| a.mod_revision.cmp(&b.mod_revision),
        SortTarget::Value => |a, b| a.value.cmp(&b.value),
    };
    match (range.sort_order, range.sort_target) {
        (SortOrder::None | SortOrder::Ascend, SortTarget::Key) => {}
        (SortOrder::Descend, SortTarget::Key) => kvs.reverse(),
        (SortOrder::None | SortOrder::Ascend, _) => kvs.sort_by(compare),
        (SortOrder::Descend, _) => kvs.sort_by(|a, b| compare(b, a)),
    }
    kvs
}
