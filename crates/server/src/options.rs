//! What a node is told at its start: names, addresses, how it finds its cluster, and its sizes.
//!
//! The command line builds a [`ServerOptions`] from flags, environment and file (all use the same kebab-case names), and
//! [`ServerOptions::validate`] says in plain words what is wrong with it. Nothing here touches the network or the disk.

mod security;

pub use security::{ClientSecurity, PeerSecurity};

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use steadfast_node::{AutoCompaction, Autopilot};
use steadfast_types::limits;

use crate::available::Durability;
use crate::tokens::TokenKind;

mod alerting;
mod autopilot;
mod compaction;
mod recovery;
mod role;
pub use alerting::{AlertOptions, SecretUrl};
pub use compaction::CompactionMode;
pub use recovery::{Approval, Approvals};
pub use role::NodeRole;

/// The longest name of a node or token of a cluster, bytes: they stand in every status line.
pub const NAME_BYTES: usize = 64;

/// The longest address, bytes: a host name has at most 253.
pub const ADDRESS_BYTES: usize = 300;

/// Members of a new cluster. More voters than this make every write slower and the cluster no safer.
pub const INITIAL_MEMBERS: usize = 9;

/// Election timeout over heartbeat interval, at least: one lost heartbeat must not cost an election.
const ELECTION_HEARTBEATS: u64 = 5;

/// An option that can't be used as given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{option}: {problem}; {remedy}")]
pub struct OptionsError {
    /// The option's name, as on the command line without its dashes.
    pub option: &'static str,
    /// What is wrong, naming the value.
    pub problem: String,
    /// What to do.
    pub remedy: String,
}

fn wrong(option: &'static str, problem: impl Into<String>, remedy: impl Into<String>) -> OptionsError {
    OptionsError { option, problem: problem.into(), remedy: remedy.into() }
}

/// How a node finds its cluster. It matters only until the directory belongs to one: after that every variant means [`Start::Resume`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Start {
    /// Form a new cluster together with the others that are listed.
    InitialCluster {
        /// Any text, the same on all of them and another for each cluster, so that two clusters are never mixed up.
        token: String,
        /// Names and peer addresses (`host:port`) of all of them, this node included.
        members: Vec<(String, String)>,
    },
    /// Join an existing cluster to which this node's peer address was added before.
    Join {
        /// Peer addresses of members.
        peers: Vec<String>,
    },
    /// Go on with what the data directory holds.
    Resume,
}

impl Start {
    /// Reads the command line's form `n1=host:2380,n2=host:2380`.
    ///
    /// # Errors
    /// If an item has no `=`. Names and addresses themselves are checked by [`ServerOptions::validate`].
    pub fn parse_initial_cluster(token: &str, list: &str) -> Result<Start, OptionsError> {
        let member = |item: &str| match item.trim().split_once('=') {
            Some((name, address)) => Ok((name.trim().to_owned(), peer_address(address.trim()).to_owned())),
            None => Err(wrong(
                "initial-cluster",
                format!("`{item}` is not of the form NAME=HOST:PORT"),
                "list all members like n1=10.0.0.1:2380,n2=10.0.0.2:2380",
            )),
        };
        let members = list.split(',').filter(|item| !item.trim().is_empty()).map(member).collect::<Result<_, _>>()?;
        Ok(Start::InitialCluster { token: token.to_owned(), members })
    }

    /// Reads the command line's form `host:2380,host:2380`.
    pub fn parse_join(list: &str) -> Start {
        let items = list.split(',').map(str::trim).filter(|item| !item.is_empty());
        Start::Join { peers: items.map(|item| peer_address(item).to_owned()).collect() }
    }
}

/// The `host:port` in a member's peer URL (or in a bare address, which is its own).
pub fn peer_address(url: &str) -> &str {
    let address = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    address.unwrap_or(url).trim_end_matches('/')
}

/// The peer URL that a member of this `host:port` is listed with.
pub fn peer_url(address: &str) -> String {
    format!("http://{}", peer_address(address))
}

