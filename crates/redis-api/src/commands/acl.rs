//! `ACL`: users and their rights, and the log of what was denied.

use crate::acl::change::Change;
use crate::acl::commands::of_category;
use crate::acl::log::{Entry, Reason};
use crate::acl::user::Denied;
use crate::commands::client;
use crate::commands::table::Categories;
use crate::engine::call::{Call, Outcome};
use crate::engine::dispatch;
use crate::engine::host::{Host, KillFilter};
use crate::engine::session::{Next, Session};
use crate::protocol::errors::{self, NO_ACL_FILE, NOT_INTEGER, PASSWORD_BITS, USER_NAME};
use crate::protocol::number::parse_i64;

/// As many entries of the log are shown if nothing else is asked for.
const USUAL_ENTRIES: usize = 10;

/// Keeps in mind that something was denied.
pub(crate) fn denied(denied: &Denied, session: &Session, host: &mut dyn Host) {
    add(denied, false, session, host);
}

/// The same, of a command of a transaction that is run.
pub(crate) fn denied_in_transaction(denied: &Denied, session: &Session, host: &mut dyn Host) {
    add(denied, true, session, host);
}

fn add(denied: &Denied, is_in_transaction: bool, session: &Session, host: &mut dyn Host) {
    let (reason, object) = match denied {
        Denied::Command(name) => (Reason::Command, name.clone().into_bytes()),
        Denied::Key(key) => (Reason::Key, key.clone()),
    };
    let user = session.user.clone().unwrap_or_default();
    add_entry(Entry { count: 1, reason, is_in_transaction, object, user, at_us: 0, client: String::new() }, session, host);
}

/// Keeps in mind that somebody did not come in as a user.
pub(super) fn failed(user: &str, session: &Session, host: &mut dyn Host) {
    let (reason, object, user) = (Reason::Auth, b"AUTH".to_vec(), user.to_owned());
    add_entry(Entry { count: 1, reason, is_in_transaction: false, object, user, at_us: 0, client: String::new() }, session, host);
}

fn add_entry(entry: Entry, session: &Session, host: &mut dyn Host) {
    let (at_us, client) = (host.now_us(), client::describe(session, host));
    host.users_mut().log.add(Entry { at_us, client, ..entry });
}

fn name<'a>(call: &Call<'a>, index: usize) -> Result<&'a str, errors::Failure> {
    std::str::from_utf8(call.argument(index)).map_err(|_| USER_NAME)
}

pub(super) fn whoami(call: &mut Call<'_>) -> Outcome {
    call.reply.bulk(call.session.user.as_deref().unwrap_or_default().as_bytes());
    Ok(())
}

pub(super) fn users(call: &mut Call<'_>) -> Outcome {
    let users = call.host.users().iter();
    call.reply.array(users.len());
    users.for_each(|user| call.reply.bulk(user.name().as_bytes()));
    Ok(())
}

pub(super) fn list(call: &mut Call<'_>) -> Outcome {
    let lines = call.host.users().lines();
    call.reply.array(lines.len());
    lines.for_each(|line| call.reply.bulk(&line));
    Ok(())
}

pub(super) fn getuser(call: &mut Call<'_>) -> Outcome {
    let Some(user) = name(call, 2).ok().and_then(|name| call.host.users().get(name)) else {
        call.reply.null();
        return Ok(());
    };
    let reply = &mut call.reply;
    reply.map(6 + usize::from(user.level().is_some()));
    reply.bulk(b"flags");
    let flags = user.flags();
    reply.set(flags.len());
    flags.iter().for_each(|flag| reply.bulk(flag.as_bytes()));
    reply.bulk(b"passwords");
    reply.array(user.password_hashes().len());
    user.password_hashes().for_each(|hash| reply.bulk(hash.as_bytes()));
    let rules = [("commands", user.command_rules().into_bytes()), ("keys", user.key_rules()), ("channels", user.channel_rules())];
    for (name, rules) in rules {
        reply.bulk(name.as_bytes());
        reply.bulk(&rules);
    }
    reply.bulk(b"selectors");
    reply.array(0);
    if let Some(level) = user.level() {
        reply.bulk(b"consistency");
        reply.bulk(level.name().as_bytes());
    }
    Ok(())
}

