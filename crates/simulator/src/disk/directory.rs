//! The names on a simulated disk: as processes see them, as they are durable, and the changes between.

use std::collections::{BTreeMap, BTreeSet};

use steadfast_types::Rng;

/// A file's identity, whatever its names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct InodeId(pub(super) u64);

#[derive(Debug)]
enum Change {
    Create { name: String, inode: InodeId },
    Rename { from: String, to: String, inode: InodeId },
    Remove { name: String },
}

impl Change {
    fn apply(&self, names: &mut BTreeMap<String, InodeId>) {
        match self {
            Change::Create { name, inode } => {
                names.insert(name.clone(), *inode);
            }
            Change::Rename { from, to, inode } => {
                names.remove(from);
                names.insert(to.clone(), *inode);
            }
            Change::Remove { name } => {
                names.remove(name);
            }
        }
    }

    fn names(&self) -> Vec<&String> {
        match self {
            Change::Create { name, .. } | Change::Remove { name } => vec![name],
            Change::Rename { from, to, .. } => vec![from, to],
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Directory {
    current: BTreeMap<String, InodeId>,
    durable: BTreeMap<String, InodeId>,
    pending: Vec<Change>,
}

impl Directory {
    pub(super) fn lookup(&self, name: &str) -> Option<InodeId> {
        self.current.get(name).copied()
    }

    pub(super) fn names(&self) -> impl Iterator<Item = (&str, InodeId)> {
        self.current.iter().map(|(name, inode)| (name.as_str(), *inode))
    }

    pub(super) fn create(&mut self, name: &str, inode: InodeId) {
        self.change(Change::Create { name: name.to_owned(), inode });
    }

    /// Whether there was a file `from`.
    pub(super) fn rename(&mut self, from: &str, to: &str) -> bool {
        let Some(inode) = self.lookup(from) else { return false };
        if from != to {
            self.change(Change::Rename { from: from.to_owned(), to: to.to_owned(), inode });
        }
        true
    }

    pub(super) fn remove(&mut self, name: &str) {
        if self.current.contains_key(name) {
            self.change(Change::Remove { name: name.to_owned() });
        }
    }

    /// Whether a name was taken from a file.
    pub(super) fn sync(&mut self) -> bool {
        let mut taken = false;
        for change in std::mem::take(&mut self.pending) {
            taken |= !matches!(change, Change::Create { .. });
            change.apply(&mut self.durable);
        }
        taken
    }

    /// Keeps each pending change with probability `kept`, unless an earlier one of the same name was lost: a file system may reorder changes
    /// of different names, and keeps those of one name in order.
    pub(super) fn power_failure(&mut self, kept: f64, rng: &mut Rng) {
        let mut lost = BTreeSet::new();
        for change in std::mem::take(&mut self.pending) {
            let names = change.names();
            if rng.f64() < kept && !names.iter().any(|name| lost.contains(*name)) {
                change.apply(&mut self.durable);
            } else {
                lost.extend(names.into_iter().cloned());
            }
        }
        self.current = self.durable.clone();
    }

    /// Every file that a name reaches, now or after a crash, in order.
    pub(super) fn reachable(&self) -> Vec<InodeId> {
        let mut files: Vec<InodeId> = self.current.values().copied().collect();
        if !self.pending.is_empty() {
            let pending = self.pending.iter().filter_map(|change| match change {
                Change::Create { inode, .. } | Change::Rename { inode, .. } => Some(*inode),
                Change::Remove { .. } => None,
            });
            files.extend(self.durable.values().copied().chain(pending));
        }
        files.sort_unstable();
        files
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.current);
        self.pending.push(change);
    }
}
