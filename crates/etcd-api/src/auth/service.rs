//! The Auth service: users, roles, permissions, and tokens for passwords.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use prost::Message;
use steadfast_state::auth::{Access, Auth, AuthChange, AuthError, Caller, Permission};
use steadfast_state::command::{Command, KeySpan};
use tonic::{Request, Response, Status};

use super::{ATTEMPTS, Credentials, auth_of, denied};
use crate::api::{Api, Learners};
use crate::backend::{Backend, TokenRefusal};
use crate::errors;
use crate::proto::authpb;
use crate::proto::etcdserverpb as pb;
use pb::auth_server::Auth as AuthService;

impl<B: Backend> Api<B> {
    /// Carries out a change that came as this request, and gives the header of its answer.
    async fn change_auth<T: Message>(&self, request: &Request<T>, change: AuthChange) -> Result<pb::ResponseHeader, Status> {
        self.admit(request.metadata().as_ref(), Learners::Refuse)?;
        let size = request.get_ref().encoded_len();
        let (revision, _) = self.propose(&Credentials::of(request), Command::Auth(change), size).await?;
        Ok(self.header(revision))
    }

    /// Looks at users and roles as they are now.
    async fn look_at_auth<T, A>(
        &self,
        request: &Request<T>,
        permit: impl FnOnce(&Auth, Option<&Caller>) -> Result<(), AuthError>,
        look: impl FnOnce(&Auth) -> Result<A, AuthError>,
    ) -> Result<(pb::ResponseHeader, A), Status> {
        self.admit(request.metadata().as_ref(), Learners::Refuse)?;
        self.backend().linearize().await?;
        let (auth, known) = self.known(&Credentials::of(request)).await?;
        permit(&auth, known.caller.as_ref()).map_err(denied)?;
        Ok((self.header(self.backend().revision()), look(&auth).map_err(denied)?))
    }

    /// The hash of a password that is set; one that comes as a hash is taken as it is. Only for those who may: it takes its time.
    async fn hash<T>(&self, request: &Request<T>, password: String, hashed: &str) -> Result<Bytes, Status> {
        self.admit(request.metadata().as_ref(), Learners::Refuse)?;
        self.backend().linearize().await?;
        self.permit_admin(&Credentials::of(request)).await?;
        if !password.is_empty() || hashed.is_empty() {
            return self.passwords().hash(password).await;
        }
        decode_hash(hashed)
    }

    /// Compares a password, and gives out a token if it fits. If users or roles change meanwhile, once more.
    async fn authenticate_user(&self, name: String, password: String) -> Result<pb::AuthenticateResponse, Status> {
        self.backend().linearize().await?;
        for _ in 0..ATTEMPTS {
            let auth = auth_of(self.backend())?;
            if !auth.is_enabled() {
                return Err(denied(AuthError::NotEnabled));
            }
            let user = auth.user(&name);
            if user.is_some_and(|user| user.no_password) {
                return Err(denied(AuthError::NoPasswordUser));
            }
            let hash = user.map(|user| user.password.clone());
            if !self.passwords().fits(hash, password.clone()).await? {
                return Err(denied(AuthError::Failed));
            }
            match self.backend().issue_token(auth.caller(&name)).await {
                Ok((revision, token)) => return Ok(pb::AuthenticateResponse { header: Some(self.header(revision)), token }),
                Err(TokenRefusal::Command(error)) if error == AuthError::OldRevision.into() => self.backend().linearize().await?,
                Err(refusal) => return Err(refusal.into()),
            }
        }
        Err(denied(AuthError::OldRevision))
    }
}

/// A password that comes as base64 of its bcrypt hash.
fn decode_hash(hashed: &str) -> Result<Bytes, Status> {
    let hash = STANDARD.decode(hashed).ok().filter(|hash| hash.starts_with(b"$2"));
    hash.map(Bytes::from).ok_or_else(|| Status::invalid_argument("steadfast: hashedPassword is not base64 of a bcrypt hash"))
}

fn permission(permission: authpb::Permission) -> Result<Permission, Status> {
    use authpb::permission::Type;
    let authpb::Permission { perm_type, key, range_end } = permission;
    let access = match Type::try_from(perm_type) {
        Ok(Type::Read) => Access::Read,
        Ok(Type::Write) => Access::Write,
        Ok(Type::Readwrite) => Access::ReadWrite,
        Err(_) => return Err(Status::invalid_argument(format!("steadfast: there is no permission of type {perm_type}"))),
    };
    Ok(Permission { access, keys: KeySpan { key, range_end } })
}

