//! The KV service: ranges are read from the local state (after a read round, unless serializable), everything else is replicated.

use std::sync::Arc;

use steadfast_state::auth::{Auth, Caller};
use steadfast_state::command::{Command, Outcome, Txn, TxnResult};
use steadfast_state::kv::check;
use steadfast_types::Revision;
use tonic::Status;

use crate::api::Api;
use crate::auth::{Credentials, Reading};
use crate::backend::Backend;
use crate::convert;
use crate::errors::{self, Invalid};
use crate::proto::etcdserverpb as pb;
use pb::request_op::Request;

impl<B: Backend> Api<B> {
    pub(crate) async fn range(&self, who: &Credentials, request: pb::RangeRequest) -> Result<pb::RangeResponse, Status> {
        let serializable = request.serializable;
        let range = convert::range(request)?;
        check::range(&range).map_err(Invalid::Check)?;
        if !serializable {
            self.refuse_learner()?;
            self.backend().linearize().await?;
        }
        let reading = if range.keys.is_single() { Reading::Quick } else { Reading::Long };
        let keys = range.keys.clone();
        let permit = |auth: &Auth, caller: Option<&Caller>| auth.permit_read(caller, &keys);
        let (revision, result) = self.read_as(who, permit, reading, move |backend| backend.range(&range)).await?;
        Ok(convert::range_response(self.header(revision), result))
    }

    pub(crate) async fn put(&self, who: &Credentials, request: pb::PutRequest, size: usize) -> Result<pb::PutResponse, Status> {
        self.refuse_learner()?;
        let put = convert::put(request);
        check::put(&put).map_err(Invalid::Check)?;
        let (revision, Outcome::Put { prev_kv }) = self.propose(who, Command::Put(put), size).await? else {
            return Err(errors::unexpected_outcome());
        };
        Ok(pb::PutResponse { header: Some(self.header(revision)), prev_kv: prev_kv.map(convert::key_value) })
    }

    pub(crate) async fn delete_range(
        &self,
        who: &Credentials,
        request: pb::DeleteRangeRequest,
        size: usize,
    ) -> Result<pb::DeleteRangeResponse, Status> {
        self.refuse_learner()?;
        let delete = convert::delete_range(request);
        check::delete_range(&delete).map_err(Invalid::Check)?;
        let (revision, Outcome::Deleted { deleted, prev_kvs }) = self.propose(who, Command::DeleteRange(delete), size).await? else {
            return Err(errors::unexpected_outcome());
        };
        Ok(pb::DeleteRangeResponse { header: Some(self.header(revision)), deleted, prev_kvs: convert::key_values(prev_kvs) })
    }

    pub(crate) async fn txn(&self, who: &Credentials, request: pb::TxnRequest, size: usize) -> Result<pb::TxnResponse, Status> {
        self.refuse_learner()?;
        let reads = Reads::of(&request);
        let txn = convert::txn(request)?;
        check::txn(&txn).map_err(Invalid::Check)?;
        let (revision, result) = match reads {
            Reads::No => {
                let (revision, Outcome::Txn(result)) = self.propose(who, Command::Txn(txn), size).await? else {
                    return Err(errors::unexpected_outcome());
                };
                (revision, result)
            }
            Reads::Linearizable | Reads::Serializable => {
                if reads == Reads::Linearizable {
                    self.backend().linearize().await?;
                }
                self.read_txn(who, txn).await?
            }
        };
        Ok(convert::txn_response(self.header(revision), result))
    }

    /// Answers a transaction that writes nothing, from the local state.
    pub(crate) async fn read_txn(&self, who: &Credentials, txn: Txn) -> Result<(Revision, TxnResult), Status> {
        let txn = Arc::new(txn);
        let read = txn.clone();
        let permit = |auth: &Auth, caller: Option<&Caller>| auth.permit_read_txn(caller, &txn);
        self.read_as(who, permit, Reading::Long, move |backend| backend.read_txn(&read)).await
    }

    /// Whether old revisions are gone from the disk when this answers (`physical`) is the tables' affair; they can't be read any more.
    pub(crate) async fn compact(
        &self,
        who: &Credentials,
        request: pb::CompactionRequest,
        size: usize,
    ) -> Result<pb::CompactionResponse, Status> {
        self.refuse_learner()?;
        let (revision, _) = self.propose(who, Command::Compact { revision: Revision(request.revision) }, size).await?;
        Ok(pb::CompactionResponse { header: Some(self.header(revision)) })
    }
}

/// Whether a transaction only reads, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reads {
    /// It may write.
    No,
    /// After a read round.
    Linearizable,
    /// From the local state as it is: each range asked for just that.
    Serializable,
}

impl Reads {
    fn of(txn: &pb::TxnRequest) -> Self {
        txn.success.iter().chain(&txn.failure).map(Self::of_operation).reduce(Self::and).unwrap_or(Reads::Linearizable)
    }

    fn of_operation(operation: &pb::RequestOp) -> Self {
        match &operation.request {
            Some(Request::RequestRange(range)) if range.serializable => Reads::Serializable,
            Some(Request::RequestRange(_)) | None => Reads::Linearizable,
            Some(Request::RequestTxn(txn)) => Self::of(txn),
            Some(Request::RequestPut(_) | Request::RequestDeleteRange(_)) => Reads::No,
        }
    }

    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Reads::No, _) | (_, Reads::No) => Reads::No,
            (Reads::Linearizable, _) | (_, Reads::Linearizable) => Reads::Linearizable,
            (Reads::Serializable, Reads::Serializable) => Reads::Serializable,
        }
    }
}
