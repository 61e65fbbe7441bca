//! From columns back to records.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrowPrimitiveType, BooleanArray, PrimitiveArray, RecordBatch, StringArray, TimestampMillisecondArray,
};
use serde::de::DeserializeOwned;

use super::columns::{Columns, DATUMS};
use crate::model::{
    Answer, Antenna, Body, Cover, Datum, DeadLetter, DeviceReport, Finding, Fix, Lift, Load, Outcome, Power, Reason,
    Record, Sighting, SightingKind, Time, UnitReply, UnitReport, UnitStatus,
};

/// Every record of a batch that conforms, with its position.
///
/// # Errors
/// As [`from_places`].
#[cfg(test)]
pub(super) fn from_batch(batch: &RecordBatch) -> Result<Vec<(u64, Record)>, String> {
    let columns = Columns::of(batch)?;
    (0..batch.num_rows()).map(|row| Row { columns: &columns, row }.record()).collect()
}

/// A position, and of what is wanted the place: that of a batch that conforms, and the row in it.
pub(super) type Place = (u64, Option<(usize, usize)>);

/// The records at these places, with their positions.
///
/// # Errors
/// The first cell that is not what its column holds: its column, what was found.
pub(super) fn from_places(batches: &[RecordBatch], places: &[Place]) -> Result<Vec<(u64, Option<Record>)>, String> {
    let columns = batches.iter().map(Columns::of).collect::<Result<Vec<_>, _>>()?;
    let record = |(position, place): &Place| {
        let Some((batch, row)) = *place else { return Ok((*position, None)) };
        Row { columns: &columns[batch], row }.record().map(|(position, record)| (position, Some(record)))
    };
    places.iter().map(record).collect()
}

/// One row.
struct Row<'a> {
    columns: &'a Columns<'a>,
    row: usize,
}

