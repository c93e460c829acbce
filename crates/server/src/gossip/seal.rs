//! Seals around packets, where the cluster has keys: ChaCha20-Poly1305 over the packet, bound to the cluster.
//!
//! A sealed packet is: the byte `0xA5`, which no plain packet begins with; a nonce of 12 bytes; the sealed packet with its tag.
//!
//! A nonce must never come twice under one key. It is 8 random bytes, drawn by each process at its start and again after each 2^32 packets, and a
//! counter of 4 bytes. Two packets have one nonce only if two draws are equal. Ten thousand nodes that each start a hundred times draw a
//! million times: the chance of two equal ones among 2^64 is below 2^-24, for the life of a key. (With all 12 bytes at random such a cluster's
//! packets would come near that within days.)
//!
//! Left out: replay. A packet sent again says what was said before, which the core holds or holds to be outdated.

use bytes::Bytes;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use steadfast_types::ClusterId;

use super::keys::Keys;
use crate::identity::random;

const SEALED: u8 = 0xA5;
const TAG_BYTES: usize = 16;

/// How much longer a packet is with its seal.
pub(super) const OVERHEAD_BYTES: usize = 1 + NONCE_LEN + TAG_BYTES;

/// The seals of one node.
pub(super) struct Seals {
    keys: Vec<LessSafeKey>,
    cluster: ClusterId,
    drawn: u64,
    count: u32,
}

impl Seals {
    pub(super) fn new(keys: &Keys, cluster: ClusterId) -> Self {
        let key = |bytes: &[u8; 32]| LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, bytes).expect("a key of 32 bytes"));
        Seals { keys: keys.0.iter().map(key).collect(), cluster, drawn: random(), count: 0 }
    }

    /// What is bound to the seal without being in it.
    fn bound(&self) -> Aad<[u8; 9]> {
        let mut bytes = [SEALED; 9];
        bytes[1..].copy_from_slice(&self.cluster.0.to_le_bytes());
        Aad::from(bytes)
    }

    fn nonce(&mut self) -> [u8; NONCE_LEN] {
        let mut nonce = [0; NONCE_LEN];
        nonce[..8].copy_from_slice(&self.drawn.to_le_bytes());
        nonce[8..].copy_from_slice(&self.count.to_le_bytes());
        self.count = self.count.wrapping_add(1);
        if self.count == 0 {
            self.drawn = random();
        }
        nonce
    }

    /// The packet as it goes out.
    pub(super) fn seal(&mut self, packet: Vec<u8>) -> Vec<u8> {
        if self.keys.is_empty() {
            return packet;
        }
        let nonce = self.nonce();
        let mut out = Vec::with_capacity(packet.len() + OVERHEAD_BYTES);
        out.push(SEALED);
        out.extend_from_slice(&nonce);
        out.extend_from_slice(&packet);
        let (_, body) = out.split_at_mut(1 + NONCE_LEN);
        let tag = self.keys[0]
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), self.bound(), body)
            .expect("it is far shorter than the cipher's limit");
        out.extend_from_slice(tag.as_ref());
        out
    }

    /// The packet in what came in; `None` if no key opens it.
    pub(super) fn open(&self, sealed: Bytes) -> Option<Bytes> {
        if self.keys.is_empty() {
            return Some(sealed);
        }
        let (nonce, body) = sealed.strip_prefix(&[SEALED])?.split_first_chunk::<NONCE_LEN>()?;
        self.keys.iter().find_map(|key| {
            let mut body = body.to_vec();
            let length = key.open_in_place(Nonce::assume_unique_for_key(*nonce), self.bound(), &mut body).ok()?.len();
            body.truncate(length);
            Some(body.into())
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn seals(keys: &[u8], cluster: u64) -> Seals {
        Seals::new(&Keys(keys.iter().map(|byte| [*byte; 32]).collect()), ClusterId(cluster))
    }

    proptest! {
        #[test]
        fn a_sealed_packet_opens_as_it_was_and_with_any_byte_changed_not_at_all(packet in prop::collection::vec(any::<u8>(), 0..200), change in 1u8..) {
            let mut seals = seals(&[1], 7);
            let sealed = seals.seal(packet.clone());
            prop_assert_eq!(sealed.len(), packet.len() + OVERHEAD_BYTES);
            prop_assert_eq!(seals.open(sealed.clone().into()), Some(packet.into()));
            for at in 0..sealed.len() {
                let mut damaged = sealed.clone();
                damaged[at] ^= change;
                prop_assert_eq!(seals.open(damaged.into()), None, "byte {}", at);
                prop_assert_eq!(seals.open(sealed[..at].to_vec().into()), None, "cut at {}", at);
            }
        }
    }

    #[test]
    fn only_members_of_the_cluster_with_a_key_in_common_open() {
        let sealed = Bytes::from(seals(&[1], 7).seal(b"packet".to_vec()));
        let opened = |keys: &[u8], cluster| seals(keys, cluster).open(sealed.clone()).is_some_and(|packet| packet == b"packet"[..]);
        assert!(opened(&[1], 7) && opened(&[2, 1], 7));
        assert!(!opened(&[2], 7) && !opened(&[1], 8) && !opened(&[], 7));
        assert_eq!(seals(&[1], 7).open(b"\x01 in the clear"[..].into()), None);
    }

    #[test]
    fn no_nonce_comes_twice_when_the_counter_is_through() {
        let mut seals = seals(&[1], 7);
        seals.count = u32::MAX - 3;
        let nonces: BTreeSet<_> = (0..8).map(|_| seals.nonce()).collect();
        assert_eq!(nonces.len(), 8);
    }
}
