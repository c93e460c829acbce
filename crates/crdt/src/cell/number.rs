//! Cells whose values and additions are numbers.

use steadfast_types::wire::Wire;

use super::value::int;
use super::{Cell, Delta, Form, Score, Shown, Text, Value};
use crate::long_double::LongDouble;
use crate::number::Number;
use crate::version::Version;

/// The sum would be no number, or infinite. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotFinite;

impl<V: Value<Total = Number>> Cell<V> {
    /// The sum of the additions that no value has replaced; `None` if there are none.
    pub fn additions(&self) -> Option<Number> {
        match &self.0 {
            Form::Empty | Form::Value(..) => None,
            Form::Run(_, _, small) => Some((*small).into()),
            Form::Many(parts) => {
                let counted = parts.runs.iter().map(|run| match parts.observed(run.start) {
                    None => run.total.clone(),
                    Some(observed) => run.total.minus(observed),
                });
                counted.reduce(|sum, total| sum.plus(&total))
            }
        }
    }

    /// Adds a number, whole or real.
    pub fn add(&mut self, version: Version, by: &Number) -> Delta<V> {
        if let (Form::Run(start, last, small), Number::Int(by)) = (&mut self.0, by)
            && start.actor() == version.actor()
            && let Some(sum) = i64::try_from(*by).ok().and_then(|by| small.checked_add(by))
        {
            (*last, *small) = (version, sum);
            return Delta::Add(super::Run { start: *start, last: version, total: sum.into() });
        }
        self.advance(version, |total| match total {
            None => by.clone(),
            Some(total) => {
                *total = total.plus(by);
                total.clone()
            }
        })
    }
}

/// A text as a number, whole or real.
fn number(text: &[u8]) -> Option<Number> {
    if let Some(whole) = int(text) {
        return Some(whole.into());
    }
    LongDouble::parse(text)?.into_real().map(Number::from)
}

impl Cell<Text> {
    /// The value to which additions are added, and their sum with it: `None` if there are no additions, or the value is no number.
    fn sum(&self) -> Option<Number> {
        let additions = self.additions()?;
        match self.base() {
            None => Some(additions),
            Some((_, text)) => number(text).map(|base| base.plus(&additions)),
        }
    }

    /// What a reader sees. Additions to what is no number wait unseen, until a number takes its place.
    pub fn shown(&self) -> Option<Shown<'_>> {
        if let Form::Value(_, text) = &self.0 {
            return Some(Shown::Bytes(text));
        }
        match self.sum() {
            Some(Number::Int(sum)) => Some(Shown::Int(sum.clamp(i64::MIN.into(), i64::MAX.into()) as i64)),
            Some(Number::Float(sum)) => Some(Shown::Float(LongDouble::from(*sum))),
            None => self.base().map(|(_, text)| Shown::Bytes(text)),
        }
    }

    /// The whole number that is shown, zero if nothing is; `None` if what is shown is none. Whoever increments judges by it whether that would overflow.
    pub fn int(&self) -> Option<i64> {
        match &self.0 {
            Form::Run(_, _, small) => Some(*small),
            _ => self.shown().map_or(Some(0), |shown| shown.int()),
        }
    }

    /// The real number that is shown, zero if nothing is; `None` if what is shown is none.
    pub fn float(&self) -> Option<LongDouble> {
        self.shown().map_or(Some(LongDouble::default()), |shown| shown.float())
    }

    /// Adds a whole number to a whole number ([`Cell::int`]).
    pub fn add_int(&mut self, version: Version, by: i64) -> Delta<Text> {
        let by = match self.sum() {
            // What no reader sees of a real sum is gone after an addition, as it is in Redis.
            Some(sum @ Number::Float(_)) => {
                let after = i128::from(self.int().unwrap_or_default()) + i128::from(by);
                Number::Int(after).minus(&sum)
            }
            _ => by.into(),
        };
        self.add(version, &by)
    }

    /// Adds a real number to a real number ([`Cell::float`]); what is shown then is what Redis shows, digit for digit.
    ///
    /// # Errors
    /// If the sum would not be finite.
    pub fn add_float(&mut self, version: Version, by: &LongDouble) -> Result<Delta<Text>, NotFinite> {
        let before = self.float().ok_or(NotFinite)?;
        let after = before.plus(by).and_then(LongDouble::into_real).ok_or(NotFinite)?;
        let sum = self.sum().or_else(|| self.base().and_then(|(_, text)| number(text))).unwrap_or_default();
        let by = Number::from(after).minus(&sum);
        Ok(self.add(version, &by))
    }
}

impl Cell<Score> {
    /// What a reader sees.
    pub fn shown(&self) -> Option<Score> {
        let base = self.base().map(|(_, score)| *score);
        let Some(additions) = self.additions() else { return base };
        let base = base.unwrap_or_default();
        // To what is infinite nothing can be added.
        Score::new(Number::from_f64(base.get()).map_or(base.get(), |base| base.plus(&additions).to_f64()))
    }

    /// Adds to the score, as doubles are added. What becomes infinite, or was, is written instead.
    ///
    /// # Errors
    /// If the sum would be no number.
    pub fn add_score(&mut self, version: Version, by: Score) -> Result<Delta<Score>, NotFinite> {
        let base = self.base().map_or(0.0, |(_, score)| score.get());
        let before = self.shown().unwrap_or_default().get();
        let after = Score::new(before + by.get()).ok_or(NotFinite)?;
        let (Some(sum), Some(base)) = (Number::from_f64(after.get()), Number::from_f64(base)) else {
            return Ok(self.set(version, after));
        };
        let by = sum.minus(&base.plus(&self.additions().unwrap_or_default()));
        Ok(self.add(version, &by))
    }
}

impl<V: Value> From<(Version, V)> for Cell<V> {
    fn from((version, value): (Version, V)) -> Self {
        Self::of(version, value)
    }
}

// Deltas are told and kept in their wire form.
const _: fn() = || {
    fn has_wire_form<T: Wire>() {}
    has_wire_form::<Cell<Text>>();
};
