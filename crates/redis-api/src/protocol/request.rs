//! Requests, taken off a connection's bytes as they come.
//!
//! A request is an array of byte strings, or an inline line. The parser remembers how far it came, so that a request which arrives in
//! many pieces is not read again from its beginning. Arguments are places in the caller's buffer: nothing is copied, but for the words of an
//! inline line, which may have been quoted. Nothing is allocated for what a length only announces.
//!
//! The caller hands in the same unconsumed bytes and what came after them; when a request is complete, it reads the [`Arguments`] and
//! then drops the request's bytes from the front of its buffer.

use memchr::memchr;

use crate::protocol::inline;
use crate::protocol::limits::{ARGUMENTS, BULK_BYTES, LINE_BYTES, REQUEST_BYTES, STRANGER_ARGUMENTS, STRANGER_BULK_BYTES};
use crate::protocol::number::parse_i64;

/// Why a connection's bytes are no request. The answer is `-ERR Protocol error: ` and this text, then the connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// The line with the count of arguments does not end.
    #[error("too big mbulk count string")]
    LongCount,
    /// The count of arguments is no number, or too great.
    #[error("invalid multibulk length")]
    Count,
    /// More arguments than a stranger may send.
    #[error("unauthenticated multibulk length")]
    StrangerCount,
    /// The line with an argument's length does not end.
    #[error("too big bulk count string")]
    LongLength,
    /// An argument does not begin with a dollar sign.
    #[error("expected '$', got '{}'", char::from(if matches!(.0, b'\r' | b'\n') { b' ' } else { *.0 }))]
    Dollar(u8),
    /// An argument's length is no number, or too great.
    #[error("invalid bulk length")]
    Length,
    /// A longer argument than a stranger may send.
    #[error("unauthenticated bulk length")]
    StrangerLength,
    /// An inline request that does not end.
    #[error("too big inline request")]
    LongLine,
    /// Quotes in an inline request that do not end, or do not end the word.
    #[error("unbalanced quotes in request")]
    Quotes,
    /// All arguments together are too long.
    #[error("too big request")]
    LongRequest,
}

/// Where an argument lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: u32,
    pub(crate) length: u32,
}

/// The arguments of one request, the command's name first.
#[derive(Clone, Copy)]
pub struct Arguments<'a> {
    bytes: &'a [u8],
    spans: &'a [Span],
}

impl<'a> Arguments<'a> {
    pub(crate) fn new(bytes: &'a [u8], spans: &'a [Span]) -> Self {
        Arguments { bytes, spans }
    }

    /// How many there are, with the command's name.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there is none: an empty line or array, which is not answered.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// The argument at `index`, if there are so many.
    pub fn get(&self, index: usize) -> Option<&'a [u8]> {
        self.spans.get(index).map(|&span| self.at(span))
    }

    /// The arguments from `index` on.
    pub fn from(&self, index: usize) -> Self {
        Arguments { bytes: self.bytes, spans: self.spans.get(index..).unwrap_or_default() }
    }

    /// All of them in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &'a [u8]> + ExactSizeIterator + use<'a> {
        let arguments = *self;
        self.spans.iter().map(move |&span| arguments.at(span))
    }

    fn at(&self, span: Span) -> &'a [u8] {
        let start = span.start as usize;
        &self.bytes[start..start + span.length as usize]
    }
}

impl std::ops::Index<usize> for Arguments<'_> {
    type Output = [u8];
    fn index(&self, index: usize) -> &[u8] {
        self.at(self.spans[index])
    }
}

impl std::fmt::Debug for Arguments<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter().map(|argument| argument.escape_ascii().to_string())).finish()
    }
}

/// A request's arguments kept beyond its bytes, in one allocation for the bytes.
#[derive(Clone, Debug, Default)]
pub struct OwnedArguments {
    bytes: Box<[u8]>,
    spans: Box<[Span]>,
}

impl OwnedArguments {
    /// A copy of `arguments`.
    pub fn new<'a>(arguments: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut bytes = Vec::new();
        let mut spans = Vec::new();
        for argument in arguments {
            spans.push(Span { start: bytes.len() as u32, length: argument.len() as u32 });
            bytes.extend_from_slice(argument);
        }
        OwnedArguments { bytes: bytes.into(), spans: spans.into() }
    }

    /// The arguments.
    pub fn as_arguments(&self) -> Arguments<'_> {
        Arguments::new(&self.bytes, &self.spans)
    }

    /// The bytes this holds on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.bytes.len() + size_of_val(&*self.spans)
    }
}

/// Takes requests off the front of a connection's bytes.
#[derive(Debug, Default)]
pub struct Parser {
    /// Of the request that is being read, how many bytes are done with.
    position: usize,
    /// From `position` on, how many bytes hold no line's end.
    searched: usize,
    /// How many arguments are to come; nothing before the count was read.
    missing: Option<u32>,
    /// The length of the argument that begins at `position`, once it was read.
    bulk: Option<usize>,
    spans: Vec<Span>,
    words: Vec<u8>,
    is_inline: bool,
}

