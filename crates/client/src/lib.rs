//! What applications link: connections to a cluster's client ports, and [`Etcd`], the records of any cluster with the etcd v3 API.
//!
//! [`Endpoint`]s say where nodes are reached and whether TLS is spoken; [`connect_any`] finds one that answers; [`link`] makes a connection a
//! user's. The command line's client commands stand on these. Everything here needs a tokio runtime.
//!
//! Left out: reading certificates from files (whoever makes an [`Endpoint`] hands in rustls's configuration), locks and elections.
#![warn(missing_docs)]

mod background;
mod clock;
mod connect;
mod endpoint;
mod etcd;
mod user;
mod words;

pub use background::Kept;
pub use clock::Clock;
pub use connect::{ByteStream, ConnectError, connect, connect_any, connect_bytes, connect_patiently};
pub use endpoint::{Endpoint, NobodyTrusted, host_and_port};
pub use etcd::{Etcd, EtcdOptions, EtcdWatch};
pub use user::{Bearer, Link, User, link};
pub use words::{in_words, is_refusal};
