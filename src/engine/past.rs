//! What a vehicle sent lately, so that what comes late is judged where it belongs.
//!
//! ```text
//! leg ├ mark: the state before its first input
//!     ├ inputs, in order of event time: reports, sightings, and looks at silence where they fell on arrival
//!     └ what was told at them
//! ```
//!
//! A late input is put into the leg that it belongs to; the fold is run again from that leg's mark, and what it tells now is
//! held against what was told then. At its limit ([`super::LateSettings::memory_bytes`], shared among the vehicles) the oldest
//! leg goes.

use std::{
    cmp::Ordering,
    collections::VecDeque,
    hash::{DefaultHasher, Hasher},
};

use serde::{Deserialize, Serialize};

use super::{Finding, Found};
use crate::{
    alerts::VehicleAlerts,
    facts::VehicleState,
    model::{
        Alert, AlertState, Antenna, Body, Cover, DeviceReport, Event, EventPhase, Facts, Jumps, Lift, Load, Power,
        Reason, Record, Severity, Sighting, Text, Time,
    },
    rules::RuleSet,
};

/// Inputs of a leg: so many are folded again for a report that is a little late.
const LEG_INPUTS: u16 = 64;
/// So many inputs, up to what came late last, are a leg before it is full.
const CUT_INPUTS: usize = 24;
/// After a longer silence a new leg begins: what was kept back is likely to belong there.
const LEG_GAP_MS: i64 = 300_000;

/// Legs at a seam that may have to be cut.
pub const PREPENDED_CUT: usize = 2;

/// What a vehicle's fold remembers before an input.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Mark {
    pub state: VehicleState,
    pub jumps: Jumps,
    pub alerts: VehicleAlerts,
    /// When its last grave alerts opened, oldest first.
    pub opened: Vec<Time>,
    /// Event time of its latest report or sighting.
    pub newest: Option<Time>,
}

/// What was told at a leg's inputs.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    /// An alert, as it was told last.
    Alert(Box<Alert>),
    /// A row that a rule counts over vehicles.
    Hit(Text, Box<Facts>, Option<Severity>),
}

/// Inputs that follow one another.
#[derive(Clone, Debug, Default)]
pub struct Leg {
    /// The rules by which it was judged.
    pub epoch: u32,
    pub before: Mark,
    pub told: Vec<Told>,
    /// It was found again in history: what was told at it is what the book of alerts says.
    from_history: bool,
    inputs: Vec<u8>,
    count: u16,
    /// Not only looks at silence.
    has_sent: bool,
}

/// The latest legs of a vehicle.
#[derive(Clone, Debug, Default)]
pub struct Past {
    pub legs: VecDeque<Leg>,
    bytes: usize,
    /// Legs that were let go.
    dropped: u64,
    /// The next input begins a leg.
    is_closed: bool,
}

/// One input of the fold, as it is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Kept {
    Report(Box<KeptReport>),
    Sighting {
        at_ms: i64,
        /// Between its sensor's own time and its arrival.
        lag_ms: i64,
        #[serde(with = "as_json")]
        sighting: Box<Sighting>,
    },
    Timer {
        at_ms: i64,
        /// `None`: there is nobody who could be silent.
        silent_ms: Option<i64>,
        /// Event time of the latest input before it: that is its place.
        after_ms: i64,
    },
}

/// Kind, level, phase, speed.
type KeptEvent = (Text, Option<i64>, Option<EventPhase>, Option<f64>);

/// What the fold reads of a report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeptReport {
    event_ms: i64,
    /// Arrival after that.
    came_ms: i64,
    /// The device's own time after that.
    device_ms: i64,
    device_id: Text,
    pub use_position: bool,
    /// Its clock was believed: positions tell jumps.
    pub tells_jumps: bool,
    hist: bool,
    /// Which of the numbers there are.
    mask: u8,
    numbers: Vec<f64>,
    ignition: Option<bool>,
    power: Option<Power>,
    antenna: Option<Antenna>,
    load: Option<Load>,
    cover: Option<Cover>,
    lift: Option<Lift>,
    driver_id: Option<Text>,
    alarms: Vec<Text>,
    events: Vec<KeptEvent>,
}

