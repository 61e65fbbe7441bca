//! Dispatch told in scripts: one step a line, `what happens => what follows`.
//!
//! ```text
//! squad S1 police 500        a squad of the police reports, available, 500 m from every alert ("-": never reports; a word after: its status)
//! S1 at 700 busy             it reports again
//! alert A1 major police      an alert opens; words after: more departments, `nowhere` (no position), `in D1` (district), `old`, `stale`, `late`,
//!                            `about V2`, `unregistered`, `of rule`, `by C1` (sensor)
//! raise A1 critical          it becomes graver
//! S1 accept A1               a reply; `resolved` takes a verdict, a number at the end is the device's clock
//! +60                        so many seconds pass
//! => A1:offered S1<A1        order states that changed, who is asked about what, `police!A1`: the department is told, and replies
//!                            that were not taken
//! ```
//!
//! Every script runs twice: undisturbed, and with a restart from the written rows before each step. Both must tell the same.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::{Effect, Event, Queue, Settings, UnitInfo, globe::Globe, queue::is_held};
use crate::model::{
    Alert, AlertId, AlertState, Answer, Finding, Offer, Order, OrderState, PassedOver, ReplyOutcome, Severity, Text,
    Time, UnitKind, UnitReply, UnitReport, UnitState, UnitStatus,
};
use crate::store::{Opening, Standing};

mod crash;

/// Shenzhen.
const LAT: f64 = 22.54;
const LON: f64 = 114.06;
const START_MS: i64 = 1_772_373_909_000;

/// The queue, with the tables it would have written.
struct World {
    queue: Queue,
    settings: Settings,
    restarts: bool,
    now: Time,
    roster: Vec<UnitInfo>,
    orders: BTreeMap<Text, Order>,
    offers: BTreeMap<(Text, u32), Offer>,
    units: BTreeMap<Text, UnitState>,
    alerts: BTreeMap<String, Alert>,
}

impl World {
    fn new(settings: Settings, restarts: bool) -> Self {
        Self {
            queue: Queue::new(settings.clone(), vec![], Standing::default()),
            settings,
            restarts,
            now: Time::from_millis(START_MS),
            roster: vec![],
            orders: BTreeMap::new(),
            offers: BTreeMap::new(),
            units: BTreeMap::new(),
            alerts: BTreeMap::new(),
        }
    }

    fn restart(&mut self) {
        let at_hand = |order: &&Order| !matches!(order.state, OrderState::Resolved | OrderState::Listed);
        let orders: Vec<Order> = self.orders.values().filter(at_hand).cloned().collect();
        let ids: BTreeSet<&Text> = orders.iter().map(|order| &order.dispatch_id).collect();
        let offers = self.offers.values().filter(|offer| ids.contains(&offer.dispatch_id)).cloned().collect();
        let units = self.units.values().cloned().collect();
        let opened = self.orders.values().filter(|order| order.state != OrderState::Listed);
        let alert = |order: &Order| self.alerts.values().find(|alert| alert.alert_id == order.alert_id);
        let mut recent: Vec<Opening> =
            opened.map(|order| Opening::of(alert(order).expect("its alert"), order.created_at)).collect();
        recent.sort_by_key(|opening| opening.at);
        self.queue = Queue::new(self.settings.clone(), self.roster.clone(), Standing { orders, offers, units, recent });
    }

