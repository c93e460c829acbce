//! Rights hold: nobody is given what the users and roles of that moment did not allow, and nobody is refused what they allowed.
//!
//! Users and roles go through a row of states, each with its auth revision. Where a request stands in that row follows from the store's
//! revision, which tells exactly for whatever changed a key, and from the clock:
//!
//! 1. *Origin*: each state follows from the one before by one change that somebody had asked for and was not refused; each such request makes
//!    one at most, and one that was answered made one between its call and its answer, unless it changed nothing.
//! 2. *No more*: what was done was allowed by a state that it can have been decided at.
//! 3. *No less*: a refusal fits one of the states between call and answer.
//! 4. *Old names*: while requests are checked, a token is good as long as the auth revision is the one that it was given out at. It is given
//!    out at a revision of one of the states between call and answer, to a user who is there then.
//!
//! Left out: which keys a lease had that was revoked, for the answer does not say whether it had any.

use std::collections::BTreeSet;

use steadfast_types::Revision;

use crate::Violation;
use crate::history::{Answer, History, Operation, Request, Span, Step, Transaction};
use crate::store::Store;
use crate::time::Time;

pub mod rights;
#[cfg(test)]
mod tests;

pub use rights::{Access, Change, ROOT, Rights};

/// A state of users and roles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Era {
    /// The state.
    pub rights: Rights,
    /// The store's revision when it began.
    pub revision: Revision,
    /// It began between these two; equal where that was seen as it happened.
    pub began: (Time, Time),
}

/// A request whose caller is known, and how it was refused, if it was for want of rights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Its place in the history.
    pub operation: usize,
    /// Who asked.
    pub caller: Caller,
    /// Why it was refused.
    pub denied: Option<Denial>,
}

/// How it is known who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// It is not.
    Nobody,
    /// By something that is looked up whenever it is used, such as a certificate.
    Named(String),
    /// By a token that says when it was given out.
    Token {
        /// To whom.
        user: String,
        /// At which auth revision.
        revision: u64,
    },
}

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// The user may not.
    PermissionDenied,
    /// Users or roles have changed since the token was given out.
    OldRevision,
    /// It is not known who asks.
    Nobody,
    /// There is nothing to authenticate for.
    NotEnabled,
    /// There is no such user.
    NoUser,
}

/// Checks all attempts. `eras`: all states in their order, from the one that was there when the history began.
///
/// # Errors
/// A rule was broken.
pub fn check(history: &History, attempts: &[Attempt], eras: &[Era]) -> Result<(), Violation> {
    let store = Store::new(&history.changes)?;
    let judge = Judge { history, eras, store: &store };
    judge.origins()?;
    attempts.iter().try_for_each(|attempt| judge.attempt(attempt))
}

fn violation(message: String) -> Violation {
    Violation::new("auth", message)
}

struct Judge<'a> {
    history: &'a History,
    eras: &'a [Era],
    store: &'a Store<'a>,
}

impl<'a> Judge<'a> {
    /// Rule 1.
    fn origins(&self) -> Result<(), Violation> {
        let changes = || {
            self.history.operations.iter().enumerate().filter_map(|(number, operation)| match &operation.request {
                Request::Administer(change) if !matches!(operation.answer, Some((_, Answer::Refused))) => Some((number, operation, change)),
                _ => None,
            })
        };
        let mut makers = BTreeSet::new();
        for (before, after) in self.eras.iter().zip(self.eras.iter().skip(1)) {
            let can_be = |(number, operation, change): &(usize, &Operation, &Change)| {
                let (earliest, latest) = after.began;
                let answered = operation.answer.as_ref().is_none_or(|(answered, _)| *answered >= earliest);
                let is_its = operation.invoked <= latest && answered && !makers.contains(number);
                is_its && before.rights.after(change).as_ref() == Some(&after.rights)
            };
            // The unanswered may be of any later time: they stand aside.
            let maker = changes().filter(can_be).min_by_key(|(_, operation, _)| operation.answer.is_none());
            let Some((number, ..)) = maker else {
                return Err(violation(format!(
                    "nobody asked for what made {:?} of {:?} at {:?}",
                    after.rights, before.rights, after.began
                )));
            };
            makers.insert(number);
        }
        for (number, operation, change) in changes().filter(|(number, ..)| !makers.contains(number)) {
            let changes_nothing = |era: &Era| era.rights.after(change).is_none();
            if operation.answer.is_some() && !self.possible(operation).any(changes_nothing) {
                return Err(violation(format!("request {number}, {operation:?}, was answered, and changed nothing")));
            }
        }
        Ok(())
    }

    /// The states that a request can have been decided at.
    fn possible(&self, operation: &Operation) -> impl Iterator<Item = &'a Era> + use<'a> {
        let eras = self.eras;
        let from = eras.partition_point(|era| era.began.1 < operation.invoked).saturating_sub(1);
        let answered = operation.answer.as_ref().map(|(answered, _)| *answered);
        let to = eras.partition_point(|era| answered.is_none_or(|answered| era.began.0 <= answered));
        // The store's revision at which it was decided: it was changed from one to the next, or stayed.
        let at = operation.answer.as_ref().and_then(|(_, answer)| match answer {
            Answer::Done { revision, changed, .. } => Some((Revision(revision.0 - i64::from(*changed)), *revision)),
            Answer::Accepted { revision } => Some((*revision, *revision)),
            // Whether it changed anything, the answer does not say.
            Answer::Revoked { .. } | Answer::Refused | Answer::LeaseNotFound | Answer::Alive(_) | Answer::Token { .. } => None,
        });
        (from..to).filter_map(move |number| {
            let ends = eras.get(number + 1).map(|next| next.revision);
            let is_then = at.is_none_or(|(before, after)| eras[number].revision <= before && ends.is_none_or(|ends| ends >= after));
            is_then.then_some(&eras[number])
        })
    }

