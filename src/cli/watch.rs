//! `muckwatch rules watch`: one rule over a file, line by line, for whoever writes it. Judged by the engine itself, looked at from
//! outside.

use std::{fmt::Write as _, path::PathBuf, process::ExitCode};

use anyhow::{Context, bail, ensure};
use rustc_hash::FxHashMap;

use super::{
    args::Sources,
    front::Front,
    input::is_standard_input,
    ledger::table,
    replay::{Records, reference},
};
use crate::{
    alerts::{Hold, Phase},
    engine::{Finding, Found, Look, Watcher, watch},
    model::{Column, Facts, Text, Time, Timing, Transition, Value, Verdict, Zone, counted, plate},
    rules::{Part, Parts, Rule, RuleSet},
};

#[derive(clap::Args)]
pub struct WatchArgs {
    /// The rule to watch, by its id
    rule: String,
    #[command(flatten)]
    sources: Sources,
    /// Folder of rule files; all of them judge, one is shown
    #[arg(long, value_name = "DIR", default_value = "rules")]
    rules: PathBuf,
    /// Show only this vehicle, by plate or id
    #[arg(long, value_name = "PLATE|ID")]
    vehicle: Option<String>,
    /// A line for every row, not only where something changes
    #[arg(long)]
    all: bool,
}

/// Records that are judged together; one where somebody waits for the lines, or where those of the alerts stand among them.
const TOGETHER: usize = 512;

/// # Errors
/// When a file cannot be read, the rules or the registry are wrong, or there is no such rule.
pub fn run(args: &WatchArgs) -> anyhow::Result<ExitCode> {
    let reference = reference(&args.sources, &args.rules)?;
    let zone = args.sources.settings.load()?.zone();
    let mut tracer = Tracer::new(&reference.rules, args, zone)?;
    out!("{}", header(&tracer.rule));
    let front = Front::of(&reference).with_format(args.sources.format);
    let is_awaited = tracer.rule.tally.is_some() || args.sources.input.iter().any(|path| is_standard_input(path));
    let together = if is_awaited { 1 } else { TOGETHER };
    let records = Records::quietly(&args.sources.input, front);
    let ledger = watch::<anyhow::Error>(&reference, together, records, &mut tracer)?;
    if let (Some(vehicle), 0) = (&args.vehicle, tracer.lines) {
        say!("nothing that was judged is of a vehicle {vehicle:?}, by plate or by id");
    }
    say!("{}", table(&ledger));
    Ok(ExitCode::SUCCESS)
}

/// What the rule asks for, before the first line.
fn header(rule: &Rule) -> String {
    let one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let Timing { hold_ms, min_samples, max_gap_ms, count, clear_ms, cooldown_ms, .. } = rule.timing;
    let asked = match count {
        _ if rule.tally.is_some() => "counted over many: its alerts stand on lines of their own".to_owned(),
        Some(window) => format!("{} within {}", counted(window.at_least, "hit"), s(window.within_ms)),
        None => format!("for {}, at least {}, max_gap {}", s(hold_ms), counted(min_samples, "report"), s(max_gap_ms)),
    };
    let clear = rule.clear.as_ref().map_or_else(|| "not (when)".to_owned(), |clear| one_line(clear));
    let (when, clear_for, cooldown) = (one_line(&rule.when), s(clear_ms), s(cooldown_ms));
    format!("{}\n  when {when}\n  {asked}\n  clear when {clear}, for {clear_for}; cool-down {cooldown}", rule.id)
}

/// Milliseconds as seconds.
fn s(ms: i64) -> String {
    format!("{} s", number(ms as f64 / 1000.0))
}

