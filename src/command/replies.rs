//! What units answer.

use super::{Queue, because::Because, queue::Case};
use crate::model::{
    Answer, OfferState, OrderState, Purpose, Replied, ReplyOutcome, Text, Time, UnitReply, content_id, limits,
};

/// What the sender of a reply is called when it is a department; no topic of a unit can name it.
pub const BY_DEPARTMENT: &str = "department/";

impl Queue {
    /// Takes a reply, and says what it came to.
    pub(super) fn reply(&mut self, reply: &UnitReply, now: Time) -> Replied {
        let reply_id = reply_id(reply);
        let outcome = self.take_reply(reply, &reply_id, now);
        Replied {
            reply_id,
            dispatch_id: reply.dispatch_id.clone(),
            unit_id: reply.unit_id.clone(),
            answer: reply.answer,
            device_time: reply.device_time,
            received_at: now,
            outcome,
            reason: reply.reason.as_deref().map(shortened),
            verdict: reply.verdict,
            note: reply.note.as_deref().map(shortened),
        }
    }

    fn take_reply(&mut self, reply: &UnitReply, reply_id: &Text, now: Time) -> ReplyOutcome {
        use OfferState::{Accepted, Declined, Done, Expired, OnScene, Pending, Withdrawn};
        let Some(case) = self.cases.get(&reply.dispatch_id) else { return ReplyOutcome::UnknownDispatch };
        if reply.answer == Answer::Resolved && self.is_for_department(case, &reply.unit_id) {
            return self.resolved(reply, now);
        }
        let Some(offer) = case.offers.iter().rev().find(|offer| offer.unit_id == reply.unit_id) else {
            return ReplyOutcome::NotOffered;
        };
        let attempt = offer.attempt;
        match (reply.answer, offer.state) {
            (Answer::Decline, Declined) => ReplyOutcome::Repeated,
            (_, Declined | Expired | Withdrawn | Done) => ReplyOutcome::Late,
            (Answer::Accept, Pending) => self.accepted(reply, attempt, Accepted, now),
            (Answer::Accept, Accepted | OnScene) => ReplyOutcome::Repeated,
            (Answer::Decline, Pending | Accepted | OnScene) => self.declined(reply, attempt, now),
            // Who is there has said yes by going.
            (Answer::Arrived, Pending | Accepted) => self.accepted(reply, attempt, OnScene, now),
            (Answer::Arrived, OnScene) => ReplyOutcome::Repeated,
            (Answer::Reinforce, Pending) => match self.may_reinforce(reply, reply_id) {
                Ok(()) => {
                    self.accepted(reply, attempt, Accepted, now);
                    self.reinforce(reply, reply_id, now)
                }
                Err(outcome) => outcome,
            },
            (Answer::Reinforce, Accepted | OnScene) => match self.may_reinforce(reply, reply_id) {
                Ok(()) => self.reinforce(reply, reply_id, now),
                Err(outcome) => outcome,
            },
            (Answer::Resolved, Pending | Accepted | OnScene) => self.resolved(reply, now),
        }
    }

    /// Whether an order that was left to the departments may be closed by this unit: one of theirs, or `department/{name}`, which
    /// is the department itself over HTTP.
    fn is_for_department(&self, case: &Case, unit_id: &str) -> bool {
        let of_unit = || self.roster.get(unit_id).map(|info| &*info.department);
        let department = unit_id.strip_prefix(BY_DEPARTMENT).or_else(of_unit);
        case.order.state == OrderState::Escalated
            && department.is_some_and(|name| case.order.departments.iter().any(|one| &**one == name))
    }

    /// The unit goes, or is there. Further units that are wanted are sought.
    fn accepted(&mut self, reply: &UnitReply, attempt: u32, state: OfferState, now: Time) -> ReplyOutcome {
        let id = &reply.dispatch_id;
        let was_pending = self.cases.get(id).is_some_and(|case| case.pending() == Some(attempt));
        self.answer(id, attempt, state, reply.reason.as_deref().map(shortened), now);
        if !was_pending {
            return ReplyOutcome::Taken;
        }
        if let Some(order) = self.change(id, now)
            && let Some(mut search) = order.search.take()
        {
            search.wanted = search.wanted.saturating_sub(1);
            search.asked = 0;
            order.search = Some(search).filter(|search| search.wanted > 0);
        }
        self.file(id);
        if self.is_of_other_kind(id, &reply.unit_id) {
            self.begin_search(id, Purpose::Raised, now);
        }
        self.seek(id, now);
        ReplyOutcome::Taken
    }

