//! The commands of strings.

use crate::commands::strings;
use crate::commands::table::{Categories, Command, Flags, Group, Use, range};

pub(super) static COMMANDS: &[Command] = &[
    Command::new("append", 3, Group::String, "2.0.0", "O(1)", "Adds bytes to the end of a string.", Some(strings::append))
        .flags(Flags::WRITE.or(Flags::DENYOOM.or(Flags::FAST)))
        .categories(Categories::STRING)
        .keys(&[range(1, 0, 1, Use::RW.or(Use::INSERT))]),
    Command::new("decr", 2, Group::String, "1.0.0", "O(1)", "Takes one from an integer.", Some(strings::decr))
        .flags(Flags::WRITE.or(Flags::DENYOOM.or(Flags::FAST)))
        .categories(Categories::STRING)
        .keys(&[range(1, 0, 1, Use::RW.or(Use::ACCESS.or(Use::UPDATE)))]),
    Command::new("decrby", 3, Group::String, "1.0.0", "O(1)", "Takes a number from an integer.", Some(strings::decrby))
        .flags(Flags::WRITE.or(Flags::DENYOOM.or(Flags::FAST)))
        .categories(Categories::STRING)
        .keys(&[range(1, 0, 1, Use::RW.or(Use::ACCESS.or(Use::UPDATE)))]),
    Command::new("get", 2, Group::String, "1.0.0", "O(1)", "The string of a key.", Some(strings::get))
        .flags(Flags::READONLY.or(Flags::FAST))
        .categories(Categories::STRING)
        .keys(&[range(1, 0, 1, Use::RO.or(Use::ACCESS))]),
    Command::new("getdel", 2, Group::String, "6.2.0", "O(1)", "The string of a key, which is then deleted.", Some(strings::getdel))
        .flags(Flags::WRITE.or(Flags::FAST))
        .categories(Categories::STRING)
        .keys(&[range(1, 0, 1, Use::RW.or(Use::ACCESS.or(Use::DELETE)))]),
    Command::new(
        "getex",
        -2,
        Group::String,
        "6.2.0",
        "O(1)",
        "The string of a key, whose deadline may be set or removed.",
        Some(strings::getex),
    )
    .flags(Flags::WRITE.or(Flags::FAST))
    .categories(Categories::STRING)
    .keys(&[range(1, 0, 1, Use::RW.or(Use::ACCESS.or(Use::UPDATE)))]),
    Command::new("getrange", 4, Group::String, "2.4.0", "O(N)", "A part of a string.", Some(strings::getrange))
        .flags(Flags::READONLY)
        .categories(Categories::STRING)
        .keys(&[range(1, 0, 1, Use::RO.or(Use::ACCESS))]),
    Command::new("getset", 3, Group::String, "1.0.0", "O(1)", "Sets a string and answers what it was.", Some(strings::getset))
        .flags(Flags::WRITE.or(Flags::DENYOOM.or(Flags::FAST)))
        .categories(Categories::STRING)
        .keys(&[range(1, 0, 1, Use::RW.or(Use::ACCESS.or(Use::UPDATE)))])
        .deprecated("6.2.0", "SET with the GET argument"),
    Command::new("incr", 2, Group::String, "1.0.0", "O(1)", "Adds one to an integer.", Some(strings::incr))
        .flags(Flags::WRITE.or(Flags::DENYOOM.or(Flags::FAST)))
        .categories(Categories::STRING)
        .keys(&[range(1, 0, 1, Use::RW.or(Use::ACCESS.or(Use::UPDATE)))]),
    Command::new("incrby", 3, Group::String, "1.0.0", "O(1)", "Adds a number to an integer.", Some(strings::incrby))
        .flags(Flags::WRITE.or(Flags::DENYOOM.or(Flags::FAST)))
        .categories(Categories::STRING)
        .keys(&[range(1, 0, 1, Use::RW.or(Use::ACCESS.or(Use::UPDATE)))]),
    Command::new("incrbyfloat", 3, Group::String, "2.6.0", "O(1)", "Adds a number to a float.", Some(strings::incrbyfloat))
        .flags(Flags::WRITE.or(Flags::DENYOOM.or(Flags::FAST)))
        .categories(Categories::STRING)
        .keys(&[range(1, 0, 1, Use::RW.or(Use::ACCESS.or(Use::UPDATE)))]),
    Command::new("lcs", -3, Group::String, "7.0.0", "O(N*M)", "The longest common subsequence of two strings.", Some(strings::lcs))
        .flags(Flags::READONLY)
        .categories(Categories::STRING)
        .keys(&[range(1, 1, 1, Use::RO.or(Use::ACCESS))]),
    Command::new("mget", -2, Group::String, "1.0.0", "O(N)", "The strings of several keys.", Some(strings::mget))
        .flags(Flags::READONLY.or(Flags::FAST))
        .categories(Categories::STRING)
        .tips(&["request_policy:multi_shard"])
        .keys(&[range(1, -1, 1, Use::RO.or(Use::ACCESS))]),
    Command::new("mset", -3, Group::String, "1.0.1", "O(N)", "Sets the strings of several keys.", Some(strings::mset))
        .flags(Flags::WRITE.or(Flags::DENYOOM))
        .categories(Categories::STRING)
        .tips(&["request_policy:multi_shard", "response_policy:all_succeeded"])
        .keys(&[range(1, -1, 2, Use::OW.or(Use::UPDATE))]),
    Command::new(
        "msetnx",
        -3,
        Group::String,
        "1.0.1",
        "O(N)",
        "Sets the strings of several keys if none of them exists.",
        Some(strings::msetnx),
    )
    .flags(Flags::WRITE.or(Flags::DENYOOM))
    .categories(Categories::STRING)
    .tips(&["request_policy:multi_shard", "response_policy:agg_min"])
    .keys(&[range(1, -1, 2, Use::OW.or(Use::INSERT))]),
    Command::new("psetex", 4, Group::String, "2.6.0", "O(1)", "Sets a string and its time to live in milliseconds.", Some(strings::psetex))
        .flags(Flags::WRITE.or(Flags::DENYOOM))
        .categories(Categories::STRING)
        .keys(&[range(1, 0, 1, Use::OW.or(Use::UPDATE))]),
    Command::new("set", -3, Group::String, "1.0.0", "O(1)", "Sets a string, whatever the key held.", Some(strings::set))
        .flags(Flags::WRITE.or(Flags::DENYOOM))
        .categories(Categories::STRING)
        .keys(&[range(1, 0, 1, Use::RW.or(Use::ACCESS.or(Use::UPDATE.or(Use::VARIABLE_FLAGS))))]),
    Command::new("setex", 4, Group::String, "2.0.0", "O(1)", "Sets a string and its time to live in seconds.", Some(strings::setex))
        .flags(Flags::WRITE.or(Flags::DENYOOM))
        .categories(Categories::STRING)
        .keys(&[range(1, 0, 1, Use::OW.or(Use::UPDATE))]),
    Command::new("setnx", 3, Group::String, "1.0.0", "O(1)", "Sets a string if the key does not exist.", Some(strings::setnx))
        .flags(Flags::WRITE.or(Flags::DENYOOM.or(Flags::FAST)))
        .categories(Categories::STRING)
        .keys(&[range(1, 0, 1, Use::OW.or(Use::INSERT))]),
    Command::new("setrange", 4, Group::String, "2.2.0", "O(1)", "Overwrites a part of a string.", Some(strings::setrange))
        .flags(Flags::WRITE.or(Flags::DENYOOM))
        .categories(Categories::STRING)
        .keys(&[range(1, 0, 1, Use::RW.or(Use::UPDATE))]),
    Command::new("strlen", 2, Group::String, "2.2.0", "O(1)", "How many bytes a string has.", Some(strings::strlen))
        .flags(Flags::READONLY.or(Flags::FAST))
        .categories(Categories::STRING)
        .keys(&[range(1, 0, 1, Use::RO)]),
    Command::new("substr", 4, Group::String, "1.0.0", "O(N)", "A part of a string.", Some(strings::substr))
        .flags(Flags::READONLY)
        .categories(Categories::STRING)
        .keys(&[range(1, 0, 1, Use::RO.or(Use::ACCESS))])
        .deprecated("2.0.0", "GETRANGE"),
];
