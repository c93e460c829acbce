//! Values for cells that hold only additions, or only values.

use alloc::vec::Vec;
use core::convert::Infallible;
use core::fmt::Debug;
use core::marker::PhantomData;

use steadfast_types::wire::{Reader, Wire, WireError};

use super::Value;
use crate::total::{NoTotal, Total};

/// The value of cells to which totals of a type are added, and in which no value is ever written: there is none.
#[derive(Clone, Debug, PartialEq)]
pub enum NoValue<T> {
    /// No value.
    Never(Infallible, PhantomData<T>),
}

impl<T> NoValue<T> {
    fn never(&self) -> ! {
        match self {
            Self::Never(never, _) => match *never {},
        }
    }
}

impl<T> Wire for NoValue<T> {
    fn encode(&self, _out: &mut Vec<u8>) {
        self.never()
    }

    fn decode(_reader: &mut Reader) -> Result<Self, WireError> {
        Err(WireError::Invalid("cell: there are no values of this type"))
    }
}

impl<T: Total> Value for NoValue<T> {
    type Total = T;

    fn heap_bytes(&self) -> usize {
        self.never()
    }
}

/// The value of cells to which nothing is added.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Plain<T>(pub T);

impl<T: Wire> Wire for Plain<T> {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }

    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        T::decode(reader).map(Self)
    }
}

impl<T: Wire + Clone + Debug + PartialEq> Value for Plain<T> {
    type Total = NoTotal;

    fn heap_bytes(&self) -> usize {
        0
    }
}
