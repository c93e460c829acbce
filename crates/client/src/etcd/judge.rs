//! What a call's status means: for the state, and for what to do next. etcd's errors are told apart by their texts, as all its clients do.

use steadfast_coordination::Error;
use tonic::{Code, Status};

use crate::words::in_words;

/// What to make of a failed call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It fails so whoever is asked. Nothing has changed.
    Final(Error),
    /// It was not tried, and may go well on another node, or later.
    NotTried(String),
    /// The answer is lost.
    Lost(String),
}

/// Judges a status.
pub(super) fn judge(status: &Status) -> Verdict {
    let text = || in_words(status);
    let message = status.message();
    let says = |what: &str| message.ends_with(what);
    match status.code() {
        Code::NotFound if says("requested lease not found") => Verdict::Final(Error::LeaseNotFound),
        Code::OutOfRange if says("required revision has been compacted") => Verdict::Final(Error::Compacted),
        Code::OutOfRange if says("required revision is a future revision") => Verdict::Final(Error::FutureRevision),
        Code::ResourceExhausted if says("database space exceeded") => Verdict::Final(Error::NoSpace(text())),
        Code::ResourceExhausted if says("too many requests") => Verdict::NotTried(text()),
        // Who asks was found out too long ago: the next connection finds it out anew.
        Code::Unauthenticated | Code::InvalidArgument if says("invalid auth token") || says("revision of auth store is old") => {
            Verdict::NotTried(text())
        }
        // In etcd it is about the node that was asked, and of two codes.
        Code::Unavailable | Code::FailedPrecondition if says("no leader") || says("rpc not supported for learner") => {
            Verdict::NotTried(text())
        }
        Code::Ok | Code::Cancelled | Code::Unknown | Code::DeadlineExceeded | Code::Aborted | Code::Internal | Code::Unavailable => {
            Verdict::Lost(text())
        }
        Code::NotFound
        | Code::OutOfRange
        | Code::ResourceExhausted
        | Code::Unauthenticated
        | Code::InvalidArgument
        | Code::FailedPrecondition
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::Unimplemented
        | Code::DataLoss => Verdict::Final(Error::Refused(text())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_cluster_says_it_did_not_try_is_not_lost() {
        let refused = |text: &str| Verdict::Final(Error::Refused(text.into()));
        let table = [
            (Status::not_found("etcdserver: requested lease not found"), Verdict::Final(Error::LeaseNotFound)),
            (Status::out_of_range("etcdserver: mvcc: required revision has been compacted"), Verdict::Final(Error::Compacted)),
            (Status::out_of_range("etcdserver: mvcc: required revision is a future revision"), Verdict::Final(Error::FutureRevision)),
            (Status::permission_denied("etcdserver: forbidden"), refused("forbidden")),
            (Status::invalid_argument("etcdserver: key is not provided"), refused("key is not provided")),
            (Status::resource_exhausted("etcdserver: too many requests"), Verdict::NotTried("too many requests".into())),
            (
                Status::unauthenticated("etcdserver: invalid auth token"),
                Verdict::NotTried("the token has ended meanwhile: try again".into()),
            ),
            (Status::unavailable("etcdserver: request timed out"), Verdict::Lost("request timed out".into())),
            (Status::unavailable("etcdserver: leader changed"), Verdict::Lost("leader changed".into())),
            (Status::unknown("h2 protocol error"), Verdict::Lost("h2 protocol error".into())),
        ];
        for (status, expected) in table {
            assert_eq!(judge(&status), expected, "{status:?}");
        }
        assert!(matches!(judge(&Status::unavailable("etcdserver: no leader")), Verdict::NotTried(_)));
        let full = judge(&Status::resource_exhausted("etcdserver: mvcc: database space exceeded"));
        assert!(matches!(full, Verdict::Final(Error::NoSpace(_))), "{full:?}");
    }
}
