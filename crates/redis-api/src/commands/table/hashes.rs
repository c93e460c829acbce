//! The commands of hashes.

use crate::commands::hashes;
use crate::commands::table::{Categories, Command, Flags, Group, Use, range};

pub(super) static COMMANDS: &[Command] = &[
    Command::new("hdel", -3, Group::Hash, "2.0.0", "O(N)", "Deletes fields.", Some(hashes::hdel))
        .flags(Flags::WRITE.or(Flags::FAST))
        .categories(Categories::HASH)
        .keys(&[range(1, 0, 1, Use::RW.or(Use::DELETE))]),
    Command::new("hexists", 3, Group::Hash, "2.0.0", "O(1)", "Whether a field exists.", Some(hashes::hexists))
        .flags(Flags::READONLY.or(Flags::FAST))
        .categories(Categories::HASH)
        .keys(&[range(1, 0, 1, Use::RO)]),
    Command::new("hget", 3, Group::Hash, "2.0.0", "O(1)", "The value of a field.", Some(hashes::hget))
        .flags(Flags::READONLY.or(Flags::FAST))
        .categories(Categories::HASH)
        .keys(&[range(1, 0, 1, Use::RO.or(Use::ACCESS))]),
    Command::new("hgetall", 2, Group::Hash, "2.0.0", "O(N)", "All fields and their values.", Some(hashes::hgetall))
        .flags(Flags::READONLY)
        .categories(Categories::HASH)
        .tips(&["nondeterministic_output_order"])
        .keys(&[range(1, 0, 1, Use::RO.or(Use::ACCESS))]),
    Command::new("hincrby", 4, Group::Hash, "2.0.0", "O(1)", "Adds a number to an integer in a field.", Some(hashes::hincrby))
        .flags(Flags::WRITE.or(Flags::DENYOOM.or(Flags::FAST)))
        .categories(Categories::HASH)
        .keys(&[range(1, 0, 1, Use::RW.or(Use::ACCESS.or(Use::UPDATE)))]),
    Command::new("hincrbyfloat", 4, Group::Hash, "2.6.0", "O(1)", "Adds a number to a float in a field.", Some(hashes::hincrbyfloat))
        .flags(Flags::WRITE.or(Flags::DENYOOM.or(Flags::FAST)))
        .categories(Categories::HASH)
        .keys(&[range(1, 0, 1, Use::RW.or(Use::ACCESS.or(Use::UPDATE)))]),
    Command::new("hkeys", 2, Group::Hash, "2.0.0", "O(N)", "All fields.", Some(hashes::hkeys))
        .flags(Flags::READONLY)
        .categories(Categories::HASH)
        .tips(&["nondeterministic_output_order"])
        .keys(&[range(1, 0, 1, Use::RO.or(Use::ACCESS))]),
    Command::new("hlen", 2, Group::Hash, "2.0.0", "O(1)", "How many fields there are.", Some(hashes::hlen))
        .flags(Flags::READONLY.or(Flags::FAST))
        .categories(Categories::HASH)
        .keys(&[range(1, 0, 1, Use::RO)]),
    Command::new("hmget", -3, Group::Hash, "2.0.0", "O(N)", "The values of several fields.", Some(hashes::hmget))
        .flags(Flags::READONLY.or(Flags::FAST))
        .categories(Categories::HASH)
        .keys(&[range(1, 0, 1, Use::RO.or(Use::ACCESS))]),
    Command::new("hmset", -4, Group::Hash, "2.0.0", "O(N)", "Sets several fields.", Some(hashes::hmset))
        .flags(Flags::WRITE.or(Flags::DENYOOM.or(Flags::FAST)))
        .categories(Categories::HASH)
        .keys(&[range(1, 0, 1, Use::RW.or(Use::UPDATE))])
        .deprecated("4.0.0", "HSET with multiple field-value pairs"),
    Command::new("hrandfield", -2, Group::Hash, "6.2.0", "O(N)", "Some fields, by chance.", Some(hashes::hrandfield))
        .flags(Flags::READONLY)
        .categories(Categories::HASH)
        .tips(&["nondeterministic_output"])
        .keys(&[range(1, 0, 1, Use::RO.or(Use::ACCESS))]),
    Command::new("hscan", -3, Group::Hash, "2.8.0", "O(1)", "Walks through the fields.", Some(hashes::hscan))
        .flags(Flags::READONLY)
        .categories(Categories::HASH)
        .tips(&["nondeterministic_output"])
        .keys(&[range(1, 0, 1, Use::RO.or(Use::ACCESS))]),
    Command::new("hset", -4, Group::Hash, "2.0.0", "O(1)", "Sets fields.", Some(hashes::hset))
        .flags(Flags::WRITE.or(Flags::DENYOOM.or(Flags::FAST)))
        .categories(Categories::HASH)
        .keys(&[range(1, 0, 1, Use::RW.or(Use::UPDATE))]),
    Command::new("hsetnx", 4, Group::Hash, "2.0.0", "O(1)", "Sets a field that does not exist.", Some(hashes::hsetnx))
        .flags(Flags::WRITE.or(Flags::DENYOOM.or(Flags::FAST)))
        .categories(Categories::HASH)
        .keys(&[range(1, 0, 1, Use::RW.or(Use::INSERT))]),
    Command::new("hstrlen", 3, Group::Hash, "3.2.0", "O(1)", "How many bytes the value of a field has.", Some(hashes::hstrlen))
        .flags(Flags::READONLY.or(Flags::FAST))
        .categories(Categories::HASH)
        .keys(&[range(1, 0, 1, Use::RO)]),
    Command::new("hvals", 2, Group::Hash, "2.0.0", "O(N)", "All values.", Some(hashes::hvals))
        .flags(Flags::READONLY)
        .categories(Categories::HASH)
        .tips(&["nondeterministic_output_order"])
        .keys(&[range(1, 0, 1, Use::RO.or(Use::ACCESS))]),
];