impl Parser {
    /// A parser at the beginning of a request.
    pub fn new() -> Self {
        Self::default()
    }

    /// How long the request is with which `buffer` begins, in bytes, if it is there whole. `buffer` is what the last call saw and what came
    /// since; after a complete request it begins with the next one. `is_stranger` is whether the connection has yet to authenticate.
    ///
    /// # Errors
    /// If the bytes are no request: the connection is to be closed.
    pub fn poll(&mut self, buffer: &[u8], is_stranger: bool) -> Result<Option<usize>, ProtocolError> {
        if self.position == 0 && self.missing.is_none() {
            match buffer.first() {
                None => return Ok(None),
                Some(b'*') => {}
                Some(_) => return self.poll_inline(buffer),
            }
        }
        let missing = match self.missing {
            Some(missing) => missing,
            None => {
                let Some(line) = self.line(buffer, ProtocolError::LongCount)? else { return Ok(None) };
                let count = parse_i64(&line[1..]).filter(|&count| count <= ARGUMENTS).ok_or(ProtocolError::Count)?;
                if is_stranger && count > STRANGER_ARGUMENTS {
                    return Err(ProtocolError::StrangerCount);
                }
                self.spans.clear();
                self.is_inline = false;
                count.max(0) as u32
            }
        };
        self.missing = Some(missing);
        for missing in (0..missing).rev() {
            if !self.poll_bulk(buffer, is_stranger)? {
                return Ok(None);
            }
            self.missing = Some(missing);
        }
        self.missing = None;
        Ok(Some(std::mem::take(&mut self.position)))
    }

    /// The arguments of the request that was last complete, which `buffer` still begins with.
    pub fn arguments<'a>(&'a self, buffer: &'a [u8]) -> Arguments<'a> {
        Arguments::new(if self.is_inline { &self.words } else { buffer }, &self.spans)
    }

    /// How many bytes the buffer should hold for the argument that is being read to be there whole: 0 if that is not known.
    pub fn wanted(&self) -> usize {
        self.bulk.map_or(0, |length| self.position + length + 2)
    }

    fn poll_bulk(&mut self, buffer: &[u8], is_stranger: bool) -> Result<bool, ProtocolError> {
        let length = match self.bulk {
            Some(length) => length,
            None => {
                let at = self.position;
                let Some(line) = self.line(buffer, ProtocolError::LongLength)? else { return Ok(false) };
                let first = line.first().copied().unwrap_or(buffer[at]);
                if first != b'$' {
                    return Err(ProtocolError::Dollar(first));
                }
                let length =
                    parse_i64(&line[1..]).filter(|length| (0..=BULK_BYTES as i64).contains(length)).ok_or(ProtocolError::Length)?;
                if is_stranger && length > STRANGER_BULK_BYTES {
                    return Err(ProtocolError::StrangerLength);
                }
                length as usize
            }
        };
        self.bulk = Some(length);
        let end = self.position + length + 2;
        if end > REQUEST_BYTES {
            return Err(ProtocolError::LongRequest);
        }
        if buffer.len() < end {
            return Ok(false);
        }
        self.spans.push(Span { start: self.position as u32, length: length as u32 });
        self.position = end;
        self.bulk = None;
        Ok(true)
    }

    /// The line at `position`, without its end, if it is there whole with the byte after its carriage return; that byte is not looked at.
    fn line<'a>(&mut self, buffer: &'a [u8], too_long: ProtocolError) -> Result<Option<&'a [u8]>, ProtocolError> {
        let rest = &buffer[self.position..];
        let Some(length) = memchr(b'\r', &rest[self.searched..]).map(|at| at + self.searched) else {
            self.searched = rest.len();
            return if rest.len() > LINE_BYTES { Err(too_long) } else { Ok(None) };
        };
        self.searched = length;
        if rest.len() < length + 2 {
            return Ok(None);
        }
        self.searched = 0;
        self.position += length + 2;
        if self.position > REQUEST_BYTES {
            return Err(ProtocolError::LongRequest);
        }
        Ok(Some(&rest[..length]))
    }

    fn poll_inline(&mut self, buffer: &[u8]) -> Result<Option<usize>, ProtocolError> {
        let Some(length) = memchr(b'\n', &buffer[self.searched..]).map(|at| at + self.searched) else {
            self.searched = buffer.len();
            return if buffer.len() > LINE_BYTES { Err(ProtocolError::LongLine) } else { Ok(None) };
        };
        self.searched = 0;
        let line = &buffer[..length];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        self.spans.clear();
        self.words.clear();
        self.is_inline = true;
        inline::split(line, &mut self.words, &mut self.spans).ok_or(ProtocolError::Quotes)?;
        Ok(Some(length + 1))
    }
}
