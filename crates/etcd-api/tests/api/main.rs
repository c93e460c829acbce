//! The services as clients see them: over loopback, with the generated clients or raw HTTP/2, on a fake backend.

#[path = "../fake/mod.rs"]
mod fake;

mod auth;
mod gateway;
mod http;
mod kv;
mod lease;
mod node;
mod watch;
mod wire;

use fake::Fake;
use tonic::transport::Channel;
use tonic::{Code, Status};

/// A served fake and a connection to it.
async fn connect() -> (Fake, Channel) {
    let fake = Fake::start();
    let address = fake::serve(fake.clone()).await;
    let channel = Channel::from_shared(format!("http://{address}")).expect("a URL").connect().await.expect("it listens");
    (fake, channel)
}

fn refused(status: &Status) -> (Code, &str) {
    (status.code(), status.message())
}
