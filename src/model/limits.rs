//! Every bound of the house in one place, with what happens at it.

/// Longest device, sensor or unit id, in bytes. Longer: dead letter.
pub const ID_BYTES: usize = 64;
/// Largest payload that is read, in bytes. Larger: dead letter, whole.
pub const PAYLOAD_BYTES: usize = 1 << 20;
/// Largest MQTT packet that a connection takes, in bytes: the protocol's own bound, so that no message can wedge a session.
pub const MQTT_PACKET_BYTES: usize = 268_435_460;
/// Most reports in one payload. More: dead letter.
pub const REPORTS_PER_PAYLOAD: usize = 10_000;
/// Messages of one connection that are read and not yet acknowledged. Full: it waits, the broker holds the rest.
pub const UNACKNOWLEDGED: usize = 65_535;
/// Most messages that one journal batch takes. More: the next batch.
pub const JOURNAL_BATCH: usize = 8_192;
/// Batches that wait for a shard. Full: acknowledgement is withheld.
pub const SHARD_QUEUE: usize = 16;
/// Devices that are in no registry and still judged. More: rejected as `too_many_devices`.
pub const UNREGISTERED_DEVICES: usize = 20_000;
/// Fingerprints of recent reports kept per device to tell duplicates. Older ones: `late`, not judged either.
pub const FINGERPRINTS_PER_DEVICE: usize = 64;
/// Alarms and events kept of one report. More: the rest stay in the journal's `ext` only.
pub const EVENTS_PER_REPORT: usize = 64;
/// Alert machines one vehicle may have in flight. More: the oldest idle one goes.
pub const MACHINES_PER_VEHICLE: usize = 256;
/// Hits remembered for a rule's `count` window. More: refused when the rule is loaded.
pub const COUNT_HITS: u32 = 1_000;
/// Rules in a folder. More: refused when loaded.
pub const RULES: usize = 10_000;
/// Subscribers of the event stream. More: 503.
pub const STREAM_SUBSCRIBERS: usize = 256;
/// Events kept for a slow subscriber. More: it is told how many it missed.
pub const STREAM_BACKLOG: usize = 4_096;
/// Rows in one page of the API. More: the next cursor.
pub const PAGE_ROWS: usize = 1_000;
/// Messages in the outbox under lease at once.
pub const OUTBOX_LEASED: usize = 256;
/// Units that one order asks in turn before it is left to the department.
pub const OFFERS_PER_ORDER: u32 = 8;
