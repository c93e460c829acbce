//! Errors as etcd's gateway tells them: of one answer, of a stream, and of a path or an HTTP method that is none.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use serde::Serialize;
use tonic::{Code, Status};

/// The body of an answer that is an error.
#[derive(Serialize)]
struct UnaryError<'a> {
    error: &'a str,
    code: i32,
    message: &'a str,
}

/// The last line of a stream that fails.
#[derive(Serialize)]
struct StreamError<'a> {
    grpc_code: i32,
    http_code: u16,
    message: &'a str,
    http_status: &'a str,
}

#[derive(Serialize)]
struct StreamErrorLine<'a> {
    error: StreamError<'a>,
}

/// The HTTP status of a gRPC code.
fn http_status(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        Code::Cancelled => StatusCode::REQUEST_TIMEOUT,
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => StatusCode::BAD_REQUEST,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn json(value: &impl Serialize) -> Bytes {
    serde_json::to_vec(value).expect("an error is plain data").into()
}

/// The whole answer: an error.
pub(super) fn unary(status: &Status) -> Response<axum::body::Body> {
    let error = UnaryError { error: status.message(), code: status.code().into(), message: status.message() };
    answer(http_status(status.code()), json(&error).into())
}

/// The status and the last line of a stream.
pub(super) fn stream(status: &Status) -> (StatusCode, Bytes) {
    let http = http_status(status.code());
    let error = StreamError {
        grpc_code: status.code().into(),
        http_code: http.as_u16(),
        message: status.message(),
        http_status: http.canonical_reason().unwrap_or_default(),
    };
    (http, json(&StreamErrorLine { error }))
}

/// An answer in JSON.
pub(super) fn answer(status: StatusCode, body: axum::body::Body) -> Response<axum::body::Body> {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

/// An answer of one line of text, which is the status itself.
fn plain(status: StatusCode) -> Response<axum::body::Body> {
    let mut answer = Response::new(format!("{}\n", status.canonical_reason().unwrap_or_default()).into());
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    answer
}

/// No method has this path.
pub(super) fn not_found() -> Response<axum::body::Body> {
    plain(StatusCode::NOT_FOUND)
}

/// A method has this path, but is not called so.
pub(super) fn wrong_method() -> Response<axum::body::Body> {
    let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED);
    answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_look_as_etcds_do() {
        let status = Status::out_of_range("no \"such\" thing");
        let text = r#"{"error":{"grpc_code":11,"http_code":400,"message":"no \"such\" thing","http_status":"Bad Request"}}"#;
        assert_eq!(stream(&status), (StatusCode::BAD_REQUEST, Bytes::from(text)));
        assert_eq!(unary(&status).status(), 400);
    }
}
