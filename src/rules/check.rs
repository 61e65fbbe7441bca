//! From the file's tree to rules, with every error found and not only the first.

use std::collections::{BTreeMap, HashMap};

pub(super) mod relations;
pub(super) mod risk;

use super::{
    Name, Problem, Rule, RuleErrors,
    compile::{Compiler, Predicate},
    errors::nearest,
    file::{Entry, Node, NodeValue, Position, Source},
    message::{Template, Templates},
    set::digest,
};
use crate::model::{Column, ColumnSet, CountWindow, Kind, Language, LocalText, Severity, Text, Timing, limits};

/// The compiled predicates of one rule.
pub(super) struct Terms {
    pub when: Predicate,
    pub clear: Option<Predicate>,
    pub cases: Vec<(Severity, Predicate)>,
}

/// What the files of a folder hold.
pub(super) struct Checked {
    /// In order of id.
    pub rules: Vec<Rule>,
    pub terms: Vec<Terms>,
    pub risk: Option<risk::Sheet>,
}

/// The keys of a rule, as the contract has them.
pub(super) const RULE_KEYS: &[&str] = &[
    "id",
    "name",
    "description",
    "when",
    "for",
    "min_samples",
    "max_gap",
    "max_open",
    "count",
    "clear",
    "cooldown",
    "key",
    "over",
    "incident",
    "inhibited_by",
    "severity",
    "departments",
    "message",
    "enabled",
    "shadow",
    "labels",
];

/// Facts of the one zone that a rule is judged for.
const OF_ONE_ZONE: &[&str] = &["zone_id", "zone_kind", "zone_name", "zone_dwell_s"];

/// What else people call what an alert is about.
const KEYS: &[(&str, &str)] = &[
    ("device_id", "vehicle_id"),
    ("device", "vehicle_id"),
    ("imei", "vehicle_id"),
    ("truck", "vehicle_id"),
    ("truck_id", "vehicle_id"),
    ("car", "vehicle_id"),
    ("site", "place_id"),
    ("site_id", "place_id"),
    ("road", "road_id"),
    ("zone", "zone_id"),
];

/// What other rule languages call the same things.
const SYNONYMS: &[(&str, &str)] = &[
    ("expr", "when"),
    ("condition", "when"),
    ("if", "when"),
    ("hold", "for"),
    ("duration", "for"),
    ("route_to", "departments"),
    ("department", "departments"),
    ("tags", "labels"),
    ("level", "severity"),
    ("disabled", "enabled"),
    ("text", "message"),
    ("title", "name"),
    ("suppressed_by", "inhibited_by"),
    ("merge", "incident"),
    ("group", "key"),
];

/// Checks every file and compiles every rule; the rules come back in order of id. Of rules that are `kept` from when they were in
/// force, what has become an error since is none.
///
/// # Errors
/// Every problem, in order of file, line and column.
pub(super) fn check(sources: &[Source], is_kept: bool) -> Result<Checked, RuleErrors> {
    let compiler = Compiler::new()?;
    let compiler = if is_kept { compiler.of_kept() } else { compiler };
    let mut found = Found { is_kept, ..Found::default() };
    for source in sources {
        match source.parse() {
            Ok(root) => {
                let mut problems = std::mem::take(&mut found.problems);
                let mut file = FileCheck { source, compiler: &compiler, is_kept, problems: &mut problems };
                file.rules(&root, &mut found.drafts);
                file.mutes(&root, &mut found.mutes);
                file.risk(&root, &mut found);
                found.problems = problems;
            }
            Err(problem) => found.problems.push(problem),
        }
    }
    found.finish()
}

#[derive(Default)]
struct Found<'a> {
    drafts: Vec<Draft<'a>>,
    /// Where every rule is muted.
    mutes: Vec<Written>,
    risk: Option<risk::Sheet>,
    is_kept: bool,
    problems: Vec<Problem>,
}

/// What was read of one rule. Incomplete when there were problems, and then it is only good for its id.
struct Draft<'a> {
    source: &'a Source,
    id: Option<(Text, Position)>,
    /// Rules that it names, and as what.
    named: Vec<relations::Named>,
    is_shadow: bool,
    ready: Option<(Rule, Terms)>,
}

