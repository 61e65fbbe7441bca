//! Rules and registry that change while running: all or nothing, and always said.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use serde_json::Value as Json;
use tokio::sync::{mpsc, watch};

use super::intake::Order;
use crate::{
    config::Config,
    engine::Reference,
    metrics::Metrics,
    model::{Text, Time, UnitReply},
    registry::{Book, Entity, ImportSummary, Registry, RegistryError, Rejudge, Taking},
    rules::{Rule, RuleErrors, RuleSet},
    server::{JudgeAgain, Registrar, ReplyTaker, RuleSummary, RulesShown},
};

/// How often the folder of rules, and the registry's book, is looked at.
const EVERY: Duration = Duration::from_secs(2);

/// What is in force, and how it is replaced.
pub struct Reloads {
    folder: PathBuf,
    /// The folder as it was when its rules were last loaded, or tried to be.
    seen: Fingerprint,
    force: Arc<Force>,
}

struct Force {
    reference: Mutex<Reference>,
    book: Arc<Mutex<Book>>,
    orders: mpsc::Sender<Order>,
    metrics: Arc<Metrics>,
    registry: watch::Sender<Arc<Registry>>,
    rules: watch::Sender<Arc<RulesShown>>,
    /// The rule files that had problems when they were last read.
    broken: Mutex<BTreeSet<String>>,
}

/// Path, size and time of change of each rule file: a change of the folder changes this.
pub type Fingerprint = Vec<(PathBuf, u64, Option<SystemTime>)>;

impl Reloads {
    /// `seen`: the folder before the rules of `reference` were loaded.
    pub fn new(
        config: &Config,
        seen: Fingerprint,
        reference: Reference,
        book: Arc<Mutex<Book>>,
        orders: mpsc::Sender<Order>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let registry = watch::Sender::new(Arc::clone(&reference.registry));
        let rules = watch::Sender::new(Arc::new(shown(&reference.rules, None)));
        let force = Force {
            reference: Mutex::new(reference),
            book,
            orders,
            metrics,
            registry,
            rules,
            broken: Mutex::default(),
        };
        Self { folder: config.rules.clone(), seen, force: Arc::new(force) }
    }

    /// The registry in force.
    pub fn registry(&self) -> watch::Receiver<Arc<Registry>> {
        self.force.registry.subscribe()
    }

    /// The rules in force.
    pub fn rules(&self) -> watch::Receiver<Arc<RulesShown>> {
        self.force.rules.subscribe()
    }

    /// Takes rows into the registry and puts the outcome into force.
    pub fn registrar(&self) -> Arc<Registrar> {
        let force = Arc::clone(&self.force);
        Arc::new(move |entity: Entity, rows: &[Json], taking: Taking| force.register(entity, rows, taking))
    }

    /// Has what was sent since a time judged again.
    pub fn judge_again(&self) -> Arc<JudgeAgain> {
        let orders = self.force.orders.clone();
        Arc::new(move |vehicle_id: Option<Text>, since: Time| {
            orders.try_send(Order::JudgeAgain(vehicle_id, since)).is_ok()
        })
    }

    /// Takes replies that do not come from a broker.
    pub fn replies(&self) -> Arc<ReplyTaker> {
        let orders = self.force.orders.clone();
        Arc::new(move |reply: UnitReply| orders.try_send(Order::Reply(Box::new(reply))).is_ok())
    }

    /// Looks at the folder of rules and at the registry's book for ever; at once, and whether it seems changed or not, when it is
    /// told to (SIGHUP).
    pub async fn watch(mut self) {
        use tokio::signal::unix::{SignalKind, signal};
        let mut told = signal(SignalKind::hangup()).ok();
        loop {
            let hung_up = async {
                match &mut told {
                    Some(told) => told.recv().await,
                    None => std::future::pending().await,
                }
            };
            let is_told = tokio::select! {
                () = tokio::time::sleep(EVERY) => false,
                _ = hung_up => true,
            };
            if is_told {
                tracing::info!("told by SIGHUP: rules and registry are read again; settings are read at a start only");
            }
            let current = fingerprint(&self.folder);
            let folder = (is_told || current != self.seen).then(|| self.folder.clone());
            self.seen = current;
            let force = Arc::clone(&self.force);
            let look = move || {
                folder.into_iter().for_each(|folder| force.load_rules(&folder));
                force.look_at_registry();
            };
            // It ends early only when the process does.
            _ = tokio::task::spawn_blocking(look).await;
        }
    }
}

