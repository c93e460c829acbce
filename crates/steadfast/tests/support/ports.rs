//! Ports for tests that run at the same time, in one process or in several: who holds the *sentinel* beside a port has the port, whether anything
//! listens there yet or not. All are below those that the system gives to connections by itself.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

use std::net::{TcpListener, TcpStream};

/// A port that is this process's as long as it lives.
pub fn free_port() -> u16 {
    let mut ports = (24_000..32_000).step_by(2);
    ports.find(|port| idle(*port) && sentinel(port + 1).map(std::mem::forget).is_some()).expect("a free port")
}

/// The address of such a port.
pub fn free_address() -> String {
    format!("127.0.0.1:{}", free_port())
}

/// An offset of the ports of `steadfast dev`, for five nodes at most, as long as it lives.
pub struct Offset {
    pub value: u16,
    _sentinel: TcpListener,
}

impl Offset {
    /// One that no other test has.
    pub fn free() -> Self {
        let nodes: Vec<u16> = (0..5).flat_map(|k| [2379, 2380, 6379, 7070].map(|port| port + 10 * k)).collect();
        // Further apart, the ports of one would be others of another.
        let mut offsets = (12_000..16_000).step_by(100);
        let free = offsets.find_map(|value| {
            let sentinel = sentinel(2370 + value)?;
            nodes.iter().all(|port| idle(port + value)).then_some(Offset { value, _sentinel: sentinel })
        });
        free.expect("a free range of ports")
    }
}

/// `None` where somebody else has it.
fn sentinel(port: u16) -> Option<TcpListener> {
    TcpListener::bind(("127.0.0.1", port)).ok()
}

/// Whether nobody listens there. It is not found out by listening: a process that another test starts at that moment has a copy of the listener until its
/// program is loaded, and the port would be in use for whoever is given it.
fn idle(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_err()
}
