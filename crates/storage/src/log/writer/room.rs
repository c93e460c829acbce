//! Room for the next batch: blanks ahead of it, and segments that come and go.

use steadfast_types::LogIndex;
use steadfast_types::disk::{Disk, DiskError, DiskFile};

use super::super::LogError;
use super::super::format::{Header, SECTOR, SegmentNumber, put_blanks};
use super::super::segment::{self, FILL_BYTES, FIRST_BATCH_BYTES};
use super::{LogWriter, SegmentStatus, follow_in_segment};

impl<D: Disk> LogWriter<D> {
    /// After a failed write at the tail: makes it blank again if the disk is full, else poisons the log.
    pub(super) fn take_back(&mut self, extent: u32, error: DiskError) -> LogError {
        let error = self.full_or_poison(error);
        if self.poisoned.is_none()
            && let Err(error) = self.write_blanks(self.tail, self.tail + extent)
        {
            return self.poison(error);
        }
        error
    }

    /// Sees to it that a batch of `extent` bytes, and a blank sector after it, have durable blanks to be written to.
    pub(super) fn make_room(&mut self, extent: u32) -> Result<(), LogError> {
        if self.tail.saturating_add(extent).saturating_add(SECTOR) > self.capacity {
            self.sync()?;
            let next = self.next_header();
            self.switch_to_segment(next, extent)?;
        }
        let end = self.tail + extent + SECTOR;
        if end > self.filled {
            self.fill(end.saturating_add(FILL_BYTES)).map_err(|error| self.full_or_poison(error))?;
            return self.sync();
        }
        if end + FILL_BYTES / 2 > self.filled && self.filling == self.filled && self.filled < self.capacity {
            match self.fill(self.filled + FILL_BYTES) {
                // Not needed yet; whoever needs it will say so.
                Ok(()) | Err(DiskError::Full(_)) => {}
                Err(error) => return Err(self.poison(error)),
            }
        }
        Ok(())
    }

    /// Writes blanks up to `to`, or as far as the segment goes.
    fn fill(&mut self, to: u32) -> Result<(), DiskError> {
        let to = to.min(self.capacity);
        self.write_blanks(self.filled, to)?;
        self.filling = to;
        self.segments.entry(self.header.segment).or_default().bytes = u64::from(to);
        Ok(())
    }

    fn write_blanks(&self, from: u32, to: u32) -> Result<(), DiskError> {
        let mut blanks = Vec::with_capacity((to - from) as usize);
        put_blanks(self.header.segment, from, to, &mut blanks);
        self.file.write_at(u64::from(from), &blanks)
    }

    /// Goes on in a new segment, which begins with the state that `next` says and has room for a batch of `room` bytes. Durable on return.
    pub(super) fn switch_to_segment(&mut self, mut next: Header, room: u32) -> Result<(), LogError> {
        next.synced = self.header.sequence;
        next.sequence = self.header.sequence;
        next.checksum = self.header.checksum;
        follow_in_segment(&mut next, self.header.segment.next(), self.tail);
        let capacity = self.segment_capacity.max(FIRST_BATCH_BYTES + room + SECTOR).next_multiple_of(SECTOR);
        let made = match segment::create(&self.disk, &mut next, room, capacity) {
            Ok(made) => made,
            Err(DiskError::Full(_)) => {
                segment::remove_unfinished(&self.disk).map_err(|error| self.poison(error))?;
                return Err(LogError::Full);
            }
            Err(error) => return Err(self.poison(error)),
        };
        self.synced = next.sequence;
        self.header = next;
        self.file = made.file;
        self.capacity = capacity;
        (self.tail, self.filled, self.filling) = (FIRST_BATCH_BYTES, made.filled, made.filled);
        self.register();
        Ok(())
    }

    /// Makes the present segment, a new one, known.
    pub(super) fn register(&mut self) {
        let status = SegmentStatus { highest: self.header.last.index, bytes: u64::from(self.filled) };
        self.segments.insert(self.header.segment, status);
        self.shared.write().files.insert(self.header.segment, self.file.clone());
    }

    /// The first segment that may hold entries after `through`.
    pub(super) fn first_needed(&self, through: LogIndex) -> SegmentNumber {
        let needed = self.segments.iter().find(|(_, status)| status.highest > through);
        needed.map_or(self.header.segment, |(&number, _)| number)
    }

    /// Removes the segments before `first`. The log already says durably that it does not need them; one that stays is removed at the next
    /// start.
    pub(super) fn remove_before(&mut self, first: SegmentNumber) -> Result<(), LogError> {
        let kept = self.segments.split_off(&first);
        let gone = std::mem::replace(&mut self.segments, kept);
        let mut index = self.shared.write();
        index.files = index.files.split_off(&first);
        drop(index);
        for number in gone.into_keys() {
            self.disk.remove(&number.file_name()).map_err(|error| self.poison(error))?;
        }
        Ok(())
    }
}