    fn step(&mut self, line: &str) -> String {
        if self.restarts {
            self.restart();
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        let effects = match words[..] {
            [kind @ ("squad" | "grid"), id, department, at, ref rest @ ..] => {
                self.enrol(kind, id, department, at, rest)
            }
            ["alert", id, severity, ref rest @ ..] => self.alert(id, severity, rest),
            ["raise", id, severity] => {
                let alert = self.alerts.get_mut(id).expect("an alert before it is raised");
                alert.severity = Severity::parse(severity).unwrap();
                let alert = alert.clone();
                self.queue.apply(Event::Raised(&alert), self.now)
            }
            ["end", id] => {
                let mut alert = self.alerts.get(id).expect("an alert before it ends").clone();
                (alert.state, alert.cleared_at) = (AlertState::Cleared, Some(self.now));
                self.queue.apply(Event::Ended(&alert), self.now)
            }
            ["withdraw", id] => {
                let alert = self.alerts.get(id).expect("an alert before it is withdrawn").clone();
                self.queue.apply(Event::Withdrawn(&alert), self.now)
            }
            [id, "at", metres, ref rest @ ..] => self.report(id, metres, rest.first().copied()),
            [unit, answer, id, ref rest @ ..] => self.reply(unit, answer, id, rest),
            [seconds] => {
                self.now = self.now.plus_ms(seconds.trim_start_matches('+').parse::<i64>().unwrap() * 1000);
                self.queue.apply(Event::Clock, self.now)
            }
            _ => panic!("not a step: {line}"),
        };
        let told = self.tell(&effects);
        self.write(effects);
        self.check_invariants();
        told
    }

    fn enrol(&mut self, kind: &str, id: &str, department: &str, at: &str, rest: &[&str]) -> Vec<Effect> {
        let district = rest.iter().skip_while(|word| **word != "in").nth(1).map(|word| Text::from(*word));
        self.roster.push(UnitInfo {
            unit_id: id.into(),
            name: id.into(),
            department: department.into(),
            kind: UnitKind::parse(kind).unwrap(),
            district_id: district,
        });
        let mut effects = self.queue.apply(Event::Roster(self.roster.clone()), self.now);
        if at != "-" {
            effects.extend(self.report(id, at, rest.first().copied().filter(|word| *word != "in")));
        }
        effects
    }

    fn report(&mut self, id: &str, metres: &str, status: Option<&str>) -> Vec<Effect> {
        let metres: f64 = metres.parse().unwrap();
        let report = UnitReport {
            unit_id: id.into(),
            device_time: self.now,
            lat: Some(LAT + metres / 111_195.08),
            lon: Some(LON),
            datum: None,
            status: Some(UnitStatus::parse(status.unwrap_or("available")).unwrap()),
        };
        self.queue.apply(Event::Unit(&report), self.now)
    }

    fn alert(&mut self, id: &str, severity: &str, rest: &[&str]) -> Vec<Effect> {
        let mut alert = alert(id, Severity::parse(severity).unwrap(), self.now);
        let mut departments: Vec<Text> = Vec::new();
        let mut words = rest.iter();
        while let Some(word) = words.next() {
            match *word {
                "nowhere" => (alert.lat, alert.lon) = (None, None),
                "in" => alert.district_id = words.next().map(|district| Text::from(*district)),
                "old" => alert.fired_at = self.now.plus_ms(-4 * 86_400_000),
                "late" => alert.retrospective = true,
                "by" => alert.sensor_id = words.next().map(|sensor| Text::from(*sensor)),
                "unregistered" => alert.unregistered = true,
                "of" => alert.rule_id = words.next().map(|rule| Text::from(*rule)).unwrap(),
                "about" => alert.vehicle_id = words.next().map(|vehicle| Text::from(*vehicle)).unwrap(),
                "stale" => alert.fired_at = self.now.plus_ms(-20 * 60_000),
                department => departments.push(department.into()),
            }
        }
        if !departments.is_empty() {
            alert.departments = departments.into();
        }
        self.alerts.insert(id.to_owned(), alert.clone());
        self.queue.apply(Event::Opened(&alert), self.now)
    }

    fn reply(&mut self, unit: &str, answer: &str, id: &str, rest: &[&str]) -> Vec<Effect> {
        let verdict = rest.first().and_then(|word| Finding::parse(word));
        let clock = rest.last().and_then(|word| word.parse::<i64>().ok());
        let reply = UnitReply {
            unit_id: unit.into(),
            dispatch_id: crate::model::dispatch_id(id),
            device_time: clock.map_or(self.now, |s| Time::from_millis(START_MS + s * 1000)),
            answer: Answer::parse(answer).unwrap(),
            reason: None,
            verdict,
            note: None,
            media: None,
        };
        self.queue.apply(Event::Reply(&reply), self.now)
    }

    fn tell(&self, effects: &[Effect]) -> String {
        let mut told: Vec<String> = Vec::new();
        for effect in effects {
            match effect {
                Effect::Order(order)
                    if self.orders.get(&order.dispatch_id).map(|before| before.state) != Some(order.state) =>
                {
                    told.push(format!("{}:{}", order.alert_id, order.state));
                }
                Effect::Send { message, .. } => told.push(say(message)),
                Effect::Reply(reply) if reply.outcome != ReplyOutcome::Taken => told.push(reply.outcome.to_string()),
                _ => {}
            }
        }
        told.join(" ")
    }

    fn write(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Order(order) => {
                    let before = self.orders.insert(order.dispatch_id.clone(), (*order).clone());
                    assert!(before.is_none_or(|before| before.revision < order.revision), "revisions grow");
                }
                Effect::Offer(offer) => {
                    assert!(self.orders.contains_key(&offer.dispatch_id), "an order is written before its offers");
                    self.offers.insert((offer.dispatch_id.clone(), offer.attempt), offer);
                }
                Effect::Unit(unit) => {
                    self.units.insert(unit.unit_id.clone(), unit);
                }
                Effect::Reply(_) | Effect::Send { .. } => {}
            }
        }
    }

    fn check_invariants(&self) {
        let mut busy = BTreeSet::new();
        for offer in self.offers.values().filter(|offer| is_held(offer.state)) {
            assert!(busy.insert(&offer.unit_id), "{} is on two orders", offer.unit_id);
            let order = &self.orders[&offer.dispatch_id];
            let is_closed = matches!(order.state, OrderState::Resolved | OrderState::Listed | OrderState::Withdrawn);
            assert!(!is_closed, "a closed order holds nobody");
        }
        for order in self.orders.values() {
            assert!(!order.reason.is_empty(), "{} has no reason", order.alert_id);
            let waits = matches!(order.state, OrderState::Waiting | OrderState::Offered);
            assert!(!waits || order.search.is_some(), "{} waits for nothing", order.alert_id);
            assert!(order.considered.len() <= crate::model::limits::CONSIDERED_PER_CHOICE);
        }
    }
}

