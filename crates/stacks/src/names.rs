//! Names of functions and lines of the source, for addresses.
//!
//! A program that was built with lines has the functions that were inlined too; without, and in libraries, there are the names of symbols.

use std::collections::BTreeMap;

use addr2line::Loader;

use crate::modules::Module;
use crate::{FRAMES, Frame, NAME_BYTES};

/// Where a thread's own work begins: what is outside of it is the same for all threads.
const WORK_BEGINS: &str = "__rust_begin_short_backtrace";

/// Names addresses of a process. Files are opened when an address in them is asked for.
pub(crate) struct Names<'a> {
    modules: &'a [Module],
    /// By the place in the list of modules.
    loaders: BTreeMap<usize, Option<Loader>>,
}

impl<'a> Names<'a> {
    pub(crate) fn new(modules: &'a [Module]) -> Self {
        Names { modules, loaders: BTreeMap::new() }
    }

    /// The frames of these addresses, up to where a thread's work begins.
    pub(crate) fn frames(&mut self, addresses: &[u64]) -> Vec<Frame> {
        let mut frames = Vec::new();
        for address in addresses {
            frames.extend(self.at(*address));
            if let Some(begins) = frames.iter().position(|frame| frame.function.contains(WORK_BEGINS)) {
                frames.truncate(begins);
                break;
            }
        }
        frames.truncate(FRAMES);
        frames
    }

    /// The functions at an address, the innermost first: what was inlined, then what it was inlined into.
    fn at(&mut self, address: u64) -> Vec<Frame> {
        let Some(index) = self.modules.iter().position(|module| module.range.contains(&address)) else {
            return vec![Frame { function: format!("{address:#x}"), ..Frame::default() }];
        };
        let module = &self.modules[index];
        let within = address.wrapping_sub(module.bias);
        let load = || module.file.as_ref().and_then(|file| Loader::new(file).ok());
        let loader = self.loaders.entry(index).or_insert_with(load).as_ref();
        let mut frames = loader.map(|loader| inlined(loader, within)).unwrap_or_default();
        if frames.is_empty() {
            frames.push(Frame { function: format!("{within:#x}"), place: module.name.clone(), is_own: false });
        }
        // Lines alone have bare names; the symbol has the whole path of the function that all others are inlined into.
        let symbol = loader.and_then(|loader| loader.find_symbol(within));
        if let (Some(symbol), Some(outermost)) = (symbol, frames.last_mut()) {
            outermost.function = plain(symbol);
            outermost.is_own |= is_own(&outermost.function);
        }
        frames
    }
}

fn inlined(loader: &Loader, address: u64) -> Vec<Frame> {
    let mut frames = Vec::new();
    let Ok(mut found) = loader.find_frames(address) else { return frames };
    while let Ok(Some(frame)) = found.next() {
        let Some(name) = frame.function.as_ref().and_then(|function| function.raw_name().ok()) else { continue };
        let file = frame.location.as_ref().and_then(|location| location.file).unwrap_or_default();
        let line = frame.location.as_ref().and_then(|location| location.line).map_or(String::new(), |line| format!(":{line}"));
        let (place, is_own) = short(file);
        frames.push(Frame { function: bare(&plain(&name)), place: format!("{place}{line}"), is_own });
    }
    frames
}

/// A symbol as it is written in the source.
fn plain(symbol: &str) -> String {
    let name = format!("{:#}", rustc_demangle::demangle(symbol));
    let end = name.floor_char_boundary(NAME_BYTES);
    if end < name.len() { format!("{}…", &name[..end]) } else { name }
}

/// Whether a function with its whole path is one of ours.
fn is_own(function: &str) -> bool {
    let path = function.trim_start_matches(['<', '&']);
    path.starts_with("steadfast_") || path.starts_with("steadfast::")
}

/// A function's name in the tables of lines, without what its types are: that can be longer than all the rest.
fn bare(name: &str) -> String {
    name.split_once('<').map_or(name, |(before, _)| if before.is_empty() { name } else { before }).to_owned()
}

/// The end of a path that says where it belongs, from the crate's folder on; and whether it is one of ours.
fn short(path: &str) -> (&str, bool) {
    let after = |marker: &str| path.rfind(marker).map(|at| &path[at + marker.len()..]);
    if let Some(registry) = after("/registry/src/") {
        return (registry.split_once('/').map_or(registry, |(_, rest)| rest), false);
    }
    match (after("/library/"), after("/crates/")) {
        (Some(rest), _) => (rest, false),
        (None, Some(rest)) => (rest, true),
        (None, None) => (path, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_begin_with_the_crate() {
        for (path, kept, is_own) in [
            ("/rustc/0123abcd/library/std/src/thread/mod.rs", "std/src/thread/mod.rs", false),
            ("/root/.cargo/registry/src/index.crates.io-1949/tokio-1.54.1/src/park.rs", "tokio-1.54.1/src/park.rs", false),
            ("/home/a/steadfast/crates/storage/src/log.rs", "storage/src/log.rs", true),
            ("a.c", "a.c", false),
            ("/registry/src/", "", false),
        ] {
            assert_eq!(short(path), (kept, is_own));
        }
    }

    #[test]
    fn names_are_short_and_without_hashes() {
        assert_eq!(plain("_ZN4core3ops8function6FnOnce9call_once17h0123456789abcdefE"), "core::ops::function::FnOnce::call_once");
        assert_eq!(plain("fsync"), "fsync");
        assert!(is_own("<steadfast_node::Node<D> as X>::turn") && is_own("steadfast::main") && !is_own("tokio::x::<steadfast_node::Y>"));
        assert!(plain(&"é".repeat(500)).len() <= NAME_BYTES + '…'.len_utf8());
    }
}
