//! Who asked for what, and until when.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use bytes::Bytes;
use steadfast_register::proposer::{Change, Functions as Inner, RequestNumber};
use steadfast_types::Instant;

use super::limits::VALUE_BYTES;

/// Names one who asks; the shell's number. Nobody asks twice at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// What commands do to values: the shell's part.
pub trait Functions {
    /// What is to be done with a key.
    type Command;
    /// What a client gets to know.
    type Answer: Clone;

    /// Whether a command never changes anything.
    fn reads(&self, command: &Self::Command) -> bool;

    /// What a command makes of a value, `None` if there is none. It may be called several times for one request, with other values; only the answer that
    /// comes out of [`super::Registers::outputs`] is the client's.
    fn apply(&mut self, command: &Self::Command, value: Option<&Bytes>) -> (Change, Self::Answer);

    /// What a client gets to know whose command would have made a value too large, of more than [`VALUE_BYTES`], so that it was not changed.
    fn too_large(&mut self, command: &Self::Command) -> Self::Answer;
}

/// The answer to a request; each gets one, unless it is forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer<A> {
    /// Who asked.
    pub id: RequestId,
    /// What came of it.
    pub outcome: Outcome<A>,
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<A> {
    /// It took effect, once, between its beginning and now.
    Done(A),
    /// It changed nothing, and never will.
    Nothing(Reason),
    /// It may have taken effect, or may yet, once. So many replicas are known to hold it.
    Unknown {
        /// Known to hold it.
        held_by: usize,
        /// Of so many.
        of: usize,
    },
}

/// Why a request changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Its time is over: no quorum answered, or others were faster.
    Late,
    /// Too many wait, here or for this key.
    Busy,
    /// The key's name is longer than a key's may be.
    KeyTooLong,
}

/// A client's request.
#[derive(Debug)]
pub(super) struct Request<C> {
    pub(super) id: RequestId,
    pub(super) key: Bytes,
    pub(super) command: C,
    pub(super) reads: bool,
    deadline: Option<Instant>,
}

/// A request of this machine's own, which keeps what is there.
#[derive(Clone, Debug)]
pub(super) enum Own {
    /// To carry a key.
    Carry(Bytes),
    /// To bring a deletion to all replicas.
    Spread(Bytes),
}

#[derive(Debug)]
pub(super) struct Requests<C> {
    all: BTreeMap<RequestNumber, Request<C>>,
    numbers: BTreeMap<RequestId, RequestNumber>,
    deadlines: BTreeSet<(Instant, RequestNumber)>,
    own: BTreeMap<RequestNumber, Own>,
    last: RequestNumber,
}

impl<C> Requests<C> {
    pub(super) fn new() -> Self {
        Self { all: BTreeMap::new(), numbers: BTreeMap::new(), deadlines: BTreeSet::new(), own: BTreeMap::new(), last: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn begin(&mut self, id: RequestId, key: Bytes, command: C, reads: bool, deadline: Option<Instant>) -> RequestNumber {
        self.last += 1;
        self.deadlines.extend(deadline.map(|at| (at, self.last)));
        self.numbers.insert(id, self.last);
        self.all.insert(self.last, Request { id, key, command, reads, deadline });
        self.last
    }

    pub(super) fn begin_own(&mut self, own: Own) -> RequestNumber {
        self.last += 1;
        self.own.insert(self.last, own);
        self.last
    }

    pub(super) fn get(&self, number: RequestNumber) -> Option<&Request<C>> {
        self.all.get(&number)
    }

    pub(super) fn number(&self, id: RequestId) -> Option<RequestNumber> {
        self.numbers.get(&id).copied()
    }

    pub(super) fn numbers(&self) -> Vec<RequestNumber> {
        self.all.keys().copied().collect()
    }

    pub(super) fn end(&mut self, number: RequestNumber) -> Option<RequestId> {
        let Request { id, deadline, .. } = self.all.remove(&number)?;
        deadline.map(|at| self.deadlines.remove(&(at, number)));
        self.numbers.remove(&id);
        Some(id)
    }

    pub(super) fn end_own(&mut self, number: RequestNumber) -> Option<Own> {
        self.own.remove(&number)
    }

    /// All requests of this machine's own end.
    pub(super) fn end_all_own(&mut self) -> Vec<RequestNumber> {
        core::mem::take(&mut self.own).into_keys().collect()
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Some request whose time is over.
    pub(super) fn late(&self, now: Instant) -> Option<RequestNumber> {
        self.deadlines.first().filter(|(at, _)| *at <= now).map(|(_, number)| *number)
    }
}

/// The shell's functions as a proposer wants them. The machine's own requests have no command, and no answer.
pub(super) struct Applied<'a, F: Functions> {
    pub(super) requests: &'a Requests<F::Command>,
    pub(super) functions: &'a mut F,
}

impl<F: Functions> Inner for Applied<'_, F> {
    type Answer = Option<F::Answer>;

    fn apply(&mut self, number: RequestNumber, value: Option<&Bytes>) -> (Change, Self::Answer) {
        let Some(request) = self.requests.get(number) else { return (Change::Keep, None) };
        match self.functions.apply(&request.command, value) {
            (Change::Write(Some(bytes)), _) if bytes.len() > VALUE_BYTES => {
                (Change::Keep, Some(self.functions.too_large(&request.command)))
            }
            // Who reads is promised to be answered in one trip, and so does not write.
            (_, answer) if request.reads => (Change::Keep, Some(answer)),
            (change, answer) => (change, Some(answer)),
        }
    }
}
