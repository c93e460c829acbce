//! Requests over few keys, so that they meet.
//!
//! Revisions in a request count from the beginning of its episode, so that an episode means the same whatever was before it.

use fastrand::Rng;

use crate::auth::{AuthRequest, Who};
use steadfast_etcd_api::proto::etcdserverpb as pb;

use pb::compare::{CompareResult, CompareTarget, TargetUnion};
use pb::request_op::Request as Inner;

const KEYS: [&str; 14] = ["a", "a/1", "a/2", "a/3", "a/4", "b", "b/1", "b/2", "c", "d", "e", "f/1", "f/2", "zz"];
const VALUES: [&str; 5] = ["", "1", "2", "30", "a longer value, of some more bytes"];
const LEASES: std::ops::RangeInclusive<i64> = 101..=104;
/// Long enough that no lease ends while an episode lasts.
const TTLS: [i64; 4] = [600, 3600, 9_000_000_000, 9_000_000_001];

/// One call.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Request {
    Range(pb::RangeRequest),
    Put(pb::PutRequest),
    DeleteRange(pb::DeleteRangeRequest),
    Txn(pb::TxnRequest),
    Compact(pb::CompactionRequest),
    Grant(pb::LeaseGrantRequest),
    Revoke(pb::LeaseRevokeRequest),
    KeepAlive(pb::LeaseKeepAliveRequest),
    TimeToLive(pb::LeaseTimeToLiveRequest),
    Leases(pb::LeaseLeasesRequest),
    Watch(pb::WatchCreateRequest),
    Unwatch(pb::WatchCancelRequest),
    /// A watch on a stream of its own, which ends as soon as it is known whether it was admitted.
    TryWatch(pb::WatchCreateRequest),
    Auth(AuthRequest),
    /// Any of these, in somebody's name.
    By(Who, Box<Request>),
}

impl Request {
    /// What it is, for the table of what was asked.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Request::Range(_) => "Range",
            Request::Put(_) => "Put",
            Request::DeleteRange(_) => "DeleteRange",
            Request::Txn(_) => "Txn",
            Request::Compact(_) => "Compact",
            Request::Grant(_) => "LeaseGrant",
            Request::Revoke(_) => "LeaseRevoke",
            Request::KeepAlive(_) => "LeaseKeepAlive",
            Request::TimeToLive(_) => "LeaseTimeToLive",
            Request::Leases(_) => "LeaseLeases",
            Request::Watch(_) => "Watch",
            Request::Unwatch(_) => "Watch: cancel",
            Request::TryWatch(_) => "Watch: admitted",
            Request::Auth(request) => request.name(),
            Request::By(_, request) => request.name(),
        }
    }

    /// The same with revisions as the servers count them, whose count was `base` when the episode began.
    pub(crate) fn from(mut self, base: i64) -> Self {
        match &mut self {
            Request::Range(range) => shift_range(range, base),
            Request::Txn(txn) => shift_txn(txn, base),
            Request::Compact(compact) => shift(&mut compact.revision, base),
            Request::Watch(watch) => shift(&mut watch.start_revision, base),
            _ => {}
        }
        self
    }
}

fn shift(revision: &mut i64, base: i64) {
    if *revision > 0 {
        *revision += base;
    }
}

fn shift_range(range: &mut pb::RangeRequest, base: i64) {
    for revision in [
        &mut range.revision,
        &mut range.min_mod_revision,
        &mut range.max_mod_revision,
        &mut range.min_create_revision,
        &mut range.max_create_revision,
    ] {
        shift(revision, base);
    }
}

fn shift_txn(txn: &mut pb::TxnRequest, base: i64) {
    for compare in &mut txn.compare {
        if let Some(TargetUnion::ModRevision(revision) | TargetUnion::CreateRevision(revision)) = &mut compare.target_union {
            shift(revision, base);
        }
    }
    for op in txn.success.iter_mut().chain(&mut txn.failure) {
        match &mut op.request {
            Some(Inner::RequestRange(range)) => shift_range(range, base),
            Some(Inner::RequestTxn(txn)) => shift_txn(txn, base),
            _ => {}
        }
    }
}

/// All steps of a transaction, nested ones too.
fn steps(txn: &mut pb::TxnRequest, each: &mut impl FnMut(&mut Inner)) {
    for op in txn.success.iter_mut().chain(&mut txn.failure) {
        if let Some(request) = &mut op.request {
            each(request);
            if let Inner::RequestTxn(txn) = request {
                steps(txn, each);
            }
        }
    }
}

