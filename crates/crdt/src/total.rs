//! What the writes of a run come to: a number, or the registers of a sketch.

use alloc::vec::Vec;
use core::convert::Infallible;
use core::fmt::Debug;

use steadfast_types::wire::{Reader, Wire, WireError};

use crate::number::Number;

/// What an actor's run of additions comes to. A run begins from nothing, and each of its writes takes it further.
pub trait Total: Clone + Debug + PartialEq + Wire {
    /// A total that fits into a cell which holds nothing else; a type without values if none does.
    type Small: Copy + Debug + PartialEq;

    /// Goes on to what a later write of the same run says.
    fn advance(&mut self, later: &Self);

    /// Takes out what a write had observed of this run, if totals of this type are kept so. Those of numbers stay whole: the difference is taken when they
    /// are shown.
    fn reduce(&mut self, observed: &Self);

    /// The same run up to the same write, as it is held by a replica that may have seen other writes that observed it: what neither takes out.
    fn meet(&mut self, other: &Self);

    /// The small form, if there is one.
    fn small(&self) -> Option<Self::Small>;

    /// From the small form.
    fn from_small(small: Self::Small) -> Self;

    /// Bytes held on the heap.
    fn heap_bytes(&self) -> usize;
}

impl Total for Number {
    type Small = i64;

    fn advance(&mut self, later: &Self) {
        self.clone_from(later);
    }

    fn reduce(&mut self, _observed: &Self) {}

    fn meet(&mut self, _other: &Self) {}

    fn small(&self) -> Option<i64> {
        match self {
            Self::Int(number) => i64::try_from(*number).ok(),
            Self::Float(_) => None,
        }
    }

    fn from_small(small: i64) -> Self {
        Self::Int(small.into())
    }

    fn heap_bytes(&self) -> usize {
        match self {
            Self::Int(_) => 0,
            Self::Float(real) => real.heap_bytes(),
        }
    }
}

/// The total of cells to which nothing can be added: there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoTotal {}

impl Wire for NoTotal {
    fn encode(&self, _out: &mut Vec<u8>) {
        match *self {}
    }

    fn decode(_reader: &mut Reader) -> Result<Self, WireError> {
        Err(WireError::Invalid("total: there is none"))
    }
}

impl Total for NoTotal {
    type Small = Infallible;

    fn advance(&mut self, _later: &Self) {
        match *self {}
    }

    fn reduce(&mut self, _observed: &Self) {
        match *self {}
    }

    fn meet(&mut self, _other: &Self) {
        match *self {}
    }

    fn small(&self) -> Option<Infallible> {
        match *self {}
    }

    fn from_small(small: Infallible) -> Self {
        match small {}
    }

    fn heap_bytes(&self) -> usize {
        match *self {}
    }
}
