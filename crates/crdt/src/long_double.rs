//! Long doubles as the x87 has them, with 64 bits of mantissa: Redis adds in them, and shows 17 places of them.

use alloc::format;
use core::fmt;

use dashu_int::ops::BitTest;
use dashu_int::{IBig, Sign, UBig};

use crate::real::{LEAST_EXPONENT, Real};

/// Bits of the mantissa.
const MANTISSA_BITS: usize = 64;

/// All finite ones are below 2 to it.
const END_EXPONENT: i32 = 16_384;

/// No text that is as long as this or longer is taken for a number.
const END_LENGTH: usize = 5 * 1024;

/// Decimal places that are shown.
const PLACES: usize = 17;

/// A long double: never NaN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LongDouble {
    /// A number of 64 bits times a power of two.
    Finite(Real),
    /// Past all of them.
    Infinite {
        /// Below rather than above.
        is_negative: bool,
    },
}

impl Default for LongDouble {
    fn default() -> Self {
        Self::Finite(Real::default())
    }
}

impl From<i64> for LongDouble {
    fn from(number: i64) -> Self {
        Self::Finite(Real::from(i128::from(number)))
    }
}

/// Rounds to the nearest, of two as near to the even one.
impl From<Real> for LongDouble {
    fn from(real: Real) -> Self {
        let rounded = real.rounded(MANTISSA_BITS, LEAST_EXPONENT);
        if rounded.end() > END_EXPONENT { Self::Infinite { is_negative: real.is_negative() } } else { Self::Finite(rounded) }
    }
}

impl LongDouble {
    /// The number that a text is for Redis: what C's `strtold` reads from its first byte to its last, unless that is NaN or out of range.
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text.len() >= END_LENGTH {
            return None;
        }
        let is_negative = text.first() == Some(&b'-');
        let digits = if is_negative { &text[1..] } else { text.strip_prefix(b"+").unwrap_or(text) };
        if digits.eq_ignore_ascii_case(b"inf") || digits.eq_ignore_ascii_case(b"infinity") {
            return Some(Self::Infinite { is_negative });
        }
        let magnitude = match digits {
            [b'0', b'x' | b'X', digits @ ..] => hexadecimal(digits)?,
            _ => decimal(digits)?,
        };
        let number = Self::from(if is_negative { magnitude.negated() } else { magnitude.clone() });
        match &number {
            Self::Infinite { .. } => None,
            Self::Finite(rounded) if rounded.is_zero() && !magnitude.is_zero() => None,
            Self::Finite(_) => Some(number),
        }
    }

    /// The sum, rounded; `None` if it is no number.
    pub fn plus(&self, other: &Self) -> Option<Self> {
        match (self, other) {
            (Self::Finite(one), Self::Finite(two)) => Some(one.plus(two).into()),
            (Self::Infinite { .. }, Self::Infinite { .. }) if self != other => None,
            (Self::Infinite { .. }, _) => Some(self.clone()),
            (_, Self::Infinite { .. }) => Some(other.clone()),
        }
    }

    /// As a real number, if it is finite.
    pub fn into_real(self) -> Option<Real> {
        match self {
            Self::Finite(real) => Some(real),
            Self::Infinite { .. } => None,
        }
    }
}

/// As Redis shows it: 17 places, without zeros at the end.
impl fmt::Display for LongDouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let real = match self {
            Self::Infinite { is_negative } => return f.write_str(if *is_negative { "-inf" } else { "inf" }),
            Self::Finite(real) => real,
        };
        let scaled = real.scaled(PLACES);
        if scaled.is_zero() {
            return f.write_str("0");
        }
        let digits = format!("{scaled:0>width$}", width = PLACES + 1);
        let (whole, places) = digits.split_at(digits.len() - PLACES);
        let places = places.trim_end_matches('0');
        let (sign, point) = (if real.is_negative() { "-" } else { "" }, if places.is_empty() { "" } else { "." });
        write!(f, "{sign}{whole}{point}{places}")
    }
}

/// Digits in a base with a point among them, and the exponent behind a letter: the digits as a whole number, how many of them are behind the point, and the
/// exponent, which is held within what matters.
fn digits(text: &[u8], radix: u32, letter: u8) -> Option<(UBig, i64, i64)> {
    let end = text.iter().position(|byte| byte.eq_ignore_ascii_case(&letter)).unwrap_or(text.len());
    let (mantissa, exponent) = (core::str::from_utf8(&text[..end]).ok()?, text.get(end + 1..));
    let (whole, places) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{places}");
    if !all.bytes().all(|byte| char::from(byte).is_digit(radix)) {
        return None;
    }
    let number = UBig::from_str_radix(&all, radix).ok()?;
    Some((number, places.len() as i64, exponent.map_or(Some(0), decimal_exponent)?))
}

/// An exponent, held within a million.
fn decimal_exponent(text: &[u8]) -> Option<i64> {
    let (sign, digits) = match text {
        [b'-', digits @ ..] => (-1, digits),
        [b'+', digits @ ..] | digits => (1, digits),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let magnitude = digits.iter().fold(0, |number: i64, digit| (number * 10 + i64::from(digit - b'0')).min(1_000_000));
    Some(sign * magnitude)
}

/// A number past all long doubles, or nearer to zero than all of them.
fn out_of_range(is_great: bool) -> Real {
    Real::new(IBig::ONE, if is_great { END_EXPONENT } else { LEAST_EXPONENT - 2 })
}

fn hexadecimal(text: &[u8]) -> Option<Real> {
    let (number, places, exponent) = digits(text, 16, b'p')?;
    let exponent = exponent - 4 * places;
    if number.is_zero() {
        return Some(Real::default());
    }
    let end = number.bit_len() as i64 + exponent;
    if end > END_EXPONENT.into() || end < i64::from(LEAST_EXPONENT) - 2 {
        return Some(out_of_range(end > 0));
    }
    Some(Real::new(number.into(), exponent as i32))
}

/// The number, or one that rounds as it does.
fn decimal(text: &[u8]) -> Option<Real> {
    let (number, places, exponent) = digits(text, 10, b'e')?;
    let exponent = exponent - places;
    if number.is_zero() {
        return Some(Real::default());
    }
    // Its magnitude, as a power of ten, to one or two. Long doubles are from 10^-4951 to 10^4932.
    let power = number.bit_len() as i64 * 30_103 / 100_000 + exponent;
    if !(-4_960..4_940).contains(&power) {
        return Some(out_of_range(power > 0));
    }
    let power = UBig::from(10_u8).pow(exponent.unsigned_abs() as usize);
    if exponent >= 0 {
        return Some(Real::new((number * power).into(), 0));
    }
    // Two bits more than the mantissa has, and one that says whether there is a rest.
    let shift = (MANTISSA_BITS + 2 + power.bit_len()).saturating_sub(number.bit_len());
    let shifted = number << shift;
    let (quotient, rest) = (&shifted / &power, &shifted % &power);
    let sticky = if rest.is_zero() { UBig::ZERO } else { UBig::ONE };
    Some(Real::new(IBig::from_parts(Sign::Positive, (quotient << 1) | sticky), -(shift as i32) - 1))
}
