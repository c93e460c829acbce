//! How often the directory's process has begun, and when the directory was first counted: the file `LIVES`, one line
//! `steadfast lives FORMAT COUNT BORN CHECKSUM`.
//!
//! A file that is damaged is begun anew, with a word in the log: others hold what earlier lives said, and tell the member, which then goes above
//! it (`steadfast_membership`). Losing it costs a moment, so it is no reason to stay away.

use std::fs;
use std::io;
use std::path::Path;

use super::file::replace;
use super::{IdentityError, unusable};
use crate::clock::Clock;

const FILE: &str = "LIVES";
const TEMPORARY: &str = "LIVES.tmp";
const TITLE: &str = "steadfast lives 1";

/// Which life of a directory's process this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// Counted from 1.
    pub count: u64,
    /// When the first one began, seconds since 1970 by this machine's clock then.
    pub born: u64,
}

/// Counts one more life. Durable on return.
pub(super) fn begin(directory: &Path) -> Result<Life, IdentityError> {
    let path = directory.join(FILE);
    let earlier = match fs::read_to_string(&path) {
        Ok(text) => Some(text),
        Err(reason) if reason.kind() == io::ErrorKind::NotFound => None,
        Err(reason) if reason.kind() == io::ErrorKind::InvalidData => Some(String::new()),
        Err(reason) => return Err(unusable("read", &path, reason)),
    };
    let known = earlier.as_deref().and_then(parse);
    if earlier.is_some() && known.is_none() {
        tracing::warn!(path = %path.display(), "the count of this node's lives is damaged, and begins anew");
    }
    let life =
        known.map_or_else(|| Life { count: 1, born: Clock::wall_seconds() }, |life| Life { count: life.count.saturating_add(1), ..life });
    replace(directory, (FILE, TEMPORARY), &written(life))?;
    Ok(life)
}

fn written(Life { count, born }: Life) -> String {
    let words = format!("{TITLE} {count} {born}");
    format!("{words} {:08x}\n", crc32c::crc32c(words.as_bytes()))
}

fn parse(text: &str) -> Option<Life> {
    let (words, checksum) = text.strip_suffix('\n')?.rsplit_once(' ')?;
    let (count, born) = words.strip_prefix(TITLE)?.strip_prefix(' ')?.split_once(' ')?;
    let is_sound = u32::from_str_radix(checksum, 16) == Ok(crc32c::crc32c(words.as_bytes()));
    is_sound.then_some(Life { count: count.parse().ok()?, born: born.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lives_are_counted_and_the_birth_stays() {
        let home = tempfile::tempdir().unwrap();
        let first = begin(home.path()).unwrap();
        assert_eq!(first.count, 1);
        for count in 2..5 {
            assert_eq!(begin(home.path()).unwrap(), Life { count, ..first });
        }
    }

    #[test]
    fn a_write_that_was_cut_short_loses_no_life() {
        let home = tempfile::tempdir().unwrap();
        let life = begin(home.path()).unwrap();
        let next = written(Life { count: 2, ..life });
        for length in 0..=next.len() {
            fs::write(home.path().join(TEMPORARY), &next[..length]).unwrap();
            let before = parse(&fs::read_to_string(home.path().join(FILE)).unwrap()).unwrap();
            assert_eq!(begin(home.path()).unwrap(), Life { count: before.count + 1, ..life }, "cut at {length}");
        }
    }

    #[test]
    fn a_damaged_count_is_never_taken_for_another() {
        let text = written(Life { count: 41, born: 1_700_000_000 });
        for at in 0..text.len() {
            assert_eq!(parse(&text[..at]), None, "cut at {at}");
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            assert_eq!(String::from_utf8(bytes).ok().as_deref().and_then(parse), None, "flipped at {at}");
        }
        let home = tempfile::tempdir().unwrap();
        for damaged in [&b"\xff\xfe"[..], b"", b"steadfast"] {
            fs::write(home.path().join(FILE), damaged).unwrap();
            assert_eq!(begin(home.path()).unwrap().count, 1);
            assert_eq!(begin(home.path()).unwrap().count, 2);
        }
    }
}
