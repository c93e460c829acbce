//! The wire form of a cell's state.

use alloc::vec::Vec;

use smallvec::SmallVec;
use steadfast_types::wire::{Reader, Wire, WireError, put_varint};

use super::delta::{Run, put_before, take_runs};
use super::{Cell, Form, Parts, Sibling, Value};
use crate::total::Total;
use crate::version::Version;

/// One value, and nothing else.
const VALUE: u8 = 1;
/// One run with a small total, and nothing else.
const RUN: u8 = 2;
/// Anything.
const MANY: u8 = 3;

impl<V: Value> Wire for Sibling<V> {
    fn encode(&self, out: &mut Vec<u8>) {
        self.version.encode(out);
        self.value.encode(out);
        self.cut.encode(out);
    }

    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        let (version, value) = (Version::decode(reader)?, Option::decode(reader)?);
        let cut = take_runs(reader, Some(version))?;
        if value.is_none() && cut.is_empty() {
            return Err(WireError::Invalid("cell: a removal of nothing"));
        }
        Ok(Self { version, value, cut })
    }
}

impl<V: Value> Wire for Cell<V> {
    fn encode(&self, out: &mut Vec<u8>) {
        match &self.0 {
            Form::Empty => out.push(0),
            Form::Value(version, value) => {
                out.push(VALUE);
                version.encode(out);
                value.encode(out);
            }
            Form::Run(start, last, small) => {
                out.push(RUN);
                last.encode(out);
                put_before(out, *last, *start);
                V::Total::from_small(*small).encode(out);
            }
            Form::Many(parts) => {
                out.push(MANY);
                put_varint(out, parts.siblings.len() as u64);
                parts.siblings.iter().for_each(|sibling| sibling.encode(out));
                put_varint(out, parts.runs.len() as u64);
                parts.runs.iter().for_each(|run| run.encode(out));
            }
        }
    }

    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        let parts = match u8::decode(reader)? {
            0 => Parts::default(),
            VALUE => return Ok(Self(Form::Value(Version::decode(reader)?, V::decode(reader)?))),
            RUN => Parts::of_run(Run::decode(reader)?),
            MANY => {
                let siblings = Vec::<Sibling<V>>::decode(reader)?;
                if !siblings.windows(2).all(|pair| pair[0].version < pair[1].version) {
                    return Err(WireError::Invalid("cell: siblings in this order"));
                }
                Parts { siblings: SmallVec::from_vec(siblings), runs: SmallVec::from_vec(take_runs(reader, None)?) }
            }
            _ => return Err(WireError::Invalid("cell")),
        };
        Ok(Self(Form::of(parts)))
    }
}