/// At most three digits after the point.
fn number(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// Writes a line for each row that changes how the rule stands.
struct Tracer {
    /// The rule's place in the set.
    number: usize,
    /// Its place in the order of judging.
    turn: u32,
    rule: Rule,
    when: Parts,
    clear: Option<Parts>,
    zone: Zone,
    vehicle: Option<String>,
    all: bool,
    /// How many were written.
    lines: u64,
    /// By vehicle, what was told last.
    told: FxHashMap<Text, Told>,
}

/// The values of a key but for the vehicle, and how the rule stands under it.
type Standing = (Vec<Option<Text>>, Phase);

/// How the rule stood for a vehicle after a row.
#[derive(PartialEq)]
struct Told {
    verdicts: Vec<Verdict>,
    standings: Vec<Standing>,
}

impl Tracer {
    fn new(rules: &RuleSet, args: &WatchArgs, zone: Zone) -> anyhow::Result<Self> {
        let Some(number) = rules.index_of(&args.rule) else {
            let hint = rules.nearest(&args.rule).map_or_else(String::new, |near| format!("; did you mean {near}?"));
            bail!("no rule in {} is called {:?}{hint}", args.rules.display(), args.rule);
        };
        let rule = rules.rules()[number].clone();
        ensure!(rule.enabled, "{} is not enabled, so it judges nothing", rule.id);
        let turn = rules.order().iter().position(|place| *place as usize == number).unwrap_or_default() as u32;
        let parts =
            |predicate: &Text| Parts::of(predicate).with_context(|| format!("failed to take {} apart", rule.id));
        Ok(Self {
            number,
            turn,
            // What counts alerts asks no rows.
            when: if rule.tally.as_ref().is_some_and(|tally| tally.over.is_some()) {
                Parts::default()
            } else {
                parts(&rule.when)?
            },
            clear: rule.clear.as_ref().map(parts).transpose()?,
            rule,
            zone,
            vehicle: args.vehicle.clone(),
            all: args.all,
            lines: 0,
            told: FxHashMap::default(),
        })
    }

    fn write(&mut self, line: &str) {
        self.lines += 1;
        out!("{line}");
    }

    /// The line of a row, if there is anything to tell.
    fn line(&mut self, look: &Look<'_>) -> Option<String> {
        let row = look.row;
        let is_asked = row.is_asked(self.rule.asks_timer, self.rule.asks_sighting);
        let name = row.plate.as_ref().unwrap_or(look.vehicle_id);
        let is_wanted = self
            .vehicle
            .as_deref()
            .is_none_or(|wanted| *wanted == **look.vehicle_id || plate::plate(wanted) == plate::plate(name));
        if !is_asked || !is_wanted || self.when.is_empty() {
            return None;
        }
        let at = row.judged_at(self.rule.asks_settled)?;
        let (row, when) = look.verdicts.seen(self.number, look.index, row, None);
        let parts = self.when.verdicts(row).unwrap_or_default();
        let phases = look.alerts.phases(&self.rule.id, &self.rule.timing);
        let told = Told {
            verdicts: std::iter::once(when).chain(parts.iter().copied()).collect(),
            standings: phases.map(|(key, phase)| (key.to_vec(), phase)).collect(),
        };
        let before = self.told.get(look.vehicle_id);
        if !self.all && before == Some(&told) && self.found(look).next().is_none() {
            return None;
        }
        let kind = row.row_kind.filter(|kind| *kind != "report").map_or_else(String::new, |kind| format!(" ({kind})"));
        let mut line = format!("{} {name}{kind} {:<7}", self.zone.clock(at), word(when));
        let happened = self.happened(look, before, &told, when, at);
        let stands: Vec<String> = told.standings.iter().map(|standing| self.standing(standing, at)).collect();
        let state = if stands.is_empty() { "idle".to_owned() } else { stands.join("; ") };
        for text in happened.iter().chain([&state]) {
            line.push(' ');
            line.push_str(text);
            line.push(';');
        }
        line.pop();
        tell_parts(&mut line, "", &self.when, &parts, row);
        if let Some(clear) = self.clear.as_ref().filter(|_| told.standings.iter().any(is_open)) {
            tell_parts(&mut line, "clear ", clear, &clear.verdicts(row).unwrap_or_default(), row);
        }
        self.told.insert(look.vehicle_id.clone(), told);
        Some(line)
    }

    /// What the row did to alerts and holds.
    fn happened(&self, look: &Look<'_>, before: Option<&Told>, now: &Told, when: Verdict, at: Time) -> Vec<String> {
        let mut happened = Vec::new();
        for finding in self.found(look) {
            happened.push(match &finding.what {
                Found::Change(transition) => self.changed(transition),
                Found::Hit { .. } => "HIT, counted over many".to_owned(),
                Found::Unhit(..) => "counted no longer".to_owned(),
            });
        }
        if when == Verdict::Unknown && now.verdicts[1..].iter().all(|part| *part == Verdict::True) {
            happened.push("muted".to_owned());
        }
        let inhibitors = look.alerts.inhibitors(&self.rule.inhibited_by);
        happened.extend(inhibitors.map(|rule_id| format!("inhibited by {rule_id}")));
        for (key, hold) in before.into_iter().flat_map(|told| &told.standings).filter_map(holding) {
            let current = now.standings.iter().find(|(other, _)| other == key);
            let current_hold = current.and_then(holding).map(|(_, hold)| hold);
            let gap_ms = at.ms_since(hold.last_true_at);
            match current_hold {
                Some(current) if current.started_at != hold.started_at => {
                    let max_gap = s(self.rule.timing.max_gap_ms);
                    happened.push(format!("hold begun anew: {} since the last true, max_gap is {max_gap}", s(gap_ms)));
                }
                None if when == Verdict::False => happened.push("hold broken by false".to_owned()),
                _ => {}
            }
        }
        happened
    }

    /// What the row changed by this rule.
    fn found<'l>(&self, look: &Look<'l>) -> impl Iterator<Item = &'l Finding> + use<'l> {
        let turn = self.turn;
        look.findings.iter().filter(move |finding| finding.turn == turn)
    }

    fn changed(&self, transition: &Transition) -> String {
        let alert = transition.alert();
        let other = Some(&alert.rule_id).filter(|id| **id != self.rule.id);
        match (transition, other) {
            (Transition::Opened(_), _) => format!("FIRES as {}: {}", alert.severity, alert.message),
            (Transition::Raised(_), Some(other)) => format!("JOINS the alert of {other}, {}", alert.severity),
            (Transition::Raised(_), None) => format!("RAISED to {}", alert.severity),
            (Transition::Cleared(_), Some(other)) => format!("CLEARED, and the alert of {other} with it"),
            (Transition::Cleared(_), None) => "CLEARED".to_owned(),
            (Transition::Revised(_), _) => "REVISED by what came late".to_owned(),
            (Transition::Withdrawn(_), _) => "WITHDRAWN".to_owned(),
        }
    }

    fn standing(&self, (key, phase): &Standing, at: Time) -> String {
        let own = self.rule.key.iter().filter(|column| column.name() != "vehicle_id");
        let mut text: String = own
            .zip(key)
            .map(|(column, value)| format!("[{}={}] ", column.name(), value.as_deref().unwrap_or("null")))
            .collect();
        let clock = |at: Time| self.zone.clock(at);
        let progress = match *phase {
            Phase::Open { fired_at, severity, clearing } => {
                let clearing =
                    clearing.map(|hold| format!(", clearing: {}", held(&hold, self.rule.timing.clear_ms, 1)));
                format!("open since {} as {severity}{}", clock(fired_at), clearing.unwrap_or_default())
            }
            Phase::Closed { hold: Some(hold), .. } => {
                held(&hold, self.rule.timing.hold_ms, self.rule.timing.min_samples)
            }
            Phase::Closed { hits, .. } if hits > 0 => match self.rule.timing.count {
                Some(window) => format!("{hits} of {} hits within {}", window.at_least, s(window.within_ms)),
                None => String::new(),
            },
            Phase::Closed { .. } => String::new(),
        };
        let cooling = match *phase {
            Phase::Closed { cools_until: Some(until), .. } if until > at => {
                format!("cooling down until {}", clock(until))
            }
            _ => String::new(),
        };
        text.push_str(
            &[progress, cooling].iter().filter(|text| !text.is_empty()).cloned().collect::<Vec<_>>().join(", "),
        );
        if text.is_empty() { "idle".to_owned() } else { text }
    }
}

