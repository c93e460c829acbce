//! The settings of a node, as flags, environment and file give them, and the options that they make together. Pure.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::Result;
use clap::Args;
use serde::Deserialize;
use steadfast_server::available::Durability;
use steadfast_server::options::{
    AlertOptions, Approvals, ClientSecurity, CompactionMode, NodeRole, PeerSecurity, SecretUrl, ServerOptions, Start,
};

use super::logging::LogFormat;
use crate::usage::UsageError;

/// Every setting, if it is given. One shape for the command line and the file, so that their names can't differ.
#[derive(Args, Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub(super) struct Settings {
    /// The node's name, unique in its cluster
    #[arg(long, env = "STEADFAST_NAME", hide_env = true, value_name = "NAME")]
    name: Option<String>,
    /// What it is for: server; spare (a server that waits to take a failed voter's place, and needs --join); or agent (it takes part in the membership alone, and needs --join) [default: server]
    #[arg(long, env = "STEADFAST_ROLE", hide_env = true, value_name = "ROLE")]
    role: Option<NodeRole>,
    /// Where it keeps everything it must remember; made if it is missing
    #[arg(long, env = "STEADFAST_DATA_DIR", hide_env = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Where it serves clients, the etcd v3 API [default: 127.0.0.1:2379]
    #[arg(long, env = "STEADFAST_LISTEN_CLIENT", hide_env = true, value_name = "IP:PORT")]
    listen_client: Option<SocketAddr>,
    /// Where it hears the other nodes [default: 127.0.0.1:2380]
    #[arg(long, env = "STEADFAST_LISTEN_PEER", hide_env = true, value_name = "IP:PORT")]
    listen_peer: Option<SocketAddr>,
    /// Where it serves health and metrics [default: 127.0.0.1:7070]
    #[arg(long, env = "STEADFAST_LISTEN_ADMIN", hide_env = true, value_name = "IP:PORT")]
    listen_admin: Option<SocketAddr>,
    /// Where it serves available state, the Redis protocol [default: nowhere]
    #[arg(long, env = "STEADFAST_LISTEN_REDIS", hide_env = true, value_name = "IP:PORT")]
    listen_redis: Option<SocketAddr>,
    /// When an acknowledged write of available state is on the disk: always, every-second or never [default: every-second]
    #[arg(long, env = "STEADFAST_REDIS_DURABILITY", hide_env = true, value_name = "WHEN")]
    redis_durability: Option<Durability>,
    /// What the keys of available state may use of memory, about, bytes; those that were not used for a while are on the disk only. 0: no bound [default: 0]
    #[arg(long, env = "STEADFAST_REDIS_MEMORY_BYTES", hide_env = true, value_name = "BYTES")]
    redis_memory_bytes: Option<u64>,
    /// The URLs that clients are told to reach it at [default: http:// or https:// and --listen-client]
    #[arg(long, env = "STEADFAST_ADVERTISE_CLIENT", hide_env = true, value_name = "URL,…")]
    advertise_client: Option<List>,
    /// Where the other nodes reach it [default: its address in --initial-cluster, else --listen-peer]
    #[arg(long, env = "STEADFAST_ADVERTISE_PEER", hide_env = true, value_name = "HOST:PORT")]
    advertise_peer: Option<String>,
    /// Form a new cluster: the names and peer addresses of all its nodes, the same list on each
    #[arg(long, env = "STEADFAST_INITIAL_CLUSTER", hide_env = true, value_name = "NAME=HOST:PORT,…")]
    initial_cluster: Option<List>,
    /// Any text that is another for each cluster, so that two are never mixed up while they form [default: steadfast]
    #[arg(long, env = "STEADFAST_CLUSTER_TOKEN", hide_env = true, value_name = "TEXT")]
    cluster_token: Option<String>,
    /// Join an existing cluster, to which this node was added before: peer addresses of some of its nodes
    #[arg(long, env = "STEADFAST_JOIN", hide_env = true, value_name = "HOST:PORT,…")]
    join: Option<List>,
    /// How often a leader says that it lives [default: 100]
    #[arg(long, env = "STEADFAST_HEARTBEAT_INTERVAL_MS", hide_env = true, value_name = "MS")]
    heartbeat_interval_ms: Option<u64>,
    /// How long a silent leader is waited for [default: 1000]
    #[arg(long, env = "STEADFAST_ELECTION_TIMEOUT_MS", hide_env = true, value_name = "MS")]
    election_timeout_ms: Option<u64>,
    /// Answer reads under the leader's lease: faster, and as sound as the clocks' rates. On all members, or on none
    #[arg(long, env = "STEADFAST_LEASE_READS", hide_env = true, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
        hide_possible_values = true)]
    lease_reads: Option<bool>,
    /// Memory for table rows that are not yet in files [default: 16777216]
    #[arg(long, env = "STEADFAST_MEMTABLE_BYTES", hide_env = true, value_name = "BYTES")]
    memtable_bytes: Option<usize>,
    /// Memory for blocks of table files [default: 16777216]
    #[arg(long, env = "STEADFAST_BLOCK_CACHE_BYTES", hide_env = true, value_name = "BYTES")]
    block_cache_bytes: Option<usize>,
    /// Log kept for nodes that were away, so that they catch up without a snapshot [default: 67108864]
    #[arg(long, env = "STEADFAST_LOG_RETENTION_BYTES", hide_env = true, value_name = "BYTES")]
    log_retention_bytes: Option<u64>,
    /// What --auto-compaction-retention counts: periodic (time) or revision [default: periodic]
    #[arg(long, env = "STEADFAST_AUTO_COMPACTION_MODE", hide_env = true, value_name = "MODE")]
    auto_compaction_mode: Option<CompactionMode>,
    /// History that is kept: 1h, 30m, 10000 (revisions), 0 to keep all until somebody compacts [default: 1h]
    #[arg(long, env = "STEADFAST_AUTO_COMPACTION_RETENTION", hide_env = true, value_name = "TIME|NUMBER")]
    auto_compaction_retention: Option<String>,
    /// A learner that was in sync for so long becomes a voter by itself: 30s, 10m; 0: only when it is promoted. The same on all nodes [default: 0]
    #[arg(long, env = "STEADFAST_PROMOTE_LEARNERS_AFTER", hide_env = true, value_name = "TIME")]
    promote_learners_after: Option<String>,
    /// A voter that was silent for so long is replaced by a learner in sync, or leaves if a voter was added: 10m; 0: only when it is removed. The same on all nodes [default: 0]
    #[arg(long, env = "STEADFAST_REPLACE_DEAD_VOTERS_AFTER", hide_env = true, value_name = "TIME")]
    replace_dead_voters_after: Option<String>,
    /// A voter that was failed for so long is replaced by a spare: 60s; 0: never. The same on all nodes [default: 1m; 0 with --replace-dead-voters-after]
    #[arg(long, env = "STEADFAST_RECOVER_VOTERS_AFTER", hide_env = true, value_name = "TIME")]
    recover_voters_after: Option<String>,
    /// A learner or spare that was failed for so long is removed: 5m; 0: never. The same on all nodes [default: 5m]
    #[arg(long, env = "STEADFAST_RECOVER_OTHERS_AFTER", hide_env = true, value_name = "TIME")]
    recover_others_after: Option<String>,
    /// An agent that was failed for so long is removed: 5m; 0: never. The same on all nodes [default: 5m]
    #[arg(long, env = "STEADFAST_RECOVER_AGENTS_AFTER", hide_env = true, value_name = "TIME")]
    recover_agents_after: Option<String>,
    /// A service that was failed for so long is started anew, if `steadfast service restart` says how: 5s; 0: never. The same on all nodes [default: 5s]
    #[arg(long, env = "STEADFAST_RECOVER_SERVICES_AFTER", hide_env = true, value_name = "TIME")]
    recover_services_after: Option<String>,
    /// Who decides about recovery plans: automatic, or manual (each waits for `steadfast recovery approve`); or by role, like voters=manual,services=automatic, of voters, others, agents and services. The same on all nodes [default: automatic]
    #[arg(long, env = "STEADFAST_RECOVERY_APPROVAL", hide_env = true, value_name = "WHO")]
    recovery_approval: Option<Approvals>,
    /// What the tables may take on disk; beyond it writes are refused until there is room again; 0 for no bound [default: 0]
    #[arg(long, env = "STEADFAST_QUOTA_BACKEND_BYTES", hide_env = true, value_name = "BYTES")]
    quota_backend_bytes: Option<u64>,
    /// Which tokens clients get for their passwords: simple, or jwt,sign-method=RS256,priv-key=FILE,pub-key=FILE,ttl=10m [default: simple]
    #[arg(long, env = "STEADFAST_AUTH_TOKEN", hide_env = true, value_name = "KIND")]
    auth_token: Option<String>,
    /// How costly it is to try a password, 4 to 31; each step doubles it [default: 10]
    #[arg(long, env = "STEADFAST_BCRYPT_COST", hide_env = true, value_name = "COST")]
    bcrypt_cost: Option<u32>,
    /// Let the admin port inject faults into this node, for drills: lost messages, a slow disk, a jumping clock
    #[arg(long, env = "STEADFAST_FAULTS", hide_env = true, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
        hide_possible_values = true)]
    faults: Option<bool>,
    /// Serve clients with TLS: the certificate, PEM; read again when it changes
    #[arg(long, env = "STEADFAST_CERT_FILE", hide_env = true, value_name = "FILE")]
    cert_file: Option<PathBuf>,
    /// The key of --cert-file, PEM
    #[arg(long, env = "STEADFAST_KEY_FILE", hide_env = true, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Clients must show a certificate that a CA in this file signed, PEM
    #[arg(long, env = "STEADFAST_TRUSTED_CA_FILE", hide_env = true, value_name = "FILE")]
    trusted_ca_file: Option<PathBuf>,
    /// As etcd: clients must show a certificate, which --trusted-ca-file alone means too
    #[arg(long, env = "STEADFAST_CLIENT_CERT_AUTH", hide_env = true, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
        hide_possible_values = true)]
    client_cert_auth: Option<bool>,
    /// Serve clients with TLS by a certificate that the node makes for itself and keeps in its data directory
    #[arg(long, env = "STEADFAST_AUTO_TLS", hide_env = true, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
        hide_possible_values = true)]
    auto_tls: Option<bool>,
    /// TLS between nodes, where both sides show certificates: this node's, for its --advertise-peer, PEM
    #[arg(long, env = "STEADFAST_PEER_CERT_FILE", hide_env = true, value_name = "FILE")]
    peer_cert_file: Option<PathBuf>,
    /// The key of --peer-cert-file, PEM
    #[arg(long, env = "STEADFAST_PEER_KEY_FILE", hide_env = true, value_name = "FILE")]
    peer_key_file: Option<PathBuf>,
    /// The CAs that sign the nodes' certificates, PEM
    #[arg(long, env = "STEADFAST_PEER_TRUSTED_CA_FILE", hide_env = true, value_name = "FILE")]
    peer_trusted_ca_file: Option<PathBuf>,
    /// The common name that every node's certificate must have
    #[arg(long, env = "STEADFAST_PEER_CERT_ALLOWED_CN", hide_env = true, value_name = "NAME")]
    peer_cert_allowed_cn: Option<String>,
    /// Encrypt between nodes without authentication: for trials only
    #[arg(long, env = "STEADFAST_PEER_AUTO_TLS", hide_env = true, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
        hide_possible_values = true)]
    peer_auto_tls: Option<bool>,
    /// Let nodes on several machines speak in plain text, and whoever reaches the peer port be one
    #[arg(long, env = "STEADFAST_INSECURE_PEERS", hide_env = true, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
        hide_possible_values = true)]
    insecure_peers: Option<bool>,
    /// Seal the datagrams by which nodes find out who lives: 32-byte keys, one a line, in hexadecimal or base64; the first seals, all open. The same on all nodes
    #[arg(long, env = "STEADFAST_GOSSIP_KEY_FILE", hide_env = true, value_name = "FILE")]
    gossip_key_file: Option<PathBuf>,
    /// Let the admin port speak plain text also beyond this machine, or beside a client port with TLS
    #[arg(long, env = "STEADFAST_INSECURE_ADMIN", hide_env = true, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
        hide_possible_values = true)]
    insecure_admin: Option<bool>,
    /// Run the scripts that strong state declares as checks, as this node's user: whoever may write there can run code here
    #[arg(long, env = "STEADFAST_ENABLE_SCRIPT_CHECKS", hide_env = true, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
        hide_possible_values = true)]
    enable_script_checks: Option<bool>,
    /// Tell of failures, while this server leads, by POST to these URLs: JSON in the form of Alertmanager's webhooks
    #[arg(long, env = "STEADFAST_ALERT_WEBHOOK", hide_env = true, value_name = "URL,…")]
    alert_webhook: Option<List>,
    /// The same by this command, run by the shell: JSON on its standard input, STEADFAST_ALERT_* in its environment
    #[arg(long, env = "STEADFAST_ALERT_COMMAND", hide_env = true, value_name = "CMD")]
    alert_command: Option<String>,
    /// The same by pushing all that stands to these Alertmanagers
    #[arg(long, env = "STEADFAST_ALERTMANAGER", hide_env = true, value_name = "URL,…")]
    alertmanager: Option<List>,
    /// How log lines look: text or json [default: text]
    #[arg(long, env = "STEADFAST_LOG_FORMAT", hide_env = true, value_enum, hide_possible_values = true, value_name = "FORMAT")]
    log_format: Option<LogFormat>,
}