/// etcd panics if a put is to keep something of a key that the same transaction has deleted, which it does not notice before if the deleted
/// range has no end.
fn tame(txn: &mut pb::TxnRequest) {
    let mut deletes_to_the_end = false;
    steps(txn, &mut |step| deletes_to_the_end |= matches!(step, Inner::RequestDeleteRange(delete) if delete.range_end[..] == [0]));
    steps(txn, &mut |step| match step {
        Inner::RequestPut(put) if deletes_to_the_end => (put.ignore_value, put.ignore_lease) = (false, false),
        _ => {}
    });
}

/// Draws requests.
pub(crate) struct Generator {
    rng: Rng,
    /// About how many revisions the episode has seen; rather less.
    written: i64,
}

impl Generator {
    pub(crate) fn new(seed: u64) -> Self {
        Generator { rng: Rng::with_seed(seed), written: 0 }
    }

    pub(crate) fn next(&mut self) -> Request {
        match self.rng.u32(..1000) {
            0..300 => Request::Range(self.range()),
            300..560 => {
                let put = self.put();
                self.written += i64::from(put.lease == 0 && !put.ignore_value && !put.ignore_lease);
                Request::Put(put)
            }
            560..620 => Request::DeleteRange(self.delete()),
            620..850 => {
                let mut txn = self.txn(2);
                tame(&mut txn);
                Request::Txn(txn)
            }
            850..860 => Request::Compact(pb::CompactionRequest { revision: self.revision(), physical: self.rng.bool() }),
            860..875 => {
                let (ttl, id) = (TTLS[self.rng.usize(..TTLS.len())], self.lease());
                Request::Grant(pb::LeaseGrantRequest { ttl, id: if id == 0 { 99 } else { id } })
            }
            875..882 => Request::Revoke(pb::LeaseRevokeRequest { id: self.lease() }),
            882..905 => Request::KeepAlive(pb::LeaseKeepAliveRequest { id: self.lease() }),
            905..930 => Request::TimeToLive(pb::LeaseTimeToLiveRequest { id: self.lease(), keys: self.rng.bool() }),
            930..950 => Request::Leases(pb::LeaseLeasesRequest {}),
            950..975 => Request::Watch(self.watch()),
            975..985 => Request::Unwatch(pb::WatchCancelRequest {
                watch_id: if self.one_in(4) { self.rng.i64(50..54) } else { self.rng.i64(0..8) },
            }),
            _ => Request::Range(self.range()),
        }
    }

    fn one_in(&mut self, n: u32) -> bool {
        self.rng.u32(..n) == 0
    }

    pub(crate) fn key(&mut self) -> bytes::Bytes {
        if self.one_in(100) { bytes::Bytes::new() } else { KEYS[self.rng.usize(..KEYS.len())].into() }
    }

    /// A key and the end of a range, which may be empty, open, of a prefix, or the wrong way round.
    pub(crate) fn span(&mut self, single: u32) -> (bytes::Bytes, bytes::Bytes) {
        let key = self.key();
        let end: bytes::Bytes = match self.rng.u32(..10) {
            n if n < single => "".into(),
            9 => vec![0].into(),
            8 => self.key(),
            7 => return (vec![0].into(), vec![0].into()),
            _ => {
                let mut end = key.to_vec();
                if let Some(last) = end.last_mut() {
                    *last += 1;
                }
                end.into()
            }
        };
        (key, end)
    }

    fn value(&mut self) -> bytes::Bytes {
        VALUES[self.rng.usize(..VALUES.len())].into()
    }

    fn lease(&mut self) -> i64 {
        if self.one_in(20) { 0 } else { self.rng.i64(LEASES) }
    }

    /// Mostly of the episode, sometimes yet to come, rarely none.
    fn revision(&mut self) -> i64 {
        match self.rng.u32(..20) {
            0 => self.written + self.rng.i64(1..200),
            1 => -1,
            _ => self.rng.i64((self.written - 12).max(0)..=self.written),
        }
    }

