//! Tokens: what a client has seen, as text that it can carry to another replica.
//!
//! A token is a version vector, in hexadecimal digits of its wire form after a digit for the form's version. It holds no secret and gives no right:
//! a made-up one makes only its own connection wait.

use steadfast_crdt::VersionVector;
use steadfast_types::wire::Wire;

use crate::protocol::errors::{self, Failure};

/// The version of the form, which every token begins with.
const FORM: &[u8] = b"1";

/// The token of what was seen.
pub fn text(seen: &VersionVector) -> Vec<u8> {
    [FORM, hex::encode(seen.to_wire()).as_bytes()].concat()
}

/// What a token says was seen.
///
/// # Errors
/// If it is none.
pub fn parse(text: &[u8]) -> Result<VersionVector, Failure> {
    let bytes = text.strip_prefix(FORM).and_then(|digits| hex::decode(digits).ok());
    bytes.and_then(|bytes| VersionVector::from_wire(bytes.into()).ok()).ok_or_else(|| errors::not_a_token(text))
}
