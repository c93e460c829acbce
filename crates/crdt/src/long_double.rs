//! Long doubles as the x87 has them, with 64 bits of mantissa: Redis adds in them, and shows 17 places of them.

use alloc::format;
use core::fmt;

use dashu_int::ops::{BitTest, DivRem};
use dashu_int::{IBig, Sign, UBig};

use crate::real::{LEAST_EXPONENT, Real};

/// Bits of the mantissa.
const MANTISSA_BITS: usize = 64;

/// All finite ones are below 2 to it.
const END_EXPONENT: i32 = 16_384;

/// No text that is as long as this or longer is taken for a number.
const END_LENGTH: usize = 5 * 1024;

/// So many digits, of whichever base, fit into 128 bits.
const SHORT: usize = 32;

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

    /// What its text is for Redis: the digits that are not shown are gone.
    pub(crate) fn as_shown(&self) -> Option<Self> {
        match self {
            // All places of multiples of 2^-17 are shown, and where neighbours differ by more than 10^-17 each has a text of its own.
            Self::Finite(real) if real.is_multiple_of(-(PLACES as i32)) || real.end() - MANTISSA_BITS as i32 >= -56 => Some(self.clone()),
            _ => Self::parse(format!("{self}").as_bytes()),
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
        let scaled = real.scaled(&UBig::from(10_u64.pow(PLACES as u32)));
        if scaled.is_zero() {
            return f.write_str("0");
        }
        let digits = match u128::try_from(&scaled) {
            Ok(short) => format!("{short:0>width$}", width = PLACES + 1),
            Err(_) => format!("{scaled}"),
        };
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
    let exponent = exponent.map_or(Some(0), decimal_exponent)?;
    let length = whole.len() + places.len();
    if length == 0 {
        return None;
    }
    let number = if length <= SHORT {
        let mut digits = whole.chars().chain(places.chars()).map(|digit| digit.to_digit(radix));
        digits.try_fold(0, |number: u128, digit| Some(number * u128::from(radix) + u128::from(digit?)))?.into()
    } else if whole.chars().chain(places.chars()).all(|digit| digit.is_digit(radix)) {
        UBig::from_str_radix(&format!("{whole}{places}"), radix).ok()?
    } else {
        return None;
    };
    Some((number, places.len() as i64, exponent))
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

fn power_of_ten(exponent: usize) -> UBig {
    let short = u32::try_from(exponent).ok().and_then(|exponent| 10_u128.checked_pow(exponent));
    short.map_or_else(|| UBig::from(10_u8).pow(exponent), UBig::from)
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
    let power = power_of_ten(exponent.unsigned_abs() as usize);
    if exponent >= 0 {
        return Some(Real::new((number * power).into(), 0));
    }
    // Two bits more than the mantissa has, and one that says whether there is a rest.
    let shift = (MANTISSA_BITS + 2 + power.bit_len()).saturating_sub(number.bit_len());
    let shifted = number << shift;
    let (quotient, rest) = shifted.div_rem(power);
    let sticky = if rest.is_zero() { UBig::ZERO } else { UBig::ONE };
    Some(Real::new(IBig::from_parts(Sign::Positive, (quotient << 1) | sticky), -(shift as i32) - 1))
}

#[cfg(test)]
mod tests {
    use alloc::string::{String, ToString};

    use proptest::prelude::*;

    use super::*;

    fn shown(text: &str) -> Option<String> {
        LongDouble::parse(text.as_bytes()).map(|number| number.to_string())
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_and_shown_again(whole in any::<i64>(), exponent in -100..100_i32) {
            let number = LongDouble::from(Real::new(whole.into(), exponent));
            prop_assert_eq!(shown(&number.to_string()), Some(number.to_string()));
            prop_assert_eq!(number.as_shown(), LongDouble::parse(number.to_string().as_bytes()));
        }

        #[test]
        fn all_digits_of_a_double_are_read(bits in any::<u64>().prop_filter("finite", |bits| f64::from_bits(*bits).is_finite())) {
            let value = f64::from_bits(bits);
            let read = LongDouble::parse(format!("{value:.1074}").as_bytes());
            prop_assert_eq!(read, Real::from_f64(value).map(LongDouble::Finite));
        }

        #[test]
        fn the_nearest_is_read(digits in "[1-9][0-9]{0,24}", places in 0..40_usize) {
            let read = LongDouble::parse(format!("{digits}e-{places}").as_bytes()).unwrap().into_real().unwrap();
            // Both made whole: what was read is off by at most half of its last bit.
            let times = |real: &Real| (0..places).fold(real.clone(), |real, _| (0..9).fold(real.clone(), |sum, _| sum.plus(&real)));
            let written = Real::new(UBig::from_str_radix(&digits, 10).unwrap().into(), 0);
            let off = times(&read).plus(&written.negated());
            prop_assert!(off.end() <= written.end() - MANTISSA_BITS as i32, "{} off", off.to_f64());
        }
    }

    #[test]
    fn texts_are_numbers_as_they_are_for_redis() {
        let texts = [
            ("0.1", Some("0.1")),
            ("3.0", Some("3")),
            ("+1.5e3", Some("1500")),
            (".5", Some("0.5")),
            ("1.", Some("1")),
            ("-0", Some("0")),
            ("-1e-18", Some("0")),
            ("0x1.8p3", Some("12")),
            ("INFINITY", Some("inf")),
            ("-inf", Some("-inf")),
            ("0e99999999999999999999", Some("0")),
            ("1e-4950", Some("0")),
            ("12345678901234567890.5", Some("12345678901234567890")),
            ("0.00000000000000000149", Some("0")),
            ("0.12345678901234567890", Some("0.12345678901234568")),
            ("1e-4952", None),
            ("1.19e4932", None),
            ("1e99999999999999999999", None),
            ("nan", None),
            ("", None),
            (".", None),
            ("-", None),
            (" 1", None),
            ("1 ", None),
            ("1e", None),
            ("0x", None),
            ("+-1", None),
            ("1_0", None),
        ];
        for (text, expected) in texts {
            assert_eq!(shown(text).as_deref(), expected, "{text:?}");
        }
        let long = "0".repeat(END_LENGTH - 1);
        assert_eq!((shown(&long), shown(&format!("{long}0"))), (Some("0".into()), None));
    }
}
