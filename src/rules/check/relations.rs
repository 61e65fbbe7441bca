//! What ties a rule to others: incidents, inhibition, counting over many, and where all are muted.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Entry, FileCheck, Found, Node, NodeValue, Position, Rule, Templates, Terms, Written, digest, find, nearest,
};
use crate::model::{Column, Incident, Period, Tally, Text, Window, limits};

/// A rule's id as another rule writes it.
pub(super) struct Named {
    id: String,
    at: Position,
    /// Whether it inhibits the rule that names it.
    inhibits: bool,
}

/// Columns that an alert carries: all that a rule over alerts can be keyed by or show.
const OF_ALERTS: &[&str] = &[
    "vehicle_id",
    "plate",
    "company_id",
    "driver_id",
    "permit_id",
    "manifest_id",
    "trip_id",
    "place_id",
    "district_id",
    "road_id",
    "lat",
    "lon",
    "event_time",
];

const TALLY_HINT: &str = "write `count: { vehicles: 3, within: 1d }` or `count: { at_least: 3, per: year }`";

/// Every rule that this one names.
pub(super) fn named(entries: &[Entry]) -> Vec<Named> {
    let words = |key: &str, inhibits: bool| {
        let one = move |node: &Node, id: &str| Named { id: id.to_owned(), at: node.at, inhibits };
        match find(entries, key).map(|node| &node.value) {
            Some(NodeValue::List(items)) => items
                .iter()
                .filter_map(|node| if let NodeValue::Text(id) = &node.value { Some(one(node, id)) } else { None })
                .collect(),
            Some(NodeValue::Map(points)) => {
                points.iter().map(|entry| Named { id: entry.key.clone(), at: entry.key_at, inhibits }).collect()
            }
            _ => Vec::new(),
        }
    };
    let mut all: Vec<Named> = words("inhibited_by", true);
    all.extend(words("over", false));
    all
}

/// The rules that inhibit this one.
pub(super) fn inhibitors(entries: &[Entry]) -> Vec<Text> {
    named(entries).into_iter().filter(|named| named.inhibits).map(|named| Text::from(named.id)).collect()
}

/// What a rule over alerts shows as its predicate.
pub(super) fn counted(tally: &Tally) -> Option<Text> {
    let over = tally.over.as_ref()?;
    let rules: Vec<String> = over.keys().map(|id| format!("'{id}'")).collect();
    Some(format!("rule_id in ({})", rules.join(", ")).into())
}

/// Mutes a rule by every predicate of `mutes`.
pub(super) fn mute(rule: &mut Rule, terms: &mut Terms, mutes: &[Written]) {
    for mute in mutes {
        terms.when.mute(&mute.predicate);
    }
    if !mutes.is_empty() {
        let texts = mutes.iter().map(|mute| mute.text.as_str());
        rule.version = digest([&*rule.version].into_iter().chain(texts)).into();
    }
}

/// Keeps what shadow rules find from changing what people see: they inhibit, and share incidents with, one another alone.
/// What is in force inhibits them all the same, as it will when they are.
pub(in crate::rules) fn set_shadows_apart(rules: &mut [Rule]) {
    let shadows: BTreeSet<Text> = rules.iter().filter(|rule| rule.shadow).map(|rule| rule.id.clone()).collect();
    for rule in rules {
        if !rule.shadow {
            rule.inhibited_by.retain(|id| !shadows.contains(id));
        } else if let Some(incident) = &mut rule.incident {
            incident.name = format!("{} (shadow)", incident.name).into();
        }
    }
}

impl Found<'_> {
    /// Rules that are named must exist, count nothing themselves where alerts are counted, and not inhibit each other in a ring.
    pub(super) fn names(&mut self) {
        let ids: Vec<Text> = self.drafts.iter().filter_map(|draft| Some(draft.id.as_ref()?.0.clone())).collect();
        let mut by: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for draft in &self.drafts {
            let Some((id, _)) = &draft.id else { continue };
            let inhibitors = draft.named.iter().filter(|named| named.inhibits).map(|named| named.id.as_str());
            by.insert(id, inhibitors.collect());
        }
        let shadows: BTreeSet<&str> = self
            .drafts
            .iter()
            .filter(|draft| draft.is_shadow)
            .filter_map(|draft| Some(&*draft.id.as_ref()?.0))
            .collect();
        for draft in &self.drafts {
            let Some((id, _)) = &draft.id else { continue };
            let mut counted = draft.named.iter().filter(|named| !named.inhibits);
            let counts_none = !self.is_kept && counted.all(|named| shadows.contains(&*named.id));
            for named in &draft.named {
                let (message, hint) = if !ids.iter().any(|known| **known == *named.id) {
                    let near = nearest(&named.id, ids.iter().map(|id| &**id));
                    (format!("there is no rule `{}`", named.id), near.map(|near| format!("did you mean `{near}`?")))
                } else if named.inhibits && reaches(&by, &named.id, id) {
                    let hint = "what inhibits must not be inhibited in turn".to_owned();
                    (format!("`{id}` and `{}` inhibit each other", named.id), Some(hint))
                } else if !named.inhibits && *named.id == **id {
                    (format!("`{id}` counts itself"), None)
                } else if !named.inhibits && counts_none {
                    let hint = "take off its `shadow`, or leave this rule out until then".to_owned();
                    (format!("`{}` is a shadow rule: its alerts are never counted", named.id), Some(hint))
                } else {
                    continue;
                };
                self.problems.push(draft.source.problem(named.at, message, hint));
            }
        }
    }
}

