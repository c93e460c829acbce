//! From a request to the command that answers it.

use crate::acl::user::Denied;
use crate::commands::table::{self, Command, Flags, Found};
use crate::commands::{acl as log, unsupported};
use crate::engine::admission;
use crate::engine::call::Call;
use crate::engine::host::Host;
use crate::engine::level::{Chosen, Replication};
use crate::engine::session::{Answers, Next, Replicas, Session};
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
    // What did not run is not answered yet.
    if !matches!(session.next, Next::Behind { .. } | Next::Register) {
        hold_back(session, answers, start, out);
    }
    session.next
}

/// Takes back what was answered from `start` on, if the connection wants no answers, and remembers whether it does.
fn hold_back(session: &mut Session, before: Answers, start: usize, out: &mut Vec<u8>) {
    session.is_silent = match before {
        Answers::On => false,
        Answers::Off => session.answers != Answers::On,
        Answers::SkipNext => {
            session.answers = Answers::On;
            true
        }
    };
    if session.is_silent {
        out.truncate(start);
    }
}

/// Answers a request that ran elsewhere ([`Next::Register`]), if the connection wants answers.
pub fn answer(session: &mut Session, out: &mut Vec<u8>, write: impl FnOnce(&mut Reply<'_>)) {
    let (start, answers) = (out.len(), session.answers);
    write(&mut Reply::new(out, session.version));
    hold_back(session, answers, start, out);
}

/// Answers a request whose answer had to wait ([`Next::Wait`], [`Next::Acknowledge`]), if the connection wanted it to be answered.
pub fn answer_late(session: &Session, out: &mut Vec<u8>, write: impl FnOnce(&mut Reply<'_>)) {
    if !session.is_silent {
        write(&mut Reply::new(out, session.version));
    }
}

/// Answers a request that did not run ([`Next::Behind`]), as the replica did not see in time what it waited for.
pub fn give_up(session: &mut Session, timeout_ms: u64, out: &mut Vec<u8>) {
    let waited_only = session.last_command == "session|wait";
    answer(session, out, |reply| match waited_only {
        // Like `WAIT`, it says how far it came.
        true => reply.integer(0),
        false => reply.error(errors::behind(timeout_ms).text()),
    });
}

/// Answers a request to change users ([`Next::Users`]): how many are gone, or why nothing may have changed.
pub fn users_changed(session: &mut Session, came: &Result<usize, Failure>, out: &mut Vec<u8>) {
    let removes = session.last_command == "acl|deluser";
    answer(session, out, |reply| match came {
        Ok(gone) if removes => reply.count(*gone),
        Ok(_) => reply.ok(),
        Err(failure) => reply.error(failure.text()),
    });
}

/// Answers a write that only `holding` of the `wanted` other replicas acknowledged in time, in place of its own answer.
pub fn unacknowledged(session: &Session, holding: usize, wanted: usize, timeout_ms: u64, out: &mut Vec<u8>) {
    answer_late(session, out, |reply| reply.error(errors::unacknowledged(holding, wanted, timeout_ms).text()));
}

fn dispatch(
    session: &mut Session,
    arguments: Arguments<'_>,
    store: &mut dyn Store,
    host: &mut dyn Host,
    out: &mut Vec<u8>,
) -> Result<(), Failure> {
    let found = find(session, arguments, host)?;
    let command = found.command;
    session.last_command = found.full_name();
    if session.transaction.is_open() && !runs_at_once(command) {
        queue(found, session, arguments, host).inspect_err(|_| session.transaction.break_off())?;
        Reply::new(out, session.version).simple("QUEUED");
        return Ok(());
    }
    admit_and_run(command, session, arguments, store, host, out)
}

fn queue(found: Found, session: &mut Session, arguments: Arguments<'_>, host: &dyn Host) -> Result<(), Failure> {
    if found.full_name() == "consistency|with" {
        return Err(errors::WITH_IN_MULTI);
    }
    if host.shares_users() && ["acl|setuser", "acl|deluser"].contains(&found.full_name()) {
        return Err(errors::USERS_IN_MULTI);
    }
    admission::check_no_register(arguments, host)?;
    session.transaction.push(arguments)
}

/// Runs a command if its level lets it, and says what its answer waits for.
pub(crate) fn admit_and_run(
    command: &'static Command,
    session: &mut Session,
    arguments: Arguments<'_>,
    store: &mut dyn Store,
    host: &mut dyn Host,
    out: &mut Vec<u8>,
) -> Result<(), Failure> {
    if let Some(next) = admission::admit(command, arguments, session, store, host)? {
        session.next = next;
        return Ok(());
    }
    if !command.flags.has(Flags::WRITE) && command.name != "exec" {
        return run(command, session, arguments, store, host, out);
    }
    let before = store.last_write();
    run(command, session, arguments, store, host, out)?;
    let Some(write) = store.last_write().filter(|last| Some(*last) != before) else { return Ok(()) };
    session.last_write = Some(write);
    let Chosen { what, timeout_ms } = session.replication;
    let replicas = match what {
        Replication::Async => return Ok(()),
        Replication::SemiSync(replicas) => Replicas::Some(replicas),
        Replication::Sync => Replicas::All,
    };
    if session.next == Next::Continue {
        session.next = Next::Acknowledge { write, replicas, timeout_ms };
    }
    Ok(())
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
fn find(session: &mut Session, arguments: Arguments<'_>, host: &mut dyn Host) -> Result<Found, Failure> {
    let found = find_command(arguments).and_then(|found| permit(found, arguments, session, host).map(|()| found));
    found.map_err(|failure| {
        session.transaction.break_off();
        if arguments[0].eq_ignore_ascii_case(b"exec") {
            session.transaction.take();
            return errors::exec_aborted(&failure);
        }
        failure
    })
}

/// Lets a connection run a command on the keys that the request names.
///
/// # Errors
/// If it has to say first who it is, or its user may not do this; then that is in the log.
pub(crate) fn permit(found: Found, arguments: Arguments<'_>, session: &mut Session, host: &mut dyn Host) -> Result<(), Failure> {
    check(found, arguments, session, host).map_err(|denied| match denied {
        None => errors::NO_AUTH,
        Some(denied) => {
            log::denied(&denied, session, host);
            denied.failure()
        }
    })
}

/// The same, and logs nothing. It is nobody to whom no denial is told.
fn check(found: Found, arguments: Arguments<'_>, session: &mut Session, host: &dyn Host) -> Result<(), Option<Denied>> {
    session.look_up(host.users());
    if session.is_stranger() && !found.command.flags.has(Flags::NO_AUTH) {
        return Err(None);
    }
    match &session.rights {
        Some(user) if !session.is_unbounded => user.check(found, arguments).map_err(Some),
        _ => Ok(()),
    }
}

/// Lets a connection run a command of its transaction, which it was let queue.
///
/// # Errors
/// If its user may not do this any more; then that is in the log.
pub(crate) fn permit_queued(found: Found, arguments: Arguments<'_>, session: &mut Session, host: &mut dyn Host) -> Result<(), Failure> {
    check(found, arguments, session, host).map_err(|denied| match denied {
        None => errors::NO_AUTH,
        Some(denied) => {
            log::denied_in_transaction(&denied, session, host);
            errors::not_permitted_any_more(matches!(denied, Denied::Key(_)))
        }
    })
}

/// The command that a request names, with the arguments it wants.
pub(crate) fn find_command(arguments: Arguments<'_>) -> Result<Found, Failure> {
    let name = arguments.get(0).unwrap_or_default();
    let Some(command) = table::find(name) else {
        return Err(match unsupported::reason(name) {
            Some((name, reason)) => errors::unsupported(name, reason),
            None => errors::unknown_command(name, arguments.from(1).iter()),
        });
    };
    let found = match arguments.get(1) {
        Some(name) if !command.subcommands.is_empty() => {
            let subcommand = table::find_subcommand(command, name).ok_or_else(|| errors::unknown_subcommand(command.name, name))?;
            Found { command: subcommand, parent: Some(command) }
        }
        _ => Found { command, parent: None },
    };
    match found.command.takes(arguments.len()) {
        true => Ok(found),
        false => Err(errors::wrong_arity(found.full_name())),
    }
}

/// Commands that a transaction does not queue.
fn runs_at_once(command: &Command) -> bool {
    matches!(command.name, "exec" | "discard" | "multi" | "watch" | "quit" | "reset")
}
