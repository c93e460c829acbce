//! Simple tokens: 192 random bits each. A node knows those that it has applied since it began, by their digests: neither the log nor a node's
//! memory holds a token itself. A node that restarts, or takes over a snapshot, knows none of before, and clients authenticate again.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::RwLock;
use ring::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use ring::rand::{SecureRandom as _, SystemRandom};
use steadfast_etcd_api::backend::Bearer;
use steadfast_state::auth::{AuthEvent, Caller, Token};
use steadfast_types::{Instant, limits};

use super::Issued;
use crate::clock::Clock;

/// A token that is not used for so long ends: etcd's default.
pub(super) const TTL: Duration = Duration::from_secs(300);

const RANDOM_BYTES: usize = 24;

type Digest = [u8; SHA256_OUTPUT_LEN];

struct Known {
    user: Arc<str>,
    /// Microseconds of the clock.
    deadline: AtomicU64,
}

/// The tokens that a node knows.
pub(super) struct SimpleTokens {
    clock: Clock,
    known: RwLock<HashMap<Digest, Known>>,
}

/// A token that nobody guesses.
pub(super) fn issue(caller: Caller) -> Issued {
    let mut random = [0; RANDOM_BYTES];
    SystemRandom::new().fill(&mut random).expect("the system has random numbers");
    let mut token = String::with_capacity(2 * RANDOM_BYTES);
    random.iter().for_each(|byte| write!(token, "{byte:02x}").expect("text takes any"));
    let digest = Bytes::copy_from_slice(&digest_of(&token));
    Issued::ToReplicate(token, Token { user: caller.user, digest, auth_revision: caller.auth_revision })
}

fn digest_of(token: &str) -> Digest {
    let mut out = Digest::default();
    out.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    out
}

impl SimpleTokens {
    pub(super) fn new(clock: Clock) -> Self {
        SimpleTokens { clock, known: RwLock::default() }
    }

    fn deadline(&self) -> Instant {
        self.clock.now() + TTL
    }

    pub(super) fn bearer(&self, token: &str) -> Bearer {
        // Nothing else was ever given out.
        if token.len() != 2 * RANDOM_BYTES {
            return Bearer::Nobody;
        }
        let known = self.known.read();
        let Some(Known { user, deadline }) = known.get(&digest_of(token)) else { return Bearer::Unknown };
        if Instant(deadline.load(Ordering::Relaxed)) <= self.clock.now() {
            return Bearer::Nobody;
        }
        deadline.store(self.deadline().0, Ordering::Relaxed);
        Bearer::User(user.clone())
    }

    pub(super) fn heed(&self, event: &AuthEvent) {
        match event {
            AuthEvent::TokenIssued { user, digest } => {
                if let Ok(digest) = Digest::try_from(digest.as_ref()) {
                    self.insert(digest, user);
                }
            }
            AuthEvent::TokensEnded { user } => self.known.write().retain(|_, known| *known.user != **user),
            AuthEvent::AllTokensEnded | AuthEvent::Replaced => self.known.write().clear(),
            AuthEvent::RightsChanged { .. } => {}
        }
    }

    /// Makes room by what has ended; if that is not enough, by what was not used for longest.
    fn insert(&self, digest: Digest, user: &str) {
        let mut known = self.known.write();
        if known.len() >= limits::TOKENS {
            let now = self.clock.now();
            known.retain(|_, known| Instant(*known.deadline.get_mut()) > now);
        }
        if known.len() >= limits::TOKENS {
            let oldest = known.iter().min_by_key(|(_, known)| known.deadline.load(Ordering::Relaxed)).map(|(digest, _)| *digest);
            oldest.and_then(|oldest| known.remove(&oldest));
        }
        known.insert(digest, Known { user: user.into(), deadline: AtomicU64::new(self.deadline().0) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault_table::{FaultRequest, Faults};

    fn issued(tokens: &SimpleTokens, user: &str) -> String {
        let Issued::ToReplicate(token, Token { user, digest, .. }) = issue(Caller { user: user.into(), auth_revision: 1 }) else {
            unreachable!("simple tokens are replicated");
        };
        tokens.heed(&AuthEvent::TokenIssued { user, digest });
        token
    }

    fn user(name: &str) -> Bearer {
        Bearer::User(name.into())
    }

    fn jump(faults: Faults, by: Duration) {
        let clock_jump_ms = u64::try_from(by.as_millis()).expect("minutes");
        let request = FaultRequest { clock_jump_ms, ..FaultRequest::default() };
        faults.table().expect("enabled").set(request, &|_| None).expect("a jump is a fault");
    }

    #[test]
    fn a_token_is_its_users_until_it_ends() {
        let tokens = SimpleTokens::new(Clock::new(Faults::default()));
        let (ann, bob) = (issued(&tokens, "ann"), issued(&tokens, "bob"));
        assert_ne!(ann, bob);
        assert_eq!((tokens.bearer(&ann), tokens.bearer(&bob)), (user("ann"), user("bob")));
        assert_eq!(tokens.bearer(&"0".repeat(ann.len())), Bearer::Unknown, "another node may know it");
        assert_eq!((tokens.bearer(""), tokens.bearer(&ann[1..])), (Bearer::Nobody, Bearer::Nobody));
        tokens.heed(&AuthEvent::TokensEnded { user: "ann".into() });
        assert_eq!((tokens.bearer(&ann), tokens.bearer(&bob)), (Bearer::Unknown, user("bob")));
        tokens.heed(&AuthEvent::AllTokensEnded);
        assert_eq!(tokens.bearer(&bob), Bearer::Unknown);
    }

    #[test]
    fn a_token_that_is_not_used_ends_and_one_that_is_goes_on() {
        let faults = Faults::enabled();
        let tokens = SimpleTokens::new(Clock::new(faults));
        let (used, unused) = (issued(&tokens, "ann"), issued(&tokens, "bob"));
        jump(faults, TTL - Duration::from_secs(60));
        assert_eq!(tokens.bearer(&used), user("ann"));
        jump(faults, Duration::from_secs(120));
        assert_eq!((tokens.bearer(&used), tokens.bearer(&unused)), (user("ann"), Bearer::Nobody));
    }

    #[test]
    fn memory_is_bounded_and_what_was_not_used_goes_first() {
        let faults = Faults::enabled();
        let tokens = SimpleTokens::new(Clock::new(faults));
        let (first, second) = (issued(&tokens, "ann"), issued(&tokens, "bob"));
        jump(faults, Duration::from_millis(1));
        for n in 2..limits::TOKENS {
            tokens.heed(&AuthEvent::TokenIssued { user: "eve".into(), digest: Bytes::copy_from_slice(&digest_of(&n.to_string())) });
        }
        assert_eq!(tokens.bearer(&first), user("ann"));
        issued(&tokens, "joe");
        assert_eq!(tokens.known.read().len(), limits::TOKENS);
        assert_eq!((tokens.bearer(&first), tokens.bearer(&second)), (user("ann"), Bearer::Unknown));
    }
}
