//! Message templates: `{plate} {speed_kmh:.0} km/h on {road_name}`.

use std::fmt::Write;

use super::{errors::nearest, zones::ZonesMeant};
use crate::model::{Column, ColumnSet, Facts, Kind, Language, LocalText, Named, Names, Time, Value};

/// A message with holes for columns. What is unknown is said in words, lists are joined by commas, `{{` and `}}` are braces.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Template {
    parts: Vec<Part>,
    /// In which unknown values and known words are said.
    language: Language,
}

/// A rule's message in each language.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Templates {
    pub zh: Template,
    pub en: Template,
}

impl Templates {
    /// The columns that they show.
    pub fn columns(&self) -> ColumnSet {
        self.zh.columns().union(self.en.columns())
    }

    /// The messages for a row.
    pub fn fill(&self, row: &Facts, zones: &ZonesMeant, names: &dyn Names) -> LocalText {
        LocalText { zh: self.zh.fill(row, zones, names), en: self.en.fill(row, zones, names) }
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Text(String),
    Column { column: Column, decimals: Option<u8> },
}

/// What is wrong with a template, at which byte of it.
#[derive(Debug, PartialEq)]
pub(super) struct TemplateProblem {
    pub offset: usize,
    pub message: String,
    pub hint: Option<String>,
}

/// Most digits after the point that a format may ask.
const MOST_DECIMALS: u8 = 9;

impl Template {
    /// What a rule without a message says: the plate and the rule's name.
    pub fn plate_and(name: &str, language: Language) -> Self {
        let plate = Column::named("plate").map(|column| Part::Column { column, decimals: None });
        Self { parts: plate.into_iter().chain([Part::Text(format!(" {name}"))]).collect(), language }
    }

    /// Reads a template; of one text for all languages, Chinese characters tell that it is Chinese.
    ///
    /// # Errors
    /// Every hole that can't be filled.
    pub fn parse(text: &str, language: Option<Language>) -> Result<Self, Vec<TemplateProblem>> {
        let is_chinese = text.chars().any(|c| ('\u{4e00}'..='\u{9fff}').contains(&c));
        let language = language.unwrap_or(if is_chinese { Language::Zh } else { Language::En });
        let (mut parts, mut problems) = (Vec::new(), Vec::new());
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let offset = text.len() - rest.len() + at;
            push_text(&mut parts, &rest[..at]);
            let brace = &rest[at..];
            rest = if brace.starts_with("{{") || brace.starts_with("}}") {
                push_text(&mut parts, &brace[..1]);
                &brace[2..]
            } else if let Some(end) = brace.find('}').filter(|end| *end > 0) {
                match hole(&brace[1..end], offset + 1) {
                    Ok(part) => parts.push(part),
                    Err(problem) => problems.push(problem),
                }
                &brace[end + 1..]
            } else {
                problems.push(lone_brace(brace, offset));
                &brace[1..]
            };
        }
        push_text(&mut parts, rest);
        if problems.is_empty() { Ok(Self { parts, language }) } else { Err(problems) }
    }

    /// The columns it shows.
    pub fn columns(&self) -> ColumnSet {
        self.parts
            .iter()
            .filter_map(|part| match part {
                Part::Column { column, .. } => Some(*column),
                Part::Text(_) => None,
            })
            .collect()
    }

    /// The message for a row.
    fn fill(&self, row: &Facts, zones: &ZonesMeant, names: &dyn Names) -> String {
        let mut message = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => message.push_str(text),
                Part::Column { column, decimals } => match named(*column) {
                    Some(what) => self.show_names(&mut message, *column, what, row, zones, names),
                    None => show(&mut message, *column, row.value(*column), *decimals, self.language),
                },
            }
        }
        message
    }

    /// Shows ids by name. No id at all is unknown.
    fn show_names(
        &self,
        message: &mut String,
        column: Column,
        what: Named,
        row: &Facts,
        zones: &ZonesMeant,
        names: &dyn Names,
    ) {
        let at = row.event_time.unwrap_or_default();
        match row.value(column) {
            Value::Text(id) if !id.is_empty() => message.push_str(name(what, id, at, names)),
            Value::TextList(ids) if !ids.is_empty() => {
                let meant = zones.among(ids, row, names).into_iter().map(|id| name(what, id, at, names));
                let meant: Vec<&str> = meant.collect();
                message.push_str(if meant.is_empty() { none(self.language) } else { "" });
                message.push_str(&meant.join(if self.language == Language::Zh { "、" } else { ", " }));
            }
            Value::TextList(_) => message.push_str(none(self.language)),
            _ => message.push_str(unknown(column, self.language)),
        }
    }
}

