//! The elements of a container by name: found, chosen by position and removed in O(1), in an order that depends on nothing but what was done.
//!
//! Elements lie in a row. A new one goes to its end, and where one is removed the last one takes its place. So whoever goes through the positions from
//! the end to the beginning, however slowly, misses no element that is there throughout: it moves only towards the beginning, and only if it was last,
//! into a place that is not yet visited or from one that was. It may be seen twice, and one that came meanwhile may not be seen.
//!
//! A table of hashes leads from names to positions once there are more than a few. The hash has no say in the order.

use alloc::vec::Vec;

use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64;

use crate::name::Name;

/// Up to so many elements are looked through one by one.
const FEW: usize = 8;

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Elements<V> {
    row: Vec<(Name, V)>,
    /// Positions in the row by the hash of the name; empty if there are few.
    positions: HashTable<u32>,
}

impl<V> Default for Elements<V> {
    fn default() -> Self {
        Self { row: Vec::new(), positions: HashTable::new() }
    }
}

fn hash_at<V>(row: &[(Name, V)], position: u32) -> u64 {
    xxh3_64(&row[position as usize].0)
}

impl<V> Elements<V> {
    pub(crate) fn len(&self) -> usize {
        self.row.len()
    }

    /// Where an element is.
    pub(crate) fn find(&self, name: &[u8]) -> Option<usize> {
        if self.positions.is_empty() {
            return self.row.iter().position(|(held, _)| **held == *name);
        }
        self.positions.find(xxh3_64(name), |position| *self.row[*position as usize].0 == *name).map(|position| *position as usize)
    }

    pub(crate) fn get(&self, name: &[u8]) -> Option<&V> {
        self.find(name).map(|position| &self.row[position].1)
    }

    /// The element at a position.
    pub(crate) fn at(&self, position: usize) -> Option<(&[u8], &V)> {
        self.row.get(position).map(|(name, value)| (&**name, value))
    }

    /// The name of the element at a position that is taken.
    pub(crate) fn name(&self, position: usize) -> &Name {
        &self.row[position].0
    }

    /// The value of the element at a position that is taken.
    pub(crate) fn value_mut(&mut self, position: usize) -> &mut V {
        &mut self.row[position].1
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (&[u8], &V)> + ExactSizeIterator {
        self.row.iter().map(|(name, value)| (&**name, value))
    }

    /// Adds an element that is not there, and returns its position.
    pub(crate) fn push(&mut self, name: Name, value: V) -> usize {
        let position = self.row.len();
        if position == self.row.capacity() {
            // Half as much again: memory matters more than the copying.
            self.row.reserve_exact((position / 2).max(2));
        }
        self.row.push((name, value));
        let row = &self.row;
        let hash_of = |position: &u32| hash_at(row, *position);
        let first = if self.positions.is_empty() { 0 } else { position };
        if row.len() > FEW || first > 0 {
            let count = u32::try_from(row.len()).expect("four thousand million elements do not fit in memory");
            (first as u32..count).for_each(|position| _ = self.positions.insert_unique(hash_of(&position), position, hash_of));
        }
        position
    }

    /// Removes the element at a position that is taken. The last one takes its place.
    pub(crate) fn swap_remove(&mut self, position: usize) -> (Name, V) {
        let last = self.row.len() - 1;
        if !self.positions.is_empty() {
            self.point(position, None);
            if position != last {
                self.point(last, Some(position as u32));
            }
        }
        let removed = self.row.swap_remove(position);
        self.shrink();
        removed
    }

    /// Makes the table lead to another position instead, or nowhere.
    fn point(&mut self, from: usize, to: Option<u32>) {
        let entry = self.positions.find_entry(hash_at(&self.row, from as u32), |held| *held as usize == from);
        match (entry, to) {
            (Ok(mut entry), Some(to)) => *entry.get_mut() = to,
            (Ok(entry), None) => _ = entry.remove(),
            (Err(_), _) => unreachable!("the table leads to every element"),
        }
    }

    fn shrink(&mut self) {
        let len = self.row.len();
        if len <= FEW / 2 {
            self.positions = HashTable::new();
        }
        if len < self.row.capacity() / 4 {
            let row = &mut self.row;
            row.shrink_to(2 * len);
            self.positions.shrink_to(2 * len, |position| hash_at(row, *position));
        }
    }

    /// Bytes held besides those that names and values hold themselves.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.row.capacity() * size_of::<(Name, V)>() + self.positions.allocation_size()
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    fn name(number: u16) -> Name {
        Name::from(&number.to_be_bytes()[..])
    }

    #[derive(Clone, Debug)]
    enum Step {
        Add(u16),
        Remove(usize),
        Drain(usize),
        Scan(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            6 => (0..60_u16).prop_map(Step::Add),
            3 => any::<usize>().prop_map(Step::Remove),
            1 => (0..40_usize).prop_map(Step::Drain),
            3 => (1..5_usize).prop_map(Step::Scan),
        ];
        proptest::collection::vec(step, 0..200)
    }

    proptest! {
        #[test]
        fn a_slow_scan_misses_nothing_that_is_there_throughout(steps in steps()) {
            let (mut elements, mut model) = (Elements::default(), BTreeMap::new());
            let (mut cursor, mut throughout, mut seen) = (0, BTreeSet::new(), BTreeSet::new());
            for (value, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Add(number) => {
                        let name = name(number);
                        match elements.find(&name) {
                            Some(position) => *elements.value_mut(position) = value,
                            None => _ = elements.push(name.clone(), value),
                        }
                        model.insert(name, value);
                    }
                    Step::Remove(_) | Step::Drain(_) => {
                        let (from, count) = match step {
                            Step::Remove(at) => (at, 1),
                            Step::Drain(count) => (0, count),
                            _ => unreachable!(),
                        };
                        for _ in 0..count.min(elements.len()) {
                            let (name, value) = elements.swap_remove(from % elements.len());
                            prop_assert_eq!(model.remove(&name), Some(value));
                            throughout.remove(&name);
                        }
                    }
                    Step::Scan(count) => {
                        if cursor == 0 {
                            cursor = elements.len();
                            throughout = model.keys().cloned().collect();
                            seen.clear();
                        }
                        cursor = cursor.min(elements.len());
                        let next = cursor.saturating_sub(count);
                        seen.extend((next..cursor).map(|position| elements.name(position).clone()));
                        cursor = next;
                        if cursor == 0 {
                            prop_assert!(throughout.is_subset(&seen));
                        }
                    }
                }
                prop_assert_eq!(elements.len(), model.len());
                prop_assert!(elements.row.capacity() <= 4 * elements.len() + 3);
                for number in 0..60 {
                    prop_assert_eq!(elements.get(&name(number)), model.get(&name(number)));
                }
            }
        }
    }
}
