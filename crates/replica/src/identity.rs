//! Who a replica is when its process begins: the actor it was, or a new one.
//!
//! A version is given to one write only. So whoever may have lost writes of its own that others have seen must not go on as the actor that it was
//! ([`steadfast_available::exchange`], "Identity"). What is written before messages go out is lost with the machine alone, or with the disk.

use steadfast_crdt::Actor;
use steadfast_types::planted::{Bug, is_planted};
use steadfast_types::wire_struct;

/// What a replica's directory says of the life before: written durably before the first write of a life, and again at its proper end, after the
/// journal was synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// As whom it wrote.
    pub actor: Actor,
    /// Which boot of the machine that was: a number that no other boot of it has.
    pub boot: u64,
    /// Whether all that was written is durable, and nothing was written after that.
    pub is_closed: bool,
}
wire_struct!(Identity { actor, boot, is_closed });

impl Identity {
    /// As whom to go on: `None` if a new actor is needed. `registered` is the actor that stands for this replica's name in the registry of replicas,
    /// `found` what the directory says, `boot` the machine's present boot.
    ///
    /// What others know under the name proves nothing about the disk: it may be another one.
    pub fn resumes(registered: Option<Actor>, found: Option<Identity>, boot: u64) -> Option<Actor> {
        if is_planted(Bug::ActorReused) {
            return registered;
        }
        let found = found.filter(|found| found.is_closed || found.boot == boot)?;
        registered.filter(|actor| *actor == found.actor)
    }
}

#[cfg(test)]
mod tests {
    use steadfast_types::wire::Wire;

    use super::*;

    #[test]
    fn only_who_lost_nothing_goes_on_as_the_actor_that_it_was() {
        let [actor, other] = [3, 4].map(|place| Actor::new(place).expect("a place"));
        let found = |boot, is_closed| Some(Identity { actor, boot, is_closed });
        for (registered, found, resumed, why) in [
            (Some(actor), found(7, false), Some(actor), "the process was killed and the machine went on"),
            (Some(actor), found(6, true), Some(actor), "a proper stop before the machine's"),
            (Some(actor), found(6, false), None, "the machine stopped first"),
            (Some(actor), None, None, "the disk is another one"),
            (Some(other), found(7, true), None, "the name has gone to another actor"),
            (None, found(7, true), None, "it was removed"),
        ] {
            assert_eq!(Identity::resumes(registered, found, 7), resumed, "{why}");
        }
        let identity = Identity { actor, boot: u64::MAX, is_closed: true };
        assert_eq!(Identity::from_wire(identity.to_wire().into()), Ok(identity));
    }
}
