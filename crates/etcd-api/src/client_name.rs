//! Who a client is by the certificate of its connection.

/// The common name of the certificate that a client showed, signed by a CA that the server trusts. The server puts it into the extensions of
/// every request of the connection; without one the connection has no such name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientName(pub String);
