//! A list whose places are used again: small ids for many things.

use alloc::vec::Vec;

/// Items by small ids.
#[derive(Debug)]
pub(super) struct Slab<V> {
    places: Vec<Option<V>>,
    free: Vec<u32>,
}

impl<V> Slab<V> {
    pub(super) fn new() -> Self {
        Slab { places: Vec::new(), free: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    pub(super) fn insert(&mut self, value: V) -> u32 {
        if let Some(id) = self.free.pop() {
            self.places[id as usize] = Some(value);
            return id;
        }
        let id = u32::try_from(self.places.len()).expect("the limit on watchers is far below");
        self.places.push(Some(value));
        id
    }

    /// Panics if there is none: ids are kept exactly as long as their items.
    pub(super) fn remove(&mut self, id: u32) -> V {
        let value = self.places[id as usize].take().expect("an id in use has an item");
        self.free.push(id);
        value
    }

    pub(super) fn get(&self, id: u32) -> &V {
        self.places[id as usize].as_ref().expect("an id in use has an item")
    }

    pub(super) fn get_mut(&mut self, id: u32) -> &mut V {
        self.places[id as usize].as_mut().expect("an id in use has an item")
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = u32> + '_ {
        (0u32..).zip(&self.places).filter(|(_, place)| place.is_some()).map(|(id, _)| id)
    }
}
