//! The commands of transactions.

use crate::commands::table::{Categories, Command, Flags, Group, Use, range};
use crate::commands::transactions;

pub(super) static COMMANDS: &[Command] = &[
    Command::new("discard", 1, Group::Transactions, "2.0.0", "O(N)", "Forgets the queued commands.", Some(transactions::discard))
        .flags(Flags::NOSCRIPT.or(Flags::LOADING.or(Flags::STALE.or(Flags::FAST.or(Flags::ALLOW_BUSY)))))
        .categories(Categories::TRANSACTION),
    Command::new("exec", 1, Group::Transactions, "1.2.0", "", "Runs the queued commands.", Some(transactions::exec))
        .flags(Flags::NOSCRIPT.or(Flags::LOADING.or(Flags::STALE.or(Flags::SKIP_SLOWLOG))))
        .categories(Categories::TRANSACTION),
    Command::new("multi", 1, Group::Transactions, "1.2.0", "O(1)", "Queues the commands that follow.", Some(transactions::multi))
        .flags(Flags::NOSCRIPT.or(Flags::LOADING.or(Flags::STALE.or(Flags::FAST.or(Flags::ALLOW_BUSY)))))
        .categories(Categories::TRANSACTION),
    Command::new("unwatch", 1, Group::Transactions, "2.2.0", "O(1)", "Forgets the watched keys.", Some(transactions::unwatch))
        .flags(Flags::NOSCRIPT.or(Flags::LOADING.or(Flags::STALE.or(Flags::FAST.or(Flags::ALLOW_BUSY)))))
        .categories(Categories::TRANSACTION),
    Command::new(
        "watch",
        -2,
        Group::Transactions,
        "2.2.0",
        "O(1)",
        "Makes EXEC depend on keys being unchanged.",
        Some(transactions::watch),
    )
    .flags(Flags::NOSCRIPT.or(Flags::LOADING.or(Flags::STALE.or(Flags::FAST.or(Flags::ALLOW_BUSY)))))
    .categories(Categories::TRANSACTION)
    .keys(&[range(1, -1, 1, Use::RO)]),
];
