//! Which keys a user may read and write.

use crate::commands::table::Use;
use crate::protocol::glob;

/// What may be done to the keys of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    glob: Vec<u8>,
    may_read: bool,
    may_write: bool,
}

impl Pattern {
    /// The pattern of a rule: `~glob`, `%R~glob`, `%W~glob` or `%RW~glob`.
    pub(super) fn parse(rule: &[u8]) -> Option<Self> {
        if let Some(glob) = rule.strip_prefix(b"~") {
            return Some(Pattern { glob: glob.to_vec(), may_read: true, may_write: true });
        }
        let rest = rule.strip_prefix(b"%")?;
        let (rights, glob) = rest.split_at(rest.iter().position(|&byte| byte == b'~')?);
        let (may_read, may_write) = match rights.to_ascii_uppercase().as_slice() {
            b"R" => (true, false),
            b"W" => (false, true),
            b"RW" | b"WR" => (true, true),
            _ => return None,
        };
        Some(Pattern { glob: glob[1..].to_vec(), may_read, may_write })
    }

    /// All of all keys.
    pub(super) fn all() -> Self {
        Pattern { glob: b"*".to_vec(), may_read: true, may_write: true }
    }

    /// Whether it is that.
    pub(super) fn is_all(&self) -> bool {
        *self == Pattern::all()
    }

    /// Whether this may be done to a key.
    pub(super) fn allows(&self, key: &[u8], uses: Use) -> bool {
        let reads = uses.has(Use::ACCESS);
        let writes = uses.has(Use::INSERT) || uses.has(Use::DELETE) || uses.has(Use::UPDATE);
        (self.may_read || !reads) && (self.may_write || !writes) && glob::matches(&self.glob, key, false)
    }

    /// The rule that makes it.
    pub(super) fn rule(&self) -> Vec<u8> {
        let rights: &[u8] = match (self.may_read, self.may_write) {
            (true, true) => b"~",
            (true, false) => b"%R~",
            (false, _) => b"%W~",
        };
        [rights, &self.glob].concat()
    }
}
