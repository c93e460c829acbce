//! Commands about the connection itself.

use crate::commands::acl;
use crate::engine::call::{Call, Outcome};
use crate::engine::session::{DEFAULT_USER, Next};
use crate::protocol::errors::{
    CLIENT_NAME, DATABASE, Failure, HELLO_NO_AUTH, NO_PASSWORD, NO_PROTOCOL, PROTOCOL_NUMBER, SYNTAX, wrong_arity,
};
use crate::protocol::number::parse_i64;
use crate::protocol::reply::Version;

/// The version of Redis whose commands and answers these are: clients decide by it what they may ask.
pub(super) const REDIS_VERSION: &str = "7.0.15";

pub(super) fn ping(call: &mut Call<'_>) -> Outcome {
    match call.len() {
        1 => call.reply.simple("PONG"),
        2 => call.reply.bulk(call.argument(1)),
        _ => return Err(wrong_arity("ping")),
    }
    Ok(())
}

pub(super) fn echo(call: &mut Call<'_>) -> Outcome {
    call.reply.bulk(call.argument(1));
    Ok(())
}

pub(super) fn quit(call: &mut Call<'_>) -> Outcome {
    call.reply.ok();
    call.session.next = Next::Close;
    Ok(())
}

pub(super) fn reset(call: &mut Call<'_>) -> Outcome {
    call.session.reset(call.host.users().trust_strangers());
    call.reply.set_version(Version::Two);
    call.reply.simple("RESET");
    Ok(())
}

pub(super) fn select(call: &mut Call<'_>) -> Outcome {
    if call.integer(1)? != 0 {
        return Err(DATABASE);
    }
    call.reply.ok();
    Ok(())
}

pub(super) fn auth(call: &mut Call<'_>) -> Outcome {
    match call.len() {
        2 if call.host.users().trust_strangers() => return Err(NO_PASSWORD),
        2 => authenticate(call, DEFAULT_USER.as_bytes(), call.argument(1))?,
        3 => authenticate(call, call.argument(1), call.argument(2))?,
        _ => return Err(SYNTAX),
    }
    call.reply.ok();
    Ok(())
}

fn authenticate(call: &mut Call<'_>, user: &[u8], password: &[u8]) -> Result<(), Failure> {
    let (address, now_us) = (call.host.address(call.session.id), call.host.now_us());
    let name = String::from_utf8_lossy(user);
    match call.host.users_mut().authenticate(&name, password, address, now_us) {
        Ok(user) => {
            call.session.become_user(&user, call.host.users());
            Ok(())
        }
        Err(failure) => {
            acl::failed(&name, call.session, call.host);
            Err(failure)
        }
    }
}

pub(super) fn hello(call: &mut Call<'_>) -> Outcome {
    let mut version = call.session.version;
    let mut name = None;
    if call.len() > 1 {
        version = match parse_i64(call.argument(1)).ok_or(PROTOCOL_NUMBER)? {
            2 => Version::Two,
            3 => Version::Three,
            _ => return Err(NO_PROTOCOL),
        };
    }
    let mut at = 2;
    while at < call.len() {
        let more = call.len() - at - 1;
        if call.is(at, "auth") && more >= 2 {
            authenticate(call, call.argument(at + 1), call.argument(at + 2))?;
            at += 3;
        } else if call.is(at, "setname") && more >= 1 {
            name = Some(parse_name(call.argument(at + 1))?);
            at += 2;
        } else {
            return Err(Failure::of([b"ERR Syntax error in HELLO option '", call.argument(at), b"'"].concat()));
        }
    }
    if call.session.is_stranger() {
        return Err(HELLO_NO_AUTH);
    }
    if let Some(name) = name {
        call.session.name = name;
    }
    call.session.version = version;
    call.reply.set_version(version);
    greet(call);
    Ok(())
}

fn greet(call: &mut Call<'_>) {
    let (id, version) = (call.session.id, call.session.version);
    let reply = &mut call.reply;
    reply.map(7);
    for (name, value) in [("server", "redis"), ("version", REDIS_VERSION)] {
        reply.bulk(name.as_bytes());
        reply.bulk(value.as_bytes());
    }
    reply.bulk(b"proto");
    reply.integer(if version == Version::Three { 3 } else { 2 });
    reply.bulk(b"id");
    reply.integer(id as i64);
    for (name, value) in [("mode", "standalone"), ("role", "master")] {
        reply.bulk(name.as_bytes());
        reply.bulk(value.as_bytes());
    }
    reply.bulk(b"modules");
    reply.array(0);
}

/// A connection's name: printable, without blanks.
pub(super) fn parse_name(name: &[u8]) -> Result<String, Failure> {
    match name.iter().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(String::from_utf8_lossy(name).into_owned()),
        false => Err(CLIENT_NAME),
    }
}
