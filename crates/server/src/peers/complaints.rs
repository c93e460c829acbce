//! Says each thing about each peer once, however often it is tried again.

use std::collections::BTreeSet;
use std::fmt::Display;

use parking_lot::Mutex;

/// Complaints remembered. Beyond it all are forgotten, and may be said once more.
const REMEMBERED: usize = 256;

/// What was said about whom.
#[derive(Debug, Default)]
pub(crate) struct Complaints {
    said: Mutex<BTreeSet<(String, String)>>,
}

impl Complaints {
    /// Whether this was not said yet of them; from now on it was.
    pub(crate) fn first(&self, who: impl Display, what: impl Display) -> bool {
        let mut said = self.said.lock();
        if said.len() >= REMEMBERED {
            said.clear();
        }
        said.insert((who.to_string(), what.to_string()))
    }

    /// All is well with them again.
    pub(crate) fn forget(&self, who: impl Display) {
        let who = who.to_string();
        self.said.lock().retain(|(other, _)| *other != who);
    }
}
