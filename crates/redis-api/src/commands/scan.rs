//! What all scans share: cursors, options and the shape of answers.

use crate::commands::keys::type_name;
use crate::engine::call::{Call, Outcome};
use crate::engine::store::{Kind, Store};
use crate::protocol::errors::{CURSOR, Failure, SYNTAX};
use crate::protocol::glob;

/// How many elements a scan looks at if nothing else is said.
const USUAL_COUNT: usize = 10;

/// The most elements one scan looks at: other connections wait for it.
const MOST: i64 = 1 << 16;

/// Where a scan goes on.
pub(super) fn parse_cursor(text: &[u8]) -> Result<u64, Failure> {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(CURSOR)
}

/// Which elements a scan answers, and how many it looks at.
#[derive(Debug)]
pub(super) struct Options<'a> {
    pub(super) count: usize,
    pattern: Option<&'a [u8]>,
    type_name: Option<&'a [u8]>,
}

impl<'a> Options<'a> {
    /// None given.
    pub(super) const NONE: Options<'static> = Options { count: USUAL_COUNT, pattern: None, type_name: None };

    /// Those from the argument at `index` on; only scans of keys may ask for a type.
    pub(super) fn parse(call: &Call<'a>, index: usize, has_types: bool) -> Result<Self, Failure> {
        let mut options = Options::NONE;
        let mut at = index;
        while at < call.len() {
            if at + 1 == call.len() {
                return Err(SYNTAX);
            }
            if call.is(at, "count") {
                let count = call.integer(at + 1)?;
                options.count = if count < 1 { return Err(SYNTAX) } else { count.min(MOST) as usize };
            } else if call.is(at, "match") {
                options.pattern = Some(call.argument(at + 1)).filter(|&pattern| pattern != b"*");
            } else if call.is(at, "type") && has_types {
                options.type_name = Some(call.argument(at + 1));
            } else {
                return Err(SYNTAX);
            }
            at += 2;
        }
        Ok(options)
    }

    /// Whether an element's name is of those that were asked for.
    pub(super) fn matches(&self, name: &[u8]) -> bool {
        self.pattern.is_none_or(|pattern| glob::matches(pattern, name, false))
    }

    /// Whether a key's type is the one that was asked for.
    pub(super) fn has_type(&self, kind: Option<Kind>) -> bool {
        match (self.type_name, kind) {
            (None, _) => true,
            (Some(name), Some(kind)) => name.eq_ignore_ascii_case(type_name(kind).as_bytes()),
            (Some(_), None) => false,
        }
    }

    /// Writes the next cursor and what was found.
    pub(super) fn answer(&self, call: &mut Call<'_>, next: u64, found: &[Vec<u8>]) {
        call.reply.array(2);
        call.reply.bulk(next.to_string().as_bytes());
        call.reply.array(found.len());
        found.iter().for_each(|name| call.reply.bulk(name));
    }
}

/// Where a scan of a key's elements goes on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Walk<'a> {
    pub(super) key: &'a [u8],
    pub(super) cursor: u64,
    pub(super) count: usize,
}

/// Called with elements, and what they hold.
pub(super) type EachElement<'a> = &'a mut dyn FnMut(&[u8], Option<&[u8]>);

/// Scans the elements of a key: `walk` gives them, and the next cursor.
pub(super) fn answer_elements(call: &mut Call<'_>, kind: Kind, walk: fn(&dyn Store, Walk<'_>, EachElement<'_>) -> u64) -> Outcome {
    let key = call.argument(1);
    let cursor = parse_cursor(call.argument(2))?;
    if !call.has(key, kind)? {
        Options::NONE.answer(call, 0, &[]);
        return Ok(());
    }
    let options = Options::parse(call, 3, false)?;
    let mut found = Vec::new();
    let next = walk(call.store, Walk { key, cursor, count: options.count }, &mut |name, held| {
        if options.matches(name) {
            found.push(name.to_vec());
            found.extend(held.map(<[u8]>::to_vec));
        }
    });
    options.answer(call, next, &found);
    Ok(())
}