/// `S1<A1` for an offer, `police!A1` for the department's.
fn say(message: &crate::model::Message) -> String {
    let payload: serde_json::Value = serde_json::from_slice(&message.payload).unwrap();
    let alert = payload["alert_id"].as_str().unwrap();
    let topic = message.topic.strip_prefix("mw/v1/dispatch/").expect("a dispatch topic");
    match topic.strip_prefix("department/") {
        Some(department) => format!("{department}!{alert}"),
        None if payload["withdrawn_at"].is_string() => format!("{topic}-{alert}"),
        None => format!("{topic}<{alert}"),
    }
}

pub(super) fn alert(id: &str, severity: Severity, at: Time) -> Alert {
    Alert {
        alert_id: AlertId(id.into()),
        rule_id: "overspeed".into(),
        rule_version: "1".into(),
        vehicle_id: "V1".into(),
        plate: "粤B12345".into(),
        company_id: "C1".into(),
        driver_id: None,
        permit_id: None,
        manifest_id: None,
        trip_id: None,
        severity,
        departments: vec![Text::from("police")].into(),
        message: format!("{id} at {severity}"),
        messages: crate::model::LocalText::default(),
        rule_name: crate::model::LocalText::default(),
        rule_code: None,
        started_at: at,
        fired_at: at,
        cleared_at: None,
        cleared_because: None,
        state: AlertState::Open,
        retrospective: false,
        withdrawn_because: None,
        withdrawn_reasons: crate::model::LocalText::default(),
        shadow: false,
        lat: Some(LAT),
        lon: Some(LON),
        district_id: None,
        place_id: None,
        road_id: None,
        sensor_id: None,
        unregistered: false,
        facts: serde_json::Map::new(),
        joined: Vec::new(),
    }
}

/// Runs a script and compares what it tells; both ways.
fn check(script: &str) {
    check_with(&Settings::default(), script);
}

fn check_with(settings: &Settings, script: &str) {
    let steps: Vec<(&str, &str)> = script
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(|line| line.split_once("=>").unwrap_or((line, "")))
        .collect();
    for restarts in [false, true] {
        let mut world = World::new(settings.clone(), restarts);
        let mut told = Vec::new();
        let mut expected = Vec::new();
        for (step, outcome) in &steps {
            told.push(format!("{} => {}", step.trim(), world.step(step)));
            expected.push(format!("{} => {}", step.trim(), outcome.trim()));
        }
        assert_eq!(told.join("\n"), expected.join("\n"), "restarts: {restarts}");
    }
}

#[test]
fn the_nearest_is_asked_and_goes() {
    check(
        "squad S2 police 900
         squad S1 police 500
         alert A1 major             => A1:offered S1<A1
         S1 accept A1               => A1:accepted
         S1 arrived A1              => A1:on_scene
         S1 resolved A1 confirmed   => A1:resolved",
    );
}

#[test]
fn so_many_orders_about_one_vehicle_within_an_hour_are_enough() {
    let settings = Settings { orders_per_vehicle_hour: 2, ..Settings::default() };
    check_with(
        &settings,
        "alert A1 major             => A1:escalated police!A1
         alert A2 notice            => A2:listed
         +600                       =>
         alert A3 major             => A3:escalated police!A3
         alert A4 major             => A4:listed
         alert A5 critical          => A5:escalated police!A5
         +2999                      =>
         alert A6 minor             => A6:listed
         +601                       =>
         alert A7 minor             => A7:escalated police!A7",
    );
}

/// A camera that invented plates filled the queue within a second, and a real critical alert was left to the department.
#[test]
fn so_many_orders_by_one_sensor_within_an_hour_are_enough() {
    let settings = Settings { orders_per_sender_hour: 2, ..Settings::default() };
    check_with(
        &settings,
        "alert A1 major about V1 unregistered by C1           => A1:escalated police!A1
         alert A2 critical about V2 unregistered by C1        => A2:escalated police!A2
         +600                                                 =>
         alert A3 critical about V3 unregistered by C1        => A3:listed
         alert A4 major about V4 by C1                        => A4:listed
         alert A5 major about V5 unregistered by C2           => A5:escalated police!A5
         alert A6 major about V6 unregistered by C1 of weight => A6:escalated police!A6
         alert A7 major about V7                              => A7:escalated police!A7
         +2999                                                =>
         alert A8 major about V8 by C1                        => A8:listed
         +601                                                 =>
         alert A9 major about V9 by C1                        => A9:escalated police!A9",
    );
}

