//! One replica of available state on its own: `redis_node DIRECTORY ADDRESS [always|every-second|never]`.

use std::net::TcpListener;

use steadfast_server::available::{Durability, Settings, start};
use steadfast_server::redis::Limits;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().ok_or("a directory is missing")?.into();
    let listener = TcpListener::bind(arguments.next().ok_or("an address is missing")?)?;
    let durability = arguments.next().map_or(Ok(Durability::default()), |mode| mode.parse())?;
    let actor = steadfast_crdt::Actor::new(1).ok_or("there is a first place")?;
    let running = start(Settings {
        directory,
        listener,
        tls: None,
        durability,
        actor,
        limits: Limits::default(),
        peers: None,
        strong: None,
        users: None,
        memory_bytes: usize::MAX,
    })?;
    println!("serves at {}", running.address());
    Ok(running.wait().0?)
}