/// Everything a node is told at its start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ServerOptions {
    /// The node's name, unique in its cluster.
    pub name: String,
    /// What it is for.
    #[serde(default)]
    pub role: NodeRole,
    /// Where everything it must remember is kept.
    pub data_dir: PathBuf,
    /// Where it serves clients (etcd v3 API).
    pub listen_client: SocketAddr,
    /// Where it hears its peers.
    pub listen_peer: SocketAddr,
    /// Where it serves metrics and health.
    pub listen_admin: SocketAddr,
    /// Where it serves available state (Redis protocol); `None`: it has none.
    #[serde(default)]
    pub listen_redis: Option<SocketAddr>,
    /// When an acknowledged write of available state is on the disk.
    #[serde(default)]
    pub redis_durability: Durability,
    /// What the keys of available state may use of memory, about, in bytes: beyond it those that were not used for a while are only on the disk. 0: no bound.
    #[serde(default)]
    pub redis_memory_bytes: u64,
    /// The URLs that clients are told to reach it at.
    pub advertise_client: Vec<String>,
    /// The `host:port` that its peers reach it at.
    pub advertise_peer: String,
    /// How it finds its cluster.
    pub start: Start,
    /// How often a leader says that it lives, milliseconds.
    #[serde(default = "default_heartbeat_interval_ms")]
    pub heartbeat_interval_ms: u64,
    /// How long followers wait for a silent leader, milliseconds.
    #[serde(default = "default_election_timeout_ms")]
    pub election_timeout_ms: u64,
    /// Answer linearizable reads under the leader's lease instead of by a round to a quorum. That trusts the clocks to run at rates that differ by
    /// less than 5 percent, and all members to have it on.
    #[serde(default)]
    pub lease_reads: bool,
    /// Memory for table rows that are not yet in files, bytes.
    #[serde(default = "default_table_memory_bytes")]
    pub memtable_bytes: usize,
    /// Memory for blocks of table files, bytes.
    #[serde(default = "default_table_memory_bytes")]
    pub block_cache_bytes: usize,
    /// Log kept behind the last checkpoint, bytes, so that a node that was away briefly catches up without a snapshot.
    #[serde(default = "default_log_retention_bytes")]
    pub log_retention_bytes: u64,
    /// What [`ServerOptions::auto_compaction_retention`] counts.
    #[serde(default)]
    pub auto_compaction_mode: CompactionMode,
    /// How much history is kept: a time like `1h`, or a number of revisions; `0`: all.
    #[serde(default = "default_auto_compaction_retention")]
    pub auto_compaction_retention: String,
    /// A learner that was in sync for so long becomes a voter by itself, like `30s`; `0`: only when somebody promotes it.
    #[serde(default = "default_off")]
    pub promote_learners_after: String,
    /// A voter that was silent for so long is replaced by a learner in sync, or leaves if a voter was added, like `10m`; `0`: only when somebody
    /// removes it.
    #[serde(default = "default_off")]
    pub replace_dead_voters_after: String,
    /// A voter that was failed for so long is replaced by a spare, by a recovery plan, like `60s`; `0`: never.
    #[serde(default = "recovery::voters_after")]
    pub recover_voters_after: String,
    /// A learner or spare that was failed for so long is removed, by a recovery plan, like `5m`; `0`: never.
    #[serde(default = "recovery::others_after")]
    pub recover_others_after: String,
    /// An agent that was failed for so long is removed, by a recovery plan, like `5m`; `0`: never.
    #[serde(default = "recovery::agents_after")]
    pub recover_agents_after: String,
    /// A service that was failed for so long is started anew, if it is declared how, by a recovery plan, like `5s`; `0`: never.
    #[serde(default = "recovery::services_after")]
    pub recover_services_after: String,
    /// Who decides about recovery plans.
    #[serde(default)]
    pub recovery_approval: Approvals,
    /// What the tables may take on the disk of this node, bytes; 0: as much as there is. Beyond it, commands that take more are refused, on all
    /// members, until there is room again.
    #[serde(default)]
    pub quota_backend_bytes: u64,
    /// Which tokens clients get for their passwords, once authentication is enabled; in etcd's syntax: `simple`, or
    /// `jwt,sign-method=…,priv-key=…,pub-key=…,ttl=…`. The same on all members.
    #[serde(default = "default_auth_token")]
    pub auth_token: String,
    /// How costly it is to try a password, for those that are set from now on: each step doubles it.
    #[serde(default = "default_bcrypt_cost")]
    pub bcrypt_cost: u32,
    /// Let the admin port inject faults into this node (`fault_table`). For drills; never where strangers reach that port.
    #[serde(default)]
    pub faults: bool,
    /// TLS of the client port.
    #[serde(default)]
    pub client_security: ClientSecurity,
    /// TLS between peers.
    #[serde(default)]
    pub peer_security: PeerSecurity,
    /// The admin port speaks plain text, wherever it listens, and asks nobody for a certificate.
    #[serde(default)]
    pub insecure_admin: bool,
    /// Run the scripts that strong state declares as checks, as this node's user: whoever may write there can run code here.
    #[serde(default)]
    pub enable_script_checks: bool,
    /// Who is told of what is wrong.
    #[serde(default)]
    pub alerts: AlertOptions,
}