impl Row<'_> {
    fn record(&self) -> Result<(u64, Record), String> {
        let c = self.columns;
        let record = Record {
            recv_time: self.time("recv_time", c.recv_time)?,
            event_time: self.time("event_time", c.event_time)?,
            outcome: self.needed("outcome", self.word("outcome", c.outcome, Outcome::parse)?)?,
            reason: self.needed("reason", self.word("reason", c.reason, Reason::parse)?)?,
            use_position: c.use_position.value(self.row),
            body: self.body()?,
        };
        Ok((c.position.value(self.row), record))
    }

    fn body(&self) -> Result<Body, String> {
        Ok(match self.columns.kind.value(self.row) {
            "device" => Body::Device(self.device()?),
            "sighting" => Body::Sighting(self.sighting()?),
            "unit" => Body::Unit(self.unit()?),
            "reply" => Body::Reply(self.reply()?),
            "dead_letter" => Body::DeadLetter(self.dead_letter()?),
            "tick" => Body::Tick,
            "start" => Body::Start,
            "judge_again" => Body::JudgeAgain(self.text(self.columns.source_id)),
            other => return Err(format!("kind {other:?} is none that this version knows")),
        })
    }

    fn device(&self) -> Result<DeviceReport, String> {
        let c = self.columns;
        Ok(DeviceReport {
            device_id: self.needed("source_id", self.text(c.source_id))?,
            device_time: self.time("device_time", c.device_time)?,
            seq: self.number(c.seq),
            lat: self.number(c.lat),
            lon: self.number(c.lon),
            datum: self.datum()?,
            fix: self.word("fix", c.fix, Fix::parse)?,
            accuracy_m: self.number(c.accuracy_m),
            hdop: self.number(c.hdop),
            sats: self.number(c.sats),
            speed_kmh: self.number(c.speed_kmh),
            heading_deg: self.number(c.heading_deg),
            alt_m: self.number(c.alt_m),
            odometer_m: self.number(c.odometer_m),
            speed_recorder_kmh: self.number(c.speed_recorder_kmh),
            ignition: self.flag(c.ignition),
            power: self.word("power", c.power, Power::parse)?,
            antenna: self.word("antenna", c.antenna, Antenna::parse)?,
            load: self.word("load", c.load, Load::parse)?,
            gross_kg: self.number(c.gross_kg),
            cover: self.word("cover", c.cover, Cover::parse)?,
            lift: self.word("lift", c.lift, Lift::parse)?,
            driver_id: self.text(c.driver_id),
            alarms: self.alarms()?,
            events: self.json("events", c.events)?.unwrap_or_default(),
            hist: self.flag(c.hist).unwrap_or_default(),
            ext: self.json("ext", c.ext)?.unwrap_or_default(),
        })
    }

    fn sighting(&self) -> Result<Sighting, String> {
        let c = self.columns;
        Ok(Sighting {
            sensor_id: self.needed("source_id", self.text(c.source_id))?,
            device_time: self.time("device_time", c.device_time)?,
            kind: self.word("sighting_kind", c.sighting_kind, SightingKind::parse)?,
            plate: self.text(c.plate),
            plate_confidence: self.number(c.plate_confidence),
            place_id: self.text(c.place_id),
            lat: self.number(c.lat),
            lon: self.number(c.lon),
            datum: self.datum()?,
            direction: self.text(c.direction),
            cover: self.word("cover", c.cover, Cover::parse)?,
            dirty: self.flag(c.dirty),
            washed: self.flag(c.washed),
            gross_kg: self.number(c.gross_kg),
            media: self.json("media", c.media)?.unwrap_or_default(),
            cloned: self.flag(c.cloned),
            ext: self.json("ext", c.ext)?.unwrap_or_default(),
        })
    }

    fn unit(&self) -> Result<UnitReport, String> {
        let c = self.columns;
        Ok(UnitReport {
            unit_id: self.needed("source_id", self.text(c.source_id))?,
            device_time: self.time("device_time", c.device_time)?,
            lat: self.number(c.lat),
            lon: self.number(c.lon),
            datum: self.datum()?,
            status: self.word("unit_status", c.unit_status, UnitStatus::parse)?,
        })
    }

    fn reply(&self) -> Result<UnitReply, String> {
        let c = self.columns;
        Ok(UnitReply {
            unit_id: self.needed("source_id", self.text(c.source_id))?,
            dispatch_id: self.needed("dispatch_id", self.text(c.dispatch_id))?,
            device_time: self.time("device_time", c.device_time)?,
            answer: self.needed("answer", self.word("answer", c.answer, Answer::parse)?)?,
            reason: self.text(c.answer_reason).map(|text| text.to_string()),
            verdict: self.word("verdict", c.verdict, Finding::parse)?,
            note: self.text(c.note).map(|text| text.to_string()),
            media: self.json("media", c.media)?,
        })
    }

    fn dead_letter(&self) -> Result<DeadLetter, String> {
        let c = self.columns;
        Ok(DeadLetter {
            device_id: self.text(c.source_id),
            topic: self.needed("topic", self.text(c.topic))?,
            payload: c.payload.value(self.row).to_vec(),
            problem: self.needed("problem", self.text(c.problem))?.to_string(),
        })
    }

    fn present(&self, column: &impl Array) -> bool {
        column.is_valid(self.row)
    }

    fn needed<T>(&self, name: &str, value: Option<T>) -> Result<T, String> {
        value.ok_or_else(|| format!("column {name} is NULL at position {}", self.columns.position.value(self.row)))
    }

    fn time(&self, name: &str, column: &TimestampMillisecondArray) -> Result<Time, String> {
        self.needed(name, self.number(column).map(Time::from_millis))
    }

    fn number<T: ArrowPrimitiveType>(&self, column: &PrimitiveArray<T>) -> Option<T::Native> {
        self.present(column).then(|| column.value(self.row))
    }

    fn flag(&self, column: &BooleanArray) -> Option<bool> {
        self.present(column).then(|| column.value(self.row))
    }

    fn text(&self, column: &StringArray) -> Option<Arc<str>> {
        self.present(column).then(|| column.value(self.row).into())
    }

    fn word<T>(&self, name: &str, column: &StringArray, parse: fn(&str) -> Option<T>) -> Result<Option<T>, String> {
        if !self.present(column) {
            return Ok(None);
        }
        let word = column.value(self.row);
        parse(word).map(Some).ok_or_else(|| format!("column {name} holds {word:?}, none of the words of this version"))
    }

    fn datum(&self) -> Result<Option<Datum>, String> {
        self.word("datum", self.columns.datum, |word| DATUMS.iter().find(|(_, name)| *name == word).map(|(d, _)| *d))
    }

    fn json<T: DeserializeOwned>(&self, name: &str, column: &StringArray) -> Result<Option<T>, String> {
        if !self.present(column) {
            return Ok(None);
        }
        serde_json::from_str(column.value(self.row)).map(Some).map_err(|error| format!("column {name}: {error}"))
    }

    fn alarms(&self) -> Result<Vec<Arc<str>>, String> {
        let list = self.columns.alarms;
        if !self.present(list) {
            return Ok(Vec::new());
        }
        let values = list.value(self.row);
        let values: &StringArray = values.as_any().downcast_ref().ok_or("column alarms is no list of text")?;
        Ok(values.iter().map(|alarm| alarm.unwrap_or_default().into()).collect())
    }
}
