//! The commands of lists.

use crate::commands::lists;
use crate::commands::table::{Categories, Command, Flags, Group, Use, counted, range};

pub(super) static COMMANDS: &[Command] = &[
    Command::new("lindex", 3, Group::List, "1.0.0", "O(N)", "The element at a place.", Some(lists::lindex))
        .flags(Flags::READONLY)
        .categories(Categories::LIST)
        .keys(&[range(1, 0, 1, Use::RO.or(Use::ACCESS))]),
    Command::new("linsert", 5, Group::List, "2.2.0", "O(N)", "Puts an element before or after another.", Some(lists::linsert))
        .flags(Flags::WRITE.or(Flags::DENYOOM))
        .categories(Categories::LIST)
        .keys(&[range(1, 0, 1, Use::RW.or(Use::INSERT))]),
    Command::new("llen", 2, Group::List, "1.0.0", "O(1)", "How many elements a list has.", Some(lists::llen))
        .flags(Flags::READONLY.or(Flags::FAST))
        .categories(Categories::LIST)
        .keys(&[range(1, 0, 1, Use::RO)]),
    Command::new(
        "lmove",
        5,
        Group::List,
        "6.2.0",
        "O(1)",
        "Moves an element from an end of a list to an end of another.",
        Some(lists::lmove),
    )
    .flags(Flags::WRITE.or(Flags::DENYOOM))
    .categories(Categories::LIST)
    .keys(&[range(1, 0, 1, Use::RW.or(Use::ACCESS.or(Use::DELETE))), range(2, 0, 1, Use::RW.or(Use::INSERT))]),
    Command::new("lmpop", -4, Group::List, "7.0.0", "O(N+M)", "Takes elements from the first list that is not empty.", Some(lists::lmpop))
        .flags(Flags::WRITE.or(Flags::MOVABLEKEYS))
        .categories(Categories::LIST)
        .keys(&[counted(1, Use::RW.or(Use::ACCESS.or(Use::DELETE)))]),
    Command::new("lpop", -2, Group::List, "1.0.0", "O(N)", "Takes elements from the front.", Some(lists::lpop))
        .flags(Flags::WRITE.or(Flags::FAST))
        .categories(Categories::LIST)
        .keys(&[range(1, 0, 1, Use::RW.or(Use::ACCESS.or(Use::DELETE)))]),
    Command::new("lpos", -3, Group::List, "6.0.6", "O(N)", "The places of an element.", Some(lists::lpos))
        .flags(Flags::READONLY)
        .categories(Categories::LIST)
        .keys(&[range(1, 0, 1, Use::RO.or(Use::ACCESS))]),
    Command::new("lpush", -3, Group::List, "1.0.0", "O(1)", "Adds elements at the front.", Some(lists::lpush))
        .flags(Flags::WRITE.or(Flags::DENYOOM.or(Flags::FAST)))
        .categories(Categories::LIST)
        .keys(&[range(1, 0, 1, Use::RW.or(Use::INSERT))]),
    Command::new("lpushx", -3, Group::List, "2.2.0", "O(1)", "Adds elements at the front of a list that exists.", Some(lists::lpushx))
        .flags(Flags::WRITE.or(Flags::DENYOOM.or(Flags::FAST)))
        .categories(Categories::LIST)
        .keys(&[range(1, 0, 1, Use::RW.or(Use::INSERT))]),
    Command::new("lrange", 4, Group::List, "1.0.0", "O(S+N)", "The elements in a range of places.", Some(lists::lrange))
        .flags(Flags::READONLY)
        .categories(Categories::LIST)
        .keys(&[range(1, 0, 1, Use::RO.or(Use::ACCESS))]),
    Command::new("lrem", 4, Group::List, "1.0.0", "O(N+M)", "Removes elements of a value.", Some(lists::lrem))
        .flags(Flags::WRITE)
        .categories(Categories::LIST)
        .keys(&[range(1, 0, 1, Use::RW.or(Use::DELETE))]),
    Command::new("lset", 4, Group::List, "1.0.0", "O(N)", "Replaces the element at a place.", Some(lists::lset))
        .flags(Flags::WRITE.or(Flags::DENYOOM))
        .categories(Categories::LIST)
        .keys(&[range(1, 0, 1, Use::RW.or(Use::UPDATE))]),
    Command::new("ltrim", 4, Group::List, "1.0.0", "O(N)", "Removes what is outside a range of places.", Some(lists::ltrim))
        .flags(Flags::WRITE)
        .categories(Categories::LIST)
        .keys(&[range(1, 0, 1, Use::RW.or(Use::DELETE))]),
    Command::new("rpop", -2, Group::List, "1.0.0", "O(N)", "Takes elements from the back.", Some(lists::rpop))
        .flags(Flags::WRITE.or(Flags::FAST))
        .categories(Categories::LIST)
        .keys(&[range(1, 0, 1, Use::RW.or(Use::ACCESS.or(Use::DELETE)))]),
    Command::new(
        "rpoplpush",
        3,
        Group::List,
        "1.2.0",
        "O(1)",
        "Moves an element from the back of a list to the front of another.",
        Some(lists::rpoplpush),
    )
    .flags(Flags::WRITE.or(Flags::DENYOOM))
    .categories(Categories::LIST)
    .keys(&[range(1, 0, 1, Use::RW.or(Use::ACCESS.or(Use::DELETE))), range(2, 0, 1, Use::RW.or(Use::INSERT))])
    .deprecated("6.2.0", "LMOVE with the RIGHT and LEFT arguments"),
    Command::new("rpush", -3, Group::List, "1.0.0", "O(1)", "Adds elements at the back.", Some(lists::rpush))
        .flags(Flags::WRITE.or(Flags::DENYOOM.or(Flags::FAST)))
        .categories(Categories::LIST)
        .keys(&[range(1, 0, 1, Use::RW.or(Use::INSERT))]),
    Command::new("rpushx", -3, Group::List, "2.2.0", "O(1)", "Adds elements at the back of a list that exists.", Some(lists::rpushx))
        .flags(Flags::WRITE.or(Flags::DENYOOM.or(Flags::FAST)))
        .categories(Categories::LIST)
        .keys(&[range(1, 0, 1, Use::RW.or(Use::INSERT))]),
];
