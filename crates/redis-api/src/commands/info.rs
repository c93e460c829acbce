//! `INFO`: facts of the server in sections of lines, with the names that clients and dashboards read.

use std::fmt::{Display, Write};

use crate::commands::connection::REDIS_VERSION;
use crate::engine::call::{Call, Outcome};
use crate::engine::host::Facts;

const US: u64 = 1_000_000;

/// A section's name as it is asked for, and what writes it.
type Section = (&'static str, fn(&mut Text, &Call<'_>, &Facts));

const SECTIONS: [Section; 9] = [
    ("server", server),
    ("clients", clients),
    ("memory", memory),
    ("persistence", persistence),
    ("stats", stats),
    ("replication", replication),
    ("cpu", cpu),
    ("cluster", cluster),
    ("keyspace", keyspace),
];

pub(super) fn info(call: &mut Call<'_>) -> Outcome {
    let asked: Vec<String> = call.arguments.from(1).iter().map(|name| String::from_utf8_lossy(name).to_ascii_lowercase()).collect();
    let is_asked = |name: &str| {
        asked.is_empty() || asked.iter().any(|asked| asked == name || matches!(asked.as_str(), "all" | "default" | "everything"))
    };
    let facts = call.host.facts();
    let mut text = Text::default();
    for (name, write) in SECTIONS {
        if is_asked(name) {
            write(&mut text, call, &facts);
        }
    }
    for (name, fields) in &facts.sections {
        if is_asked(&name.to_ascii_lowercase()) {
            text.section(name);
            fields.iter().for_each(|(name, value)| text.field(name, value));
        }
    }
    call.reply.verbatim(*b"txt", text.0.as_bytes());
    Ok(())
}

#[derive(Default)]
struct Text(String);

impl Text {
    fn section(&mut self, name: &str) {
        if !self.0.is_empty() {
            self.0.push_str("\r\n");
        }
        let _ = write!(self.0, "# {name}\r\n");
    }

    fn field(&mut self, name: &str, value: impl Display) {
        let _ = write!(self.0, "{name}:{value}\r\n");
    }
}

fn server(text: &mut Text, call: &Call<'_>, facts: &Facts) {
    text.section("Server");
    text.field("redis_version", REDIS_VERSION);
    text.field("redis_mode", "standalone");
    text.field("steadfast_version", &facts.version);
    text.field("os", &facts.system);
    text.field("arch_bits", usize::BITS);
    text.field("process_id", facts.process_id);
    text.field("run_id", &facts.run_id);
    text.field("tcp_port", facts.port);
    text.field("server_time_usec", call.host.now_us());
    text.field("uptime_in_seconds", facts.uptime_seconds);
    text.field("uptime_in_days", facts.uptime_seconds / 86_400);
}

fn clients(text: &mut Text, call: &Call<'_>, _facts: &Facts) {
    text.section("Clients");
    text.field("connected_clients", call.host.clients().len());
    text.field("cluster_connections", 0);
    text.field("blocked_clients", 0);
    text.field("tracking_clients", 0);
}

fn memory(text: &mut Text, _call: &Call<'_>, facts: &Facts) {
    text.section("Memory");
    text.field("used_memory", facts.used_memory_bytes);
    text.field("used_memory_human", human(facts.used_memory_bytes));
    text.field("used_memory_rss", facts.resident_memory_bytes);
    text.field("used_memory_rss_human", human(facts.resident_memory_bytes));
    text.field("used_memory_peak", facts.peak_memory_bytes);
    text.field("used_memory_peak_human", human(facts.peak_memory_bytes));
    text.field("total_system_memory", facts.total_memory_bytes);
    text.field("total_system_memory_human", human(facts.total_memory_bytes));
    text.field("maxmemory", facts.max_memory_bytes);
    text.field("maxmemory_human", human(facts.max_memory_bytes));
    text.field("maxmemory_policy", "noeviction");
    let fragmentation = facts.resident_memory_bytes as f64 / facts.used_memory_bytes.max(1) as f64;
    text.field("mem_fragmentation_ratio", format_args!("{fragmentation:.2}"));
}

fn persistence(text: &mut Text, _call: &Call<'_>, _facts: &Facts) {
    text.section("Persistence");
    text.field("loading", 0);
    text.field("async_loading", 0);
    text.field("rdb_changes_since_last_save", 0);
    text.field("rdb_bgsave_in_progress", 0);
    text.field("rdb_last_bgsave_status", "ok");
    text.field("aof_enabled", 1);
    text.field("aof_rewrite_in_progress", 0);
    text.field("aof_last_bgrewrite_status", "ok");
    text.field("aof_last_write_status", "ok");
}

fn stats(text: &mut Text, _call: &Call<'_>, facts: &Facts) {
    text.section("Stats");
    text.field("total_connections_received", facts.connections_received);
    text.field("total_commands_processed", facts.commands_processed);
    text.field("rejected_connections", 0);
    text.field("expired_keys", facts.expired_keys);
    text.field("evicted_keys", 0);
    text.field("keyspace_hits", facts.keyspace_hits);
    text.field("keyspace_misses", facts.keyspace_misses);
    text.field("pubsub_channels", 0);
    text.field("pubsub_patterns", 0);
}

fn replication(text: &mut Text, _call: &Call<'_>, facts: &Facts) {
    text.section("Replication");
    text.field("role", "master");
    text.field("connected_slaves", facts.connected_replicas);
    text.field("master_failover_state", "no-failover");
    text.field("master_replid", &facts.run_id);
    text.field("master_repl_offset", 0);
}

fn cpu(text: &mut Text, _call: &Call<'_>, facts: &Facts) {
    text.section("CPU");
    for (name, us) in [("used_cpu_sys", facts.cpu_system_us), ("used_cpu_user", facts.cpu_user_us)] {
        text.field(name, format_args!("{}.{:06}", us / US, us % US));
    }
}

fn cluster(text: &mut Text, _call: &Call<'_>, _facts: &Facts) {
    text.section("Cluster");
    text.field("cluster_enabled", 0);
}

fn keyspace(text: &mut Text, call: &Call<'_>, facts: &Facts) {
    text.section("Keyspace");
    if !call.store.is_empty() {
        text.field("db0", format_args!("keys={},expires={},avg_ttl=0", call.store.len(), facts.keys_with_deadline));
    }
}

/// A number of bytes in the greatest unit of which there is one.
fn human(bytes: u64) -> String {
    const UNITS: [(u64, char); 4] = [(1 << 40, 'T'), (1 << 30, 'G'), (1 << 20, 'M'), (1 << 10, 'K')];
    match UNITS.into_iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, letter)) => format!("{:.2}{letter}", bytes as f64 / unit as f64),
        None => format!("{bytes}B"),
    }
}
