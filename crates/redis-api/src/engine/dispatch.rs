//! From a request to the command that answers it.

use crate::commands::table::{self, Command, Flags};
use crate::commands::unsupported;
use crate::engine::call::Call;
use crate::engine::host::Host;
use crate::engine::session::{Answers, Next, Session};
use crate::engine::store::Store;
use crate::protocol::errors::{self, Failure};
use crate::protocol::reply::Reply;
use crate::protocol::request::{Arguments, ProtocolError};

/// Runs one request and appends its answer to `out`. What is to become of the connection.
pub fn execute(session: &mut Session, arguments: Arguments<'_>, store: &mut dyn Store, host: &mut dyn Host, out: &mut Vec<u8>) -> Next {
    if arguments.is_empty() {
        return Next::Continue;
    }
    let (start, answers) = (out.len(), session.answers);
    session.next = Next::Continue;
    if let Err(failure) = dispatch(session, arguments, store, host, out) {
        out.truncate(start);
        Reply::new(out, session.version).error(failure.text());
    }
    match answers {
        Answers::On => {}
        Answers::Off if session.answers == Answers::On => {}
        Answers::Off => out.truncate(start),
        Answers::SkipNext => {
            out.truncate(start);
            session.answers = Answers::On;
        }
    }
    session.next
}

fn dispatch(
    session: &mut Session,
    arguments: Arguments<'_>,
    store: &mut dyn Store,
    host: &mut dyn Host,
    out: &mut Vec<u8>,
) -> Result<(), Failure> {
    let command = find(session, arguments)?;
    session.last_command = command.name;
    if session.transaction.is_open() && !runs_at_once(command) {
        session.transaction.push(arguments)?;
        Reply::new(out, session.version).simple("QUEUED");
        return Ok(());
    }
    run(command, session, arguments, store, host, out)
}

/// Answers bytes that are no request; the connection is to be closed then.
pub fn refuse(session: &Session, error: &ProtocolError, out: &mut Vec<u8>) {
    let text = match error {
        // The byte as it came, not as a character.
        ProtocolError::Dollar(byte) => [b"ERR Protocol error: expected '$', got '".as_slice(), &[*byte], b"'"].concat(),
        _ => format!("ERR Protocol error: {error}").into_bytes(),
    };
    Reply::new(out, session.version).error(text);
}

/// Runs a command, whatever the transaction.
pub(crate) fn run(
    command: &'static Command,
    session: &mut Session,
    arguments: Arguments<'_>,
    store: &mut dyn Store,
    host: &mut dyn Host,
    out: &mut Vec<u8>,
) -> Result<(), Failure> {
    let Some(handler) = command.run else { return Err(errors::INVALID_COMMAND) };
    let reply = Reply::new(out, session.version);
    let now_ms = host.now_us() / 1000;
    handler(&mut Call { command, arguments, now_ms, store, host, session, reply })
}

/// The command that a request names, if the connection may call it so. Refusals break the connection's transaction off.
fn find(session: &mut Session, arguments: Arguments<'_>) -> Result<&'static Command, Failure> {
    let found = find_command(arguments).and_then(|command| match session.is_stranger() && !command.flags.has(Flags::NO_AUTH) {
        true => Err(errors::NO_AUTH),
        false => Ok(command),
    });
    found.map_err(|failure| {
        session.transaction.break_off();
        if arguments[0].eq_ignore_ascii_case(b"exec") {
            session.transaction.take();
            return errors::exec_aborted(&failure);
        }
        failure
    })
}

/// The command that a request names, with the arguments it wants.
pub(crate) fn find_command(arguments: Arguments<'_>) -> Result<&'static Command, Failure> {
    let name = arguments.get(0).unwrap_or_default();
    let Some(command) = table::find(name) else {
        return Err(match unsupported::reason(name) {
            Some((name, reason)) => errors::unsupported(name, reason),
            None => errors::unknown_command(name, arguments.from(1).iter()),
        });
    };
    let (found, is_taken) = match arguments.get(1) {
        Some(name) if !command.subcommands.is_empty() => {
            let found = table::find_subcommand(command, name).ok_or_else(|| errors::unknown_subcommand(command.name, name))?;
            (found, found.takes(arguments.len()))
        }
        _ => (command, command.takes(arguments.len())),
    };
    match is_taken {
        true => Ok(found),
        false if std::ptr::eq(found, command) => Err(errors::wrong_arity(command.name)),
        false => Err(errors::wrong_arity(&format!("{}|{}", command.name, found.name))),
    }
}

/// Commands that a transaction does not queue.
fn runs_at_once(command: &Command) -> bool {
    matches!(command.name, "exec" | "discard" | "multi" | "watch" | "quit" | "reset")
}
