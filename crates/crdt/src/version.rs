//! Who wrote, and when: a write's name, and its rank among concurrent writes.

use alloc::vec::Vec;
use core::fmt;

use steadfast_types::wire::{Reader, Wire, WireError};

/// Bits of a version that say who wrote.
const ACTOR_BITS: u32 = 12;

/// Bits of a time that count what happened within a millisecond.
const COUNT_BITS: u32 = 11;

/// Whoever writes: one incarnation of a replica. There are places for 4,096 of them at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Actor(u16);

impl Actor {
    /// The greatest place.
    pub const MAX: Self = Self((1 << ACTOR_BITS) - 1);

    /// The actor at a place, if there is such a place.
    pub const fn new(place: u16) -> Option<Self> {
        if place <= Self::MAX.0 { Some(Self(place)) } else { None }
    }

    /// Its place.
    pub const fn place(self) -> u16 {
        self.0
    }
}

/// A time of a hybrid logical clock, in 52 bits: 41 of milliseconds since the beginning of 2024 (they last until 2093), and 11 of a count. A clock that
/// counts further than that within a millisecond runs ahead of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    /// The last time there is.
    pub const MAX: Self = Self((1 << (u64::BITS - ACTOR_BITS)) - 1);

    /// Unix time at time zero, in milliseconds: the beginning of 2024.
    pub const EPOCH_MS: u64 = 1_704_067_200_000;

    /// The first time of a millisecond of Unix time. Before 2024 it is time zero, and past the last one the last one.
    pub fn at_unix_ms(ms: u64) -> Self {
        Self(ms.saturating_sub(Self::EPOCH_MS).saturating_mul(1 << COUNT_BITS).min(Self::MAX.0))
    }

    /// The millisecond of Unix time that it is in.
    pub fn unix_ms(self) -> u64 {
        (self.0 >> COUNT_BITS) + Self::EPOCH_MS
    }

    /// The next one, if there is one.
    pub fn next(self) -> Option<Self> {
        (self < Self::MAX).then(|| Self(self.0 + 1))
    }

    /// As a number, which grows with it.
    pub const fn number(self) -> u64 {
        self.0
    }
}

/// A write: its time and who wrote. Different writes have different versions, an actor's versions grow, and a write that had seen another has the greater one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(u64);

impl Version {
    /// A write at a time by an actor.
    pub const fn new(time: Time, actor: Actor) -> Self {
        Self(time.0 << ACTOR_BITS | actor.0 as u64)
    }

    /// When, by the hybrid logical clock of the one who wrote.
    pub const fn time(self) -> Time {
        Time(self.0 >> ACTOR_BITS)
    }

    /// Who wrote.
    pub const fn actor(self) -> Actor {
        Actor(self.0 as u16 & Actor::MAX.0)
    }

    /// As a number: every number is a version's.
    pub const fn number(self) -> u64 {
        self.0
    }

    /// The version that has this number.
    pub const fn from_number(number: u64) -> Self {
        Self(number)
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.time().0, self.actor().0)
    }
}

impl Wire for Version {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }

    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        Ok(Self(u64::decode(reader)?))
    }
}

impl Wire for Actor {
    fn encode(&self, out: &mut Vec<u8>) {
        u64::from(self.0).encode(out);
    }

    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        let place = u16::try_from(u64::decode(reader)?).ok();
        place.and_then(Self::new).ok_or(WireError::Invalid("actor"))
    }
}

impl Wire for Time {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }

    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        let time = Self(u64::decode(reader)?);
        if time <= Self::MAX { Ok(time) } else { Err(WireError::Invalid("time")) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_version_is_its_time_and_its_actor(ms in Time::EPOCH_MS..=Time::MAX.unix_ms(), place in 0..=Actor::MAX.place()) {
            let (time, actor) = (Time::at_unix_ms(ms), Actor::new(place).unwrap());
            let version = Version::new(time, actor);
            prop_assert_eq!((version.time(), version.actor(), version.time().unix_ms()), (time, actor, ms));
            prop_assert_eq!(Version::from_wire(version.to_wire().into()), Ok(version));
        }

        #[test]
        fn later_is_greater_whoever_wrote(ms in Time::EPOCH_MS..Time::MAX.unix_ms(), early in 0..=Actor::MAX.place(), late in 0..=Actor::MAX.place()) {
            let time = Time::at_unix_ms(ms);
            let (early, late) = (Actor::new(early).unwrap(), Actor::new(late).unwrap());
            prop_assert!(Version::new(time, early) < Version::new(time.next().unwrap(), late));
        }
    }

    #[test]
    fn there_are_so_many_places_and_times() {
        assert_eq!((Actor::new(4096), Time::MAX.next()), (None, None));
        assert_eq!((Time::at_unix_ms(u64::MAX), Time::at_unix_ms(0).unix_ms()), (Time::MAX, Time::EPOCH_MS));
        assert!(Actor::from_wire(4096_u64.to_wire().into()).is_err() && Time::from_wire(u64::MAX.to_wire().into()).is_err());
    }
}
