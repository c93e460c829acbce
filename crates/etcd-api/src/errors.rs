//! Every error a client can see, with etcd's code and etcd's text: clients tell errors apart by the text.

use steadfast_state::auth::AuthError;
use steadfast_state::command::CommandError;
use steadfast_state::kv::check::CheckError;
use tonic::{Code, Status};

use crate::backend::{LongReadError, MembershipRefusal, Refusal};

/// A status with etcd's prefix before `text`.
pub(crate) fn etcd(code: Code, text: impl std::fmt::Display) -> Status {
    Status::new(code, format!("etcdserver: {text}"))
}

/// A request that breaks a rule which needs no state to check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Invalid {
    /// A rule of the key space.
    #[error(transparent)]
    Check(#[from] CheckError),
    /// An operation of a transaction that says nothing; etcd's word for it.
    #[error("key not found")]
    EmptyOperation,
    /// A comparison of one target with another's value, or in a relation that does not exist.
    #[error("comparison of a target or in a relation that does not exist, or with the value of another target")]
    Comparison,
    /// Peer URLs that are none, or not `http(s)://HOST:PORT`.
    #[error("given member URLs are invalid")]
    MemberUrls,
}

impl From<Invalid> for Status {
    fn from(invalid: Invalid) -> Self {
        match invalid {
            Invalid::Check(CheckError::LeaseTtlTooLarge) => etcd(Code::OutOfRange, invalid),
            Invalid::Check(_) | Invalid::EmptyOperation | Invalid::Comparison | Invalid::MemberUrls => etcd(Code::InvalidArgument, invalid),
        }
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let code = match refusal {
            // etcd 3.5.1 has Unavailable for a learner, so that a client's library goes on to the next member.
            Refusal::NoLeader | Refusal::LeaderChanged | Refusal::TimedOut | Refusal::Stopped | Refusal::Learner => Code::Unavailable,
            Refusal::TooManyRequests | Refusal::NoSpace => Code::ResourceExhausted,
            Refusal::NotLeader | Refusal::BadTransferee | Refusal::LevelTooLow => Code::FailedPrecondition,
            Refusal::RequestTooLarge => Code::InvalidArgument,
        };
        etcd(code, refusal)
    }
}

impl From<MembershipRefusal> for Status {
    fn from(refusal: MembershipRefusal) -> Self {
        let code = match refusal {
            MembershipRefusal::Refused(refusal) => return refusal.into(),
            MembershipRefusal::Command(error) => return command(error),
            MembershipRefusal::NotEnoughStarted | MembershipRefusal::LearnerNotReady | MembershipRefusal::TooManyLearners => {
                Code::FailedPrecondition
            }
            MembershipRefusal::Unhealthy | MembershipRefusal::InProgress => Code::Unavailable,
        };
        etcd(code, refusal)
    }
}

impl From<LongReadError> for Status {
    fn from(error: LongReadError) -> Self {
        match error {
            LongReadError::Command(error) => command(error),
            LongReadError::Disk(why) => Status::resource_exhausted(format!("steadfast: this member can't make the snapshot: {why}")),
            LongReadError::Unwanted => Status::cancelled("steadfast: the client has gone"),
        }
    }
}

/// The status of a command or a read that the state machine refused.
pub(crate) fn command(error: CommandError) -> Status {
    let code = match error {
        CommandError::Compacted | CommandError::FutureRevision => return etcd(Code::OutOfRange, format_args!("mvcc: {error}")),
        CommandError::LeaseNotFound | CommandError::MemberNotFound => Code::NotFound,
        CommandError::NoSpace => Code::ResourceExhausted,
        CommandError::Corrupt => Code::DataLoss,
        CommandError::LeaseExists
        | CommandError::MemberExists
        | CommandError::PeerUrlExists
        | CommandError::MemberNotLearner
        | CommandError::MemberClaimed => Code::FailedPrecondition,
        CommandError::KeyNotFound => Code::InvalidArgument,
        CommandError::Auth(error) => return auth(error),
        // About this member alone: a client's library goes on to the next one.
        CommandError::Tables(_) => return etcd(Code::Unavailable, format_args!("this member's tables are damaged: {error}")),
    };
    etcd(code, error)
}

/// The status of what was refused for who asks, or of a change of users and roles that makes no sense.
fn auth(error: AuthError) -> Status {
    let code = match error {
        AuthError::RootUserMissing
        | AuthError::RootRoleMissing
        | AuthError::UserExists
        | AuthError::UserNotFound
        | AuthError::RoleExists
        | AuthError::RoleNotFound
        | AuthError::RoleNotGranted
        | AuthError::PermissionNotGranted
        | AuthError::NotEnabled => Code::FailedPrecondition,
        AuthError::UserEmpty
        | AuthError::RoleEmpty
        | AuthError::Failed
        | AuthError::PermissionNotGiven
        | AuthError::OldRevision
        | AuthError::InvalidManagement => Code::InvalidArgument,
        AuthError::PermissionDenied => Code::PermissionDenied,
        AuthError::NoPasswordUser => return Status::unknown(format!("auth: {error}")),
    };
    etcd(code, error)
}

/// An error of the Lock and Election services: etcd has texts for what the request got wrong there, and no codes.
pub(crate) fn without_code(status: Status) -> Status {
    match status.code() {
        Code::NotFound | Code::InvalidArgument | Code::FailedPrecondition | Code::PermissionDenied | Code::Unauthenticated => {
            Status::unknown(status.message())
        }
        _ => status,
    }
}

