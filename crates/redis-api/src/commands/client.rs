//! `CLIENT`: this connection and the others.

use std::fmt::Write;

use crate::commands::connection::parse_name;
use crate::engine::call::{Call, Outcome};
use crate::engine::host::{ClientInfo, Host, KillFilter};
use crate::engine::session::{Answers, Next, Session};
use crate::protocol::errors::{CLIENT_ID, CLIENT_ID_ZERO, Failure, NO_SUCH_CLIENT, SYNTAX};
use crate::protocol::number::parse_i64;
use crate::protocol::reply::Version;

pub(super) fn id(call: &mut Call<'_>) -> Outcome {
    call.reply.integer(call.session.id as i64);
    Ok(())
}

pub(super) fn getname(call: &mut Call<'_>) -> Outcome {
    let name = call.session.name.as_bytes();
    call.reply.bulk_or_null((!name.is_empty()).then_some(name));
    Ok(())
}

pub(super) fn setname(call: &mut Call<'_>) -> Outcome {
    call.session.name = parse_name(call.argument(2))?;
    call.reply.ok();
    Ok(())
}

pub(super) fn getredir(call: &mut Call<'_>) -> Outcome {
    call.reply.integer(-1);
    Ok(())
}

pub(super) fn trackinginfo(call: &mut Call<'_>) -> Outcome {
    call.reply.map(3);
    call.reply.bulk(b"flags");
    call.reply.set(1);
    call.reply.bulk(b"off");
    call.reply.bulk(b"redirect");
    call.reply.integer(-1);
    call.reply.bulk(b"prefixes");
    call.reply.array(0);
    Ok(())
}

pub(super) fn no_evict(call: &mut Call<'_>) -> Outcome {
    if !call.is(2, "on") && !call.is(2, "off") {
        return Err(SYNTAX);
    }
    call.reply.ok();
    Ok(())
}

pub(super) fn reply(call: &mut Call<'_>) -> Outcome {
    if call.is(2, "on") {
        call.session.answers = Answers::On;
        call.reply.ok();
    } else if call.is(2, "off") {
        call.session.answers = Answers::Off;
    } else if call.is(2, "skip") {
        if call.session.answers == Answers::On {
            call.session.answers = Answers::SkipNext;
        }
    } else {
        return Err(SYNTAX);
    }
    Ok(())
}

pub(super) fn info(call: &mut Call<'_>) -> Outcome {
    let mut info = call.host.clients().into_iter().find(|client| client.id == call.session.id).unwrap_or_default();
    bring_up_to_date(call.session, &mut info);
    call.reply.verbatim(*b"txt", line(&info).as_bytes());
    Ok(())
}

pub(super) fn list(call: &mut Call<'_>) -> Outcome {
    let mut ids: Option<Vec<u64>> = None;
    let mut is_normal = true;
    if call.len() == 4 && call.is(2, "type") {
        is_normal = parse_type(call.argument(3))?;
    } else if call.len() > 3 && call.is(2, "id") {
        let parse = |id| parse_i64(id).filter(|&id| id > 0).map(|id| id as u64).ok_or(CLIENT_ID);
        ids = Some(call.arguments.from(3).iter().map(parse).collect::<Result<_, _>>()?);
    } else if call.len() != 2 {
        return Err(SYNTAX);
    }
    let mut text = String::new();
    for mut client in call.host.clients() {
        if is_normal && ids.as_ref().is_none_or(|ids| ids.contains(&client.id)) {
            bring_up_to_date(call.session, &mut client);
            text.push_str(&line(&client));
        }
    }
    call.reply.verbatim(*b"txt", text.as_bytes());
    Ok(())
}

