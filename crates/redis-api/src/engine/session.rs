//! One connection: what it is and in which state.

use crate::engine::transaction::Transaction;
use crate::protocol::reply::Version;

/// The user that connections are which did not say who they are.
pub const DEFAULT_USER: &str = "default";

/// Whether a connection's commands are answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Answers {
    /// They are.
    #[default]
    On,
    /// They are not.
    Off,
    /// The next one is not.
    SkipNext,
}

/// What is to become of a connection after a command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Next {
    /// It goes on.
    #[default]
    Continue,
    /// It is closed once the answer is sent.
    Close,
    /// The answer to `WAIT` is not written yet: the shell writes an integer, the number of other replicas that hold the connection's writes,
    /// once they are so many or the time is over. The connection's next command waits for it.
    Wait {
        /// So many replicas.
        replicas: u64,
        /// So many milliseconds; 0 is for ever.
        timeout_ms: u64,
    },
}

/// One connection.
#[derive(Debug)]
pub struct Session {
    /// Its number.
    pub id: u64,
    /// The protocol version it speaks.
    pub version: Version,
    /// The name it gave itself.
    pub name: String,
    /// Who it is; nobody until it has authenticated.
    pub user: Option<String>,
    /// Its last command's full name.
    pub last_command: &'static str,
    /// What becomes of it.
    pub next: Next,
    pub(crate) transaction: Transaction,
    pub(crate) answers: Answers,
}

impl Session {
    /// A new connection; `is_trusted` if it need not authenticate.
    pub fn new(id: u64, is_trusted: bool) -> Self {
        Session {
            id,
            version: Version::Two,
            name: String::new(),
            user: is_trusted.then(|| DEFAULT_USER.to_owned()),
            last_command: "NULL",
            next: Next::Continue,
            transaction: Transaction::default(),
            answers: Answers::On,
        }
    }

    /// Whether it has yet to authenticate.
    pub fn is_stranger(&self) -> bool {
        self.user.is_none()
    }

    /// As it was when it began.
    pub(crate) fn reset(&mut self, is_trusted: bool) {
        *self = Session { last_command: self.last_command, ..Session::new(self.id, is_trusted) };
    }

    /// How many commands its transaction has, if it is in one.
    pub fn queued_commands(&self) -> Option<usize> {
        self.transaction.queued()
    }
}
