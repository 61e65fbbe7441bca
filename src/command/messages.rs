//! What units and departments are sent.

use serde::Serialize;

use crate::model::{Answer, Message, Offer, Order, Purpose, Replied, ReplyOutcome, Severity, Time};

/// What both need to know of the alert.
#[derive(Serialize)]
struct Matter<'a> {
    dispatch_id: &'a str,
    alert_id: &'a str,
    rule_id: &'a str,
    severity: Severity,
    vehicle_id: &'a str,
    plate: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    lat: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lon: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    district_id: Option<&'a str>,
}

#[derive(Serialize)]
struct OfferMessage<'a> {
    #[serde(flatten)]
    matter: Matter<'a>,
    offer_id: &'a str,
    attempt: u32,
    purpose: Purpose,
    #[serde(skip_serializing_if = "Option::is_none")]
    distance_m: Option<f64>,
    sent_at: Time,
    deadline: Time,
}

#[derive(Serialize)]
struct EscalationMessage<'a> {
    #[serde(flatten)]
    matter: Matter<'a>,
    purpose: Purpose,
    escalated_at: Time,
    reason: &'a str,
    attempts: u32,
}

#[derive(Serialize)]
struct WithdrawalMessage<'a> {
    #[serde(flatten)]
    matter: Matter<'a>,
    offer_id: &'a str,
    withdrawn_at: Time,
    reason: &'a str,
}

#[derive(Serialize)]
struct AnswerMessage<'a> {
    dispatch_id: &'a str,
    reply_id: &'a str,
    answer: Answer,
    outcome: ReplyOutcome,
    reason: &'static str,
    reason_zh: &'static str,
    answered_at: Time,
}

impl<'a> Matter<'a> {
    fn of(order: &'a Order) -> Self {
        Self {
            dispatch_id: &order.dispatch_id,
            alert_id: &order.alert_id.0,
            rule_id: &order.rule_id,
            severity: order.severity,
            vehicle_id: &order.vehicle_id,
            plate: &order.plate,
            message: &order.message,
            lat: order.lat,
            lon: order.lon,
            district_id: order.district_id.as_deref(),
        }
    }
}

/// The question to one unit.
pub(super) fn offer(prefix: &str, order: &Order, offer: &Offer) -> Message {
    let payload = OfferMessage {
        matter: Matter::of(order),
        offer_id: &offer.offer_id,
        attempt: offer.attempt,
        purpose: offer.purpose,
        distance_m: offer.distance_m,
        sent_at: offer.sent_at,
        deadline: offer.deadline,
    };
    Message::new(format!("{prefix}/dispatch/{}", offer.unit_id), json(&payload))
}

/// The word to a unit that was asked or is on its way that there is nothing to go for.
pub(super) fn withdrawal(prefix: &str, order: &Order, offer: &Offer, now: Time) -> Message {
    let (offer_id, reason) = (&*offer.offer_id, order.reason.as_str());
    let payload = WithdrawalMessage { matter: Matter::of(order), offer_id, withdrawn_at: now, reason };
    Message::new(format!("{prefix}/dispatch/{}", offer.unit_id), json(&payload))
}

/// The word to a unit whose reply changed nothing: why.
pub(super) fn answer(prefix: &str, reply: &Replied) -> Message {
    let (reason, reason_zh) = reply.outcome.in_words();
    let payload = AnswerMessage {
        dispatch_id: &reply.dispatch_id,
        reply_id: &reply.reply_id,
        answer: reply.answer,
        outcome: reply.outcome,
        reason,
        reason_zh,
        answered_at: reply.received_at,
    };
    Message::new(format!("{prefix}/dispatch/{}", reply.unit_id), json(&payload))
}

/// The word to each department that nobody could be sent.
pub(super) fn escalation(prefix: &str, order: &Order, purpose: Purpose, now: Time) -> Vec<Message> {
    let (reason, attempts) = (order.reason.as_str(), order.attempts);
    let payload = json(&EscalationMessage { matter: Matter::of(order), purpose, escalated_at: now, reason, attempts });
    let message = |department| Message::new(format!("{prefix}/dispatch/department/{department}"), payload.as_slice());
    order.departments.iter().map(message).collect()
}

fn json(payload: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(payload).expect("plain structs with text keys always have a JSON form")
}