pub(super) fn setuser(call: &mut Call<'_>) -> Outcome {
    let name = name(call, 2)?.to_owned();
    let rules = call.arguments.from(3).iter().map(<[u8]>::to_vec).collect();
    match call.host.change_users(Change::Set { name, rules })? {
        Some(_) => call.reply.ok(),
        None => call.session.next = Next::Users,
    }
    Ok(())
}

pub(super) fn deluser(call: &mut Call<'_>) -> Outcome {
    let names = (2..call.len()).filter_map(|index| name(call, index).ok().map(str::to_owned)).collect();
    let Some(gone) = call.host.change_users(Change::Remove { names })? else {
        call.session.next = Next::Users;
        return Ok(());
    };
    for name in &gone {
        call.host.kill(&KillFilter { user: Some(name.clone()), except: Some(call.session.id), ..KillFilter::default() });
        if call.session.user.as_ref() == Some(name) {
            call.session.next = Next::Close;
        }
    }
    call.reply.count(gone.len());
    Ok(())
}

pub(super) fn cat(call: &mut Call<'_>) -> Outcome {
    let names: Vec<&str> = match call.len() {
        2 => Categories::all().names().collect(),
        3 => {
            let name = call.argument(2);
            let category = std::str::from_utf8(name).ok().and_then(|name| Categories::named(&name.to_ascii_lowercase()));
            of_category(category.ok_or_else(|| errors::no_such_category(name))?)
        }
        _ => return Err(errors::wrong_arity("acl|cat")),
    };
    call.reply.array(names.len());
    names.iter().for_each(|name| call.reply.bulk(name.as_bytes()));
    Ok(())
}

pub(super) fn dryrun(call: &mut Call<'_>) -> Outcome {
    let user = name(call, 2).ok().and_then(|name| call.host.users().get(name)).cloned();
    let user = user.ok_or_else(|| errors::no_such_user(call.argument(2)))?;
    let arguments = call.arguments.from(3);
    if crate::commands::table::find(call.argument(3)).is_none() {
        return Err(errors::no_such_command(call.argument(3)));
    }
    match user.check(dispatch::find_command(arguments)?, arguments) {
        Ok(()) => call.reply.ok(),
        Err(denied) => call.reply.bulk(&denied.text()),
    }
    Ok(())
}

pub(super) fn log(call: &mut Call<'_>) -> Outcome {
    if call.len() > 3 {
        return Err(errors::wrong_arity("acl|log"));
    }
    if call.is(2, "reset") {
        call.host.users_mut().log.clear();
        call.reply.ok();
        return Ok(());
    }
    let most = match call.len() {
        2 => USUAL_ENTRIES,
        _ => parse_i64(call.argument(2)).map(|most| usize::try_from(most).unwrap_or(0)).ok_or(NOT_INTEGER)?,
    };
    let now_us = call.host.now_us();
    let entries = call.host.users().log.iter();
    call.reply.array(entries.len().min(most));
    for entry in entries.take(most) {
        let context = if entry.is_in_transaction { "multi" } else { "toplevel" };
        call.reply.map(7);
        call.reply.bulk(b"count");
        call.reply.integer(entry.count as i64);
        for (name, value) in [("reason", entry.reason.name().as_bytes()), ("context", context.as_bytes()), ("object", &entry.object)] {
            call.reply.bulk(name.as_bytes());
            call.reply.bulk(value);
        }
        call.reply.bulk(b"username");
        call.reply.bulk(entry.user.as_bytes());
        call.reply.bulk(b"age-seconds");
        call.reply.double(now_us.saturating_sub(entry.at_us) as f64 / 1e6);
        call.reply.bulk(b"client-info");
        call.reply.bulk(entry.client.as_bytes());
    }
    Ok(())
}

pub(super) fn genpass(call: &mut Call<'_>) -> Outcome {
    let bits = match call.len() {
        2 => 256,
        3 => parse_i64(call.argument(2)).ok_or(NOT_INTEGER)?,
        _ => return Err(errors::wrong_arity("acl|genpass")),
    };
    if !(1..=4096).contains(&bits) {
        return Err(PASSWORD_BITS);
    }
    let digits = (bits as usize).div_ceil(4);
    let mut secret = vec![0; digits.div_ceil(2)];
    call.host.secret(&mut secret);
    call.reply.bulk(&hex::encode(secret).as_bytes()[..digits]);
    Ok(())
}

pub(super) fn no_file(_: &mut Call<'_>) -> Outcome {
    Err(NO_ACL_FILE)
}