impl Found<'_> {
    fn finish(mut self) -> Result<Checked, RuleErrors> {
        self.duplicates();
        self.names();
        if let Some(draft) = self.drafts.get(limits::RULES) {
            let at = draft.id.as_ref().map_or(Position::START, |(_, at)| *at);
            self.problems.push(draft.source.problem(at, format!("more than {} rules", limits::RULES), None));
        }
        if !self.problems.is_empty() {
            self.problems.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
            self.problems.dedup();
            return Err(RuleErrors::Invalid(self.problems));
        }
        let mut ready: Vec<_> = self.drafts.into_iter().filter_map(|draft| draft.ready).collect();
        ready.iter_mut().for_each(|(rule, terms)| relations::mute(rule, terms, &self.mutes));
        ready.sort_by(|(a, _), (b, _)| a.id.cmp(&b.id));
        let (rules, terms) = ready.into_iter().unzip();
        Ok(Checked { rules, terms, risk: self.risk })
    }

    fn duplicates(&mut self) {
        let mut first: HashMap<Text, String> = HashMap::new();
        for Draft { source, id, .. } in &self.drafts {
            let Some((id, at)) = id else { continue };
            if let Some(place) = first.get(id) {
                let hint = format!("it is already at {place}");
                self.problems.push(source.problem(*at, format!("the id `{id}` is taken"), Some(hint)));
            } else {
                first.insert(id.clone(), format!("{}:{}", source.name, at.line));
            }
        }
    }
}

/// The check of one file.
struct FileCheck<'a, 'p> {
    source: &'a Source,
    compiler: &'p Compiler,
    is_kept: bool,
    problems: &'p mut Vec<Problem>,
}