/// Whether `from` is, by way of what inhibits it, inhibited by `to`.
fn reaches<'a>(by: &BTreeMap<&'a str, Vec<&'a str>>, from: &'a str, to: &str) -> bool {
    let (mut seen, mut todo) = (BTreeSet::new(), vec![from]);
    while let Some(id) = todo.pop() {
        if id == to {
            return true;
        }
        if seen.insert(id) {
            todo.extend(by.get(id).into_iter().flatten());
        }
    }
    false
}

impl FileCheck<'_, '_> {
    /// `mute:` a list of predicates, each with the reason.
    pub(super) fn mutes(&mut self, root: &Node, mutes: &mut Vec<Written>) {
        let NodeValue::Map(entries) = &root.value else { return };
        let Some(node) = find(entries, "mute") else { return };
        for item in self.list(node, "`mute`").unwrap_or_default() {
            let NodeValue::Map(fields) = &item.value else {
                let hint = "write `- { reason: in repair, when: vehicle_status = 'maintenance' }`";
                self.say(item.at, format!("expected `reason` and `when`, found {}", item.kind()), Some(hint.into()));
                continue;
            };
            self.known_keys(fields, &["reason", "when"], &[("name", "reason")], "a mute");
            self.optional_text(fields, "reason");
            match find(fields, "when") {
                Some(node) => {
                    let written = self.predicate(node);
                    let asked = written.as_ref().map(|written| written.predicate.columns).unwrap_or_default();
                    self.asks_no_zone(node.at, asked);
                    mutes.extend(written);
                }
                None => self.say(item.at, "`when` is missing", None),
            }
        }
        if mutes.len() > limits::MUTES {
            self.say(node.at, format!("more than {} mutes", limits::MUTES), None);
        }
    }

    /// `incident: name`, or with `within`.
    pub(super) fn incident(&mut self, entries: &[Entry], tallies: bool) -> Option<Incident> {
        const WITHIN_MS: i64 = 600_000;
        let node = find(entries, "incident")?;
        if tallies {
            self.say(node.at, "what is counted over many is nobody's incident", Some("leave out `incident`".into()));
        }
        let hint =
            || Some("write `incident: illegal-tipping` or `incident: { name: illegal-tipping, within: 10m }`".into());
        match &node.value {
            NodeValue::Text(name) => Some(Incident { name: name.as_str().into(), within_ms: WITHIN_MS }),
            NodeValue::Map(fields) => {
                self.known_keys(fields, &["name", "within"], &[], "`incident`");
                if find(fields, "name").is_none() {
                    self.say(node.at, "`name` is missing", hint());
                }
                let name = self.optional_text(fields, "name");
                let within_ms = self.duration(fields, "within", WITHIN_MS);
                Some(Incident { name: name?, within_ms })
            }
            _ => {
                self.say(node.at, format!("expected the incident's name, found {}", node.kind()), hint());
                None
            }
        }
    }

    /// `over:` a list of rules, or rules with their points.
    pub(super) fn over(&mut self, entries: &[Entry]) -> Option<BTreeMap<Text, u32>> {
        let node = find(entries, "over")?;
        let hint =
            || Some("write `over: [overspeed]`, or with points `over: { overspeed: 3, overload: 6 }`".to_owned());
        let over: BTreeMap<Text, u32> = match &node.value {
            NodeValue::List(items) => {
                items.iter().filter_map(|item| Some((self.text(item, "a rule's id")?.into(), 1))).collect()
            }
            NodeValue::Map(rules) => rules
                .iter()
                .filter_map(|one| Some((one.key.as_str().into(), self.count(rules, &one.key, 1, 1_000)?)))
                .collect(),
            _ => {
                self.say(node.at, format!("expected rules, found {}", node.kind()), hint());
                BTreeMap::new()
            }
        };
        if over.is_empty() {
            self.say(node.at, "no rule whose alerts are counted", hint());
        }
        Some(over)
    }