impl Force {
    /// Puts the folder's rules in place of those in force; says it when they are wrong. What is shown judges whatever comes
    /// from then on.
    fn load_rules(&self, folder: &Path) {
        let mut reference = self.reference.lock().unwrap_or_else(PoisonError::into_inner);
        let mut result = RuleSet::load(folder);
        // Half a copy of a folder, or a wrong one, would end every alert.
        if result.as_ref().is_ok_and(|rules| rules.rules().is_empty()) && !reference.rules.rules().is_empty() {
            result = Err(RuleErrors::Nothing { path: folder.to_owned(), what: "there is no rule in its files" });
        }
        self.metrics.count_rule_reload(result.is_ok());
        for file in self.mended(&result) {
            tracing::info!(%file, "the rule file is mended");
        }
        let problem = match result {
            Ok(rules) if rules.digest() == reference.rules.digest() => None,
            Ok(rules) => {
                for (rule, change) in changes(&reference.rules, &rules) {
                    tracing::info!(%rule, "rule {change}");
                }
                self.metrics.rules_loaded.set(rules.rules().len() as i64);
                reference.rules = Arc::new(rules);
                self.replace(&reference);
                None
            }
            Err(error) => {
                tracing::error!(folder = %folder.display(), "the rules stay as they were: failed to {error}");
                Some(error.to_string())
            }
        };
        self.rules.send_replace(Arc::new(shown(&reference.rules, problem)));
    }

    /// The files that had problems and have none any more; notes those that have some now. Where nothing could be read at all,
    /// nobody knows of any.
    fn mended<T>(&self, result: &Result<T, RuleErrors>) -> Vec<String> {
        let now: BTreeSet<String> = match result {
            Ok(_) => BTreeSet::new(),
            Err(RuleErrors::Invalid(problems)) => problems.iter().map(|problem| problem.file.clone()).collect(),
            Err(_) => return Vec::new(),
        };
        let mut broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *broken, now);
        before.difference(&broken).cloned().collect()
    }

    /// Called where blocking is allowed. Nobody there any more: the process is ending.
    fn replace(&self, reference: &Reference) {
        self.replace_and_judge_again(reference, Vec::new());
    }

    fn replace_and_judge_again(&self, reference: &Reference, rejudges: Vec<Rejudge>) {
        _ = self.orders.blocking_send(Order::Replace(Box::new(reference.clone()), rejudges));
    }

    fn register(&self, entity: Entity, rows: &[Json], taking: Taking) -> Result<ImportSummary, RegistryError> {
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        let result = book.upsert(entity, rows, taking).and_then(|summary| {
            self.load_registry(&book)?;
            Ok(summary)
        });
        self.metrics.count_registry_reload(result.is_ok());
        result
    }

    /// Takes up what another program brought into the registry.
    fn look_at_registry(&self) {
        let book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        match self.load_registry(&book) {
            Ok(false) => {}
            Ok(true) => self.metrics.count_registry_reload(true),
            Err(error) => {
                self.metrics.count_registry_reload(false);
                tracing::error!("the registry stays as it was: failed to {error}");
            }
        }
    }

    /// Puts the book's last batch into force; whether there was a newer one.
    fn load_registry(&self, book: &Book) -> Result<bool, RegistryError> {
        let mut reference = self.reference.lock().unwrap_or_else(PoisonError::into_inner);
        let held = reference.registry.batch();
        if book.last_batch()? <= held {
            return Ok(false);
        }
        let (registry, rejudges) = (Arc::new(book.load()?), book.rejudges_after(held)?);
        let (batch, vehicles) = (registry.batch(), registry.vehicles().count());
        tracing::info!(batch, vehicles, judged_again = rejudges.len(), "the registry was changed");
        reference.registry = Arc::clone(&registry);
        self.replace_and_judge_again(&reference, rejudges);
        self.registry.send_replace(registry);
        Ok(true)
    }
}

