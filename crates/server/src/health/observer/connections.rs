//! What the connections with one peer say: heartbeats with phi over them, timeouts, and the transport.
//!
//! Requests are counted, not numbered on the wire: a welcome answers all before it, and signs of life are answered in their order on one connection.

use std::time::Duration;

use steadfast_health::Assessment;
use steadfast_health::detectors::Detector;
use steadfast_health::detectors::heartbeat::{self, Beat, Heartbeat};
use steadfast_health::detectors::phi::{self, Accrual};
use steadfast_health::detectors::timeout::{self, Request, RequestNumber, Timeout};
use steadfast_health::detectors::transport::{self, Counters, Event, Transport};
use steadfast_health::limits::OUTSTANDING_REQUESTS;
use steadfast_types::Instant;

use super::kernel::Kernel;
use crate::peers::{Ends, Noticed};

/// Peers show that they live so often at least.
const BEAT: Duration = Duration::from_millis(500);

/// Of a peer that is silent for so many beats nothing good can be said: three and five seconds.
const BEATS: heartbeat::Config = heartbeat::Config { interval: BEAT, suspect_intervals: 6, hard_intervals: 10 };

/// An answer takes a way there and back. Half as long again, and the connection itself is given up.
const ANSWERS: timeout::Config = timeout::Config { timeout: Duration::from_secs(2), hard_requests: 3 };

/// Beats may bunch under load; a pause of three seconds is never improbable.
fn improbable() -> phi::Config {
    phi::Config { first_interval: BEAT, least_deviation: Duration::from_millis(200), ..phi::Config::default() }
}

/// The detectors of one peer's connections.
#[derive(Debug)]
pub(super) struct Connections {
    beats: Accrual<Heartbeat>,
    answers: Timeout,
    transport: Transport,
    /// Requests to it, and those that it answered, since ever.
    asked: u64,
    answered: u64,
    dialled: Option<Ends>,
    accepted: Option<Ends>,
}

impl Connections {
    /// Watches from `now` on.
    pub(super) fn new(now: Instant) -> Self {
        Connections {
            beats: Accrual::new(Heartbeat::new(now, BEATS), improbable()),
            answers: Timeout::new(ANSWERS),
            transport: Transport::new(transport::Config::default()),
            asked: 0,
            answered: 0,
            dialled: None,
            accepted: None,
        }
    }

    /// Takes what the transport has noticed.
    pub(super) fn notice(&mut self, now: Instant, what: Noticed) {
        match what {
            Noticed::Dialled | Noticed::SignSent => self.asked(now),
            Noticed::Connected(ends) => {
                self.dialled = ends;
                self.answered(now, self.asked);
                self.transport.observe(now, Event::Connected);
            }
            Noticed::SignsAnswered(count) => self.answered(now, self.answered.saturating_add(count)),
            Noticed::Accepted(ends) => self.accepted = ends,
            Noticed::Heard => {
                self.beats.observe(now, Beat);
                self.transport.observe(now, Event::Received);
            }
            Noticed::Reset => drop(self.transport.observe(now, Event::Reset)),
            Noticed::Refused => drop(self.transport.observe(now, Event::Refused)),
        }
    }

    /// The detector keeps so many in view; what it does not keep could never be answered there.
    fn asked(&mut self, now: Instant) {
        if self.asked - self.answered < OUTSTANDING_REQUESTS as u64 {
            self.asked += 1;
            self.answers.observe(now, Request::Asked(RequestNumber(self.asked)));
        }
    }

    /// All up to this one are answered.
    fn answered(&mut self, now: Instant, number: u64) {
        self.answered = number.min(self.asked);
        self.answers.observe(now, Request::Answered(RequestNumber(self.answered)));
    }

    /// Reads what the kernel has counted: what goes to the peer on the connection that was dialled, what comes on the other.
    pub(super) fn count(&mut self, now: Instant, kernel: &mut Kernel) {
        let mut read = |ends: Option<Ends>| ends.and_then(|ends| kernel.counters(ends)).unwrap_or_default();
        let (dialled, accepted) = (read(self.dialled), read(self.accepted));
        let Counters { sent, retransmitted, .. } = dialled;
        let Counters { received, reordered, .. } = accepted;
        self.transport.observe(now, Event::Counted(Counters { sent, retransmitted, received, reordered }));
    }

    /// What each way says.
    pub(super) fn assess(&self, now: Instant) -> [Assessment; 3] {
        [self.beats.assess(now), self.answers.assess(now), self.transport.assess(now)]
    }

