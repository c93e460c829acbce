//! The JSON gateway: etcd's calls as HTTP requests with JSON bodies, under `/v3/` (and `/v3beta/`, as etcd 3.5 still has it).
//!
//! It is a transcoder and knows no call by itself: a table says which path is which gRPC method ([`routes`]), the protos' descriptors say what
//! the messages look like ([`decode`] reads them from JSON, [`encode`] writes them), and the request then goes as gRPC into the service that
//! serves everybody ([`call`]). A call that the service learns is therefore served here as well.
//!
//! What is read and written is what grpc-gateway v1 does for etcd 3.5: proto3's JSON mapping with 64-bit integers as text, bytes in base64,
//! defaults left out, and the protos' own field names in answers; streams are lines of `{"result":…}`. `docs/design/0007-json-gateway.md` says
//! where it differs.

mod body;
mod call;
mod codec;
mod decode;
mod encode;
mod errors;
mod headers;
mod routes;

pub(crate) use call::serve;
pub(crate) use routes::Routes;