/// What became of each rule whose content changed.
pub fn changes(before: &RuleSet, after: &RuleSet) -> Vec<(Text, &'static str)> {
    let version = |set: &RuleSet, id: &str| set.index_of(id).map(|index| set.rules()[index].version.clone());
    let change = |rule: &Rule| match version(before, &rule.id) {
        None => Some((rule.id.clone(), "added")),
        Some(old) if old != rule.version => Some((rule.id.clone(), "changed")),
        Some(_) => None,
    };
    let gone = before.rules().iter().filter(|rule| after.index_of(&rule.id).is_none());
    after.rules().iter().filter_map(change).chain(gone.map(|rule| (rule.id.clone(), "removed"))).collect()
}

fn shown(rules: &RuleSet, problem: Option<String>) -> RulesShown {
    let summary = |rule: &Rule| RuleSummary {
        id: rule.id.to_string(),
        version: rule.version.to_string(),
        name: rule.name.languages().map(|(tag, name)| (tag.to_owned(), name.to_owned())).collect(),
        description: rule.description.as_ref().map(ToString::to_string),
        when: rule.when.to_string(),
        severity: rule.severity_default.to_string(),
        departments: rule.departments.iter().map(ToString::to_string).collect(),
        enabled: rule.enabled,
        shadow: rule.shadow,
    };
    RulesShown { rules: rules.rules().iter().map(summary).collect(), problem }
}

