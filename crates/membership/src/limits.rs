//! Every bound of this room, with its reason.

/// The largest datagram, bytes: with the headers of IPv6, UDP and the shell's seal it stays below the 1,500 bytes of an Ethernet frame.
pub const DATAGRAM_BYTES: usize = 1400;

/// The largest message by stream, bytes: the whole list of some 200,000 members.
pub const STREAM_BYTES: usize = 32 * 1024 * 1024;

/// The longest name, bytes: a label of the domain name system.
pub const NAME_BYTES: usize = 63;

/// The most metadata of one member, bytes: a joining member's record leaves room for others in a datagram.
pub const METADATA_BYTES: usize = 256;

/// The most members that a table holds, dead ones included. Further ones are not admitted.
pub const MEMBERS: usize = 262_144;

/// Those whose word a suspicion or verdict carries. More than a verdict ever needs; the smallest ids stay, so that the order of words is all one.
pub const WITNESSES: usize = 8;

/// Pings sent for others and not yet answered. Beyond it requests are dropped: whoever asks so often is not helped by more.
pub const RELAYED_PINGS: usize = 1024;

/// Own probes under way. With the usual intervals there are fewer than ten.
pub const PROBES: usize = 256;

/// Inquiries open at once. Beyond it a silent member is left to others and to the next round.
pub const INQUIRIES: usize = 64;

/// Datagrams that answer one step of reconciliation.
pub const SYNC_DATAGRAMS: usize = 4;

/// Addresses that a command to join may name.
pub const JOIN_ADDRESSES: usize = 64;
