//! What comes out of a member: packets to send, and what happened.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;

use steadfast_types::NodeId;
use steadfast_types::time::Duration;

use crate::member::{Incarnation, Profile};

/// What the shell is to do, in any order.
#[derive(Debug, Default)]
pub struct Outputs {
    /// Datagrams to send. Any may be lost.
    pub datagrams: Vec<(SocketAddr, Vec<u8>)>,
    /// Messages to send by a reliable stream; one that answers goes back on the stream that it answers, as its address says. Any may be lost,
    /// but whole.
    pub streams: Vec<(SocketAddr, Vec<u8>)>,
    /// What happened, in order.
    pub events: Vec<Event>,
}

impl Outputs {
    /// Makes room for the next turn.
    pub fn clear(&mut self) {
        self.datagrams.clear();
        self.streams.clear();
        self.events.clear();
    }
}

/// What happened, as one member sees it. The evidence of a suspicion or failure: [`crate::Table::view`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A member is new.
    Joined(Arc<Profile>),
    /// It says something else of itself.
    Changed(Arc<Profile>),
    /// It did not answer.
    Suspected(NodeId),
    /// It answered after all.
    Cleared(NodeId),
    /// It was found dead.
    Failed(NodeId, Incarnation),
    /// It said goodbye.
    Left(NodeId, Incarnation),
    /// It had failed or left, and is back.
    Returned(NodeId, Incarnation),
    /// Two live members have one name.
    NameConflict {
        /// Who keeps it.
        elder: NodeId,
        /// Who must go.
        younger: NodeId,
    },
    /// An elder has this member's own name: this member leaves.
    NameTaken {
        /// The elder.
        by: NodeId,
    },
    /// The whole list came: this member takes part.
    Admitted,
    /// Somebody got no answer from this member.
    Accused {
        /// Who asks.
        by: NodeId,
    },
    /// This member was declared failed or gone, and says that it lives, in this incarnation.
    Refuted(Incarnation),
    /// This member itself stood still.
    Paused(Duration),
    /// This member has said goodbye; it may stop.
    Departed,
}
