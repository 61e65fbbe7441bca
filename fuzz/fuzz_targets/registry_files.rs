//! Any text as each file of a registry: it is taken or refused with problems, never a panic.
//!
//! The input's first byte chooses the file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use muckwatch::registry::{Entity, Registry};

fuzz_target!(|input: &str| {
    let Some(first) = input.chars().next() else { return };
    let text = &input[first.len_utf8()..];
    // Seeds name files by letters from `a` on.
    let number = (first as usize).wrapping_sub('a' as usize) % Entity::ALL.len();
    if let Err(e) = Registry::parse(&[(Entity::ALL[number].file(), text)]) {
        assert!(!e.problems().is_empty() && !e.to_string().is_empty());
    }
});
