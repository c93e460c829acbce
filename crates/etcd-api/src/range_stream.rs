//! RangeStream (etcd 3.7): a range whose answer comes in pieces. Merged, the messages are what Range would have answered: the first one has the
//! header, the last one `more` and `count`.
//!
//! Between two pieces nothing is held for the client, however slowly it takes them, and what it may read is checked anew for each.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, stream};
use http::{Request, Response};
use http_body::Body;
use steadfast_state::auth::{Auth, Caller};
use steadfast_state::command::KeySpan;
use steadfast_state::kv::check;
use steadfast_state::kv::pieces::{RangePieces, Rest};
use tonic::Status;
use tonic::codegen::StdError as BoxError;
use tonic::server::{Grpc, ServerStreamingService};

use crate::api::Api;
use crate::auth::{Credentials, Reading};
use crate::backend::Backend;
use crate::body::ResponseBody;
use crate::codec::SmallBuffers;
use crate::convert;
use crate::errors::Invalid;
use crate::proto::etcdserverpb as pb;
use crate::service::DECODE_BYTES;

type Messages = Pin<Box<dyn Stream<Item = Result<pb::RangeStreamResponse, Status>> + Send>>;

/// A range that is read by somebody.
struct Reader<B> {
    api: Api<B>,
    who: Credentials,
    keys: KeySpan,
    is_first: bool,
    /// `None`: all of it is read.
    rest: Option<Arc<RangePieces>>,
}

impl<B: Backend> Reader<B> {
    async fn begin(api: Api<B>, who: Credentials, request: pb::RangeRequest) -> Result<Self, Status> {
        let serializable = request.serializable;
        let range = convert::range(request)?;
        check::range(&range).map_err(Invalid::Check)?;
        let keys = range.keys.clone();
        let Some(pieces) = RangePieces::new(range) else {
            return Err(Status::invalid_argument(
                "steadfast: RangeStream gives keys in their own order alone: leave sort_order and sort_target out, or use Range",
            ));
        };
        if !serializable {
            api.refuse_learner()?;
            api.backend().linearize().await?;
        }
        Ok(Reader { api, who, keys, is_first: true, rest: Some(Arc::new(pieces)) })
    }

    async fn next(mut self) -> Result<Option<(pb::RangeStreamResponse, Self)>, Status> {
        let Some(pieces) = self.rest.take() else { return Ok(None) };
        let permit = |auth: &Auth, caller: Option<&Caller>| auth.permit_read(caller, &self.keys);
        let piece = self.api.read_as(&self.who, permit, Reading::Long, move |backend| backend.range_piece(&pieces)).await?;
        let header = std::mem::take(&mut self.is_first).then(|| self.api.header(piece.revision));
        let mut message = pb::RangeResponse { header, kvs: convert::key_values(piece.kvs), ..pb::RangeResponse::default() };
        match piece.rest {
            Rest::Pieces(rest) => self.rest = Some(Arc::new(rest)),
            Rest::End { more, count } => (message.more, message.count) = (more, count),
        }
        Ok(Some((pb::RangeStreamResponse { range_response: Some(message) }, self)))
    }
}

/// The call, as `tonic` wants it.
struct Call<B>(Api<B>, Credentials);

impl<B: Backend> ServerStreamingService<pb::RangeRequest> for Call<B> {
    type Response = pb::RangeStreamResponse;
    type ResponseStream = Messages;
    type Future = Pin<Box<dyn Future<Output = Result<tonic::Response<Messages>, Status>> + Send>>;

    fn call(&mut self, request: tonic::Request<pb::RangeRequest>) -> Self::Future {
        let (api, who) = (self.0.clone(), self.1.clone());
        Box::pin(async move {
            let reader = Reader::begin(api, who, request.into_inner()).await?;
            let messages: Messages = Box::pin(stream::try_unfold(reader, Reader::next));
            Ok(tonic::Response::new(messages))
        })
    }
}

/// Serves the call whose request is in `body`.
pub(crate) async fn serve<B: Backend, R>(api: Api<B>, who: Credentials, body: R) -> Response<ResponseBody>
where
    R: Body<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    let mut grpc = Grpc::new(SmallBuffers::default()).apply_max_message_size_config(Some(DECODE_BYTES), Some(usize::MAX));
    grpc.server_streaming(Call(api, who), Request::new(tonic::body::Body::new(body))).await.map(ResponseBody::other)
}