impl KeptReport {
    fn of(report: &DeviceReport, record: &Record) -> Self {
        let numbers = [
            report.lat,
            report.lon,
            report.accuracy_m,
            report.speed_kmh,
            report.heading_deg,
            report.odometer_m,
            report.speed_recorder_kmh,
            report.gross_kg,
        ];
        let event = |event: &Event| (event.kind.clone(), event.level, event.phase, event.speed_kmh);
        let event_ms = record.event_time.as_millis();
        Self {
            event_ms,
            came_ms: record.recv_time.as_millis().saturating_sub(event_ms),
            device_ms: report.device_time.as_millis().saturating_sub(event_ms),
            device_id: report.device_id.clone(),
            use_position: record.use_position || record.reason == Reason::ImplausibleJump,
            tells_jumps: record.reason != Reason::ClockSkew,
            hist: report.hist,
            mask: (0_u8..).zip(&numbers).fold(0, |mask, (bit, number)| mask | (u8::from(number.is_some()) << bit)),
            numbers: numbers.into_iter().flatten().collect(),
            ignition: report.ignition,
            power: report.power,
            antenna: report.antenna,
            load: report.load,
            cover: report.cover,
            lift: report.lift,
            driver_id: report.driver_id.clone(),
            alarms: report.alarms.clone(),
            events: report.events.iter().map(event).collect(),
        }
    }

    pub fn event_time(&self) -> Time {
        Time::from_millis(self.event_ms)
    }

    pub fn recv_time(&self) -> Time {
        self.event_time().plus_ms(self.came_ms)
    }

    /// The report, as far as it is kept.
    pub fn report(&self) -> DeviceReport {
        let mut numbers = self.numbers.iter().copied();
        let mut number = |bit: u8| (self.mask >> bit & 1 == 1).then(|| numbers.next()).flatten();
        let event = |(kind, level, phase, speed_kmh): &KeptEvent| Event {
            kind: kind.clone(),
            level: *level,
            phase: *phase,
            speed_kmh: *speed_kmh,
            media: None,
        };
        DeviceReport {
            device_id: self.device_id.clone(),
            device_time: self.event_time().plus_ms(self.device_ms),
            lat: number(0),
            lon: number(1),
            accuracy_m: number(2),
            speed_kmh: number(3),
            heading_deg: number(4),
            odometer_m: number(5),
            speed_recorder_kmh: number(6),
            gross_kg: number(7),
            ignition: self.ignition,
            power: self.power,
            antenna: self.antenna,
            load: self.load,
            cover: self.cover,
            lift: self.lift,
            driver_id: self.driver_id.clone(),
            alarms: self.alarms.clone(),
            events: self.events.iter().map(event).collect(),
            hist: self.hist,
            ..DeviceReport::default()
        }
    }
}

/// Between a sensor's own time and the arrival of what it saw, either way, milliseconds.
pub fn lag_ms(record: &Record, sighting: &Sighting) -> i64 {
    record.recv_time.ms_since(sighting.device_time).abs()
}

impl Kept {
    /// Of a record of a report or a sighting; `None` for others.
    pub fn of(record: &Record) -> Option<Self> {
        match &record.body {
            Body::Device(report) => Some(Self::Report(Box::new(KeptReport::of(report, record)))),
            Body::Sighting(sighting) => {
                let sighting = Box::new(Sighting::clone(sighting));
                Some(Self::Sighting {
                    at_ms: record.event_time.as_millis(),
                    lag_ms: lag_ms(record, &sighting),
                    sighting,
                })
            }
            _ => None,
        }
    }

    /// A look at silence.
    pub fn timer(at: Time, silent_ms: Option<i64>, newest: Option<Time>) -> Self {
        let after_ms = newest.map_or(i64::MIN, Time::as_millis);
        Self::Timer { at_ms: at.as_millis(), silent_ms, after_ms }
    }

