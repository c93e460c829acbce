//! Which rows are taken when: the side of the thread that runs commands.

use std::collections::VecDeque;

use bytes::Bytes;
use steadfast_available::{Eviction, Keyspace, Touched};
use steadfast_storage::journal::Sequence;
use steadfast_types::wire::Wire;

use crate::row_tables::Progress;

/// When checkpoints are made, and how much of them in a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointOptions {
    /// A checkpoint begins when so many bytes were appended to the journal since the last one began. Larger means that rows that change often are
    /// written less often; smaller means a shorter replay after a crash.
    pub journal_bytes: u64,
    /// Bytes of rows taken in a turn, about: what a turn takes longer.
    pub turn_bytes: usize,
    /// Bytes of rows that were taken and that the tables do not have yet, about. Then no more are taken.
    pub waiting_bytes: usize,
    /// Bytes of memory that keys may use, about: beyond it keys go out of memory that were not used for a while, when their rows are durable.
    pub memory_bytes: usize,
    /// Keys looked at in a turn, about, if some are to go out of memory; more, the more there are too many: what a turn takes longer.
    pub turn_looks: usize,
}

impl Default for CheckpointOptions {
    fn default() -> Self {
        CheckpointOptions {
            journal_bytes: 32 << 20,
            turn_bytes: 16 << 10,
            waiting_bytes: 8 << 20,
            memory_bytes: usize::MAX,
            turn_looks: 1024,
        }
    }
}

/// One key more is looked at in a turn for so many bytes too many.
const OVER: usize = 64;

/// Rows of something else that writes into the same journal, and is checkpointed with the keys.
pub trait OtherRows {
    /// A checkpoint begins: [`OtherRows::take`] gives all rows that were written to since the last one began.
    fn begin(&mut self);

    /// Some more of them, of about so many bytes, each with its name, and its value unless it is gone: as they are at this moment. None: those were all.
    fn take(&mut self, bytes: usize) -> Vec<(Bytes, Option<Vec<u8>>)>;
}

impl OtherRows for () {
    fn begin(&mut self) {}

    fn take(&mut self, _bytes: usize) -> Vec<(Bytes, Option<Vec<u8>>)> {
        Vec::new()
    }
}

/// Rows on their way to the tables, which take all of them at once.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Counts batches, over restarts too.
    pub(crate) number: u64,
    /// Of each row the length of its name (four bytes), that of its value and one more, or zero if it is gone (four), the name, the value.
    rows: Bytes,
    /// Rows of something else, likewise.
    others: Bytes,
    /// If it is the last one of a checkpoint: the checkpoint's position, and what was seen there.
    pub(crate) end: Option<(Sequence, Vec<u8>)>,
}

/// Takes the rows of one checkpoint after the other. Pure: it reads keys, and gives batches.
#[derive(Debug)]
pub struct Checkpointer {
    options: CheckpointOptions,
    stage: Stage,
    /// The number of the last batch.
    last: u64,
    /// How many bytes had been appended to the journal when the last checkpoint began.
    begun_at_bytes: u64,
    /// Batches that wait for the journal, each with the position that is to be durable first.
    waiting: VecDeque<(Sequence, Batch)>,
    waiting_bytes: usize,
    /// The numbers and bytes of the batches that were given out.
    given: VecDeque<(u64, usize)>,
    given_bytes: usize,
    /// A checkpoint became durable, and the keys do not know it yet.
    is_news: bool,
    /// Whether keys are to go out of memory that did not yet.
    evicts: bool,
}

#[derive(Debug)]
enum Stage {
    /// Until enough was written.
    Idle,
    /// Rows are taken.
    Taking { from: Sequence, touched: Touched, seen: Vec<u8> },
    /// The rows are on their way; the last is in the batch of this number.
    Saving { from: Sequence, number: u64 },
}

impl Checkpointer {
    /// Goes on where tables are that have come so far. `replayed_bytes` of the journal were replayed at the start, and are in none of the next
    /// checkpoint's predecessors.
    pub fn new(options: CheckpointOptions, progress: Progress, replayed_bytes: u64) -> Self {
        Checkpointer {
            options,
            stage: Stage::Idle,
            last: progress.durable,
            begun_at_bytes: 0u64.wrapping_sub(replayed_bytes),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            given: VecDeque::new(),
            given_bytes: 0,
            is_news: false,
            evicts: false,
        }
    }

    /// A turn has ended: its delta was taken, and is in the journal, whose last record is `appended` now, after `appended_bytes` since the start.
    /// Takes some rows, if a checkpoint is being made, or is due; then some keys go out of memory, if too much of it is used.
    pub fn turn_ended(&mut self, keys: &mut Keyspace, others: &mut impl OtherRows, appended: Sequence, appended_bytes: u64) {
        if std::mem::take(&mut self.is_news) {
            keys.rows_are_durable();
        }
        let is_due = appended_bytes.wrapping_sub(self.begun_at_bytes) >= self.options.journal_bytes;
        if matches!(self.stage, Stage::Idle) && is_due {
            self.begin(keys, others, appended, appended_bytes);
        }
        self.take_rows(keys, others, appended);
        self.evict(keys, others, appended, appended_bytes);
    }

    fn evict(&mut self, keys: &mut Keyspace, others: &mut impl OtherRows, appended: Sequence, appended_bytes: u64) {
        let over = keys.used_bytes().saturating_sub(self.options.memory_bytes);
        let (looks, cold) = (self.options.turn_looks, keys.cold());
        let eviction =
            if over == 0 { Eviction::Enough } else { keys.evict(self.options.memory_bytes, looks.max((over / OVER).min(looks * 8))) };
        // If nothing went, another turn that does nothing else would not bring it on.
        self.evicts = eviction == Eviction::More && keys.cold() > cold;
        // Only what was written to since the last checkpoint began, or is being made durable, waits for another.
        if eviction == Eviction::NeedsCheckpoint && keys.has_touched() {
            self.begin(keys, others, appended, appended_bytes);
        }
    }

