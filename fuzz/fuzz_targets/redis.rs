//! Feeds new inputs to `steadfast_fuzz::redis::check`.
#![no_main]

use std::alloc::System;

use cap::Cap;

/// No check needs as much memory as this, bytes: a decoder that does believes what its input says.
#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, 256 << 20);

libfuzzer_sys::fuzz_target!(|input: &[u8]| steadfast_fuzz::redis::check(input));