/// Several words: separated by commas, or in a file also a list.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(from = "ListForm")]
struct List(Vec<String>);

#[derive(Deserialize)]
#[serde(untagged)]
enum ListForm {
    One(String),
    Many(Vec<String>),
}

impl From<ListForm> for List {
    fn from(form: ListForm) -> Self {
        match form {
            ListForm::One(text) => List::split(&text),
            ListForm::Many(items) => List(items),
        }
    }
}

impl List {
    fn split(text: &str) -> Self {
        List(text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(String::from).collect())
    }

    fn joined(&self) -> String {
        self.0.join(",")
    }
}

impl FromStr for List {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(List::split(text))
    }
}

impl Settings {
    /// These settings, and the file's where these are silent. A start of one kind on each side is a contradiction, not a precedence.
    pub(super) fn over(self, file: Settings) -> Result<Settings> {
        self.check_start_kinds(&file)?;
        Ok(Settings {
            name: self.name.or(file.name),
            role: self.role.or(file.role),
            data_dir: self.data_dir.or(file.data_dir),
            listen_client: self.listen_client.or(file.listen_client),
            listen_peer: self.listen_peer.or(file.listen_peer),
            listen_admin: self.listen_admin.or(file.listen_admin),
            listen_redis: self.listen_redis.or(file.listen_redis),
            redis_durability: self.redis_durability.or(file.redis_durability),
            redis_memory_bytes: self.redis_memory_bytes.or(file.redis_memory_bytes),
            advertise_client: self.advertise_client.or(file.advertise_client),
            advertise_peer: self.advertise_peer.or(file.advertise_peer),
            initial_cluster: self.initial_cluster.or(file.initial_cluster),
            cluster_token: self.cluster_token.or(file.cluster_token),
            join: self.join.or(file.join),
            heartbeat_interval_ms: self.heartbeat_interval_ms.or(file.heartbeat_interval_ms),
            election_timeout_ms: self.election_timeout_ms.or(file.election_timeout_ms),
            lease_reads: self.lease_reads.or(file.lease_reads),
            memtable_bytes: self.memtable_bytes.or(file.memtable_bytes),
            block_cache_bytes: self.block_cache_bytes.or(file.block_cache_bytes),
            log_retention_bytes: self.log_retention_bytes.or(file.log_retention_bytes),
            auto_compaction_mode: self.auto_compaction_mode.or(file.auto_compaction_mode),
            auto_compaction_retention: self.auto_compaction_retention.or(file.auto_compaction_retention),
            promote_learners_after: self.promote_learners_after.or(file.promote_learners_after),
            replace_dead_voters_after: self.replace_dead_voters_after.or(file.replace_dead_voters_after),
            recover_voters_after: self.recover_voters_after.or(file.recover_voters_after),
            recover_others_after: self.recover_others_after.or(file.recover_others_after),
            recover_agents_after: self.recover_agents_after.or(file.recover_agents_after),
            recover_services_after: self.recover_services_after.or(file.recover_services_after),
            recovery_approval: self.recovery_approval.or(file.recovery_approval),
            quota_backend_bytes: self.quota_backend_bytes.or(file.quota_backend_bytes),
            auth_token: self.auth_token.or(file.auth_token),
            bcrypt_cost: self.bcrypt_cost.or(file.bcrypt_cost),
            faults: self.faults.or(file.faults),
            cert_file: self.cert_file.or(file.cert_file),
            key_file: self.key_file.or(file.key_file),
            trusted_ca_file: self.trusted_ca_file.or(file.trusted_ca_file),
            client_cert_auth: self.client_cert_auth.or(file.client_cert_auth),
            auto_tls: self.auto_tls.or(file.auto_tls),
            peer_cert_file: self.peer_cert_file.or(file.peer_cert_file),
            peer_key_file: self.peer_key_file.or(file.peer_key_file),
            peer_trusted_ca_file: self.peer_trusted_ca_file.or(file.peer_trusted_ca_file),
            peer_cert_allowed_cn: self.peer_cert_allowed_cn.or(file.peer_cert_allowed_cn),
            peer_auto_tls: self.peer_auto_tls.or(file.peer_auto_tls),
            insecure_peers: self.insecure_peers.or(file.insecure_peers),
            gossip_key_file: self.gossip_key_file.or(file.gossip_key_file),
            insecure_admin: self.insecure_admin.or(file.insecure_admin),
            enable_script_checks: self.enable_script_checks.or(file.enable_script_checks),
            alert_webhook: self.alert_webhook.or(file.alert_webhook),
            alert_command: self.alert_command.or(file.alert_command),
            alertmanager: self.alertmanager.or(file.alertmanager),
            log_format: self.log_format.or(file.log_format),
        })
    }

