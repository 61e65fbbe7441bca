//! From bytes of a dialect to canonical reports.

mod elements;
mod fields;
mod native;
mod topics;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use topics::{Kind, Topics};

use crate::model::{Body, Datum, DeadLetter, Reason, Time, limits};

/// The dialect of a subscription.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// The contract's own JSON.
    #[default]
    Native,
}

/// One report as read, or one dead letter. Each becomes exactly one record.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    pub body: Body,
    /// `Ok`, or why the body is a dead letter.
    pub reason: Reason,
    /// Arrival as a replayed file says it; never set for messages.
    pub recv_time: Option<Time>,
}

/// Reads messages and lines of one dialect.
///
/// Positions stay as they came: when a report says no datum and the source's is not WGS-84, the report's `datum` is set
/// to the source's, so after decoding an absent datum always means WGS-84 and a present one says what to convert from.
#[derive(Clone, Debug)]
pub struct Decoder {
    format: Format,
    topics: Topics,
    datum: Datum,
}

/// What one element is read as, and where it comes from.
#[derive(Clone, Copy)]
struct Context<'a> {
    kind: Kind,
    /// From the topic; `None` in files.
    id: Option<&'a Arc<str>>,
    datum: Datum,
}

/// The reading of one element: the body and, in files, its arrival.
type Read = Result<(Body, Option<Time>), String>;

impl Decoder {
    pub fn new(format: Format, topics: Topics, datum: Datum) -> Self {
        Self { format, topics, datum }
    }

    /// The topics it reads.
    pub fn topics(&self) -> &Topics {
        &self.topics
    }

    /// Appends what a message holds: one entry a report, none for an empty array.
    pub fn decode(&self, topic: &str, payload: &[u8], out: &mut Vec<Decoded>) {
        let Some((kind, id)) = self.topics.route(topic) else {
            let problem = format!("found a topic that nothing here reads, expected one below {}", self.topics.prefix());
            return out.push(dead(topic, payload, Reason::UnknownTopic, problem));
        };
        if let Err(problem) = fields::check_id(id) {
            return out.push(dead(
                topic,
                payload,
                Reason::Undecodable,
                format!("{} in the topic: {problem}", kind.id()),
            ));
        }
        let id = Arc::from(id);
        let context = Context { kind, id: Some(&id), datum: self.datum };
        each_element(topic, payload, out, |bytes| self.read(context, bytes));
    }

    /// Appends what a line of a file holds. `origin` names file and line and is a dead letter's topic.
    pub fn decode_line(&self, line: &[u8], origin: &str, out: &mut Vec<Decoded>) {
        each_element(origin, line, out, |bytes| {
            let context = Context { kind: native::kind_of_line(bytes), id: None, datum: self.datum };
            self.read(context, bytes)
        });
    }

    fn read(&self, context: Context, bytes: &[u8]) -> Read {
        match self.format {
            Format::Native => native::read(context, bytes),
        }
    }
}

/// Reads a lone object or every element of an array.
fn each_element(topic: &str, payload: &[u8], out: &mut Vec<Decoded>, read: impl Fn(&[u8]) -> Read) {
    if payload.len() > limits::PAYLOAD_BYTES {
        let problem = format!("found {} bytes, expected at most {}", payload.len(), limits::PAYLOAD_BYTES);
        return out.push(dead(topic, payload, Reason::TooLarge, problem));
    }
    let one = |bytes: &[u8]| match read(bytes) {
        Ok((body, recv_time)) => Decoded { body, reason: Reason::Ok, recv_time },
        Err(problem) => dead(topic, bytes, Reason::Undecodable, problem),
    };
    if payload.trim_ascii_start().first() != Some(&b'[') {
        return out.push(one(payload));
    }
    match elements::split(payload) {
        Ok(elements) if elements.len() > limits::REPORTS_PER_PAYLOAD => {
            let problem = format!("found {} reports, expected at most {}", elements.len(), limits::REPORTS_PER_PAYLOAD);
            out.push(dead(topic, payload, Reason::TooLarge, problem));
        }
        Ok(elements) => out.extend(elements.into_iter().map(one)),
        Err(problem) => out.push(dead(topic, payload, Reason::Undecodable, problem)),
    }
}

/// Longest text about what is wrong, in bytes.
const PROBLEM_BYTES: usize = 300;

fn dead(topic: &str, payload: &[u8], reason: Reason, mut problem: String) -> Decoded {
    if problem.len() > PROBLEM_BYTES {
        problem.truncate(problem.floor_char_boundary(PROBLEM_BYTES));
        problem.push('…');
    }
    let letter = DeadLetter { topic: topic.into(), payload: payload.to_vec(), problem };
    Decoded { body: Body::DeadLetter(letter), reason, recv_time: None }
}
