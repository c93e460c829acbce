//! Whether this node's tables may grow: its quota, with a margin between running short and having room again.

use steadfast_types::time::Duration;
use steadfast_types::{Instant, Revision};

/// Space is given back at most this often while it is short.
const RECLAIM_EVERY: Duration = Duration::from_secs(2);

/// This node's space.
#[derive(Debug)]
pub(crate) struct Space {
    /// What the tables may take, bytes; 0: as much as there is.
    quota: u64,
    /// What the tables' files took when this was last looked at, bytes.
    disk_bytes: u64,
    is_short: bool,
    reclaim_at: Instant,
    /// The compact revision when space was last asked back, since it is short.
    reclaimed: Option<Revision>,
}

impl Space {
    pub(crate) fn new(quota: u64) -> Self {
        Space { quota, disk_bytes: 0, is_short: false, reclaim_at: Instant::default(), reclaimed: None }
    }

    pub(crate) fn quota(&self) -> u64 {
        self.quota
    }

    pub(crate) fn is_short(&self) -> bool {
        self.is_short
    }

    /// Notes what files and memory take now. Short beyond the quota; not short any more once a tenth of it is free.
    pub(crate) fn observe(&mut self, disk_bytes: u64, memory_bytes: u64) {
        self.disk_bytes = disk_bytes;
        self.grow(memory_bytes);
        if disk_bytes + memory_bytes <= self.quota - self.quota / 10 {
            self.is_short = false;
            self.reclaimed = None;
        }
    }

    /// Notes what memory takes now; whether a command that takes space must be refused.
    pub(crate) fn grow(&mut self, memory_bytes: u64) -> bool {
        self.is_short |= self.quota > 0 && self.disk_bytes + memory_bytes > self.quota;
        self.is_short
    }

    /// Whether to ask the tables for all space they can give back: at once, and again when more history is forgotten. What nobody forgets
    /// gives nothing back, and looking for it costs a copy of everything.
    pub(crate) fn reclaims(&mut self, now: Instant, compacted: Revision) -> bool {
        let reclaims = self.is_short && self.reclaimed != Some(compacted) && now >= self.reclaim_at;
        if reclaims {
            self.reclaimed = Some(compacted);
            self.reclaim_at = now + RECLAIM_EVERY;
        }
        reclaims
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_beyond_the_quota_and_until_a_tenth_is_free() {
        let mut space = Space::new(1000);
        let mut seen = |disk, memory| {
            space.observe(disk, memory);
            space.is_short()
        };
        assert_eq!([seen(900, 100), seen(900, 101), seen(900, 1), seen(899, 1), seen(1000, 0)], [false, true, true, false, false]);
        assert!(space.grow(1) && !Space::new(0).grow(u64::MAX / 2), "no quota, no bound");
    }

    #[test]
    fn space_is_asked_back_once_and_after_each_compaction() {
        let at = |seconds| Instant(1) + Duration::from_secs(seconds);
        let mut space = Space::new(1000);
        assert!(!space.reclaims(at(0), Revision(-1)), "there is room");
        space.observe(2000, 0);
        assert!(space.reclaims(at(10), Revision(-1)) && !space.reclaims(at(100), Revision(-1)));
        assert!(space.reclaims(at(100), Revision(5)) && !space.reclaims(at(101), Revision(6)) && space.reclaims(at(102), Revision(6)));
        space.observe(100, 0);
        space.observe(2000, 0);
        assert!(space.reclaims(at(200), Revision(6)), "short again");
    }
}