    fn check_start_kinds(&self, file: &Settings) -> Result<(), UsageError> {
        let origin = |given: bool, in_file: bool| match (given, in_file) {
            (true, _) => Some("from its flag or variable"),
            (false, true) => Some("from the file"),
            (false, false) => None,
        };
        let formed = origin(self.initial_cluster.is_some(), file.initial_cluster.is_some());
        let joined = origin(self.join.is_some(), file.join.is_some());
        let token = self.cluster_token.is_some() || file.cluster_token.is_some();
        match (formed, joined) {
            (Some(formed), Some(joined)) => Err(UsageError(format!(
                "initial-cluster ({formed}) and join ({joined}) exclude each other: a node forms a new cluster or joins an existing one"
            ))),
            (None, _) if token => Err(UsageError("cluster-token is only for --initial-cluster: leave it out".into())),
            _ => Ok(()),
        }
    }

    /// How log lines look.
    pub(super) fn log_format(&self) -> LogFormat {
        self.log_format.unwrap_or_default()
    }

    /// The options that these settings make, defaults filled in, checked.
    pub(super) fn into_options(self) -> Result<ServerOptions> {
        let name = self.name.clone().ok_or_else(|| missing("name", "--name n1"))?;
        let data_dir = self.data_dir.clone().ok_or_else(|| missing("data-dir", "--data-dir /var/lib/steadfast"))?;
        let start = self.start()?;
        let defaults = ServerOptions::local(&name, data_dir);
        let listen_client = self.listen_client.unwrap_or(defaults.listen_client);
        let listen_peer = self.listen_peer.unwrap_or(defaults.listen_peer);
        let advertise_peer = self.advertise_peer.or_else(|| own_address(&start, &name));
        let client_security = ClientSecurity {
            cert_file: self.cert_file,
            key_file: self.key_file,
            trusted_ca_file: self.trusted_ca_file,
            client_cert_auth: self.client_cert_auth.unwrap_or_default(),
            auto_tls: self.auto_tls.unwrap_or_default(),
        };
        let peer_security = PeerSecurity {
            peer_cert_file: self.peer_cert_file,
            peer_key_file: self.peer_key_file,
            peer_trusted_ca_file: self.peer_trusted_ca_file,
            peer_cert_allowed_cn: self.peer_cert_allowed_cn,
            peer_auto_tls: self.peer_auto_tls.unwrap_or_default(),
            insecure_peers: self.insecure_peers.unwrap_or_default(),
            gossip_key_file: self.gossip_key_file,
        };
        let urls = |list: Option<List>| list.unwrap_or_default().0.into_iter().map(SecretUrl::from).collect();
        let alerts = AlertOptions {
            alert_webhook: urls(self.alert_webhook),
            alert_command: self.alert_command.into_iter().collect(),
            alertmanager: urls(self.alertmanager),
        };
        let scheme = if client_security.is_on() { "https" } else { "http" };
        let options = ServerOptions {
            role: self.role.unwrap_or_default(),
            listen_client,
            listen_peer,
            listen_admin: self.listen_admin.unwrap_or(defaults.listen_admin),
            listen_redis: self.listen_redis.or(defaults.listen_redis),
            redis_durability: self.redis_durability.unwrap_or(defaults.redis_durability),
            redis_memory_bytes: self.redis_memory_bytes.unwrap_or(defaults.redis_memory_bytes),
            advertise_client: self.advertise_client.map_or_else(|| vec![format!("{scheme}://{listen_client}")], |list| list.0),
            advertise_peer: advertise_peer.unwrap_or_else(|| listen_peer.to_string()),
            start,
            heartbeat_interval_ms: self.heartbeat_interval_ms.unwrap_or(defaults.heartbeat_interval_ms),
            election_timeout_ms: self.election_timeout_ms.unwrap_or(defaults.election_timeout_ms),
            lease_reads: self.lease_reads.unwrap_or(defaults.lease_reads),
            memtable_bytes: self.memtable_bytes.unwrap_or(defaults.memtable_bytes),
            block_cache_bytes: self.block_cache_bytes.unwrap_or(defaults.block_cache_bytes),
            log_retention_bytes: self.log_retention_bytes.unwrap_or(defaults.log_retention_bytes),
            auto_compaction_mode: self.auto_compaction_mode.unwrap_or(defaults.auto_compaction_mode),
            auto_compaction_retention: self.auto_compaction_retention.unwrap_or(defaults.auto_compaction_retention),
            promote_learners_after: self.promote_learners_after.unwrap_or(defaults.promote_learners_after),
            // One hand replaces dead voters.
            recover_voters_after: match (self.recover_voters_after, self.replace_dead_voters_after.as_deref()) {
                (Some(after), _) => after,
                (None, None | Some("0")) => defaults.recover_voters_after,
                (None, Some(_)) => "0".to_owned(),
            },
            recover_others_after: self.recover_others_after.unwrap_or(defaults.recover_others_after),
            recover_agents_after: self.recover_agents_after.unwrap_or(defaults.recover_agents_after),
            recover_services_after: self.recover_services_after.unwrap_or(defaults.recover_services_after),
            recovery_approval: self.recovery_approval.unwrap_or(defaults.recovery_approval),
            replace_dead_voters_after: self.replace_dead_voters_after.unwrap_or(defaults.replace_dead_voters_after),
            quota_backend_bytes: self.quota_backend_bytes.unwrap_or(defaults.quota_backend_bytes),
            auth_token: self.auth_token.unwrap_or(defaults.auth_token),
            bcrypt_cost: self.bcrypt_cost.unwrap_or(defaults.bcrypt_cost),
            faults: self.faults.unwrap_or(defaults.faults),
            client_security,
            peer_security,
            insecure_admin: self.insecure_admin.unwrap_or(defaults.insecure_admin),
            enable_script_checks: self.enable_script_checks.unwrap_or(defaults.enable_script_checks),
            alerts,
            ..defaults
        };
        options.validate().map_err(|error| UsageError(error.to_string()))?;
        Ok(options)
    }

    fn start(&self) -> Result<Start, UsageError> {
        let token = self.cluster_token.as_deref().unwrap_or("steadfast");
        match (&self.initial_cluster, &self.join) {
            (Some(list), _) => Start::parse_initial_cluster(token, &list.joined()).map_err(|error| UsageError(error.to_string())),
            (None, Some(list)) => Ok(Start::parse_join(&list.joined())),
            (None, None) => Ok(Start::Resume),
        }
    }
}

fn missing(setting: &str, example: &str) -> UsageError {
    let variable = setting.to_uppercase().replace('-', "_");
    UsageError(format!("{setting} is missing: give {example}, or STEADFAST_{variable}, or {setting} in the --config file"))
}

/// Where the initial cluster says that this node is.
fn own_address(start: &Start, name: &str) -> Option<String> {
    match start {
        Start::InitialCluster { members, .. } => Some(members.iter().find(|(member, _)| member == name)?.1.clone()),
        Start::Join { .. } | Start::Resume => None,
    }
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
