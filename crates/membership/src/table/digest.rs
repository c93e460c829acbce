//! The digest of who takes part: equal tables have equal ones, and the sums of buckets tell where two tables differ.
//!
//! Each alive or suspect member, oneself included, adds its fingerprint: id, incarnation and version of the profile. All nodes must compute alike.

use steadfast_types::NodeId;

use super::{Slot, Table};

/// How many buckets a table is compared by. With 10,000 members one of them has some forty, which fit in a datagram.
pub(crate) const BUCKETS: usize = 256;

/// A fixed good mixture of 64 bits (the finisher of splitmix64): all nodes must mix alike.
pub(crate) fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

pub(crate) fn bucket_of(id: NodeId) -> usize {
    (mix(id.0) >> 56) as usize
}

impl Table {
    /// A short digest of who takes part, in which incarnation. Equal tables have equal ones.
    #[must_use]
    pub fn digest(&self) -> u32 {
        self.digest
    }

    pub(crate) fn sums(&self) -> &[u32; BUCKETS] {
        &self.sums
    }

    pub(super) fn fingerprint(&self, slot: Slot) -> Option<(usize, u64)> {
        let member = self.member(slot);
        let id = member.profile.id;
        let bits = mix(member.incarnation.0 ^ mix(member.profile.version.0 ^ mix(id.0)));
        member.state.is_active().then(|| (bucket_of(id), bits))
    }

    pub(super) fn count(&mut self, slot: Slot) {
        if let Some((bucket, bits)) = self.fingerprint(slot) {
            self.digest = self.digest.wrapping_add((bits >> 32) as u32);
            self.sums[bucket] = self.sums[bucket].wrapping_add(bits as u32);
        }
    }

    pub(super) fn discount(&mut self, slot: Slot) {
        if let Some((bucket, bits)) = self.fingerprint(slot) {
            self.digest = self.digest.wrapping_sub((bits >> 32) as u32);
            self.sums[bucket] = self.sums[bucket].wrapping_sub(bits as u32);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{say, table};
    use super::*;
    use crate::member::State;

    #[test]
    fn the_digest_is_that_of_what_takes_part() {
        let (one, mut rng) = table(20);
        let mut other = one.clone();
        say(&mut other, 3, 1, State::Failed, 1, &mut rng);
        assert_ne!(one.digest(), other.digest());
        say(&mut other, 3, 2, State::Alive, 2, &mut rng);
        assert_ne!(one.digest(), other.digest());
        let differing = (0..BUCKETS).filter(|bucket| one.sums()[*bucket] != other.sums()[*bucket]).count();
        assert_eq!(differing, 1);
        let mut one = one;
        say(&mut one, 3, 2, State::Alive, 2, &mut rng);
        assert_eq!((one.digest(), one.sums()), (other.digest(), other.sums()));
    }
}