/// Whoever invents devices invents a new truck with each: no truck has many orders, but all of them together have.
#[test]
fn so_many_orders_about_trucks_in_no_register_within_an_hour_are_enough() {
    let settings = Settings { orders_per_sender_hour: 2, ..Settings::default() };
    check_with(
        &settings,
        "alert A1 major about V1 unregistered         => A1:escalated police!A1
         alert A2 major about V2 unregistered         => A2:escalated police!A2
         alert A3 critical about V3 unregistered      => A3:listed
         alert A4 major about V4                      => A4:escalated police!A4
         alert A5 major about V5 unregistered of dark => A5:escalated police!A5",
    );
}

#[test]
fn a_graver_alert_takes_the_place_of_the_mildest_that_waits() {
    let settings = Settings { most_active: 3, ..Settings::default() };
    check_with(
        &settings,
        "squad S1 police 500 busy
         squad S2 police 900 busy
         alert A1 major about V1    => A1:waiting
         +1                         =>
         alert A2 critical about V2 => A2:waiting
         alert A3 major about V3    => A3:waiting
         alert A4 major about V4    => A4:escalated police!A4
         alert A5 critical about V5 => A5:waiting A3:escalated police!A3
         alert A6 critical about V6 => A1:escalated A6:waiting police!A1
         alert A7 critical about V7 => A7:escalated police!A7
         S1 at 500                  => A2:offered S1<A2",
    );
}

/// Its unit would go alone, and no place would be free.
#[test]
fn who_waits_for_help_on_the_street_is_not_displaced() {
    let settings = Settings { most_active: 1, ..Settings::default() };
    check_with(
        &settings,
        "squad S1 police 500
         squad S2 police 900 busy
         alert A1 major about V1    => A1:offered S1<A1
         S1 accept A1               => A1:accepted
         S1 reinforce A1            =>
         alert A2 critical about V2 => A2:escalated police!A2
         +1                         =>
         S2 at 900                  => S2<A1",
    );
}

/// A truck that has slowed down long since: nobody else is sent after it; who was asked or goes decides himself.
#[test]
fn an_order_whose_alert_has_ended_is_offered_to_nobody_new() {
    check(
        "squad S1 police 500
         squad S2 police 900
         alert A1 major             => A1:offered S1<A1
         end A1                     =>
         S1 decline A1              => A1:listed
         alert A2 major             => A2:offered S1<A2
         S1 accept A2               => A2:accepted
         end A2                     =>
         S1 reinforce A2            => S2<A2
         S1 resolved A2 confirmed   => A2:resolved",
    );
    check(
        "squad S1 police 500 busy
         alert A1 major             => A1:waiting
         end A1                     => A1:listed
         S1 at 500 available        =>",
    );
}

/// What was left to the department is closed by any unit of it, and by no other.
#[test]
fn the_department_closes_what_was_left_to_it() {
    check(
        "squad W1 water 500
         squad S1 police -
         alert A1 major             => A1:waiting
         +600                       => A1:escalated police!A1
         W1 resolved A1 confirmed   => not_offered
         S1 accept A1               => not_offered
         S1 resolved A1             => verdict_missing
         S1 resolved A1 confirmed   => A1:resolved
         alert A2 major             => A2:waiting
         +600                       => A2:escalated police!A2
         department/police resolved A2 false_alarm => A2:resolved",
    );
}

#[test]
fn no_and_silence_move_it_on_and_then_to_the_department() {
    check(
        "squad S1 police 500
         squad S2 police 900
         alert A1 major             => A1:offered S1<A1
         S1 decline A1              => S2<A1
         +119                       =>
         +1                         => A1:escalated police!A1
         S2 accept A1               => late",
    );
}

#[test]
fn severity_says_who_goes() {
    check(
        "squad S1 police 500
         grid G1 police 100
         alert A1 notice            => A1:listed
         alert A2 minor             => A2:offered G1<A2
         alert A3 critical          => A3:offered S1<A3
         alert A4 minor             => A4:waiting
         alert A5 major             => A5:waiting",
    );
}

#[test]
fn an_alert_that_never_was_calls_back_who_was_sent() {
    check(
        "squad S1 police 500
         alert A1 major             => A1:offered S1<A1
         alert A2 major             => A2:waiting
         S1 accept A1               => A1:accepted
         withdraw A1                => A1:withdrawn A2:offered S1-A1 S1<A2
         withdraw A2                => A2:withdrawn S1-A2
         withdraw A2                =>",
    );
}

