//! The commands of bits of strings.

use crate::commands::bits;
use crate::commands::table::{Categories, Command, Flags, Group, Use, range};

pub(super) static COMMANDS: &[Command] = &[
    Command::new("bitcount", -2, Group::Bitmap, "2.6.0", "O(N)", "How many bits of a string are set.", Some(bits::bitcount))
        .flags(Flags::READONLY)
        .categories(Categories::BITMAP)
        .keys(&[range(1, 0, 1, Use::RO.or(Use::ACCESS))]),
    Command::new("bitop", -4, Group::Bitmap, "2.6.0", "O(N)", "Combines the bits of strings.", Some(bits::bitop))
        .flags(Flags::WRITE.or(Flags::DENYOOM))
        .categories(Categories::BITMAP)
        .keys(&[range(2, 0, 1, Use::OW.or(Use::UPDATE)), range(3, -1, 1, Use::RO.or(Use::ACCESS))]),
    Command::new(
        "bitpos",
        -3,
        Group::Bitmap,
        "2.8.7",
        "O(N)",
        "Where the first bit of a string is that is set, or clear.",
        Some(bits::bitpos),
    )
    .flags(Flags::READONLY)
    .categories(Categories::BITMAP)
    .keys(&[range(1, 0, 1, Use::RO.or(Use::ACCESS))]),
    Command::new("getbit", 3, Group::Bitmap, "2.2.0", "O(1)", "A bit of a string.", Some(bits::getbit))
        .flags(Flags::READONLY.or(Flags::FAST))
        .categories(Categories::BITMAP)
        .keys(&[range(1, 0, 1, Use::RO.or(Use::ACCESS))]),
    Command::new("setbit", 4, Group::Bitmap, "2.2.0", "O(1)", "Sets or clears a bit of a string.", Some(bits::setbit))
        .flags(Flags::WRITE.or(Flags::DENYOOM))
        .categories(Categories::BITMAP)
        .keys(&[range(1, 0, 1, Use::RW.or(Use::ACCESS.or(Use::UPDATE)))]),
];