fn default_heartbeat_interval_ms() -> u64 {
    100
}

fn default_election_timeout_ms() -> u64 {
    1000
}

fn default_table_memory_bytes() -> usize {
    16 * 1024 * 1024
}

fn default_auto_compaction_retention() -> String {
    "1h".to_owned()
}

fn default_off() -> String {
    "0".to_owned()
}

fn default_auth_token() -> String {
    "simple".to_owned()
}

fn default_bcrypt_cost() -> u32 {
    10
}

fn default_log_retention_bytes() -> u64 {
    limits::LOG_RETENTION_BYTES
}

impl ServerOptions {
    /// A node alone on this machine: the default ports on loopback, a cluster of its own.
    pub fn local(name: &str, data_dir: impl Into<PathBuf>) -> Self {
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        ServerOptions {
            name: name.to_owned(),
            role: NodeRole::default(),
            data_dir: data_dir.into(),
            listen_client: at(2379),
            listen_peer: at(2380),
            listen_admin: at(7070),
            listen_redis: None,
            redis_durability: Durability::default(),
            redis_memory_bytes: 0,
            advertise_client: vec!["http://127.0.0.1:2379".to_owned()],
            advertise_peer: "127.0.0.1:2380".to_owned(),
            start: Start::InitialCluster { token: "steadfast".to_owned(), members: vec![(name.to_owned(), "127.0.0.1:2380".to_owned())] },
            heartbeat_interval_ms: default_heartbeat_interval_ms(),
            election_timeout_ms: default_election_timeout_ms(),
            lease_reads: false,
            memtable_bytes: default_table_memory_bytes(),
            block_cache_bytes: default_table_memory_bytes(),
            log_retention_bytes: default_log_retention_bytes(),
            auto_compaction_mode: CompactionMode::default(),
            auto_compaction_retention: default_auto_compaction_retention(),
            promote_learners_after: default_off(),
            replace_dead_voters_after: default_off(),
            recover_voters_after: recovery::voters_after(),
            recover_others_after: recovery::others_after(),
            recover_agents_after: recovery::agents_after(),
            recover_services_after: recovery::services_after(),
            recovery_approval: Approvals::default(),
            quota_backend_bytes: 0,
            auth_token: default_auth_token(),
            bcrypt_cost: default_bcrypt_cost(),
            faults: false,
            client_security: ClientSecurity::default(),
            peer_security: PeerSecurity::default(),
            insecure_admin: false,
            enable_script_checks: false,
            alerts: AlertOptions::default(),
        }
    }

    /// [`ServerOptions::heartbeat_interval_ms`] as a duration.
    pub fn heartbeat_interval(&self) -> Duration {
        Duration::from_millis(self.heartbeat_interval_ms)
    }

    /// [`ServerOptions::election_timeout_ms`] as a duration.
    pub fn election_timeout(&self) -> Duration {
        Duration::from_millis(self.election_timeout_ms)
    }

    /// Checks every option, and those that must fit together.
    ///
    /// # Errors
    /// The first option that can't be used, and the remedy.
    pub fn validate(&self) -> Result<(), OptionsError> {
        check_name("name", &self.name)?;
        self.check_role()?;
        if self.data_dir.as_os_str().is_empty() {
            return Err(wrong("data-dir", "no directory is given", "name the directory this node keeps its data in"));
        }
        self.check_listeners()?;
        check_address("advertise-peer", &self.advertise_peer)?;
        self.check_advertised_clients()?;
        self.check_start()?;
        self.check_times()?;
        self.check_sizes()?;
        self.auto_compaction()?;
        self.autopilot()?;
        self.recovery()?;
        self.check_auth()?;
        self.check_alerts()?;
        self.check_security()
    }

