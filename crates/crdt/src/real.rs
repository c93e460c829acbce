//! Numbers of the form whole × 2^exponent, and exact sums of them.

use alloc::vec::Vec;

use dashu_int::ops::BitTest;
use dashu_int::{IBig, Sign, UBig};
use steadfast_types::wire::{Reader, Wire, WireError};

/// The least exponent: every finite long double (and so every double) is a multiple of 2 to it.
pub(crate) const LEAST_EXPONENT: i32 = -16_445;

/// Sums stay below 2 to it: a long double is below 2^16384, and nobody has 2^64 of them.
const END_EXPONENT: i32 = 16_384 + 64;

/// The greatest exponent that there is.
const GREATEST_EXPONENT: i32 = END_EXPONENT;

/// A real number that binary floating point can hold, however many digits it takes: sums and differences are exact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Real {
    /// Odd, or zero.
    whole: IBig,
    /// Zero if the number is.
    exponent: i32,
}

impl Default for Real {
    fn default() -> Self {
        Self { whole: IBig::ZERO, exponent: 0 }
    }
}

impl Real {
    /// `whole` × 2^`exponent`.
    pub(crate) fn new(whole: IBig, exponent: i32) -> Self {
        match whole.trailing_zeros() {
            None => Self::default(),
            Some(0) => Self { whole, exponent },
            Some(zeros) => Self { whole: whole >> zeros, exponent: exponent + zeros as i32 },
        }
    }

    /// The number of a double; `None` if it is none or infinite.
    pub fn from_f64(value: f64) -> Option<Self> {
        let bits = value.to_bits();
        let (exponent, fraction) = ((bits >> 52 & 0x7ff) as i32, bits & ((1 << 52) - 1));
        let whole = match exponent {
            0x7ff => return None,
            0 => fraction,
            _ => fraction | 1 << 52,
        };
        let sign = if value.is_sign_negative() { Sign::Negative } else { Sign::Positive };
        Some(Self::new(IBig::from_parts(sign, whole.into()), exponent.max(1) - 1075))
    }

    /// The nearest double (of two as near the even one), infinite if it is past the greatest.
    pub fn to_f64(&self) -> f64 {
        let rounded = self.rounded(53, -1074);
        if rounded.end() > 1024 {
            return if rounded.is_negative() { f64::NEG_INFINITY } else { f64::INFINITY };
        }
        let (sign, whole) = rounded.whole.clone().into_parts();
        let whole = u64::try_from(whole).expect("rounded to 53 bits");
        // Both factors are exact, and so is the product; a power of two below the least normal double takes two steps.
        let half = rounded.exponent / 2;
        let magnitude = whole as f64 * power_of_two(half) * power_of_two(rounded.exponent - half);
        if sign == Sign::Negative { -magnitude } else { magnitude }
    }

    /// Rounded to so many bits, or to a multiple of 2^`least` where that is coarser; of two as near the even one.
    pub(crate) fn rounded(&self, bits: usize, least: i32) -> Self {
        let (sign, whole) = self.whole.clone().into_parts();
        let surplus = whole.bit_len() as i32 - bits as i32;
        let surplus = surplus.max(least - self.exponent);
        if surplus <= 0 {
            return self.clone();
        }
        Self::new(IBig::from_parts(sign, round_shift(whole, surplus as usize)), self.exponent + surplus)
    }

    /// The sum.
    pub fn plus(&self, other: &Self) -> Self {
        if self.is_zero() {
            return other.clone();
        }
        if other.is_zero() {
            return self.clone();
        }
        let exponent = self.exponent.min(other.exponent);
        let at = |real: &Self| real.whole.clone() << (real.exponent - exponent) as usize;
        Self::new(at(self) + at(other), exponent)
    }

    /// The same number, the other side of zero.
    pub fn negated(&self) -> Self {
        Self { whole: -self.whole.clone(), exponent: self.exponent }
    }

    /// Whether it is zero.
    pub fn is_zero(&self) -> bool {
        self.whole.is_zero()
    }

    /// Whether it is below zero.
    pub fn is_negative(&self) -> bool {
        self.whole.sign() == Sign::Negative
    }

    /// The magnitude is below 2 to it.
    pub(crate) fn end(&self) -> i32 {
        if self.is_zero() { i32::MIN } else { self.whole.bit_len() as i32 + self.exponent }
    }

    /// The magnitude × 10^`places`, rounded to a whole number, of two as near the even one.
    pub(crate) fn scaled(&self, places: usize) -> UBig {
        let (_, whole) = self.whole.clone().into_parts();
        let whole = whole * UBig::from(10_u8).pow(places);
        if self.exponent >= 0 { whole << self.exponent as usize } else { round_shift(whole, -self.exponent as usize) }
    }

    /// Bytes held on the heap.
    pub(crate) fn heap_bytes(&self) -> usize {
        // Two words are held in place.
        let bits = self.whole.bit_len();
        if bits <= 128 { 0 } else { bits.div_ceil(8) }
    }
}

impl From<i128> for Real {
    fn from(number: i128) -> Self {
        Self::new(number.into(), 0)
    }
}

/// 2^`exponent`, of a normal double.
fn power_of_two(exponent: i32) -> f64 {
    f64::from_bits(((exponent + 1023) as u64) << 52)
}

/// `whole` / 2^`bits`, rounded; of two as near the even one.
pub(crate) fn round_shift(whole: UBig, bits: usize) -> UBig {
    if bits == 0 {
        return whole;
    }
    let zeros = whole.trailing_zeros().unwrap_or(usize::MAX);
    let (rest_reaches_half, is_half) = (whole.bit(bits - 1), zeros == bits - 1);
    let shifted = whole >> bits;
    if rest_reaches_half && (!is_half || shifted.bit(0)) { shifted + UBig::ONE } else { shifted }
}

impl Wire for Real {
    fn encode(&self, out: &mut Vec<u8>) {
        let (sign, whole) = self.whole.clone().into_parts();
        i64::from(self.exponent).encode(out);
        (sign == Sign::Negative).encode(out);
        bytes::Bytes::from(whole.to_le_bytes().into_vec()).encode(out);
    }

    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        let exponent = i32::try_from(i64::decode(reader)?).map_err(|_| WireError::Invalid("real: exponent"))?;
        let is_negative = bool::decode(reader)?;
        let bytes = bytes::Bytes::decode(reader)?;
        let whole = UBig::from_le_bytes(&bytes);
        let is_canonical = match whole.trailing_zeros() {
            None => exponent == 0 && !is_negative && bytes.is_empty(),
            Some(zeros) => zeros == 0 && bytes.last() != Some(&0),
        };
        let in_range =
            (LEAST_EXPONENT..=GREATEST_EXPONENT).contains(&exponent) && whole.bit_len() as i64 + i64::from(exponent) <= END_EXPONENT.into();
        if !is_canonical || !in_range {
            return Err(WireError::Invalid("real"));
        }
        Ok(Self { whole: IBig::from_parts(if is_negative { Sign::Negative } else { Sign::Positive }, whole), exponent })
    }
}
