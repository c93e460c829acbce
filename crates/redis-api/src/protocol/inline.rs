//! Requests as people type them: words between blanks, with quotes.
//!
//! Double quotes know `\n`, `\r`, `\t`, `\b`, `\a`, `\xHH` and a backslash before any other byte; single quotes know `\'` alone. A closing
//! quote must end its word.

use crate::protocol::request::Span;

/// Splits `line` into words, which it appends to `words`, and their places to `spans`. Nothing if quotes are not balanced.
pub(crate) fn split(line: &[u8], words: &mut Vec<u8>, spans: &mut Vec<Span>) -> Option<()> {
    let mut rest = line.trim_ascii_start_blank();
    while !rest.is_empty() {
        let start = words.len();
        rest = word(rest, words)?;
        spans.push(Span { start: start as u32, length: (words.len() - start) as u32 });
        rest = rest.trim_ascii_start_blank();
    }
    Some(())
}

/// The words of a line; nothing if quotes are not balanced.
pub fn words(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let (mut bytes, mut spans) = (Vec::new(), Vec::new());
    split(line, &mut bytes, &mut spans)?;
    Some(spans.iter().map(|span| bytes[span.start as usize..][..span.length as usize].to_vec()).collect())
}

fn word<'a>(mut rest: &'a [u8], out: &mut Vec<u8>) -> Option<&'a [u8]> {
    while let Some((&byte, after)) = rest.split_first() {
        rest = match byte {
            _ if is_blank(byte) => return Some(rest),
            b'"' => return ends_word(double_quoted(after, out)?),
            b'\'' => return ends_word(single_quoted(after, out)?),
            _ => {
                out.push(byte);
                after
            }
        };
    }
    Some(rest)
}

fn ends_word(rest: &[u8]) -> Option<&[u8]> {
    rest.first().is_none_or(|&byte| is_blank(byte)).then_some(rest)
}

fn double_quoted<'a>(mut rest: &'a [u8], out: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        rest = match rest {
            [b'\\', b'x', high, low, after @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                out.push(hex(*high) << 4 | hex(*low));
                after
            }
            [b'\\', escaped, after @ ..] => {
                out.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 8,
                    b'a' => 7,
                    &other => other,
                });
                after
            }
            [b'"', after @ ..] => return Some(after),
            [byte, after @ ..] => {
                out.push(*byte);
                after
            }
            [] => return None,
        }
    }
}

fn single_quoted<'a>(mut rest: &'a [u8], out: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        rest = match rest {
            [b'\\', b'\'', after @ ..] => {
                out.push(b'\'');
                after
            }
            [b'\'', after @ ..] => return Some(after),
            [byte, after @ ..] => {
                out.push(*byte);
                after
            }
            [] => return None,
        }
    }
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit - b'A' + 10,
    }
}

/// What C's `isspace` takes for a blank.
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

trait TrimBlank {
    fn trim_ascii_start_blank(&self) -> &Self;
}

impl TrimBlank for [u8] {
    fn trim_ascii_start_blank(&self) -> &[u8] {
        let blanks = self.iter().take_while(|&&byte| is_blank(byte)).count();
        &self[blanks..]
    }
}
