//! What befalls agents and spares, which have no disk and no log to suffer; and what everybody must know of everybody once all that is over.

use steadfast_membership::{Membership, State};
use steadfast_proof::Violation;
use steadfast_types::NodeId;
use steadfast_types::time::Duration;

use super::{AGENTS, Happening};
use crate::cluster::Cluster;
use crate::network::between;

/// Once everything has healed, everybody knows within so long who lives: longer than the longest wait before a return, the time between two tries of
/// one that failed, and the time to notice.
const KNOWN_WITHIN: Duration = Duration::from_secs(60);

impl Cluster {
    /// An agent or a spare dies, for a while or, if it is an agent, for good; stands still; or says goodbye.
    pub(super) fn strike_other(&mut self) -> Result<(), Violation> {
        let Some(every) = self.gossip.drawn.as_ref().and_then(|drawn| drawn.strikes).filter(|_| !self.healed) else { return Ok(()) };
        self.gossip_after(every, Happening::Strike);
        let others: Vec<NodeId> = self.gossip.others.iter().copied().collect();
        let Some(node) = self.gossip.rng.choice(&others).copied() else { return Ok(()) };
        let (now, life) = (self.queue.now(), self.life_of(node));
        let lasts = between(Duration::ZERO, Duration::from_secs(8), &mut self.gossip.rng);
        let what = self.gossip.rng.u8(0..5);
        self.trace.milestone(now, &[34, node.0, u64::from(what)], || format!("member {node} is struck ({what}) for {lasts:?}"));
        match what {
            0 | 1 => {
                self.gossip.end(node);
                self.gossip_after(lasts, Happening::Start(node));
            }
            2 if node.0 > AGENTS => {
                self.gossip.end(node);
                self.gossip.others.remove(&node);
            }
            3 => {
                self.with_member(node, life, Membership::leave)?;
                self.gossip_after(lasts + Duration::from_secs(1), Happening::Start(node));
            }
            _ => drop(self.gossip.paused_until.insert(node, now + lasts / 2)),
        }
        Ok(())
    }

    /// Some agents and spares lose their power together.
    pub(in crate::cluster) fn outage_of_others(&mut self, lasts: Duration) {
        for node in self.gossip.others.clone() {
            if self.gossip.rng.bool() {
                self.gossip.end(node);
                self.gossip_after(lasts, Happening::Start(node));
            }
        }
    }

    /// Agents and spares that are down start again, and nobody stands still.
    pub(in crate::cluster) fn heal_members(&mut self) {
        self.gossip.paused_until.clear();
        let down: Vec<NodeId> = self.gossip.others.iter().copied().filter(|node| !self.gossip.members.contains_key(node)).collect();
        for node in down {
            self.gossip_after(Duration::from_millis(1), Happening::Start(node));
        }
    }

    /// All machines, agents and spares: what a partition may part.
    pub(in crate::cluster) fn everybody(&self) -> Vec<NodeId> {
        self.machines.keys().chain(&self.gossip.others).copied().collect()
    }

    /// In time everybody knows who lives and who does not.
    pub(in crate::cluster) fn members_know(&mut self) -> Result<(), Violation> {
        let deadline = self.now() + KNOWN_WITHIN;
        loop {
            let Some(wrong) = self.wrong_about_somebody() else {
                self.gossip.checker.at_peace();
                return Ok(());
            };
            if self.now() >= deadline {
                return Err(Violation::new("members know", wrong));
            }
            self.run_until(self.now() + Duration::from_millis(200))?;
        }
    }

    /// A member that holds something wrong of another.
    fn wrong_about_somebody(&self) -> Option<String> {
        let members = &self.gossip.members;
        for (node, member) in members {
            if let Some(other) = members.keys().find(|other| member.core.state(**other) != Some(State::Alive)) {
                return Some(format!("{node} holds {other}, which lives, for {:?}", member.core.table().view(*other)));
            }
            let is_dead = |id: &NodeId| !members.contains_key(id);
            let revenant = member.core.table().iter().find(|view| is_dead(&view.profile.id) && view.state.is_active());
            // The last of all can't tell that the others are dead from being cut off, and accuses nobody.
            if let Some(view) = revenant.filter(|_| members.len() > 1) {
                return Some(format!("{node} holds {}, which is gone, for {}", view.profile.id, view.state));
            }
        }
        None
    }
}