fn permission_message(permission: &Permission) -> authpb::Permission {
    use authpb::permission::Type;
    let perm_type = match permission.access {
        Access::Read => Type::Read,
        Access::Write => Type::Write,
        Access::ReadWrite => Type::Readwrite,
    };
    let KeySpan { key, range_end } = permission.keys.clone();
    authpb::Permission { perm_type: perm_type.into(), key, range_end }
}

/// Root, and everybody where `is_own` says that it is about themselves.
fn permit_own(auth: &Auth, caller: Option<&Caller>, is_own: impl FnOnce(&str) -> bool) -> Result<(), AuthError> {
    auth.permit_admin(caller).or_else(|error| if is_own(caller.map_or("", |caller| &caller.user)) { Ok(()) } else { Err(error) })
}

fn names<'n>(names: impl Iterator<Item = &'n str>) -> Vec<String> {
    names.map(str::to_owned).collect()
}

#[tonic::async_trait]
impl<B: Backend> AuthService for Api<B> {
    async fn auth_enable(&self, request: Request<pb::AuthEnableRequest>) -> Result<Response<pb::AuthEnableResponse>, Status> {
        let header = self.change_auth(&request, AuthChange::Enable).await?;
        Ok(Response::new(pb::AuthEnableResponse { header: Some(header) }))
    }

    async fn auth_disable(&self, request: Request<pb::AuthDisableRequest>) -> Result<Response<pb::AuthDisableResponse>, Status> {
        let header = self.change_auth(&request, AuthChange::Disable).await?;
        Ok(Response::new(pb::AuthDisableResponse { header: Some(header) }))
    }

    async fn auth_status(&self, request: Request<pb::AuthStatusRequest>) -> Result<Response<pb::AuthStatusResponse>, Status> {
        let look = |auth: &Auth| Ok((auth.is_enabled(), auth.revision()));
        let (header, (enabled, auth_revision)) = self.look_at_auth(&request, Auth::permit_admin, look).await?;
        Ok(Response::new(pb::AuthStatusResponse { header: Some(header), enabled, auth_revision }))
    }

    async fn authenticate(&self, request: Request<pb::AuthenticateRequest>) -> Result<Response<pb::AuthenticateResponse>, Status> {
        self.admit(request.metadata().as_ref(), Learners::Refuse)?;
        let pb::AuthenticateRequest { name, password } = request.into_inner();
        Ok(Response::new(self.authenticate_user(name, password).await?))
    }

    async fn user_add(&self, mut request: Request<pb::AuthUserAddRequest>) -> Result<Response<pb::AuthUserAddResponse>, Status> {
        let pb::AuthUserAddRequest { name, password, options, hashed_password } = std::mem::take(request.get_mut());
        let has_none = options.is_some_and(|options| options.no_password);
        let password = if has_none { None } else { Some(self.hash(&request, password, &hashed_password).await?) };
        let header = self.change_auth(&request, AuthChange::UserAdd { name, password }).await?;
        Ok(Response::new(pb::AuthUserAddResponse { header: Some(header) }))
    }

    async fn user_get(&self, request: Request<pb::AuthUserGetRequest>) -> Result<Response<pb::AuthUserGetResponse>, Status> {
        let name = request.get_ref().name.clone();
        let permit = |auth: &Auth, caller: Option<&Caller>| permit_own(auth, caller, |own| own == name);
        let look = |auth: &Auth| auth.user(&name).map(|user| user.roles.clone()).ok_or(AuthError::UserNotFound);
        let (header, roles) = self.look_at_auth(&request, permit, look).await?;
        Ok(Response::new(pb::AuthUserGetResponse { header: Some(header), roles }))
    }

    async fn user_list(&self, request: Request<pb::AuthUserListRequest>) -> Result<Response<pb::AuthUserListResponse>, Status> {
        let (header, users) = self.look_at_auth(&request, Auth::permit_admin, |auth| Ok(names(auth.users()))).await?;
        Ok(Response::new(pb::AuthUserListResponse { header: Some(header), users }))
    }

    async fn user_delete(&self, request: Request<pb::AuthUserDeleteRequest>) -> Result<Response<pb::AuthUserDeleteResponse>, Status> {
        let change = AuthChange::UserDelete { name: request.get_ref().name.clone() };
        let header = self.change_auth(&request, change).await?;
        Ok(Response::new(pb::AuthUserDeleteResponse { header: Some(header) }))
    }

    async fn user_change_password(
        &self,
        mut request: Request<pb::AuthUserChangePasswordRequest>,
    ) -> Result<Response<pb::AuthUserChangePasswordResponse>, Status> {
        let pb::AuthUserChangePasswordRequest { name, password, hashed_password } = std::mem::take(request.get_mut());
        // As in etcd, an empty password is none: nothing fits it.
        let is_none = password.is_empty() && hashed_password.is_empty();
        let password = if is_none { Bytes::new() } else { self.hash(&request, password, &hashed_password).await? };
        let header = self.change_auth(&request, AuthChange::UserChangePassword { name, password }).await?;
        Ok(Response::new(pb::AuthUserChangePasswordResponse { header: Some(header) }))
    }

