//! A broken rule.

/// A rule was broken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{checker}: {message}")]
pub struct Violation {
    /// The checker that found it.
    pub checker: &'static str,
    /// What was found.
    pub message: String,
}

impl Violation {
    /// A violation that `checker` found.
    pub fn new(checker: &'static str, message: impl Into<String>) -> Self {
        Violation { checker, message: shortened(&message.into()) }
    }
}

/// Text with each long run of one character cut short: written values are mostly padding.
pub fn shortened(text: &str) -> String {
    const LONGEST_RUN: usize = 3;
    let mut short = String::new();
    let (mut last, mut run) = (None, 0);
    for character in text.chars() {
        run = if last == Some(character) { run + 1 } else { 1 };
        last = Some(character);
        if run <= LONGEST_RUN {
            short.push(character);
        }
    }
    short
}
