//! Whether a request may run now, on these keys, at the level that its connection chose.
//!
//! Registers are keys whose every read and write is agreed on by a majority. They are not in the [`Store`]: what names them is not run here, at
//! any level, but handed back to the shell ([`Next::Register`]), one key at a time.

use crate::commands::introspection::keys_of;
use crate::commands::table::{Command, Flags};
use crate::engine::host::Host;
use crate::engine::level::Level;
use crate::engine::session::{Next, Session};
use crate::engine::store::Store;
use crate::protocol::errors::{self, Failure};
use crate::protocol::request::Arguments;

/// Whether a command reads or changes keys.
pub(crate) fn is_of_data(command: &Command) -> bool {
    command.flags.has(Flags::READONLY) || command.flags.has(Flags::WRITE)
}

/// What has to happen before a command may run; nothing if it may run now.
///
/// # Errors
/// If it may not run at this level at all.
pub(crate) fn admit(
    command: &Command,
    arguments: Arguments<'_>,
    session: &mut Session,
    store: &dyn Store,
    host: &dyn Host,
) -> Result<Option<Next>, Failure> {
    let level = session.level.what;
    let runs_others = command.name == "exec";
    if !is_of_data(command) && !runs_others {
        return Ok(None);
    }
    if !runs_others && (level == Level::Strong || host.has_registers()) && names_register(arguments, level, host)? {
        return Ok(Some(Next::Register));
    }
    match level {
        Level::Eventual => return Ok(None),
        Level::Strong if runs_others => return Err(errors::STRONG_TRANSACTION),
        Level::Session | Level::Strong => session.awaited.clone_from(&session.token),
        Level::Causal => {
            session.awaited.clone_from(&session.token);
            if !store.is_even() {
                session.awaited.join(&store.seen());
            }
        }
    }
    let has_seen = store.has_seen(&session.awaited);
    Ok((!has_seen).then_some(Next::Behind { timeout_ms: session.level.timeout_ms }))
}

/// Whether the one key of a request is a register.
///
/// # Errors
/// If some key is and there are others, none is although the level is strong, or some key is about to become one.
fn names_register(arguments: Arguments<'_>, level: Level, host: &dyn Host) -> Result<bool, Failure> {
    let keys = keys_of(arguments).unwrap_or_default();
    check_open(&keys, host)?;
    match (keys.iter().find(|(key, _)| host.is_register(key)), keys.as_slice()) {
        (Some(_), [_]) => Ok(true),
        (Some((register, _)), _) => Err(errors::register_with_others(register)),
        (None, [(key, _), ..]) if level == Level::Strong => Err(errors::not_strong(key)),
        // Of all keys, or of none.
        (None, []) if level == Level::Strong => Err(errors::STRONG_WITHOUT_KEY),
        (None, _) => Ok(false),
    }
}

fn check_open<T>(keys: &[(&[u8], T)], host: &dyn Host) -> Result<(), Failure> {
    keys.iter().find(|(key, _)| host.is_closed(key)).map_or(Ok(()), |(key, _)| Err(errors::becoming_strong(key)))
}

/// Registers are no part of transactions.
///
/// # Errors
/// If a request names one, or what is about to become one.
pub(crate) fn check_no_register(arguments: Arguments<'_>, host: &dyn Host) -> Result<(), Failure> {
    if !host.has_registers() {
        return Ok(());
    }
    let keys = keys_of(arguments).unwrap_or_default();
    check_open(&keys, host)?;
    keys.iter().find(|(key, _)| host.is_register(key)).map_or(Ok(()), |(key, _)| Err(errors::register_in_transaction(key)))
}
