//! The clock that holders of leases are handed.

use std::future::Future;

use steadfast_types::Instant;

/// A monotonic clock and its alarm: the shell's, or a test's.
pub trait Time: Clone + Send + Sync + 'static {
    /// Now.
    fn now(&self) -> Instant;

    /// Waits until then.
    fn sleep_until(&self, instant: Instant) -> impl Future<Output = ()> + Send;
}
