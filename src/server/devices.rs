//! Senders as heard: what came of what each sent, and what is wrong with it; and the messages that nobody could read.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{Json, extract::State};
use rustc_hash::FxHashMap;
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    App,
    problem::Problem,
    query::{Id, Params},
    status::OutcomeCount,
};
use crate::model::{Body, DeviceReport, Outcome, Reason, Record, Sender, Text, Time, clock_fault, limits, plate};

/// A sender is told of one kind of problem at most this often, by the clock of arrival.
const TELL_EVERY_MS: i64 = 60_000;
/// Of an unreadable message so many bytes are shown; history has it whole.
const SHOWN_BYTES: usize = 2_000;

/// What is known of each sender, and the last messages that could not be read: since the process started.
#[derive(Debug, Default)]
pub struct Devices {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    senders: FxHashMap<Sender, Heard>,
    /// The newest last.
    letters: VecDeque<Letter>,
    /// The number of the next letter.
    next: u64,
}

#[derive(Clone, Debug, Default)]
struct Heard {
    heard_at: Time,
    last: Option<LastReport>,
    outcomes: BTreeMap<(Outcome, Reason), u64>,
    odd: BTreeMap<&'static str, u64>,
    problems: VecDeque<DeviceProblem>,
    /// When each kind of problem was last told.
    told: BTreeMap<&'static str, Time>,
}

/// A device's last report that could be read.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct LastReport {
    #[schema(value_type = String, format = DateTime)]
    recv_time: Time,
    /// What it is judged at.
    #[schema(value_type = String, format = DateTime)]
    event_time: Time,
    /// `evaluated`, `duplicate`, `filtered`, `late` or `rejected`.
    outcome: &'static str,
    reason: &'static str,
    /// By how many seconds the device's clock was ahead of arrival; negative: behind, or the report was on its way so long.
    clock_offset_s: f64,
    /// As read, without `ext`.
    #[schema(value_type = Object)]
    report: DeviceReport,
}

/// Something that is wrong with what a device, sensor or unit sends: its message on `{prefix}/device/{id}/problem`
/// (`sensor`, `unit`), too.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct DeviceProblem {
    #[serde(flatten)]
    #[schema(value_type = Object)]
    pub sender: Sender,
    #[schema(value_type = String, format = DateTime)]
    pub at: Time,
    /// The reason of the ledger (`undecodable`, `too_old`, `clock_skew` …), or `odd_field`.
    pub kind: &'static str,
    /// What was found and what was expected.
    pub problem: String,
    /// The same in Chinese, but for names and values.
    pub problem_zh: String,
    /// Fields that made no sense and count as unknown.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub fields: Vec<&'static str>,
}

/// A message that could not be read.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Letter {
    /// Counts up since the start.
    number: u64,
    #[schema(value_type = String, format = DateTime)]
    recv_time: Time,
    #[schema(value_type = String)]
    topic: Text,
    #[schema(value_type = Option<String>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    device_id: Option<Text>,
    reason: &'static str,
    /// What was found and what was expected.
    problem: String,
    /// Its beginning, as text.
    payload: String,
    payload_bytes: usize,
}

/// What a device sent, and what is wrong with it.
#[derive(Serialize, ToSchema)]
pub(super) struct DeviceShown {
    device_id: String,
    registered: bool,
    /// Whose it is now.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    vehicle_id: Option<Text>,
    /// When anything last came of it, readable or not, since the process started.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    heard_at: Option<Time>,
    last_report: Option<LastReport>,
    /// Of the last report: seconds that the clock is ahead of arrival; negative: behind, or it was on its way so long.
    clock_offset_s: Option<f64>,
    /// `time_zone`, `week_rollover`, `never_set` or `wrong`, when the clock is not believed.
    clock_fault: Option<&'static str>,
    /// What became of its reports since the process started.
    outcomes: Vec<OutcomeCount>,
    /// How often each field made no sense and counted as unknown.
    #[schema(value_type = BTreeMap<String, u64>)]
    odd_fields: BTreeMap<&'static str, u64>,
    /// The newest first.
    last_problems: Vec<DeviceProblem>,
}

/// One page of messages that could not be read, newest first.
#[derive(Serialize, ToSchema)]
pub(super) struct DeadLetterList {
    dead_letters: Vec<Letter>,
    /// Asks for the next page (`cursor`); null on the last.
    next_cursor: Option<String>,
    /// How many came since the process started; the newest of them are kept here, history has all.
    total: u64,
}

