//! The process as commands see it: clock, chance, settings, connections.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use steadfast_crdt::{Time, Version};
use steadfast_redis_api::acl::change::Change;
use steadfast_redis_api::acl::users::Users;
use steadfast_redis_api::engine::host::{ClientInfo, Facts, Host, KillFilter, SettingError};
use steadfast_redis_api::protocol::errors::Failure;
use steadfast_types::{Instant, Rng};

use crate::admin::resident_bytes;
use crate::available::Durability;
use crate::available::strong::Prefixes;
use crate::clock::Clock;
use crate::identity::random;

/// See the module.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) clock: Clock,
    /// Microseconds since 1970, as the turn began.
    pub(super) now_us: u64,
    began: Instant,
    rng: Rng,
    run_id: String,
    port: u16,
    durability: Durability,
    /// Connections, by number; what changes with each command is told when it is asked for.
    pub(super) clients: BTreeMap<u64, Client>,
    /// Connections that are to be closed.
    pub(super) killed: Vec<u64>,
    /// The connection whose command runs.
    pub(super) caller: u64,
    pub(super) counts: Counts,
    pub(super) keys_bytes: usize,
    pub(super) expiring: usize,
    /// Other replicas that are connected.
    pub(super) replicas: usize,
    /// For each other replica that has seen any write of this one: up to when it has seen them.
    pub(super) acknowledged: Vec<Time>,
    users: Users,
    /// Whether other nodes have the same users.
    pub(super) shares_users: bool,
    /// A change of the users, by the command that ran last, which is to be made where all nodes see it.
    pub(super) users_change: Option<Change>,
    /// Which keys are strong.
    pub(super) prefixes: Prefixes,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) address: SocketAddr,
    pub(super) since: Instant,
    /// When its last command came, as [`Instant`] counts.
    pub(super) last: Arc<AtomicU64>,
    pub(super) info: ClientInfo,
    /// It has changed users, and is not answered yet.
    pub(super) awaits_users: bool,
}

/// What is counted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) connections: u64,
    pub(super) commands: u64,
    pub(super) expired: u64,
}

impl Process {
    pub(super) fn new(clock: Clock, port: u16, durability: Durability) -> Self {
        let mut rng = Rng::with_seed(random());
        let run_id = (0..5).map(|_| format!("{:08x}", rng.u32(..))).collect();
        let (clients, killed) = (BTreeMap::new(), Vec::new());
        let began = clock.now();
        let counts = Counts::default();
        let users = Users::new();
        Process {
            clock,
            now_us: 0,
            began,
            rng,
            run_id,
            port,
            durability,
            clients,
            killed,
            caller: 0,
            counts,
            keys_bytes: 0,
            expiring: 0,
            replicas: 0,
            acknowledged: Vec::new(),
            users,
            shares_users: false,
            users_change: None,
            prefixes: Prefixes::default(),
        }
    }

    /// Closes the connections of users who are gone; whose command waits gets its answer first.
    pub(super) fn hang_up(&mut self, users: &[String]) {
        let is_gone = |client: &Client| users.contains(&client.info.user) && !client.awaits_users;
        self.killed.extend(self.clients.iter().filter(|(_, client)| is_gone(client)).map(|(id, _)| *id));
    }

    /// The connection waits for the answer to a change of users.
    pub(super) fn awaits_users(&mut self, id: u64) {
        self.clients.entry(id).and_modify(|client| client.awaits_users = true);
    }

    /// It has its answer; whether its own user is still there.
    pub(super) fn answered_users(&mut self, id: u64) -> bool {
        let Some(client) = self.clients.get_mut(&id) else { return false };
        client.awaits_users = false;
        self.users.get(&client.info.user).is_some()
    }

    fn seconds_since(&self, then: Instant) -> u64 {
        self.clock.now().since(then).as_secs()
    }

    fn info(&self, id: u64, client: &Client) -> ClientInfo {
        ClientInfo {
            id,
            address: client.address.to_string(),
            local_address: format!("127.0.0.1:{}", self.port),
            age_seconds: self.seconds_since(client.since),
            idle_seconds: self.seconds_since(Instant(client.last.load(Ordering::Relaxed))),
            ..client.info.clone()
        }
    }
}