impl<'a> FileCheck<'a, '_> {
    fn rules(&mut self, root: &Node, drafts: &mut Vec<Draft<'a>>) {
        let NodeValue::Map(entries) = &root.value else {
            return self.say(root.at, format!("expected `rules:` with a list of rules, found {}", root.kind()), None);
        };
        self.known_keys(entries, &["rules", "mute", "risk"], &[], "the file");
        match find(entries, "rules") {
            None if ["mute", "risk"].iter().any(|key| find(entries, key).is_some()) => {}
            None => self.say(root.at, "`rules` is missing", Some("begin the file with `rules:`".into())),
            Some(node) => {
                for item in self.list(node, "`rules`").unwrap_or_default() {
                    drafts.push(self.rule(item));
                }
            }
        }
    }

    fn rule(&mut self, node: &Node) -> Draft<'a> {
        let before = self.problems.len();
        let NodeValue::Map(entries) = &node.value else {
            self.say(
                node.at,
                format!("expected a rule, found {}", node.kind()),
                Some("begin it with `- id: …`".into()),
            );
            return Draft { source: self.source, id: None, named: Vec::new(), is_shadow: false, ready: None };
        };
        self.known_keys(entries, RULE_KEYS, SYNONYMS, "a rule");
        let id = self.id(entries, node.at);
        let built = self.build(entries, node.at, id.as_ref().map(|(id, _)| id.clone()).unwrap_or_default(), None);
        let ready = built.filter(|_| self.problems.len() == before);
        let named = relations::named(entries);
        Draft { source: self.source, id, named, is_shadow: self.is_shadow(entries), ready }
    }

    /// The rule that entries describe; `given` is what they leave out.
    fn build(
        &mut self,
        entries: &[Entry],
        at: Position,
        id: Text,
        given: Option<risk::Given>,
    ) -> Option<(Rule, Terms)> {
        let name = self.name(entries);
        let description = self.optional_text(entries, "description");
        let over = self.over(entries);
        let (given_when, given_severity) = given.map(|given| (given.when, (given.severity, given.cases))).unzip();
        let when = match find(entries, "when") {
            _ if given_when.is_some() => given_when,
            Some(node) if over.is_some() => {
                self.say(node.at, "`over` counts alerts: there are no rows to ask", Some("leave out `when`".into()));
                None
            }
            Some(node) => self.predicate(node),
            None if over.is_some() => self.never(),
            None => {
                self.say(at, "`when` is missing", Some("write `when: speed_kmh > 60`".into()));
                None
            }
        };
        let (clear, clear_ms) = self.clear(entries);
        let key = self.key(entries);
        let tally = self.tally(entries, &key, over);
        let timing = self.timing(entries, clear_ms, tally.is_some());
        let (severity_default, cases) = given_severity.unwrap_or_else(|| self.severity(entries));
        let titles = {
            let title = |language| name.in_language(language).unwrap_or(&id).to_owned();
            LocalText { zh: title("zh"), en: title("en") }
        };
        let templates = self.templates(entries, &titles);
        if tally.as_ref().is_some_and(|tally| tally.over.is_some()) {
            self.told_by_alerts(entries, &key, &templates);
        }
        let incident = self.incident(entries, tally.is_some());
        let departments = self.words(entries, "departments");
        let (enabled, shadow) = (self.flag(entries, "enabled", true), self.flag(entries, "shadow", false));
        let labels = self.labels(entries);

        let when = when?;
        let predicates = [Some(&when), clear.as_ref()].into_iter().flatten().chain(cases.iter().map(|(_, case)| case));
        let asked = predicates.fold(ColumnSet::default(), |set, case| set.union(case.predicate.columns));
        let text = |predicate: &Written| Text::from(&*predicate.text);
        let of_zone: ColumnSet = key.iter().copied().filter(|column| column.name() == "zone_id").collect();
        if of_zone == ColumnSet::default() {
            self.asks_no_zone(at, asked.union(templates.columns()));
        }
        let mut rule = Rule {
            version: Text::default(),
            when: tally.as_ref().and_then(relations::counted).unwrap_or_else(|| text(&when)),
            clear: clear.as_ref().map(text),
            columns: asked.union(templates.columns()).union(of_zone).iter().collect(),
            asks_settled: asked.iter().any(|column| column.name().starts_with("settled_")),
            asks_timer: asked.contains_any(&["silent_s", "row_kind"]),
            asks_sighting: asked
                .iter()
                .any(|column| ["sighting_", "row_kind"].iter().any(|name| column.name().starts_with(name))),
            file: self.source.name.clone(),
            line: at.line,
            departments: departments.into(),
            id,
            name,
            titles,
            description,
            timing,
            key,
            severity_default,
            labels,
            incident,
            inhibited_by: relations::inhibitors(entries),
            tally,
            enabled,
            shadow,
            templates,
            zones: when.predicate.zones.clone(),
            risk: None,
        };
        let written = |node| scalar(node).unwrap_or_else(|| node.to_json().to_string());
        let message = find(entries, "message").map(written).unwrap_or_default();
        rule.version = version(&rule, &cases, &message).into();
        let cases = cases.into_iter().map(|(severity, case)| (severity, case.predicate)).collect();
        Some((rule, Terms { when: when.predicate, clear: clear.map(|clear| clear.predicate), cases }))
    }

    /// Whether it is on trial; what is no flag is told where the rule is built.
    fn is_shadow(&self, entries: &[Entry]) -> bool {
        find(entries, "shadow").is_some_and(|node| node.value == NodeValue::Flag(true))
    }

    fn id(&mut self, entries: &[Entry], at: Position) -> Option<(Text, Position)> {
        let Some(node) = find(entries, "id") else {
            self.say(at, "`id` is missing", Some("write `id: in-kebab-case`".into()));
            return None;
        };
        let text = self.text(node, "`id`")?;
        if !is_kebab(text) {
            let hint = kebab(text).map(|kebab| format!("write `{kebab}`"));
            let message = format!(
                "the id `{text}` is not in kebab-case (a-z, 0-9 and single hyphens, at most {} bytes)",
                limits::ID_BYTES
            );
            self.say(node.at, message, hint);
        }
        Some((text.into(), node.at))
    }

    fn name(&mut self, entries: &[Entry]) -> Name {
        let Some(node) = find(entries, "name") else { return Name::default() };
        let names = match &node.value {
            NodeValue::Text(name) => [(Text::default(), Text::from(name.as_str()))].into(),
            NodeValue::Map(names) => names
                .iter()
                .filter_map(|entry| Some((entry.key.as_str().into(), self.text(&entry.node, "a name")?.into())))
                .collect(),
            _ => {
                self.say(
                    node.at,
                    format!("expected a name, found {}", node.kind()),
                    Some("write `name: { zh: …, en: … }`".into()),
                );
                BTreeMap::new()
            }
        };
        Name(names)
    }

    fn predicate(&mut self, node: &Node) -> Option<Written> {
        let text = match &node.value {
            NodeValue::Text(text) => text.clone(),
            NodeValue::Flag(flag) => flag.to_string(),
            _ => {
                let hint = "write it as text, as in `when: speed_kmh > 60 and loaded`";
                self.say(node.at, format!("expected an SQL predicate, found {}", node.kind()), Some(hint.into()));
                return None;
            }
        };
        match self.compiler.predicate(&text) {
            Ok(predicate) => Some(Written { text: spaced(&text), predicate }),
            Err(problems) => {
                for problem in problems {
                    let at = self.source.inside(node, problem.offset);
                    self.say(at, problem.message, problem.hint);
                }
                None
            }
        }
    }

    /// `clear: { when, for }`.
    fn clear(&mut self, entries: &[Entry]) -> (Option<Written>, i64) {
        let Some(node) = find(entries, "clear") else { return (None, 0) };
        let NodeValue::Map(fields) = &node.value else {
            let hint = "write `clear: { when: speed_kmh <= 60, for: 30s }`";
            self.say(node.at, format!("expected `when` and `for`, found {}", node.kind()), Some(hint.into()));
            return (None, 0);
        };
        self.known_keys(fields, &["when", "for"], SYNONYMS, "`clear`");
        let when = find(fields, "when").and_then(|node| self.predicate(node));
        (when, self.duration(fields, "for", 0))
    }

    fn timing(&mut self, entries: &[Entry], clear_ms: i64, tallies: bool) -> Timing {
        let default = Timing::default();
        let timing = Timing {
            hold_ms: self.duration(entries, "for", 0),
            min_samples: self.count(entries, "min_samples", 1, limits::COUNT_HITS).unwrap_or(1),
            max_gap_ms: self.duration(entries, "max_gap", default.max_gap_ms),
            count: if tallies { None } else { self.count_window(entries) },
            clear_ms,
            cooldown_ms: self.duration(entries, "cooldown", 0),
            max_open_ms: self.duration(entries, "max_open", default.max_open_ms),
        };
        if let (Some(node), true) = (find(entries, "count").filter(|_| !tallies), timing.hold_ms > 0) {
            self.say(
                node.at,
                "`count` stands instead of `for`: a rule has one of them",
                Some("leave out `for`".into()),
            );
        }
        if let (Some(node), 0) = (find(entries, "max_gap"), timing.max_gap_ms) {
            self.say(node.at, "`max_gap` of nothing would break every hold", Some("leave it out for 5m".into()));
        }
        if let (Some(node), 0) = (find(entries, "max_open"), timing.max_open_ms) {
            self.say(
                node.at,
                "`max_open` of nothing would end every alert at once",
                Some("leave it out for 24h".into()),
            );
        }
        timing
    }

    fn count_window(&mut self, entries: &[Entry]) -> Option<CountWindow> {
        let node = find(entries, "count")?;
        let hint = || Some("write `count: { at_least: 3, within: 10m }`".to_owned());
        let NodeValue::Map(fields) = &node.value else {
            self.say(node.at, format!("expected `at_least` and `within`, found {}", node.kind()), hint());
            return None;
        };
        self.known_keys(fields, &["at_least", "within", "at_once"], &[], "`count`");
        let at_once = find(fields, "at_once").and_then(|node| self.severity_word(node));
        let at_least = self.count(fields, "at_least", 1, limits::COUNT_HITS);
        let within_ms = self.duration(fields, "within", 0);
        for missing in ["at_least", "within"].into_iter().filter(|name| find(fields, name).is_none()) {
            self.say(node.at, format!("`{missing}` is missing"), hint());
        }
        if let (Some(node), 0) = (find(fields, "within"), within_ms) {
            self.say(node.at, "a window of nothing holds nothing", hint());
        }
        Some(CountWindow { at_least: at_least?, within_ms, at_once })
    }

    /// A word, or cases with a word last.
    fn severity(&mut self, entries: &[Entry]) -> (Severity, Vec<(Severity, Written)>) {
        const DEFAULT: Severity = Severity::Minor;
        let Some(node) = find(entries, "severity") else { return (DEFAULT, Vec::new()) };
        let NodeValue::List(items) = &node.value else {
            return (self.severity_word(node).unwrap_or(DEFAULT), Vec::new());
        };
        if items.len() > limits::SEVERITY_CASES {
            self.say(node.at, format!("more than {} severity cases", limits::SEVERITY_CASES), None);
        }
        let Some((last, cases)) = items.split_last() else {
            self.say(node.at, "no severity", Some(SEVERITIES.into()));
            return (DEFAULT, Vec::new());
        };
        let cases = cases.iter().filter_map(|case| self.case(case)).collect();
        if let NodeValue::Map(_) = last.value {
            self.case(last);
            self.say(
                last.at,
                "the last severity must hold without a condition",
                Some("end the list with a word: `- minor`".into()),
            );
            return (DEFAULT, cases);
        }
        (self.severity_word(last).unwrap_or(DEFAULT), cases)
    }

    fn case(&mut self, node: &Node) -> Option<(Severity, Written)> {
        match &node.value {
            NodeValue::Map(entries) if entries.len() == 1 => {
                let entry = &entries[0];
                let severity = self.parse_severity(&entry.key, entry.key_at);
                let predicate = self.predicate(&entry.node);
                Some((severity?, predicate?))
            }
            NodeValue::Text(_) => {
                self.say(
                    node.at,
                    "a severity without a condition must be the last",
                    Some("the cases after it are never reached".into()),
                );
                None
            }
            _ => {
                let hint = "write `- { critical: speed_kmh >= 120 }`";
                self.say(
                    node.at,
                    format!("expected a severity with its condition, found {}", node.kind()),
                    Some(hint.into()),
                );
                None
            }
        }
    }

    fn severity_word(&mut self, node: &Node) -> Option<Severity> {
        let word = self.text(node, "a severity")?;
        self.parse_severity(word, node.at)
    }

    fn parse_severity(&mut self, word: &str, at: Position) -> Option<Severity> {
        let severity = Severity::parse(word);
        if severity.is_none() {
            let near = nearest(word, Severity::ALL.iter().map(|severity| severity.as_str()));
            let hint = near.map_or_else(|| SEVERITIES.to_owned(), |near| format!("did you mean `{near}`?"));
            self.say(at, format!("unknown severity `{word}`"), Some(hint));
        }
        severity
    }

    /// One text for all languages, or one for each; a language that is left out gets the other's.
    fn templates(&mut self, entries: &[Entry], titles: &LocalText) -> Templates {
        let Some(node) = find(entries, "message") else {
            let of = Template::plate_and;
            return Templates { zh: of(&titles.zh, Language::Zh), en: of(&titles.en, Language::En) };
        };
        let languages = [("zh", Language::Zh), ("en", Language::En)];
        if let NodeValue::Map(texts) = &node.value
            && texts.iter().any(|text| languages.iter().any(|(tag, _)| text.key == *tag))
        {
            self.known_keys(texts, &["zh", "en"], &[], "`message`");
            let mut read = |(tag, language)| Some(self.template(find(texts, tag)?, Some(language)));
            let [zh, en] = languages.map(&mut read);
            let either = zh.clone().or_else(|| en.clone()).unwrap_or_default();
            return Templates { zh: zh.unwrap_or_else(|| either.clone()), en: en.unwrap_or(either) };
        }
        let both = self.template(node, None);
        Templates { zh: both.clone(), en: both }
    }

    fn template(&mut self, node: &Node, language: Option<Language>) -> Template {
        let Some(text) = self.text(node, "`message`") else { return Template::default() };
        match Template::parse(text, language) {
            Ok(template) => template,
            Err(problems) => {
                for problem in problems {
                    self.say(self.source.inside(node, problem.offset), problem.message, problem.hint);
                }
                Template::default()
            }
        }
    }

    fn key(&mut self, entries: &[Entry]) -> Vec<Column> {
        let vehicle = Column::named("vehicle_id");
        let Some(node) = find(entries, "key") else { return vehicle.into_iter().collect() };
        let mut key = Vec::new();
        if let NodeValue::Map(_) = node.value {
            let hint = "write the names of columns in square brackets: `key: [vehicle_id, place_id]`";
            self.say(node.at, "expected a list for `key`, found a mapping", Some(hint.into()));
            return key;
        }
        for item in self.list(node, "`key`").unwrap_or_default() {
            let Some(name) = self.text(item, "a column") else { continue };
            match Column::named(name) {
                Some(column) if key.contains(&column) => {
                    self.say(item.at, format!("`{name}` stands in the key twice"), None)
                }
                Some(column) => {
                    self.may_be_keyed(item.at, column);
                    key.push(column);
                }
                None => {
                    let meant = KEYS.iter().find(|(word, _)| *word == name).map(|(_, meant)| *meant);
                    let near = meant.or_else(|| nearest(name, Column::all().map(Column::name)));
                    self.say(
                        item.at,
                        format!("unknown column `{name}` in the key"),
                        near.map(|n| format!("did you mean `{n}`?")),
                    );
                }
            }
        }
        let counts = find(entries, "count").is_some() || find(entries, "over").is_some();
        if vehicle.is_some_and(|vehicle| !key.contains(&vehicle)) && !counts {
            let hint =
                "write `key: [vehicle_id, …]`, or count over many vehicles with `count: { vehicles: 3, within: 1d }`";
            self.say(node.at, "the key lacks `vehicle_id`", Some(hint.into()));
        }
        key
    }

    /// What is measured is another at each report: its alerts would never hold, nor clear.
    fn may_be_keyed(&mut self, at: Position, column: Column) {
        let (name, kind) = (column.name(), column.spec().kind);
        let hint = match kind {
            _ if self.is_kept => return,
            Kind::Float | Kind::Time => "a key is made of ids and words, as in `key: [vehicle_id, place_id]`",
            Kind::Text | Kind::Int | Kind::Flag | Kind::TextList => return,
        };
        self.say(at, format!("`{name}` is another at each report, and no key"), Some(hint.into()));
    }

    /// What is known only of one zone is unknown wherever no single zone is asked about.
    pub(super) fn asks_no_zone(&mut self, at: Position, asked: ColumnSet) {
        for name in OF_ONE_ZONE {
            if asked.contains_any(&[name]) {
                let hint = "judge it for each zone with `key: [vehicle_id, zone_id]`; `zone_ids` and `zone_tags` tell of all together";
                self.say(at, format!("`{name}` is known only where a rule is judged for each zone"), Some(hint.into()));
            }
        }
    }

    fn words(&mut self, entries: &[Entry], name: &str) -> Vec<Text> {
        let Some(node) = find(entries, name) else { return Vec::new() };
        let mut words: Vec<Text> = Vec::new();
        for item in self.list(node, &format!("`{name}`")).unwrap_or_default() {
            let Some(word) = self.text(item, "a department's code") else { continue };
            if words.iter().any(|known| **known == *word) {
                self.say(item.at, format!("`{word}` is there twice"), None);
            }
            // A code is a level of an MQTT topic.
            if word.is_empty() || word.len() > limits::ID_BYTES || word.contains(['/', '+', '#', ' ']) {
                let hint = "a code is a word such as `urban_mgmt`, at most 64 bytes, without `/`, `+`, `#` and spaces";
                self.say(item.at, format!("`{word}` is no department's code"), Some(hint.into()));
            }
            words.push(word.into());
        }
        words
    }

    fn labels(&mut self, entries: &[Entry]) -> BTreeMap<Text, Text> {
        let Some(node) = find(entries, "labels") else { return BTreeMap::new() };
        let NodeValue::Map(labels) = &node.value else {
            self.say(
                node.at,
                format!("expected labels, found {}", node.kind()),
                Some("write `labels: { tier: \"1\" }`".into()),
            );
            return BTreeMap::new();
        };
        let mut known = BTreeMap::new();
        for entry in labels {
            match scalar(&entry.node) {
                Some(value) => _ = known.insert(entry.key.as_str().into(), value.into()),
                None => self.say(
                    entry.node.at,
                    format!("expected text for the label `{}`, found {}", entry.key, entry.node.kind()),
                    None,
                ),
            }
        }
        known
    }

    fn flag(&mut self, entries: &[Entry], name: &str, default: bool) -> bool {
        match find(entries, name) {
            None => default,
            Some(Node { value: NodeValue::Flag(flag), .. }) => *flag,
            Some(node) => {
                self.say(node.at, format!("expected true or false for `{name}`, found {}", node.kind()), None);
                default
            }
        }
    }

    fn count(&mut self, entries: &[Entry], name: &str, least: u32, most: u32) -> Option<u32> {
        let node = find(entries, name)?;
        let number = match node.value {
            NodeValue::Int(number) => u32::try_from(number).ok().filter(|number| (least..=most).contains(number)),
            _ => None,
        };
        if number.is_none() {
            let found = scalar(node).unwrap_or_else(|| node.kind().to_owned());
            self.say(
                node.at,
                format!("expected a whole number from {least} to {most} for `{name}`, found {found}"),
                None,
            );
        }
        number
    }

    fn duration(&mut self, entries: &[Entry], name: &str, default: i64) -> i64 {
        let Some(node) = find(entries, name) else { return default };
        let parsed = match &node.value {
            NodeValue::Text(text) => duration_ms(text),
            NodeValue::Int(0) => Some(0),
            _ => None,
        };
        if let Some(ms) = parsed.filter(|ms| *ms <= limits::RULE_DURATION_MS) {
            return ms;
        }
        let (message, hint) = match (&node.value, parsed) {
            (_, Some(_)) => (format!("`{name}` is longer than 366d"), None),
            (NodeValue::Int(number), None) if *number > 0 => {
                (format!("`{name}: {number}` has no unit"), Some(format!("write `{number}s` for seconds")))
            }
            _ => {
                let found = scalar(node).unwrap_or_else(|| node.kind().to_owned());
                let hint = usual_duration(&found).map_or_else(
                    || "durations are such as 500ms, 30s, 10m, 2h, 1d".to_owned(),
                    |usual| format!("write `{usual}`"),
                );
                (format!("expected a duration for `{name}`, found `{found}`"), Some(hint))
            }
        };
        self.say(node.at, message, hint);
        default
    }

    fn optional_text(&mut self, entries: &[Entry], name: &str) -> Option<Text> {
        let node = find(entries, name)?;
        self.text(node, &format!("`{name}`")).map(Text::from)
    }

    fn text<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n str> {
        if let NodeValue::Text(text) = &node.value {
            return Some(text);
        }
        let hint = match &node.value {
            NodeValue::Map(_) => Some("text that begins with `{` stands in quotes".to_owned()),
            _ => scalar(node).map(|value| format!("put it in quotes: \"{value}\"")),
        };
        self.say(node.at, format!("expected text for {what}, found {}", node.kind()), hint);
        None
    }

    fn list<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n [Node]> {
        if let NodeValue::List(items) = &node.value {
            return Some(items);
        }
        let hint = scalar(node).map(|value| format!("write `[{value}]`"));
        self.say(node.at, format!("expected a list for {what}, found {}", node.kind()), hint);
        None
    }

    fn known_keys(&mut self, entries: &[Entry], known: &[&str], synonyms: &[(&str, &str)], what: &str) {
        for entry in entries.iter().filter(|entry| !known.contains(&entry.key.as_str())) {
            let meant = synonyms
                .iter()
                .find(|(word, meant)| *word == entry.key && known.contains(meant))
                .map(|(_, meant)| *meant);
            let near = meant.or_else(|| nearest(&entry.key, known.iter().copied()));
            let hint = near.map_or_else(
                || format!("its keys are: {}", known.join(", ")),
                |near| format!("did you mean `{near}`?"),
            );
            self.say(entry.key_at, format!("unknown key `{}` in {what}", entry.key), Some(hint));
        }
    }

    fn say(&mut self, at: Position, message: impl Into<String>, hint: Option<String>) {
        self.problems.push(self.source.problem(at, message, hint));
    }
}

