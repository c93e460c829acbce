//! HTTP/1.1 by hand: every byte of a request as a test wants it, and bodies read as they come (RFC 9112).

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};

use super::LONG;

/// A request under way: its body may still be sent, its answer is read as it comes.
pub struct Exchange {
    socket: TcpStream,
    reader: BufReader<TcpStream>,
}

/// The head of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    pub status: u16,
    pub content_type: String,
    length: Length,
}

/// How long an answer's body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Length {
    Bytes(usize),
    Chunked,
    /// Until the connection ends.
    Rest,
}

impl Exchange {
    /// Connects and sends the head of a request.
    pub fn begin(address: &str, method: &str, path: &str, headers: &[(&str, &str)]) -> Self {
        let mut socket = TcpStream::connect(address).expect("it listens");
        socket.set_read_timeout(Some(LONG)).expect("a TCP socket");
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let head = format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\n{headers}\r\n");
        socket.write_all(head.as_bytes()).expect("sent");
        Exchange { reader: BufReader::new(socket.try_clone().expect("a handle")), socket }
    }

    /// The same with a body whose end is open.
    pub fn begin_chunked(address: &str, method: &str, path: &str) -> Self {
        Self::begin(address, method, path, &[("transfer-encoding", "chunked")])
    }

    /// Sends these bytes.
    pub fn send(&mut self, text: &str) {
        self.socket.write_all(text.as_bytes()).expect("sent");
    }

    /// Sends a piece of the body; nothing ends the body.
    pub fn chunk(&mut self, piece: &str) {
        write!(self.socket, "{:x}\r\n{piece}\r\n", piece.len()).expect("sent");
    }

    /// Reads the head of the answer.
    pub fn head(&mut self) -> Head {
        let line = self.head_line();
        let status = line.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("a status in {line:?}"));
        let mut head = Head { status, content_type: String::new(), length: Length::Rest };
        loop {
            let line = self.head_line().to_ascii_lowercase();
            let Some((name, value)) = line.split_once(':') else { return head };
            match (name, value.trim()) {
                ("content-type", value) => head.content_type = value.to_owned(),
                ("content-length", value) => head.length = Length::Bytes(value.parse().expect("a number")),
                ("transfer-encoding", "chunked") => head.length = Length::Chunked,
                _ => {}
            }
        }
    }

    fn head_line(&mut self) -> String {
        let mut line = String::new();
        self.reader.read_line(&mut line).expect("it answers");
        line.trim_end().to_owned()
    }

    /// The next piece of a body that comes in pieces; `None` at its end.
    pub fn piece(&mut self) -> Option<String> {
        let size = usize::from_str_radix(&self.head_line(), 16).expect("a chunk's size");
        let piece = self.exactly(size);
        // What ends each piece, and all of them.
        self.head_line();
        (size > 0).then_some(piece)
    }

    fn exactly(&mut self, size: usize) -> String {
        let mut bytes = vec![0; size];
        self.reader.read_exact(&mut bytes).expect("the rest of the body");
        String::from_utf8(bytes).expect("text")
    }

    /// The body of an answer with this head, up to its end or until it has so many lines.
    pub fn body(&mut self, head: &Head, lines: Option<usize>) -> String {
        match head.length {
            Length::Bytes(size) => self.exactly(size),
            Length::Chunked => {
                let mut body = String::new();
                while lines.is_none_or(|lines| body.matches('\n').count() < lines) {
                    let Some(piece) = self.piece() else { break };
                    body += &piece;
                }
                body
            }
            Length::Rest => {
                let mut body = String::new();
                self.reader.read_to_string(&mut body).expect("the rest");
                body
            }
        }
    }

    /// Goes away in the middle.
    pub fn hang_up(self) {
        // The other side may have closed before.
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

/// A whole request and its answer; `lines` as for [`Exchange::body`].
pub fn ask(address: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &str, lines: Option<usize>) -> (Head, String) {
    let length = body.len().to_string();
    let mut exchange = Exchange::begin(address, method, path, &[headers, &[("content-length", &length)]].concat());
    exchange.send(body);
    let head = exchange.head();
    let text = if method == "HEAD" { String::new() } else { exchange.body(&head, lines) };
    exchange.hang_up();
    (head, text)
}
