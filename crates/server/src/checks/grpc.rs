//! Checks by gRPC: one call of the standard health service, `grpc.health.v1.Health/Check`, in plain text on a connection of its own.

use std::io;

use hyper_util::rt::TokioIo;
use steadfast_health::checks::tally::Outcome;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tower::service_fn;

use super::dial::{Dialler, root_cause};
use super::progress::Progress;

/// Bytes of an answer: it is one number.
const ANSWER_BYTES: usize = 16 * 1024;

/// Asks once.
pub(super) async fn probe(dialler: &Dialler, address: &str, service: &str, progress: &Progress) -> Outcome {
    let channel = match connect(dialler, address, progress).await {
        Ok(channel) => channel,
        Err(words) => return Outcome::Failed(words),
    };
    progress.waits_for("the answer of its health service");
    let mut client = HealthClient::new(channel).max_decoding_message_size(ANSWER_BYTES);
    match client.check(HealthCheckRequest { service: service.to_owned() }).await {
        Ok(answer) => judge(answer.into_inner().status()),
        Err(status) => Outcome::Failed(refusal(&status, service)),
    }
}

async fn connect(dialler: &Dialler, address: &str, progress: &Progress) -> Result<Channel, String> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|error| root_cause(&error))?;
    let (dialler, address, progress) = (dialler.clone(), address.to_owned(), progress.clone());
    let connector = service_fn(move |_| {
        let (dialler, address, progress) = (dialler.clone(), address.clone(), progress.clone());
        async move {
            let stream = dialler.connect(&address, &progress).await.map_err(io::Error::other)?;
            progress.waits_for("the beginning of HTTP/2");
            Ok::<_, io::Error>(TokioIo::new(stream))
        }
    });
    endpoint.connect_with_connector(connector).await.map_err(|error| root_cause(&error))
}

fn judge(status: ServingStatus) -> Outcome {
    match status {
        ServingStatus::Serving => Outcome::Passed,
        ServingStatus::NotServing => Outcome::Failed("it says NOT_SERVING".into()),
        ServingStatus::Unknown => Outcome::Failed("it says UNKNOWN: whether it serves is not known to it".into()),
        ServingStatus::ServiceUnknown => {
            Outcome::Failed("it says SERVICE_UNKNOWN: see that the name after the address is one of its services".into())
        }
    }
}

fn refusal(status: &Status, service: &str) -> String {
    match status.code() {
        Code::NotFound => format!("it knows no service {service:?}: see that the name after the address is one of its services"),
        Code::Unimplemented => "it answers, but has no health service (grpc.health.v1.Health)".into(),
        code => match std::error::Error::source(status) {
            Some(source) => root_cause(source),
            None => format!("{code:?}: {}", status.message()),
        },
    }
}
