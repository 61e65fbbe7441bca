//! Any topic and any payload in every dialect: decoding does not panic, and what cannot be read is kept whole.
//!
//! The input's first line is the topic, the rest the payload.
#![no_main]

use libfuzzer_sys::fuzz_target;
use muckwatch::{
    ingest::{Decoded, Decoder, Format},
    model::{Body, Datum, Reason},
};

fuzz_target!(|input: &[u8]| {
    let end = input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len());
    let (topic, payload) = (String::from_utf8_lossy(&input[..end]), &input[(end + 1).min(input.len())..]);
    for format in Format::ALL {
        let decoder = Decoder::new(*format, "muck", Datum::Gcj02);
        let mut out = Vec::new();
        decoder.decode(&topic, payload, &mut out);
        decoder.decode_line(payload, "input:1", &mut out);
        out.iter().for_each(check);
    }
});

/// A dead letter has a reason and says what is wrong; nothing else has the reason of one.
fn check(decoded: &Decoded) {
    let fatal = matches!(decoded.reason, Reason::Undecodable | Reason::TooLarge | Reason::UnknownTopic | Reason::NoReport);
    match &decoded.body {
        Body::DeadLetter(letter) => assert!(fatal && !letter.problem.is_empty(), "{decoded:?}"),
        _ => assert!(!fatal, "{decoded:?}"),
    }
}
