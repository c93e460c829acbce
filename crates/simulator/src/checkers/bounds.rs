//! Queues are bounded: never more waits in one than clients asked for lately, and once they stop asking nothing is left. What a node that was away or is
//! new gets from the log may be as long as the log.

use std::collections::VecDeque;

use steadfast_node::Queued;
use steadfast_types::NodeId;
use steadfast_types::time::Duration;

use steadfast_proof::Violation;
use steadfast_proof::time::Time;

/// Longer than any request waits: a client's longest deadline, and a pause of the node that would have ended it.
const LATELY: Duration = Duration::from_secs(10);

/// What may wait beside requests: entries that nobody asked for (of elections, of members, of leases that end), and snapshots, one a member.
const BESIDE: usize = 100;

/// When clients asked.
#[derive(Debug, Default)]
pub struct Bounds {
    asked: VecDeque<Time>,
    /// How often they asked, ever.
    ever: usize,
}

impl Bounds {
    /// A node was asked something.
    pub fn asked(&mut self, now: Time) {
        while self.asked.front().is_some_and(|first| now.since(*first) > LATELY) {
            self.asked.pop_front();
        }
        self.asked.push_back(now);
        self.ever += 1;
    }

    /// At any time.
    ///
    /// # Errors
    /// More waits than was asked.
    pub fn check(&self, node: NodeId, queued: Queued) -> Result<(), Violation> {
        let lately = self.asked.len();
        if let Some((queue, waiting)) = queued.asked.into_iter().find(|(_, waiting)| *waiting > lately + BESIDE) {
            return Err(Violation::new(
                "bounds",
                format!("{waiting} {queue} wait at {node}, and {lately} requests came in the last {LATELY:?}"),
            ));
        }
        let (committed, ever) = (queued.committed, self.ever);
        if committed > ever + BESIDE {
            return Err(Violation::new("bounds", format!("{committed} committed entries wait at {node}, and {ever} requests came in all")));
        }
        Ok(())
    }
}

/// Long after the last request.
///
/// # Errors
/// Something waits still.
pub fn check_rest(node: NodeId, queued: Queued) -> Result<(), Violation> {
    let mut all = queued.asked.into_iter().chain([("committed entries", queued.committed)]);
    match all.find(|(_, waiting)| *waiting > 0) {
        Some((queue, waiting)) => Err(Violation::new("bounds", format!("{waiting} {queue} wait at {node}, and nobody asks any more"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reads(waiting: usize) -> Queued {
        Queued { asked: [("reads", waiting); 7], ..Queued::default() }
    }

    fn committed(waiting: usize) -> Queued {
        Queued { committed: waiting, ..Queued::default() }
    }

    #[test]
    fn more_than_was_asked_lately_is_found() {
        let mut bounds = Bounds::default();
        (0..5).for_each(|second| bounds.asked(Time(second * 1_000_000)));
        bounds.check(NodeId(1), reads(BESIDE + 5)).unwrap();
        bounds.check(NodeId(1), reads(BESIDE + 6)).unwrap_err();
        bounds.asked(Time(12_000_000));
        bounds.check(NodeId(1), reads(BESIDE + 4)).unwrap();
        bounds.check(NodeId(1), reads(BESIDE + 5)).unwrap_err();
        bounds.check(NodeId(1), committed(BESIDE + 6)).unwrap();
        bounds.check(NodeId(1), committed(BESIDE + 7)).unwrap_err();
    }

    #[test]
    fn at_rest_anything_left_is_found() {
        check_rest(NodeId(1), Queued::default()).unwrap();
        check_rest(NodeId(1), reads(1)).unwrap_err();
        check_rest(NodeId(1), committed(1)).unwrap_err();
    }
}
