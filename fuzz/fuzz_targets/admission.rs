//! Any lines one after another: every report becomes one record that is counted once, and replaying the records gives
//! the state of live admission.
#![no_main]

use libfuzzer_sys::fuzz_target;
use muckwatch::{
    ingest::{Admission, AdmissionSettings, Decoder, Format},
    model::{Datum, Ledger, Time},
};

/// 2026-03-01T00:00:00Z, in milliseconds: the seeds' reports are of about then.
const ARRIVAL_MS: i64 = 1_772_323_200_000;

fuzz_target!(|input: &[u8]| {
    let decoder = Decoder::new(Format::Native, "muck", Datum::Wgs84);
    let registered = |id: &str| id.len() % 2 == 0;
    let (mut live, mut again) = (Admission::default(), Admission::default());
    let (mut ledger, mut came) = (Ledger::default(), 0);
    assert_eq!(live, Admission::new(AdmissionSettings::default()));
    for (seconds, line) in (0..).zip(input.split(|byte| *byte == b'\n')) {
        let mut out = Vec::new();
        decoder.decode_line(line, "input", &mut out);
        came += out.len() as u64;
        for decoded in out {
            let record = live.admit(decoded, Time::from_millis(ARRIVAL_MS + seconds * 1000), registered);
            ledger.count(&record);
            again.restore(&record, registered);
        }
    }
    assert_eq!(ledger.received(), came);
    assert!(ledger.is_balanced());
    assert_eq!(live, again);
});