const SEVERITIES: &str = "severities are critical, major, minor, notice";

/// A predicate with its text, white space evened out.
struct Written {
    text: String,
    predicate: Predicate,
}

pub(super) fn find<'n>(entries: &'n [Entry], key: &str) -> Option<&'n Node> {
    entries.iter().find(|entry| entry.key == key).map(|entry| &entry.node)
}

/// A scalar as text.
pub(super) fn scalar(node: &Node) -> Option<String> {
    match &node.value {
        NodeValue::Text(text) => Some(text.clone()),
        NodeValue::Int(number) => Some(number.to_string()),
        NodeValue::Float(number) => Some(number.to_string()),
        NodeValue::Flag(flag) => Some(flag.to_string()),
        NodeValue::Null | NodeValue::List(_) | NodeValue::Map(_) => None,
    }
}

/// `500ms`, `30s`, `10m`, `2h`, `1d`, or several of them from large to small, such as `1h30m`.
pub(super) fn duration_ms(text: &str) -> Option<i64> {
    const UNITS: &[(&str, i64)] = &[("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
    let (mut rest, mut total, mut last) = (text.trim(), 0_i64, i64::MAX);
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let amount: i64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let (_, ms) = UNITS.iter().find(|(name, _)| *name == &rest[..unit])?;
        if *ms >= last {
            return None;
        }
        last = *ms;
        total = total.checked_add(amount.checked_mul(*ms)?)?;
        rest = &rest[unit..];
    }
    Some(total)
}

/// `10 min`, `1.5h`, `90 seconds`, `10分钟` as this house writes them.
fn usual_duration(text: &str) -> Option<String> {
    const WORDS: &[(&[&str], i64)] = &[
        (&["ms", "msec", "millis", "milliseconds", "毫秒"], 1),
        (&["s", "sec", "secs", "second", "seconds", "秒", "秒钟"], 1_000),
        (&["m", "min", "mins", "minute", "minutes", "分", "分钟"], 60_000),
        (&["h", "hr", "hrs", "hour", "hours", "小时", "时"], 3_600_000),
        (&["d", "day", "days", "天", "日"], 86_400_000),
        (&["w", "week", "weeks", "周"], 604_800_000),
    ];
    let text = text.trim().to_lowercase();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (amount, unit) = (text[..digits].parse::<f64>().ok()?, text[digits..].trim());
    let (_, ms) = WORDS.iter().find(|(words, _)| words.contains(&unit))?;
    let total = (amount * *ms as f64).round();
    if !(1.0..=limits::RULE_DURATION_MS as f64).contains(&total) {
        return None;
    }
    let total = total as i64;
    let (name, unit) = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)]
        .into_iter()
        .find(|(_, unit)| total % unit == 0)?;
    Some(format!("{}{name}", total / unit))
}