    /// Begins a checkpoint, unless one is being made.
    pub fn begin(&mut self, keys: &mut Keyspace, others: &mut impl OtherRows, appended: Sequence, appended_bytes: u64) {
        if matches!(self.stage, Stage::Idle) {
            others.begin();
            self.stage = Stage::Taking { from: appended, touched: keys.take_touched(), seen: keys.seen_row() };
            self.begun_at_bytes = appended_bytes;
        }
    }

    fn take_rows(&mut self, keys: &Keyspace, others: &mut impl OtherRows, appended: Sequence) {
        if !self.takes_rows() {
            return;
        }
        let Stage::Taking { from, touched, seen } = &mut self.stage else { return };
        let mut rows = Vec::new();
        while rows.len() < self.options.turn_bytes
            && let Some(name) = touched.next_name()
        {
            put_row(name, &mut rows, |out| keys.put_row(name, out));
        }
        let (mut more, room) = (Vec::new(), self.options.turn_bytes.saturating_sub(rows.len()));
        let taken = if room > 0 { others.take(room) } else { Vec::new() };
        for (name, value) in &taken {
            put_row(name, &mut more, |out| value.as_ref().map(|value| out.extend_from_slice(value)).is_some());
        }
        let is_last = touched.is_empty() && room > 0 && taken.is_empty();
        let end = is_last.then(|| (*from, core::mem::take(seen)));
        self.last += 1;
        if end.is_some() {
            self.stage = Stage::Saving { from: *from, number: self.last };
        }
        let batch = Batch { number: self.last, rows: rows.into(), others: more.into(), end };
        self.waiting_bytes += batch.bytes();
        self.waiting.push_back((appended, batch));
    }

    /// Whether it would take rows in a turn that does nothing else.
    pub fn takes_rows(&self) -> bool {
        matches!(self.stage, Stage::Taking { .. }) && self.waiting_bytes + self.given_bytes < self.options.waiting_bytes
    }

    /// Whether a turn that does nothing else would bring something on: a checkpoint, or keys that are to go out of memory.
    pub fn wants_turn(&self) -> bool {
        self.takes_rows() || self.evicts
    }

    /// Whether nothing goes on before the journal is durable further than it is, or than a sync under way makes it.
    pub fn wants_sync(&self) -> bool {
        !self.waiting.is_empty() && !self.takes_rows()
    }

    /// The next batch for the tables, if the journal is `durable` far enough.
    pub fn next_batch(&mut self, durable: Sequence) -> Option<Batch> {
        let (_, batch) = self.waiting.pop_front_if(|(reach, _)| *reach <= durable)?;
        let bytes = batch.bytes();
        self.waiting_bytes -= bytes;
        self.given_bytes += bytes;
        self.given.push_back((batch.number, bytes));
        Some(batch)
    }

    /// The tables have come so far. Returns the position up to which the journal may be cut, if that is news.
    pub fn saved(&mut self, progress: Progress) -> Option<Sequence> {
        while let Some((_, bytes)) = self.given.pop_front_if(|(number, _)| *number <= progress.inserted) {
            self.given_bytes -= bytes;
        }
        match self.stage {
            Stage::Saving { from, number } if progress.durable >= number => {
                self.stage = Stage::Idle;
                self.is_news = true;
                Some(from)
            }
            _ => None,
        }
    }
}

/// Puts a row; `value` puts its value and says whether there is one.
fn put_row(name: &[u8], out: &mut Vec<u8>, put_value: impl FnOnce(&mut Vec<u8>) -> bool) {
    let length = |bytes: usize| u32::try_from(bytes).expect("rows are shorter than four gigabytes").to_le_bytes();
    let start = out.len();
    out.extend_from_slice(&length(name.len()));
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(name);
    let value = out.len();
    if put_value(out) {
        let bytes = length(out.len() - value + 1);
        out[start + 4..start + 8].copy_from_slice(&bytes);
    }
}

impl Batch {
    /// Its rows of keys: names, and values unless they are gone.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (Bytes, Option<Bytes>)> {
        rows(self.rows.clone())
    }

    /// Its rows of something else.
    pub(crate) fn others(&self) -> impl Iterator<Item = (Bytes, Option<Bytes>)> {
        rows(self.others.clone())
    }

    fn bytes(&self) -> usize {
        self.rows.len() + self.others.len()
    }

    /// What the tables keep of a checkpoint that ends with this batch.
    pub(crate) fn end(&self) -> Option<Vec<u8>> {
        let (from, seen) = self.end.as_ref()?;
        let mut out = Vec::from([crate::row_tables::FORMAT]);
        from.0.encode(&mut out);
        out.extend_from_slice(seen);
        Some(out)
    }
}

fn rows(mut rest: Bytes) -> impl Iterator<Item = (Bytes, Option<Bytes>)> {
    std::iter::from_fn(move || {
        let (name, value) = (take_length(&mut rest)?, take_length(&mut rest)?);
        let name = rest.split_to(name);
        Some((name, value.checked_sub(1).map(|length| rest.split_to(length))))
    })
}

fn take_length(rest: &mut Bytes) -> Option<usize> {
    if rest.is_empty() {
        return None;
    }
    let bytes = rest.split_to(4);
    Some(u32::from_le_bytes(bytes[..].try_into().expect("four bytes")) as usize)
}
