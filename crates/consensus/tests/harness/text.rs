//! What cores say and do, in words.

use steadfast_consensus::message::Body;
use steadfast_consensus::{Message, Outputs, Status};
use steadfast_types::{Entry, HardState, NodeId, Payload};

pub(crate) fn entry(entry: &Entry) -> String {
    let payload = match &entry.payload {
        Payload::Empty => "-".into(),
        Payload::Batch(batch) => String::from_utf8_lossy(batch).into_owned(),
        Payload::Change { configuration, .. } => format!("({configuration})"),
    };
    format!("{}:{payload}", entry.position())
}

fn entries(list: &[Entry]) -> String {
    list.iter().map(entry).collect::<Vec<_>>().join(" ")
}

pub(crate) fn message(message: &Message) -> String {
    let flag = |set: bool, name: &str| if set { format!(" {name}") } else { String::new() };
    let granted = |granted: bool| if granted { "granted" } else { "refused" };
    let body = match &message.body {
        Body::PreVoteRequest { last, leader_is_gone } => format!("PreVoteRequest last={last}{}", flag(*leader_is_gone, "leader_is_gone")),
        Body::PreVoteReply { granted: vote, suspect } => format!("PreVoteReply {}{}", granted(*vote), flag(*suspect, "suspect")),
        Body::VoteRequest { last, leader_is_gone, transfer } => {
            format!("VoteRequest last={last}{}{}", flag(*leader_is_gone, "leader_is_gone"), flag(*transfer, "transfer"))
        }
        Body::VoteReply { granted: vote, suspect } => format!("VoteReply {}{}", granted(*vote), flag(*suspect, "suspect")),
        Body::Append { previous, entries: list, commit } => format!("Append after={previous} [{}] commit={commit}", entries(list)),
        Body::AppendAccepted { matched } => format!("AppendAccepted {matched}"),
        Body::AppendRejected { rejected, hint } => format!("AppendRejected {rejected} hint={hint}"),
        Body::Heartbeat { commit, round } => format!("Heartbeat round={round} commit={commit}"),
        Body::HeartbeatReply { round, verified } => format!("HeartbeatReply round={round} verified={verified}"),
        Body::ReadIndex { number, .. } => format!("ReadIndex {}", number.0),
        Body::ReadIndexReply { number, index, .. } => format!("ReadIndexReply {} index={index}", number.0),
        Body::TimeoutNow {} => "TimeoutNow".into(),
        Body::SnapshotInstalled { position, .. } => format!("SnapshotInstalled {position}"),
    };
    format!("{body} term={}", message.term)
}

/// The kind of a message, as scripts name it.
pub(crate) fn kind(message_of: &Message) -> String {
    message(message_of).split(' ').next().unwrap_or_default().into()
}

fn hard_state(state: &HardState) -> String {
    let vote = state.vote.map_or("none".into(), |vote| vote.to_string());
    format!("term={} vote={vote}{}", state.term, if state.suspect { " suspect" } else { "" })
}

pub(crate) fn outputs(id: NodeId, outputs: &Outputs) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(role) = &outputs.role {
        let leader = role.leader.map_or("none".into(), |leader| leader.to_string());
        lines.push(format!("{id} is {:?} term={} leader={leader}", role.role, role.term));
    }
    if let Some((position, configuration)) = &outputs.configuration {
        lines.push(format!("{id} has configuration {configuration} of {position}"));
    }
    if let Some(write) = &outputs.log_write {
        let mut parts = vec![format!("{id} writes #{}", write.sequence.0)];
        parts.extend(write.hard_state.as_ref().map(hard_state));
        parts.extend(write.truncate_from.map(|index| format!("cut from {index}")));
        parts.extend((!write.entries.is_empty()).then(|| format!("[{}]", entries(&write.entries))));
        lines.push(parts.join(" "));
    }
    lines.extend(outputs.messages.iter().map(|(to, body)| format!("{id} → {to} {}", message(body))));
    lines.extend((!outputs.committed.is_empty()).then(|| format!("{id} commits [{}]", entries(&outputs.committed))));
    lines.extend(outputs.read_ready.map(|ready| format!("{id} may read {} at {}", ready.number.0, ready.index)));
    lines.extend(outputs.fetch.iter().map(|fetch| format!("{id} fetches from {} for {}", fetch.from, fetch.follower)));
    lines.extend(outputs.snapshot_wanted.iter().map(|(to, _)| format!("{id} wants a snapshot for {to}")));
    lines
}

pub(crate) fn status(id: NodeId, status: &Status) -> String {
    let leader = status.leader.map_or("none".into(), |leader| leader.to_string());
    let followers: Vec<String> = status
        .followers
        .iter()
        .map(|follower| {
            let snapshot = if follower.snapshot { " snapshot" } else { "" };
            let silent = if follower.active { "" } else { " silent" };
            format!("{}:{}{snapshot}{silent}", follower.id, follower.matched)
        })
        .collect();
    format!(
        "{id} {:?} term={} leader={leader} last={} commit={} {}{}{}",
        status.role,
        status.term,
        status.last,
        status.commit,
        status.configuration,
        if followers.is_empty() { String::new() } else { format!(" followers={}", followers.join(",")) },
        if status.suspect { " suspect" } else { "" }
    )
}
