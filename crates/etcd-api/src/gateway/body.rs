//! The JSON values in a request's body: one after the other, with nothing or white space between them.

use axum::body::BodyDataStream;
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use steadfast_types::limits;

/// Why there is no further value.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    /// The body ends within a value.
    #[error("the body ends before its JSON does")]
    CutShort,
    /// A value is longer than any request may be.
    #[error("the body has a JSON value of more than {} bytes", limits::GATEWAY_VALUE_BYTES)]
    TooLarge,
    /// The connection failed.
    #[error("the body cannot be received: {0}")]
    Connection(#[from] axum::Error),
}

/// A body that is read value by value.
pub(super) struct Values {
    body: BodyDataStream,
    received: BytesMut,
    scan: Scan,
}

impl Values {
    pub(super) fn new(body: axum::body::Body) -> Self {
        Values { body: body.into_data_stream(), received: BytesMut::new(), scan: Scan::default() }
    }

    /// The text of the next value; `None` at the end. Whether it is valid is not known yet.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        loop {
            if let Some(length) = self.scan.end(&self.received) {
                self.scan = Scan::default();
                return Ok(Some(self.received.split_to(length).freeze()));
            }
            if self.received.len() > limits::GATEWAY_VALUE_BYTES {
                return Err(BodyError::TooLarge);
            }
            match self.body.next().await {
                Some(bytes) => self.received.extend_from_slice(&bytes?),
                None => return self.rest(),
            }
        }
    }

    /// What the end of the body leaves: nothing, or a value that only the end ends.
    fn rest(&mut self) -> Result<Option<Bytes>, BodyError> {
        match std::mem::take(&mut self.scan) {
            Scan::Between(_) => Ok(None),
            Scan::Plain(_) => Ok(Some(self.received.split().freeze())),
            Scan::Nested { .. } => Err(BodyError::CutShort),
        }
    }

    /// Reads on to the end and forgets what comes, so that the connection can be used again; gives up at the limit of a value.
    pub(super) async fn finish(&mut self) {
        let mut forgotten = 0;
        while let Some(Ok(bytes)) = self.body.next().await {
            forgotten += bytes.len();
            if forgotten > limits::GATEWAY_VALUE_BYTES {
                return;
            }
        }
    }
}

/// Looks for the end of a value, each byte once; carries how many bytes it has seen.
#[derive(Clone, Copy, Debug)]
enum Scan {
    /// White space before the value.
    Between(usize),
    /// A number, a word, or what is no JSON: ends at white space or where an object or a list begins.
    Plain(usize),
    /// An object, a list or a text.
    Nested { seen: usize, depth: usize, text: bool, escaped: bool },
}

impl Default for Scan {
    fn default() -> Self {
        Scan::Between(0)
    }
}

impl Scan {
    /// The length of the first value in `received`, if it is whole.
    fn end(&mut self, received: &[u8]) -> Option<usize> {
        loop {
            let (Scan::Between(seen) | Scan::Plain(seen) | Scan::Nested { seen, .. }) = *self;
            let byte = *received.get(seen)?;
            if self.step(byte) {
                let (Scan::Between(seen) | Scan::Plain(seen) | Scan::Nested { seen, .. }) = *self;
                return Some(seen);
            }
        }
    }

    /// Takes one byte more; true if the value ends (before it, if it is plain).
    fn step(&mut self, byte: u8) -> bool {
        match self {
            Scan::Between(seen) => {
                let seen = *seen + 1;
                *self = match byte {
                    b' ' | b'\t' | b'\r' | b'\n' => Scan::Between(seen),
                    b'{' | b'[' => Scan::Nested { seen, depth: 1, text: false, escaped: false },
                    b'"' => Scan::Nested { seen, depth: 0, text: true, escaped: false },
                    _ => Scan::Plain(seen),
                };
                false
            }
            Scan::Plain(seen) => {
                if matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | b'{' | b'[') {
                    return true;
                }
                *seen += 1;
                false
            }
            Scan::Nested { seen, depth, text, escaped } => {
                *seen += 1;
                match byte {
                    _ if *escaped => *escaped = false,
                    b'\\' if *text => *escaped = true,
                    b'"' => *text = !*text,
                    b'{' | b'[' if !*text => *depth += 1,
                    b'}' | b']' if !*text => *depth -= 1,
                    _ => {}
                }
                *depth == 0 && !*text
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;

    use super::*;

    /// All values of a body that comes in these pieces, and how it ends.
    async fn values(pieces: Vec<Vec<u8>>) -> (Vec<String>, Option<String>) {
        let body = axum::body::Body::from_stream(stream::iter(pieces.into_iter().map(Ok::<_, std::convert::Infallible>)));
        let (mut values, mut found) = (Values::new(body), Vec::new());
        loop {
            match values.next().await {
                Ok(Some(value)) => found.push(String::from_utf8(value.to_vec()).expect("text").trim().to_owned()),
                Ok(None) => return (found, None),
                Err(error) => return (found, Some(error.to_string())),
            }
        }
    }

    #[tokio::test]
    async fn values_are_told_apart_however_the_body_is_cut() {
        let text = br#" {"a":"}\"{","b":[{}]}[1,"]"] null 17{} "x\\" nonsense"#;
        let expected = [r#"{"a":"}\"{","b":[{}]}"#, r#"[1,"]"]"#, "null", "17", "{}", r#""x\\""#, "nonsense"];
        for size in 1..=text.len() {
            let (found, error) = values(text.chunks(size).map(<[u8]>::to_vec).collect()).await;
            assert_eq!((found.as_slice(), error), (expected.map(str::to_owned).as_slice(), None), "pieces of {size}");
        }
    }

    #[tokio::test]
    async fn an_end_within_a_value_and_a_value_without_end_are_told() {
        assert_eq!(values(vec![]).await, (vec![], None));
        assert_eq!(values(vec![b"  \n".to_vec()]).await, (vec![], None));
        for cut in ["{", "{}{\"a\":[}", "\"a\\\"", "[[]"] {
            let (_, error) = values(vec![cut.as_bytes().to_vec()]).await;
            assert_eq!(error.as_deref(), Some("the body ends before its JSON does"), "{cut}");
        }
        let endless = vec![vec![b'['; 64 * 1024]; limits::GATEWAY_VALUE_BYTES / (64 * 1024) + 2];
        assert!(values(endless).await.1.expect("too large").contains("more than 4194304 bytes"));
    }
}
