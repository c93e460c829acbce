//! The commands of sketches of how many distinct elements were seen.

use crate::commands::sketches;
use crate::commands::table::{Categories, Command, Flags, Group, Use, range};

pub(super) static COMMANDS: &[Command] = &[
    Command::new("pfadd", -2, Group::HyperLogLog, "2.8.9", "O(1)", "Counts elements in a sketch.", Some(sketches::pfadd))
        .flags(Flags::WRITE.or(Flags::DENYOOM.or(Flags::FAST)))
        .categories(Categories::HYPERLOGLOG)
        .keys(&[range(1, 0, 1, Use::RW.or(Use::INSERT))]),
    Command::new(
        "pfcount",
        -2,
        Group::HyperLogLog,
        "2.8.9",
        "O(1)",
        "About how many distinct elements sketches have counted.",
        Some(sketches::pfcount),
    )
    .flags(Flags::READONLY)
    .categories(Categories::HYPERLOGLOG)
    .keys(&[range(1, -1, 1, Use::RW.or(Use::ACCESS))]),
    Command::new("pfmerge", -2, Group::HyperLogLog, "2.8.9", "O(N)", "Puts sketches together.", Some(sketches::pfmerge))
        .flags(Flags::WRITE.or(Flags::DENYOOM))
        .categories(Categories::HYPERLOGLOG)
        .keys(&[range(1, 0, 1, Use::RW.or(Use::ACCESS.or(Use::INSERT))), range(2, -1, 1, Use::RO.or(Use::ACCESS))]),
];