#[test]
fn late_and_old_alerts_send_nobody() {
    check(
        "squad S1 police 500
         alert A1 critical stale late => A1:listed
         alert A2 critical old      => A2:listed",
    );
}

/// Two devices of one truck whose clocks differ by seconds: what the second shows is late by that, and somebody must go all the same.
#[test]
fn what_is_seconds_late_sends_somebody() {
    check(
        "squad S1 police 500
         alert A1 critical late     => A1:offered S1<A1",
    );
}

#[test]
fn late_alerts_send_somebody_while_they_are_young_where_that_is_wanted() {
    let settings = Settings { late_dispatch_age_ms: 10 * 60_000, ..Settings::default() };
    check_with(
        &settings,
        "squad S1 police 500
         alert A1 critical stale late => A1:listed
         alert A2 critical late     => A2:offered S1<A2",
    );
}

#[test]
fn only_units_of_the_alerts_departments_go() {
    check(
        "squad S1 police 100
         squad S2 water 500
         alert A1 major water       => A1:offered S2<A1
         alert A2 major ecology     => A2:escalated ecology!A2
         alert A3 major ecology police => A3:offered S1<A3",
    );
}

#[test]
fn who_is_busy_off_or_stale_is_passed_over() {
    check(
        "squad S1 police 100 busy
         squad S2 police 200 off
         squad S3 police 300
         +601
         squad S4 police 400
         alert A1 major             => A1:offered S4<A1",
    );
}

#[test]
fn nobody_is_sent_to_two_places() {
    check(
        "squad S1 police 100
         squad S2 police 200
         alert A1 major             => A1:offered S1<A1
         alert A2 major             => A2:offered S2<A2
         alert A3 major             => A3:waiting
         S1 accept A1               => A1:accepted
         S2 decline A2              => A2:waiting A3:offered S2<A3
         S1 resolved A1 not_found   => A1:resolved A2:offered S1<A2",
    );
}

#[test]
fn a_waiting_order_takes_the_first_unit_that_reports() {
    check(
        "squad S1 police 100 busy
         alert A1 major             => A1:waiting
         alert A2 critical          => A2:waiting
         +30
         S1 at 800 available        => A2:offered S1<A2
         +269                       => A1:offered A2:escalated police!A2 S1<A1",
    );
}

#[test]
fn waiting_ends_with_the_department() {
    check(
        "squad S1 police -
         alert A1 critical          => A1:waiting
         +299
         +1                         => A1:escalated police!A1
         S1 at 100                  =>",
    );
}

#[test]
fn an_offer_that_is_out_at_the_end_of_the_search_runs_its_time() {
    check(
        "squad S1 police 100 busy
         alert A1 critical          => A1:waiting
         +290
         S1 at 100                  => A1:offered S1<A1
         +50                        =>
         S1 accept A1               => A1:accepted",
    );
}

#[test]
fn with_no_unit_at_all_the_department_is_told_at_once() {
    check(
        "alert A1 major             => A1:escalated police!A1
         alert A2 major water police => A2:escalated water!A2 police!A2",
    );
}

#[test]
fn without_a_position_the_district_decides_and_without_that_the_department() {
    check(
        "squad S1 police 100 available in D1
         squad S2 police 900 available in D2
         alert A1 major nowhere in D2 => A1:offered S2<A1
         alert A2 major nowhere in D2 => A2:waiting
         alert A3 major nowhere     => A3:escalated police!A3
         alert A4 major nowhere in D3 => A4:escalated police!A4",
    );
}

#[test]
fn reinforcement_adds_and_takes_nobody_away() {
    check(
        "squad S1 police 100
         squad S2 police 200
         squad S3 police 300
         alert A1 major             => A1:offered S1<A1
         S1 accept A1               => A1:accepted
         S1 reinforce A1 5          => S2<A1
         S1 reinforce A1 5          => repeated
         S2 decline A1              => S3<A1
         S3 accept A1               =>
         S3 arrived A1              => A1:on_scene
         S3 reinforce A1            => police!A1
         S1 resolved A1 confirmed   => A1:resolved
         alert A2 major             => A2:offered S1<A2
         alert A3 major             => A3:offered S2<A3
         alert A4 major             => A4:offered S3<A4",
    );
}

#[test]
fn two_requests_for_reinforcement_bring_two() {
    check(
        "squad S1 police 100
         squad S2 police 200
         squad S3 police 300
         alert A1 major             => A1:offered S1<A1
         S1 accept A1               => A1:accepted
         S1 reinforce A1 1          => S2<A1
         S1 reinforce A1 2          =>
         S2 accept A1               => S3<A1
         S3 accept A1               =>",
    );
}

#[test]
fn a_unit_may_give_back_what_it_accepted() {
    check(
        "squad S1 police 100
         squad S2 police 200
         alert A1 major             => A1:offered S1<A1
         S1 accept A1               => A1:accepted
         S1 decline A1              => A1:offered S2<A1
         S1 accept A1               => late",
    );
}

