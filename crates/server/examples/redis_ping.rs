//! The event loop of the Redis port with the least of commands: what the loop itself costs, by `redis-benchmark -t ping -p PORT`.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use steadfast_server::redis::{Commands, ConnectionId, EventLoop, Limits, Mark, Others, Port, Ran};

/// Answers PING, and refuses everything else.
struct Ping;

impl Commands for Ping {
    type Session = ();

    fn connected(&mut self, _id: ConnectionId, _peer: SocketAddr) {}

    fn run(&mut self, _session: &mut (), input: &[u8], out: &mut Vec<u8>) -> Ran {
        let Some((consumed, is_ping)) = command(input) else { return Ran::incomplete(0) };
        let answer: &[u8] = if is_ping { b"+PONG\r\n" } else { b"-ERR unknown command\r\n" };
        out.extend_from_slice(answer);
        Ran::command(consumed)
    }

    fn turn_ended(&mut self, _others: &mut Others) -> Option<Mark> {
        None
    }

    fn woken(&mut self, _others: &mut Others) {}

    fn reached(&self) -> Mark {
        Mark(0)
    }

    fn next_deadline(&self) -> Option<Duration> {
        None
    }

    fn closed(&mut self, _session: ()) {}
}

/// The length of the first command, and whether it is PING.
fn command(input: &[u8]) -> Option<(usize, bool)> {
    let (mut at, first) = line(input, 0)?;
    let Some(count) = number(first, b'*') else { return Some((at, first.eq_ignore_ascii_case(b"PING"))) };
    let mut is_ping = false;
    for word in 0..count {
        let (after, header) = line(input, at)?;
        let length = number(header, b'$').unwrap_or(0);
        let content = input.get(after..after + length)?;
        is_ping |= word == 0 && content.eq_ignore_ascii_case(b"PING");
        at = after + length + 2;
    }
    (at <= input.len()).then_some((at, is_ping))
}

/// The line at `at`, and where the next one begins.
fn line(input: &[u8], at: usize) -> Option<(usize, &[u8])> {
    let rest = input.get(at..)?;
    let length = rest.iter().position(|&byte| byte == b'\n')?;
    Some((at + length + 1, rest[..length].trim_ascii_end()))
}

fn number(line: &[u8], mark: u8) -> Option<usize> {
    str::from_utf8(line.strip_prefix(&[mark])?).ok()?.parse().ok()
}

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7330".to_owned());
    let listener = TcpListener::bind(address)?;
    let (event_loop, _handle) = EventLoop::new(vec![Port { listener, tls: None }], Limits::default())?;
    event_loop.run(Ping).map(|_| ())
}
