//! How often an address may try passwords: a guard against trying them all.
//!
//! Each wrong password fills its address's bucket by one, and the bucket loses one each second; while it is full, passwords from there are not even looked
//! at. So an address tries ten passwords at once and then one a second, whatever users it names and however often it connects. Connections that are
//! there already are not touched. IPv6 addresses count by their first 64 bits, which one subscriber has. What is kept is bounded: beyond so many
//! addresses, the one that is nearest to empty is forgotten.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

/// A bucket is full with so many.
const BURST: u64 = 10;

/// It loses one in so many microseconds.
const DRAIN_US: u64 = 1_000_000;

/// So many addresses are kept.
const ADDRESSES: usize = 4096;

/// Wrong passwords by address.
#[derive(Clone, Debug, Default)]
pub struct Attempts {
    /// When each bucket will be empty, in microseconds since 1970.
    empty_at_us: BTreeMap<Option<IpAddr>, u64>,
    /// Wrong passwords.
    failed: u64,
    /// Passwords that were not looked at.
    refused: u64,
}

impl Attempts {
    /// Whether a password from an address may be looked at.
    ///
    /// # Errors
    /// In how many seconds one may.
    pub fn check(&mut self, address: Option<IpAddr>, now_us: u64) -> Result<(), u64> {
        let filled_us = self.empty_at_us.get(&network(address)).map_or(0, |empty| empty.saturating_sub(now_us));
        let over_us = (filled_us + DRAIN_US).saturating_sub(BURST * DRAIN_US);
        if over_us == 0 {
            return Ok(());
        }
        self.refused += 1;
        Err(over_us.div_ceil(1_000_000))
    }

    /// A password from an address was wrong.
    pub fn failed(&mut self, address: Option<IpAddr>, now_us: u64) {
        self.failed += 1;
        let address = network(address);
        if self.empty_at_us.len() >= ADDRESSES && !self.empty_at_us.contains_key(&address) {
            let first = self.empty_at_us.iter().min_by_key(|(_, empty)| **empty).map(|(address, _)| *address);
            first.and_then(|address| self.empty_at_us.remove(&address));
        }
        let empty = self.empty_at_us.entry(address).or_default();
        // A clock that was set back makes no one wait for longer than a full bucket.
        *empty = (*empty).clamp(now_us, now_us + (BURST - 1) * DRAIN_US) + DRAIN_US;
    }

    /// How many passwords were wrong, and how many were not looked at.
    pub fn counts(&self) -> (u64, u64) {
        (self.failed, self.refused)
    }
}

/// What counts as one address.
fn network(address: Option<IpAddr>) -> Option<IpAddr> {
    address.map(|address| match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address @ IpAddr::V4(_) => address,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address(number: u32) -> Option<IpAddr> {
        Some(IpAddr::from(number.to_be_bytes()))
    }

    proptest! {
        #[test]
        fn in_any_time_an_address_tries_ten_passwords_and_one_a_second(
            steps in proptest::collection::vec(prop_oneof![0..100_000_u64, 0..3_000_000_u64], 1..200),
        ) {
            let (mut attempts, mut now, mut tried) = (Attempts::default(), 1_800_000_000_000_000, Vec::new());
            for step in steps {
                now += step;
                if attempts.check(address(1), now).is_ok() {
                    attempts.failed(address(1), now);
                    tried.push(now);
                }
            }
            for (number, from) in tried.iter().enumerate() {
                for (more, to) in tried[number..].iter().enumerate() {
                    prop_assert!(more as u64 <= 10 + (to - from) / 1_000_000, "{} in {} us", more + 1, to - from);
                }
            }
        }

        #[test]
        fn who_waits_as_long_as_is_said_may_try(failures in 0..40_u64, gap in 0..1_500_000_u64) {
            let (mut attempts, mut now) = (Attempts::default(), 1_800_000_000_000_000);
            (0..failures).for_each(|_| {
                now += gap;
                attempts.failed(address(1), now);
            });
            if let Err(seconds) = attempts.check(address(1), now) {
                prop_assert!(seconds <= 10);
                prop_assert_eq!(attempts.check(address(1), now + seconds * 1_000_000), Ok(()));
            }
            prop_assert_eq!(attempts.check(address(2), now), Ok(()));
        }
    }

    #[test]
    fn what_is_kept_is_bounded_and_the_worst_is_not_forgotten() {
        let (mut attempts, now) = (Attempts::default(), 1_800_000_000_000_000);
        (0..20).for_each(|_| attempts.failed(address(0), now));
        (1..20_000).for_each(|number| attempts.failed(address(number), now));
        assert_eq!(attempts.empty_at_us.len(), ADDRESSES);
        assert!(attempts.check(address(0), now).is_err());
        assert_eq!(attempts.counts(), (20 + 19_999, 1));
    }

    #[test]
    fn one_subscriber_is_one_address() {
        let (mut attempts, now) = (Attempts::default(), 1_800_000_000_000_000);
        (0..10).for_each(|number| attempts.failed(format!("2001:db8::{number}").parse().ok(), now));
        assert!(attempts.check("2001:db8::ffff:1".parse().ok(), now).is_err());
        assert!(attempts.check("2001:db8:0:1::1".parse().ok(), now).is_ok());
    }
}