fn is_kebab(id: &str) -> bool {
    let part = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    id.len() <= limits::ID_BYTES && id.split('-').all(part)
}

/// The kebab-case nearest to what was written.
fn kebab(id: &str) -> Option<String> {
    let parts = id.split(|c: char| !c.is_ascii_alphanumeric()).filter(|part| !part.is_empty());
    let kebab = parts.collect::<Vec<_>>().join("-").to_ascii_lowercase();
    is_kebab(&kebab).then_some(kebab)
}

/// White space outside of quoted text as single spaces.
fn spaced(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut quoted, mut gap) = (None, false);
    for c in text.trim().chars() {
        if quoted.is_none() && c.is_whitespace() {
            gap = true;
            continue;
        }
        if std::mem::take(&mut gap) {
            out.push(' ');
        }
        match quoted {
            Some(quote) if quote == c => quoted = None,
            None if c == '\'' || c == '"' => quoted = Some(c),
            _ => {}
        }
        out.push(c);
    }
    out
}

/// Digest of a rule's content as loaded.
fn version(rule: &Rule, cases: &[(Severity, Written)], message: &str) -> String {
    let names = |columns: &[Column]| columns.iter().map(|column| column.name()).collect::<Vec<_>>();
    let content = serde_json::json!({
        "id": rule.id, "name": rule.name.0, "description": rule.description, "when": rule.when, "clear": rule.clear,
        "timing": rule.timing, "key": names(&rule.key), "severity": rule.severity_default,
        "cases": cases.iter().map(|(severity, case)| (severity, &case.text)).collect::<Vec<_>>(),
        "departments": rule.departments, "message": message, "enabled": rule.enabled, "shadow": rule.shadow,
        "labels": rule.labels, "incident": rule.incident, "inhibited_by": rule.inhibited_by, "tally": rule.tally,
    });
    digest([content.to_string().as_str()].into_iter())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_or_refused() {
        for (text, expected) in [
            ("30s", Some(30_000)),
            ("10m", Some(600_000)),
            ("2h", Some(7_200_000)),
            ("1d", Some(86_400_000)),
            ("500ms", Some(500)),
            ("1h30m", Some(5_400_000)),
            ("0s", Some(0)),
            ("", None),
            ("30", None),
            ("s", None),
            ("-5s", None),
            ("1.5h", None),
            ("30m1h", None),
            ("30 s", None),
            ("5w", None),
            ("99999999999999999999s", None),
            ("9223372036854775807d", None),
        ] {
            assert_eq!(duration_ms(text), expected, "{text:?}");
        }
    }

    #[test]
    fn white_space_is_evened_out_but_not_in_text() {
        assert_eq!(spaced(" a  >\n 1 and b =  'x  y' "), "a > 1 and b = 'x  y'");
    }
}
