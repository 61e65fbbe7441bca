//! Why an order stands where it stands, in words.

use super::queue::Case;
use crate::model::{Finding, Language, Order, PassedOver, Text, UnitKind, counted};

/// How many units were passed over for each reason, in the order of [`PassedOver::ALL`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Passed(pub [usize; PassedOver::ALL.len()]);

/// Why an order is as it is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Because {
    /// For the list only ...
    History,
    OnlyLate,
    Notice,
    HadEnded,
    /// ... since it was so many minutes old.
    Old(i64),
    /// ... since so many orders about one vehicle within an hour are enough.
    Enough(u32),
    /// ... since so many of its rule by one sensor, or about trucks in no register, within an hour are enough.
    EnoughOfSensor(u32, Text),
    EnoughUnregistered(u32),
    EndedUntaken,
    Withdrawn,
    /// A unit was found: so many metres away, or in the alert's district.
    Nearest(Text, f64, Passed),
    InDistrict(Text, Text, Passed),
    NobodyNow(Passed),
    /// Left to the department ...
    QueueFull,
    Displaced,
    NobodyInTime,
    AskedInVain(u32),
    NoPlace,
    NobodyRegistered(Option<UnitKind>, Passed),
    AllAsked(Passed),
    /// A unit gave a verdict, or another one.
    Closed(Text, Finding),
    Corrected(Text, Finding),
}

impl Because {
    /// Why nobody who is registered can be sent to a case, for this choice and any other.
    pub fn hopeless(case: &Case, passed: Passed) -> Self {
        if case.offers.is_empty() { Self::NobodyRegistered(case.order.kind, passed) } else { Self::AllAsked(passed) }
    }

    /// Of a unit that was found for an order, or not.
    pub fn of_choice(chosen: Option<&(Text, Option<f64>)>, order: &Order, passed: Passed) -> Self {
        match chosen {
            Some((unit_id, Some(distance_m))) => Self::Nearest(unit_id.clone(), *distance_m, passed),
            Some((unit_id, None)) => {
                let district = order.district_id.clone().unwrap_or_else(|| Text::from(""));
                Self::InDistrict(unit_id.clone(), district, passed)
            }
            None => Self::NobodyNow(passed),
        }
    }

    pub fn in_words(&self, language: Language) -> String {
        match language {
            Language::Zh => self.in_chinese(),
            Language::En => self.in_english(),
        }
    }

    fn in_english(&self) -> String {
        let passed = |passed: &Passed| passed.in_words(Language::En);
        let listed = |why: &str| format!("for the list: {why}");
        let left = |why: &str| format!("left to the department: {why}");
        match self {
            Self::History => listed("it was in the history that this began with"),
            Self::OnlyLate => listed("only late data showed it"),
            Self::Notice => listed("a notice"),
            Self::HadEnded => listed("it had ended when it became known"),
            Self::Old(minutes) => listed(&format!("it was {minutes} min old when it became known")),
            Self::Enough(most) => listed(&format!("{most} orders about this vehicle within an hour are enough")),
            Self::EnoughOfSensor(most, sensor) => {
                listed(&format!("{most} orders of this rule by sensor {sensor} within an hour are enough"))
            }
            Self::EnoughUnregistered(most) => {
                listed(&format!("{most} orders of this rule about trucks in no register within an hour are enough"))
            }
            Self::EndedUntaken => listed("its alert ended before anybody took it"),
            Self::Withdrawn => "its alert was withdrawn".to_owned(),
            Self::Nearest(unit, m, by) => {
                format!("{unit} is the nearest that can be sent, {m:.0} m away{}", passed(by))
            }
            Self::InDistrict(unit, district, by) => {
                format!("{unit} can be sent and works in {district}; the alert's position is unknown{}", passed(by))
            }
            Self::NobodyNow(by) => format!("no unit can be sent now{}", passed(by)),
            Self::QueueFull => left("the dispatch queue is full"),
            Self::Displaced => left("the dispatch queue is full, and a graver alert took its place"),
            Self::NobodyInTime => left("no unit was free in time"),
            Self::AskedInVain(asked) => left(&format!("{} asked in vain", counted(*asked, "unit"))),
            Self::NoPlace => left("neither the position nor the district of the alert is known"),
            Self::NobodyRegistered(kind, by) => {
                let kind = kind.map_or("unit", UnitKind::as_str);
                left(&format!("no {kind} unit of its departments is registered{}", passed(by)))
            }
            Self::AllAsked(by) => left(&format!("every unit that may be asked was asked{}", passed(by))),
            Self::Closed(unit, verdict) => format!("{unit} closed it: {}", verdict.as_str().replace('_', " ")),
            Self::Corrected(unit, verdict) => format!("{unit} corrected it: {}", verdict.as_str().replace('_', " ")),
        }
    }

