//! The commands of sets.

use crate::commands::sets;
use crate::commands::table::{Categories, Command, Flags, Group, Use, counted, range};

pub(super) static COMMANDS: &[Command] = &[
    Command::new("sadd", -3, Group::Set, "1.0.0", "O(1)", "Adds members to a set.", Some(sets::sadd))
        .flags(Flags::WRITE.or(Flags::DENYOOM.or(Flags::FAST)))
        .categories(Categories::SET)
        .keys(&[range(1, 0, 1, Use::RW.or(Use::INSERT))]),
    Command::new("scard", 2, Group::Set, "1.0.0", "O(1)", "How many members a set has.", Some(sets::scard))
        .flags(Flags::READONLY.or(Flags::FAST))
        .categories(Categories::SET)
        .keys(&[range(1, 0, 1, Use::RO)]),
    Command::new("sdiff", -2, Group::Set, "1.0.0", "O(N)", "The members of the first set that are in no other.", Some(sets::sdiff))
        .flags(Flags::READONLY)
        .categories(Categories::SET)
        .tips(&["nondeterministic_output_order"])
        .keys(&[range(1, -1, 1, Use::RO.or(Use::ACCESS))]),
    Command::new(
        "sdiffstore",
        -3,
        Group::Set,
        "1.0.0",
        "O(N)",
        "Keeps the members of the first set that are in no other.",
        Some(sets::sdiffstore),
    )
    .flags(Flags::WRITE.or(Flags::DENYOOM))
    .categories(Categories::SET)
    .keys(&[range(1, 0, 1, Use::OW.or(Use::UPDATE)), range(2, -1, 1, Use::RO.or(Use::ACCESS))]),
    Command::new("sinter", -2, Group::Set, "1.0.0", "O(N*M)", "The members that all sets have.", Some(sets::sinter))
        .flags(Flags::READONLY)
        .categories(Categories::SET)
        .tips(&["nondeterministic_output_order"])
        .keys(&[range(1, -1, 1, Use::RO.or(Use::ACCESS))]),
    Command::new("sintercard", -3, Group::Set, "7.0.0", "O(N*M)", "How many members all sets have.", Some(sets::sintercard))
        .flags(Flags::READONLY.or(Flags::MOVABLEKEYS))
        .categories(Categories::SET)
        .keys(&[counted(1, Use::RO.or(Use::ACCESS))]),
    Command::new("sinterstore", -3, Group::Set, "1.0.0", "O(N*M)", "Keeps the members that all sets have.", Some(sets::sinterstore))
        .flags(Flags::WRITE.or(Flags::DENYOOM))
        .categories(Categories::SET)
        .keys(&[range(1, 0, 1, Use::RW.or(Use::UPDATE)), range(2, -1, 1, Use::RO.or(Use::ACCESS))]),
    Command::new("sismember", 3, Group::Set, "1.0.0", "O(1)", "Whether a set has a member.", Some(sets::sismember))
        .flags(Flags::READONLY.or(Flags::FAST))
        .categories(Categories::SET)
        .keys(&[range(1, 0, 1, Use::RO)]),
    Command::new("smembers", 2, Group::Set, "1.0.0", "O(N)", "All members of a set.", Some(sets::smembers))
        .flags(Flags::READONLY)
        .categories(Categories::SET)
        .tips(&["nondeterministic_output_order"])
        .keys(&[range(1, 0, 1, Use::RO.or(Use::ACCESS))]),
    Command::new("smismember", -3, Group::Set, "6.2.0", "O(N)", "Whether a set has each of several members.", Some(sets::smismember))
        .flags(Flags::READONLY.or(Flags::FAST))
        .categories(Categories::SET)
        .keys(&[range(1, 0, 1, Use::RO.or(Use::ACCESS))]),
    Command::new("smove", 4, Group::Set, "1.0.0", "O(1)", "Moves a member from a set to another.", Some(sets::smove))
        .flags(Flags::WRITE.or(Flags::FAST))
        .categories(Categories::SET)
        .keys(&[range(1, 0, 1, Use::RW.or(Use::ACCESS.or(Use::DELETE))), range(2, 0, 1, Use::RW.or(Use::INSERT))]),
    Command::new("spop", -2, Group::Set, "1.0.0", "", "Takes members from a set, by chance.", Some(sets::spop))
        .flags(Flags::WRITE.or(Flags::FAST))
        .categories(Categories::SET)
        .tips(&["nondeterministic_output"])
        .keys(&[range(1, 0, 1, Use::RW.or(Use::ACCESS.or(Use::DELETE)))]),
    Command::new("srandmember", -2, Group::Set, "1.0.0", "", "Some members of a set, by chance.", Some(sets::srandmember))
        .flags(Flags::READONLY)
        .categories(Categories::SET)
        .tips(&["nondeterministic_output"])
        .keys(&[range(1, 0, 1, Use::RO.or(Use::ACCESS))]),
    Command::new("srem", -3, Group::Set, "1.0.0", "O(N)", "Removes members from a set.", Some(sets::srem))
        .flags(Flags::WRITE.or(Flags::FAST))
        .categories(Categories::SET)
        .keys(&[range(1, 0, 1, Use::RW.or(Use::DELETE))]),
    Command::new("sscan", -3, Group::Set, "2.8.0", "O(1)", "Walks through the members of a set.", Some(sets::sscan))
        .flags(Flags::READONLY)
        .categories(Categories::SET)
        .tips(&["nondeterministic_output"])
        .keys(&[range(1, 0, 1, Use::RO.or(Use::ACCESS))]),
    Command::new("sunion", -2, Group::Set, "1.0.0", "O(N)", "The members that any set has.", Some(sets::sunion))
        .flags(Flags::READONLY)
        .categories(Categories::SET)
        .tips(&["nondeterministic_output_order"])
        .keys(&[range(1, -1, 1, Use::RO.or(Use::ACCESS))]),
    Command::new("sunionstore", -3, Group::Set, "1.0.0", "O(N)", "Keeps the members that any set has.", Some(sets::sunionstore))
        .flags(Flags::WRITE.or(Flags::DENYOOM))
        .categories(Categories::SET)
        .keys(&[range(1, 0, 1, Use::OW.or(Use::UPDATE)), range(2, -1, 1, Use::RO.or(Use::ACCESS))]),
];
