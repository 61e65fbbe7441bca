//! Every bound of the house in one place, with what happens at it.

/// Longest device, sensor or unit id, in bytes. Longer: dead letter.
pub const ID_BYTES: usize = 64;
/// Largest payload that is read, in bytes. Larger: dead letter, with its head, length and SHA-256.
pub const PAYLOAD_BYTES: usize = 1 << 20;
/// What is kept of a larger one, bytes.
pub const LETTER_HEAD_BYTES: usize = 64 << 10;
/// Largest MQTT packet that a connection takes, in bytes: the protocol's own bound, so that no message can wedge a session.
pub const MQTT_PACKET_BYTES: usize = 268_435_460;
/// Most reports in one payload. More: dead letter.
pub const REPORTS_PER_PAYLOAD: usize = 10_000;
/// Messages taken in at once, bytes. More: the large ones are put aside, to be judged between those that come.
pub const INTAKE_BYTES: usize = 1 << 20;
/// A message from here on is large, bytes: a batch of what a device kept.
pub const ASIDE_BYTES: usize = 2 << 10;
/// Of what was put aside so much is taken up at once, bytes.
pub const BACKLOG_SLICE_BYTES: usize = 1 << 20;
/// Batches that wait for a shard when another slice is taken up. More: those that come would wait for them.
pub const BACKLOG_SLICES: usize = 2;
/// Sealed files of an earlier version that are put into the inventory at once, bytes. More: after the next seal.
pub const LIST_BYTES: u64 = 1 << 30;
/// How fast sealed files are read again to see whether they are what was sealed, bytes a second: a disk hardly notices.
pub const SCRUB_BYTES_PER_S: u64 = 16 << 20;
/// From the end of one pass over all of them to the next, seconds: a day.
pub const SCRUB_EVERY_S: f64 = 86_400.0;
/// What may be put aside, bytes. More: it is judged as it comes, and the broker holds the rest.
pub const BACKLOG_BYTES: u64 = 8 << 30;
/// Messages of one connection that are read and not yet acknowledged. Full: it waits, the broker holds the rest.
pub const UNACKNOWLEDGED: usize = 65_535;
/// Most messages that one journal batch takes. More: the next batch.
pub const JOURNAL_BATCH: usize = 8_192;
/// Batches that wait for a shard. Full: acknowledgement is withheld.
pub const SHARD_QUEUE: usize = 16;
/// Late reports of one vehicle that wait for its history. More: `late`, not judged.
pub const LATE_WAITING: usize = 100_000;
/// Memory of one vehicle's past while it waits for its history; or four times its share. More: what waits is `late`.
pub const PAST_BYTES: usize = 16 << 20;
/// Vehicles whose history is read together. More: with the next reading.
pub const HISTORIES: usize = 512;
/// Devices that are in no registry and still judged. More: rejected as `too_many_devices`.
pub const UNREGISTERED_DEVICES: usize = 20_000;
/// Plates in no registry that sightings are judged of. More: rejected as `too_many_plates`.
pub const UNREGISTERED_PLATES: usize = 20_000;
/// New ones of those that one sensor may tell of within an hour: one in four seconds, more than any gate sees. More: rejected
/// as `too_many_plates`.
pub const NEW_PLATES_PER_SENSOR: usize = 1_000;
/// Fingerprints of recent reports kept per device to tell duplicates. Older ones: `late`, not judged either.
pub const FINGERPRINTS_PER_DEVICE: usize = 64;
/// Alarms and events kept of one report. More: the rest stay in the journal's `ext` only.
pub const EVENTS_PER_REPORT: usize = 64;
/// Roads on which one vehicle may be at once. More: the least likely are forgotten.
pub const ROAD_CANDIDATES: usize = 8;
/// Nodes of the road network that one search for a way visits. More: no way.
pub const ROAD_NODES: usize = 1_000;
/// The same where it is asked whether there is any way round a zone. More: nobody can say, so it is not said to be driven through.
pub const WAY_NODES: usize = 4_000;
/// Alert machines one vehicle may have in flight. More: the oldest idle one goes.
pub const MACHINES_PER_VEHICLE: usize = 256;
/// Hits remembered for a rule's `count` window. More: refused when the rule is loaded.
pub const COUNT_HITS: u32 = 1_000;
/// Rules in a folder. More: refused when loaded.
pub const RULES: usize = 10_000;
/// Folders that are read for rules, one in another. More: refused when loaded.
pub const RULE_FOLDERS: usize = 1_000;
/// Largest rule file that is read, in bytes. Larger: refused when loaded.
pub const RULE_FILE_BYTES: usize = 1 << 20;
/// Deepest nesting in a rule file. Deeper: refused when loaded.
pub const YAML_DEPTH: usize = 32;
/// Most nodes in a rule file, aliases expanded. More: refused when loaded.
pub const YAML_NODES: usize = 250_000;
/// Longest predicate, in bytes. Longer: refused when loaded.
pub const PREDICATE_BYTES: usize = 8_192;
/// Most words, numbers and signs in a predicate. More: refused when loaded.
pub const PREDICATE_TOKENS: usize = 1_000;
/// Deepest nesting of brackets in a predicate. Deeper: refused when loaded.
pub const PREDICATE_DEPTH: usize = 24;
/// Deepest nesting of `case` in a predicate. Deeper: refused when loaded.
pub const PREDICATE_CASES: usize = 4;
/// Longest duration in a rule, in milliseconds: a leap year. Longer: refused when loaded.
pub const RULE_DURATION_MS: i64 = 366 * 86_400_000;
/// Reports of one series in a test of rules. More: refused when loaded.
pub const TEST_SERIES: i64 = 100_000;
/// Severity cases of one rule. More: refused when loaded.
pub const SEVERITY_CASES: usize = 16;
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
/// Sizes that a journal segment may be set to, in bytes. Others: refused at start.
pub const SEGMENT_BYTES: std::ops::RangeInclusive<u64> = 4 << 10..=1 << 30;
/// Most bytes of payloads and vendor values in one frame of the journal. More: the append becomes several frames.
pub const FRAME_BYTES: usize = 64 << 20;
/// Most bytes that are sorted at once when a segment is sealed. More: it becomes several Parquet files a day.
pub const SEAL_BYTES: usize = 256 << 20;
/// Size that sealed segments may be merged to, in bytes of Parquet. Others: refused at start.
pub const COMPACT_BYTES: u64 = 64 << 20;
/// Rows that sealed segments are merged to at most. More: they stay apart.
pub const COMPACT_ROWS: u64 = 1_000_000;
/// Merges between two seals at most. More: after the next seal.
pub const COMPACT_MERGES: usize = 4;
/// Days before its arrival for which a sealed record gets a day of its own. Older: the partition `older`.
pub const HISTORY_DAYS_BACK: i64 = 7;
/// Messages that wait in the outbox. More: not queued, counted and said; what they tell stays in the tables.
pub const OUTBOX_ROWS: u64 = 1_000_000;
/// A message that has waited longer to be delivered is late, seconds: `/readyz` says so.
pub const DELIVERY_LATE_S: f64 = 120.0;
/// Messages that were refused and are kept to look at. More: the oldest goes.
pub const OUTBOX_REFUSED: u64 = 10_000;
/// Units named in the reason for a choice, nearest first. More: left out.
pub const CONSIDERED_PER_CHOICE: usize = 16;
/// Times an order is reinforced. More: the reply is answered `too_many`.
pub const REINFORCEMENTS_PER_ORDER: usize = 8;
/// Orders that seek, wait for or hold a unit. More: the mildest that waits is left to the department for a graver one, else the new
/// one is.
pub const ORDERS_ACTIVE: usize = 50_000;
/// Escalated orders kept at hand, so that a graver alert can move them. More: the oldest stays in the tables only.
pub const ORDERS_ESCALATED: usize = 10_000;
/// Replies kept of one order, beside those that changed something. More: counted, and in the journal.
pub const REPLIES_PER_ORDER: usize = 1_000;
/// Replies kept of one unit to orders that there are not. More: counted, in the journal, and not answered.
pub const REPLIES_UNASKED: usize = 100;
/// Registered units whose position is kept. More: the report is not kept.
pub const UNITS: usize = 20_000;
/// Read connections kept open to the store. More: opened and closed again.
pub const STORE_READERS: usize = 8;
/// Bytes of one registry file, gzip undone. More: the folder is refused.
pub const REGISTRY_FILE_BYTES: usize = 1 << 30;
/// Rows of one registry file. More: the folder is refused.
pub const REGISTRY_ROWS: usize = 2_000_000;
/// Positions of one ring or line of a registered shape. More: the folder is refused.
pub const REGISTRY_POSITIONS: usize = 100_000;
/// Bytes of an id in the registry. Longer: the folder is refused.
pub const REGISTRY_ID_BYTES: usize = 256;
/// Problems of a registry that are listed. More: counted.
pub const REGISTRY_PROBLEMS: usize = 10_000;
/// Memory of one query over history, in bytes. More: sorts and joins go to disk, the rest fails.
pub const QUERY_BYTES: usize = 1 << 30;
/// Rows that a query works on at once: those with a payload of a megabyte each are a gigabyte.
pub const QUERY_BATCH_ROWS: usize = 1_024;
/// Longest query, bytes. Longer: refused.
pub const QUERY_TEXT_BYTES: usize = 64 << 10;
/// Operators, brackets and words such as AND, CASE, JOIN in a query. More: refused; each may be a level of its depth.
pub const QUERY_TERMS: usize = 2_000;
/// The stack on which a query of that depth is planned, bytes.
pub const QUERY_STACK_BYTES: usize = 512 << 20;
/// What an answer as a table may hold, bytes. More: left out, and said; files have it all.
pub const QUERY_TABLE_BYTES: usize = 64 << 20;
/// Rows of an answer that are shown as a table. More: left out, and said; files have them all.
pub const QUERY_TABLE_ROWS: usize = 10_000;
/// Characters kept of what a unit writes to explain itself. More: cut off.
pub const NOTE_CHARS: usize = 2_000;
/// Fingerprints of recent replies of units, to tell duplicates. Older ones: judged again.
pub const REPLY_FINGERPRINTS: usize = 1_024;
/// Messages that wait for a publisher's connection. Full: `publish` waits.
pub const PUBLISH_QUEUE: usize = 1_024;
/// Published messages that the broker has not acknowledged. More: they wait.
pub const PUBLISH_IN_FLIGHT: u16 = 1_000;
/// Threads that judge. More: refused when the settings are read.
pub const SHARDS: usize = 256;
/// Connections to the broker that reports come over. More: refused when the settings are read.
pub const MQTT_CONNECTIONS: u32 = 64;
/// Connections to HTTP at once. More: the oldest that has asked nothing yet is closed, else the new one.
pub const HTTP_CONNECTIONS: usize = 1_024;
/// The same of one address.
pub const HTTP_CONNECTIONS_PER_ADDRESS: usize = 512;
/// Largest body of a request, in bytes. Larger: 413.
pub const HTTP_BODY_BYTES: usize = 8 << 20;
/// Devices of which it is shown what they sent. More: the tenth that is silent longest is forgotten.
pub const DEVICES_HEARD: usize = 50_000;
/// Problems of one device that are shown. More: the oldest goes.
pub const DEVICE_PROBLEMS: usize = 10;
/// Unreadable messages that are shown over HTTP. More: the oldest goes; history has it.
pub const DEAD_LETTERS: usize = 1_000;
/// Kinds of topics that nobody reads which are named in the log. More: counted only.
pub const UNREAD_TOPICS: usize = 100;
/// Vehicles whose last position is shown. More: not shown until the process starts again.
pub const POSITIONS: usize = 200_000;
/// Trucks of one simulation. More: refused.
pub const SIMULATED_TRUCKS: usize = 200_000;
/// Keys over which rules count at once (`count.vehicles`, `over`). More: new ones are not counted until old ones are over.
pub const TALLIES: usize = 100_000;
/// Hits and vehicles remembered for one such key. More: the oldest hit goes, new vehicles are not counted.
pub const TALLY_HITS: usize = 65_536;
/// Hits that all of them keep, to be counted again when something comes late. More: the older ones of a key are final.
pub const TALLY_LOGGED: usize = 200_000;
/// Alerts withheld because one about many speaks for them. More: they are told.
pub const TALLY_WITHHELD: usize = 200_000;
/// Predicates under `mute`. More: refused when loaded.
pub const MUTES: usize = 16;
/// Reasons of a sheet of risks. More: refused when loaded.
pub const RISK_REASONS: usize = 64;
/// Largest weight of a reason. More: refused when loaded.
pub const RISK_WEIGHT: u32 = 1_000;
/// Grave alerts of one vehicle that are remembered to tell its risk. More: the oldest goes.
pub const RECENT_ALERTS: usize = 64;
/// Alerts of one vehicle remembered as seen in late data only. More: the oldest is told as if seen at once, should it change.
pub const RETOLD_ALERTS: usize = 256;
/// Vehicles that a change of the registry names one by one, to be judged again. More: all are.
pub const TOUCHED_VEHICLES: usize = 64;
/// Changes of rules or registry of which is kept when they came into force. More: the oldest go, with rules that none names.
pub const IN_FORCE: usize = 4_096;
/// Rows that the evidence of an alert shows. More: counted as cut.
pub const EVIDENCE_STEPS: usize = 2_000;
/// Reports that the evidence of an alert shows. More: counted as cut.
pub const EVIDENCE_REPORTS: usize = 2_000;
/// Versions of what was registered that the evidence of an alert shows. More: not shown.
pub const EVIDENCE_VERSIONS: usize = 64;
/// Changes of rules and registry that the evidence of an alert shows. More: the oldest are not shown.
pub const EVIDENCE_CHANGES: usize = 64;
/// Alerts explained over HTTP at once. More: 503.
pub const EXPLAINING: usize = 2;