    async fn user_grant_role(
        &self,
        request: Request<pb::AuthUserGrantRoleRequest>,
    ) -> Result<Response<pb::AuthUserGrantRoleResponse>, Status> {
        let pb::AuthUserGrantRoleRequest { user, role } = request.get_ref().clone();
        let header = self.change_auth(&request, AuthChange::UserGrantRole { name: user, role }).await?;
        Ok(Response::new(pb::AuthUserGrantRoleResponse { header: Some(header) }))
    }

    async fn user_revoke_role(
        &self,
        request: Request<pb::AuthUserRevokeRoleRequest>,
    ) -> Result<Response<pb::AuthUserRevokeRoleResponse>, Status> {
        let pb::AuthUserRevokeRoleRequest { name, role } = request.get_ref().clone();
        let header = self.change_auth(&request, AuthChange::UserRevokeRole { name, role }).await?;
        Ok(Response::new(pb::AuthUserRevokeRoleResponse { header: Some(header) }))
    }

    async fn role_add(&self, request: Request<pb::AuthRoleAddRequest>) -> Result<Response<pb::AuthRoleAddResponse>, Status> {
        let header = self.change_auth(&request, AuthChange::RoleAdd { name: request.get_ref().name.clone() }).await?;
        Ok(Response::new(pb::AuthRoleAddResponse { header: Some(header) }))
    }

    async fn role_get(&self, request: Request<pb::AuthRoleGetRequest>) -> Result<Response<pb::AuthRoleGetResponse>, Status> {
        let name = request.get_ref().role.clone();
        let has = |auth: &Auth, user: &str| auth.user(user).is_some_and(|user| user.roles.contains(&name));
        let permit = |auth: &Auth, caller: Option<&Caller>| permit_own(auth, caller, |own| has(auth, own));
        let look = |auth: &Auth| {
            let role = auth.role(&name).ok_or(AuthError::RoleNotFound)?;
            Ok(role.permissions.iter().map(permission_message).collect())
        };
        let (header, perm) = self.look_at_auth(&request, permit, look).await?;
        Ok(Response::new(pb::AuthRoleGetResponse { header: Some(header), perm }))
    }

    async fn role_list(&self, request: Request<pb::AuthRoleListRequest>) -> Result<Response<pb::AuthRoleListResponse>, Status> {
        let (header, roles) = self.look_at_auth(&request, Auth::permit_admin, |auth| Ok(names(auth.roles()))).await?;
        Ok(Response::new(pb::AuthRoleListResponse { header: Some(header), roles }))
    }

    async fn role_delete(&self, request: Request<pb::AuthRoleDeleteRequest>) -> Result<Response<pb::AuthRoleDeleteResponse>, Status> {
        let header = self.change_auth(&request, AuthChange::RoleDelete { name: request.get_ref().role.clone() }).await?;
        Ok(Response::new(pb::AuthRoleDeleteResponse { header: Some(header) }))
    }

    async fn role_grant_permission(
        &self,
        request: Request<pb::AuthRoleGrantPermissionRequest>,
    ) -> Result<Response<pb::AuthRoleGrantPermissionResponse>, Status> {
        let pb::AuthRoleGrantPermissionRequest { name, perm } = request.get_ref().clone();
        let change = AuthChange::RoleGrantPermission { name, permission: perm.map(permission).transpose()? };
        let header = self.change_auth(&request, change).await?;
        Ok(Response::new(pb::AuthRoleGrantPermissionResponse { header: Some(header) }))
    }

    async fn role_revoke_permission(
        &self,
        request: Request<pb::AuthRoleRevokePermissionRequest>,
    ) -> Result<Response<pb::AuthRoleRevokePermissionResponse>, Status> {
        let pb::AuthRoleRevokePermissionRequest { role, key, range_end } = request.get_ref().clone();
        let change = AuthChange::RoleRevokePermission { name: role, keys: KeySpan { key, range_end } };
        let header = self.change_auth(&request, change).await?;
        Ok(Response::new(pb::AuthRoleRevokePermissionResponse { header: Some(header) }))
    }
}

impl From<TokenRefusal> for Status {
    fn from(refusal: TokenRefusal) -> Self {
        match refusal {
            TokenRefusal::Refused(refusal) => refusal.into(),
            TokenRefusal::Command(error) => errors::command(error),
            TokenRefusal::Unsigned(why) => Status::unknown(format!("auth: {why}")),
        }
    }
}