    /// This node stood still.
    pub(super) fn forgive(&mut self, now: Instant, pause: Duration) {
        self.beats.forgive(now, pause);
        self.answers.forgive(now, pause);
        self.transport.forgive(now, pause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use steadfast_health::{Suspicion, Way};

    fn at(ms: u64) -> Instant {
        Instant(1_000_000 + ms * 1_000)
    }

    fn worst(connections: &Connections, now: Instant) -> Vec<(Way, Suspicion)> {
        let held = connections.assess(now).into_iter().filter(|assessment| assessment.suspicion >= Suspicion::Soft);
        held.map(|assessment| (assessment.way, assessment.suspicion)).collect()
    }

    /// A peer that does all it should until `until`.
    fn well(until_ms: u64) -> Connections {
        let mut connections = Connections::new(at(0));
        connections.notice(at(0), Noticed::Dialled);
        connections.notice(at(1), Noticed::Connected(None));
        for ms in (2..until_ms).step_by(500) {
            connections.notice(at(ms), Noticed::SignSent);
            connections.notice(at(ms + 1), Noticed::SignsAnswered(1));
            connections.notice(at(ms + 2), Noticed::Heard);
        }
        connections
    }

    #[test]
    fn a_peer_that_does_all_it_should_has_nothing_against_it() {
        let connections = well(60_000);
        assert_eq!(worst(&connections, at(60_000)), []);
        assert!(connections.assess(at(60_000)).iter().all(|assessment| assessment.suspicion == Suspicion::Clear));
    }

    #[test]
    fn a_process_that_died_is_silent_and_refuses() {
        let mut connections = well(60_000);
        connections.notice(at(60_000), Noticed::Reset);
        for ms in (60_010..66_000).step_by(500) {
            connections.notice(at(ms), Noticed::Dialled);
            connections.notice(at(ms + 1), Noticed::Refused);
        }
        let expected = [(Way::Heartbeat, Suspicion::Hard), (Way::Timeout, Suspicion::Hard), (Way::Transport, Suspicion::Hard)];
        assert_eq!(worst(&connections, at(66_000)), expected);
    }

    #[test]
    fn however_long_nobody_answered_one_welcome_mends_it() {
        let mut connections = well(1_000);
        (0..10_000).for_each(|k| connections.notice(at(2_000 + k * 500), Noticed::Dialled));
        assert_eq!(worst(&connections, at(5_002_000)).len(), 2);
        connections.notice(at(5_002_000), Noticed::Connected(None));
        connections.notice(at(5_002_000), Noticed::Heard);
        assert!(worst(&connections, at(5_002_001)).iter().all(|(way, strength)| (*way, *strength) == (Way::Timeout, Suspicion::Soft)));
        connections.notice(at(5_002_002), Noticed::SignSent);
        connections.notice(at(5_002_003), Noticed::SignsAnswered(1));
        assert_eq!(worst(&connections, at(5_002_004)), []);
    }

    #[test]
    fn what_is_heard_but_not_answered_is_a_timeout_alone() {
        let mut connections = well(10_000);
        for ms in (10_000..16_000).step_by(500) {
            connections.notice(at(ms), Noticed::SignSent);
            connections.notice(at(ms), Noticed::Heard);
        }
        assert_eq!(worst(&connections, at(16_000)), [(Way::Timeout, Suspicion::Hard)]);
    }

    #[test]
    fn a_slow_way_is_late_and_does_not_waver() {
        let mut connections = well(1_000);
        for ms in (1_000..60_000).step_by(500) {
            connections.notice(at(ms), Noticed::SignSent);
            connections.notice(at(ms), Noticed::Heard);
            if ms >= 3_500 {
                connections.notice(at(ms), Noticed::SignsAnswered(1));
            }
            if ms > 5_000 {
                assert!(worst(&connections, at(ms)).iter().all(|(way, _)| *way == Way::Timeout) && !worst(&connections, at(ms)).is_empty());
            }
        }
    }

    proptest! {
        /// Whatever is noticed, nothing overflows, and a welcome and a beat leave nothing hard.
        #[test]
        fn any_order_of_notices_is_taken(notices in prop::collection::vec((0..8usize, 0..5_000u64), 0..300)) {
            let all = [
                Noticed::Dialled, Noticed::Connected(None), Noticed::SignSent, Noticed::SignsAnswered(u64::MAX),
                Noticed::Accepted(None), Noticed::Heard, Noticed::Reset, Noticed::Refused,
            ];
            let (mut connections, mut ms) = (Connections::new(at(0)), 0);
            for (which, later) in notices {
                ms += later;
                connections.notice(at(ms), all[which]);
            }
            connections.notice(at(ms), Noticed::Connected(None));
            connections.notice(at(ms), Noticed::Heard);
            prop_assert!(worst(&connections, at(ms)).iter().all(|(_, strength)| *strength == Suspicion::Soft));
        }
    }
}
