//! Bounds of a ring, each with its reason.

/// Members: with more, a member has fewer than two hundred slots of three replicas, and shares differ by more than is said in `docs/placement.md`.
pub const MEMBERS: usize = 256;

/// Replicas of a slot. Whoever wants more wants every node to hold everything.
pub const REPLICAS: u8 = 16;

/// Replicas of a slot unless somebody says otherwise: one may fail while another is looked after.
pub const USUAL_REPLICAS: u8 = 3;

/// Virtual nodes of a member. A member is not worth more than four times a usual one: its loss would move too much at once.
pub const VIRTUAL_NODES: u16 = 1024;

/// Virtual nodes of a usual member. Shares differ by about the root of what they are: one in sixteen.
pub const USUAL_VIRTUAL_NODES: u16 = 256;

/// The longest name of a zone, bytes: a label of the domain name system.
pub const ZONE_BYTES: usize = 63;
