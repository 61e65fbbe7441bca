//! Enforcement units: they patrol, say where they are, and answer offers like people.

use std::{collections::VecDeque, sync::Arc};

use serde::Deserialize;

use super::{Message, chance::Chance, city::City, files::unit_id, names, network::Network, plane::Spot};
use crate::model::{Answer, Finding, Time, UnitReply, UnitReport, UnitStatus};

/// How often a unit says where it is, milliseconds.
const REPORT_MS: i64 = 10_000;
/// How fast units drive, m/s: on patrol, and called.
const PATROL_MPS: f64 = 8.0;
const CALLED_MPS: f64 = 16.0;
/// How far from its post a unit patrols, metres.
const BEAT_M: f64 = 3_500.0;
/// Answers that one unit owes at once; more offers are not heard.
const OWED: usize = 16;
/// Where units of each district begin, metres from the middle of the city.
const POSTS: [(f64, f64); 3] = [(-7_000.0, 3_500.0), (-3_500.0, -5_500.0), (5_500.0, 3_500.0)];

/// What an offer must say to be answered; the rest is for people to read.
#[derive(Deserialize)]
struct Offer {
    dispatch_id: Arc<str>,
    lat: Option<f64>,
    lon: Option<f64>,
}

/// A place to go to.
#[derive(Clone, Debug)]
struct Task {
    dispatch_id: Arc<str>,
    /// When it will have seen enough; `None` while on the way.
    done_ms: Option<i64>,
}

/// An answer that is still being thought about.
#[derive(Clone, Debug)]
struct Owed {
    at_ms: i64,
    dispatch_id: Arc<str>,
    answer: Answer,
    reason: Option<&'static str>,
    target: Option<Spot>,
}

#[derive(Clone, Debug)]
struct Unit {
    unit_id: Arc<str>,
    report_topic: Arc<str>,
    reply_topic: Arc<str>,
    post: Spot,
    spot: Spot,
    /// What is ahead of it, point by point.
    way: VecDeque<Spot>,
    task: Option<Task>,
    owed: Vec<Owed>,
    next_report_ms: i64,
    chance: Chance,
}

/// All units of the city.
#[derive(Clone, Debug)]
pub(super) struct Units {
    units: Vec<Unit>,
}

impl Units {
    pub fn new(city: &City, seed: u64, now_ms: i64) -> Self {
        let unit = |(number, (_, _, _, district)): (usize, &(_, _, _, usize))| {
            let unit_id: Arc<str> = unit_id(number).into();
            let mut chance = Chance::new(seed, (1 << 40) + number as u64);
            let (x, y) = POSTS[district % POSTS.len()];
            let post = Spot::new(x + chance.between(-2_500.0, 2_500.0), y + chance.between(-2_500.0, 2_500.0));
            let post = city.network.nodes[city.network.nearest_node(post)].spot;
            Unit {
                report_topic: format!("unit/{unit_id}/report").into(),
                reply_topic: format!("unit/{unit_id}/reply").into(),
                unit_id,
                post,
                spot: post,
                way: VecDeque::new(),
                task: None,
                owed: Vec::new(),
                // All have reported within the first second.
                next_report_ms: now_ms + 80 * number as i64,
                chance,
            }
        };
        Self { units: names::UNITS.iter().enumerate().map(unit).collect() }
    }

    /// Hears an offer. What is no offer, or for no unit of ours, is not heard.
    pub fn hear(&mut self, unit_id: &str, payload: &[u8], now: Time) {
        let Some(unit) = self.units.iter_mut().find(|unit| *unit.unit_id == *unit_id) else { return };
        if let Ok(offer) = serde_json::from_slice::<Offer>(payload)
            && unit.owed.len() < OWED
        {
            unit.consider(offer, now.as_millis());
        }
    }

    /// One step of `dt_s` seconds, at whose end it is `now_ms`.
    pub fn step(&mut self, network: &Network, now_ms: i64, dt_s: f64, say: &mut impl FnMut(Message)) {
        for unit in &mut self.units {
            unit.speak(network, now_ms, say);
            unit.go(network, dt_s);
            unit.look_into(now_ms, say);
            if now_ms >= unit.next_report_ms {
                unit.next_report_ms += REPORT_MS;
                say(unit.report(now_ms));
            }
        }
    }
}

impl Unit {
    /// Makes up its mind: most go, some say no, some say nothing.
    fn consider(&mut self, offer: Offer, now_ms: i64) {
        const REASONS: &[&str] =
            &["on another case", "too far away", "off duty in ten minutes", "vehicle is being repaired"];
        let lot = self.chance.unit();
        let busy = self.task.is_some() || self.owed.iter().any(|owed| owed.answer == Answer::Accept);
        let target = offer.lon.zip(offer.lat).map(|(lon, lat)| Spot::at(lon, lat));
        let (answer, reason) = match lot {
            _ if busy => (Answer::Decline, Some("on another case")),
            lot if lot < 0.7 => (Answer::Accept, None),
            lot if lot < 0.85 => (Answer::Decline, self.chance.pick(REASONS).copied()),
            _ => return,
        };
        let at_ms = now_ms + self.chance.span_ms(2.0, 6.0);
        self.owed.push(Owed { at_ms, dispatch_id: offer.dispatch_id, answer, reason, target });
    }

