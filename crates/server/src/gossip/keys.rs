//! The file of keys that members seal their gossip with: one key of 32 bytes a line, in hexadecimal or base64. The first seals, all open, so that
//! keys can be changed while the cluster runs.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The length of a key.
pub(super) const KEY_BYTES: usize = 32;

/// Keys in one file: a packet that none opens is tried with all.
const KEYS: usize = 8;

/// A larger file holds no keys, bytes.
const FILE_BYTES: u64 = 64 * 1024;

/// Why a file of keys can't be used.
#[derive(Debug, thiserror::Error)]
#[error(
    "{path}: {problem}; write one key of 32 bytes a line, in hexadecimal or base64 (`openssl rand -hex 32` makes one), the same on all nodes"
)]
pub(crate) struct KeyError {
    path: String,
    problem: String,
}

/// The keys of a cluster; none: packets go in the clear.
#[derive(Clone, Default)]
pub(crate) struct Keys(pub(super) Vec<[u8; KEY_BYTES]>);

impl Keys {
    /// Reads a file.
    ///
    /// # Errors
    /// It can't be read, or holds something else than keys, or none.
    pub(crate) fn read(path: &Path) -> Result<Self, KeyError> {
        let wrong = |problem: String| KeyError { path: path.display().to_string(), problem };
        if fs::metadata(path).is_ok_and(|metadata| metadata.len() > FILE_BYTES) {
            return Err(wrong("larger than any file of keys".to_owned()));
        }
        let text = fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        parse(&text).map(Keys).map_err(wrong)
    }
}

/// The key itself is in no error: those go into logs.
fn parse(text: &str) -> Result<Vec<[u8; KEY_BYTES]>, String> {
    let lines = text.lines().map(str::trim).zip(1..).filter(|(line, _)| !line.is_empty() && !line.starts_with('#'));
    let keys = lines.map(|(line, number)| key(line).ok_or_else(|| format!("line {number} is no key"))).collect::<Result<Vec<_>, _>>()?;
    match keys.len() {
        0 => Err("no key in it".to_owned()),
        1..=KEYS => Ok(keys),
        many => Err(format!("{many} keys, where at most {KEYS} are of use")),
    }
}

fn key(line: &str) -> Option<[u8; KEY_BYTES]> {
    let bytes = if line.len() == 2 * KEY_BYTES { from_hex(line)? } else { STANDARD.decode(line).ok()? };
    bytes.try_into().ok()
}

fn from_hex(line: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = line.chars().map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect::<Option<_>>()?;
    Some(digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_in_both_forms_and_in_order() {
        let (one, other) = ([0xab; KEY_BYTES], [7; KEY_BYTES]);
        let text = format!("# new\n{}\n\n  {}  \n", "ab".repeat(KEY_BYTES), STANDARD.encode(other));
        assert_eq!(parse(&text), Ok(vec![one, other]));
    }

    #[test]
    fn what_is_no_key_is_named_by_its_line_and_not_shown() {
        for secret in ["secret", "zz".repeat(KEY_BYTES).as_str(), STANDARD.encode([1; 31]).as_str(), "ä".repeat(KEY_BYTES).as_str()] {
            let error = parse(&format!("\n{secret}")).unwrap_err();
            assert!(error.contains("line 2") && !error.contains(secret), "{error}");
        }
        let nine: String = (0..9).map(|_| "ab".repeat(KEY_BYTES) + "\n").collect();
        assert!(parse("# none\n").is_err() && parse(&nine).is_err());
    }
}
