//! Layouts at random.

use proptest::collection::vec;
use proptest::prelude::*;
use steadfast_placement::limits::USUAL_VIRTUAL_NODES;
use steadfast_placement::{Layout, Member};
use steadfast_types::NodeId;

/// Ids are random in life too.
pub(crate) fn id(number: u64) -> NodeId {
    NodeId(number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// A member of one of a few zones.
pub(crate) fn member() -> impl Strategy<Value = Member> {
    let virtual_nodes = prop_oneof![4 => Just(USUAL_VIRTUAL_NODES), 1 => 1..1024_u16];
    (0..4_u8, virtual_nodes).prop_map(|(zone, virtual_nodes)| Member { zone: format!("z{zone}"), virtual_nodes })
}

/// A layout of up to so many members.
pub(crate) fn layout(members: usize) -> impl Strategy<Value = Layout> {
    (1..6_u8, vec((0..64_u64, member()), 1..=members)).prop_map(|(replicas, members)| {
        let members = members.into_iter().map(|(number, member)| (id(number), member)).collect();
        Layout { replicas, members }
    })
}
