//! Bounds and times, each with its reason.

use core::time::Duration;

/// Who has not answered is asked again after this long: longer than a sync of a slow disk and a round trip within a region.
pub const ASK_AGAIN: Duration = Duration::from_millis(250);

/// The first pause after a conflict is drawn up to this: about two round trips, so that one of two proposers gets through.
pub const BACK_OFF: Duration = Duration::from_millis(2);

/// Pauses double with each conflict, up to so many times: half a second.
pub const BACK_OFF_DOUBLINGS: u32 = 8;

/// Requests that wait for one key at one proposer. More are refused: a key that is asked for faster than it can agree would have them all time out.
pub const WAITING_FOR_A_KEY: usize = 1024;

/// Tries that may still take effect are remembered as long as their requests are not given up; a contest that conflicts more often than this gives up its requests.
pub const ATTEMPTS: usize = 64;

/// Writers whose last changes a value names, at about ten bytes each. More than write one key between a try that conflicts and the next one. When there is
/// one more, half of them are forgotten: the older ones.
pub const WRITERS: usize = 32;
