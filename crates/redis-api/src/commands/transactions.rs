//! `MULTI` and what belongs to it. A transaction is atomic on this replica: others may see its writes one by one.

use crate::engine::call::{Call, Outcome};
use crate::engine::level::Level;
use crate::engine::session::Next;
use crate::engine::{admission, dispatch};
use crate::protocol::errors::{DISCARD_WITHOUT_MULTI, EXEC_ABORTED, EXEC_WITHOUT_MULTI, NESTED_MULTI, STRONG_TRANSACTION, WATCH_IN_MULTI};
use crate::protocol::reply::Reply;

pub(super) fn multi(call: &mut Call<'_>) -> Outcome {
    if call.session.transaction.is_open() {
        return Err(NESTED_MULTI);
    }
    if call.session.level.what == Level::Strong {
        return Err(STRONG_TRANSACTION);
    }
    call.session.transaction.open();
    call.reply.ok();
    Ok(())
}

pub(super) fn discard(call: &mut Call<'_>) -> Outcome {
    if !call.session.transaction.is_open() {
        return Err(DISCARD_WITHOUT_MULTI);
    }
    call.session.transaction.take();
    call.reply.ok();
    Ok(())
}

pub(super) fn watch(call: &mut Call<'_>) -> Outcome {
    if call.session.transaction.is_open() {
        return Err(WATCH_IN_MULTI);
    }
    admission::check_no_register(call.arguments, call.host)?;
    for key in call.arguments.from(1).iter() {
        call.session.transaction.watch(key, call.store);
    }
    call.reply.ok();
    Ok(())
}

pub(super) fn unwatch(call: &mut Call<'_>) -> Outcome {
    call.session.transaction.unwatch();
    call.reply.ok();
    Ok(())
}

/// How many other replicas hold the connection's writes.
fn holding(call: &Call<'_>) -> usize {
    call.session.last_write.map_or_else(|| call.host.replicas(), |write| call.host.acknowledged(write))
}

pub(super) fn exec(call: &mut Call<'_>) -> Outcome {
    if !call.session.transaction.is_open() {
        return Err(EXEC_WITHOUT_MULTI);
    }
    let (is_broken, holds) = (call.session.transaction.is_broken(), call.session.transaction.holds(call.store));
    let queue = call.session.transaction.take();
    if is_broken {
        return Err(EXEC_ABORTED);
    }
    if !holds {
        call.reply.null_array();
        return Ok(());
    }
    call.reply.array(queue.len());
    let mut next = Next::Continue;
    let mut answer = Vec::new();
    for command in &queue {
        answer.clear();
        let arguments = command.as_arguments();
        call.session.next = Next::Continue;
        let found = dispatch::find_command(arguments);
        let outcome = found.and_then(|found| {
            dispatch::permit_queued(found, arguments, call.session, call.host)?;
            admission::check_no_register(arguments, call.host)?;
            call.session.last_command = found.full_name();
            dispatch::run(found.command, call.session, arguments, call.store, call.host, &mut answer)
        });
        if let Err(failure) = outcome {
            answer.clear();
            Reply::new(&mut answer, call.session.version).error(failure.text());
        }
        call.reply.raw(&answer);
        next = match call.session.next {
            Next::Close => Next::Close,
            // Within a transaction nothing is waited for: as many as there are now, and what was seen by now.
            Next::Wait { .. } => {
                let holding = holding(call);
                call.reply.count(holding);
                next
            }
            Next::Behind { .. } => {
                call.reply.integer(0);
                next
            }
            // These are what the transaction as a whole comes to; shared users are not changed in one.
            Next::Acknowledge { .. } | Next::Register | Next::Users | Next::Continue => next,
        };
    }
    call.session.next = next;
    Ok(())
}
