//! Any text as a rule file: it is taken or refused with a reason, never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use muckwatch::rules::RuleSet;

fuzz_target!(|input: &str| {
    if let Err(e) = RuleSet::parse(&[("input.yaml", input)]) {
        assert!(!e.to_string().is_empty());
    }
});
