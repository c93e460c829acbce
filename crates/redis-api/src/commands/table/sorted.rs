//! The commands of sorted sets.

use crate::commands::sorted;
use crate::commands::table::{Categories, Command, Flags, Group, Use, counted, range};

pub(super) static COMMANDS: &[Command] = &[
    Command::new(
        "zadd",
        -4,
        Group::SortedSet,
        "1.2.0",
        "O(log(N)",
        "Adds members to a sorted set, or changes their scores.",
        Some(sorted::zadd),
    )
    .flags(Flags::WRITE.or(Flags::DENYOOM.or(Flags::FAST)))
    .categories(Categories::SORTEDSET)
    .keys(&[range(1, 0, 1, Use::RW.or(Use::UPDATE))]),
    Command::new("zcard", 2, Group::SortedSet, "1.2.0", "O(1)", "How many members a sorted set has.", Some(sorted::zcard))
        .flags(Flags::READONLY.or(Flags::FAST))
        .categories(Categories::SORTEDSET)
        .keys(&[range(1, 0, 1, Use::RO)]),
    Command::new("zcount", 4, Group::SortedSet, "2.0.0", "O(log(N)", "How many members have scores in a range.", Some(sorted::zcount))
        .flags(Flags::READONLY.or(Flags::FAST))
        .categories(Categories::SORTEDSET)
        .keys(&[range(1, 0, 1, Use::RO.or(Use::ACCESS))]),
    Command::new(
        "zdiff",
        -3,
        Group::SortedSet,
        "6.2.0",
        "O(L + (N-K)",
        "The members of the first sorted set that are in no other.",
        Some(sorted::zdiff),
    )
    .flags(Flags::READONLY.or(Flags::MOVABLEKEYS))
    .categories(Categories::SORTEDSET)
    .keys(&[counted(1, Use::RO.or(Use::ACCESS))]),
    Command::new(
        "zdiffstore",
        -4,
        Group::SortedSet,
        "6.2.0",
        "O(L + (N-K)",
        "Keeps the members of the first sorted set that are in no other.",
        Some(sorted::zdiffstore),
    )
    .flags(Flags::WRITE.or(Flags::DENYOOM.or(Flags::MOVABLEKEYS)))
    .categories(Categories::SORTEDSET)
    .keys(&[range(1, 0, 1, Use::OW.or(Use::UPDATE)), counted(2, Use::RO.or(Use::ACCESS))]),
    Command::new("zincrby", 4, Group::SortedSet, "1.2.0", "O(log(N)", "Adds a number to the score of a member.", Some(sorted::zincrby))
        .flags(Flags::WRITE.or(Flags::DENYOOM.or(Flags::FAST)))
        .categories(Categories::SORTEDSET)
        .keys(&[range(1, 0, 1, Use::RW.or(Use::ACCESS.or(Use::UPDATE)))]),
    Command::new(
        "zinter",
        -3,
        Group::SortedSet,
        "6.2.0",
        "O(N*K)+O(M*log(M)",
        "The members that all sorted sets have.",
        Some(sorted::zinter),
    )
    .flags(Flags::READONLY.or(Flags::MOVABLEKEYS))
    .categories(Categories::SORTEDSET)
    .keys(&[counted(1, Use::RO.or(Use::ACCESS))]),
    Command::new("zintercard", -3, Group::SortedSet, "7.0.0", "O(N*K)", "How many members all sorted sets have.", Some(sorted::zintercard))
        .flags(Flags::READONLY.or(Flags::MOVABLEKEYS))
        .categories(Categories::SORTEDSET)
        .keys(&[counted(1, Use::RO.or(Use::ACCESS))]),
    Command::new(
        "zinterstore",
        -4,
        Group::SortedSet,
        "2.0.0",
        "O(N*K)+O(M*log(M)",
        "Keeps the members that all sorted sets have.",
        Some(sorted::zinterstore),
    )
    .flags(Flags::WRITE.or(Flags::DENYOOM.or(Flags::MOVABLEKEYS)))
    .categories(Categories::SORTEDSET)
    .keys(&[range(1, 0, 1, Use::OW.or(Use::UPDATE)), counted(2, Use::RO.or(Use::ACCESS))]),
    Command::new(
        "zlexcount",
        4,
        Group::SortedSet,
        "2.8.9",
        "O(log(N)",
        "How many members are in a range of members.",
        Some(sorted::zlexcount),
    )
    .flags(Flags::READONLY.or(Flags::FAST))
    .categories(Categories::SORTEDSET)
    .keys(&[range(1, 0, 1, Use::RO.or(Use::ACCESS))]),
    Command::new(
        "zmpop",
        -4,
        Group::SortedSet,
        "7.0.0",
        "O(K)",
        "Takes members from the first sorted set that is not empty.",
        Some(sorted::zmpop),
    )
    .flags(Flags::WRITE.or(Flags::MOVABLEKEYS))
    .categories(Categories::SORTEDSET)
    .keys(&[counted(1, Use::RW.or(Use::ACCESS.or(Use::DELETE)))]),
    Command::new("zmscore", -3, Group::SortedSet, "6.2.0", "O(N)", "The scores of several members.", Some(sorted::zmscore))
        .flags(Flags::READONLY.or(Flags::FAST))
        .categories(Categories::SORTEDSET)
        .keys(&[range(1, 0, 1, Use::RO.or(Use::ACCESS))]),
    Command::new("zpopmax", -2, Group::SortedSet, "5.0.0", "O(log(N)", "Takes the members with the highest scores.", Some(sorted::zpopmax))
        .flags(Flags::WRITE.or(Flags::FAST))
        .categories(Categories::SORTEDSET)
        .keys(&[range(1, 0, 1, Use::RW.or(Use::ACCESS.or(Use::DELETE)))]),
    Command::new("zpopmin", -2, Group::SortedSet, "5.0.0", "O(log(N)", "Takes the members with the lowest scores.", Some(sorted::zpopmin))
        .flags(Flags::WRITE.or(Flags::FAST))
        .categories(Categories::SORTEDSET)
        .keys(&[range(1, 0, 1, Use::RW.or(Use::ACCESS.or(Use::DELETE)))]),
    Command::new(
        "zrandmember",
        -2,
        Group::SortedSet,
        "6.2.0",
        "O(N)",
        "Some members of a sorted set, by chance.",
        Some(sorted::zrandmember),
    )
    .flags(Flags::READONLY)
    .categories(Categories::SORTEDSET)
    .tips(&["nondeterministic_output"])
    .keys(&[range(1, 0, 1, Use::RO.or(Use::ACCESS))]),
    Command::new("zrange", -4, Group::SortedSet, "1.2.0", "O(log(N)", "The members in a range.", Some(sorted::zrange))
        .flags(Flags::READONLY)
        .categories(Categories::SORTEDSET)
        .keys(&[range(1, 0, 1, Use::RO.or(Use::ACCESS))]),
    Command::new("zrangebylex", -4, Group::SortedSet, "2.8.9", "O(log(N)", "The members in a range of members.", Some(sorted::zrangebylex))
        .flags(Flags::READONLY)
        .categories(Categories::SORTEDSET)
        .keys(&[range(1, 0, 1, Use::RO.or(Use::ACCESS))])
        .deprecated("6.2.0", "ZRANGE with the BYLEX argument"),
    Command::new(
        "zrangebyscore",
        -4,
        Group::SortedSet,
        "1.0.5",
        "O(log(N)",
        "The members in a range of scores.",
        Some(sorted::zrangebyscore),
    )
    .flags(Flags::READONLY)
    .categories(Categories::SORTEDSET)
    .keys(&[range(1, 0, 1, Use::RO.or(Use::ACCESS))])
    .deprecated("6.2.0", "ZRANGE with the BYSCORE argument"),
    Command::new("zrangestore", -5, Group::SortedSet, "6.2.0", "O(log(N)", "Keeps the members in a range.", Some(sorted::zrangestore))
        .flags(Flags::WRITE.or(Flags::DENYOOM))
        .categories(Categories::SORTEDSET)
        .keys(&[range(1, 0, 1, Use::OW.or(Use::UPDATE)), range(2, 0, 1, Use::RO.or(Use::ACCESS))]),
    Command::new("zrank", 3, Group::SortedSet, "2.0.0", "O(log(N)", "The place of a member, from the lowest score.", Some(sorted::zrank))
        .flags(Flags::READONLY.or(Flags::FAST))
        .categories(Categories::SORTEDSET)
        .keys(&[range(1, 0, 1, Use::RO.or(Use::ACCESS))]),
    Command::new("zrem", -3, Group::SortedSet, "1.2.0", "O(M*log(N)", "Removes members from a sorted set.", Some(sorted::zrem))
        .flags(Flags::WRITE.or(Flags::FAST))
        .categories(Categories::SORTEDSET)
        .keys(&[range(1, 0, 1, Use::RW.or(Use::DELETE))]),
    Command::new(
        "zremrangebylex",
        4,
        Group::SortedSet,
        "2.8.9",
        "O(log(N)",
        "Removes the members in a range of members.",
        Some(sorted::zremrangebylex),
    )
    .flags(Flags::WRITE)
    .categories(Categories::SORTEDSET)
    .keys(&[range(1, 0, 1, Use::RW.or(Use::DELETE))]),
    Command::new(
        "zremrangebyrank",
        4,
        Group::SortedSet,
        "2.0.0",
        "O(log(N)",
        "Removes the members in a range of places.",
        Some(sorted::zremrangebyrank),
    )
    .flags(Flags::WRITE)
    .categories(Categories::SORTEDSET)
    .keys(&[range(1, 0, 1, Use::RW.or(Use::DELETE))]),
    Command::new(
        "zremrangebyscore",
        4,
        Group::SortedSet,
        "1.2.0",
        "O(log(N)",
        "Removes the members in a range of scores.",
        Some(sorted::zremrangebyscore),
    )
    .flags(Flags::WRITE)
    .categories(Categories::SORTEDSET)
    .keys(&[range(1, 0, 1, Use::RW.or(Use::DELETE))]),
    Command::new(
        "zrevrange",
        -4,
        Group::SortedSet,
        "1.2.0",
        "O(log(N)",
        "The members in a range of places, from the highest score.",
        Some(sorted::zrevrange),
    )
    .flags(Flags::READONLY)
    .categories(Categories::SORTEDSET)
    .keys(&[range(1, 0, 1, Use::RO.or(Use::ACCESS))])
    .deprecated("6.2.0", "ZRANGE with the REV argument"),
    Command::new(
        "zrevrangebylex",
        -4,
        Group::SortedSet,
        "2.8.9",
        "O(log(N)",
        "The members in a range of members, from the last.",
        Some(sorted::zrevrangebylex),
    )
    .flags(Flags::READONLY)
    .categories(Categories::SORTEDSET)
    .keys(&[range(1, 0, 1, Use::RO.or(Use::ACCESS))])
    .deprecated("6.2.0", "ZRANGE with the REV and BYLEX arguments"),
    Command::new(
        "zrevrangebyscore",
        -4,
        Group::SortedSet,
        "2.2.0",
        "O(log(N)",
        "The members in a range of scores, from the highest.",
        Some(sorted::zrevrangebyscore),
    )
    .flags(Flags::READONLY)
    .categories(Categories::SORTEDSET)
    .keys(&[range(1, 0, 1, Use::RO.or(Use::ACCESS))])
    .deprecated("6.2.0", "ZRANGE with the REV and BYSCORE arguments"),
    Command::new(
        "zrevrank",
        3,
        Group::SortedSet,
        "2.0.0",
        "O(log(N)",
        "The place of a member, from the highest score.",
        Some(sorted::zrevrank),
    )
    .flags(Flags::READONLY.or(Flags::FAST))
    .categories(Categories::SORTEDSET)
    .keys(&[range(1, 0, 1, Use::RO.or(Use::ACCESS))]),
    Command::new("zscan", -3, Group::SortedSet, "2.8.0", "O(1)", "Walks through the members of a sorted set.", Some(sorted::zscan))
        .flags(Flags::READONLY)
        .categories(Categories::SORTEDSET)
        .tips(&["nondeterministic_output"])
        .keys(&[range(1, 0, 1, Use::RO.or(Use::ACCESS))]),
    Command::new("zscore", 3, Group::SortedSet, "1.2.0", "O(1)", "The score of a member.", Some(sorted::zscore))
        .flags(Flags::READONLY.or(Flags::FAST))
        .categories(Categories::SORTEDSET)
        .keys(&[range(1, 0, 1, Use::RO.or(Use::ACCESS))]),
    Command::new("zunion", -3, Group::SortedSet, "6.2.0", "O(N)+O(M*log(M))", "The members that any sorted set has.", Some(sorted::zunion))
        .flags(Flags::READONLY.or(Flags::MOVABLEKEYS))
        .categories(Categories::SORTEDSET)
        .keys(&[counted(1, Use::RO.or(Use::ACCESS))]),
    Command::new(
        "zunionstore",
        -4,
        Group::SortedSet,
        "2.0.0",
        "O(N)+O(M*log(M))",
        "Keeps the members that any sorted set has.",
        Some(sorted::zunionstore),
    )
    .flags(Flags::WRITE.or(Flags::DENYOOM.or(Flags::MOVABLEKEYS)))
    .categories(Categories::SORTEDSET)
    .keys(&[range(1, 0, 1, Use::OW.or(Use::UPDATE)), counted(2, Use::RO.or(Use::ACCESS))]),
];