/// What a status says, for an answer that has no code.
pub(crate) fn status_text(status: Status) -> String {
    status.message().to_owned()
}

/// The backend answered a command with another command's outcome.
pub(crate) fn unexpected_outcome() -> Status {
    Status::internal("steadfast: the node answered with another command's outcome")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_the_code_and_text_that_clients_know() {
        let table = [
            (Refusal::NoLeader, Code::Unavailable, "etcdserver: no leader"),
            (Refusal::LeaderChanged, Code::Unavailable, "etcdserver: leader changed"),
            (Refusal::TimedOut, Code::Unavailable, "etcdserver: request timed out"),
            (Refusal::TooManyRequests, Code::ResourceExhausted, "etcdserver: too many requests"),
            (Refusal::NotLeader, Code::FailedPrecondition, "etcdserver: not leader"),
            (Refusal::NoSpace, Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded"),
            (Refusal::RequestTooLarge, Code::InvalidArgument, "etcdserver: request is too large"),
            (Refusal::Learner, Code::Unavailable, "etcdserver: rpc not supported for learner"),
            (Refusal::BadTransferee, Code::FailedPrecondition, "etcdserver: bad leader transferee"),
            (Refusal::Stopped, Code::Unavailable, "etcdserver: server stopped"),
        ];
        for (refusal, code, text) in table {
            let status = Status::from(refusal.clone());
            assert_eq!((status.code(), status.message()), (code, text), "{refusal:?}");
        }
    }

    #[test]
    fn every_command_error_has_the_code_and_text_that_clients_know() {
        let table = [
            (CommandError::Compacted, Code::OutOfRange, "etcdserver: mvcc: required revision has been compacted"),
            (CommandError::FutureRevision, Code::OutOfRange, "etcdserver: mvcc: required revision is a future revision"),
            (CommandError::LeaseNotFound, Code::NotFound, "etcdserver: requested lease not found"),
            (CommandError::NoSpace, Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded"),
            (CommandError::Corrupt, Code::DataLoss, "etcdserver: corrupt cluster"),
            (CommandError::LeaseExists, Code::FailedPrecondition, "etcdserver: lease already exists"),
            (CommandError::KeyNotFound, Code::InvalidArgument, "etcdserver: key not found"),
            (CommandError::MemberNotFound, Code::NotFound, "etcdserver: member not found"),
            (CommandError::MemberExists, Code::FailedPrecondition, "etcdserver: member ID already exist"),
            (CommandError::PeerUrlExists, Code::FailedPrecondition, "etcdserver: Peer URLs already exists"),
            (CommandError::MemberNotLearner, Code::FailedPrecondition, "etcdserver: can only promote a learner member"),
        ];
        for (error, code, text) in table {
            let status = command(error.clone());
            assert_eq!((status.code(), status.message()), (code, text), "{error:?}");
        }
    }

    #[test]
    fn every_membership_refusal_has_the_code_and_text_that_clients_know() {
        let table = [
            (MembershipRefusal::Refused(Refusal::NoLeader), Code::Unavailable, "etcdserver: no leader"),
            (MembershipRefusal::Command(CommandError::MemberNotFound), Code::NotFound, "etcdserver: member not found"),
            (
                MembershipRefusal::NotEnoughStarted,
                Code::FailedPrecondition,
                "etcdserver: re-configuration failed due to not enough started members",
            ),
            (
                MembershipRefusal::LearnerNotReady,
                Code::FailedPrecondition,
                "etcdserver: can only promote a learner member which is in sync with leader",
            ),
            (MembershipRefusal::TooManyLearners, Code::FailedPrecondition, "etcdserver: too many learner members in cluster"),
            (MembershipRefusal::Unhealthy, Code::Unavailable, "etcdserver: unhealthy cluster"),
            (MembershipRefusal::InProgress, Code::Unavailable, "etcdserver: another membership change is under way; try again"),
        ];
        for (refusal, code, text) in table {
            let status = Status::from(refusal.clone());
            assert_eq!((status.code(), status.message()), (code, text), "{refusal:?}");
        }
    }

    #[test]
    fn every_invalid_request_has_the_text_that_clients_know() {
        use CheckError::*;
        let table = [
            (Invalid::Check(EmptyKey), Code::InvalidArgument, "etcdserver: key is not provided"),
            (Invalid::Check(ValueProvided), Code::InvalidArgument, "etcdserver: value is provided"),
            (Invalid::Check(LeaseProvided), Code::InvalidArgument, "etcdserver: lease is provided"),
            (Invalid::Check(TooManyOperations), Code::InvalidArgument, "etcdserver: too many operations in txn request"),
            (Invalid::Check(DuplicateKey), Code::InvalidArgument, "etcdserver: duplicate key given in txn request"),
            (Invalid::Check(InvalidSortOption), Code::InvalidArgument, "etcdserver: invalid sort option"),
            (Invalid::Check(LeaseTtlTooLarge), Code::OutOfRange, "etcdserver: too large lease TTL"),
            (Invalid::EmptyOperation, Code::InvalidArgument, "etcdserver: key not found"),
            (Invalid::MemberUrls, Code::InvalidArgument, "etcdserver: given member URLs are invalid"),
        ];
        for (invalid, code, text) in table {
            let status = Status::from(invalid);
            assert_eq!((status.code(), status.message()), (code, text));
        }
    }
}
