//! A rule as the engine, the alerts and the API see it.

use std::{collections::BTreeMap, sync::Arc};

use super::{message::Templates, risk::RiskSheet, zones::ZonesMeant};
use crate::model::{Column, ColumnSet, Departments, Facts, Incident, LocalText, Names, Severity, Tally, Text, Timing};

/// A rule's name, by language tag (`zh`, `en`). A name written without a language stands under the empty tag.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Name(pub(super) BTreeMap<Text, Text>);

impl Name {
    /// The name in `language`, else in English, else in whatever there is; `None` when the rule has no name.
    pub fn in_language(&self, language: &str) -> Option<&str> {
        [language, "en", ""]
            .iter()
            .find_map(|tag| self.0.get(*tag))
            .or_else(|| self.0.values().next())
            .map(|name| &**name)
    }

    /// Every language tag with its name, by tag.
    pub fn languages(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(tag, name)| (&**tag, &**name))
    }
}

/// One rule, checked. Its place in [`RuleSet::rules`](super::RuleSet::rules) is its index in the verdicts.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Kebab-case, unique in the set.
    pub id: Text,
    /// Digest of the rule's content as loaded: 16 hexadecimal digits of SHA-256. Comments and white space don't count.
    pub version: Text,
    pub name: Name,
    /// The name in each language, or its id.
    pub titles: LocalText,
    pub description: Option<Text>,
    /// The predicate as written.
    pub when: Text,
    /// The clearing predicate as written; `None` is `not (when)`.
    pub clear: Option<Text>,
    pub timing: Timing,
    /// What one alert is about; contains `vehicle_id`, unless the rule has a tally.
    pub key: Vec<Column>,
    /// The severity when no case holds.
    pub severity_default: Severity,
    pub departments: Departments,
    pub labels: BTreeMap<Text, Text>,
    /// The incident that its alerts share with those of other rules.
    pub incident: Option<Incident>,
    /// Rules whose open alerts keep it from opening one; of a rule in force without the shadow rules that it names.
    pub inhibited_by: Vec<Text>,
    /// How it counts over vehicles or alerts, instead of following one vehicle.
    pub tally: Option<Tally>,
    /// A disabled rule is checked but not evaluated: its verdicts are unknown.
    pub enabled: bool,
    /// A shadow rule is evaluated and its alerts are kept, but nobody is told: they send nobody, count nowhere, inhibit and join
    /// only those of other shadow rules.
    pub shadow: bool,
    /// The rule's own columns, in the order of the facts' table: what its predicates, cases and message read.
    pub columns: Vec<Column>,
    /// Whether it judges rows made by the clock: it asks `silent_s` or `row_kind`.
    pub asks_timer: bool,
    /// Whether it mentions a fact of sightings, or `row_kind`: only then does it judge them.
    pub asks_sighting: bool,
    /// Whether it reads settled facts: it is judged as of the report before, one report later.
    pub asks_settled: bool,
    /// The file that it stands in, as named to the loader.
    pub file: Text,
    /// The line at which it begins, from 1.
    pub line: u32,
    pub(super) templates: Templates,
    /// The zones that its message names.
    pub(super) zones: ZonesMeant,
    /// The sheet whose reasons its message tells.
    pub(super) risk: Option<Arc<RiskSheet>>,
}

impl Rule {
    /// The message for a row in each language: the templates filled in. Companies, drivers, places, zones, districts, routes and
    /// roads go by their names as of the row's time, those without one by their ids. What is unknown is said in words.
    pub fn messages(&self, row: &Facts, names: &dyn Names) -> LocalText {
        let Some(sheet) = &self.risk else { return self.templates.fill(row, &self.zones, names) };
        let plate = row.plate.as_deref().unwrap_or("?");
        let LocalText { zh, en } = sheet.told(row);
        LocalText { zh: format!("{plate}：{zh}"), en: format!("{plate}: {en}") }
    }

    /// Whether it is judged for each zone that the truck is in, apart.
    pub fn is_of_zones(&self) -> bool {
        self.key.iter().any(|column| column.name() == "zone_id")
    }

    /// Everything that must be known of a row to judge it, to key its alert and to write its message.
    pub fn needed(&self) -> ColumnSet {
        self.columns.iter().chain(&self.key).copied().collect()
    }

    /// Whether it asks how many alerts the vehicle had lately, of whatever rule.
    pub fn asks_recent(&self) -> bool {
        let of_sheet = self.risk.iter().flat_map(|sheet| sheet.reasons()).map(|(reason, _)| reason);
        of_sheet.chain([self]).flat_map(|rule| &rule.columns).any(|column| column.name() == "recent_alerts")
    }

    /// The rule's name in `language`, or its id when it has none.
    pub fn title(&self, language: &str) -> &str {
        self.name.in_language(language).unwrap_or(&self.id)
    }
}
