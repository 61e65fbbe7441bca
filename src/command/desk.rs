//! The queue with its rows: what is decided is written in the transaction of what it was decided on.

use rustc_hash::FxHashSet;

use super::{
    Effect, Event, Queue, Settings, UnitInfo,
    because::Because,
    messages,
    replies::{BY_DEPARTMENT, shortened},
    settings::kind_for,
};
use crate::{
    model::{
        self, Alert, AlertState, Answer, Body, Language, Offer, Order, OrderState, Record, Replied, ReplyOutcome, Text,
        Time, Transition, UnitReply, UnitState,
    },
    notify::alert_messages,
    store::{Change, Dispatched, Reader, StoreError, Tx},
};

/// What a commit changed, for those who watch; to be told only after the commit.
#[derive(Clone, Debug, PartialEq)]
pub enum News {
    /// The alert as it now stands.
    Alert(Box<Alert>, Change),
    Order(Box<Order>),
    Offer(Offer),
    Reply(Replied),
    Unit(UnitState),
}

/// Writes alerts and works the dispatch queue inside a commit. When that commit fails, throw the desk away with the process:
/// its memory is ahead of the disk.
#[derive(Debug)]
pub struct Desk {
    queue: Queue,
}

impl Desk {
    /// Goes on where the last commit left off, with the units that are registered now.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn open(settings: Settings, units: Vec<UnitInfo>, reader: &Reader) -> Result<Self, StoreError> {
        let standing = reader.standing()?;
        Ok(Self { queue: Queue::new(settings, units, standing) })
    }

    /// When [`Self::pass_time`] will next have something to do, should nothing else happen.
    pub fn next_due(&self) -> Option<Time> {
        self.queue.next_due()
    }

    /// Lets no deadline pass before `at`. To be called after a start that follows a pause, with the time by which the answers that
    /// waited at the broker will have been read: a unit that answered in time is then not taken for silent.
    pub fn hold_deadlines_until(&mut self, at: Time) {
        self.queue.hold_deadlines_until(at);
    }

    /// Whether what comes is history that this process was given: nobody is sent for it.
    pub fn read_history(&mut self, is_history: bool) {
        self.queue.is_history = is_history;
    }

    /// Enters alerts into the book, queues the word to their departments, and makes or raises their orders. What the book knew
    /// already changes nothing and tells nobody; an alert of a shadow rule, or one that is old when late data shows it, is entered,
    /// and that is all.
    ///
    /// # Errors
    /// When the store fails.
    pub fn alerts(&mut self, tx: &Tx<'_>, transitions: &[Transition], now: Time) -> Result<Vec<News>, StoreError> {
        let mut news = Vec::new();
        for transition in transitions {
            let alert = &transition.alert().clone().said_in(self.queue.settings.language);
            let is_late =
                alert.retrospective || matches!(transition, Transition::Revised(_) | Transition::Withdrawn(_));
            let change = if is_late { tx.put_alert_again(alert)? } else { tx.put_alert(alert)? };
            // Of a shadow rule the book alone knows, and of what late data shows too late.
            let is_evidence =
                alert.retrospective && now.ms_since(alert.fired_at) > self.queue.settings.late_notice_age_ms;
            if !change.is_news() || alert.shadow || is_evidence {
                continue;
            }
            for message in alert_messages(&self.queue.settings.prefix, alert)? {
                tx.enqueue(&message, now)?;
            }
            news.push(News::Alert(Box::new(alert.clone()), change));
            let event = match (transition, change) {
                (Transition::Withdrawn(_), _) => Event::Withdrawn(alert),
                (_, Change::New) => Event::Opened(alert),
                (Transition::Cleared(_) | Transition::Revised(_), _) if alert.state == AlertState::Cleared => {
                    Event::Ended(alert)
                }
                (Transition::Raised(_), _) => Event::Raised(alert),
                _ => continue,
            };
            self.recall_for(tx, alert, now)?;
            self.work(tx, event, now, &mut news)?;
        }
        Ok(news)
    }

    /// Takes what units report and reply; other records mean nothing here. Time is the record's arrival.
    ///
    /// # Errors
    /// When the store fails.
    pub fn record(&mut self, tx: &Tx<'_>, record: &Record) -> Result<Vec<News>, StoreError> {
        let mut news = Vec::new();
        match &record.body {
            Body::Unit(report) => self.work(tx, Event::Unit(report), record.recv_time, &mut news)?,
            Body::Reply(reply) => self.reply(tx, reply, record.recv_time, &mut news)?,
            _ => {}
        }
        Ok(news)
    }

    /// Says which units are registered, whenever the registry changes.
    ///
    /// # Errors
    /// When the store fails.
    pub fn enrol(&mut self, tx: &Tx<'_>, units: Vec<UnitInfo>, now: Time) -> Result<Vec<News>, StoreError> {
        let mut news = Vec::new();
        self.work(tx, Event::Roster(units), now, &mut news)?;
        Ok(news)
    }

    /// Gives up the offers and searches whose time is over.
    ///
    /// # Errors
    /// When the store fails.
    pub fn pass_time(&mut self, tx: &Tx<'_>, now: Time) -> Result<Vec<News>, StoreError> {
        let mut news = Vec::new();
        self.work(tx, Event::Clock, now, &mut news)?;
        Ok(news)
    }

    fn work(&mut self, tx: &Tx<'_>, event: Event<'_>, now: Time, news: &mut Vec<News>) -> Result<(), StoreError> {
        let effects = self.queue.apply(event, now);
        write(tx, &self.queue.settings.prefix, effects, now, news)
    }

    /// An order that is only listed, or was pushed out, comes back when its alert got graver.
    fn recall_for(&mut self, tx: &Tx<'_>, alert: &Alert, now: Time) -> Result<(), StoreError> {
        let dispatch_id = model::dispatch_id(&alert.alert_id.0);
        if self.queue.holds(&dispatch_id) {
            return Ok(());
        }
        let Some(stored) = tx.dispatched(&dispatch_id)? else { return Ok(()) };
        // What is for the list only stays there, however grave it gets.
        let stays = stored.order.state == OrderState::Listed && self.queue.list_only(alert, now).is_some();
        if !stays && comes_back(&stored.order, alert) {
            self.queue.recall(stored.order, stored.offers);
        }
        Ok(())
    }

    fn reply(&mut self, tx: &Tx<'_>, reply: &UnitReply, now: Time, news: &mut Vec<News>) -> Result<(), StoreError> {
        let mut at_hand = self.queue.holds(&reply.dispatch_id);
        let stored = if at_hand { None } else { tx.dispatched(&reply.dispatch_id)? };
        if let Some(stored) = &stored
            && stored.order.state == OrderState::Escalated
            && reply.answer == Answer::Resolved
        {
            // It was pushed out; its department closes it.
            self.queue.recall(stored.order.clone(), stored.offers.clone());
            at_hand = true;
        }
        let mut effects = self.queue.apply(Event::Reply(reply), now);
        if !at_hand && let Some(stored) = stored {
            let corrected = corrected(&stored, reply, self.queue.settings.language, now);
            let outcome = match &corrected {
                Some(_) => ReplyOutcome::Taken,
                None => outcome_of_reply_to(&stored.order, &stored.offers, reply),
            };
            for effect in &mut effects {
                if let Effect::Reply(replied) = effect {
                    replied.outcome = outcome;
                }
            }
            effects.extend(corrected.map(|order| Effect::Order(Box::new(order))));
        }
        // From who is not registered, to an order that there is not: it is counted, and in the journal.
        let is_ours = self.queue.roster.contains_key(&reply.unit_id);
        effects.retain(|effect| match effect {
            Effect::Reply(replied) if !is_ours && replied.outcome == ReplyOutcome::UnknownDispatch => {
                news.push(News::Reply(replied.clone()));
                false
            }
            _ => true,
        });
        write(tx, &self.queue.settings.prefix, effects, now, news)
    }
}