/// The folder as it is now, with folders in it; empty when it cannot be read.
pub fn fingerprint(folder: &Path) -> Fingerprint {
    let file = |path: PathBuf| {
        let metadata = path.metadata().ok()?;
        Some((path, metadata.len(), metadata.modified().ok()))
    };
    RuleSet::paths(folder).unwrap_or_default().into_iter().filter_map(file).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts;

    const FAST: &str = "rules: [{ id: fast, when: speed_kmh > 60, for: 20s }]";

    /// A folder, what is in force, and the metrics.
    fn force(folder: &Path) -> Force {
        std::fs::write(folder.join("a.yaml"), FAST).unwrap();
        let rules = RuleSet::load(folder).unwrap();
        let reference = Reference {
            registry: Arc::default(),
            rules: Arc::new(rules),
            facts: facts::Settings::default(),
            tick_ms: 60_000,
            late: crate::engine::LateSettings::default(),
        };
        let (registry, rules) = (watch::Sender::new(Arc::default()), watch::Sender::new(Arc::default()));
        let book = Arc::new(Mutex::new(Book::open(&folder.join("book.sqlite")).unwrap()));
        let (orders, _) = mpsc::channel(1);
        Force {
            reference: Mutex::new(reference),
            book,
            orders,
            metrics: Arc::new(Metrics::new()),
            registry,
            rules,
            broken: Mutex::default(),
        }
    }

    /// The rules in force after the folder has this file too.
    fn loaded(force: &Force, folder: &Path, text: &str) -> Vec<String> {
        std::fs::write(folder.join("b.yaml"), text).unwrap();
        force.load_rules(folder);
        let reference = force.reference.lock().unwrap();
        reference.rules.rules().iter().map(|rule| rule.id.to_string()).collect()
    }

    #[test]
    fn a_folder_is_taken_as_a_whole_or_not_at_all() {
        let temp = tempfile::tempdir().unwrap();
        let (folder, force) = (temp.path(), force(temp.path()));
        let problem = || force.rules.borrow().problem.clone().unwrap_or_default();
        // One good rule and one bad one: neither is taken, and both faults are said.
        let bad = "rules:\n  - { id: slow, when: speed_kmh < 10 }\n  - { id: bad, when: sped_kmh > 3, for: 5 }\n";
        assert_eq!(loaded(&force, folder, bad), ["fast"]);
        assert!(problem().contains("2 problems") && problem().contains("did you mean `speed_kmh`?"), "{}", problem());
        assert_eq!(force.rules.borrow().rules.len(), 1, "those that judge are shown");
        let good = "rules: [{ id: slow, when: speed_kmh < 10 }]";
        assert_eq!(loaded(&force, folder, good), ["fast", "slow"]);
        assert_eq!(problem(), "");
        assert_eq!(loaded(&force, folder, "rules: []"), ["fast"]);
        // A folder in it counts, too.
        let inner = folder.join("squads");
        let before = fingerprint(folder);
        std::fs::create_dir(&inner).unwrap();
        std::fs::write(inner.join("c.yaml"), "rules: [{ id: inner, when: moving }]").unwrap();
        assert_ne!(fingerprint(folder), before);
        assert_eq!(loaded(&force, folder, good), ["fast", "inner", "slow"]);
        std::fs::remove_dir_all(&inner).unwrap();
        assert_eq!(loaded(&force, folder, "rules: []"), ["fast"]);
        let text = force.metrics.text().unwrap();
        for line in
            ["muckwatch_rule_reloads_total{result=\"ok\"} 4", "muckwatch_rule_reloads_total{result=\"error\"} 1"]
        {
            assert!(text.contains(line), "{line} is not in:\n{text}");
        }
    }

    /// A copy that is half done, or an empty mount, must not end every alert.
    #[test]
    fn rules_in_force_outlast_a_folder_without_any() {
        let temp = tempfile::tempdir().unwrap();
        let (folder, force) = (temp.path(), force(temp.path()));
        let problem = || force.rules.borrow().problem.clone().unwrap_or_default();
        std::fs::write(folder.join("a.yaml"), "rules: []").unwrap();
        assert_eq!(loaded(&force, folder, "mute: []"), ["fast"]);
        assert!(problem().contains("there is no rule in its files"), "{}", problem());
        ["a.yaml", "b.yaml"].iter().for_each(|file| std::fs::remove_file(folder.join(file)).unwrap());
        force.load_rules(folder);
        assert!(problem().contains("there is no rule file (*.yaml) in it"), "{}", problem());
        assert_eq!(force.rules.borrow().rules.len(), 1);
        assert_eq!(loaded(&force, folder, FAST), ["fast"]);
        assert_eq!(problem(), "");
    }

    #[test]
    fn a_file_that_is_mended_is_said_once() {
        let temp = tempfile::tempdir().unwrap();
        let force = force(temp.path());
        let parse = |files: &[(&str, &str)]| RuleSet::parse(files);
        let bad = "rules: [{ id: slow, when: sped_kmh < 10 }]";
        assert_eq!(force.mended(&parse(&[("a", bad), ("b", bad)])), [""; 0]);
        assert_eq!(force.mended(&parse(&[("a", FAST), ("b", bad)])), ["a"]);
        assert_eq!(force.mended(&RuleSet::load(&temp.path().join("none"))), [""; 0]);
        assert_eq!(force.mended(&parse(&[("a", FAST)])), ["b"]);
        assert_eq!(force.mended(&parse(&[("a", FAST)])), [""; 0]);
    }

    #[test]
    fn every_change_has_a_word() {
        let set = |text: &str| RuleSet::parse(&[("a.yaml", text)]).unwrap();
        let before = set("rules: [{ id: a, when: moving }, { id: b, when: moving }, { id: c, when: moving }]");
        let after = set("rules: [{ id: b, when: loaded }, { id: c, when: moving }, { id: d, when: moving }]");
        let changes: Vec<String> = changes(&before, &after).iter().map(|(id, word)| format!("{id} {word}")).collect();
        assert_eq!(changes, ["b changed", "d added", "a removed"]);
    }
}