    /// The tally of a rule that counts over alerts, or whose key leaves the vehicle out.
    pub(super) fn tally(
        &mut self,
        entries: &[Entry],
        key: &[Column],
        over: Option<BTreeMap<Text, u32>>,
    ) -> Option<Tally> {
        if over.is_none()
            && (key.is_empty() && find(entries, "key").is_none() || key.iter().any(|c| c.name() == "vehicle_id"))
        {
            return None;
        }
        for name in ["for", "min_samples", "max_gap", "max_open", "clear"] {
            if let Some(node) = find(entries, name) {
                let hint = "its alert opens when the window of `count` is full and clears when it no longer is";
                self.say(
                    node.at,
                    format!("`{name}` has no meaning for a rule that counts over many"),
                    Some(hint.into()),
                );
            }
        }
        let hint = || Some(TALLY_HINT.to_owned());
        let node = find(entries, "count").or_else(|| find(entries, "over"))?;
        let Some(NodeValue::Map(fields)) = find(entries, "count").map(|node| &node.value) else {
            self.say(node.at, "`count` is missing: how many, and within what", hint());
            return None;
        };
        self.known_keys(fields, &["at_least", "vehicles", "share", "within", "per"], &[], "`count`");
        let at_least = self.count(fields, "at_least", 1, limits::TALLY_HITS as u32);
        let vehicles = self.count(fields, "vehicles", 1, limits::TALLY_HITS as u32);
        if find(fields, "at_least").is_none() && find(fields, "vehicles").is_none() {
            self.say(node.at, "`count` says not how many", hint());
        }
        let share = self.share(fields, key, over.is_some());
        Some(Tally { at_least, vehicles, share, window: self.window(fields, node)?, over })
    }

    fn share(&mut self, fields: &[Entry], key: &[Column], over: bool) -> Option<f64> {
        let node = find(fields, "share")?;
        let share = match node.value {
            NodeValue::Int(number) => Some(number as f64),
            NodeValue::Float(number) => Some(number),
            _ => None,
        };
        let share = share.filter(|share| *share > 0.0 && *share <= 1.0);
        if share.is_none() {
            self.say(node.at, "expected a share between 0 and 1", Some("a fifth is `share: 0.2`".into()));
        }
        if over || key.len() != 1 || key[0].name() != "company_id" {
            let hint = "a share is one of the vehicles registered for a company: write `key: [company_id]` and `when`";
            self.say(node.at, "a share of what?", Some(hint.into()));
        }
        share
    }

    fn window(&mut self, fields: &[Entry], node: &Node) -> Option<Window> {
        match (find(fields, "within"), find(fields, "per")) {
            (Some(within), None) => {
                let within_ms = self.duration(fields, "within", 0);
                if within_ms == 0 {
                    self.say(within.at, "a window of nothing holds nothing", Some(TALLY_HINT.into()));
                }
                Some(Window::Sliding { within_ms })
            }
            (None, Some(per)) => {
                let word = self.text(per, "`per`")?;
                let period = Period::parse(word);
                if period.is_none() {
                    let words: Vec<&str> = Period::ALL.iter().map(|period| period.as_str()).collect();
                    self.say(
                        per.at,
                        format!("unknown period `{word}`"),
                        Some(format!("periods are {}", words.join(", "))),
                    );
                }
                period.map(Window::Calendar)
            }
            (Some(_), Some(per)) => {
                self.say(per.at, "`per` stands instead of `within`: a window has one of them", None);
                None
            }
            (None, None) => {
                self.say(node.at, "`within` or `per` is missing", Some(TALLY_HINT.into()));
                None
            }
        }
    }

    /// What a rule over alerts may be keyed by and show: what alerts carry.
    pub(super) fn told_by_alerts(&mut self, entries: &[Entry], key: &[Column], templates: &Templates) {
        let strange = |column: &Column| !OF_ALERTS.contains(&column.name());
        let shown: Vec<Column> = templates.columns().iter().collect();
        for (name, columns) in [("key", key), ("message", shown.as_slice())] {
            let Some(node) = find(entries, name) else { continue };
            for column in columns.iter().filter(|column| strange(column)) {
                let hint = format!("alerts carry {}", OF_ALERTS.join(", "));
                self.say(node.at, format!("an alert carries no `{}`", column.name()), Some(hint));
            }
        }
    }

    /// The predicate of a rule that asks no rows.
    pub(super) fn never(&mut self) -> Option<Written> {
        let predicate = self.compiler.predicate("false").ok()?;
        Some(Written { text: "false".to_owned(), predicate })
    }
}