/// Whether an order that is only listed, or was pushed out, is taken up again for its alert as it is now.
pub(super) fn comes_back(order: &Order, alert: &Alert) -> bool {
    let graver = alert.severity > order.severity && kind_for(alert.severity).is_some() && !alert.retrospective;
    graver && matches!(order.state, OrderState::Listed | OrderState::Escalated)
}

/// How long who gave a verdict may give another, milliseconds.
const CORRECT_WITHIN_MS: i64 = 3_600_000;

/// The order with another verdict, where the reply gives one: from who gave the first, soon after.
fn corrected(stored: &Dispatched, reply: &UnitReply, language: Language, now: Time) -> Option<Order> {
    let Dispatched { order, replies, .. } = stored;
    let verdict =
        reply.verdict.filter(|verdict| reply.answer == Answer::Resolved && order.verdict != Some(*verdict))?;
    let closed_at = order.closed_at.filter(|_| order.state == OrderState::Resolved)?;
    let is_verdict = |one: &&Replied| one.answer == Answer::Resolved && one.outcome == ReplyOutcome::Taken;
    let by = replies.iter().rev().find(is_verdict)?;
    if by.unit_id != reply.unit_id || now.ms_since(closed_at) > CORRECT_WITHIN_MS {
        return None;
    }
    Some(Order {
        verdict: Some(verdict),
        note: reply.note.as_deref().map(shortened).or_else(|| order.note.clone()),
        reason: Because::Corrected(reply.unit_id.clone(), verdict).in_words(language),
        updated_at: now,
        revision: order.revision + 1,
        ..order.clone()
    })
}

/// What a reply comes to whose order is in the tables only.
fn outcome_of_reply_to(order: &Order, offers: &[Offer], reply: &UnitReply) -> ReplyOutcome {
    if !offers.iter().any(|offer| offer.unit_id == reply.unit_id) {
        ReplyOutcome::NotOffered
    } else if order.state == OrderState::Escalated {
        ReplyOutcome::Late
    } else {
        ReplyOutcome::Closed
    }
}

/// Writes what changed. What the tables had already is neither told nor sent again.
fn write(tx: &Tx<'_>, prefix: &str, effects: Vec<Effect>, now: Time, news: &mut Vec<News>) -> Result<(), StoreError> {
    let mut changed: FxHashSet<Text> = FxHashSet::default();
    for effect in effects {
        match effect {
            Effect::Unit(unit) => {
                tx.put_unit(&unit)?;
                news.push(News::Unit(unit));
            }
            Effect::Order(order) => {
                if tx.put_order(&order)? {
                    changed.insert(order.dispatch_id.clone());
                    news.push(News::Order(order));
                }
            }
            Effect::Offer(offer) => {
                tx.put_offer(&offer)?;
                if changed.contains(&offer.dispatch_id) {
                    news.push(News::Offer(offer));
                }
            }
            Effect::Reply(reply) => {
                if tx.put_reply(&reply)? {
                    // A department is answered where it asked.
                    if reply.outcome != ReplyOutcome::Taken && !reply.unit_id.starts_with(BY_DEPARTMENT) {
                        tx.enqueue(&messages::answer(prefix, &reply), now)?;
                    }
                    news.push(News::Reply(reply));
                }
            }
            Effect::Send { dispatch_id, message } => {
                if changed.contains(&dispatch_id) {
                    tx.enqueue(&message, now)?;
                }
            }
        }
    }
    Ok(())
}
