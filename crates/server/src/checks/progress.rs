//! How far a run has come, so that one that hangs can be told apart from another: where it stands, and the last lines that a script said.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use steadfast_health::limits::{DETAIL_BYTES, cut};
use steadfast_health::redact::{MARK, redact};

/// Bytes of output that are kept: the last lines. With what is said before them they fit into a result.
const OUTPUT_BYTES: usize = 896;

/// Stands between two lines that are said on one.
const BETWEEN: &str = " | ";

/// Bytes of a line that are looked at; the rest of it is dropped.
const LINE_BYTES: usize = 4096;

/// Where a run stands. Clones are handles on the same one.
#[derive(Clone, Default)]
pub(crate) struct Progress(Arc<Mutex<Reached>>);

#[derive(Default)]
struct Reached {
    stage: &'static str,
    output: Tail,
}

impl Progress {
    /// It waits for this now.
    pub(super) fn waits_for(&self, stage: &'static str) {
        self.0.lock().stage = stage;
    }

    /// A script said this.
    pub(super) fn said(&self, bytes: &[u8]) {
        self.0.lock().output.push(bytes);
    }

    /// The last lines that were said, without secrets; empty if there are none.
    pub(crate) fn last_lines(&self) -> String {
        self.0.lock().output.text()
    }

    /// What to say of a run that did not end in its time: where it stood, and what it said.
    pub(super) fn words(&self) -> String {
        let reached = self.0.lock();
        let output = reached.output.text();
        match (reached.stage, output.as_str()) {
            ("", _) => String::new(),
            (stage, "") => format!("; it waited for {stage}"),
            (stage, output) => format!("; it waited for {stage}, and had said: {output}"),
        }
    }
}

/// Words of others as they may be kept and shown: without secrets, on one line, of bounded length.
pub(super) fn tidy(text: &str) -> String {
    let text = redact(text);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let line: String = lines.join(BETWEEN).chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    cut(&line, DETAIL_BYTES).to_owned()
}

/// The last lines of an output of any length, in bounded memory. Secrets are found line by line before lines are forgotten, for what is left of a key
/// whose beginning is gone would not be known as one.
#[derive(Default)]
struct Tail {
    lines: VecDeque<String>,
    /// Theirs, with what stands between them.
    bytes: usize,
    /// The line that has not ended yet.
    open: Vec<u8>,
    in_key: bool,
}

impl Tail {
    fn push(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let room = LINE_BYTES - self.open.len();
            self.open.extend_from_slice(&piece[..piece.len().min(room)]);
            if piece.ends_with(b"\n") {
                let line = std::mem::take(&mut self.open);
                self.end_line(&line);
            }
        }
    }

    fn end_line(&mut self, line: &[u8]) {
        let line = String::from_utf8_lossy(line);
        let shown = if self.in_key { MARK.to_owned() } else { tidy(&line) };
        self.in_key = is_in_key(self.in_key, &line);
        if shown.is_empty() || self.lines.back().is_some_and(|last| *last == MARK && shown == MARK) {
            return;
        }
        let shown = cut(&shown, OUTPUT_BYTES - BETWEEN.len()).to_owned();
        self.bytes += shown.len() + BETWEEN.len();
        self.lines.push_back(shown);
        while self.bytes > OUTPUT_BYTES {
            self.bytes -= self.lines.pop_front().map_or(0, |line| line.len() + BETWEEN.len());
        }
    }

    fn text(&self) -> String {
        let mut all = Tail { lines: self.lines.clone(), bytes: self.bytes, open: Vec::new(), in_key: self.in_key };
        all.end_line(&self.open);
        Vec::from(all.lines).join(BETWEEN)
    }
}

/// Whether the lines after this one are of a private key.
fn is_in_key(before: bool, line: &str) -> bool {
    match (line.rfind("-----BEGIN "), line.rfind("-----END ")) {
        (Some(begin), Some(end)) if begin < end => false,
        (Some(begin), _) if line[begin..].contains("PRIVATE KEY") => true,
        (_, Some(_)) => false,
        (_, None) => before,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tail(pieces: &[&[u8]]) -> Tail {
        let mut tail = Tail::default();
        pieces.iter().for_each(|piece| tail.push(piece));
        tail
    }

    #[test]
    fn the_last_lines_are_kept() {
        let text = tail(&[b"one\ntw", b"o\n", b"\n\nthree\x07"]).text();
        assert_eq!(text, "one | two | three\u{fffd}");
    }

    #[test]
    fn a_key_whose_beginning_is_forgotten_is_kept_out() {
        let mut tail = tail(&[b"-----BEGIN PRIVATE KEY-----\n"]);
        (0..10_000).for_each(|_| tail.push(b"MIIEvgIBADANBgkqhkiG9w0BAQEFAASC\n"));
        assert!(!tail.text().contains("MIIE"));
        tail.push(b"-----END PRIVATE KEY-----\ndisk full\n");
        assert_eq!(tail.text(), "[secret] | disk full");
    }

    #[test]
    fn a_password_is_kept_out() {
        assert_eq!(tail(&[b"connecting with pass", b"word=hunter2\nrefused\n"]).text(), "connecting with password=[secret] | refused");
    }

    proptest! {
        #[test]
        fn memory_is_bounded_however_much_is_said(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..3_000), 0..40)) {
            let mut tail = Tail::default();
            for piece in &pieces {
                tail.push(piece);
                prop_assert!(tail.bytes <= OUTPUT_BYTES && tail.open.len() <= LINE_BYTES);
                prop_assert!(tail.text().len() <= OUTPUT_BYTES);
            }
            prop_assert!(!tail.text().contains(char::is_control));
        }
    }
}
