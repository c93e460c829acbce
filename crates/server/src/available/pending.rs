//! What a connection waits for, and how it is answered then.

use steadfast_redis_api::engine::session::Session;
use steadfast_redis_api::engine::{answer_late, unacknowledged};
use steadfast_replica::Answer;

/// See the module.
#[derive(Debug)]
pub(super) enum Pending {
    /// How many other replicas hold what it wrote: `WAIT`.
    Count,
    /// Other replicas are to hold what its command wrote, before the command's answer goes out.
    Acknowledgement {
        /// The command's answer.
        answer: Vec<u8>,
        /// How many replicas.
        wanted: usize,
        /// For how long, as it was asked for.
        timeout_ms: u64,
    },
    /// A register is to be read or written.
    Register {
        /// For how long, as it was asked for.
        timeout_ms: u64,
    },
    /// Users are to be changed.
    Users,
    /// This replica is to see what the connection has seen elsewhere, before its command runs.
    Sight {
        /// For how long, as it was asked for.
        timeout_ms: u64,
    },
}

impl Pending {
    /// Answers the command that waited. If it is one that was to run now and may not, for how long it was waited.
    pub(super) fn answer(self, came: &Answer, session: &mut Session, out: &mut Vec<u8>) -> Option<u64> {
        match self {
            Pending::Count => {
                let holding = i64::try_from(came.replicas).unwrap_or(i64::MAX);
                answer_late(session, out, |reply| reply.integer(holding));
                None
            }
            Pending::Acknowledgement { answer, .. } if came.is_met => {
                out.extend(answer);
                None
            }
            Pending::Acknowledgement { wanted, timeout_ms, .. } => {
                unacknowledged(session, came.replicas, wanted, timeout_ms, out);
                None
            }
            Pending::Sight { timeout_ms } => (!came.is_met).then_some(timeout_ms),
            Pending::Register { .. } | Pending::Users => unreachable!("it is answered by what came of the request"),
        }
    }
}
