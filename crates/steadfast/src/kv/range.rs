//! Which keys a command means: one, those with a prefix, a range, or all from one on.

use clap::Args;

/// The keys, as the command line names them.
#[derive(Args, Clone, Debug)]
pub(super) struct KeyRange {
    /// The key; with --prefix, what the keys begin with ("" for all)
    #[arg(value_name = "KEY")]
    key: String,
    /// All keys that begin with KEY
    #[arg(long, conflicts_with_all = ["range_end", "from_key"])]
    prefix: bool,
    /// All keys from KEY up to, but not including, END
    #[arg(long, value_name = "END", conflicts_with = "from_key")]
    range_end: Option<String>,
    /// All keys from KEY on
    #[arg(long)]
    from_key: bool,
}

impl KeyRange {
    /// Whether it can only ever be one key.
    pub(super) fn is_one(&self) -> bool {
        !self.prefix && !self.from_key && self.range_end.is_none()
    }

    /// The protocol's `key` and `range_end`: an empty end is the one key, a zero byte is every key from `key` on.
    pub(super) fn bounds(&self) -> (Vec<u8>, Vec<u8>) {
        let key = self.key.clone().into_bytes();
        match &self.range_end {
            Some(end) => (key, end.clone().into_bytes()),
            None if self.prefix && key.is_empty() => (vec![0], vec![0]),
            None if self.prefix => {
                let end = prefix_end(&key);
                (key, end)
            }
            None if self.from_key => (if key.is_empty() { vec![0] } else { key }, vec![0]),
            None => (key, Vec::new()),
        }
    }
}

/// The first key after all that begin with `prefix`; a zero byte if there is none.
pub(crate) fn prefix_end(prefix: &[u8]) -> Vec<u8> {
    match prefix.iter().rposition(|&byte| byte < 0xff) {
        Some(last) => {
            let mut end = prefix[..=last].to_vec();
            end[last] += 1;
            end
        }
        None => vec![0],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(key: &str, prefix: bool, range_end: Option<&str>, from_key: bool) -> (Vec<u8>, Vec<u8>) {
        KeyRange { key: key.into(), prefix, range_end: range_end.map(String::from), from_key }.bounds()
    }

    #[test]
    fn bounds_are_the_protocols() {
        let own = |key: &[u8], end: &[u8]| (key.to_vec(), end.to_vec());
        assert_eq!(bounds("a", false, None, false), own(b"a", b""));
        assert_eq!(bounds("ab", true, None, false), own(b"ab", b"ac"));
        assert_eq!(bounds("", true, None, false), own(b"\0", b"\0"));
        assert_eq!(bounds("a", false, Some("c"), false), own(b"a", b"c"));
        assert_eq!(bounds("a", false, None, true), own(b"a", b"\0"));
        assert_eq!(bounds("", false, None, true), own(b"\0", b"\0"));
    }

    #[test]
    fn a_prefix_ends_where_its_last_byte_that_can_grow_has_grown() {
        assert_eq!(prefix_end(b"a\xff\xff"), b"b");
        assert_eq!(prefix_end(b"\xff"), b"\0");
    }
}
