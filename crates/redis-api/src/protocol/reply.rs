//! Answers, written in the protocol version of their connection.
//!
//! Version 2 has no maps, sets, doubles and so on: it gets the same things as flat arrays, byte strings and integers, as Redis writes them.

use crate::protocol::number::{put_f64, put_i64};

/// A connection's protocol version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// RESP2, which each connection begins with.
    #[default]
    Two,
    /// RESP3, by `HELLO 3`.
    Three,
}

/// Appends answers to bytes.
#[derive(Debug)]
pub struct Reply<'a> {
    out: &'a mut Vec<u8>,
    version: Version,
}

impl<'a> Reply<'a> {
    /// A writer of `version` that appends to `out`.
    pub fn new(out: &'a mut Vec<u8>, version: Version) -> Self {
        Reply { out, version }
    }

    /// The version it writes.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Writes `version` from here on.
    pub fn set_version(&mut self, version: Version) {
        self.version = version;
    }

    /// How many bytes were written before and by it.
    pub fn position(&self) -> usize {
        self.out.len()
    }

    /// Takes back all after `position`.
    pub fn truncate(&mut self, position: usize) {
        self.out.truncate(position);
    }

    /// A status.
    pub fn simple(&mut self, text: &str) {
        self.line(b'+', text.as_bytes());
    }

    /// `OK`.
    pub fn ok(&mut self) {
        self.out.extend_from_slice(b"+OK\r\n");
    }

    /// An error: its code, a blank and its text. Line ends within become blanks.
    pub fn error(&mut self, text: impl AsRef<[u8]>) {
        self.out.push(b'-');
        self.out.extend(text.as_ref().iter().map(|&byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { byte }));
        self.end();
    }

    /// An integer.
    pub fn integer(&mut self, value: i64) {
        self.head(b':', value);
    }

    /// A count.
    pub fn count(&mut self, value: usize) {
        self.head(b':', value as i64);
    }

    /// A byte string.
    pub fn bulk(&mut self, bytes: &[u8]) {
        self.head(b'$', bytes.len() as i64);
        self.out.extend_from_slice(bytes);
        self.end();
    }

    /// A byte string, or null.
    pub fn bulk_or_null(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            Some(bytes) => self.bulk(bytes),
            None => self.null(),
        }
    }

    /// An integer as a byte string.
    pub fn bulk_integer(&mut self, value: i64) {
        self.bulk(itoa::Buffer::new().format(value).as_bytes());
    }

    /// Null, where a byte string is usual.
    pub fn null(&mut self) {
        self.out.extend_from_slice(match self.version {
            Version::Two => b"$-1\r\n",
            Version::Three => b"_\r\n",
        });
    }

    /// Null, where an array is usual.
    pub fn null_array(&mut self) {
        self.out.extend_from_slice(match self.version {
            Version::Two => b"*-1\r\n",
            Version::Three => b"_\r\n",
        });
    }

    /// The head of an array of `length` answers, which follow.
    pub fn array(&mut self, length: usize) {
        self.head(b'*', length as i64);
    }

    /// The head of a map of `length` pairs, which follow.
    pub fn map(&mut self, length: usize) {
        match self.version {
            Version::Two => self.head(b'*', 2 * length as i64),
            Version::Three => self.head(b'%', length as i64),
        }
    }

    /// The head of a set of `length` answers, which follow.
    pub fn set(&mut self, length: usize) {
        match self.version {
            Version::Two => self.head(b'*', length as i64),
            Version::Three => self.head(b'~', length as i64),
        }
    }

    /// The head of a message that answers no request, of `length` answers, which follow.
    pub fn push(&mut self, length: usize) {
        match self.version {
            Version::Two => self.head(b'*', length as i64),
            Version::Three => self.head(b'>', length as i64),
        }
    }

    /// A float.
    pub fn double(&mut self, value: f64) {
        match self.version {
            Version::Two => {
                let mut text = Vec::with_capacity(24);
                put_f64(&mut text, value);
                self.bulk(&text);
            }
            Version::Three => {
                self.out.push(b',');
                put_f64(self.out, value);
                self.end();
            }
        }
    }

    /// True or false.
    pub fn boolean(&mut self, value: bool) {
        match self.version {
            Version::Two => self.integer(value.into()),
            Version::Three => self.out.extend_from_slice(if value { b"#t\r\n" } else { b"#f\r\n" }),
        }
    }

    /// A text for people, with its format in three letters (`txt`, `mkd`).
    pub fn verbatim(&mut self, format: [u8; 3], text: &[u8]) {
        match self.version {
            Version::Two => self.bulk(text),
            Version::Three => {
                self.head(b'=', text.len() as i64 + 4);
                self.out.extend_from_slice(&format);
                self.out.push(b':');
                self.out.extend_from_slice(text);
                self.end();
            }
        }
    }

    /// A whole number of any length, in decimal.
    pub fn big_number(&mut self, digits: &str) {
        match self.version {
            Version::Two => self.bulk(digits.as_bytes()),
            Version::Three => self.line(b'(', digits.as_bytes()),
        }
    }

    /// Statuses in a set, as flags of commands are shown.
    pub fn statuses<'s>(&mut self, names: impl Iterator<Item = &'s str> + Clone) {
        self.set(names.clone().count());
        for name in names {
            self.simple(name);
        }
    }

    /// Answers that were written elsewhere, in this version.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    fn line(&mut self, kind: u8, text: &[u8]) {
        self.out.push(kind);
        self.out.extend_from_slice(text);
        self.end();
    }

    fn head(&mut self, kind: u8, value: i64) {
        self.out.push(kind);
        put_i64(self.out, value);
        self.end();
    }

    fn end(&mut self) {
        self.out.extend_from_slice(b"\r\n");
    }
}
