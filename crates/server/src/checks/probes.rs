//! One run of a check, whatever its kind.

use std::future::Future;
use std::sync::Arc;

use rustls::ClientConfig;
use steadfast_health::checks::definition::{Check, Kind};
use steadfast_health::checks::tally::Outcome;

use super::dial::Dialler;
use super::http::Question;
use super::progress::{Progress, tidy};
use super::{grpc, http, script};
use crate::tls::{DialTrust, dialling};

/// Runs checks; tests have their own.
pub(crate) trait Prober: Send + Sync + 'static {
    /// One run. Dropping it ends all that it has begun; it knows no time-out of its own.
    fn run(&self, check: &Check, progress: Progress) -> impl Future<Output = Outcome> + Send + 'static;
}

/// The means of a node.
#[derive(Clone)]
pub(crate) struct Probes {
    dialler: Dialler,
    tls: Arc<ClientConfig>,
    runs_scripts: bool,
}

impl Probes {
    pub(crate) fn new(runs_scripts: bool) -> Self {
        let tls = dialling(DialTrust::Anyone, None).expect("no file is read, and the library takes its own defaults");
        let mut tls = (*tls).clone();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Probes { dialler: Dialler::new(), tls: Arc::new(tls), runs_scripts }
    }

    async fn run_kind(self, check: Check, progress: Progress) -> Outcome {
        let definition = check.definition();
        match &definition.kind {
            Kind::Tcp { address } => match self.dialler.connect(address, &progress).await {
                Ok(_) => Outcome::Passed,
                Err(words) => Outcome::Failed(words),
            },
            Kind::Http { url, least_status, most_status } => {
                let question = Question { url, least_status: *least_status, most_status: *most_status, timeout: check.timeout() };
                http::probe(&self.dialler, &self.tls, question, &progress).await
            }
            Kind::Grpc { address, service } => grpc::probe(&self.dialler, address, service, &progress).await,
            Kind::Script { .. } if !self.runs_scripts => script::not_run(),
            Kind::Script { command } => script::probe(command, &definition.name, &definition.service, &progress).await,
            // The scheduler starts none.
            Kind::Heartbeat => Outcome::Passed,
        }
    }
}

impl Prober for Probes {
    fn run(&self, check: &Check, progress: Progress) -> impl Future<Output = Outcome> + Send + 'static {
        let (probes, check) = (self.clone(), check.clone());
        async move {
            match probes.run_kind(check, progress).await {
                Outcome::Passed => Outcome::Passed,
                Outcome::Warned(words) => Outcome::Warned(tidy(&words)),
                Outcome::Failed(words) => Outcome::Failed(tidy(&words)),
            }
        }
    }
}

#[cfg(test)]
mod tests;
