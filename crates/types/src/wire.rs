//! The one codec of everything Steadfast writes: log records, peer frames, commands, checkpoints.
//!
//! Little and closed: unsigned integers are LEB128 varints, signed ones zigzag first, byte strings carry their length, structs are
//! their fields in order, enums a number and their fields. [`Reader`] slices its input and copies nothing, so a decoded value shares
//! the frame it came in. Decoding never allocates more than the input's own length allows, whatever the input says.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;

/// Why bytes could not be decoded. The input is at fault; no state has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The input ends inside a value.
    #[error("truncated")]
    Truncated,
    /// A value that its type does not have.
    #[error("invalid {0}")]
    Invalid(&'static str),
    /// A complete value, and bytes after it.
    #[error("{0} bytes left over")]
    LeftOver(usize),
}

/// Where the buffer of a value begins: most values fit, and the others need not grow from nothing.
const START_BYTES: usize = 256;

/// A type with a wire form.
pub trait Wire: Sized {
    /// Appends the value's wire form.
    fn encode(&self, out: &mut Vec<u8>);

    /// Takes one value off the front of `reader`.
    ///
    /// # Errors
    /// If the input is not a value of this type.
    fn decode(reader: &mut Reader) -> Result<Self, WireError>;

    /// The value's wire form alone.
    fn to_wire(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(START_BYTES);
        self.encode(&mut out);
        out
    }

    /// The value whose wire form is exactly `bytes`.
    ///
    /// # Errors
    /// If the input is not exactly one value of this type.
    fn from_wire(bytes: Bytes) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        let value = Self::decode(&mut reader)?;
        match reader.remaining() {
            0 => Ok(value),
            left => Err(WireError::LeftOver(left)),
        }
    }
}

/// Takes values off the front of a byte string, without copying.
#[derive(Debug)]
pub struct Reader {
    bytes: Bytes,
}

impl Reader {
    /// A reader of all of `bytes`.
    pub fn new(bytes: Bytes) -> Self {
        Reader { bytes }
    }

    /// How many bytes are left.
    pub fn remaining(&self) -> usize {
        self.bytes.len()
    }

    /// The next `length` bytes, shared with the input.
    ///
    /// # Errors
    /// If fewer are left.
    pub fn take(&mut self, length: usize) -> Result<Bytes, WireError> {
        if length > self.bytes.len() {
            return Err(WireError::Truncated);
        }
        Ok(self.bytes.split_to(length))
    }

    /// All that is left, shared with the input.
    pub fn take_rest(&mut self) -> Bytes {
        core::mem::take(&mut self.bytes)
    }

    /// The next byte, if there is one; it stays.
    pub fn peek(&self) -> Option<u8> {
        self.bytes.first().copied()
    }

    /// The next varint.
    ///
    /// # Errors
    /// If the input ends in it, or it exceeds 64 bits.
    pub fn varint(&mut self) -> Result<u64, WireError> {
        let mut value = 0u64;
        for (i, &byte) in self.bytes.iter().take(10).enumerate() {
            if i == 9 && byte > 1 {
                return Err(WireError::Invalid("varint"));
            }
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte & 0x80 == 0 {
                bytes::Buf::advance(&mut self.bytes, i + 1);
                return Ok(value);
            }
        }
        Err(if self.bytes.len() < 10 { WireError::Truncated } else { WireError::Invalid("varint") })
    }

    /// A count of values of at least one byte each, so at most as many as bytes are left.
    fn count(&mut self) -> Result<usize, WireError> {
        let count = self.varint()?;
        if count > self.bytes.len() as u64 {
            return Err(WireError::Truncated);
        }
        usize::try_from(count).map_err(|_| WireError::Invalid("count"))
    }
}

/// Appends a varint.
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

impl Wire for u64 {
    fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, *self);
    }
    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        reader.varint()
    }
}

impl Wire for u32 {
    fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, u64::from(*self));
    }
    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        u32::try_from(reader.varint()?).map_err(|_| WireError::Invalid("u32"))
    }
}

impl Wire for u8 {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(*self);
    }
    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        Ok(reader.take(1)?[0])
    }
}

impl Wire for i64 {
    fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, ((*self << 1) ^ (*self >> 63)) as u64);
    }
    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        let raw = reader.varint()?;
        Ok((raw >> 1) as i64 ^ -((raw & 1) as i64))
    }
}

impl Wire for bool {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        match u8::decode(reader)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(WireError::Invalid("bool")),
        }
    }
}

impl Wire for Bytes {
    fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.len() as u64);
        out.extend_from_slice(self);
    }
    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        let length = reader.count()?;
        reader.take(length)
    }
}

impl Wire for String {
    fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.len() as u64);
        out.extend_from_slice(self.as_bytes());
    }
    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        let bytes = Bytes::decode(reader)?;
        core::str::from_utf8(&bytes).map(String::from).map_err(|_| WireError::Invalid("text: not UTF-8"))
    }
}

impl<T: Wire> Wire for Option<T> {
    fn encode(&self, out: &mut Vec<u8>) {
        self.is_some().encode(out);
        if let Some(value) = self {
            value.encode(out);
        }
    }
    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        bool::decode(reader)?.then(|| T::decode(reader)).transpose()
    }
}