    /// Its place in time.
    fn place(&self) -> Time {
        match self {
            Self::Timer { after_ms, .. } => Time::from_millis(*after_ms),
            other => other.at().unwrap_or_default(),
        }
    }

    /// Event time; of a timer `None`: its place is after what had arrived.
    pub fn at(&self) -> Option<Time> {
        match self {
            Self::Report(report) => Some(report.event_time()),
            Self::Sighting { at_ms, .. } => Some(Time::from_millis(*at_ms)),
            Self::Timer { .. } => None,
        }
    }

    /// The same for the same content, however and whenever it came.
    fn content(&self) -> (u8, u64) {
        let mut hash = DefaultHasher::new();
        let rank = match self {
            Self::Report(report) => {
                let plain = KeptReport { came_ms: 0, hist: false, ..KeptReport::clone(report) };
                hash.write(&postcard::to_stdvec(&plain).unwrap_or_default());
                0
            }
            Self::Sighting { sighting, .. } => {
                hash.write(&serde_json::to_vec(sighting).unwrap_or_default());
                1
            }
            Self::Timer { at_ms, .. } => return (2, *at_ms as u64),
        };
        (rank, hash.finish())
    }

    /// By event time, then content: the same order however they came. Of two at one time and place in time the content is asked.
    pub fn order(&self, other: &Self) -> Ordering {
        self.place().cmp(&other.place()).then_with(|| self.content().cmp(&other.content()))
    }

    /// It came after what is newer: its arrival says nothing of the device's clock, unless it is judged at arrival. Then only what
    /// another device of the vehicle sent is newer, by a clock that is a little ahead.
    pub fn came_late(&mut self) {
        if let Self::Report(report) = self {
            report.hist |= report.came_ms > 0;
        }
    }
}

impl Leg {
    /// Its inputs, in order.
    pub fn inputs(&self) -> Vec<Kept> {
        let mut rest = &*self.inputs;
        let mut all = Vec::with_capacity(usize::from(self.count));
        while let Ok((kept, after)) = postcard::take_from_bytes(rest) {
            all.push(kept);
            rest = after;
        }
        all
    }

    fn push(&mut self, kept: &Kept) {
        // Into memory nothing fails to be written.
        self.inputs = postcard::to_extend(kept, std::mem::take(&mut self.inputs)).unwrap_or_default();
        self.count = self.count.saturating_add(1);
        self.has_sent |= kept.at().is_some();
    }

    fn bytes(&self) -> usize {
        const TOLD: usize = 1_024;
        size_of::<Self>() + self.inputs.capacity() + self.told.len() * TOLD
    }
}

impl Past {
    /// Memory that it takes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Of a vehicle that sent before what is kept.
    pub fn begun_before() -> Self {
        Self { dropped: 1, ..Self::default() }
    }

    /// Whether the next input begins a leg.
    pub fn wants_leg(&self, epoch: u32, silent_ms: Option<i64>) -> bool {
        let is_after_gap = |leg: &Leg| leg.has_sent && silent_ms.is_some_and(|ms| ms > LEG_GAP_MS);
        // Inputs of one time stay together.
        let is_due = |leg: &Leg| silent_ms != Some(0) && (leg.count >= LEG_INPUTS || is_after_gap(leg));
        self.is_closed || self.legs.back().is_none_or(|leg| leg.epoch != epoch || is_due(leg))
    }

    /// Begins a leg.
    pub fn begin(&mut self, epoch: u32, before: Mark) {
        self.count_last();
        self.is_closed = false;
        self.legs.push_back(Leg { epoch, before, ..Leg::default() });
        self.bytes += size_of::<Leg>();
    }

    /// The leg under way is as large as it gets.
    fn count_last(&mut self) {
        if let Some(leg) = self.legs.back_mut() {
            leg.inputs.shrink_to_fit();
            self.bytes += leg.bytes() - size_of::<Leg>();
        }
    }

    /// Adds an input that is newer than all before; there must be a leg. Where it went.
    pub fn push(&mut self, kept: &Kept) -> usize {
        if let Some(leg) = self.legs.back_mut() {
            leg.push(kept);
        }
        self.legs.len().saturating_sub(1)
    }

