//! What increments come to: whole numbers as INCR makes them, or real ones as INCRBYFLOAT does.

use alloc::boxed::Box;
use alloc::vec::Vec;

use steadfast_types::wire::{Reader, Wire, WireError};

use crate::real::Real;

/// A sum of increments.
#[derive(Clone, Debug, PartialEq)]
pub enum Number {
    /// Whole, and shown so: past the ends of 64 bits as the end.
    Int(i128),
    /// Real, exactly, and shown as a floating point number: a sum in which one is real is real.
    Float(Box<Real>),
}

impl Default for Number {
    fn default() -> Self {
        Self::Int(0)
    }
}

impl From<i64> for Number {
    fn from(number: i64) -> Self {
        Self::Int(number.into())
    }
}

impl From<Real> for Number {
    fn from(real: Real) -> Self {
        Self::Float(Box::new(real))
    }
}

impl Number {
    /// The number of a double, whole if it is a whole number of 64 bits; `None` if it is none or infinite.
    pub fn from_f64(value: f64) -> Option<Self> {
        let whole = value as i64;
        if whole as f64 == value && whole != i64::MAX {
            return Some(whole.into());
        }
        Real::from_f64(value).map(Self::from)
    }

    /// The nearest double.
    pub fn to_f64(&self) -> f64 {
        match self {
            Self::Int(number) => *number as f64,
            Self::Float(real) => real.to_f64(),
        }
    }

    /// As a real number.
    pub fn to_real(&self) -> Real {
        match self {
            Self::Int(number) => Real::from(*number),
            Self::Float(real) => (**real).clone(),
        }
    }

    /// The sum.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        match (self, other) {
            // Nobody increments as often as it would take to get past an end. Who claims to have is held at it.
            (Self::Int(one), Self::Int(two)) => Self::Int(one.saturating_add(*two)),
            _ => self.to_real().plus(&other.to_real()).into(),
        }
    }

    /// The difference.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Int(one), Self::Int(two)) => Self::Int(one.saturating_sub(*two)),
            _ => self.to_real().plus(&other.to_real().negated()).into(),
        }
    }
}

/// Appends a signed number as a varint of up to 128 bits.
fn put_i128(out: &mut Vec<u8>, number: i128) {
    let mut rest = (number << 1 ^ number >> 127) as u128;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn take_i128(reader: &mut Reader) -> Result<i128, WireError> {
    let mut value = 0_u128;
    for shift in (0..=126).step_by(7) {
        let byte = u8::decode(reader)?;
        if shift == 126 && byte > 3 {
            break;
        }
        value |= u128::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok((value >> 1) as i128 ^ -((value & 1) as i128));
        }
    }
    Err(WireError::Invalid("number"))
}

impl Wire for Number {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Int(number) => {
                out.push(1);
                put_i128(out, *number);
            }
            Self::Float(real) => {
                out.push(2);
                real.encode(out);
            }
        }
    }

    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        match u8::decode(reader)? {
            1 => take_i128(reader).map(Self::Int),
            2 => Real::decode(reader).map(Self::from),
            _ => Err(WireError::Invalid("number")),
        }
    }
}
