//! From a copy of a stack to the addresses that it returns to.
//!
//! Of a thread that did not stop the frame pointer is not known. It is one of the places on the stack below a return address; the right one leads through
//! all callers to where the thread began, a wrong one passes over some or leads nowhere: so that one is taken which leads to the beginning by most frames.

use std::ops::Range;

use framehop::{CacheNative, FrameAddress, MayAllocateDuringUnwind, UnwindRegsNative, Unwinder as _, UnwinderNative};

use crate::FRAMES;
use crate::look::{Copy, Registers, Sample};
use crate::modules::Module;

/// Places that are tried.
const PLACES: usize = 1024;

/// Unwinds through the code of a process.
pub(crate) struct Unwinder {
    unwinder: UnwinderNative<Vec<u8>, MayAllocateDuringUnwind>,
    cache: CacheNative<MayAllocateDuringUnwind>,
    code: Vec<Range<u64>>,
}

/// Addresses, the innermost first, and whether the last is where the thread began.
#[derive(Default)]
struct Walk {
    addresses: Vec<u64>,
    is_whole: bool,
}

impl Unwinder {
    pub(crate) fn new(modules: &[Module]) -> Self {
        let mut unwinder = UnwinderNative::new();
        for module in modules {
            unwinder.add_module(framehop::Module::new(module.name.clone(), module.range.clone(), module.bias, module.sections.clone()));
        }
        Unwinder { unwinder, cache: CacheNative::new(), code: modules.iter().map(|module| module.range.clone()).collect() }
    }

    /// Addresses of the code that runs and of the calls it returns to, the innermost first; as many as could be found.
    pub(crate) fn addresses(&mut self, sample: &Sample) -> Vec<u64> {
        if sample.is_guessed { self.longest_walk(sample) } else { self.walk(sample.registers, &sample.stack).addresses }
    }

    fn longest_walk(&mut self, sample: &Sample) -> Vec<u64> {
        let stack = &sample.stack;
        let end = stack.from.saturating_add(stack.bytes.len() as u64);
        let returns_above =
            |at: &u64| stack.word(at.saturating_add(8)).is_ok_and(|word| self.code.iter().any(|range| range.contains(&word)));
        let begin = sample.registers.sp.saturating_add(7) & !7;
        let places: Vec<u64> = (begin..end).step_by(8).filter(returns_above).take(PLACES).collect();
        let mut longest = self.walk(sample.registers, stack);
        for fp in places {
            let walk = self.walk(Registers { fp, ..sample.registers }, stack);
            if (walk.is_whole, walk.addresses.len()) > (longest.is_whole, longest.addresses.len()) {
                longest = walk;
            }
        }
        longest.addresses
    }

    fn walk(&mut self, registers: Registers, stack: &Copy) -> Walk {
        let mut word = |address| stack.word(address);
        let first = native(registers, self.unwinder.max_known_code_address());
        let mut frames = self.unwinder.iter_frames(registers.pc, first, &mut self.cache, &mut word);
        let mut walk = Walk::default();
        while walk.addresses.len() < FRAMES {
            match frames.next() {
                Ok(Some(frame)) => walk.addresses.push(FrameAddress::address_for_lookup(frame)),
                Ok(None) => return Walk { is_whole: true, ..walk },
                // The copy's end, or code without tables.
                Err(_) => return walk,
            }
        }
        walk
    }
}

#[cfg(target_arch = "x86_64")]
fn native(registers: Registers, _highest: u64) -> UnwindRegsNative {
    UnwindRegsNative::new(registers.pc, registers.sp, registers.fp)
}

#[cfg(target_arch = "aarch64")]
fn native(registers: Registers, highest: u64) -> UnwindRegsNative {
    // Return addresses may be signed in their upper bits.
    let mask = framehop::aarch64::PtrAuthMask::from_max_known_address(highest);
    UnwindRegsNative::new_with_ptr_auth_mask(mask, registers.lr, registers.sp, registers.fp)
}