/// What the ids in a column are ids of, if that has names.
fn named(column: Column) -> Option<Named> {
    Some(match column.name() {
        "company_id" => Named::Company,
        "driver_id" | "manifest_driver_id" => Named::Driver,
        "place_id" | "last_place_id" | "trip_source_id" | "sighting_place_id" => Named::Place,
        "zone_id" | "zone_ids" | "zones_crossed" => Named::Zone,
        "district_id" => Named::District,
        "route_id" => Named::Route,
        "road_id" | "settled_road_id" => Named::Road,
        _ => return None,
    })
}

/// The name of what has this id, or the id.
fn name<'a>(what: Named, id: &'a str, at: Time, names: &'a dyn Names) -> &'a str {
    names.name(what, id, at).unwrap_or(id)
}

fn lone_brace(brace: &str, offset: usize) -> TemplateProblem {
    let (message, hint) = if brace.starts_with('{') {
        ("`{` is not closed", "write `{column}`, or `{{` for a brace")
    } else {
        ("`}` closes nothing", "write `}}` for a brace")
    };
    TemplateProblem { offset, message: message.into(), hint: Some(hint.into()) }
}

fn push_text(parts: &mut Vec<Part>, text: &str) {
    match parts.last_mut() {
        Some(Part::Text(last)) => last.push_str(text),
        _ if text.is_empty() => {}
        _ => parts.push(Part::Text(text.to_owned())),
    }
}

/// `speed_kmh` or `speed_kmh:.0`.
fn hole(inside: &str, offset: usize) -> Result<Part, TemplateProblem> {
    let (name, format) = inside.split_once(':').map_or((inside, None), |(name, format)| (name, Some(format)));
    let Some(column) = Column::named(name.trim()) else {
        let hint = nearest(name.trim(), Column::all().map(Column::name)).map(|near| format!("did you mean `{near}`?"));
        return Err(TemplateProblem { offset, message: format!("unknown column `{name}` in the message"), hint });
    };
    let Some(format) = format else { return Ok(Part::Column { column, decimals: None }) };
    let format_offset = offset + name.len() + 1;
    let decimals = format.strip_prefix('.').and_then(|digits| digits.parse().ok()).filter(|n| *n <= MOST_DECIMALS);
    if decimals.is_none() {
        let message = format!("unknown format `{format}` in the message");
        let hint = format!("`.0` to `.{MOST_DECIMALS}` give that many digits after the point");
        return Err(TemplateProblem { offset: format_offset, message, hint: Some(hint) });
    }
    if !matches!(column.spec().kind, Kind::Float | Kind::Int) {
        let message = format!("`{name}` is no number and takes no format");
        return Err(TemplateProblem { offset: format_offset, message, hint: Some(format!("write `{{{name}}}`")) });
    }
    Ok(Part::Column { column, decimals })
}

/// What is said of a column of which nothing is known.
fn unknown(column: Column, language: Language) -> &'static str {
    let (zh, en) = match column.name() {
        "road_name" | "settled_road_name" => ("无名道路", "a road without a name"),
        "permit_id" | "manifest_id" | "route_id" | "place_id" | "place_kind" => return none(language),
        _ => ("未知", "unknown"),
    };
    if language == Language::Zh { zh } else { en }
}

/// What is said where there is nothing.
fn none(language: Language) -> &'static str {
    if language == Language::Zh { "无" } else { "none" }
}

