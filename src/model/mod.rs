//! The words: everything the other rooms talk about, and nothing that does anything.
//!
//! Pure data with its own invariants. No clock, no I/O, no locks, no async: time comes in as a value.

mod alert;
mod cause;
mod digest;
mod dispatch;
mod facts;
mod jumps;
mod live;
pub mod plate;
pub mod limits;
mod message;
mod names;
mod order;
mod plural;
mod record;
mod report;
mod rule;
mod schedule;
mod sender;
mod time;

pub use alert::{Alert, AlertId, AlertState, Joined, Language, LocalText, Severity, Transition};
pub(crate) use cause::wraps;
pub use digest::FileDigest;
pub use dispatch::{Answer, Finding, UnitKind, UnitReply, UnitReport, UnitStatus};
pub use facts::{Column, ColumnSet, ColumnSpec, Facts, InZone, Kind, RowKind, Text, UNREGISTERED, Value};
pub use jumps::{Fixed, JumpLimits, Jumps};
pub use live::{LiveClock, clock_fault, is_impossible};
pub use message::{Leased, Message, Settled, content_id};
pub use names::{Named, NamedZone, Names};
pub use order::{
    Considered, Offer, OfferState, Order, OrderState, PassedOver, Purpose, Replied, ReplyOutcome, Search, UnitState,
    dispatch_id,
};
pub use plural::counted;
pub use record::{Body, DeadLetter, Ledger, Outcome, Reason, Record};
pub(crate) use report::words;
pub use report::{
    Alarm, Antenna, Cover, Datum, DeviceReport, Event, EventKind, EventPhase, Fix, Lift, Load, Power, Sighting,
    SightingKind, place,
};
pub use rule::{CountWindow, Departments, Incident, Tally, Timing, Verdict, Window};
pub use schedule::{Schedule, ScheduleError};
pub use sender::Sender;
pub use time::{LocalTime, Period, Time, TimeError, Validity, Zone};
