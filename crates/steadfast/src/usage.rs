//! The error of a command that was called wrongly, where it is noticed after the command line was read.

use std::error::Error;
use std::fmt;

/// What is wrong and what to do instead; ends the program with status 2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UsageError(pub(crate) String);

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for UsageError {}
