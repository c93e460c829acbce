//! The other half of a lock: what the thing that is locked does with the fencing tokens that it is shown.
//!
//! A lock's holder may be paused until its lease has ended and another has its turn, and then go on, unaware. No lock can prevent that; the
//! resource can, if every request brings the token of its turn. Tokens grow from turn to turn, so one that is smaller than another that was shown
//! already is of a turn that is over. (Kleppmann, "How to do distributed locking"; Jepsen on etcd 3.4.3.)
//!
//! The newest token is to be kept as durably as what it guards.

use steadfast_types::Revision;
use steadfast_types::planted::{Bug, is_planted};

/// A resource's memory of tokens: the newest that it was shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fence {
    newest: Revision,
}

/// The turn of this token is over: another has shown a newer one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TurnIsOver {
    /// The newer one.
    pub newest: Revision,
}

impl core::fmt::Display for TurnIsOver {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "the lock was lost: a later holder, with the fencing token {}, was here already", self.newest)
    }
}

impl core::error::Error for TurnIsOver {}

impl Fence {
    /// A request of the holder of this token.
    ///
    /// # Errors
    /// It must not be carried out.
    pub fn admit(&mut self, token: Revision) -> Result<(), TurnIsOver> {
        if token < self.newest && !is_planted(Bug::StaleTokenAdmitted) {
            return Err(TurnIsOver { newest: self.newest });
        }
        self.newest = self.newest.max(token);
        Ok(())
    }

    /// The newest token that it was shown; 0: none.
    pub fn newest(&self) -> Revision {
        self.newest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_that_is_over_is_refused_and_one_that_goes_on_is_not() {
        let mut fence = Fence::default();
        let shown = [3, 3, 7, 3, 7, 8].map(|token| fence.admit(Revision(token)).is_ok());
        assert_eq!(shown, [true, true, true, false, true, true]);
        assert_eq!(fence.admit(Revision(7)), Err(TurnIsOver { newest: Revision(8) }));
        assert_eq!(fence.newest(), Revision(8));
    }
}
