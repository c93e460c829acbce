//! Patterns as `KEYS`, `SCAN … MATCH` and `CONFIG GET` take them: `*`, `?`, `[a-z]`, `[^…]` and `\` before a byte that stands for itself.
//!
//! Only the last star is ever tried again, so a match costs at most the product of both lengths, whatever the pattern.

/// Whether all of `text` matches `pattern`; `ignores_case` is of ASCII.
pub fn matches(pattern: &[u8], text: &[u8], ignores_case: bool) -> bool {
    let (mut p, mut t) = (0, 0);
    // After the last star: where the pattern goes on, and where in the text that was last tried.
    let mut star: Option<(usize, usize)> = None;
    loop {
        if pattern.get(p) == Some(&b'*') {
            p += 1;
            if p == pattern.len() {
                return true;
            }
            star = Some((p, t));
            continue;
        }
        let step = match text.get(t) {
            None if p == pattern.len() => return true,
            None => return false,
            Some(&byte) if p < pattern.len() => item(&pattern[p..], byte, ignores_case),
            Some(_) => None,
        };
        match (step, &mut star) {
            (Some(length), _) => {
                p += length;
                t += 1;
            }
            (None, Some((after, tried))) => {
                *tried += 1;
                (p, t) = (*after, *tried);
            }
            (None, None) => return false,
        }
    }
}

/// The length of the pattern's first item, which is no star, if `byte` matches it.
fn item(pattern: &[u8], byte: u8, ignores_case: bool) -> Option<usize> {
    let (is_match, length) = match pattern {
        [b'?', ..] => (true, 1),
        [b'[', class @ ..] => {
            let (is_match, length) = in_class(class, byte, ignores_case);
            (is_match, length + 1)
        }
        [b'\\', escaped, ..] => (same(*escaped, byte, ignores_case), 2),
        [other, ..] => (same(*other, byte, ignores_case), 1),
        [] => (false, 0),
    };
    is_match.then_some(length)
}

/// Whether `byte` is of the class that `rest` begins with, and the class's length with its bracket, if it has one.
fn in_class(rest: &[u8], byte: u8, ignores_case: bool) -> (bool, usize) {
    let is_negated = rest.first() == Some(&b'^');
    let mut at = usize::from(is_negated);
    let mut found = false;
    loop {
        match &rest[at.min(rest.len())..] {
            [] => break,
            [b'\\', escaped, ..] => {
                found |= *escaped == byte;
                at += 2;
            }
            [b']', ..] => {
                at += 1;
                break;
            }
            [low, b'-', high, ..] => {
                let (low, high) = (fold(*low, ignores_case), fold(*high, ignores_case));
                found |= (low.min(high)..=low.max(high)).contains(&fold(byte, ignores_case));
                at += 3;
            }
            [other, ..] => {
                found |= same(*other, byte, ignores_case);
                at += 1;
            }
        }
    }
    (found != is_negated, at)
}

fn same(a: u8, b: u8, ignores_case: bool) -> bool {
    fold(a, ignores_case) == fold(b, ignores_case)
}

fn fold(byte: u8, ignores_case: bool) -> u8 {
    if ignores_case { byte.to_ascii_lowercase() } else { byte }
}