    /// Whether the order has become one for another kind than this unit's since it was asked.
    fn is_of_other_kind(&self, dispatch_id: &str, unit_id: &str) -> bool {
        let (Some(case), Some(info)) = (self.cases.get(dispatch_id), self.roster.get(unit_id)) else { return false };
        !self.settings.other_kind_too && case.order.kind.is_some_and(|kind| kind != info.kind)
    }

    /// The unit says no, or gives back what it had accepted.
    fn declined(&mut self, reply: &UnitReply, attempt: u32, now: Time) -> ReplyOutcome {
        let id = &reply.dispatch_id;
        let gave_back = self.cases.get(id).is_some_and(|case| case.pending() != Some(attempt));
        let Some(unit_id) = self.answer(id, attempt, OfferState::Declined, reply.reason.as_deref().map(shortened), now)
        else {
            return ReplyOutcome::UnknownDispatch;
        };
        if gave_back {
            self.begin_search(id, Purpose::First, now);
        }
        self.seek(id, now);
        self.offer_waiting_to(&unit_id, now);
        ReplyOutcome::Taken
    }

    fn may_reinforce(&self, reply: &UnitReply, reply_id: &Text) -> Result<(), ReplyOutcome> {
        let asked = self.cases.get(&reply.dispatch_id).map_or(&[][..], |case| &case.order.reinforced_by);
        if asked.contains(reply_id) {
            Err(ReplyOutcome::Repeated)
        } else if asked.len() >= limits::REINFORCEMENTS_PER_ORDER {
            Err(ReplyOutcome::TooMany)
        } else {
            Ok(())
        }
    }

    /// One more unit, besides those that hold the order.
    fn reinforce(&mut self, reply: &UnitReply, reply_id: &Text, now: Time) -> ReplyOutcome {
        let id = &reply.dispatch_id;
        if let Some(order) = self.change(id, now) {
            order.reinforced_by.push(reply_id.clone());
        }
        self.begin_search(id, Purpose::Reinforce, now);
        self.seek(id, now);
        ReplyOutcome::Taken
    }

    fn resolved(&mut self, reply: &UnitReply, now: Time) -> ReplyOutcome {
        let Some(verdict) = reply.verdict else { return ReplyOutcome::VerdictMissing };
        let reason = Because::Closed(reply.unit_id.clone(), verdict).in_words(self.settings.language);
        let Some(order) = self.change(&reply.dispatch_id, now) else { return ReplyOutcome::UnknownDispatch };
        order.state = OrderState::Resolved;
        order.verdict = Some(verdict);
        order.note = reply.note.as_deref().map(shortened);
        order.reason = reason;
        order.closed_at = Some(now);
        order.search = None;
        order.deadline = None;
        self.close(&reply.dispatch_id, now);
        ReplyOutcome::Taken
    }
}

/// The same reply, delivered twice, has the same id.
fn reply_id(reply: &UnitReply) -> Text {
    let optional = |text: Option<&str>| text.map(str::to_owned).unwrap_or_default();
    content_id(&[
        b"reply",
        reply.unit_id.as_bytes(),
        reply.dispatch_id.as_bytes(),
        reply.answer.as_str().as_bytes(),
        &reply.device_time.as_millis().to_le_bytes(),
        optional(reply.reason.as_deref()).as_bytes(),
        optional(reply.note.as_deref()).as_bytes(),
        reply.verdict.map_or("", |verdict| verdict.as_str()).as_bytes(),
    ])
}

/// What people write, within bounds.
pub(super) fn shortened(text: &str) -> String {
    text.chars().take(limits::NOTE_CHARS).collect()
}