    fn in_chinese(&self) -> String {
        let passed = |passed: &Passed| passed.in_words(Language::Zh);
        let listed = |why: &str| format!("仅列入清单：{why}");
        let left = |why: &str| format!("转交部门：{why}");
        match self {
            Self::History => listed("属于启动时已有的历史数据"),
            Self::OnlyLate => listed("仅由迟到数据发现"),
            Self::Notice => listed("提示级"),
            Self::HadEnded => listed("得知时已结束"),
            Self::Old(minutes) => listed(&format!("得知时已过 {minutes} 分钟")),
            Self::Enough(most) => listed(&format!("该车一小时内已有 {most} 条派单")),
            Self::EnoughOfSensor(most, sensor) => {
                listed(&format!("感知设备 {sensor} 一小时内按此规则已有 {most} 条派单"))
            }
            Self::EnoughUnregistered(most) => listed(&format!("未备案车辆一小时内按此规则已有 {most} 条派单")),
            Self::EndedUntaken => listed("无人受理前告警已结束"),
            Self::Withdrawn => "告警已撤回".to_owned(),
            Self::Nearest(unit, m, by) => format!("{unit} 是可派单元中最近的，相距 {m:.0} 米{}", passed(by)),
            Self::InDistrict(unit, district, by) => {
                format!("{unit} 可派，负责 {district}；告警位置未知{}", passed(by))
            }
            Self::NobodyNow(by) => format!("目前没有可派单元{}", passed(by)),
            Self::QueueFull => left("派单队列已满"),
            Self::Displaced => left("派单队列已满，已让位于更严重的告警"),
            Self::NobodyInTime => left("时限内没有空闲单元"),
            Self::AskedInVain(asked) => left(&format!("已询问 {asked} 个单元，均未受理")),
            Self::NoPlace => left("告警的位置和辖区均未知"),
            Self::NobodyRegistered(kind, by) => {
                let kind = match kind {
                    Some(UnitKind::Grid) => "网格",
                    Some(UnitKind::Squad) => "执法",
                    None => "",
                };
                left(&format!("相关部门没有登记{kind}单元{}", passed(by)))
            }
            Self::AllAsked(by) => left(&format!("可询问的单元均已询问{}", passed(by))),
            Self::Closed(unit, verdict) => format!("{unit} 已办结：{}", finding(*verdict)),
            Self::Corrected(unit, verdict) => format!("{unit} 更正为：{}", finding(*verdict)),
        }
    }
}

fn finding(verdict: Finding) -> &'static str {
    match verdict {
        Finding::Confirmed => "属实",
        Finding::FalseAlarm => "不属实",
        Finding::NotFound => "未找到",
    }
}

impl Passed {
    /// ` (passed over: 2 busy, 1 stale)`; nothing where nobody was.
    fn in_words(self, language: Language) -> String {
        let counts = PassedOver::ALL.iter().zip(self.0).filter(|(_, count)| *count > 0);
        let words: Vec<String> = counts
            .map(|(reason, count)| match language {
                Language::Zh => format!("{} {count}", in_chinese(*reason)),
                Language::En => format!("{count} {}", reason.as_str().replace('_', " ")),
            })
            .collect();
        match (words.is_empty(), language) {
            (true, _) => String::new(),
            (_, Language::Zh) => format!("（未选：{}）", words.join("，")),
            (_, Language::En) => format!(" (passed over: {})", words.join(", ")),
        }
    }
}

fn in_chinese(reason: PassedOver) -> &'static str {
    match reason {
        PassedOver::Stale => "位置过旧",
        PassedOver::Busy => "忙碌",
        PassedOver::Off => "下班",
        PassedOver::OtherDepartment => "其他部门",
        PassedOver::OtherKind => "其他类型",
        PassedOver::OtherDistrict => "其他辖区",
        PassedOver::Declined => "已拒绝",
        PassedOver::Silent => "未答复",
        PassedOver::Holding => "已有派单",
        PassedOver::Unregistered => "未登记",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_said_in_both_languages() {
        let mut passed = Passed::default();
        passed.0[PassedOver::Busy as usize] = 2;
        passed.0[PassedOver::Stale as usize] = 1;
        let unit = || Text::from("U1");
        for (because, en, zh) in [
            (
                Because::Old(75),
                "for the list: it was 75 min old when it became known",
                "仅列入清单：得知时已过 75 分钟",
            ),
            (
                Because::Nearest(unit(), 640.4, passed),
                "U1 is the nearest that can be sent, 640 m away (passed over: 1 stale, 2 busy)",
                "U1 是可派单元中最近的，相距 640 米（未选：位置过旧 1，忙碌 2）",
            ),
            (Because::NobodyNow(Passed::default()), "no unit can be sent now", "目前没有可派单元"),
            (
                Because::AskedInVain(1),
                "left to the department: 1 unit asked in vain",
                "转交部门：已询问 1 个单元，均未受理",
            ),
            (
                Because::NobodyRegistered(Some(UnitKind::Squad), Passed::default()),
                "left to the department: no squad unit of its departments is registered",
                "转交部门：相关部门没有登记执法单元",
            ),
            (Because::Closed(unit(), Finding::FalseAlarm), "U1 closed it: false alarm", "U1 已办结：不属实"),
        ] {
            assert_eq!((because.in_words(Language::En).as_str(), because.in_words(Language::Zh).as_str()), (en, zh));
        }
    }
}
