//! The kernel's TCP information of single connections: segments sent, sent again, received, and out of order.
//!
//! The kernel tells it on a netlink socket of the kind `sock_diag` (sock_diag(7)), to everybody, of connections of the same network namespace. One
//! question names one connection by its two ends, and is answered at once: nothing is searched, however many connections the machine has.
//!
//! Where the kernel does not answer (another one than Linux, a sandbox) there are no figures, and nothing is said.

use std::net::IpAddr;

use rustix::fd::OwnedFd;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with};
use steadfast_health::detectors::transport::Counters;

use crate::peers::Ends;

/// Of this length are the head of a netlink message, and the fixed part of an answer (`struct inet_diag_msg`).
const HEAD_BYTES: usize = 16;
const ANSWER_BYTES: usize = 72;

/// The type of question and answer (`SOCK_DIAG_BY_FAMILY`).
const BY_FAMILY: u16 = 20;

/// It is a question (`NLM_F_REQUEST`).
const QUESTION: u16 = 1;

/// The number of the protocol TCP.
const TCP: u8 = 6;

/// The attribute that holds `struct tcp_info` (`INET_DIAG_INFO`).
const INFO: u16 = 2;

/// An answer is a fraction of this.
const BUFFER_BYTES: usize = 4096;

/// Old answers that may lie in the socket: none should.
const STALE_ANSWERS: usize = 8;

/// Where the figures lie in `struct tcp_info` (linux/tcp.h); an older kernel's ends earlier.
mod at {
    pub(super) const TOTAL_RETRANS: usize = 100;
    pub(super) const SEGS_OUT: usize = 136;
    pub(super) const SEGS_IN: usize = 140;
    pub(super) const OUT_OF_ORDER: usize = 224;
}

/// A way to ask the kernel.
#[derive(Debug)]
pub(super) struct Kernel {
    socket: OwnedFd,
    sequence: u32,
}

impl Kernel {
    /// `None` where it can't be asked.
    pub(super) fn open() -> Option<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let opened = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, Some(netlink::SOCK_DIAG));
        let socket = opened.inspect_err(|error| tracing::debug!(%error, "the kernel tells nothing of connections")).ok()?;
        Some(Kernel { socket, sequence: 0 })
    }

    /// What it has counted on one connection, if it is there.
    pub(super) fn counters(&mut self, ends: Ends) -> Option<Counters> {
        self.sequence = self.sequence.wrapping_add(1);
        send(&self.socket, &question(self.sequence, ends)?, SendFlags::empty()).ok()?;
        let mut buffer = [0; BUFFER_BYTES];
        for _ in 0..STALE_ANSWERS {
            let (length, _) = recv(&self.socket, &mut buffer, RecvFlags::empty()).ok()?;
            let message = buffer.get(..length)?;
            if u32_at(message, 8)? == self.sequence {
                return counters(message);
            }
        }
        None
    }
}

/// The question about one connection; `None` if its ends are of two families.
fn question(sequence: u32, Ends { own, peer }: Ends) -> Option<Vec<u8>> {
    const LENGTH: usize = HEAD_BYTES + 8 + 48;
    let family: u8 = match (own.ip(), peer.ip()) {
        (IpAddr::V4(_), IpAddr::V4(_)) => 2,
        (IpAddr::V6(_), IpAddr::V6(_)) => 10,
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return None,
    };
    let mut bytes = Vec::with_capacity(LENGTH);
    bytes.extend((LENGTH as u32).to_ne_bytes());
    bytes.extend(BY_FAMILY.to_ne_bytes());
    bytes.extend(QUESTION.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend(0u32.to_ne_bytes());
    bytes.extend([family, TCP, 1 << (INFO - 1), 0]);
    // In any state.
    bytes.extend(u32::MAX.to_ne_bytes());
    bytes.extend(own.port().to_be_bytes());
    bytes.extend(peer.port().to_be_bytes());
    bytes.extend(address(own.ip()));
    bytes.extend(address(peer.ip()));
    // On any interface, and whatever cookie the kernel has for it.
    bytes.extend(0u32.to_ne_bytes());
    bytes.extend([0xff; 8]);
    Some(bytes)
}

fn address(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&ip.octets());
            bytes
        }
        IpAddr::V6(ip) => ip.octets(),
    }
}

/// The figures in an answer; `None` if it is none, an error for one.
fn counters(message: &[u8]) -> Option<Counters> {
    if u16_at(message, 4)? != BY_FAMILY {
        return None;
    }
    let mut rest = message.get(HEAD_BYTES + ANSWER_BYTES..)?;
    while let (Some(length), Some(kind)) = (u16_at(rest, 0), u16_at(rest, 2)) {
        let length = usize::from(length);
        let content = rest.get(4..length)?;
        if kind == INFO {
            let figure = |at| u32_at(content, at).map(u64::from);
            return Some(Counters {
                sent: figure(at::SEGS_OUT)?,
                retransmitted: figure(at::TOTAL_RETRANS)?,
                received: figure(at::SEGS_IN)?,
                reordered: figure(at::OUT_OF_ORDER).unwrap_or(0),
            });
        }
        rest = rest.get(length.next_multiple_of(4)..)?;
    }
    None
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};

    fn pair(address: &str) -> (TcpStream, TcpStream, Ends) {
        let listener = TcpListener::bind(address).expect("a port");
        let dialled = TcpStream::connect(listener.local_addr().expect("bound")).expect("connected");
        let (accepted, _) = listener.accept().expect("connected");
        let ends = Ends { own: dialled.local_addr().expect("bound"), peer: dialled.peer_addr().expect("bound") };
        (dialled, accepted, ends)
    }

    #[test]
    fn a_real_connection_is_counted_from_both_ends() {
        let mut kernel = Kernel::open().expect("Linux tells");
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let (mut dialled, mut accepted, ends) = pair(address);
            let other = Ends { own: ends.peer, peer: ends.own };
            let before = kernel.counters(ends).expect("it is there");
            for _ in 0..50 {
                dialled.write_all(&[7]).expect("sent");
                accepted.read_exact(&mut [0]).expect("received");
            }
            let (sender, receiver) = (kernel.counters(ends).expect("it is there"), kernel.counters(other).expect("it is there"));
            assert!(sender.sent >= before.sent + 50 && receiver.received >= 50, "{sender:?} {receiver:?}");
            assert_eq!((sender.retransmitted, receiver.reordered), (0, 0), "on the loopback");
        }
    }

    #[test]
    fn what_is_not_there_has_no_figures_and_spoils_no_later_answer() {
        let mut kernel = Kernel::open().expect("Linux tells");
        let (_dialled, _accepted, ends) = pair("127.0.0.1:0");
        let nobody = Ends { own: "127.0.0.1:1".parse().unwrap(), peer: "127.0.0.1:2".parse().unwrap() };
        let mixed = Ends { own: "127.0.0.1:1".parse().unwrap(), peer: "[::1]:2".parse().unwrap() };
        assert_eq!((kernel.counters(nobody), kernel.counters(mixed)), (None, None));
        assert!(kernel.counters(ends).is_some());
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_answer_or_none(bytes in prop::collection::vec(any::<u8>(), 0..400), at in 0..300usize) {
            let _ = counters(&bytes);
            let mut answer = vec![0; HEAD_BYTES + ANSWER_BYTES];
            answer[4..6].copy_from_slice(&BY_FAMILY.to_ne_bytes());
            answer.extend(&bytes);
            let _ = counters(&answer);
            answer.truncate(at);
            let _ = counters(&answer);
        }
    }
}
