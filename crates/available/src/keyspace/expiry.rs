//! Deletion of keys past their deadlines, by the one replica whose part it is.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::keyspace::write::Account;
use crate::keyspace::{Keyspace, Refused};

impl Keyspace {
    /// Deletes keys that are past their deadlines, the longest overdue first, and no more of them than `limit`. Returns how many. Of the replicas that hold
    /// the same keys one should do so; if several do, nothing worse happens than that each deletes.
    ///
    /// # Errors
    /// If there are no more times.
    pub fn expire_some(&mut self, limit: usize) -> Result<usize, Refused> {
        let mut count = 0;
        while count < limit
            && let Some((ms, hash)) = self.expiring.first().copied().filter(|(ms, _)| *ms <= self.now)
        {
            self.table.warm(hash, None);
            let due = self.table.hot(hash, hash).filter(|(_, entry)| Account::of(entry).expires == Some(ms));
            let due = due.map(|(_, entry)| entry.key().into()).collect::<Vec<Box<[u8]>>>();
            if due.is_empty() {
                self.expiring.remove(&(ms, hash));
            }
            for key in &due {
                self.delete(key)?;
            }
            count += due.len();
        }
        Ok(count)
    }

    /// When the next key is past its deadline, in milliseconds of Unix time.
    pub fn next_deadline(&self) -> Option<u64> {
        self.expiring.first().map(|(ms, _)| *ms)
    }

    /// How many keys have a deadline.
    pub fn expiring(&self) -> usize {
        self.expiring.len()
    }
}