    /// Lets the oldest legs go until no more than `bytes` are kept, and none that ended before `until`. How many legs went.
    pub fn trim(&mut self, bytes: usize, until: Time) -> usize {
        let mut gone = 0;
        while self.legs.len() > 2 && (self.bytes > bytes || self.legs[1].before.newest < Some(until)) {
            if let Some(leg) = self.legs.pop_front() {
                self.bytes -= leg.bytes().min(self.bytes);
                gone += 1;
            }
        }
        self.dropped += gone as u64;
        gone
    }

    /// Remembers what was found at an input of a leg.
    pub fn tell(&mut self, leg: usize, findings: &[Finding], rules: &RuleSet) {
        let Some(leg) = self.legs.get_mut(leg) else { return };
        for finding in findings {
            match &finding.what {
                Found::Change(transition) => {
                    let alert = transition.alert();
                    let is_it = |told: &&mut Told| matches!(told, Told::Alert(one) if one.alert_id == alert.alert_id);
                    match leg.told.iter_mut().find(is_it) {
                        Some(told) => *told = Told::Alert(Box::new(alert.clone())),
                        None => leg.told.push(Told::Alert(Box::new(alert.clone()))),
                    }
                }
                Found::Hit { row, severity, .. } => {
                    let rule = rules.order().get(finding.turn as usize).map(|number| &rules.rules()[*number as usize]);
                    let Some(rule) = rule else { continue };
                    leg.told.push(Told::Hit(rule.id.clone(), row.clone(), *severity));
                }
                Found::Unhit(..) => {}
            }
        }
    }

    /// What was told from a leg on.
    pub fn told_from(&self, leg: usize) -> Vec<Told> {
        self.legs.range(leg..).flat_map(|leg| leg.told.iter().cloned()).collect()
    }

    /// As [`Past::told_from`], but what was told in the part that comes from history is what the book of alerts says; of rules that
    /// `is_told_by_arrival` it is what history shows. `known` stood at the leg's mark, which lies after `since`, told of each rule.
    pub fn told_from_as_stored(
        &self,
        leg: usize,
        stored: Vec<Alert>,
        known: &VehicleAlerts,
        since: impl Fn(&str) -> Option<Time>,
        is_told_by_arrival: impl Fn(&str) -> bool,
    ) -> Vec<Told> {
        let mut told: Vec<Told> = Vec::new();
        for leg in self.legs.range(leg..).filter(|leg| leg.from_history) {
            let by_arrival = |one: &&Told| match one {
                Told::Alert(alert) => is_told_by_arrival(&alert.rule_id),
                Told::Hit(..) => true,
            };
            told.extend(leg.told.iter().filter(by_arrival).cloned());
        }
        let is_of_then = |alert: &Alert| {
            let stood = || known.standing().any(|known| known.alert_id == alert.alert_id);
            alert.state != AlertState::Withdrawn && (Some(alert.fired_at) > since(&alert.rule_id) || stood())
        };
        let stored = stored.into_iter().filter(|alert| is_of_then(alert) && !is_told_by_arrival(&alert.rule_id));
        told.extend(stored.map(|alert| Told::Alert(Box::new(alert))));
        told.extend(self.legs.range(leg..).filter(|leg| !leg.from_history).flat_map(|leg| leg.told.iter().cloned()));
        told
    }

