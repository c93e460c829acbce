//! What members may hold of each other, whatever becomes of their packets.
//!
//! 1. *The dead stay dead*: in one life of an observer, what it holds of a member never goes back: neither to an earlier incarnation, nor from dead to
//!    alive in the same one. Who was declared dead comes back by a greater incarnation alone, also after it was forgotten.
//! 2. *Nobody speaks for another*: an incarnation that somebody holds for alive was begun by the member itself.
//! 3. *No false alarm*: in a world without faults, once all is known, nobody who lives is declared dead.

use std::collections::BTreeMap;

use steadfast_membership::{Incarnation, Membership};
use steadfast_proof::Violation;
use steadfast_types::NodeId;

/// What was held, and by whom.
#[derive(Debug, Default)]
pub struct Members {
    /// By observer, its life, and the member: the greatest incarnation that was held, and whether for alive (false) or dead (true).
    held: BTreeMap<(NodeId, u64, NodeId), (Incarnation, bool)>,
    /// The greatest incarnation that each member itself was in.
    own: BTreeMap<NodeId, Incarnation>,
    is_peace: bool,
}

impl Members {
    /// A member begins a life.
    pub fn began(&mut self, node: NodeId, incarnation: Incarnation) {
        let own = self.own.entry(node).or_default();
        *own = (*own).max(incarnation);
    }

    /// Everybody knows of everybody, and nothing fails any more.
    pub fn at_peace(&mut self) {
        self.is_peace = true;
    }

    /// Faults go on.
    pub fn at_war(&mut self) {
        self.is_peace = false;
    }

    /// `observer` has declared a member dead, or heard of it; whether this incarnation of it `lives`.
    ///
    /// # Errors
    /// It lives, and there are no faults.
    pub fn declared_dead(&self, observer: NodeId, member: NodeId, incarnation: Incarnation, lives: bool) -> Result<(), Violation> {
        match self.is_peace && lives {
            true => Err(Violation::new("false failure", format!("{observer} holds {member} for dead, which lives in {incarnation}"))),
            false => Ok(()),
        }
    }

    /// A member has taken something in.
    ///
    /// # Errors
    /// What it holds now can't be.
    pub fn turned(&mut self, observer: NodeId, life: u64, core: &Membership) -> Result<(), Violation> {
        self.began(observer, core.incarnation());
        for view in core.table().iter() {
            let (member, now) = (view.profile.id, (view.incarnation, !view.state.is_active()));
            let before = self.held.entry((observer, life, member)).or_insert(now);
            if now < *before {
                let text =
                    format!("{observer} holds {member} for {} in {}, and held it for dead or newer in {}", view.state, now.0, before.0);
                return Err(Violation::new("the dead came back", text));
            }
            *before = now;
            // For dead it may be held in a later one: who was perhaps forgotten as dead has left as of all that were forgotten, until it says otherwise.
            if view.state.is_active() && self.own.get(&member).is_none_or(|own| *own < now.0) {
                let text = format!("{observer} holds {member} for {} in {}, in which it never was", view.state, now.0);
                return Err(Violation::new("incarnation", text));
            }
        }
        Ok(())
    }
}
