//! Says what is wrong with strangers' connections at a bounded rate, whatever they do.

use std::fmt::Display;
use std::net::SocketAddr;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// At most one line in this time.
const BETWEEN: Duration = Duration::from_secs(10);

/// When something was said last, and how often it was kept back since.
#[derive(Debug, Default)]
pub(crate) struct Complaints {
    last: Mutex<Option<(Instant, u64)>>,
}

impl Complaints {
    /// Says it, or counts it for the next time that something is said.
    pub(crate) fn say(&self, from: SocketAddr, what: impl Display) {
        if let Some(unsaid) = self.due(Instant::now()) {
            tracing::warn!(%from, unsaid, "a client's connection was refused: {what}");
        }
    }

    /// How many were not said since the last that was; `None`: nor is this one.
    fn due(&self, now: Instant) -> Option<u64> {
        let mut last = self.last.lock();
        match &mut *last {
            Some((said, unsaid)) if now.duration_since(*said) < BETWEEN => {
                *unsaid += 1;
                None
            }
            before => Some(before.replace((now, 0)).map_or(0, |(_, unsaid)| unsaid)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_one_line_in_ten_seconds_with_its_count() {
        let (complaints, now) = (Complaints::default(), Instant::now());
        assert_eq!(complaints.due(now), Some(0));
        assert!((0..1000).all(|_| complaints.due(now).is_none()));
        assert_eq!(complaints.due(now + BETWEEN), Some(1000));
        assert_eq!(complaints.due(now + BETWEEN), None);
    }
}