    /// Puts inputs where they belong, in any order. Each comes with the record that it came by.
    pub fn merge(&mut self, mut late: Vec<(u32, Kept)>) -> Merged {
        late.sort_by(|(_, a), (_, b)| a.order(b));
        let beyond = late.iter().take_while(|(_, kept)| !self.reaches(kept.place())).count();
        let mut merged = Merged { beyond: late.drain(..beyond).collect(), ..Merged::default() };
        let Some(first) = late.first().map(|(_, kept)| kept.place()) else { return merged };
        let mut index = self.leg_at(first).unwrap_or(0);
        let mut late = VecDeque::from(late);
        while index < self.legs.len() && !late.is_empty() {
            let mine = self.takes(index, &late);
            if mine == 0 {
                index += 1;
                continue;
            }
            let mine: Vec<(u32, Kept)> = late.drain(..mine).collect();
            let before = merged.repeated.len();
            let last = mine.last().map(|(_, kept)| kept.place());
            let (count, inputs) = (mine.len(), interleave(self.legs[index].inputs(), mine, &mut merged.repeated));
            if merged.repeated.len() - before == count {
                index += 1;
                continue;
            }
            merged.from = merged.from.or(Some(index));
            // More of the same may follow: what comes next begins at a mark.
            let until = inputs.partition_point(|input| Some(input.place()) <= last);
            let is_end = index + 1 == self.legs.len() && until >= CUT_INPUTS && until < inputs.len();
            index += self.rewrite(index, &inputs, if is_end { until } else { inputs.len() });
        }
        merged
    }

    /// The leg in which `at` lies; of what lies before all that is kept, the first.
    pub fn leg_at(&self, at: Time) -> Option<usize> {
        let at = self.legs.iter().rposition(|leg| leg.before.newest < Some(at));
        at.or(Some(0).filter(|_| !self.legs.is_empty()))
    }

    /// How many of the late inputs lie before the next leg.
    fn takes(&self, index: usize, late: &VecDeque<(u32, Kept)>) -> usize {
        let Some(next) = self.legs.get(index + 1) else { return late.len() };
        late.iter().take_while(|(_, kept)| Some(kept.place()) <= next.before.newest).count()
    }

    /// What is kept so far is as good as from history: what was told at it is what the book of alerts says.
    pub fn close_as_history(&mut self) {
        self.legs.iter_mut().for_each(|leg| leg.from_history = true);
        self.is_closed = true;
    }

    /// Event time of the last input before all that is kept; `None` when nothing is kept, or nothing was before it.
    pub fn begins_after(&self) -> Option<Time> {
        self.legs.front().and_then(|leg| leg.before.newest)
    }

    /// Puts what `older` knows of the time up to `until` before what is kept. How many legs that is; of the last
    /// [`PREPENDED_CUT`] of them something may have been cut off.
    pub fn prepend(&mut self, older: Past, until: Time) -> usize {
        let mut legs = older.legs;
        while legs.back().is_some_and(|leg| leg.before.newest > Some(until)) {
            legs.pop_back();
        }
        let at_the_seam = self.legs.iter().take_while(|leg| leg.before.newest <= Some(until));
        let mine: Vec<Kept> = at_the_seam.flat_map(Leg::inputs).collect();
        for leg in legs.range_mut(legs.len().saturating_sub(PREPENDED_CUT)..) {
            let mut inputs = leg.inputs();
            inputs.retain(|input| input.place() <= until && !mine.contains(input));
            (leg.inputs, leg.count, leg.has_sent) = (Vec::new(), 0, false);
            inputs.iter().for_each(|input| leg.push(input));
        }
        let count = legs.len();
        for leg in legs.into_iter().rev() {
            self.bytes += leg.bytes();
            self.legs.push_front(Leg { from_history: true, ..leg });
        }
        self.dropped = older.dropped;
        count
    }

    /// Whether the first mark lies before `at`.
    pub fn reaches(&self, at: Time) -> bool {
        let is_first = self.dropped == 0;
        self.legs.front().is_some_and(|leg| leg.before.newest.map_or(is_first, |newest| newest < at))
    }