impl Host for Process {
    fn now_us(&self) -> u64 {
        self.now_us
    }

    fn random(&mut self) -> u64 {
        self.rng.u64(..)
    }

    fn secret(&mut self, bytes: &mut [u8]) {
        bytes.chunks_mut(size_of::<u64>()).for_each(|chunk| chunk.copy_from_slice(&random().to_ne_bytes()[..chunk.len()]));
    }

    fn users(&self) -> &Users {
        &self.users
    }

    fn users_mut(&mut self) -> &mut Users {
        &mut self.users
    }

    fn shares_users(&self) -> bool {
        self.shares_users
    }

    fn change_users(&mut self, change: Change) -> Result<Option<Vec<String>>, Failure> {
        if !self.shares_users {
            return change.apply(&mut self.users).map(Some);
        }
        // What can't be is refused at once.
        change.apply(&mut self.users.clone())?;
        self.users_change = Some(change);
        Ok(None)
    }

    fn address(&self, client: u64) -> Option<IpAddr> {
        self.clients.get(&client).map(|client| client.address.ip())
    }

    fn settings(&self) -> Vec<(String, String)> {
        let fsync = match self.durability {
            Durability::Always => "always",
            Durability::EverySecond => "everysec",
            Durability::Never => "no",
        };
        let settings =
            [("appendonly", "yes"), ("appendfsync", fsync), ("databases", "1"), ("maxmemory", "0"), ("save", ""), ("timeout", "0")];
        settings.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    fn change_settings(&mut self, changes: &[(String, String)]) -> Result<(), (String, SettingError)> {
        let settings = self.settings();
        for (name, value) in changes {
            match settings.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)) {
                Some((_, is)) if is == value => {}
                Some(_) => return Err((name.clone(), SettingError::Immutable)),
                None => return Err((name.clone(), SettingError::Unknown)),
            }
        }
        Ok(())
    }

    fn reset_counts(&mut self) {
        self.counts = Counts::default();
    }

    fn facts(&self) -> Facts {
        let resident_memory_bytes = resident_bytes().unwrap_or(0);
        Facts {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            process_id: std::process::id(),
            run_id: self.run_id.clone(),
            port: self.port,
            uptime_seconds: self.seconds_since(self.began),
            used_memory_bytes: self.keys_bytes as u64,
            peak_memory_bytes: resident_memory_bytes,
            resident_memory_bytes,
            connections_received: self.counts.connections,
            commands_processed: self.counts.commands,
            expired_keys: self.counts.expired,
            keys_with_deadline: self.expiring as u64,
            connected_replicas: self.replicas as u64,
            ..Facts::default()
        }
    }

    fn clients(&self) -> Vec<ClientInfo> {
        self.clients.iter().map(|(id, client)| self.info(*id, client)).collect()
    }

    fn kill(&mut self, filter: &KillFilter) -> usize {
        let is_meant = |client: &ClientInfo| {
            client.id != self.caller
                && filter.except != Some(client.id)
                && filter.id.is_none_or(|id| id == client.id)
                && filter.address.as_ref().is_none_or(|address| *address == client.address)
                && filter.local_address.as_ref().is_none_or(|address| *address == client.local_address)
                && filter.user.as_ref().is_none_or(|user| *user == client.user)
        };
        let meant: Vec<u64> = self.clients().iter().filter(|client| is_meant(client)).map(|client| client.id).collect();
        self.killed.extend(&meant);
        meant.len()
    }

    fn acknowledged(&self, write: Version) -> usize {
        self.acknowledged.iter().filter(|seen| write.time() <= **seen).count()
    }

    fn replicas(&self) -> usize {
        self.replicas
    }

    fn has_registers(&self) -> bool {
        !self.prefixes.is_empty()
    }

    fn is_register(&self, key: &[u8]) -> bool {
        self.prefixes.is_strong(key)
    }

    fn is_closed(&self, key: &[u8]) -> bool {
        self.prefixes.is_closed(key)
    }
}