impl<T: Wire> Wire for alloc::boxed::Box<T> {
    fn encode(&self, out: &mut Vec<u8>) {
        (**self).encode(out);
    }
    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        T::decode(reader).map(alloc::boxed::Box::new)
    }
}

impl<A: Wire, B: Wire> Wire for (A, B) {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
        self.1.encode(out);
    }
    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        Ok((A::decode(reader)?, B::decode(reader)?))
    }
}

/// Encodes any sized sequence as its count and its items.
fn encode_items<'a, T: Wire + 'a>(count: usize, items: impl Iterator<Item = &'a T>, out: &mut Vec<u8>) {
    put_varint(out, count as u64);
    items.for_each(|item| item.encode(out));
}

impl<T: Wire> Wire for Vec<T> {
    fn encode(&self, out: &mut Vec<u8>) {
        encode_items(self.len(), self.iter(), out);
    }
    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        let count = reader.count()?;
        // No reservation by `count`: an item in memory can be much larger than the one byte it must have on the wire.
        let mut items = Vec::with_capacity(count.min(64));
        for _ in 0..count {
            items.push(T::decode(reader)?);
        }
        Ok(items)
    }
}

impl<T: Wire + Ord> Wire for BTreeSet<T> {
    fn encode(&self, out: &mut Vec<u8>) {
        encode_items(self.len(), self.iter(), out);
    }
    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        Ok(Vec::decode(reader)?.into_iter().collect())
    }
}

impl<K: Wire + Ord, V: Wire> Wire for BTreeMap<K, V> {
    fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.len() as u64);
        for (key, value) in self {
            key.encode(out);
            value.encode(out);
        }
    }
    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        Ok(Vec::<(K, V)>::decode(reader)?.into_iter().collect())
    }
}

/// Implements [`Wire`] for a struct: its fields in the order given.
#[macro_export]
macro_rules! wire_struct {
    ($name:ident { $($field:ident),* $(,)? }) => {
        impl $crate::wire::Wire for $name {
            #[allow(unused_variables)]
            fn encode(&self, out: &mut ::alloc::vec::Vec<u8>) {
                $($crate::wire::Wire::encode(&self.$field, out);)*
            }
            #[allow(unused_variables)]
            fn decode(reader: &mut $crate::wire::Reader) -> Result<Self, $crate::wire::WireError> {
                Ok($name { $($field: $crate::wire::Wire::decode(reader)?),* })
            }
        }
    };
}

/// Implements [`Wire`] for an enum: a number of one byte, then the variant's fields in the order given.
///
/// Write variants without fields as `1 => Name {}`, with one unnamed field as `2 => Name(value)`, with named ones as `3 => Name { a, b }`.
/// A number, once released, is never given to another variant.
#[macro_export]
macro_rules! wire_enum {
    (@encode $out:ident) => {};
    ($name:ident { $($number:literal => $variant:ident $( ( $inner:ident ) )? $( { $($field:ident),* } )?),* $(,)? }) => {
        impl $crate::wire::Wire for $name {
            fn encode(&self, out: &mut ::alloc::vec::Vec<u8>) {
                match self {
                    $($name::$variant $( ( $inner ) )? $( { $($field),* } )? => {
                        out.push($number);
                        $($crate::wire::Wire::encode($inner, out);)?
                        $($($crate::wire::Wire::encode($field, out);)*)?
                    })*
                }
            }
            fn decode(reader: &mut $crate::wire::Reader) -> Result<Self, $crate::wire::WireError> {
                match <u8 as $crate::wire::Wire>::decode(reader)? {
                    $($number => {
                        $(let $inner = $crate::wire::Wire::decode(reader)?;)?
                        Ok($name::$variant $( ( $inner ) )? $( { $($field: $crate::wire::Wire::decode(reader)?),* } )?)
                    })*
                    _ => Err($crate::wire::WireError::Invalid(stringify!($name))),
                }
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[derive(Debug, PartialEq)]
    enum Shape {
        Point,
        Circle(u64),
        Box { width: i64, name: String },
    }
    wire_enum!(Shape { 1 => Point {}, 2 => Circle(radius), 3 => Box { width, name } });

    #[test]
    fn values_survive_the_wire() {
        let shapes = vec![Shape::Point, Shape::Circle(u64::MAX), Shape::Box { width: i64::MIN, name: "a".into() }];
        assert_eq!(Vec::<Shape>::from_wire(shapes.to_wire().into()).unwrap(), shapes);
        let pair = (Some(Bytes::from_static(b"xy")), BTreeMap::from([(7u64, true)]));
        assert_eq!(Wire::from_wire(pair.to_wire().into()), Ok(pair));
    }

    #[test]
    fn a_cut_or_overlong_value_is_an_error() {
        let wire = Shape::Box { width: -3, name: "abc".into() }.to_wire();
        for cut in 0..wire.len() {
            assert!(Shape::from_wire(Bytes::copy_from_slice(&wire[..cut])).is_err(), "cut at {cut}");
        }
        let longer = [wire, vec![0]].concat();
        assert_eq!(Shape::from_wire(longer.into()), Err(WireError::LeftOver(1)));
        assert_eq!(u64::from_wire(vec![0xff; 10].into()), Err(WireError::Invalid("varint")));
        assert_eq!(Vec::<u64>::from_wire(vec![0xff, 0xff, 0xff, 0xff, 0x0f].into()), Err(WireError::Truncated));
    }
}