    /// Writes a leg anew, as several when it has become long, and what comes from `cut` on as one of its own: the marks of those that
    /// are new are written when they are folded. How many legs it is now.
    fn rewrite(&mut self, index: usize, inputs: &[Kept], cut: usize) -> usize {
        let is_last = index + 1 == self.legs.len();
        let Leg { epoch, from_history, .. } = self.legs[index];
        let held = if is_last { size_of::<Leg>() } else { self.legs[index].bytes() };
        self.bytes = self.bytes.saturating_sub(held);
        let (inputs, rest) = inputs.split_at(cut.min(inputs.len()));
        let mut chunks = chunks(inputs);
        chunks.extend((!rest.is_empty()).then_some(rest));
        let count = chunks.len();
        let mut newest = None;
        for (nth, chunk) in chunks.into_iter().enumerate() {
            if nth > 0 {
                self.legs.insert(
                    index + nth,
                    Leg { epoch, from_history, before: Mark { newest, ..Mark::default() }, ..Leg::default() },
                );
            }
            let leg = &mut self.legs[index + nth];
            (leg.inputs, leg.count, leg.has_sent) = (Vec::new(), 0, false);
            chunk.iter().for_each(|input| leg.push(input));
            leg.inputs.shrink_to_fit();
            newest = chunk.last().map(Kept::place);
            self.bytes += if is_last && nth + 1 == count { size_of::<Leg>() } else { leg.bytes() };
        }
        count
    }
}

/// The inputs of one leg as those of several when they have become many; those of one time stay together.
fn chunks(mut inputs: &[Kept]) -> Vec<&[Kept]> {
    let limit = usize::from(LEG_INPUTS);
    let mut chunks = Vec::new();
    while inputs.len() >= 2 * limit {
        let place = |input: &Kept| input.place();
        let same = inputs[limit..].iter().take_while(|input| place(input) == place(&inputs[limit - 1])).count();
        let (chunk, rest) = inputs.split_at(limit + same);
        chunks.push(chunk);
        inputs = rest;
    }
    if !inputs.is_empty() || chunks.is_empty() {
        chunks.push(inputs);
    }
    chunks
}

/// What became of inputs that were merged.
#[derive(Debug, Default)]
pub struct Merged {
    /// The first leg that changed.
    pub from: Option<usize>,
    /// Records whose content was there already.
    pub repeated: Vec<u32>,
    /// What is older than all that is kept.
    pub beyond: Vec<(u32, Kept)>,
}

/// Both in one order. A look at silence stays behind what it came after.
fn interleave(inputs: Vec<Kept>, late: Vec<(u32, Kept)>, repeated: &mut Vec<u32>) -> Vec<Kept> {
    let mut all: Vec<Kept> = Vec::with_capacity(inputs.len() + late.len());
    let mut late = late.into_iter().peekable();
    let mut put = |all: &mut Vec<Kept>, (record, kept): (u32, Kept)| {
        let before = all.iter().rev().find(|input| input.at().is_some());
        if before.is_some_and(|before| before.order(&kept).is_eq()) { repeated.push(record) } else { all.push(kept) }
    };
    for input in inputs {
        while input.at().is_some()
            && let Some(one) = late.next_if(|(_, kept)| kept.order(&input).is_lt())
        {
            put(&mut all, one);
        }
        all.push(input);
        while let Some(one) =
            late.next_if(|(_, kept)| all.last().is_some_and(|last| last.at().is_some() && last.order(kept).is_eq()))
        {
            put(&mut all, one);
        }
    }
    late.for_each(|one| put(&mut all, one));
    all
}

