//! Groups log lines into patterns, so that a thousand lines of one error are one line and a count.
//!
//! A pattern is a line with what changes from one to the next taken out: quoted strings become `<text>`, and of the rest each word that has a digit
//! becomes `<n>` (a number, a time, an address, an id in hexadecimal or of a UUID), with what is around it kept where it is plain.
//! 1. Lines that differ only in these places have the same pattern, and a pattern's own pattern is itself.
//! 2. At most [`LOG_PATTERNS`] patterns are kept; lines of others are counted together, in `others`.
//!
//! Secrets are taken out first, by [`crate::redact`]: a pattern is shown to people.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::cmp::Reverse;

use crate::limits::{LOG_LINE_BYTES, LOG_PATTERNS, cut};
use crate::redact::redact;

/// The lines of one pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// What they have in common.
    pub pattern: String,
    /// How many there are.
    pub count: u64,
    /// When the first was written, ms since 1970 by the writer's wall clock.
    pub first_ms: u64,
    /// When the last was written.
    pub last_ms: u64,
}

/// Log lines by their patterns.
#[derive(Clone, Debug, Default)]
pub struct Grouping {
    groups: BTreeMap<String, Group>,
    others: u64,
}

impl Grouping {
    /// Takes one line, written at `wall_ms`.
    pub fn take(&mut self, wall_ms: u64, line: &str) {
        let pattern = pattern(cut(&redact(cut(line, LOG_LINE_BYTES)), LOG_LINE_BYTES));
        if !self.groups.contains_key(&pattern) && self.groups.len() >= LOG_PATTERNS {
            self.others += 1;
            return;
        }
        let new = Group { pattern: pattern.clone(), count: 0, first_ms: wall_ms, last_ms: wall_ms };
        let group = self.groups.entry(pattern).or_insert(new);
        group.count += 1;
        group.first_ms = group.first_ms.min(wall_ms);
        group.last_ms = group.last_ms.max(wall_ms);
    }

    /// The groups, the largest first.
    #[must_use]
    pub fn groups(&self) -> Vec<&Group> {
        let mut groups: Vec<&Group> = self.groups.values().collect();
        groups.sort_by_key(|group| Reverse(group.count));
        groups
    }

    /// How many lines had a pattern too many.
    #[must_use]
    pub fn others(&self) -> u64 {
        self.others
    }
}

/// What is left of a line without what changes.
#[must_use]
pub fn pattern(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line.trim();
    while let Some(first) = rest.chars().next() {
        let (shown, length) = match first {
            '"' | '\'' => quoted(rest, first),
            _ if is_word(first) => word(rest),
            _ => (&rest[..first.len_utf8()], first.len_utf8()),
        };
        out.push_str(shown);
        rest = &rest[length..];
    }
    out
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || ['_', '-', '.', ':', '+', '%'].contains(&c)
}

/// A quoted string as its placeholder, and its length; an apostrophe that does not close is itself.
fn quoted(text: &str, quote: char) -> (&str, usize) {
    match text[1..].find(quote) {
        Some(end) => ("<text>", end + 2),
        None => (&text[..1], 1),
    }
}

/// A word, or its placeholder if it has a digit, and its length. A colon or full stop at its end is not part of it.
fn word(text: &str) -> (&str, usize) {
    let end = text.find(|c: char| !is_word(c)).unwrap_or(text.len());
    let plain = text[..end].trim_end_matches([':', '.']);
    let plain = if plain.is_empty() { &text[..end] } else { plain };
    let is_hexadecimal = plain.len() >= 8 && plain.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    if plain.chars().any(char::is_numeric) || is_hexadecimal { ("<n>", plain.len()) } else { (plain, plain.len()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use proptest::prelude::*;

    #[test]
    fn lines_of_one_error_are_one_group() {
        let mut grouping = Grouping::default();
        for n in 0..1_000u64 {
            grouping.take(n, &format!("2026-11-22T10:00:{n}Z sync of segment 0x{n:08x} took {n} ms on 10.0.0.{n}:2380, key \"k{n}\""));
        }
        grouping.take(5, "peer connection reset");
        let groups = grouping.groups();
        assert_eq!(groups[0].pattern, "<n> sync of segment <n> took <n> ms on <n>, key <text>");
        assert_eq!((groups[0].count, groups[0].first_ms, groups[0].last_ms), (1_000, 0, 999));
        assert_eq!((groups[1].pattern.as_str(), groups.len()), ("peer connection reset", 2));
    }

    proptest! {
        #[test]
        fn a_patterns_pattern_is_itself(line in "[ -~é]{0,80}") {
            let once = pattern(&line);
            prop_assert_eq!(pattern(&once), once);
        }

        #[test]
        fn numbers_make_no_new_pattern(word in "[g-z]{1,8}", a in any::<u64>(), b in any::<u64>()) {
            prop_assert_eq!(pattern(&format!("{word} {a}: {word}")), pattern(&format!("{word} {b}: {word}")));
            prop_assert_eq!(pattern(&format!("{word} {a:016x} {word}")), pattern(&format!("{word} {b:016x} {word}")));
        }

        #[test]
        fn patterns_are_bounded_and_every_line_is_counted(count in 0..1_500u64) {
            let mut grouping = Grouping::default();
            (0..count).for_each(|n| grouping.take(n, &"x".repeat(n as usize % 1_200)));
            prop_assert!(grouping.groups().len() <= LOG_PATTERNS);
            let grouped: u64 = grouping.groups().iter().map(|group| group.count).sum();
            prop_assert_eq!(grouped + grouping.others(), count);
        }
    }
}