#[test]
fn replies_that_come_twice_late_or_from_nowhere_change_nothing() {
    check(
        "squad S1 police 100
         squad S2 police 900
         alert A1 major             => A1:offered S1<A1
         S1 accept A9               => unknown_dispatch
         S2 accept A1               => not_offered
         S9 accept A1               => not_offered
         S1 accept A1               => A1:accepted
         S1 accept A1               => repeated
         S1 resolved A1             => verdict_missing
         S1 arrived A1              => A1:on_scene
         S1 arrived A1              => repeated
         S1 accept A1               => repeated
         S1 resolved A1 false_alarm => A1:resolved
         S1 resolved A1 false_alarm => unknown_dispatch",
    );
}

#[test]
fn who_arrives_or_resolves_without_a_word_before_has_accepted() {
    check(
        "squad S1 police 100
         alert A1 major             => A1:offered S1<A1
         S1 arrived A1              => A1:on_scene
         S1 resolved A1 confirmed   => A1:resolved
         alert A2 major             => A2:offered S1<A2
         S1 resolved A2 not_found   => A2:resolved",
    );
}

#[test]
fn a_graver_alert_is_for_another_kind_and_only_adds() {
    check(
        "grid G1 police 100
         squad S1 police 900
         alert A1 minor             => A1:offered G1<A1
         raise A1 major             =>
         G1 accept A1               => A1:accepted S1<A1
         S1 accept A1               =>",
    );
    check(
        "grid G1 police 100
         squad S1 police 900
         alert A1 minor             => A1:offered G1<A1
         G1 accept A1               => A1:accepted
         raise A1 critical          => S1<A1",
    );
    check(
        "grid G1 police 100
         squad S1 police 900
         alert A1 minor             => A1:offered G1<A1
         raise A1 major             =>
         G1 decline A1              => S1<A1",
    );
    check(
        "squad S1 police 900
         alert A1 minor             => A1:escalated police!A1
         raise A1 major             => A1:offered S1<A1",
    );
}

#[test]
fn the_other_kind_goes_only_when_told_so() {
    let script = "grid G1 police 100
         alert A1 major             => A1:escalated police!A1";
    check(script);
    let either = Settings { other_kind_too: true, ..Settings::default() };
    check_with(
        &either,
        "grid G1 police 100
         squad S1 police 900
         alert A1 major             => A1:offered S1<A1
         alert A2 major             => A2:offered G1<A2
         alert A3 major             => A3:waiting
         S1 decline A1              => A1:waiting A3:offered S1<A3",
    );
}

#[test]
fn no_more_than_eight_are_asked() {
    let mut script: Vec<String> = (1..=9).map(|n| format!("squad S{n} police {n}00")).collect();
    script.push("alert A1 major => A1:offered S1<A1".into());
    script.extend((1..8).map(|n| format!("S{n} decline A1 => S{}<A1", n + 1)));
    script.push("S8 decline A1 => A1:escalated police!A1".into());
    check(&script.join("\n"));
}

#[test]
fn a_unit_that_lets_an_offer_pass_may_be_asked_for_another_order() {
    check(
        "squad S1 police 100
         alert A1 critical          => A1:offered S1<A1
         alert A2 major             => A2:waiting
         +60                        => A1:escalated A2:offered police!A1 S1<A2",
    );
}

#[test]
fn after_a_start_answers_that_waited_for_us_are_read_before_deadlines_pass() {
    let mut world = World::new(Settings::default(), false);
    world.step("squad S1 police 100");
    world.step("squad S2 police 200");
    world.step("alert A1 critical");
    world.restart();
    let deadline = world.queue.next_due().unwrap();
    let started = world.now.plus_ms(600_000);
    world.queue.hold_deadlines_until(started.plus_ms(30_000));
    assert!(world.queue.next_due() == Some(started.plus_ms(30_000)) && deadline < started);
    assert_eq!(world.step("+600"), "");
    assert_eq!(world.step("S1 accept A1"), "A1:accepted");
    world.step("alert A2 critical");
    assert_eq!(world.step("+60"), "A2:waiting", "from then on they pass");
}

#[test]
fn the_choice_keeps_its_reasons() {
    let mut world = World::new(Settings::default(), false);
    for step in [
        "squad S1 police 100 busy",
        "grid G1 police 200",
        "squad S2 water 300",
        "squad S3 police 400.04",
        "alert A1 major",
    ] {
        world.step(step);
    }
    let order = world.orders.values().next().unwrap();
    assert_eq!(
        order.reason,
        "S3 is the nearest that can be sent, 400 m away (passed over: 1 busy, 1 other department, 1 other kind)"
    );
    let considered: Vec<_> =
        order.considered.iter().map(|one| (&*one.unit_id, one.distance_m.unwrap().round(), one.passed_over)).collect();
    assert_eq!(
        considered,
        [
            ("S1", 100.0, Some(PassedOver::Busy)),
            ("G1", 200.0, Some(PassedOver::OtherKind)),
            ("S2", 300.0, Some(PassedOver::OtherDepartment)),
            ("S3", 400.0, None)
        ]
    );
}