impl Devices {
    /// Takes note of a message. What its sender is to be told now.
    pub fn hear(&self, record: &Record, sender: Option<&Sender>, odd: &[&'static str]) -> Vec<DeviceProblem> {
        let mut kept = self.lock();
        if let Body::DeadLetter(letter) = &record.body
            && record.reason != Reason::NoReport
        {
            let number = kept.next;
            kept.next += 1;
            if kept.letters.len() >= limits::DEAD_LETTERS {
                kept.letters.pop_front();
            }
            let shown = &letter.payload[..letter.payload.len().min(SHOWN_BYTES)];
            kept.letters.push_back(Letter {
                number,
                recv_time: record.recv_time,
                topic: letter.topic.clone(),
                device_id: sender.and_then(Sender::device_id).cloned(),
                reason: record.reason.as_str(),
                problem: letter.problem.clone(),
                payload: String::from_utf8_lossy(shown).into_owned(),
                payload_bytes: letter.payload.len(),
            });
        }
        let Some(sender) = sender else { return Vec::new() };
        kept.make_room(sender);
        let heard = kept.senders.entry(sender.clone()).or_default();
        heard.heard_at = record.recv_time;
        *heard.outcomes.entry((record.outcome, record.reason)).or_default() += 1;
        odd.iter().for_each(|field| *heard.odd.entry(field).or_default() += 1);
        if let Body::Device(report) = &record.body {
            let clock_offset_s = report.device_time.ms_since(record.recv_time) as f64 / 1_000.0;
            let newest = heard.last.as_ref().is_none_or(|last| last.recv_time <= record.recv_time);
            if newest {
                heard.last = Some(LastReport {
                    recv_time: record.recv_time,
                    event_time: record.event_time,
                    outcome: record.outcome.as_str(),
                    reason: record.reason.as_str(),
                    clock_offset_s,
                    report: DeviceReport { ext: Default::default(), ..report.clone() },
                });
            }
        }
        let problems = problems_of(record, sender, odd);
        let mut due = Vec::new();
        for problem in problems {
            let last = heard.told.get(problem.kind);
            if last.is_none_or(|last| !(0..TELL_EVERY_MS).contains(&problem.at.ms_since(*last))) {
                heard.told.insert(problem.kind, problem.at);
                if heard.problems.len() >= limits::DEVICE_PROBLEMS {
                    heard.problems.pop_front();
                }
                heard.problems.push_back(problem.clone());
                due.push(problem);
            }
        }
        due
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// Of more senders than are kept the tenth goes that has been silent longest.
    fn make_room(&mut self, sender: &Sender) {
        if self.senders.len() < limits::DEVICES_HEARD || self.senders.contains_key(sender) {
            return;
        }
        let mut times: Vec<Time> = self.senders.values().map(|heard| heard.heard_at).collect();
        let tenth = times.len() / 10;
        let (_, bound, _) = times.select_nth_unstable(tenth);
        let bound = *bound;
        self.senders.retain(|_, heard| heard.heard_at > bound);
    }
}

/// What is wrong with a message, for who sent it.
fn problems_of(record: &Record, sender: &Sender, odd: &[&'static str]) -> Vec<DeviceProblem> {
    let problem = |kind, problem: String, problem_zh: String, fields| DeviceProblem {
        sender: sender.clone(),
        at: record.recv_time,
        kind,
        problem,
        problem_zh,
        fields,
    };
    let mut found = Vec::new();
    if let Some((en, zh)) = in_words(record) {
        found.push(problem(record.reason.as_str(), en, zh, Vec::new()));
    }
    if !odd.is_empty() {
        let names = odd.join(", ");
        let en = format!("these fields made no sense and count as unknown: {names}; the rest of the report counts");
        let zh = format!("以下字段的值无法理解，按未知处理：{names}；报文其余部分有效");
        found.push(problem("odd_field", en, zh, odd.to_vec()));
    }
    found
}

/// What is wrong by the record's reason, in English and in Chinese; `None` when nothing is that the sender could mend.
fn in_words(record: &Record) -> Option<(String, String)> {
    let said = |en: &str, zh: &str| Some((en.to_owned(), zh.to_owned()));
    if let Body::DeadLetter(letter) = &record.body {
        let problem = &letter.problem;
        let zh = match record.reason {
            Reason::NoReport => return None,
            Reason::TooLarge => format!("报文过大：{problem}"),
            Reason::UnknownTopic => format!("无人读取该主题：{problem}"),
            _ => format!("报文无法解析：{problem}"),
        };
        return Some((problem.clone(), zh));
    }
    match record.reason {
        Reason::ClockSkew => {
            let Body::Device(report) = &record.body else { return None };
            let skew_s = report.device_time.ms_since(record.recv_time) as f64 / 1_000.0;
            let fault = clock_fault(skew_s, report.device_time);
            let (en, zh) = match fault {
                "time_zone" => (
                    "looks like a time zone: times must be UTC or bear their offset",
                    "疑似时区错误：时间须为 UTC 或带时区",
                ),
                "week_rollover" => ("GPS week rollover", "GPS 周翻转"),
                "never_set" => ("the clock was never set", "时钟从未校准"),
                _ => ("the clock is wrong", "时钟错误"),
            };
            Some((
                format!("device_time is {skew_s:.0} s off arrival ({en}); the report is judged at arrival"),
                format!("device_time 与到达时间相差 {skew_s:.0} 秒（{zh}）；按到达时间判定"),
            ))
        }
        Reason::TooOld => said("older on arrival than what is judged; it is kept", "到达时已超过可判定时限；仅保存"),
        Reason::Retained => said(
            "it was published with the retain flag and is not judged; publish without it",
            "以 retain 标志发布，不作判定；请勿使用 retain",
        ),
        Reason::ImplausibleJump => said(
            "a jump between fixes that no truck makes; it is kept and not judged",
            "两次定位之间的跳变不可能；仅保存，不判定",
        ),
        Reason::ImplausibleSpeed => said("a speed that no truck has", "车速不可能"),
        Reason::PositionOutOfRange => {
            said("lat or lon is out of range; the position is not used", "经纬度超出范围；位置不予采用")
        }
        Reason::TooManyPlates => said(
            "this sensor tells of too many plates that are in no registry; it is kept and not judged",
            "该传感器上报的未登记车牌过多；仅保存，不判定",
        ),
        Reason::TooManyDevices => {
            said("this device is in no registry, and too many such report", "设备未登记，且未登记设备过多")
        }
        _ => None,
    }
}

/// A device as heard since the process started: last report, outcomes, odd fields, clock, problems
#[utoipa::path(
    get, path = "/api/v1/devices/{id}", tag = "devices",
    params(("id" = String, Path, description = "Device id as reported")),
    responses(
        (status = 200, body = DeviceShown),
        (status = 404, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn one(State(app): State<App>, Id(id): Id, params: Params) -> Result<Json<DeviceShown>, Problem> {
    params.finish()?;
    let id = plate::device_id(&id).into_owned();
    let registry = Arc::clone(&app.state.registry.borrow());
    let now = (app.state.now)();
    let vehicle_id = registry.vehicle_by_device(&id, now).map(|vehicle| vehicle.vehicle_id.clone());
    let registered = registry.device_is_registered(&id);
    let heard = app.state.devices.lock().senders.get(&Sender::Device(id.as_str().into())).cloned();
    if heard.is_none() && !registered {
        return Err(Problem::not_found("device", &id));
    }
    let heard_at = heard.as_ref().map(|heard| heard.heard_at);
    let Heard { last, outcomes, odd, problems, .. } = heard.unwrap_or_default();
    let skewed = last.as_ref().filter(|last| last.reason == Reason::ClockSkew.as_str());
    let clock_fault = skewed.map(|last| clock_fault(last.clock_offset_s, last.report.device_time));
    let outcomes = outcomes.into_iter().map(|((outcome, reason), count)| OutcomeCount {
        outcome: outcome.as_str().to_owned(),
        reason: reason.as_str().to_owned(),
        count,
    });
    Ok(Json(DeviceShown {
        device_id: id,
        registered,
        vehicle_id,
        heard_at,
        clock_offset_s: last.as_ref().map(|last| last.clock_offset_s),
        clock_fault,
        last_report: last,
        outcomes: outcomes.collect(),
        odd_fields: odd,
        last_problems: problems.into_iter().rev().collect(),
    }))
}

/// Messages that could not be read, since the process started: the newest first
#[utoipa::path(
    get, path = "/api/v1/dead-letters", tag = "devices",
    params(
        ("device" = Option<String>, Query, description = "Only those of this device"),
        ("limit" = Option<u32>, Query, description = "Rows of the page, 1 to 1000; 100 when not given"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
    ),
    responses(
        (status = 200, body = DeadLetterList),
        (status = 400, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn dead_letters(State(app): State<App>, mut params: Params) -> Result<Json<DeadLetterList>, Problem> {
    let device = params.text("device").map(|id| plate::device_id(&id).into_owned());
    let limit = params.limit();
    let cursor = params.read("cursor", "the next_cursor of a page before", |text| text.parse::<u64>().ok());
    params.finish()?;
    let kept = app.state.devices.lock();
    let is_wanted = |letter: &&Letter| {
        cursor.is_none_or(|cursor| letter.number < cursor)
            && device.as_deref().is_none_or(|device| letter.device_id.as_deref() == Some(device))
    };
    let mut found = kept.letters.iter().rev().filter(is_wanted);
    let dead_letters: Vec<Letter> = found.by_ref().take(limit).cloned().collect();
    let has_more = found.next().is_some();
    let next_cursor = dead_letters.last().filter(|_| has_more).map(|letter| letter.number.to_string());
    Ok(Json(DeadLetterList { dead_letters, next_cursor, total: kept.next }))
}