/// Values whose form is not fixed, kept as text.
mod as_json {
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _, ser::Error as _};

    use crate::model::Sighting;

    pub fn serialize<S: Serializer>(sighting: &Sighting, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&serde_json::to_string(sighting).map_err(S::Error::custom)?)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Box<Sighting>, D::Error> {
        serde_json::from_str(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::Outcome;

    fn kept(second: i64, speed: f64) -> Kept {
        let at = Time::from_millis(second * 1_000);
        let report = DeviceReport {
            device_id: "d".into(),
            device_time: at,
            speed_kmh: Some(speed),
            alarms: vec!["sos".into()],
            ..DeviceReport::default()
        };
        let body = Body::Device(report);
        let (outcome, reason) = (Outcome::Evaluated, Reason::Ok);
        Kept::of(&Record { recv_time: at.plus_ms(5), event_time: at, outcome, reason, use_position: true, body })
            .unwrap()
    }

    fn inputs(past: &Past) -> Vec<Kept> {
        past.legs.iter().flat_map(Leg::inputs).collect()
    }

    /// Takes inputs as they come, in batches, as a judge does.
    fn take(past: &mut Past, newest: &mut Option<Time>, batch: &[Kept]) -> usize {
        let (mut late, mut repeated) = (Vec::new(), 0);
        for kept in batch {
            if late.is_empty() && kept.at() > *newest {
                if past.wants_leg(0, None) {
                    past.begin(0, Mark { newest: *newest, ..Mark::default() });
                }
                past.push(kept);
                *newest = kept.at();
            } else {
                late.push((late.len() as u32, kept.clone()));
            }
        }
        let merged = past.merge(late);
        assert!(merged.beyond.is_empty());
        repeated += merged.repeated.len();
        *newest = inputs(past).last().and_then(Kept::at);
        repeated
    }

    #[test]
    fn an_input_is_kept_as_the_fold_reads_it() {
        let report = DeviceReport {
            device_id: "d1".into(),
            device_time: Time::from_millis(1_000),
            lat: Some(22.5),
            lon: Some(114.1),
            speed_kmh: Some(31.25),
            gross_kg: Some(30_000.0),
            ignition: Some(true),
            load: Some(Load::Half),
            driver_id: Some("p".into()),
            alarms: vec!["sos".into()],
            events: vec![Event { level: Some(2), phase: Some(EventPhase::Start), ..Event::of("phone") }],
            ..DeviceReport::default()
        };
        let at = Time::from_millis(2_000);
        let (outcome, reason) = (Outcome::Evaluated, Reason::Ok);
        let body = Body::Device(report.clone());
        let record = Record { recv_time: at, event_time: at, outcome, reason, use_position: true, body };
        let mut past = Past::default();
        past.begin(0, Mark::default());
        past.push(&Kept::of(&record).unwrap());
        past.push(&Kept::timer(at, Some(60_000), Some(at)));
        let [Kept::Report(kept), Kept::Timer { silent_ms: Some(60_000), .. }] = &inputs(&past)[..] else { panic!() };
        assert_eq!((kept.report(), kept.event_time(), kept.recv_time()), (report, at, at));
    }

    #[test]
    fn what_lies_before_the_first_mark_is_beyond_once_a_leg_went() {
        let mut past = Past::default();
        let mut newest = None;
        for second in 0..400 {
            take(&mut past, &mut newest, &[kept(second, 1.0)]);
        }
        assert!(past.trim(past.bytes / 2, Time::default()) > 0);
        let (first, mark) = (inputs(&past)[0].at().unwrap(), past.legs[0].before.newest.unwrap());
        assert!(mark < first);
        let merged = past.merge(vec![(7, kept(0, 2.0)), (8, kept(399, 2.0))]);
        assert_eq!(merged.beyond.iter().map(|(record, _)| *record).collect::<Vec<_>>(), [7]);
        assert_eq!(merged.from, Some(past.legs.len() - 1));
    }

    proptest! {
        #[test]
        fn any_order_of_arrival_ends_in_one_order(
            mut seconds in prop::collection::vec((0_i64..500, 0_u8..3), 1..400),
            cuts in prop::collection::vec(1_usize..50, 1..40),
            order in any::<prop::sample::Index>(),
        ) {
            let expected = {
                let mut all: Vec<Kept> = seconds.iter().map(|(at, speed)| kept(*at, f64::from(*speed))).collect();
                all.sort_by(Kept::order);
                all.dedup_by(|a, b| a.order(b).is_eq());
                all
            };
            let turn = order.index(seconds.len());
            seconds.rotate_left(turn);
            let (mut past, mut newest, mut repeated) = (Past::default(), None, 0);
            let mut rest = &seconds[..];
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (batch, after) = rest.split_at((*cut).min(rest.len()));
                let batch: Vec<Kept> = batch.iter().map(|(at, speed)| kept(*at, f64::from(*speed))).collect();
                repeated += take(&mut past, &mut newest, &batch);
                rest = after;
            }
            let found = inputs(&past);
            prop_assert_eq!(found.len() + repeated, seconds.len());
            prop_assert_eq!(found, expected);
        }
    }
}