#[test]
fn ids_come_from_the_alert_and_the_attempt_alone() {
    let run = |other_first: bool| {
        let mut world = World::new(Settings::default(), false);
        world.step("squad S1 police 100");
        world.step("squad S2 police 200");
        if other_first {
            world.step("alert A0 major water");
            world.step("+7");
        }
        world.step("alert A1 major");
        let offer = world.offers.values().find(|offer| &*offer.unit_id == "S1").unwrap();
        (offer.dispatch_id.clone(), offer.offer_id.clone())
    };
    assert_eq!(run(false), run(true));
}

#[test]
fn an_older_unit_report_does_not_move_the_unit() {
    let mut world = World::new(Settings::default(), false);
    world.step("squad S1 police 100");
    let before = world.units.clone();
    world.now = world.now.plus_ms(-5_000);
    assert_eq!(world.report("S1", "900", None), []);
    world.now = world.now.plus_ms(10_000);
    assert_eq!(world.units, before);
}

/// A receiver without a fix says (0, 0). The squad's status counts all the same, and it is where it was: sending one from
/// 40 km away because the near one seemed to be in the Gulf of Guinea helps nobody.
#[test]
fn a_unit_without_a_usable_position_is_where_it_was() {
    for (lat, lon) in [
        (Some(0.0), Some(0.0)),
        (None, None),
        (Some(f64::NAN), Some(0.0)),
        (Some(91.0), Some(114.0)),
        (None, Some(114.0)),
    ] {
        let mut world = World::new(Settings::default(), false);
        world.step("squad S1 police 100");
        let before = world.units["S1"].clone();
        world.now = world.now.plus_ms(10_000);
        let report =
            |status| UnitReport { unit_id: "S1".into(), device_time: world.now, lat, lon, datum: None, status };
        let (same, busy) = (report(None), report(Some(UnitStatus::Busy)));
        assert_eq!(world.queue.apply(Event::Unit(&same), world.now), []);
        let effects = world.queue.apply(Event::Unit(&busy), world.now);
        let [Effect::Unit(unit)] = &effects[..] else { panic!("one unit: {effects:?}") };
        assert_eq!((unit.status, unit.lat, unit.lon), (UnitStatus::Busy, before.lat, before.lon), "{lat:?} {lon:?}");
    }
}

/// A word for a status that nobody knew cost the whole report: the unit was stale ten minutes later, and nobody was sent.
#[test]
fn a_unit_whose_status_nobody_knows_is_as_it_was_where_it_now_is() {
    let mut world = World::new(Settings::default(), false);
    let at = |now: Time, lat| UnitReport {
        unit_id: "S1".into(),
        device_time: now,
        lat: Some(lat),
        lon: Some(LON),
        datum: None,
        status: None,
    };
    let told = |effects: Vec<Effect>| {
        let [Effect::Unit(unit)] = &effects[..] else { panic!("one unit: {effects:?}") };
        (unit.status, unit.lat)
    };
    world.step("squad S1 police -");
    let (never, now) = (at(world.now, LAT), world.now);
    assert_eq!(told(world.queue.apply(Event::Unit(&never), now)), (UnitStatus::Off, LAT), "nobody ever said");
    world.now = world.now.plus_ms(10_000);
    world.step("squad S1 police 100");
    world.now = world.now.plus_ms(10_000);
    let (moved, now) = (at(world.now, LAT + 0.01), world.now);
    assert_eq!(told(world.queue.apply(Event::Unit(&moved), now)), (UnitStatus::Available, LAT + 0.01));
}

/// 20,000 invented units filled the places for positions: no registered unit had one any more, and nobody was sent.
#[test]
fn who_is_not_registered_takes_no_units_place() {
    let mut world = World::new(Settings::default(), false);
    world.step("squad S1 police -");
    for n in 0..=crate::model::limits::UNITS {
        let report = UnitReport {
            unit_id: format!("X{n}").into(),
            device_time: world.now,
            lat: Some(LAT),
            lon: Some(LON),
            datum: None,
            status: Some(UnitStatus::Available),
        };
        assert!(world.queue.apply(Event::Unit(&report), world.now).is_empty());
    }
    assert_eq!(world.queue.globe.len(), 0);
    world.step("S1 at 300");
    assert_eq!(world.step("alert A1 major police"), "A1:offered S1<A1");
    // Who is struck off the registry is no longer there either.
    world.roster.clear();
    world.queue.apply(Event::Roster(Vec::new()), world.now);
    assert_eq!(world.queue.globe.len(), 0);
}