pub(super) fn kill(call: &mut Call<'_>) -> Outcome {
    let is_old = call.len() == 3;
    let mut filter = KillFilter { except: Some(call.session.id), ..KillFilter::default() };
    if is_old {
        filter = KillFilter { address: Some(text(call.argument(2))), ..KillFilter::default() };
    } else if !parse_filter(call, &mut filter)? {
        call.reply.integer(0);
        return Ok(());
    }
    let killed = call.host.kill(&filter);
    let own = call.host.clients().into_iter().find(|client| client.id == call.session.id);
    let is_own = own.is_some_and(|client| matches(&filter, &client));
    if is_own {
        call.session.next = Next::Close;
    }
    match (is_old, killed + usize::from(is_own)) {
        (true, 0) => return Err(NO_SUCH_CLIENT),
        (true, _) => call.reply.ok(),
        (false, killed) => call.reply.count(killed),
    }
    Ok(())
}

/// Whether connections of the type that was asked for exist at all.
fn parse_filter(call: &Call<'_>, filter: &mut KillFilter) -> Result<bool, Failure> {
    let mut is_normal = true;
    for (option, value) in call.pairs(2)? {
        match option.to_ascii_lowercase().as_slice() {
            b"id" => filter.id = Some(parse_i64(value).filter(|&id| id > 0).ok_or(CLIENT_ID_ZERO)? as u64),
            b"addr" => filter.address = Some(text(value)),
            b"laddr" => filter.local_address = Some(text(value)),
            b"type" => is_normal = parse_type(value)?,
            b"user" => filter.user = Some(text(value)),
            b"skipme" if value.eq_ignore_ascii_case(b"yes") => filter.except = Some(call.session.id),
            b"skipme" if value.eq_ignore_ascii_case(b"no") => filter.except = None,
            _ => return Err(SYNTAX),
        }
    }
    Ok(is_normal)
}

/// Whether a connection is one of those that a filter names.
fn matches(filter: &KillFilter, client: &ClientInfo) -> bool {
    filter.id.is_none_or(|id| id == client.id)
        && filter.address.as_ref().is_none_or(|address| *address == client.address)
        && filter.local_address.as_ref().is_none_or(|address| *address == client.local_address)
        && filter.user.as_ref().is_none_or(|user| *user == client.user)
        && filter.except != Some(client.id)
}

/// Whether the type is that of all connections there are.
fn parse_type(name: &[u8]) -> Result<bool, Failure> {
    match name.to_ascii_lowercase().as_slice() {
        b"normal" => Ok(true),
        b"master" | b"replica" | b"slave" | b"pubsub" => Ok(false),
        _ => Err(Failure::of([b"ERR Unknown client type '", name, b"'"].concat())),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What the calling connection knows better than the process.
fn bring_up_to_date(session: &Session, client: &mut ClientInfo) {
    if client.id != session.id && client.id != 0 {
        return;
    }
    client.id = session.id;
    client.name.clone_from(&session.name);
    client.user = session.user.clone().unwrap_or_default();
    client.protocol = if session.version == Version::Three { 3 } else { 2 };
    client.command = session.last_command.to_owned();
    client.queued_commands = session.queued_commands();
}

/// A connection as `CLIENT INFO` shows it, without the line's end.
pub(super) fn describe(session: &Session, host: &dyn Host) -> String {
    let mut info = host.clients().into_iter().find(|client| client.id == session.id).unwrap_or_default();
    bring_up_to_date(session, &mut info);
    let mut line = line(&info);
    line.truncate(line.trim_end().len());
    line
}

fn line(client: &ClientInfo) -> String {
    let mut line = String::new();
    let _ = writeln!(
        line,
        "id={} addr={} laddr={} fd=-1 name={} age={} idle={} flags={} db=0 sub=0 psub=0 ssub=0 multi={} qbuf=0 qbuf-free=0 argv-mem=0 multi-mem=0 \
         rbs=0 rbp=0 obl=0 oll=0 omem=0 tot-mem=0 events=r cmd={} user={} redir=-1 resp={}",
        client.id,
        client.address,
        client.local_address,
        client.name,
        client.age_seconds,
        client.idle_seconds,
        if client.queued_commands.is_some() { 'x' } else { 'N' },
        client.queued_commands.map_or(-1, |commands| commands as i64),
        client.command,
        client.user,
        client.protocol.max(2),
    );
    line
}
