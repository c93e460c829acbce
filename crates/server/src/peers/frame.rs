//! Frames on a byte stream: length (u32, little endian), CRC32C of length and payload, payload.
//!
//! TCP's checksum lets about one damaged segment in sixty thousand pass, so each frame has its own. The length is bounded before anything
//! is allocated for it. An empty payload is a sign of life, and means nothing else.

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadHalf, WriteHalf};

/// Length and checksum.
pub(super) const HEADER_BYTES: usize = 8;

/// A buffer for reading: about what a socket's own holds.
const READ_BYTES: usize = 64 * 1024;

/// With less room than this left in its buffer, a read gets a new one. Not sooner: a payload that is kept keeps its whole buffer, so each
/// buffer is to be filled with payloads, not begun and left.
const LEAST_ROOM_BYTES: usize = 4 * 1024;

/// Why a stream gives no more frames.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the connection was closed")]
    Closed,
    #[error("a frame of {length} bytes, where at most {limit} are allowed")]
    Oversized { length: usize, limit: usize },
    #[error("a frame whose checksum does not fit")]
    Damaged,
}

/// Appends a frame's header.
pub(super) fn put_header(out: &mut BytesMut, payload: &[u8]) {
    let length = u32::try_from(payload.len()).expect("a payload is within the limit of frames").to_le_bytes();
    out.put_slice(&length);
    out.put_u32_le(checksum(length, payload));
}

/// Appends a whole frame.
pub(super) fn put_frame(out: &mut BytesMut, payload: &[u8]) {
    put_header(out, payload);
    out.put_slice(payload);
}

fn checksum(length: [u8; 4], payload: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&length), payload)
}

/// Takes frames off a stream. Payloads are slices of what was read, not copies.
#[derive(Debug)]
pub(crate) struct FrameReader<R> {
    stream: R,
    buffer: BytesMut,
    limit: usize,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// A reader of frames of at most `limit` bytes each.
    pub(super) fn new(stream: R, limit: usize) -> Self {
        FrameReader { stream, buffer: BytesMut::new(), limit }
    }

    /// The same stream with another limit, and what is read ahead.
    pub(super) fn with_limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// The stream itself, for writing.
    pub(super) fn stream(&mut self) -> &mut R {
        &mut self.stream
    }

    /// Its two directions: the frames that come, what is read ahead among them, and the writing half.
    pub(super) fn split(self) -> (FrameReader<ReadHalf<R>>, WriteHalf<R>)
    where
        R: AsyncWrite,
    {
        let (read, write) = tokio::io::split(self.stream);
        (FrameReader { stream: read, buffer: self.buffer, limit: self.limit }, write)
    }

    /// The stream, without what was read ahead.
    pub(super) fn into_stream(self) -> R {
        self.stream
    }

    /// The next frame that is wholly here.
    pub(super) fn buffered(&mut self) -> Result<Option<Bytes>, FrameError> {
        let Some(needed) = self.needed()? else { return Ok(None) };
        if self.buffer.len() < needed {
            return Ok(None);
        }
        let mut frame = self.buffer.split_to(needed).freeze();
        let length: [u8; 4] = frame[..4].try_into().expect("four bytes");
        frame.advance(4);
        let sum = frame.get_u32_le();
        if sum != checksum(length, &frame) {
            return Err(FrameError::Damaged);
        }
        Ok(Some(frame))
    }

    /// The length of the frame in front, with its header, once that is here.
    fn needed(&self) -> Result<Option<usize>, FrameError> {
        let Some(header) = self.buffer.first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_le_bytes(*header) as usize;
        if length > self.limit {
            return Err(FrameError::Oversized { length, limit: self.limit });
        }
        Ok(Some(HEADER_BYTES + length))
    }

    /// Reads what has come, at least one byte. May be cancelled without loss.
    pub(super) async fn fill(&mut self) -> Result<usize, FrameError> {
        let missing = self.needed()?.map_or(0, |needed| needed.saturating_sub(self.buffer.len()));
        self.make_room(missing);
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(FrameError::Closed),
            read => Ok(read),
        }
    }

    fn make_room(&mut self, missing: usize) {
        if self.buffer.capacity() - self.buffer.len() < missing.max(LEAST_ROOM_BYTES) {
            self.buffer.reserve(missing.max(READ_BYTES));
        }
    }

    /// Waits for the next frame. May be cancelled without loss.
    pub(super) async fn next(&mut self) -> Result<Bytes, FrameError> {
        loop {
            if let Some(frame) = self.buffered()? {
                return Ok(frame);
            }
            self.fill().await?;
        }
    }

    /// Waits for exactly `N` bytes that are not framed. May be cancelled without loss.
    pub(super) async fn raw<const N: usize>(&mut self) -> Result<[u8; N], FrameError> {
        while self.buffer.len() < N {
            self.make_room(N);
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(FrameError::Closed);
            }
        }
        Ok(self.buffer.split_to(N)[..].try_into().expect("as many bytes as were split off"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(bytes: &[u8], limit: usize) -> FrameReader<&[u8]> {
        FrameReader::new(bytes, limit)
    }

    #[tokio::test]
    async fn frames_come_out_as_they_went_in() {
        let payloads = [vec![], vec![1], vec![7; 300_000], vec![2, 3]];
        let mut out = BytesMut::new();
        payloads.iter().for_each(|payload| put_frame(&mut out, payload));
        let mut frames = reader(&out, 300_000);
        for payload in &payloads {
            assert_eq!(frames.next().await.unwrap(), payload);
        }
        assert!(matches!(frames.next().await, Err(FrameError::Closed)));
    }

    #[tokio::test]
    async fn small_frames_share_a_buffer_however_they_come() {
        let (mut sender, receiver) = tokio::io::duplex(READ_BYTES);
        let mut frames = FrameReader::new(receiver, 64);
        let mut out = BytesMut::new();
        put_frame(&mut out, &[7; 24]);
        let mut kept = Vec::new();
        for _ in 0..1500 {
            tokio::io::AsyncWriteExt::write_all(&mut sender, &out).await.unwrap();
            kept.push(frames.next().await.unwrap());
        }
        let adjacent = |pair: &[Bytes]| pair[1].as_ptr() as usize == pair[0].as_ptr() as usize + out.len();
        let buffers = 1 + kept.windows(2).filter(|pair| !adjacent(pair)).count();
        assert!(buffers <= 2, "1500 frames of 32 bytes keep {buffers} buffers");
    }

    #[tokio::test]
    async fn a_damaged_or_oversized_frame_is_refused() {
        let mut out = BytesMut::new();
        put_frame(&mut out, b"payload");
        for position in 0..out.len() {
            let mut bad = out.clone();
            bad[position] ^= 0x10;
            let error = reader(&bad, 64).next().await.unwrap_err();
            assert!(matches!(error, FrameError::Damaged | FrameError::Oversized { .. } | FrameError::Closed), "byte {position}: {error}");
        }
        let error = reader(&out, 6).next().await.unwrap_err();
        assert!(matches!(error, FrameError::Oversized { length: 7, limit: 6 }));
        assert!(matches!(reader(&[0; HEADER_BYTES], 6).next().await, Err(FrameError::Damaged)), "zeros are no sign of life");
    }
}