/// A word of a column that holds known words, in Chinese.
fn in_chinese(column: Column, word: &str) -> Option<&'static str> {
    Some(match (column.name(), word) {
        ("permit_status", "valid") => "有效",
        ("permit_status", "expired") => "已过期",
        ("permit_status", "not_yet") => "未生效",
        ("permit_status", "none") => "无",
        ("permit_status" | "vehicle_status", "suspended") => "已暂停",
        ("permit_status", "revoked") => "已吊销",
        ("vehicle_status", "active") => "正常",
        ("vehicle_status", "maintenance") => "维修",
        ("vehicle_status", "banned") => "禁运",
        ("vehicle_status", "unregistered") => "未备案",
        ("antenna" | "power", "ok") => "正常",
        ("antenna", "open") => "开路",
        ("antenna", "short") => "短路",
        ("antenna", "fault") => "故障",
        ("power", "low") => "电压低",
        ("power", "lost") => "断电",
        ("place_status", "open") => "营业",
        ("place_status", "closed") => "停业",
        ("place_status", "full") => "已满",
        ("place_kind", "source") => "工地",
        ("place_kind", "sink") => "消纳场",
        ("place_kind", "backfill") => "回填点",
        ("place_kind", "transfer") => "中转站",
        ("place_kind", "depot") => "停车场",
        ("place_kind", "workshop") => "维修厂",
        ("zone_kind", "forbidden") => "禁行区",
        ("zone_kind", "restricted") => "限行区",
        ("zone_kind", "speed") => "限速区",
        ("zone_kind", "control") => "管控区",
        ("zone_kind", "water") => "水域保护区",
        ("zone_kind", "eco") => "生态保护区",
        ("zone_kind", "operating_area") => "作业区域",
        ("clock_fault", "time_zone") => "时区错误",
        ("clock_fault", "week_rollover") => "GPS 周数翻转",
        ("clock_fault", "never_set") => "从未校时",
        ("clock_fault", "wrong") => "时间错误",
        ("events", "fatigue") => "疲劳驾驶",
        ("events", "phone") => "打电话",
        ("events", "smoking") => "抽烟",
        ("events", "distracted") => "分心驾驶",
        ("events", "driver_absent") => "驾驶位无人",
        ("events", "driver_change") => "更换驾驶员",
        ("events", "seat_belt") => "未系安全带",
        ("events", "lens_covered") => "镜头遮挡",
        ("events", "forward_collision") => "前车碰撞预警",
        ("events", "lane_departure") => "车道偏离",
        ("events", "headway") => "车距过近",
        ("events", "pedestrian") => "行人碰撞预警",
        ("events", "blind_spot_right") => "右侧盲区有人",
        ("events", "blind_spot_left") => "左侧盲区有人",
        ("events", "harsh_brake") => "急刹车",
        ("events", "harsh_turn") => "急转弯",
        ("events", "harsh_acceleration") => "急加速",
        ("events", "spill") => "撒漏",
        _ => return None,
    })
}

fn show(message: &mut String, column: Column, value: Value<'_>, decimals: Option<u8>, language: Language) {
    let is_chinese = language == Language::Zh;
    let word = |text| Some(text).filter(|_| is_chinese).and_then(|text| in_chinese(column, text));
    let written = match (value, decimals) {
        (Value::Null, _) => message.write_str(unknown(column, language)),
        (Value::TextList([]), _) => message.write_str(none(language)),
        (Value::Float(number), _) if !number.is_finite() => message.write_str(unknown(column, language)),
        (Value::Float(number), Some(decimals)) => write!(message, "{:.*}", usize::from(decimals), number + 0.0),
        (Value::Float(number), None) => write!(message, "{number}"),
        (Value::Int(number), Some(decimals)) => write!(message, "{:.*}", usize::from(decimals), number as f64),
        (Value::Int(number), None) => write!(message, "{number}"),
        (Value::Text(text), _) => message.write_str(word(text).unwrap_or(text)),
        (Value::Flag(flag), _) if is_chinese => message.write_str(if flag { "是" } else { "否" }),
        (Value::Flag(flag), _) => write!(message, "{flag}"),
        (Value::Time(time), _) => write!(message, "{time}"),
        (Value::TextList(list), _) => {
            let words: Vec<&str> = list.iter().map(|text| word(text).unwrap_or(text)).collect();
            message.write_str(&words.join(if is_chinese { "、" } else { ", " }))
        }
    };
    debug_assert!(written.is_ok(), "writing to a string does not fail");
}
