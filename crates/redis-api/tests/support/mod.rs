//! What the tests of commands have in common: a process that does nothing by itself, and a reader of answers.
#![allow(dead_code, unreachable_pub, reason = "each test uses a part of it")]

pub mod host;
pub mod redis;
pub mod resp;

use host::TestHost;
use steadfast_redis_api::engine::session::{Next, Session};
use steadfast_redis_api::engine::store::Store;
use steadfast_redis_api::engine::{execute, refuse};
use steadfast_redis_api::protocol::request::{OwnedArguments, Parser};

/// Runs a command and gives its answer's bytes, with what is to become of the connection.
pub fn run(session: &mut Session, store: &mut dyn Store, host: &mut TestHost, command: &[Vec<u8>]) -> (Vec<u8>, Next) {
    let arguments = OwnedArguments::new(command.iter().map(Vec::as_slice));
    let mut out = Vec::new();
    let next = execute(session, arguments.as_arguments(), store, host, &mut out);
    (out, next)
}

/// Feeds bytes as they would come over a connection, and gives all that is answered.
pub fn feed(session: &mut Session, store: &mut dyn Store, host: &mut TestHost, bytes: &[u8]) -> Vec<u8> {
    let (mut parser, mut at, mut out) = (Parser::new(), 0, Vec::new());
    loop {
        match parser.poll(&bytes[at..], session.is_stranger()) {
            Ok(None) => return out,
            Ok(Some(length)) => {
                execute(session, parser.arguments(&bytes[at..]), store, host, &mut out);
                at += length;
            }
            Err(error) => {
                refuse(session, &error, &mut out);
                return out;
            }
        }
    }
}

/// The words of a command typed as a line.
pub fn words(line: &str) -> Vec<Vec<u8>> {
    steadfast_redis_api::protocol::inline::words(line.as_bytes()).expect("balanced quotes")
}