#[test]
fn a_unit_that_reports_in_another_datum_is_where_it_is() {
    let mut world = World::new(Settings::default(), false);
    let report = UnitReport {
        unit_id: "S1".into(),
        device_time: world.now,
        lat: Some(LAT),
        lon: Some(LON),
        datum: Some(crate::model::Datum::Gcj02),
        status: Some(UnitStatus::Available),
    };
    world.step("squad S1 police -");
    let effects = world.queue.apply(Event::Unit(&report), world.now);
    let [Effect::Unit(unit)] = &effects[..] else { panic!("one unit: {effects:?}") };
    let metres = crate::spatial::distance_m(
        crate::spatial::Point::new(LON, LAT),
        crate::spatial::Point::new(unit.lon, unit.lat),
    );
    // In Shenzhen the offset of GCJ-02 is 567 to 619 m.
    assert!((560.0..630.0).contains(&metres), "{metres} m");
}

#[test]
fn distances_are_those_of_the_globe() {
    let unit = |id: &str, lat: f64, lon: f64| UnitState {
        unit_id: id.into(),
        at: Time::from_millis(0),
        lat,
        lon,
        status: UnitStatus::Available,
    };
    // By haversine on a sphere of 6,371,008.8 m; at 45.75 degrees a degree of longitude is shorter than one of latitude.
    let mut globe =
        Globe::of(vec![unit("north", 45.80, 126.65), unit("east", 45.75, 126.71), unit("far", 22.54, 114.06)]);
    let found: Vec<(String, f64)> =
        globe.nearest(45.75, 126.65).map(|(id, metres)| (id.to_string(), metres.round())).collect();
    let expected = [("east", 4655.0), ("north", 5560.0), ("far", 2820871.0)];
    for ((id, metres), (expected_id, expected_m)) in found.iter().zip(expected) {
        assert_eq!(id, expected_id);
        assert!((metres - expected_m).abs() <= 1.0, "{id}: {metres} m, expected {expected_m} m");
    }
    globe.put(unit("far", 45.75, 126.6501));
    let first = globe.nearest(45.75, 126.65).next().map(|(id, _)| id.to_string());
    assert_eq!((first.as_deref(), globe.len()), (Some("far"), 3));
}

/// Any step that a script can have.
fn any_step() -> impl Strategy<Value = String> {
    let unit = (0..4u8).prop_map(|n| if n < 3 { format!("S{n}") } else { "G0".to_owned() });
    let alert = (0..5u8).prop_map(|n| format!("A{n}"));
    let severity = prop::sample::select(vec!["notice", "minor", "major", "critical"]);
    let status = prop::sample::select(vec!["available", "available", "busy", "off"]);
    let answer = prop::sample::select(vec!["accept", "decline", "arrived", "reinforce", "resolved"]);
    let verdict = prop::sample::select(vec!["confirmed", "false_alarm", "0"]);
    prop_oneof![
        (unit.clone(), 0..2_000u32, status).prop_map(|(unit, metres, status)| format!("{unit} at {metres} {status}")),
        (alert.clone(), severity).prop_map(|(alert, severity)| format!("!{alert} {severity}")),
        (unit, answer, alert, verdict)
            .prop_map(|(unit, answer, alert, verdict)| format!("{unit} {answer} {alert} {verdict}")),
        (0..400u32).prop_map(|s| format!("+{s}")),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever happens, a restart at any point changes nothing, no unit is on two orders, and nothing waits for ever.
    #[test]
    fn restarts_change_nothing(steps in prop::collection::vec(any_step(), 1..60)) {
        let mut told = Vec::new();
        for restarts in [false, true] {
            let mut world = World::new(Settings::default(), restarts);
            let mut lines = Vec::new();
            for n in 0..3 {
                lines.push(world.step(&format!("squad S{n} police {n}00")));
            }
            lines.push(world.step("grid G0 police 50"));
            for step in &steps {
                // "!": the alert opens, or is raised when it is there.
                let line = match step.strip_prefix('!').and_then(|rest| rest.split_once(' ')) {
                    Some((id, severity)) if world.alerts.contains_key(id) => format!("raise {id} {severity}"),
                    Some((id, severity)) => format!("alert {id} {severity}"),
                    None => step.clone(),
                };
                lines.push(format!("{line} => {}", world.step(&line)));
            }
            for _ in 0..100 {
                lines.push(world.step("+120"));
            }
            let waits = |order: &&Order| matches!(order.state, OrderState::Waiting | OrderState::Offered);
            prop_assert_eq!(world.orders.values().find(waits), None);
            told.push(lines);
        }
        prop_assert_eq!(&told[0], &told[1]);
    }
}
