//! What commands need of the process that runs them: the clock, chance, settings, connections, users.

use std::net::IpAddr;

use steadfast_crdt::Version;

use crate::acl::change::Change;
use crate::acl::users::Users;
use crate::protocol::errors::Failure;

/// A connection as `CLIENT LIST` shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientInfo {
    /// Its number, never used again.
    pub id: u64,
    /// The other side, with its port.
    pub address: String,
    /// This side, with its port.
    pub local_address: String,
    /// The name it gave itself.
    pub name: String,
    /// Who it is.
    pub user: String,
    /// How long it has been there, in seconds.
    pub age_seconds: u64,
    /// How long since its last command, in seconds.
    pub idle_seconds: u64,
    /// Its last command.
    pub command: String,
    /// 2 or 3.
    pub protocol: u8,
    /// How many commands its transaction has, if it is in one.
    pub queued_commands: Option<usize>,
}

/// Which connections `CLIENT KILL` closes: all for which each given condition holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KillFilter {
    /// Of this number.
    pub id: Option<u64>,
    /// From this address.
    pub address: Option<String>,
    /// To this address.
    pub local_address: Option<String>,
    /// Of this user.
    pub user: Option<String>,
    /// But this one.
    pub except: Option<u64>,
}

/// Facts of the process for `INFO`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// The project's own version.
    pub version: String,
    /// The operating system.
    pub system: String,
    /// The process's number.
    pub process_id: u32,
    /// Forty hexadecimal digits, new for each start.
    pub run_id: String,
    /// The port it listens on.
    pub port: u16,
    /// How long it runs, in seconds.
    pub uptime_seconds: u64,
    /// Bytes of memory in use.
    pub used_memory_bytes: u64,
    /// The most there ever were.
    pub peak_memory_bytes: u64,
    /// Bytes the system gave the process.
    pub resident_memory_bytes: u64,
    /// Bytes the machine has.
    pub total_memory_bytes: u64,
    /// Bytes it may use; 0 is no limit.
    pub max_memory_bytes: u64,
    /// Connections that were accepted.
    pub connections_received: u64,
    /// Commands that were run.
    pub commands_processed: u64,
    /// Keys whose deadline came.
    pub expired_keys: u64,
    /// Reads that found their key.
    pub keyspace_hits: u64,
    /// Reads that did not.
    pub keyspace_misses: u64,
    /// Keys with a deadline.
    pub keys_with_deadline: u64,
    /// Other replicas that are there.
    pub connected_replicas: u64,
    /// Processor time in the system, in microseconds.
    pub cpu_system_us: u64,
    /// Processor time in the process, in microseconds.
    pub cpu_user_us: u64,
    /// Sections that Redis has not: their names and fields.
    pub sections: Vec<(String, Vec<(String, String)>)>,
}

/// Why a setting was not changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingError {
    /// There is none of this name.
    Unknown,
    /// It cannot be changed while the process runs.
    Immutable,
    /// Its value cannot be this, and why.
    Invalid(String),
}

/// The process.
pub trait Host {
    /// Microseconds since 1970.
    fn now_us(&self) -> u64;
    /// A uniform random number.
    fn random(&mut self) -> u64;
    /// Random bytes that nobody can guess.
    fn secret(&mut self, bytes: &mut [u8]);
    /// Who may do what.
    fn users(&self) -> &Users;
    /// The same, to be changed.
    fn users_mut(&mut self) -> &mut Users;
    /// Whether users are the same for all replicas, so that changes take time.
    fn shares_users(&self) -> bool {
        false
    }
    /// Changes the users, as an administrator wants. Who is gone now; `None`: if [users are shared](Host::shares_users), the shell makes the change and answers
    /// the command ([`Next::Users`](crate::engine::session::Next::Users)).
    ///
    /// # Errors
    /// As [`Change::apply`].
    fn change_users(&mut self, change: Change) -> Result<Option<Vec<String>>, Failure> {
        change.apply(self.users_mut()).map(Some)
    }
    /// Where a connection comes from, if it comes over a network.
    fn address(&self, client: u64) -> Option<IpAddr>;
    /// All settings with their values.
    fn settings(&self) -> Vec<(String, String)>;
    /// Changes settings: all of them, or none.
    ///
    /// # Errors
    /// Which of them failed, and why.
    fn change_settings(&mut self, changes: &[(String, String)]) -> Result<(), (String, SettingError)>;
    /// Sets counts of [`Facts`] back to zero.
    fn reset_counts(&mut self);
    /// Facts for `INFO`.
    fn facts(&self) -> Facts;
    /// All connections, in order of their numbers.
    fn clients(&self) -> Vec<ClientInfo>;
    /// Closes connections but the calling one. How many.
    fn kill(&mut self, filter: &KillFilter) -> usize;
    /// How many replicas besides this one hold a write of this one, and all before it.
    fn acknowledged(&self, write: Version) -> usize;
    /// How many replicas besides this one live.
    fn replicas(&self) -> usize;
    /// Whether any key is a register, or about to become one.
    fn has_registers(&self) -> bool {
        false
    }
    /// Whether a key is a register: if it is under a prefix that is fixed so in strong state.
    fn is_register(&self, _key: &[u8]) -> bool {
        false
    }
    /// Whether a key is under a prefix that is about to become strong: until all replicas know, nobody reads or writes it.
    fn is_closed(&self, _key: &[u8]) -> bool {
        false
    }
}
