//! The Cluster service: members. Its headers carry no revision, as etcd's don't.

use steadfast_types::{NodeId, Revision};
use tonic::{Request, Response, Status};

use crate::api::{Api, Learners};
use crate::auth::Credentials;
use crate::backend::{Backend, MembershipChange, MembershipChanged};
use crate::errors::{self, Invalid};
use crate::proto::etcdserverpb as pb;
use crate::{convert, urls};
use pb::cluster_server::Cluster;

impl<B: Backend> Api<B> {
    fn cluster_header(&self) -> Option<pb::ResponseHeader> {
        Some(self.header(Revision(0)))
    }

    /// Changes who is a member, if the caller may. As in etcd that is asked before, not when the change is applied; here, of the newest rights.
    async fn change(&self, who: &Credentials, change: MembershipChange) -> Result<MembershipChanged, Status> {
        self.backend().linearize().await?;
        self.permit_admin(who).await?;
        Ok(self.backend().change_membership(change).await?)
    }
}

/// The URLs, if they are peer URLs.
fn checked_urls(peer_urls: Vec<String>) -> Result<Vec<String>, Invalid> {
    let valid = !peer_urls.is_empty() && peer_urls.iter().all(|url| urls::is_peer_url(url));
    if valid { Ok(peer_urls) } else { Err(Invalid::MemberUrls) }
}

#[tonic::async_trait]
impl<B: Backend> Cluster for Api<B> {
    async fn member_add(&self, request: Request<pb::MemberAddRequest>) -> Result<Response<pb::MemberAddResponse>, Status> {
        self.admit(request.metadata().as_ref(), Learners::Refuse)?;
        let who = Credentials::of(&request);
        let pb::MemberAddRequest { peer_ur_ls, is_learner } = request.into_inner();
        let changed = self.change(&who, MembershipChange::Add { peer_urls: checked_urls(peer_ur_ls)?, learner: is_learner }).await?;
        let members = convert::members(changed.members);
        let added = changed.added.and_then(|id| members.iter().find(|member| member.id == id.0).cloned());
        let member = Some(added.ok_or_else(errors::unexpected_outcome)?);
        Ok(Response::new(pb::MemberAddResponse { header: self.cluster_header(), member, members }))
    }

    async fn member_remove(&self, request: Request<pb::MemberRemoveRequest>) -> Result<Response<pb::MemberRemoveResponse>, Status> {
        self.admit(request.metadata().as_ref(), Learners::Refuse)?;
        let who = Credentials::of(&request);
        let id = NodeId(request.into_inner().id);
        let members = convert::members(self.change(&who, MembershipChange::Remove { id }).await?.members);
        Ok(Response::new(pb::MemberRemoveResponse { header: self.cluster_header(), members }))
    }

    async fn member_update(&self, request: Request<pb::MemberUpdateRequest>) -> Result<Response<pb::MemberUpdateResponse>, Status> {
        self.admit(request.metadata().as_ref(), Learners::Refuse)?;
        let who = Credentials::of(&request);
        let pb::MemberUpdateRequest { id, peer_ur_ls } = request.into_inner();
        let change = MembershipChange::Update { id: NodeId(id), peer_urls: checked_urls(peer_ur_ls)? };
        let members = convert::members(self.change(&who, change).await?.members);
        Ok(Response::new(pb::MemberUpdateResponse { header: self.cluster_header(), members }))
    }

    async fn member_list(&self, request: Request<pb::MemberListRequest>) -> Result<Response<pb::MemberListResponse>, Status> {
        self.admit(request.metadata().as_ref(), Learners::Refuse)?;
        if request.into_inner().linearizable {
            self.backend().linearize().await?;
        }
        let members = convert::members(self.backend().members().map_err(errors::command)?);
        Ok(Response::new(pb::MemberListResponse { header: self.cluster_header(), members }))
    }

    async fn member_promote(&self, request: Request<pb::MemberPromoteRequest>) -> Result<Response<pb::MemberPromoteResponse>, Status> {
        self.admit(request.metadata().as_ref(), Learners::Refuse)?;
        let who = Credentials::of(&request);
        let id = NodeId(request.into_inner().id);
        let members = convert::members(self.change(&who, MembershipChange::Promote { id }).await?.members);
        Ok(Response::new(pb::MemberPromoteResponse { header: self.cluster_header(), members }))
    }
}