    /// How much history is kept.
    ///
    /// # Errors
    /// If the retention is not of its form.
    pub fn auto_compaction(&self) -> Result<AutoCompaction, OptionsError> {
        compaction::parse(self.auto_compaction_mode, &self.auto_compaction_retention)
    }

    /// What this node changes about the members by itself, as their leader.
    ///
    /// # Errors
    /// If a time is not of its form, or shorter than what tells a dead node from a slow one.
    pub fn autopilot(&self) -> Result<Autopilot, OptionsError> {
        autopilot::parse(&self.promote_learners_after, &self.replace_dead_voters_after, self.election_timeout())
    }

    fn check_listeners(&self) -> Result<(), OptionsError> {
        let clash = |a: SocketAddr, b: SocketAddr| {
            a.port() == b.port() && a.port() != 0 && (a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified())
        };
        let pairs = [
            ("listen-peer", self.listen_peer, "listen-client", self.listen_client),
            ("listen-admin", self.listen_admin, "listen-client", self.listen_client),
            ("listen-admin", self.listen_admin, "listen-peer", self.listen_peer),
        ];
        let pairs = if self.role == NodeRole::Agent { &pairs[2..] } else { &pairs[..] };
        let others = [("listen-client", self.listen_client), ("listen-peer", self.listen_peer), ("listen-admin", self.listen_admin)];
        let redis = self.listen_redis.iter().flat_map(|redis| others.map(|(name, other)| ("listen-redis", *redis, name, other)));
        if self.listen_redis.is_some() && self.role == NodeRole::Agent {
            return Err(wrong("listen-redis", "an agent has no data of its own", "leave it out, or take --role server"));
        }
        match pairs.iter().copied().chain(redis).find(|(_, a, _, b)| clash(*a, *b)) {
            Some((option, address, other, _)) => {
                Err(wrong(option, format!("{address} is taken by {other}"), "give each listener a port of its own"))
            }
            None => Ok(()),
        }
    }

    fn check_advertised_clients(&self) -> Result<(), OptionsError> {
        const OPTION: &str = "advertise-client";
        if self.advertise_client.is_empty() {
            return Err(wrong(OPTION, "no URL is given", "give the URL that clients reach this node at, like http://10.0.0.1:2379"));
        }
        for url in &self.advertise_client {
            // A proxy may speak TLS for a plain port; nothing speaks plain text for one with TLS.
            let (plain, secure) = (url.strip_prefix("http://"), url.strip_prefix("https://"));
            if plain.is_some() && self.client_security.is_on() {
                return Err(wrong(OPTION, format!("`{url}` begins with http://, and the client port speaks TLS"), "write https://"));
            }
            let Some(address) = plain.or(secure) else {
                let problem = format!("`{url}` begins with neither http:// nor https://");
                return Err(wrong(OPTION, problem, "write it like http://10.0.0.1:2379"));
            };
            check_address(OPTION, address.trim_end_matches('/'))?;
        }
        Ok(())
    }

    fn check_start(&self) -> Result<(), OptionsError> {
        match &self.start {
            Start::InitialCluster { token, members } => self.check_initial_cluster(token, members),
            Start::Join { peers } => self.check_join(peers),
            Start::Resume => Ok(()),
        }
    }

    fn check_initial_cluster(&self, token: &str, members: &[(String, String)]) -> Result<(), OptionsError> {
        const OPTION: &str = "initial-cluster";
        check_name("cluster-token", token)?;
        if members.len() > INITIAL_MEMBERS {
            let problem = format!("{} members are listed, at most {INITIAL_MEMBERS} form a cluster", members.len());
            return Err(wrong(OPTION, problem, "begin with 3 or 5, and add others as learners"));
        }
        let (mut names, mut addresses) = (BTreeSet::new(), BTreeSet::new());
        for (name, address) in members {
            check_name(OPTION, name)?;
            check_address(OPTION, address)?;
            if !names.insert(name) {
                return Err(wrong(OPTION, format!("the name `{name}` is listed twice"), "give each member a name of its own"));
            }
            if !addresses.insert(address) {
                return Err(wrong(OPTION, format!("the address {address} is listed twice"), "give each member an address of its own"));
            }
        }
        match members.iter().find(|(name, _)| *name == self.name) {
            None => Err(wrong(OPTION, format!("this node, `{}`, is not listed", self.name), "list it too, or correct --name")),
            Some((_, address)) if *address != self.advertise_peer => {
                let problem = format!("lists {address} for this node, whose advertise-peer is {}", self.advertise_peer);
                Err(wrong(OPTION, problem, "make them the same"))
            }
            Some(_) => Ok(()),
        }
    }

