//! The Lock service: a lock is held by whoever's turn it is in the line of its name.

use steadfast_state::command::{Command, DeleteRange, KeySpan};
use steadfast_state::kv::check;
use tonic::{Request, Response, Status};

use crate::api::{Api, Learners};
use crate::auth::Credentials;
use crate::backend::Backend;
use crate::errors::{self, Invalid};
use crate::proto::v3lockpb as pb;
use pb::lock_server::Lock;

#[tonic::async_trait]
impl<B: Backend> Lock for Api<B> {
    async fn lock(&self, request: Request<pb::LockRequest>) -> Result<Response<pb::LockResponse>, Status> {
        self.admit(request.metadata().as_ref(), Learners::Refuse)?;
        let who = Credentials::of(&request);
        let pb::LockRequest { name, lease } = request.into_inner();
        let given = self.await_turn(who, &name, lease, Default::default()).await.map_err(errors::without_code)?;
        Ok(Response::new(pb::LockResponse { header: Some(self.header(given.seen)), key: given.key }))
    }

    async fn unlock(&self, request: Request<pb::UnlockRequest>) -> Result<Response<pb::UnlockResponse>, Status> {
        self.admit(request.metadata().as_ref(), Learners::Refuse)?;
        let who = Credentials::of(&request);
        let delete = DeleteRange { keys: KeySpan { key: request.into_inner().key, ..KeySpan::default() }, prev_kv: false };
        check::delete_range(&delete).map_err(|error| errors::without_code(Invalid::Check(error).into()))?;
        let (revision, _) = self.propose(&who, Command::DeleteRange(delete), 0).await.map_err(errors::without_code)?;
        Ok(Response::new(pb::UnlockResponse { header: Some(self.header(revision)) }))
    }
}