    /// Gives the answers that are due.
    fn speak(&mut self, network: &Network, now_ms: i64, say: &mut impl FnMut(Message)) {
        while let Some(at) = self.owed.iter().position(|owed| owed.at_ms <= now_ms) {
            let owed = self.owed.remove(at);
            say(self.reply(&owed.dispatch_id, owed.answer, owed.at_ms, owed.reason, None));
            if owed.answer == Answer::Accept {
                let target = owed.target.unwrap_or(self.spot);
                self.head_for(network, network.nearest_node(target));
                self.way.push_back(target);
                self.task = Some(Task { dispatch_id: owed.dispatch_id, done_ms: None });
            }
        }
    }

    fn head_for(&mut self, network: &Network, node: usize) {
        let from = network.nearest_node(self.spot);
        self.way = VecDeque::from([network.nodes[from].spot]);
        for leg in network.way(from, node, |_, edge| Some(edge.length_m)).unwrap_or_default() {
            let shape = &network.edges[leg.0].shape;
            if leg.1 {
                self.way.extend(shape);
            } else {
                self.way.extend(shape.iter().rev());
            }
        }
    }

    fn go(&mut self, network: &Network, dt_s: f64) {
        let stays = self.task.as_ref().is_some_and(|task| task.done_ms.is_some());
        if self.way.is_empty() && self.task.is_none() {
            let beat = Spot::new(
                self.post.x + self.chance.between(-BEAT_M, BEAT_M),
                self.post.y + self.chance.between(-BEAT_M, BEAT_M),
            );
            self.head_for(network, network.nearest_node(beat));
        }
        let mut left_m = if stays { 0.0 } else { dt_s * if self.task.is_some() { CALLED_MPS } else { PATROL_MPS } };
        while let Some(next) = self.way.front().copied() {
            let ahead_m = self.spot.distance_m(next);
            if ahead_m > left_m {
                self.spot = self.spot.towards(next, left_m / ahead_m);
                break;
            }
            left_m -= ahead_m;
            self.spot = next;
            self.way.pop_front();
        }
    }

    /// Having arrived it says so, looks, and says what it found.
    fn look_into(&mut self, now_ms: i64, say: &mut impl FnMut(Message)) {
        let Some(task) = self.task.clone() else { return };
        match task.done_ms {
            None if self.way.is_empty() => {
                say(self.reply(&task.dispatch_id, Answer::Arrived, now_ms, None, None));
                let done_ms = Some(now_ms + self.chance.span_ms(20.0, 75.0));
                self.task = Some(Task { done_ms, ..task });
            }
            Some(done_ms) if done_ms <= now_ms => {
                let verdict = match self.chance.unit() {
                    lot if lot < 0.75 => Finding::Confirmed,
                    lot if lot < 0.87 => Finding::NotFound,
                    _ => Finding::FalseAlarm,
                };
                say(self.reply(&task.dispatch_id, Answer::Resolved, now_ms, None, Some(verdict)));
                self.task = None;
            }
            _ => {}
        }
    }

    fn report(&self, now_ms: i64) -> Message {
        let round = |degrees: f64| (degrees * 1e6).round() / 1e6;
        let status = if self.task.is_some() { UnitStatus::Busy } else { UnitStatus::Available };
        let report = UnitReport {
            unit_id: Arc::clone(&self.unit_id),
            device_time: Time::from_millis(now_ms),
            lat: Some(round(self.spot.lat())),
            lon: Some(round(self.spot.lon())),
            datum: None,
            status: Some(status),
        };
        message(&self.report_topic, &report, now_ms)
    }

    fn reply(
        &self,
        dispatch_id: &Arc<str>,
        answer: Answer,
        now_ms: i64,
        reason: Option<&str>,
        verdict: Option<Finding>,
    ) -> Message {
        let reply = UnitReply {
            unit_id: Arc::clone(&self.unit_id),
            dispatch_id: Arc::clone(dispatch_id),
            device_time: Time::from_millis(now_ms),
            answer,
            reason: reason.map(str::to_owned),
            verdict,
            note: None,
            media: None,
        };
        message(&self.reply_topic, &reply, now_ms)
    }
}

fn message(topic: &Arc<str>, content: &impl serde::Serialize, now_ms: i64) -> Message {
    let payload = serde_json::to_vec(content).expect("plain structs with text keys always have a JSON form");
    Message { topic: Arc::clone(topic), payload, at: Time::from_millis(now_ms) }
}