    /// Rules 2 to 4.
    fn attempt(&self, attempt: &Attempt) -> Result<(), Violation> {
        let operation = &self.history.operations[attempt.operation];
        let is_right: &dyn Fn(&Era) -> bool = match (&attempt.denied, &operation.answer) {
            (Some(denial), _) => &|era| self.explains(&era.rights, attempt, operation, *denial),
            // Nothing was told.
            (None, None | Some((_, Answer::Refused))) => return Ok(()),
            (None, Some((_, Answer::Token { revision }))) => &|Era { rights, .. }| {
                let user = match &attempt.caller {
                    Caller::Named(user) | Caller::Token { user, .. } => rights.users.contains_key(user),
                    Caller::Nobody => false,
                };
                rights.enabled && rights.revision == *revision && user
            },
            (None, Some(_)) => &|era| self.allows(&era.rights, attempt, operation, Leases::Then),
        };
        if self.possible(operation).any(is_right) {
            return Ok(());
        }
        let eras: Vec<&Era> = self.possible(operation).collect();
        Err(violation(format!("{attempt:?}, {operation:?}, can't be at any of {eras:?}")))
    }

    /// Whether this state is why it was refused.
    fn explains(&self, rights: &Rights, attempt: &Attempt, operation: &Operation, denial: Denial) -> bool {
        let needs_rights = !matches!(operation.request, Request::Grant { .. } | Request::KeepAlive { .. });
        match (denial, &attempt.caller) {
            (Denial::NotEnabled, _) => !rights.enabled,
            (Denial::NoUser, Caller::Named(user) | Caller::Token { user, .. }) => rights.enabled && !rights.users.contains_key(user),
            (Denial::NoUser, Caller::Nobody) => false,
            (Denial::Nobody, caller) => rights.enabled && needs_rights && *caller == Caller::Nobody,
            (Denial::OldRevision, Caller::Token { revision, .. }) => rights.enabled && needs_rights && *revision < rights.revision,
            (Denial::OldRevision, Caller::Nobody | Caller::Named(_)) => false,
            (Denial::PermissionDenied, Caller::Nobody) => false,
            (Denial::PermissionDenied, Caller::Token { revision, .. }) if *revision < rights.revision => false,
            (Denial::PermissionDenied, Caller::Token { .. } | Caller::Named(_)) => {
                needs_rights && !self.allows(rights, attempt, operation, Leases::Ever)
            }
        }
    }

    /// Whether this state allows a request.
    fn allows(&self, rights: &Rights, attempt: &Attempt, operation: &Operation, leases: Leases) -> bool {
        let is_free = match operation.request {
            Request::Grant { .. } | Request::KeepAlive { .. } => true,
            // A lease without keys is anybody's.
            Request::Revoke { lease } => leases == Leases::Then || self.store.ever_attached(lease).is_empty(),
            Request::Transaction(_) | Request::Administer(_) | Request::Authenticate => false,
        };
        if !rights.enabled || is_free {
            return true;
        }
        let user = match &attempt.caller {
            Caller::Nobody => return false,
            Caller::Named(user) => user,
            Caller::Token { user, revision } => {
                // Users are managed by whoever is root, with an old token too.
                if *revision < rights.revision && !matches!(operation.request, Request::Administer(_)) {
                    return false;
                }
                user
            }
        };
        match &operation.request {
            Request::Transaction(transaction) => self.allows_transaction(rights, user, transaction, operation, leases),
            Request::Revoke { lease } => self.allows_lease(rights, user, *lease, operation, leases),
            Request::Administer(_) => rights.is_root(user),
            Request::Authenticate | Request::Grant { .. } | Request::KeepAlive { .. } => true,
        }
    }

    /// Both branches count, whichever was taken.
    fn allows_transaction(&self, rights: &Rights, user: &str, transaction: &Transaction, operation: &Operation, leases: Leases) -> bool {
        let may_read = |span: &Span| rights.allow(user, span, |access| access.read);
        let may_write = |span: &Span| rights.allow(user, span, |access| access.write);
        let conditions = transaction.conditions.iter().all(|(key, _)| may_read(&Span::one(key.clone())));
        conditions
            && transaction.steps().all(|step| match step {
                Step::Read(span) => may_read(span),
                // What was there is told.
                Step::Delete(span) => may_write(span) && may_read(span),
                Step::Put { key, lease, asks, .. } => {
                    let span = Span::one(key.clone());
                    may_write(&span) && (!asks || may_read(&span)) && self.allows_lease(rights, user, *lease, operation, leases)
                }
            })
    }

    /// Who puts under a lease, or ends it, must be allowed to write all its keys.
    fn allows_lease(&self, rights: &Rights, user: &str, lease: i64, operation: &Operation, leases: Leases) -> bool {
        let keys = match (leases, &operation.answer) {
            (_, _) if lease == 0 => BTreeSet::new(),
            (Leases::Then, Some((_, Answer::Done { revision, changed, .. }))) => {
                self.store.attached(lease, Revision(revision.0 - i64::from(*changed)))
            }
            (Leases::Then, _) => BTreeSet::new(),
            (Leases::Ever, _) => self.store.ever_attached(lease),
        };
        keys.into_iter().all(|key| rights.allow(user, &Span::one(key.clone()), |access| access.write))
    }
}

/// Which keys of a lease count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leases {
    /// Those that it had just before; none, where that is not known.
    Then,
    /// All that it ever had.
    Ever,
}
