//! Session and causal reads: a request names the least revision that its answer must be of, and a member that is behind waits until it has it.
//!
//! A client that hands the newest revision it has seen to its next serializable read, on whichever member, reads its own writes and never sees
//! time go back, without a read round. A revision that another client saw makes it causal. Beyond etcd, whose serializable reads promise neither.

use http::HeaderMap;
use steadfast_types::Revision;
use tonic::Status;

use crate::api::Api;
use crate::backend::Backend;

/// The request's metadata: the least revision, in decimal.
pub const MINIMUM_REVISION: &str = "steadfast-min-revision";

impl<B: Backend> Api<B> {
    /// Waits until this member has the revision that the request asks for, if it asks; at most for a request's time.
    pub(crate) async fn await_minimum_revision(&self, headers: &HeaderMap) -> Result<(), Status> {
        let Some(value) = headers.get(MINIMUM_REVISION) else { return Ok(()) };
        let revision = value.to_str().ok().and_then(|text| text.parse().ok()).filter(|revision| *revision >= 0);
        let revision = revision.ok_or_else(|| {
            Status::invalid_argument(format!(
                "steadfast: {MINIMUM_REVISION}: {value:?} is not a revision; send the header.revision of an answer, as a decimal number"
            ))
        })?;
        Ok(self.backend().await_revision(Revision(revision)).await?)
    }
}
