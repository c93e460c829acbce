//! Deadlines: when a key ceases to be there.

use crate::engine::call::{Call, Outcome};
use crate::protocol::errors::{Failure, GT_AND_LT, NX_ALONE, invalid_expire};

/// A number of time in a command: its unit, and what it counts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unit {
    is_seconds: bool,
    is_relative: bool,
}

/// Seconds from now.
pub(super) const SECONDS: Unit = Unit { is_seconds: true, is_relative: true };
/// Milliseconds from now.
pub(super) const MILLISECONDS: Unit = Unit { is_seconds: false, is_relative: true };
/// Seconds since 1970.
pub(super) const AT_SECONDS: Unit = Unit { is_seconds: true, is_relative: false };
/// Milliseconds since 1970.
pub(super) const AT_MILLISECONDS: Unit = Unit { is_seconds: false, is_relative: false };

impl Unit {
    /// The moment in milliseconds since 1970, if there is such a number.
    fn moment(self, value: i64, now_ms: u64) -> Option<i64> {
        let value = if self.is_seconds { value.checked_mul(1000)? } else { value };
        if self.is_relative { value.checked_add(now_ms as i64) } else { Some(value) }
    }
}

/// The deadline at `index` of a command that sets a value with it: it must be positive.
pub(super) fn parse_deadline(call: &Call<'_>, index: usize, unit: Unit) -> Result<u64, Failure> {
    let value = call.integer(index)?;
    let moment = if value <= 0 { None } else { unit.moment(value, call.now_ms) };
    moment.map(|moment| moment as u64).ok_or_else(|| invalid_expire(call.command.name))
}

/// Sets a deadline of a key that is there; one that is past removes the key.
pub(super) fn set_deadline(call: &mut Call<'_>, key: &[u8], at_ms: i64) {
    if at_ms <= call.now_ms as i64 {
        call.store.remove(key);
    } else {
        call.store.set_deadline(key, Some(at_ms as u64));
    }
}

pub(super) fn expire(call: &mut Call<'_>) -> Outcome {
    set(call, SECONDS)
}

pub(super) fn pexpire(call: &mut Call<'_>) -> Outcome {
    set(call, MILLISECONDS)
}

pub(super) fn expireat(call: &mut Call<'_>) -> Outcome {
    set(call, AT_SECONDS)
}

pub(super) fn pexpireat(call: &mut Call<'_>) -> Outcome {
    set(call, AT_MILLISECONDS)
}

/// When a deadline is set.
#[derive(Clone, Copy, Debug, Default)]
struct Conditions {
    if_none: bool,
    if_some: bool,
    if_later: bool,
    if_earlier: bool,
}

impl Conditions {
    fn parse(call: &Call<'_>) -> Result<Self, Failure> {
        let mut conditions = Conditions::default();
        for option in call.arguments.from(3).iter() {
            match option.to_ascii_lowercase().as_slice() {
                b"nx" => conditions.if_none = true,
                b"xx" => conditions.if_some = true,
                b"gt" => conditions.if_later = true,
                b"lt" => conditions.if_earlier = true,
                _ => return Err(Failure::of([b"ERR Unsupported option ", option].concat())),
            }
        }
        if conditions.if_none && (conditions.if_some || conditions.if_later || conditions.if_earlier) {
            return Err(NX_ALONE);
        }
        if conditions.if_later && conditions.if_earlier { Err(GT_AND_LT) } else { Ok(conditions) }
    }

    /// A key without deadline has the latest.
    fn allow(self, present: Option<u64>, at_ms: i64) -> bool {
        let is_later = present.is_some_and(|present| at_ms > present as i64);
        let is_earlier = present.is_none_or(|present| at_ms < present as i64);
        !(self.if_none && present.is_some()
            || self.if_some && present.is_none()
            || self.if_later && !is_later
            || self.if_earlier && !is_earlier)
    }
}

fn set(call: &mut Call<'_>, unit: Unit) -> Outcome {
    let key = call.argument(1);
    let conditions = Conditions::parse(call)?;
    let at_ms = unit.moment(call.integer(2)?, call.now_ms).ok_or_else(|| invalid_expire(call.command.name))?;
    let sets = call.store.kind(key).is_some() && conditions.allow(call.store.deadline(key), at_ms);
    if sets {
        set_deadline(call, key, at_ms);
    }
    call.reply.integer(sets.into());
    Ok(())
}

pub(super) fn persist(call: &mut Call<'_>) -> Outcome {
    let key = call.argument(1);
    let persists = call.store.kind(key).is_some() && call.store.deadline(key).is_some();
    if persists {
        call.store.set_deadline(key, None);
    }
    call.reply.integer(persists.into());
    Ok(())
}

pub(super) fn ttl(call: &mut Call<'_>) -> Outcome {
    show(call, SECONDS)
}

pub(super) fn pttl(call: &mut Call<'_>) -> Outcome {
    show(call, MILLISECONDS)
}

pub(super) fn expiretime(call: &mut Call<'_>) -> Outcome {
    show(call, AT_SECONDS)
}

pub(super) fn pexpiretime(call: &mut Call<'_>) -> Outcome {
    show(call, AT_MILLISECONDS)
}

fn show(call: &mut Call<'_>, unit: Unit) -> Outcome {
    const NO_KEY: i64 = -2;
    const NO_DEADLINE: i64 = -1;
    let key = call.argument(1);
    let shown = match (call.store.kind(key), call.store.deadline(key)) {
        (None, _) => NO_KEY,
        (Some(_), None) => NO_DEADLINE,
        (Some(_), Some(at_ms)) => {
            let ms = if unit.is_relative { at_ms.saturating_sub(call.now_ms) } else { at_ms };
            (if unit.is_seconds { ms.saturating_add(500) / 1000 } else { ms }) as i64
        }
    };
    call.reply.integer(shown);
    Ok(())
}
