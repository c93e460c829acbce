//! What cells hold: strings and scores; and what a reader sees.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::cmp::Ordering;
use core::ops::Deref;

use steadfast_types::wire::{Reader, Wire, WireError, put_varint};

use super::Value;
use crate::long_double::LongDouble;
use crate::number::Number;

/// A string of bytes.
///
/// A box rather than shared bytes: half as large in place (16 bytes), without a count; and what was read off the wire does not keep its frame.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text(pub Box<[u8]>);

impl From<&[u8]> for Text {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }
}

impl From<Vec<u8>> for Text {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

impl Deref for Text {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl Wire for Text {
    fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.len() as u64);
        out.extend_from_slice(self);
    }

    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        Ok(Self(bytes::Bytes::decode(reader)?[..].into()))
    }
}

impl Value for Text {
    type Total = Number;

    fn heap_bytes(&self) -> usize {
        self.len()
    }
}

/// A score of a sorted set: a double, which may be infinite.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Score(f64);

impl Score {
    /// A score, if it is a number.
    pub fn new(value: f64) -> Option<Self> {
        (!value.is_nan()).then_some(Self(value))
    }

    /// As a double: never NaN.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl Eq for Score {}

impl PartialOrd for Score {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Score {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.partial_cmp(&other.0).expect("a score is a number")
    }
}

impl Wire for Score {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0.to_le_bytes());
    }

    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        let bytes = reader.take(8)?;
        let value = bytes[..].try_into().map(f64::from_le_bytes).ok();
        value.and_then(Self::new).ok_or(WireError::Invalid("score"))
    }
}

impl Value for Score {
    type Total = Number;

    fn heap_bytes(&self) -> usize {
        0
    }
}

/// What a reader sees of a cell of text.
#[derive(Clone, Debug, PartialEq)]
pub enum Shown<'a> {
    /// What was written.
    Bytes(&'a [u8]),
    /// What whole numbers came to.
    Int(i64),
    /// What real numbers came to.
    Float(LongDouble),
}

impl<'a> Shown<'a> {
    /// The text, as Redis gives it.
    pub fn text(&self) -> Cow<'a, [u8]> {
        match self {
            Self::Bytes(bytes) => Cow::Borrowed(bytes),
            Self::Int(number) => Cow::Owned(alloc::format!("{number}").into_bytes()),
            Self::Float(number) => Cow::Owned(alloc::format!("{number}").into_bytes()),
        }
    }

    /// The whole number that it is, if Redis takes it for one.
    pub fn int(&self) -> Option<i64> {
        match self {
            Self::Bytes(bytes) => int(bytes),
            Self::Int(number) => Some(*number),
            Self::Float(_) => int(&self.text()),
        }
    }

    /// The real number that it is, if Redis takes it for one.
    pub fn float(&self) -> Option<LongDouble> {
        match self {
            Self::Bytes(bytes) => LongDouble::parse(bytes),
            Self::Int(number) => Some(LongDouble::from(*number)),
            // What is beyond the text's last digit is not in the next sum.
            Self::Float(_) => LongDouble::parse(&self.text()),
        }
    }
}

/// The whole number of 64 bits that a text is, in the one form that Redis takes for one: without spaces, plus or leading zeros.
pub(super) fn int(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let in_form = match digits {
        [b'0'] => text.len() == 1,
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    if in_form { core::str::from_utf8(text).ok()?.parse().ok() } else { None }
}
