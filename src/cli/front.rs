//! What stands before the journal, for brokers and files alike: decode, convert to WGS-84, admit, and keep the arrival clock.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    engine::{Reference, Ticker},
    ingest::{Admission, AdmissionSettings, Decoded, Decoder, Format, Registered},
    model::{Body, Datum, Record, Sender, Time},
    registry::Registry,
    spatial::to_wgs84,
};

/// Turns messages and lines into records, with the ticks of the arrival clock among them.
pub struct Front {
    registry: Arc<Registry>,
    admission: Admission,
    ticker: Ticker,
    lines: Decoder,
    arrival: FileClock,
    decoded: Vec<Decoded>,
    /// Where somebody wants to know who sent what.
    notes: Option<Vec<Note>>,
    odd: BTreeMap<&'static str, u64>,
}

/// Who sent a record, and what was odd about it.
pub struct Note {
    /// Of the records to which it was appended.
    pub index: usize,
    pub sender: Option<Sender>,
    pub odd: Vec<&'static str>,
}

/// What is remembered of what came.
#[derive(Serialize, Deserialize)]
pub struct FrontState<'f> {
    admission: Cow<'f, Admission>,
    last_arrival: Option<Time>,
}

impl Front {
    pub fn new(registry: Arc<Registry>, settings: AdmissionSettings, tick_ms: i64) -> Self {
        Self {
            registry,
            admission: Admission::new(settings),
            ticker: Ticker::new(tick_ms),
            lines: Decoder::new(Format::Native, "", Datum::Wgs84),
            arrival: FileClock::default(),
            decoded: Vec::new(),
            notes: None,
            odd: BTreeMap::new(),
        }
    }

    /// For files, with the settings that hold when nobody says otherwise.
    pub fn of(reference: &Reference) -> Self {
        Self::new(Arc::clone(&reference.registry), AdmissionSettings::default(), reference.tick_ms)
    }

    /// Reads the lines of files as `format` from now on.
    pub fn with_format(self, format: Format) -> Self {
        Self { lines: Decoder::new(format, "", Datum::Wgs84), ..self }
    }

    /// Keeps a note of each message.
    pub fn with_notes(self) -> Self {
        Self { notes: Some(Vec::new()), ..self }
    }

    /// The notes since this was last asked.
    pub fn take_notes(&mut self) -> Vec<Note> {
        self.notes.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Another registry from now on.
    pub fn replace_registry(&mut self, registry: Arc<Registry>) {
        self.registry = registry;
    }

    /// What it remembers, to be taken up by [`Front::resume`].
    pub fn state(&self) -> FrontState<'_> {
        FrontState { admission: Cow::Borrowed(&self.admission), last_arrival: self.ticker.last() }
    }

    /// Goes on where another left off, by its own settings.
    pub fn resume(&mut self, state: FrontState<'static>) {
        self.admission = Admission::resume(state.admission.into_owned(), self.admission.settings().clone());
        state.last_arrival.into_iter().for_each(|at| self.ticker.advance(at).for_each(drop));
    }

    /// Takes up what the journal says has been admitted before.
    pub fn restore(&mut self, record: &Record) {
        self.admission.restore(record, In(&self.registry));
        self.ticker.advance(record.recv_time).for_each(drop);
    }

    /// Appends the records of a message that arrived at `recv_time`.
    pub fn message(&mut self, decoder: &Decoder, topic: &str, payload: &[u8], recv_time: Time, out: &mut Vec<Record>) {
        self.decode(decoder, topic, payload, (recv_time, false), out);
    }

    /// The same of a message that the broker had kept for whoever subscribes.
    pub fn retained(&mut self, decoder: &Decoder, topic: &str, payload: &[u8], recv_time: Time, out: &mut Vec<Record>) {
        self.decode(decoder, topic, payload, (recv_time, true), out);
    }

    fn decode(
        &mut self,
        decoder: &Decoder,
        topic: &str,
        payload: &[u8],
        (recv_time, retained): (Time, bool),
        out: &mut Vec<Record>,
    ) {
        self.tick(recv_time, out);
        let mut decoded = std::mem::take(&mut self.decoded);
        decoder.decode(topic, payload, &mut decoded);
        for one in decoded.drain(..) {
            if let Some(notes) = &mut self.notes {
                let sender = Sender::of(&one.body).or_else(|| decoder.sender(topic));
                notes.push(Note { index: out.len(), sender, odd: Vec::new() });
            }
            self.admit(Decoded { retained, ..one }, recv_time, out);
        }
        self.decoded = decoded;
    }

    /// Appends the records of a line of a file; `origin` names the line.
    pub fn line(&mut self, line: &[u8], origin: &str, out: &mut Vec<Record>) {
        let mut decoded = std::mem::take(&mut self.decoded);
        self.lines.decode_line(line, origin, &mut decoded);
        for one in decoded.drain(..) {
            let recv_time = self.arrival.at(&one);
            self.tick(recv_time, out);
            self.admit(one, recv_time, out);
        }
        self.decoded = decoded;
    }

