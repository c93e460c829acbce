//! What no proper client sends: raw bytes on sockets, HTTP/2 frames by hand (RFC 9113), peer greetings by hand, messages that are no messages.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use bytes::{Buf, BufMut};
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;

/// HTTP/2's preface and an empty SETTINGS frame.
pub fn http2_opening() -> Vec<u8> {
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &http2_frame(4, 0, 0, &[])].concat()
}

pub fn http2_frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a small frame").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The headers of a gRPC call, as literals without indexing (RFC 7541, section 6.2.2), and the flag that they are whole.
pub fn grpc_headers(stream: u32, path: &str) -> Vec<u8> {
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "x"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).expect("a short text"));
            block.extend(text.as_bytes());
        }
    }
    http2_frame(1, 4, stream, &block)
}

/// Sends bytes, and takes what comes back until the other side ends the connection or is silent for a moment.
pub fn send_raw(address: &str, bytes: &[u8]) -> Vec<u8> {
    let mut socket = TcpStream::connect(address).expect("the port is open");
    socket.set_read_timeout(Some(Duration::from_millis(500))).expect("a socket");
    // The other side may well close while this is being sent.
    let _ = socket.write_all(bytes);
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match socket.read(&mut buffer) {
            Ok(0) => return answer,
            Ok(read) => answer.extend(&buffer[..read]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::ConnectionReset) => {
                let _ = socket.shutdown(Shutdown::Both);
                return answer;
            }
            Err(error) => panic!("reading from {address}: {error}"),
        }
    }
}

/// The first words on the peer port, from a dialer that speaks these protocol versions.
pub fn peer_preamble(oldest: u8, newest: u8) -> Vec<u8> {
    [b"STEADFST".as_slice(), &[oldest, newest, 1, 0]].concat()
}

/// A frame between peers: length, checksum, payload.
pub fn peer_frame(payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a small frame").to_le_bytes();
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&length), payload).to_le_bytes();
    [&length, &checksum, payload].concat()
}

/// Bytes that look like nothing, always the same for a seed.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..length).map(|_| next()).collect()
}

/// Sends bytes as the message of a call, in a proper gRPC frame.
pub async fn call_with(channel: &Channel, path: &'static str, message: Vec<u8>) -> Result<Vec<u8>, Status> {
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let path = tonic::codegen::http::uri::PathAndQuery::from_static(path);
    Ok(client.unary(tonic::Request::new(message), path, RawCodec).await?.into_inner())
}

struct RawCodec;

impl Codec for RawCodec {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = RawCodec;
    type Decoder = RawCodec;

    fn encoder(&mut self) -> RawCodec {
        RawCodec
    }

    fn decoder(&mut self) -> RawCodec {
        RawCodec
    }
}

impl Encoder for RawCodec {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&item);
        Ok(())
    }
}

impl Decoder for RawCodec {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining()).to_vec()))
    }
}
