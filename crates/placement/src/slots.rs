//! Slots: the parts of equal size into which the space of hashes is divided, and sets of them.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use steadfast_available::Hash;
use steadfast_available::exchange::HashRange;
use steadfast_types::wire::{Reader, Wire, WireError, put_varint};

/// How many leading bits of a hash are its slot: enough for a few hundred members, and few enough that all of them fit into a table.
const BITS: u32 = 14;

/// How many slots there are.
pub const SLOTS: usize = 1 << BITS;

/// One of [`SLOTS`].
pub type Slot = u16;

/// Bits in a word of a set.
const WORD: usize = u64::BITS as usize;

/// The slot of a hash.
pub const fn slot_of(hash: Hash) -> Slot {
    (hash >> (Hash::BITS - BITS)) as Slot
}

/// The hashes from the first of one slot to the last of another one that is not before it.
fn range(first: usize, last: usize) -> HashRange {
    let start = |slot: usize| (slot as u64) << (Hash::BITS - BITS);
    HashRange::new(start(first) as Hash, (start(last + 1) - 1) as Hash).expect("the last slot is not before the first")
}

/// A set of slots.
#[derive(Clone, PartialEq, Eq)]
pub struct SlotSet(Box<[u64; SLOTS / WORD]>);

impl Default for SlotSet {
    fn default() -> Self {
        SlotSet(Box::new([0; SLOTS / WORD]))
    }
}

impl fmt::Debug for SlotSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.runs()).finish()
    }
}

impl SlotSet {
    /// All slots.
    #[must_use]
    pub fn all() -> Self {
        SlotSet(Box::new([u64::MAX; SLOTS / WORD]))
    }

    /// Whether a slot is in it.
    pub fn contains(&self, slot: Slot) -> bool {
        self.0[usize::from(slot) / WORD] >> (usize::from(slot) % WORD) & 1 == 1
    }

    /// Adds a slot.
    pub fn insert(&mut self, slot: Slot) {
        self.0[usize::from(slot) / WORD] |= 1 << (usize::from(slot) % WORD);
    }

    /// Takes a slot out.
    pub fn remove(&mut self, slot: Slot) {
        self.0[usize::from(slot) / WORD] &= !(1 << (usize::from(slot) % WORD));
    }

    /// How many slots are in it.
    pub fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// Whether all slots of another set are in it.
    pub fn includes(&self, other: &Self) -> bool {
        self.0.iter().zip(other.0.iter()).all(|(held, asked)| asked & !held == 0)
    }

    fn with(&self, other: &Self, word: impl Fn(u64, u64) -> u64) -> Self {
        let mut result = self.clone();
        result.0.iter_mut().zip(other.0.iter()).for_each(|(mine, other)| *mine = word(*mine, *other));
        result
    }

    /// The slots that are in one of them.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        self.with(other, |mine, other| mine | other)
    }

    /// The slots that are in both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        self.with(other, |mine, other| mine & other)
    }

    /// The slots that are in this one and not in the other.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        self.with(other, |mine, other| mine & !other)
    }

    /// The slots, in order.
    pub fn iter(&self) -> impl Iterator<Item = Slot> {
        (0..SLOTS as Slot).filter(|slot| self.contains(*slot))
    }

    /// The first and the last of each row of slots that follow each other.
    fn runs(&self) -> Vec<(usize, usize)> {
        let mut runs = Vec::<(usize, usize)>::new();
        for slot in self.iter().map(usize::from) {
            match runs.last_mut() {
                Some((_, last)) if *last + 1 == slot => *last = slot,
                _ => runs.push((slot, slot)),
            }
        }
        runs
    }

    /// The hashes of all its slots, in order, in as few ranges as can be.
    pub fn ranges(&self) -> Vec<HashRange> {
        self.runs().into_iter().map(|(first, last)| range(first, last)).collect()
    }
}

impl FromIterator<Slot> for SlotSet {
    fn from_iter<I: IntoIterator<Item = Slot>>(slots: I) -> Self {
        let mut set = SlotSet::default();
        slots.into_iter().for_each(|slot| set.insert(slot));
        set
    }
}

/// Runs: how many slots lie between each and the one before, and how many there are in it but one.
impl Wire for SlotSet {
    fn encode(&self, out: &mut Vec<u8>) {
        let runs = self.runs();
        put_varint(out, runs.len() as u64);
        let mut next = 0;
        for (first, last) in runs {
            put_varint(out, (first - next) as u64);
            put_varint(out, (last - first) as u64);
            next = last + 1;
        }
    }

    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        let (mut set, mut next) = (SlotSet::default(), 0);
        for number in 0..reader.varint()? {
            let (gap, more) = (reader.varint()?, reader.varint()?);
            if gap >= SLOTS as u64 || more >= SLOTS as u64 || (number > 0 && gap == 0) || next + gap + more >= SLOTS as u64 {
                return Err(WireError::Invalid("set of slots"));
            }
            (next + gap..=next + gap + more).for_each(|slot| set.insert(slot as Slot));
            next += gap + more + 1;
        }
        Ok(set)
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;

    use proptest::collection::btree_set;
    use proptest::prelude::*;

    use super::*;

    fn slots() -> impl Strategy<Value = BTreeSet<Slot>> {
        let slot = prop_oneof![Just(0), Just(SLOTS as Slot - 1), 0..130_u16, 0..SLOTS as Slot];
        btree_set(slot, 0..40)
    }

    proptest! {
        #[test]
        fn a_set_of_slots_is_a_set(one in slots(), other in slots()) {
            let set = |slots: &BTreeSet<Slot>| slots.iter().copied().collect::<SlotSet>();
            let (a, b) = (set(&one), set(&other));
            prop_assert_eq!(a.union(&b), set(&(&one | &other)));
            prop_assert_eq!(a.intersection(&b), set(&(&one & &other)));
            prop_assert_eq!(a.difference(&b), set(&(&one - &other)));
            prop_assert_eq!(a.includes(&b), other.is_subset(&one));
            prop_assert_eq!((a.len(), a.is_empty()), (one.len(), one.is_empty()));
            prop_assert!(a.iter().eq(one.iter().copied()));
            prop_assert_eq!(SlotSet::from_wire(a.to_wire().into()), Ok(a));
        }

        #[test]
        fn the_ranges_of_a_set_hold_the_hashes_of_its_slots(slots in slots(), hash: Hash) {
            let ranges = slots.iter().copied().collect::<SlotSet>().ranges();
            for hash in slots.iter().map(|slot| u32::from(*slot) << (Hash::BITS - BITS)).chain([hash]) {
                let holds = ranges.iter().filter(|range| range.contains(hash)).count();
                prop_assert_eq!(holds, usize::from(slots.contains(&slot_of(hash))));
            }
            prop_assert!(ranges.windows(2).all(|two| u64::from(two[0].last()) + 1 < u64::from(two[1].first())));
        }

        #[test]
        fn what_is_no_set_is_refused(bytes in proptest::collection::vec(prop_oneof![0..4_u8, any::<u8>()], 0..12)) {
            if let Ok(set) = SlotSet::from_wire(bytes.clone().into()) {
                prop_assert_eq!(SlotSet::from_wire(set.to_wire().into()), Ok(set));
            }
        }
    }

    #[test]
    fn all_slots_are_all_hashes() {
        assert_eq!(SlotSet::all().ranges(), [HashRange::ALL]);
        assert_eq!(SlotSet::all().len(), SLOTS);
    }
}
