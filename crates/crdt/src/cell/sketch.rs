//! Cells to which elements of a sketch are added.
//!
//! Merge rule: union; a removal takes out the registers that it had observed, and no rank above them. An addition that raises no register is no write.

use alloc::borrow::Cow;
use alloc::vec::Vec;

use steadfast_types::wire::{Reader, Wire, WireError};

use super::{Cell, Delta, Form, Value};
use crate::sketch::{Register, Sketch};
use crate::version::Version;

/// What is in cells of sketches besides the sketch: nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sketched {}

impl Wire for Sketched {
    fn encode(&self, _out: &mut Vec<u8>) {
        match *self {}
    }

    fn decode(_reader: &mut Reader) -> Result<Self, WireError> {
        Err(WireError::Invalid("cell: a sketch is never written whole"))
    }
}

impl Value for Sketched {
    type Total = Sketch;

    fn heap_bytes(&self) -> usize {
        match *self {}
    }
}

impl Cell<Sketched> {
    fn sketches(&self) -> impl Iterator<Item = &Sketch> {
        let parts = match &self.0 {
            Form::Many(parts) => Some(parts),
            Form::Empty | Form::Value(..) | Form::Run(..) => None,
        };
        parts.into_iter().flat_map(|parts| parts.runs.iter().map(|run| &run.total))
    }

    /// What a reader sees; `None` if nothing was ever added, or all was removed.
    pub fn sketch(&self) -> Option<Cow<'_, Sketch>> {
        self.sketches().map(Cow::Borrowed).reduce(|mut union, sketch| {
            union.to_mut().merge(&sketch);
            union
        })
    }

    /// Adds elements. `None` if that changes nothing; adding nothing to nothing makes an empty sketch.
    pub fn add_elements<'a>(&mut self, version: Version, elements: impl IntoIterator<Item = &'a [u8]>) -> Option<Delta<Sketched>> {
        self.add_registers(version, elements.into_iter().map(Register::of))
    }

    /// Adds all that another sketch was given. `None` if that changes nothing.
    pub fn merge_sketch(&mut self, version: Version, sketch: &Sketch) -> Option<Delta<Sketched>> {
        self.add_registers(version, sketch.registers())
    }

    fn add_registers(&mut self, version: Version, registers: impl Iterator<Item = Register>) -> Option<Delta<Sketched>> {
        let is_news = |register: &Register| self.sketches().all(|sketch| !sketch.has(*register));
        let news: Sketch = registers.filter(is_news).collect();
        if news.is_empty() && self.is_shown() {
            return None;
        }
        Some(self.advance(version, |total| {
            if let Some(total) = total {
                total.merge(&news);
            }
            news
        }))
    }
}