    /// How often each field made no sense since this was last asked.
    pub fn take_odd(&mut self) -> BTreeMap<&'static str, u64> {
        std::mem::take(&mut self.odd)
    }

    /// Appends the ticks up to `now`.
    pub fn tick(&mut self, now: Time, out: &mut Vec<Record>) {
        out.extend(self.ticker.advance(now).map(|at| Record::clock(Body::Tick, at)));
    }

    fn admit(&mut self, mut decoded: Decoded, recv_time: Time, out: &mut Vec<Record>) {
        convert(&mut decoded.body);
        self.admission.settings().sense(&mut decoded);
        decoded.odd.iter().for_each(|field| *self.odd.entry(field).or_default() += 1);
        if let Some(note) = self.notes.as_mut().and_then(|notes| notes.last_mut()) {
            note.odd.clone_from(&decoded.odd);
        }
        out.push(self.admission.admit(decoded, recv_time, In(&self.registry)));
    }
}

/// What admission asks of a registry.
struct In<'r>(&'r Registry);

impl Registered for In<'_> {
    fn has_device(&self, device_id: &str) -> bool {
        self.0.device_is_registered(device_id)
    }

    fn has_plate(&self, plate: &str, at: Time) -> bool {
        self.0.vehicle_by_plate(plate, at).is_some()
    }
}

/// Positions are WGS-84 from here on.
fn convert(body: &mut Body) {
    match body {
        Body::Device(report) => convert_position(&mut report.lat, &mut report.lon, &mut report.datum),
        Body::Sighting(sighting) => convert_position(&mut sighting.lat, &mut sighting.lon, &mut sighting.datum),
        Body::Unit(unit) => convert_position(&mut unit.lat, &mut unit.lon, &mut unit.datum),
        Body::Reply(_) | Body::DeadLetter(_) | Body::Tick | Body::Start | Body::JudgeAgain(_) => {}
    }
}

fn convert_position(lat: &mut Option<f64>, lon: &mut Option<f64>, datum: &mut Option<Datum>) {
    let (Some(from), Some(x), Some(y)) = (datum.take(), *lon, *lat) else { return };
    let no_fix = x == 0.0 && y == 0.0;
    if from != Datum::Wgs84 && !no_fix {
        let point = to_wgs84(from, x, y);
        (*lon, *lat) = (Some(point.lon), Some(point.lat));
    }
}

/// The arrival clock of a file: `recv_time` where a line has it, else the device's own time, never backwards.
#[derive(Default)]
struct FileClock {
    now: Option<Time>,
    /// A leap that one line alone has made.
    leap: Option<Time>,
}

/// No file pauses for a year: such a leap is a device with a wrong clock until another line confirms it.
const LEAP_MS: i64 = 365 * 86_400_000;

impl FileClock {
    fn at(&mut self, decoded: &Decoded) -> Time {
        if let Some(recv_time) = decoded.recv_time {
            self.now = self.now.max(Some(recv_time));
            return recv_time;
        }
        let measured = match &decoded.body {
            Body::Device(report) => report.device_time,
            Body::Sighting(sighting) => sighting.device_time,
            Body::Unit(unit) => unit.device_time,
            Body::Reply(reply) => reply.device_time,
            Body::DeadLetter(_) | Body::Tick | Body::Start | Body::JudgeAgain(_) => {
                return self.now.unwrap_or_default();
            }
        };
        let now = *self.now.get_or_insert(measured);
        if measured.ms_since(now) > LEAP_MS {
            let confirmed = self.leap.is_some_and(|leap| measured.ms_since(leap).abs() < LEAP_MS);
            self.leap = Some(measured);
            if !confirmed {
                return now;
            }
        }
        let now = now.max(measured);
        self.now = Some(now);
        now
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{DeviceReport, Reason};

    fn clock(lines: &[(i64, Option<i64>)]) -> Vec<i64> {
        let mut clock = FileClock::default();
        let mut at = |&(device, recv): &(i64, Option<i64>)| {
            let report = DeviceReport { device_time: Time::from_millis(device), ..DeviceReport::default() };
            let recv_time = recv.map(Time::from_millis);
            clock
                .at(&Decoded {
                    body: Body::Device(report),
                    reason: Reason::Ok,
                    recv_time,
                    odd: Vec::new(),
                    retained: false,
                })
                .as_millis()
        };
        lines.iter().map(&mut at).collect()
    }

    #[test]
    fn the_clock_of_a_file_goes_by_arrival_then_by_device_and_never_back() {
        assert_eq!(clock(&[(10, None), (30, None), (20, None)]), [10, 30, 30]);
        assert_eq!(clock(&[(10, Some(15)), (12, Some(16)), (11, None)]), [15, 16, 16]);
    }

    #[test]
    fn one_clock_a_century_ahead_does_not_move_it_but_two_agreeing_do() {
        let century = 100 * LEAP_MS;
        assert_eq!(clock(&[(10, None), (century, None), (20, None)]), [10, 10, 20]);
        assert_eq!(clock(&[(10, None), (century, None), (century + 5, None)]), [10, 10, century + 5]);
    }
}
