//! The decision core: orders, offers, units, deadlines. No clock, no disk.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use rustc_hash::FxHashMap;

use super::{UnitInfo, because::Because, globe::Globe, messages, settings::Settings, settings::kind_for};
use crate::{
    model::{
        self, Alert, AlertState, Datum, LiveClock, Message, Offer, OfferState, Order, OrderState, Purpose, Replied,
        Search, Severity, Text, Time, UnitKind, UnitReply, UnitReport, UnitState, UnitStatus, content_id,
        is_impossible, limits, place,
    },
    spatial::to_wgs84,
    store::{Opening, Standing},
};

/// What happened.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// An alert is new.
    Opened(&'a Alert),
    /// An alert became graver.
    Raised(&'a Alert),
    /// An alert has ended.
    Ended(&'a Alert),
    /// Late data showed that an alert never was.
    Withdrawn(&'a Alert),
    Unit(&'a UnitReport),
    Reply(&'a UnitReply),
    /// The registry's units are now these.
    Roster(Vec<UnitInfo>),
    /// Nothing but time.
    Clock,
}

/// What changed, in the order in which it must be written.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    Unit(UnitState),
    Order(Box<Order>),
    Offer(Offer),
    Reply(Replied),
    /// To be sent, if the order's row changed.
    Send {
        dispatch_id: Text,
        message: Message,
    },
}

/// Orders under way, and who could be sent. [`Queue::apply`] is all that happens to it.
#[derive(Debug)]
pub struct Queue {
    pub(super) settings: Settings,
    pub(super) roster: BTreeMap<Text, UnitInfo>,
    pub(super) globe: Globe,
    /// What the reports of each unit say of its clock; as many as there are units.
    clocks: FxHashMap<Text, LiveClock>,
    pub(super) cases: FxHashMap<Text, Case>,
    /// What each unit holds: an order, or an offer not yet answered.
    pub(super) holding: FxHashMap<Text, Text>,
    /// Orders in search of a unit and with no offer out, by whom they wait for.
    waiting: HashMap<(Text, UnitKind), BTreeSet<Place>>,
    /// When each order must be looked at.
    due: BTreeSet<(Time, Text)>,
    escalated: BTreeSet<(Time, Text)>,
    held_until: Option<Time>,
    /// What comes was there before anybody listened.
    pub(super) is_history: bool,
    /// Orders that were opened within an hour, the oldest first.
    recent: VecDeque<Opening>,
    /// How many of those count for each.
    opened: FxHashMap<Share, u32>,
    changes: Changes,
}

/// Of what an hour has only so many orders.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Share {
    Vehicle(Text),
    /// A rule, by what a sensor saw.
    Sensor(Text, Text),
    /// A rule, about trucks in no register.
    Unregistered(Text),
}

/// An order with its offers.
#[derive(Debug)]
pub(super) struct Case {
    pub order: Order,
    pub offers: Vec<Offer>,
    /// Under what it is filed in `due`, `waiting` and `escalated`.
    filed: Filed,
}

#[derive(Debug, Default)]
struct Filed {
    due: Option<Time>,
    waiting: Option<(Place, Vec<(Text, UnitKind)>)>,
    escalated: Option<Time>,
}

/// Whose turn it is: the gravest first, then the oldest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    mildness: std::cmp::Reverse<Severity>,
    created_at: Time,
    dispatch_id: Text,
}

#[derive(Debug, Default)]
struct Changes {
    units: Vec<UnitState>,
    orders: BTreeSet<Text>,
    /// Closed and listed orders, which are not kept at hand.
    gone: Vec<Order>,
    offers: BTreeMap<(Text, u32), Offer>,
    replies: Vec<Replied>,
    messages: Vec<(Text, Message)>,
}

impl Queue {
    /// From what a former run left behind (nothing at the very start), and the units that are registered now: without them
    /// the deadlines that have passed meanwhile would find nobody.
    pub fn new(settings: Settings, roster: Vec<UnitInfo>, standing: Standing) -> Self {
        let Standing { orders, offers, units, recent } = standing;
        let roster = by_id(roster);
        let units = units.into_iter().filter(|unit| roster.contains_key(&unit.unit_id)).collect();
        let mut queue = Self {
            settings,
            roster,
            globe: Globe::of(units),
            clocks: FxHashMap::default(),
            cases: FxHashMap::default(),
            holding: FxHashMap::default(),
            waiting: HashMap::new(),
            due: BTreeSet::new(),
            escalated: BTreeSet::new(),
            held_until: None,
            is_history: false,
            recent: VecDeque::new(),
            opened: FxHashMap::default(),
            changes: Changes::default(),
        };
        let mut by_order: FxHashMap<Text, Vec<Offer>> = FxHashMap::default();
        for offer in offers {
            by_order.entry(offer.dispatch_id.clone()).or_default().push(offer);
        }
        for order in orders {
            let offers = by_order.remove(&order.dispatch_id).unwrap_or_default();
            queue.keep(order, offers);
        }
        recent.into_iter().for_each(|opening| queue.note_opened(opening));
        queue
    }

    /// Whether the order is at hand (not resolved, not listed, not pushed out).
    pub fn holds(&self, dispatch_id: &str) -> bool {
        self.cases.contains_key(dispatch_id)
    }

    /// When time alone will next change something.
    pub fn next_due(&self) -> Option<Time> {
        self.due.first().map(|(at, _)| self.held_until.map_or(*at, |held| held.max(*at)))
    }

    /// Lets no deadline pass before `at`: after a start, so that answers given while nobody was listening are read first.
    pub fn hold_deadlines_until(&mut self, at: Time) {
        self.held_until = Some(at);
    }

    /// Takes an order back that is no longer at hand, so that an event can move it.
    pub fn recall(&mut self, order: Order, offers: Vec<Offer>) {
        if !self.holds(&order.dispatch_id) {
            self.keep(order, offers);
        }
    }

    /// What follows from an event at `now` (arrival clock). Deadlines that have passed by then come first.
    pub fn apply(&mut self, event: Event<'_>, now: Time) -> Vec<Effect> {
        if let Event::Roster(units) = &event {
            self.roster = by_id(units.clone());
            self.globe.keep(|unit_id| self.roster.contains_key(unit_id));
            self.clocks.retain(|unit_id, _| self.roster.contains_key(unit_id));
        }
        self.pass_deadlines(now);
        match event {
            Event::Opened(alert) => self.open(alert, now),
            Event::Raised(alert) => self.raise(alert, now),
            Event::Ended(alert) => self.end(alert, now),
            Event::Withdrawn(alert) => self.withdraw(alert, now),
            Event::Unit(report) => self.unit_reported(report, now),
            Event::Reply(reply) => {
                let replied = self.reply(reply, now);
                self.changes.replies.push(replied);
            }
            Event::Roster(_) => self.offer_all_waiting(now),
            Event::Clock => {}
        }
        self.forget_old_escalations();
        self.take_changes()
    }

    fn keep(&mut self, order: Order, offers: Vec<Offer>) {
        let id = order.dispatch_id.clone();
        for offer in offers.iter().filter(|offer| is_held(offer.state)) {
            self.holding.insert(offer.unit_id.clone(), id.clone());
        }
        self.cases.insert(id.clone(), Case { order, offers, filed: Filed::default() });
        self.file(&id);
    }

    fn open(&mut self, alert: &Alert, now: Time) {
        let dispatch_id = model::dispatch_id(&alert.alert_id.0);
        if self.holds(&dispatch_id) {
            return self.raise(alert, now);
        }
        let mut order = order_of(alert, dispatch_id.clone(), now);
        self.forget_recent(now);
        if let Some(reason) = self.list_only(alert, now) {
            order.reason = reason.in_words(self.settings.language);
            order.state = OrderState::Listed;
            order.kind = None;
            order.closed_at = Some(now);
            order.revision = 1;
            return self.changes.gone.push(order);
        }
        self.note_opened(Opening::of(alert, now));
        let full = self.is_full() && !self.displace(alert.severity, now);
        self.keep(order, Vec::new());
        self.begin_search(&dispatch_id, Purpose::First, now);
        if full {
            self.escalate(&dispatch_id, &Because::QueueFull, now);
        } else {
            self.seek(&dispatch_id, now);
        }
    }

    /// Why nobody is sent, when nobody is.
    pub(super) fn list_only(&self, alert: &Alert, now: Time) -> Option<Because> {
        let age_ms = now.ms_since(alert.fired_at);
        let late_ms = self.settings.late_dispatch_age_ms;
        if self.is_history {
            Some(Because::History)
        } else if alert.retrospective && (late_ms == 0 || age_ms > late_ms) {
            Some(Because::OnlyLate)
        } else if kind_for(alert.severity).is_none() {
            Some(Because::Notice)
        } else if alert.state == AlertState::Cleared {
            Some(Because::HadEnded)
        } else if age_ms > self.settings.dispatch_age_ms {
            Some(Because::Old(age_ms / 60_000))
        } else {
            let opening = Opening::of(alert, now);
            let spent = shares(&opening).into_iter().find(|share| self.is_spent(share, alert.severity));
            spent.map(|share| self.enough(share))
        }
    }

    /// Whether an hour has had as many orders of this as are wanted. A critical alert is never one too many about its vehicle.
    fn is_spent(&self, share: &Share, severity: Severity) -> bool {
        let is_exempt = matches!(share, Share::Vehicle(_)) && severity == Severity::Critical;
        let cap = self.cap(share);
        cap > 0 && !is_exempt && self.opened.get(share).is_some_and(|opened| *opened >= cap)
    }

    fn cap(&self, share: &Share) -> u32 {
        match share {
            Share::Vehicle(_) => self.settings.orders_per_vehicle_hour,
            Share::Sensor(..) | Share::Unregistered(_) => self.settings.orders_per_sender_hour,
        }
    }

    fn enough(&self, share: Share) -> Because {
        let cap = self.cap(&share);
        match share {
            Share::Vehicle(_) => Because::Enough(cap),
            Share::Sensor(_, sensor_id) => Because::EnoughOfSensor(cap, sensor_id),
            Share::Unregistered(_) => Because::EnoughUnregistered(cap),
        }
    }

    fn note_opened(&mut self, opening: Opening) {
        for share in shares(&opening) {
            *self.opened.entry(share).or_default() += 1;
        }
        self.recent.push_back(opening);
    }

    fn forget_recent(&mut self, now: Time) {
        const HOUR_MS: i64 = 3_600_000;
        while let Some(opening) = self.recent.pop_front_if(|opening| now.ms_since(opening.at) >= HOUR_MS) {
            for share in shares(&opening) {
                if let Some(opened) = self.opened.get_mut(&share) {
                    *opened -= 1;
                    if *opened == 0 {
                        self.opened.remove(&share);
                    }
                }
            }
        }
    }

    fn is_full(&self) -> bool {
        self.cases.len().saturating_sub(self.escalated.len()) >= self.settings.most_active
    }

    /// Leaves the mildest order that nobody holds and that waits for a unit to its department, the newest of such, when an alert is
    /// graver; whether it did. What a unit holds stays in the queue though it looks for another.
    fn displace(&mut self, severity: Severity, now: Time) -> bool {
        let is_untaken = |place: &&Place| self.cases.get(&place.dispatch_id).is_some_and(|case| !case.is_held());
        let mildest = self.waiting.values().filter_map(|line| line.iter().rev().find(is_untaken)).max();
        let Some(place) = mildest.filter(|place| place.mildness.0 < severity).cloned() else { return false };
        self.escalate(&place.dispatch_id, &Because::Displaced, now);
        true
    }

    /// Who was asked may still answer, and who goes goes on; nobody new is asked.
    fn end(&mut self, alert: &Alert, now: Time) {
        let dispatch_id = model::dispatch_id(&alert.alert_id.0);
        let Some(order) = self.change(&dispatch_id, now) else { return };
        order.alert_ended_at = alert.cleared_at.or(Some(now));
        self.stop_if_ended(&dispatch_id, now);
    }

    /// Ends the search for an order whose alert has ended, once no question is out; whether it did. One more unit that a unit asked
    /// for is sought all the same: people decide.
    pub(super) fn stop_if_ended(&mut self, dispatch_id: &str, now: Time) -> bool {
        let Some(case) = self.cases.get(dispatch_id) else { return false };
        let is_search = case.order.search.is_some_and(|search| search.purpose != Purpose::Reinforce);
        if case.order.alert_ended_at.is_none() || !is_search || case.pending().is_some() {
            return false;
        }
        let (is_held, language) = (case.is_held(), self.settings.language);
        if let Some(order) = self.change(dispatch_id, now) {
            order.search = None;
            if !is_held {
                order.state = OrderState::Listed;
                order.reason = Because::EndedUntaken.in_words(language);
                order.closed_at = Some(now);
                order.deadline = None;
            }
        }
        if is_held {
            self.file(dispatch_id);
        } else {
            self.close(dispatch_id, now);
        }
        true
    }

    /// Closes the order of an alert that never was; whoever was asked or goes is told, and free.
    fn withdraw(&mut self, alert: &Alert, now: Time) {
        let dispatch_id = model::dispatch_id(&alert.alert_id.0);
        let language = self.settings.language;
        let Some(order) = self.change(&dispatch_id, now) else { return };
        order.state = OrderState::Withdrawn;
        order.reason = alert.withdrawn_because.clone().unwrap_or_else(|| Because::Withdrawn.in_words(language));
        order.closed_at = Some(now);
        order.search = None;
        order.deadline = None;
        let case = &self.cases[&dispatch_id];
        let held = case.offers.iter().filter(|offer| is_held(offer.state));
        let message = |offer| messages::withdrawal(&self.settings.prefix, &case.order, offer, now);
        let words: Vec<_> = held.map(|offer| (dispatch_id.clone(), message(offer))).collect();
        self.changes.messages.extend(words);
        self.close(&dispatch_id, now);
    }

    /// A graver alert raises its order; when another kind of unit is called for, one is sought, besides any that holds it.
    fn raise(&mut self, alert: &Alert, now: Time) {
        let dispatch_id = model::dispatch_id(&alert.alert_id.0);
        let until = now.plus_ms(self.settings.escalate_after_ms.of(alert.severity));
        let graver = self.cases.get(&dispatch_id).is_some_and(|case| alert.severity > case.order.severity);
        if !graver || alert.retrospective {
            return;
        }
        let Some(order) = self.change(&dispatch_id, now) else { return };
        order.severity = alert.severity;
        order.message.clone_from(&alert.message);
        let kind = kind_for(alert.severity);
        let moved = kind != order.kind;
        order.kind = kind;
        order.closed_at = None;
        if alert.state == AlertState::Open {
            order.alert_ended_at = None;
        }
        if let Some(search) = &mut order.search {
            search.until = search.until.min(until);
        }
        if moved {
            self.seek_other_kind(&dispatch_id, now);
        }
        self.file(&dispatch_id);
    }

    /// The order is now for another kind: whoever was asked may still answer, but one of the right kind is sought too.
    pub(super) fn seek_other_kind(&mut self, dispatch_id: &str, now: Time) {
        let Some(case) = self.cases.get(dispatch_id) else { return };
        let pending = case.pending().is_some();
        if case.order.search.is_some() {
            // A question that is out stays out; the answer to it decides what comes next.
            if !pending {
                self.seek(dispatch_id, now);
            }
            return;
        }
        let purpose = if case.is_held() { Purpose::Raised } else { Purpose::First };
        self.begin_search(dispatch_id, purpose, now);
        self.seek(dispatch_id, now);
    }

    pub(super) fn begin_search(&mut self, dispatch_id: &str, purpose: Purpose, now: Time) {
        let after = self.settings.escalate_after_ms;
        let Some(order) = self.change(dispatch_id, now) else { return };
        let until = now.plus_ms(after.of(order.severity));
        let wanted = order.search.map_or(0, |search| search.wanted) + 1;
        order.search = Some(Search { purpose, wanted, asked: 0, until });
        self.file(dispatch_id);
    }

    /// Its status counts although its position doesn't: it is then where it was. A unit that never told where it is cannot be
    /// sent; one that is not registered is nobody, and takes no place.
    fn unit_reported(&mut self, report: &UnitReport, now: Time) {
        if !self.roster.contains_key(&report.unit_id) {
            return;
        }
        let known = self.globe.get(&report.unit_id);
        if known.is_none() && self.globe.len() >= limits::UNITS {
            return;
        }
        // A clock that is hours behind on live reports is wrong: it came just now.
        let clock = self.clocks.get(&report.unit_id).copied().unwrap_or_default().next(report.device_time, now);
        let is_now = is_impossible(report.device_time) || clock.is_behind(report.device_time, now);
        let at = if is_now { now } else { report.device_time.min(now) };
        let is_older = known.is_some_and(|known| at <= known.at);
        if known.is_some() || place(report.lat, report.lon).is_some() {
            self.clocks.insert(report.unit_id.clone(), clock);
        }
        if is_older {
            return;
        }
        let known = self.globe.get(&report.unit_id);
        let unit_id = report.unit_id.clone();
        let here =
            place(report.lat, report.lon).map(|(lat, lon)| to_wgs84(report.datum.unwrap_or(Datum::Wgs84), lon, lat));
        // Of whom nobody knows whether he is at work, nobody is sent.
        let status = report.status.or(known.map(|known| known.status)).unwrap_or(UnitStatus::Off);
        let unit = match (here, known) {
            (Some(here), _) => UnitState { unit_id: unit_id.clone(), at, lat: here.lat, lon: here.lon, status },
            (None, Some(known)) if known.status != status => UnitState { status, ..known.clone() },
            (None, _) => return,
        };
        self.changes.units.push(unit.clone());
        self.globe.put(unit);
        self.offer_waiting_to(&unit_id, now);
    }

    fn offer_all_waiting(&mut self, now: Time) {
        let mut waiting: Vec<Place> = self.waiting.values().flatten().cloned().collect();
        waiting.sort_unstable();
        waiting.dedup();
        for place in waiting {
            self.seek(&place.dispatch_id, now);
        }
    }

    /// A unit can be sent again: the first order in line that may have it looks for the nearest once more.
    pub(super) fn offer_waiting_to(&mut self, unit_id: &str, now: Time) {
        let available = self.globe.get(unit_id).is_some_and(|unit| unit.status == UnitStatus::Available);
        let Some(info) = self.roster.get(unit_id) else { return };
        if !available || self.holding.contains_key(unit_id) {
            return;
        }
        let Some(line) = self.waiting.get(&(info.department.clone(), info.kind)) else { return };
        let first = line
            .iter()
            .find(|place| self.cases.get(&place.dispatch_id).is_some_and(|case| self.may_ask(case, unit_id, now)));
        if let Some(place) = first.cloned() {
            self.seek(&place.dispatch_id, now);
        }
    }

    /// Everything that time alone brings, oldest first.
    fn pass_deadlines(&mut self, now: Time) {
        if self.held_until.is_some_and(|held| now < held) {
            return;
        }
        self.held_until = None;
        while let Some((at, dispatch_id)) = self.due.first().filter(|(at, _)| *at <= now).cloned() {
            let Some(case) = self.cases.get(&dispatch_id) else {
                self.due.remove(&(at, dispatch_id));
                continue;
            };
            match case.pending() {
                Some(attempt) => self.give_up(&dispatch_id, attempt, OfferState::Expired, None, now),
                None => self.escalate(&dispatch_id, &Because::NobodyInTime, now),
            }
        }
    }

    /// An offer came to nothing: the next unit is asked, and this one is free for others.
    pub(super) fn give_up(
        &mut self,
        dispatch_id: &str,
        attempt: u32,
        state: OfferState,
        reason: Option<String>,
        now: Time,
    ) {
        let Some(unit_id) = self.answer(dispatch_id, attempt, state, reason, now) else { return };
        self.seek(dispatch_id, now);
        self.offer_waiting_to(&unit_id, now);
    }

    /// Notes what became of an offer, and says whose it was.
    pub(super) fn answer(
        &mut self,
        dispatch_id: &str,
        attempt: u32,
        state: OfferState,
        reason: Option<String>,
        now: Time,
    ) -> Option<Text> {
        self.change(dispatch_id, now)?;
        let case = self.cases.get_mut(dispatch_id)?;
        let offer = case.offers.iter_mut().find(|offer| offer.attempt == attempt)?;
        offer.state = state;
        offer.answered_at = Some(now);
        offer.reason = reason.or(offer.reason.take());
        let unit_id = offer.unit_id.clone();
        if is_held(state) {
            self.holding.insert(unit_id.clone(), offer.dispatch_id.clone());
        } else {
            self.holding.remove(&unit_id);
        }
        self.changes.offers.insert((offer.dispatch_id.clone(), attempt), offer.clone());
        self.file(dispatch_id);
        Some(unit_id)
    }

    /// Asks a unit.
    pub(super) fn make_offer(&mut self, dispatch_id: &str, unit_id: &Text, distance_m: Option<f64>, now: Time) {
        let answer_within = self.settings.answer_within_ms;
        let Some(order) = self.change(dispatch_id, now) else { return };
        let Some(search) = &mut order.search else { return };
        search.asked += 1;
        order.attempts += 1;
        let deadline = now.plus_ms(answer_within.of(order.severity));
        order.unit_id = Some(unit_id.clone());
        let offer = Offer {
            offer_id: content_id(&[b"offer", dispatch_id.as_bytes(), &order.attempts.to_le_bytes()]),
            dispatch_id: order.dispatch_id.clone(),
            attempt: order.attempts,
            unit_id: unit_id.clone(),
            purpose: search.purpose,
            state: OfferState::Pending,
            distance_m,
            sent_at: now,
            deadline,
            answered_at: None,
            reason: None,
        };
        let message = messages::offer(&self.settings.prefix, &self.cases[dispatch_id].order, &offer);
        self.changes.messages.push((offer.dispatch_id.clone(), message));
        self.changes.offers.insert((offer.dispatch_id.clone(), offer.attempt), offer.clone());
        self.holding.insert(unit_id.clone(), offer.dispatch_id.clone());
        if let Some(case) = self.cases.get_mut(dispatch_id) {
            case.offers.push(offer);
        }
        self.file(dispatch_id);
    }

    /// Ends the search, and tells the departments why.
    pub(super) fn escalate(&mut self, dispatch_id: &str, because: &Because, now: Time) {
        let reason = because.in_words(self.settings.language);
        let Some(order) = self.change(dispatch_id, now) else { return };
        let purpose = order.search.take().map_or(Purpose::First, |search| search.purpose);
        order.reason = reason;
        let messages = messages::escalation(&self.settings.prefix, &self.cases[dispatch_id].order, purpose, now);
        let id = self.cases[dispatch_id].order.dispatch_id.clone();
        self.changes.messages.extend(messages.into_iter().map(|message| (id.clone(), message)));
        self.file(dispatch_id);
    }

    /// Takes a closed order out, and frees whoever held it.
    pub(super) fn close(&mut self, dispatch_id: &str, now: Time) {
        self.unfile(dispatch_id);
        let Some(mut case) = self.cases.remove(dispatch_id) else { return };
        let mut freed = Vec::new();
        for offer in case.offers.iter_mut().filter(|offer| is_held(offer.state)) {
            offer.state = if offer.state == OfferState::Pending { OfferState::Withdrawn } else { OfferState::Done };
            self.changes.offers.insert((offer.dispatch_id.clone(), offer.attempt), offer.clone());
            self.holding.remove(&offer.unit_id);
            freed.push(offer.unit_id.clone());
        }
        self.changes.orders.remove(dispatch_id);
        case.order.revision += 1;
        self.changes.gone.push(case.order);
        for unit_id in freed {
            self.offer_waiting_to(&unit_id, now);
        }
    }

    /// The order, to be changed: it will be written with a new revision.
    pub(super) fn change(&mut self, dispatch_id: &str, now: Time) -> Option<&mut Order> {
        let order = &mut self.cases.get_mut(dispatch_id)?.order;
        order.updated_at = now;
        self.changes.orders.insert(order.dispatch_id.clone());
        Some(order)
    }

    /// Brings the order's state and its places in the indexes in line with its offers and its search.
    pub(super) fn file(&mut self, dispatch_id: &str) {
        self.unfile(dispatch_id);
        let other_kind_too = self.settings.other_kind_too;
        let Some(case) = self.cases.get_mut(dispatch_id) else { return };
        case.order.state = case.state();
        case.order.deadline = case.pending_offer().map(|offer| offer.deadline);
        let (order, id) = (&case.order, case.order.dispatch_id.clone());
        case.filed.due = order.deadline.or(order.search.map(|search| search.until));
        if order.search.is_some() && order.deadline.is_none() {
            let place = Place {
                mildness: std::cmp::Reverse(order.severity),
                created_at: order.created_at,
                dispatch_id: id.clone(),
            };
            case.filed.waiting = Some((place, lines_of(order, other_kind_too)));
        }
        case.filed.escalated = (order.state == OrderState::Escalated).then_some(order.created_at);
        self.due.extend(case.filed.due.map(|at| (at, id.clone())));
        self.escalated.extend(case.filed.escalated.map(|at| (at, id)));
        if let Some((place, lines)) = &case.filed.waiting {
            for line in lines {
                self.waiting.entry(line.clone()).or_default().insert(place.clone());
            }
        }
    }

    fn unfile(&mut self, dispatch_id: &str) {
        let Some(case) = self.cases.get_mut(dispatch_id) else { return };
        let (filed, id) = (std::mem::take(&mut case.filed), case.order.dispatch_id.clone());
        if let Some(at) = filed.due {
            self.due.remove(&(at, id.clone()));
        }
        if let Some(at) = filed.escalated {
            self.escalated.remove(&(at, id));
        }
        if let Some((place, lines)) = filed.waiting {
            for line in lines {
                if let Some(places) = self.waiting.get_mut(&line) {
                    places.remove(&place);
                    if places.is_empty() {
                        self.waiting.remove(&line);
                    }
                }
            }
        }
    }

    fn forget_old_escalations(&mut self) {
        while self.escalated.len() > limits::ORDERS_ESCALATED {
            let Some((_, oldest)) = self.escalated.first().cloned() else { return };
            self.unfile(&oldest);
            if let Some(mut case) = self.cases.remove(&oldest)
                && self.changes.orders.remove(&oldest)
            {
                case.order.revision += 1;
                self.changes.gone.push(case.order);
            }
        }
    }

    fn take_changes(&mut self) -> Vec<Effect> {
        let changes = std::mem::take(&mut self.changes);
        let mut effects: Vec<Effect> = changes.units.into_iter().map(Effect::Unit).collect();
        effects.extend(changes.gone.into_iter().map(|order| Effect::Order(Box::new(order))));
        for dispatch_id in changes.orders {
            if let Some(case) = self.cases.get_mut(&dispatch_id) {
                case.order.revision += 1;
                effects.push(Effect::Order(Box::new(case.order.clone())));
            }
        }
        effects.extend(changes.offers.into_values().map(Effect::Offer));
        effects.extend(changes.replies.into_iter().map(Effect::Reply));
        effects
            .extend(changes.messages.into_iter().map(|(dispatch_id, message)| Effect::Send { dispatch_id, message }));
        effects
    }
}

impl Case {
    /// The attempt of the offer that is out.
    pub fn pending(&self) -> Option<u32> {
        self.pending_offer().map(|offer| offer.attempt)
    }

    fn pending_offer(&self) -> Option<&Offer> {
        self.offers.iter().find(|offer| offer.state == OfferState::Pending)
    }

    /// Whether a unit is on its way or there.
    pub fn is_held(&self) -> bool {
        self.has(OfferState::Accepted) || self.has(OfferState::OnScene)
    }

    fn has(&self, state: OfferState) -> bool {
        self.offers.iter().any(|offer| offer.state == state)
    }

    fn state(&self) -> OrderState {
        if self.has(OfferState::OnScene) {
            OrderState::OnScene
        } else if self.has(OfferState::Accepted) {
            OrderState::Accepted
        } else if self.has(OfferState::Pending) {
            OrderState::Offered
        } else if self.order.search.is_some() {
            OrderState::Waiting
        } else {
            OrderState::Escalated
        }
    }
}

fn by_id(units: Vec<UnitInfo>) -> BTreeMap<Text, UnitInfo> {
    units.into_iter().map(|unit| (unit.unit_id.clone(), unit)).collect()
}

/// Whether an offer in this state keeps its unit from being asked elsewhere.
pub(super) fn is_held(state: OfferState) -> bool {
    matches!(state, OfferState::Pending | OfferState::Accepted | OfferState::OnScene)
}

/// Of what an order takes a share. About no vehicle and by no sensor: of nothing.
fn shares(opening: &Opening) -> Vec<Share> {
    let Opening { vehicle_id, rule_id, sensor_id, is_unregistered, .. } = opening;
    let vehicle = Some(vehicle_id).filter(|id| !id.is_empty()).map(|id| Share::Vehicle(id.clone()));
    let sender = match sensor_id {
        Some(sensor_id) => Some(Share::Sensor(rule_id.clone(), sensor_id.clone())),
        None => is_unregistered.then(|| Share::Unregistered(rule_id.clone())),
    };
    vehicle.into_iter().chain(sender).collect()
}

/// Whose lines an order waits in.
fn lines_of(order: &Order, other_kind_too: bool) -> Vec<(Text, UnitKind)> {
    let kinds = UnitKind::ALL.iter().filter(|kind| other_kind_too || order.kind == Some(**kind));
    kinds.flat_map(|kind| order.departments.iter().map(|department| (department.clone(), *kind))).collect()
}

fn order_of(alert: &Alert, dispatch_id: Text, now: Time) -> Order {
    Order {
        dispatch_id,
        alert_id: alert.alert_id.clone(),
        state: OrderState::Waiting,
        severity: alert.severity,
        departments: alert.departments.clone(),
        kind: kind_for(alert.severity),
        rule_id: alert.rule_id.clone(),
        vehicle_id: alert.vehicle_id.clone(),
        plate: alert.plate.clone(),
        message: alert.message.clone(),
        lat: alert.lat.filter(|lat| lat.is_finite()),
        lon: alert.lon.filter(|lon| lon.is_finite()),
        district_id: alert.district_id.clone(),
        created_at: now,
        updated_at: now,
        revision: 0,
        attempts: 0,
        search: None,
        unit_id: None,
        deadline: None,
        reason: String::new(),
        considered: Vec::new(),
        reinforced_by: Vec::new(),
        verdict: None,
        note: None,
        closed_at: None,
        alert_ended_at: None,
    }
}
