//! The registers as rows: which of them were written to, and what their rows hold now.
//!
//! Rows may be taken one by one while writes go on: a register's row as it is at one moment, and then all records since a moment before, again and in their
//! order, make the register as it is now. For each record says what holds from then on of what it names.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use bytes::Bytes;
use steadfast_register::acceptor::Acceptor;
use steadfast_register::message::Record as Held;
use steadfast_types::wire::Wire;

use super::message::Record;

/// A register's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The register's key: the row's name.
    pub key: Bytes,
    /// What the row holds from now on, for [`super::Registers::load`]; `None` if there is to be no such row.
    pub bytes: Option<Vec<u8>>,
}

#[derive(Debug, Default)]
pub(super) struct Rows {
    /// Written to since rows were begun last.
    touched: BTreeSet<Bytes>,
    /// Written to before that, and not taken yet.
    taking: BTreeSet<Bytes>,
}

impl Rows {
    /// This is taken for true.
    pub(super) fn note(&mut self, record: &Held) {
        match record {
            Held::Promised { key, .. } | Held::Accepted { key, .. } | Held::Left { key } | Held::Removed { key, .. } => {
                if !self.touched.contains(key) {
                    self.touched.insert(Bytes::copy_from_slice(key));
                }
            }
            Held::Cleared { .. } | Held::Entered { .. } | Held::Floor { .. } => {}
        }
    }

    /// All registers are about to go.
    pub(super) fn note_all(&mut self, acceptor: &Acceptor) {
        self.touched.extend(acceptor.registers_after(None).map(|(key, _)| key.clone()));
    }

    pub(super) fn begin(&mut self) {
        self.taking.append(&mut self.touched);
    }

    pub(super) fn take(&mut self, bytes: usize, acceptor: &Acceptor) -> Vec<Row> {
        let (mut rows, mut taken) = (Vec::new(), 0);
        while taken < bytes
            && let Some(key) = self.taking.pop_first()
        {
            let held = acceptor.register(&key);
            let bytes = held.map(|held| held.records(&key).map(Record::Held).collect::<Vec<_>>().to_wire());
            taken += key.len() + bytes.as_ref().map_or(0, Vec::len);
            rows.push(Row { key, bytes });
        }
        rows
    }

    pub(super) fn len(&self) -> usize {
        self.touched.len() + self.taking.len()
    }
}