    fn check_join(&self, peers: &[String]) -> Result<(), OptionsError> {
        peers.iter().try_for_each(|peer| check_address("join", peer))?;
        if peers.iter().all(|peer| *peer == self.advertise_peer) {
            return Err(wrong("join", "no other member is named", "give the peer address of at least one running member"));
        }
        Ok(())
    }

    /// Key files are looked at when the node starts.
    fn check_auth(&self) -> Result<(), OptionsError> {
        TokenKind::parse(&self.auth_token)?;
        if !(4..=31).contains(&self.bcrypt_cost) {
            return Err(wrong("bcrypt-cost", format!("{} is not between 4 and 31", self.bcrypt_cost), "10 takes some 50 ms a password"));
        }
        Ok(())
    }

    fn check_times(&self) -> Result<(), OptionsError> {
        let (heartbeat, election) = (self.heartbeat_interval_ms, self.election_timeout_ms);
        if !(5..=10_000).contains(&heartbeat) {
            return Err(wrong("heartbeat-interval-ms", format!("{heartbeat} is not between 5 and 10000"), "100 suits most networks"));
        }
        if election < ELECTION_HEARTBEATS * heartbeat || election > 60_000 {
            let problem =
                format!("{election} is not between {} ({ELECTION_HEARTBEATS} heartbeats) and 60000", ELECTION_HEARTBEATS * heartbeat);
            return Err(wrong("election-timeout-ms", problem, "ten heartbeat intervals suit most networks"));
        }
        Ok(())
    }

    fn check_sizes(&self) -> Result<(), OptionsError> {
        const MIB: usize = 1024 * 1024;
        const MOST: usize = 64 * 1024 * MIB;
        for (option, bytes) in [("memtable-bytes", self.memtable_bytes), ("block-cache-bytes", self.block_cache_bytes)] {
            let bound = match bytes {
                ..MIB => "less than 1 MiB",
                MIB..=MOST => continue,
                _ => "more than 64 GiB",
            };
            return Err(wrong(option, format!("{bytes} is {bound}"), format!("the default is {}", default_table_memory_bytes())));
        }
        if (1..MIB as u64).contains(&self.quota_backend_bytes) {
            let problem = format!("{} is less than 1 MiB, which empty tables may take", self.quota_backend_bytes);
            return Err(wrong("quota-backend-bytes", problem, "write 0 for no quota, or 8589934592 for 8 GiB"));
        }
        Ok(())
    }
}

fn check_name(option: &'static str, name: &str) -> Result<(), OptionsError> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > NAME_BYTES || !name.chars().all(good) {
        let problem = format!("`{}` is not a name", name.escape_debug());
        return Err(wrong(option, problem, format!("use 1 to {NAME_BYTES} letters, digits, `-`, `_` and `.`")));
    }
    Ok(())
}

/// An address that others can dial: a host or IP address that is not the wildcard, and a port.
fn check_address(option: &'static str, address: &str) -> Result<(), OptionsError> {
    const FORM: &str = "write HOST:PORT, like 10.0.0.1:2380 or [fd00::1]:2380";
    let not_an_address = || wrong(option, format!("`{}` is not an address", address.escape_debug()), FORM);
    let (host, port) = address.rsplit_once(':').ok_or_else(not_an_address)?;
    let port_is_good = port.parse::<u16>().is_ok_and(|port| port != 0);
    let bracketed = host.starts_with('[') && host.ends_with(']');
    let host_is_good = if bracketed { address.parse::<SocketAddr>().is_ok() } else { host.chars().all(host_character) };
    if host.is_empty() || !port_is_good || !host_is_good || address.len() > ADDRESS_BYTES {
        return Err(not_an_address());
    }
    if address.parse::<SocketAddr>().is_ok_and(|parsed| parsed.ip().is_unspecified()) {
        return Err(wrong(option, format!("{address} is the wildcard, which nobody can dial"), "give an address that the others reach"));
    }
    Ok(())
}

fn host_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}

#[cfg(test)]
mod tests;
