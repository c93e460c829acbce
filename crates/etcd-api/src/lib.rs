//! The etcd v3 API: gRPC messages to commands of the state machine, and outcomes back, with etcd's codes and texts.
//!
//! [`EtcdService`] is everything on a node's client port, over whatever implements [`backend::Backend`]. It is a `tower` service over
//! `http` requests, without a listener of its own: the server accepts connections and hands each one to hyper.
//!
//! # Serving it
//!
//! With `hyper_util::server::conn::auto::Builder` (HTTP/2 for gRPC and HTTP/1 for JSON, `/health` and the like on one port) and
//! `hyper_util::service::TowerToHyperService::new(service.clone())` for each connection; TCP with `nodelay`. Recommended settings of HTTP/2:
//!
//! | setting | value | why |
//! | --- | --- | --- |
//! | `max_concurrent_streams` | none, or ≥ 100,000 | a Go client opens one stream for each request under way and queues silently at the limit |
//! | `initial_stream_window_size` | 2 MiB | the largest message arrives without waiting for a window update |
//! | `initial_connection_window_size` | 16 MiB | several of them |
//! | `max_frame_size` | 64 KiB | a large value takes fewer frames; the buffer for reading grows no further |
//! | `max_send_buf_size` | 256 KiB | what one stream may queue for a client that reads slowly |
//! | `max_header_list_size` | 16 KiB | enough for tokens and tracing |
//! | `keep_alive_interval`, `keep_alive_timeout` | 30 s, 20 s | half-open connections are found, and their watches freed |
//! | `auto_date_header` | false | no client of gRPC reads it |
//!
//! # Bounds
//!
//! A message above [`DECODE_BYTES`] is not read, a command above `limits::REQUEST_BYTES` not proposed. Nothing is queued in here: an answer is
//! made when the client's flow control has room for it, commands of a watch stream wait in the client's own window. A JSON value in a request
//! is at most `limits::GATEWAY_VALUE_BYTES` long.
//! Each wait for a lock or an election is a task with two watchers; they count against `limits::WATCHERS`.
//! Snapshots and hashes go on threads of their own, `limits::LONG_READS` at a time; further ones are refused.
//!
//! # Who asks
//!
//! Once authentication is enabled, a request says who asks by a token in its metadata (`token`, or `authorization` from the JSON gateway), or
//! by its client's certificate: whoever terminates TLS sets [`ClientName`] as an extension of the requests. Commands are checked when they
//! are applied, reads when they are read, watches when they begin and whenever rights change.
//!
//! # Left out
//!
//! Downgrade: it answers `Unimplemented`.
#![warn(missing_docs)]

mod alarms;
mod api;
mod auth;
pub mod backend;
mod body;
mod client_name;
mod cluster;
pub mod codec;
mod convert;
mod election;
mod errors;
mod gateway;
mod health;
mod kv;
mod lease;
mod lock;
mod maintenance;
mod minimum_revision;
mod node_status;
mod probes;
pub mod proto;
mod range_stream;
mod service;
mod shared_events;
mod snapshot;
mod turns;
mod unary;
mod urls;
mod watch;
mod watch_message;

pub use api::LEADER_GRACE;
pub use backend::Backend;
pub use body::ResponseBody;
pub use client_name::ClientName;
pub use maintenance::ETCD_VERSION;
pub use minimum_revision::MINIMUM_REVISION;
pub use service::{DECODE_BYTES, EtcdService};
