//! Calls: over the connection that there is, or another one, until there is an answer or no time left.

use std::future::Future;
use std::time::Duration;

use steadfast_coordination::Error;
use tokio::time::{Instant, sleep, timeout_at};
use tonic::{Response, Status};

use super::Etcd;
use super::judge::{Verdict, judge};
use crate::connect::connect_any_for_streams;
use crate::endpoint::Endpoint;
use crate::user::{Link, link_with_leader};

/// Between two attempts.
pub(super) const RETRY_WAIT: Duration = Duration::from_millis(200);

/// Whether a call is made again when its answer was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    /// It has no effect.
    Read,
    /// Its effect twice is its effect once.
    Always,
    /// It would have its effect twice.
    Never,
}

/// The connection that all calls go over, if there is one.
#[derive(Default)]
pub(super) struct Current {
    link: Option<(Endpoint, Link)>,
    /// Counts connections, so that whoever gives one up gives up none that was made since.
    number: u64,
    /// Failed last.
    avoided: Option<Endpoint>,
}

impl Current {
    /// The connection is no good: another node is to be asked, if there is one.
    fn give_up(&mut self, number: u64) {
        if self.number == number
            && let Some((endpoint, _)) = self.link.take()
        {
            self.avoided = Some(endpoint);
        }
    }
}

impl Etcd {
    /// Calls until there is an answer, at most for a request's time.
    pub(super) async fn call<A, F>(&self, repeat: Repeat, request: impl Fn(Link) -> F) -> Result<A, Error>
    where
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let deadline = Instant::now() + self.0.options.request_timeout;
        let (mut why, mut is_lost) = (String::from("no node was reached"), false);
        while Instant::now() < deadline {
            let attempt = self.attempt(deadline, &request).await;
            match attempt {
                Ok(answer) => return Ok(answer),
                Err(Verdict::Final(error)) => return Err(error),
                Err(Verdict::Lost(text)) if repeat == Repeat::Never => return Err(Error::Unknown(text)),
                Err(Verdict::Lost(text)) => (why, is_lost) = (text, true),
                Err(Verdict::NotTried(text)) => why = text,
            }
            // No longer than there is time.
            let _ = timeout_at(deadline, sleep(RETRY_WAIT)).await;
        }
        if is_lost && repeat != Repeat::Read { Err(Error::Unknown(why)) } else { Err(Error::Unavailable(why)) }
    }

    async fn attempt<A, F>(&self, deadline: Instant, request: impl Fn(Link) -> F) -> Result<A, Verdict>
    where
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let not_connected = |_| Verdict::NotTried("no node could be reached in time".into());
        let (link, number) = timeout_at(deadline, self.link()).await.map_err(not_connected)??;
        let patience = deadline.min(Instant::now() + self.0.options.attempt_timeout);
        let verdict = match timeout_at(patience, request(link)).await {
            Ok(Ok(answer)) => return Ok(answer.into_inner()),
            Ok(Err(status)) => judge(&status),
            Err(_) => Verdict::Lost("no answer in time".into()),
        };
        if !matches!(verdict, Verdict::Final(_)) {
            self.0.current.lock().await.give_up(number);
        }
        Err(verdict)
    }

    /// The connection that all calls share, made if there is none, and its number. Whoever waits for it waits for one attempt together.
    async fn link(&self) -> Result<(Link, u64), Verdict> {
        let mut current = self.0.current.lock().await;
        if current.link.is_none() {
            let avoided = current.avoided.take();
            current.link = Some(self.connect(avoided).await?);
            current.number += 1;
        }
        let (_, link) = current.link.as_ref().expect("it was made");
        Ok((link.clone(), current.number))
    }

    /// A new connection to some node, to `avoided` only if no other answers.
    pub(super) async fn connect(&self, avoided: Option<Endpoint>) -> Result<(Endpoint, Link), Verdict> {
        let options = &self.0.options;
        let others: Vec<Endpoint> = options.endpoints.iter().filter(|endpoint| Some(*endpoint) != avoided.as_ref()).cloned().collect();
        let connected = match connect_any_for_streams(&others).await {
            Ok(connected) => Ok(connected),
            Err(_) => connect_any_for_streams(&options.endpoints).await,
        };
        let (endpoint, channel) = connected.map_err(|error| Verdict::NotTried(error.to_string()))?;
        match link_with_leader(channel, options.user.as_ref()).await {
            Ok(link) => Ok((endpoint, link)),
            Err(status) => Err(match judge(&status) {
                // To say who asks changes nothing that was asked for.
                Verdict::Lost(text) | Verdict::NotTried(text) => Verdict::NotTried(text),
                Verdict::Final(error) => Verdict::Final(error),
            }),
        }
    }
}
