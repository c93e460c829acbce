//! The wire form of transactions, which nest: decoding bounds the depth, so that no input can overflow the stack.

use alloc::vec::Vec;
use steadfast_types::wire::{Reader, Wire, WireError};

use crate::command::{Compare, DeleteRange, Operation, Put, Range, Txn};

/// How deep transactions may nest; the outermost is at depth 1. gRPC decoders of the field stop between 30 and 50 levels, and each level uses
/// up operations of the levels around it, so nobody gets far beyond a handful.
pub const TRANSACTION_NESTING: usize = 32;

impl Wire for Txn {
    fn encode(&self, out: &mut Vec<u8>) {
        self.compare.encode(out);
        self.success.encode(out);
        self.failure.encode(out);
    }

    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        decode_txn(reader, TRANSACTION_NESTING)
    }
}

impl Wire for Operation {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Operation::Range(range) => {
                out.push(0);
                range.encode(out);
            }
            Operation::Put(put) => {
                out.push(1);
                put.encode(out);
            }
            Operation::DeleteRange(delete) => {
                out.push(2);
                delete.encode(out);
            }
            Operation::Txn(txn) => {
                out.push(3);
                txn.encode(out);
            }
        }
    }

    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        decode_operation(reader, TRANSACTION_NESTING)
    }
}

fn decode_txn(reader: &mut Reader, levels: usize) -> Result<Txn, WireError> {
    let below = levels.checked_sub(1).ok_or(WireError::Invalid("transaction: nested too deep"))?;
    Ok(Txn {
        compare: Vec::<Compare>::decode(reader)?,
        success: decode_operations(reader, below)?,
        failure: decode_operations(reader, below)?,
    })
}

fn decode_operations(reader: &mut Reader, levels: usize) -> Result<Vec<Operation>, WireError> {
    let count = reader.varint()?;
    if count > reader.remaining() as u64 {
        return Err(WireError::Truncated);
    }
    (0..count).map(|_| decode_operation(reader, levels)).collect()
}

fn decode_operation(reader: &mut Reader, levels: usize) -> Result<Operation, WireError> {
    match u8::decode(reader)? {
        0 => Ok(Operation::Range(Range::decode(reader)?)),
        1 => Ok(Operation::Put(Put::decode(reader)?)),
        2 => Ok(Operation::DeleteRange(DeleteRange::decode(reader)?)),
        3 => Ok(Operation::Txn(decode_txn(reader, levels)?)),
        _ => Err(WireError::Invalid("Operation")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn nested(depth: usize) -> Txn {
        let mut txn = Txn::default();
        for _ in 1..depth {
            txn = Txn { success: vec![Operation::Txn(txn), Operation::Put(Put::default())], ..Txn::default() };
        }
        txn
    }

    #[test]
    fn transactions_survive_the_wire_up_to_the_depth_allowed() {
        let deepest = nested(TRANSACTION_NESTING);
        assert_eq!(Txn::from_wire(deepest.to_wire().into()), Ok(deepest));
        let too_deep = nested(TRANSACTION_NESTING + 1).to_wire();
        assert_eq!(Txn::from_wire(too_deep.into()), Err(WireError::Invalid("transaction: nested too deep")));
    }

    #[test]
    fn an_input_that_claims_endless_nesting_is_refused_and_not_followed() {
        // No comparisons, one operation, a transaction: again and again.
        let endless = [0u8, 1, 3].repeat(1_000_000);
        assert!(Txn::from_wire(endless.into()).is_err());
    }
}
