//! One connection: what it is and in which state.

use std::sync::Arc;

use steadfast_crdt::{Version as Written, VersionVector};

use crate::acl::user::User;
use crate::acl::users::Users;
use crate::engine::level::{Chosen, Level, Replication};
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
    /// The answer to `WAIT` is not written yet: the shell writes an integer ([`answer_late`](crate::engine::answer_late)), the number of other replicas that
    /// hold the connection's writes up to [`Session::last_write`], once they are so many or the time is over. The connection's next command waits for it.
    Wait {
        /// So many replicas.
        replicas: u64,
        /// So many milliseconds; 0 is for ever.
        timeout_ms: u64,
    },
    /// The command did not run, and nothing is written: the replica has not seen all of [`Session::awaited`]. The shell gives the same request
    /// again once it has ([`Store::has_seen`](crate::engine::store::Store::has_seen)), or calls [`give_up`](crate::engine::give_up)
    /// when the time is over. The connection's next command waits for it.
    Behind {
        /// So many milliseconds; 0 is for ever.
        timeout_ms: u64,
    },
    /// The command ran, and its answer is written, but is not to be sent before so many other replicas hold what it wrote. When the time is over, the
    /// shell takes the answer back and calls [`unacknowledged`](crate::engine::unacknowledged) instead. The connection's next command may wait for it.
    Acknowledge {
        /// The last of what it wrote.
        write: Written,
        /// How many replicas.
        replicas: Replicas,
        /// So many milliseconds; 0 is for ever.
        timeout_ms: u64,
    },
    /// The command did not run, and nothing is written: its one key is a register ([`Host::is_register`](crate::engine::host::Host::is_register)), and the
    /// shell runs the same request there, and gives its [`answer`](crate::engine::answer). The connection's next command waits for it.
    Register,
    /// The users are about to change ([`Host::change_users`](crate::engine::host::Host::change_users)), and nothing is written: the shell answers the command
    /// ([`users_changed`](crate::engine::users_changed)) when they have. The connection's next command waits for it.
    Users,
}

/// How many other replicas have to hold a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replicas {
    /// So many.
    Some(u64),
    /// All that live.
    All,
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
    /// What its requests rely on.
    pub level: Chosen<Level>,
    /// What answers to its writes wait for.
    pub replication: Chosen<Replication>,
    /// The last of its writes here, which `WAIT` is about.
    pub last_write: Option<Written>,
    /// What it has seen elsewhere.
    pub(crate) token: VersionVector,
    pub(crate) awaited: VersionVector,
    /// What its user may do, as of a generation of the users.
    pub(crate) rights: Option<Arc<User>>,
    pub(crate) is_unbounded: bool,
    generation: Option<u64>,
    /// Its last request wants no answer.
    pub(crate) is_silent: bool,
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
            level: Chosen::default(),
            replication: Chosen::default(),
            last_write: None,
            token: VersionVector::default(),
            awaited: VersionVector::default(),
            rights: None,
            is_unbounded: false,
            generation: None,
            is_silent: false,
            transaction: Transaction::default(),
            answers: Answers::On,
        }
    }

    /// Whether it has yet to authenticate.
    pub fn is_stranger(&self) -> bool {
        self.user.is_none()
    }

    /// It is this user from now on.
    pub(crate) fn become_user(&mut self, user: &Arc<User>, users: &Users) {
        self.user = Some(user.name().to_owned());
        self.level.what = user.level().unwrap_or_default();
        self.generation = Some(users.generation());
        self.set_rights(Some(user.clone()));
    }

    /// Looks up what its user may do, if that may have changed. It is nobody if there is no such user any more.
    pub(crate) fn look_up(&mut self, users: &Users) {
        let before = self.generation.replace(users.generation());
        if before == self.generation {
            return;
        }
        let user = self.user.as_ref().and_then(|name| users.get(name)).cloned();
        match &user {
            None => self.user = None,
            // Its first request.
            Some(user) if before.is_none() => self.level.what = user.level().unwrap_or_default(),
            Some(_) => {}
        }
        self.set_rights(user);
    }

    fn set_rights(&mut self, user: Option<Arc<User>>) {
        self.is_unbounded = user.as_ref().is_some_and(|user| user.is_unbounded());
        self.rights = user;
    }

    /// As it was when it began.
    pub(crate) fn reset(&mut self, is_trusted: bool) {
        *self = Session { last_command: self.last_command, ..Session::new(self.id, is_trusted) };
    }

    /// What the replica has to see before the request may run that was answered with [`Next::Behind`].
    pub fn awaited(&self) -> &VersionVector {
        &self.awaited
    }

    /// How many commands its transaction has, if it is in one.
    pub fn queued_commands(&self) -> Option<usize> {
        self.transaction.queued()
    }
}
