//! What goes over the connection: requests in, answers out.

pub mod errors;
pub mod glob;
pub mod inline;
pub mod limits;
pub mod number;
pub mod range;
pub mod reply;
pub mod request;
