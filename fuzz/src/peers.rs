//! Streams of bytes from whoever connects to the port for peers: frames, and the handshake before them.
//!
//! The code under test is private to its crate, so its very files are included here.

#[allow(dead_code, unreachable_pub, reason = "the part of another crate that is tested here")]
#[path = "../../crates/server/src/peers/frame.rs"]
mod frame;
#[allow(dead_code, unreachable_pub, missing_docs, reason = "the part of another crate that is tested here")]
#[path = "../../crates/server/src/peers/handshake.rs"]
mod handshake;

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use steadfast_types::Level;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::script::{Edit, Script};
use super::wire::decode;
use frame::{FrameError, FrameReader, put_frame};
use handshake::{HandshakeError, Heard, Hello, Purpose, Topic, Welcome, answer, ask, greet, hear};

/// The largest frame allowed here, bytes.
const LIMIT: usize = 300;

/// A connection whose other side has said all it will; what is written to it is kept. Each read gives at most `piece` bytes.
struct Connection<'a> {
    incoming: &'a [u8],
    piece: usize,
    written: Vec<u8>,
}

impl<'a> Connection<'a> {
    fn new(incoming: &'a [u8], piece: usize) -> Self {
        Connection { incoming, piece: piece.max(1), written: Vec::new() }
    }
}

impl AsyncRead for Connection<'_> {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let (now, rest) = self.incoming.split_at(self.piece.min(buffer.remaining()).min(self.incoming.len()));
        buffer.put_slice(now);
        self.incoming = rest;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection<'_> {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.written.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// The outcome of what never waits for anything but a [`Connection`].
fn now<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("something waits that has all it needs"),
    }
}

/// The first byte says what the rest is: a stream of frames, frames to be damaged, or one side of a handshake.
pub fn check(input: &[u8]) {
    let mut script = Script::new(input);
    let (kind, piece) = (script.byte(), usize::from(script.byte()));
    match kind {
        0 => check_stream(script.rest(), piece),
        1 => check_damage(&mut script, piece),
        2 => check_accepter(script.rest(), piece),
        3 => check_dialer(script.rest(), piece),
        4 => check_accepter(&framed_after_preamble(script.rest()), piece),
        5 => check_dialer(&framed_after_preamble(script.rest()), piece),
        6 => drop(decode::<Hello>(Bytes::copy_from_slice(script.rest()))),
        _ => drop(decode::<Welcome>(Bytes::copy_from_slice(script.rest()))),
    }
}

/// The frames of a stream, and how it ended.
fn frames(stream: &[u8], piece: usize) -> (Vec<Bytes>, FrameError) {
    let mut reader = FrameReader::new(Connection::new(stream, piece), LIMIT);
    let mut frames = Vec::new();
    loop {
        match now(reader.next()) {
            Ok(frame) => frames.push(frame),
            Err(error) => return (frames, error),
        }
    }
}

/// In whatever pieces a stream comes, its frames are the same; and they are just what was on the stream.
fn check_stream(stream: &[u8], piece: usize) {
    let (whole, ending) = frames(stream, stream.len());
    let (pieces, pieces_ending) = frames(stream, piece);
    assert_eq!(whole, pieces);
    assert_eq!(format!("{ending:?}"), format!("{pieces_ending:?}"));
    let mut out = BytesMut::new();
    whole.iter().for_each(|frame| put_frame(&mut out, frame));
    assert!(stream.starts_with(&out), "frames came out that were not on the stream");
    assert!(whole.iter().all(|frame| frame.len() <= LIMIT));
    assert!(!matches!(ending, FrameError::Io(_)), "{ending}");
}

/// Frames as they were sent, with one byte of the stream changed: all before the damage come out, nothing else does.
fn check_damage(script: &mut Script<'_>, piece: usize) {
    let edit = Edit::flip(script);
    let (mut sent, mut out) = (Vec::new(), BytesMut::new());
    while !script.is_over() {
        let length = usize::from(script.byte());
        let payload = script.take(length);
        put_frame(&mut out, payload);
        sent.push(payload);
    }
    let mut stream = out.to_vec();
    edit.apply(&mut stream);
    let (received, ending) = frames(&stream, piece);
    assert!(received.len() <= sent.len() && received.iter().zip(&sent).all(|(received, sent)| received == sent));
    if stream == out {
        assert!(received.len() == sent.len() && matches!(ending, FrameError::Closed), "{ending}");
    } else {
        assert!(received.len() < sent.len(), "the damage was not noticed");
    }
}

/// A preamble, and a sound frame with the rest.
fn framed_after_preamble(input: &[u8]) -> Vec<u8> {
    const PREAMBLE_BYTES: usize = 12;
    let (preamble, words) = input.split_at(input.len().min(PREAMBLE_BYTES));
    let mut out = BytesMut::from(preamble);
    put_frame(&mut out, words);
    out.to_vec()
}

/// What a stranger says to the accepter.
fn check_accepter(incoming: &[u8], piece: usize) {
    let heard = now(hear(Connection::new(incoming, piece), Level::FIRST));
    match heard {
        Ok(Heard { purpose: Purpose::Session | Purpose::Lane, words, mut stream, .. }) => {
            drop(decode::<Hello>(words));
            now(answer(&mut stream, b"words")).expect("this connection takes everything");
            assert!(stream.into_stream().written.ends_with(b"words"));
        }
        Ok(Heard {
            purpose:
                Purpose::Question(
                    Topic::Founding
                    | Topic::Claim
                    | Topic::Gossip
                    | Topic::Attend
                    | Topic::Health
                    | Topic::Diagnosis
                    | Topic::Admit
                    | Topic::Restart,
                ),
            words,
            ..
        }) => {
            assert!(words.len() <= handshake::HANDSHAKE_FRAME_BYTES)
        }
        Err(error) => check_refusal(&error),
    }
}

/// What is there says this to the dialer.
fn check_dialer(incoming: &[u8], piece: usize) {
    let asked = now(ask(Connection::new(incoming, piece), (Purpose::Question(Topic::Claim), Level::FIRST), b"question"));
    let hello =
        Hello { cluster: Default::default(), from: Default::default(), to: Default::default(), incarnation: 1, address: "a:1".into() };
    let greeted = now(greet(Connection::new(incoming, piece), Purpose::Session, &hello, Level::FIRST));
    match (&asked, &greeted) {
        (Ok((words, _)), greeted) => assert_eq!(decode::<Welcome>(words.clone()) == Some(Welcome::Accepted), greeted.is_ok()),
        (Err(asked), Err(greeted)) => assert_eq!(format!("{asked:?}"), format!("{greeted:?}")),
        (Err(error), Ok(_)) => panic!("greeted, though the answer can't be read: {error}"),
    }
    if let Err(error) = asked {
        check_refusal(&error);
    }
}

fn check_refusal(error: &HandshakeError) {
    let in_words = error.to_string();
    assert!(!in_words.is_empty() && in_words.len() < 1000, "{in_words}");
}