    fn range(&mut self) -> pb::RangeRequest {
        let (key, range_end) = self.span(3);
        let mut range = pb::RangeRequest { key, range_end, serializable: self.rng.bool(), ..pb::RangeRequest::default() };
        if self.one_in(4) {
            range.revision = self.revision();
        }
        if self.one_in(2) {
            range.limit = self.rng.i64(0..4);
        }
        if self.one_in(2) {
            (range.sort_order, range.sort_target) = (self.rng.i32(0..3), self.rng.i32(0..5));
            // Keys that are equal in it come in any order: a limit would take any of them.
            if range.sort_target != pb::range_request::SortTarget::Key as i32 {
                range.limit = 0;
            }
        }
        // Orders that do not exist are left out: etcd panics over them.
        range.keys_only = self.one_in(8);
        range.count_only = self.one_in(8);
        if self.one_in(6) {
            (range.min_mod_revision, range.max_mod_revision) = (self.revision().max(0), self.revision().max(0));
        }
        if self.one_in(6) {
            (range.min_create_revision, range.max_create_revision) = (self.revision().max(0), self.revision().max(0));
        }
        range
    }

    fn put(&mut self) -> pb::PutRequest {
        let mut put = pb::PutRequest { key: self.key(), value: self.value(), prev_kv: self.rng.bool(), ..pb::PutRequest::default() };
        if self.one_in(5) {
            put.lease = self.lease();
        }
        if self.one_in(14) {
            put.ignore_value = true;
            if !self.one_in(8) {
                put.value = "".into();
            }
        }
        if self.one_in(14) {
            put.ignore_lease = true;
            if !self.one_in(8) {
                put.lease = 0;
            }
        }
        put
    }

    fn delete(&mut self) -> pb::DeleteRangeRequest {
        let (key, range_end) = self.span(6);
        pb::DeleteRangeRequest { key, range_end, prev_kv: self.rng.bool() }
    }

    fn txn(&mut self, depth: u32) -> pb::TxnRequest {
        let compare = (0..self.rng.u32(..3)).map(|_| self.compare()).collect();
        let mut ops = || (0..self.rng_below(3) + 1).map(|_| self.operation(depth)).collect();
        let (success, failure) = (ops(), ops());
        pb::TxnRequest { compare, success, failure }
    }

    fn rng_below(&mut self, n: u32) -> u32 {
        self.rng.u32(..n)
    }

    fn operation(&mut self, depth: u32) -> pb::RequestOp {
        let request = match self.rng.u32(..20) {
            0..9 => Some(Inner::RequestPut(self.put())),
            9..15 => Some(Inner::RequestRange(self.range())),
            15..18 => Some(Inner::RequestDeleteRange(self.delete())),
            _ if depth > 0 => Some(Inner::RequestTxn(self.txn(depth - 1))),
            _ => Some(Inner::RequestPut(self.put())),
        };
        pb::RequestOp { request }
    }

    fn compare(&mut self) -> pb::Compare {
        let (key, range_end) = self.span(8);
        let results = [CompareResult::Equal, CompareResult::Greater, CompareResult::Less, CompareResult::NotEqual];
        let (target, union) = match self.rng.u32(..5) {
            0 => (CompareTarget::Version, TargetUnion::Version(self.rng.i64(0..4))),
            1 => (CompareTarget::Create, TargetUnion::CreateRevision(self.revision())),
            2 => (CompareTarget::Mod, TargetUnion::ModRevision(self.revision())),
            3 => (CompareTarget::Value, TargetUnion::Value(self.value())),
            _ => (CompareTarget::Lease, TargetUnion::Lease(self.lease())),
        };
        let target_union = if self.one_in(30) { None } else { Some(union) };
        pb::Compare { result: results[self.rng.usize(..4)] as i32, target: target as i32, key, range_end, target_union }
    }

    /// A step of a transaction that reads.
    pub(crate) fn range_op(&mut self) -> Inner {
        Inner::RequestRange(self.range())
    }

    /// A watch of what comes.
    pub(crate) fn watch_now(&mut self) -> pb::WatchCreateRequest {
        let (key, range_end) = self.span(4);
        pb::WatchCreateRequest { key, range_end, ..pb::WatchCreateRequest::default() }
    }

    fn watch(&mut self) -> pb::WatchCreateRequest {
        let (key, range_end) = self.span(4);
        // Negative ones etcd takes for "from now on" until the first compaction, and then for compacted ones; here they are the former.
        let start_revision = if self.rng.bool() { self.revision().max(0) } else { 0 };
        let filters = (0..2).filter(|_| self.one_in(6)).collect();
        // etcd does not free the id of a watcher that a compaction has ended.
        let watch_id = if self.one_in(6) && start_revision == 0 { self.rng.i64(50..54) } else { 0 };
        pb::WatchCreateRequest {
            key,
            range_end,
            start_revision,
            filters,
            prev_kv: self.rng.bool(),
            watch_id,
            ..pb::WatchCreateRequest::default()
        }
    }
}