impl Watcher for Tracer {
    fn row(&mut self, look: &Look<'_>) {
        if let Some(line) = self.line(look) {
            self.write(&line);
        }
    }

    /// Alerts about many are nobody's row.
    fn told(&mut self, transition: &Transition) {
        let alert = transition.alert();
        if alert.rule_id == self.rule.id && self.rule.tally.is_some() && self.vehicle.is_none() {
            let at = alert.cleared_at.unwrap_or(alert.fired_at);
            self.write(&format!("{} {}", self.zone.clock(at), self.changed(transition)));
        }
    }
}

fn is_open((_, phase): &Standing) -> bool {
    matches!(phase, Phase::Open { .. })
}

fn holding((key, phase): &Standing) -> Option<(&Vec<Option<Text>>, Hold)> {
    match phase {
        Phase::Closed { hold: Some(hold), .. } => Some((key, *hold)),
        _ => None,
    }
}

fn held(hold: &Hold, wanted_ms: i64, wanted_samples: u32) -> String {
    let mut text = format!("held for {} of {}", number(hold.held_ms as f64 / 1000.0), s(wanted_ms));
    if wanted_samples > 1 {
        _ = write!(text, ", {} of {wanted_samples} samples", hold.samples);
    }
    if hold.interrupted {
        text.push_str(", clock stopped by unknown");
    }
    text
}

const fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::True => "true",
        Verdict::False => "false",
        Verdict::Unknown => "unknown",
    }
}

/// Each part with its verdict and the values that it reads.
fn tell_parts(line: &mut String, prefix: &str, parts: &Parts, verdicts: &[Verdict], row: &Facts) {
    for (Part { text, columns }, verdict) in parts.iter().zip(verdicts) {
        let values: Vec<String> =
            columns.iter().map(|column| format!("{}={}", column.name(), value(row, *column))).collect();
        _ = write!(line, " | {prefix}{}: {text} ({})", word(*verdict), values.join(", "));
    }
}

fn value(row: &Facts, column: Column) -> String {
    match row.value(column) {
        Value::Float(float) => number(float).to_string(),
        Value::Text(text) => text.to_owned(),
        other => other.to_json().to_string(),
    }
}
