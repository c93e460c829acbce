//! Tokens: what a client shows instead of its password.
//!
//! Two kinds, as etcd has them. *Simple* tokens are random; every node learns of each through the log, by its digest, and forgets it when it was
//! not used for [`simple::TTL`]. *JWT* are signed statements that every node with the key can check by itself. Which kind it is must be the
//! same on all nodes.

use std::sync::Arc;

use steadfast_etcd_api::backend::Bearer;
use steadfast_state::auth::{AuthEvent, Caller, Token};

use crate::clock::Clock;
use crate::options::OptionsError;

mod crypto;
mod jwt;
mod option;
mod simple;

pub(crate) use option::TokenKind;

/// The tokens of one node; clones share them.
#[derive(Clone)]
pub(crate) struct Tokens(Arc<Kind>);

enum Kind {
    Simple(simple::SimpleTokens),
    Jwt(Box<jwt::Jwt>),
}

/// A token on its way to a client.
pub(crate) enum Issued {
    /// Known everywhere once this is replicated.
    ToReplicate(String, Token),
    /// Good as it is.
    Signed(String),
}

impl Tokens {
    /// Those that the option asks for.
    ///
    /// # Errors
    /// Its keys can't be read or used.
    pub(crate) fn new(kind: &TokenKind, clock: Clock) -> Result<Self, OptionsError> {
        Ok(Tokens(Arc::new(match kind {
            TokenKind::Simple => Kind::Simple(simple::SimpleTokens::new(clock)),
            TokenKind::Jwt(options) => Kind::Jwt(Box::new(jwt::Jwt::new(options)?)),
        })))
    }

    /// Whose a token is; a use of it.
    pub(crate) fn bearer(&self, token: &str) -> Bearer {
        match &*self.0 {
            Kind::Simple(tokens) => tokens.bearer(token),
            Kind::Jwt(jwt) => jwt.bearer(token),
        }
    }

    /// A new token for a caller; why not, if this node can't sign any.
    pub(crate) fn issue(&self, caller: Caller) -> Result<Issued, String> {
        match &*self.0 {
            Kind::Simple(_) => Ok(simple::issue(caller)),
            Kind::Jwt(jwt) => jwt.sign(&caller).map(Issued::Signed),
        }
    }

    /// Takes in what entries did.
    pub(crate) fn heed(&self, events: &[AuthEvent]) {
        if let Kind::Simple(tokens) = &*self.0 {
            events.iter().for_each(|event| tokens.heed(event));
        }
    }
}
