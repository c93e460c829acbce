//! What must hold for whatever bytes a decoder is given: one module for each kind of input, with a `check` that panics if it does not.
//!
//! The fuzz targets feed the checks with new inputs; `crates/server/tests/regressions.rs` includes this very file and feeds them, in the
//! ordinary tests, with the inputs kept in `corpus` and `regressions`.
//!
//! Left out: protobuf and HTTP/2, which libraries decode that are fuzzed on their own.

extern crate alloc;

pub mod bbolt;
pub mod command;
pub mod formation;
pub mod identity;
pub mod import;
pub mod log;
pub mod peer_message;
pub mod peers;
pub mod redis;
mod script;
pub mod snapshot;
pub mod wire;

/// A kind of input.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its fuzz target, and its folder in `corpus` and `regressions`.
    pub name: &'static str,
    /// Panics if something that must hold does not.
    pub check: fn(&[u8]),
}

/// All kinds of input.
pub const TARGETS: &[Target] = &[
    Target { name: "bbolt", check: bbolt::check },
    Target { name: "command", check: command::check },
    Target { name: "formation", check: formation::check },
    Target { name: "identity", check: identity::check },
    Target { name: "import", check: import::check },
    Target { name: "log", check: log::check },
    Target { name: "log_sealed", check: log::check_sealed },
    Target { name: "peer_message", check: peer_message::check },
    Target { name: "peers", check: peers::check },
    Target { name: "redis", check: redis::check },
    Target { name: "snapshot", check: snapshot::check },
    Target { name: "snapshot_sealed", check: snapshot::check_sealed },
    Target { name: "wire", check: wire::check },
];
