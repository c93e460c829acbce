//! The faults of the drill, and what is asked of each.

use std::time::Duration;

use serde::Serialize;
use steadfast_server::fault_table::FaultRequest;

/// How long a slow node holds back everything that it sends. A ping is late by then, but its answer comes before an inquiry's round is over.
pub(super) const SLOW: Duration = Duration::from_millis(400);

/// Of a hundred datagrams, how many a lossy node loses, in each direction.
pub(super) const LOSS_PERCENT: u8 = 20;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Kind {
    /// SIGKILL; started again at its end.
    KillAgent,
    /// The same of a server.
    KillServer,
    /// SIGSTOP, and SIGCONT at its end.
    Pause,
    /// Nothing reaches it, and nothing that it sends reaches others.
    CutBoth,
    /// Nothing reaches it.
    CutIn,
    /// Nothing that it sends reaches others.
    CutOut,
    /// Everything that it sends is late.
    Slow,
    /// Some of its datagrams are lost, in both directions.
    Lossy,
    /// SIGTERM of every node, a few at a time, and started again at once.
    RestartAll,
}

/// All of them, in the order of a round.
pub(super) const ALL: [Kind; 9] =
    [Kind::KillAgent, Kind::KillServer, Kind::Pause, Kind::CutBoth, Kind::CutIn, Kind::CutOut, Kind::Slow, Kind::Lossy, Kind::RestartAll];

impl Kind {
    /// For people.
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::KillAgent => "agent killed",
            Kind::KillServer => "server killed",
            Kind::Pause => "paused",
            Kind::CutBoth => "cut both ways",
            Kind::CutIn => "hears nobody",
            Kind::CutOut => "heard by nobody",
            Kind::Slow => "slow",
            Kind::Lossy => "loses packets",
            Kind::RestartAll => "all restarted",
        }
    }

    /// Whether it is to be found dead.
    pub(super) fn is_death(self) -> bool {
        match self {
            Kind::KillAgent | Kind::KillServer | Kind::Pause | Kind::CutBoth | Kind::CutIn | Kind::CutOut => true,
            Kind::Slow | Kind::Lossy | Kind::RestartAll => false,
        }
    }

    /// Whether it is over as soon as all have noticed it.
    pub(super) fn ends_when_noticed(self) -> bool {
        self.is_death() && self != Kind::Pause
    }

    /// What the node is told to do to its packets; `others`: the peer addresses of all others.
    pub(super) fn request(self, others: Vec<String>) -> FaultRequest {
        let nothing = FaultRequest::default();
        match self {
            Kind::CutBoth => FaultRequest { drop_from: others.clone(), drop_to: others, ..nothing },
            Kind::CutIn => FaultRequest { drop_from: others, ..nothing },
            Kind::CutOut => FaultRequest { drop_to: others, ..nothing },
            Kind::Slow => FaultRequest { delay_ms: u64::try_from(SLOW.as_millis()).unwrap_or(u64::MAX), ..nothing },
            Kind::Lossy => FaultRequest { loss_percent: LOSS_PERCENT, ..nothing },
            Kind::KillAgent | Kind::KillServer | Kind::Pause | Kind::RestartAll => nothing,
        }
    }
}

/// Whose turn it is: agents, then servers, then agents again, so that none is hit twice within a short time. Who is killed has turns of its own, from
/// the last agent on.
#[derive(Debug)]
pub(super) struct Turns {
    servers: usize,
    agents: usize,
    next: usize,
    killed_agents: usize,
    killed_servers: usize,
}

impl Turns {
    /// Servers are the first nodes, agents those after them.
    pub(super) fn new(servers: usize, agents: usize) -> Self {
        Turns { servers, agents, next: 0, killed_agents: 0, killed_servers: 0 }
    }

    /// The nodes that this fault is done to.
    pub(super) fn take(&mut self, kind: Kind) -> Vec<usize> {
        let all = self.servers + self.agents;
        match kind {
            Kind::RestartAll => (0..all).collect(),
            Kind::KillServer => {
                self.killed_servers += 1;
                vec![(self.killed_servers - 1) % self.servers]
            }
            Kind::KillAgent => {
                self.killed_agents += 1;
                vec![all - 1 - (self.killed_agents - 1) % self.agents]
            }
            Kind::Pause | Kind::CutBoth | Kind::CutIn | Kind::CutOut | Kind::Slow | Kind::Lossy => {
                self.next += 1;
                vec![(self.servers + self.next - 1) % all]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn everybody_gets_a_turn_and_each_kind_hits_its_own() {
        let mut turns = Turns::new(3, 20);
        let mut hit = BTreeSet::new();
        for _ in 0..10 {
            for kind in ALL {
                let nodes = turns.take(kind);
                match kind {
                    Kind::KillServer => assert!(nodes[0] < 3),
                    Kind::KillAgent => assert!(nodes[0] >= 3),
                    Kind::RestartAll => assert_eq!(nodes.len(), 23),
                    Kind::Pause | Kind::CutBoth | Kind::CutIn | Kind::CutOut | Kind::Slow | Kind::Lossy => hit.extend(nodes),
                }
            }
        }
        assert_eq!(hit.len(), 23);
    }
}
