//! One command as it runs: what it was given, what it may use, and where its answer goes.

use crate::commands::table::Command;
use crate::engine::host::Host;
use crate::engine::session::Session;
use crate::engine::store::{Kind, Store};
use crate::protocol::errors::{Failure, NOT_FLOAT, NOT_INTEGER, SYNTAX, WRONG_TYPE};
use crate::protocol::number::{parse_f64, parse_i64};
use crate::protocol::reply::Reply;
use crate::protocol::request::Arguments;

/// What a command gives: its answer is written, or it failed and nothing was written or changed.
pub type Outcome = Result<(), Failure>;

/// What runs a command.
pub type Handler = fn(&mut Call<'_>) -> Outcome;

/// A command as it runs.
pub struct Call<'a> {
    /// Which.
    pub command: &'static Command,
    /// Its arguments, its names first.
    pub arguments: Arguments<'a>,
    /// When, in milliseconds since 1970.
    pub now_ms: u64,
    /// The keys.
    pub store: &'a mut dyn Store,
    /// The process.
    pub host: &'a mut dyn Host,
    /// The connection.
    pub session: &'a mut Session,
    /// The answer.
    pub reply: Reply<'a>,
}

impl<'a> Call<'a> {
    /// How many arguments there are, with the names.
    pub fn len(&self) -> usize {
        self.arguments.len()
    }

    /// Whether there are none, which no command sees.
    pub fn is_empty(&self) -> bool {
        self.arguments.is_empty()
    }

    /// The argument at `index`, which is there by the command's arity.
    pub fn argument(&self, index: usize) -> &'a [u8] {
        self.arguments.get(index).unwrap_or_default()
    }

    /// The argument at `index` as an integer.
    ///
    /// # Errors
    /// If it is none.
    pub fn integer(&self, index: usize) -> Result<i64, Failure> {
        parse_i64(self.argument(index)).ok_or(NOT_INTEGER)
    }

    /// The argument at `index` as a float.
    ///
    /// # Errors
    /// If it is none.
    pub fn float(&self, index: usize) -> Result<f64, Failure> {
        parse_f64(self.argument(index)).ok_or(NOT_FLOAT)
    }

    /// Whether the argument at `index` is `word`, in any case.
    pub fn is(&self, index: usize, word: &str) -> bool {
        self.arguments.get(index).is_some_and(|argument| argument.eq_ignore_ascii_case(word.as_bytes()))
    }

    /// Whether `key` is there, and of `kind`.
    ///
    /// # Errors
    /// If it is of another kind.
    pub fn has(&self, key: &[u8], kind: Kind) -> Result<bool, Failure> {
        match self.store.kind(key) {
            None => Ok(false),
            Some(found) if found == kind => Ok(true),
            Some(_) => Err(WRONG_TYPE),
        }
    }

    /// The arguments from `index` on in pairs.
    ///
    /// # Errors
    /// If one is without its second.
    pub fn pairs(&self, index: usize) -> Result<impl ExactSizeIterator<Item = (&'a [u8], &'a [u8])> + use<'a>, Failure> {
        let rest = self.arguments.from(index);
        if !rest.len().is_multiple_of(2) {
            return Err(SYNTAX);
        }
        Ok((0..rest.len() / 2).map(move |pair| (rest.get(2 * pair).unwrap_or_default(), rest.get(2 * pair + 1).unwrap_or_default())))
    }
}
