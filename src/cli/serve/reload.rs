//! Rules and registry that change while running: all or nothing, and always said.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use tokio::sync::{mpsc, watch};

use super::intake::Order;
use crate::{
    cli::now,
    config::Config,
    engine::Reference,
    metrics::Metrics,
    registry::{Book, Entity, ImportSummary, Registry, RegistryError},
    rules::RuleSet,
    server::{Registrar, RuleSummary, RulesShown},
};

/// How often the folder of rules is looked at.
const EVERY: Duration = Duration::from_secs(2);

/// What is in force, and how it is replaced.
pub struct Reloads {
    folder: PathBuf,
    force: Arc<Force>,
}

struct Force {
    reference: Mutex<Reference>,
    book: Arc<Mutex<Book>>,
    orders: mpsc::Sender<Order>,
    metrics: Arc<Metrics>,
    registry: watch::Sender<Arc<Registry>>,
    rules: watch::Sender<Arc<RulesShown>>,
}

/// Name, size and time of change of each rule file: a change of the folder changes this.
type Fingerprint = Vec<(PathBuf, u64, Option<SystemTime>)>;

impl Reloads {
    pub fn new(
        config: &Config,
        reference: Reference,
        book: Arc<Mutex<Book>>,
        orders: mpsc::Sender<Order>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let registry = watch::Sender::new(Arc::clone(&reference.registry));
        let rules = watch::Sender::new(Arc::new(shown(&reference.rules, None)));
        let force = Force { reference: Mutex::new(reference), book, orders, metrics, registry, rules };
        Self { folder: config.rules.clone(), force: Arc::new(force) }
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
        Arc::new(move |entity: Entity, rows: &[serde_json::Value]| force.register(entity, rows))
    }

    /// Looks at the folder of rules for ever.
    pub async fn watch(self) {
        let mut last = fingerprint(&self.folder);
        loop {
            tokio::time::sleep(EVERY).await;
            let current = fingerprint(&self.folder);
            if current == last {
                continue;
            }
            last = current;
            let (force, folder) = (Arc::clone(&self.force), self.folder.clone());
            let loaded = tokio::task::spawn_blocking(move || force.load_rules(&folder)).await;
            if let Ok(Some(reference)) = loaded {
                _ = self.force.orders.send(Order::Replace(Box::new(reference))).await;
            }
        }
    }
}

impl Force {
    /// The folder's rules in place of those in force; `None`, and said, when they are wrong.
    fn load_rules(&self, folder: &Path) -> Option<Reference> {
        let result = RuleSet::load(folder);
        self.metrics.count_rule_reload(result.is_ok());
        let mut reference = self.reference.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(rules) if rules.digest() == reference.rules.digest() => {
                self.rules.send_replace(Arc::new(shown(&rules, None)));
                None
            }
            Ok(rules) => {
                tell_changes(&reference.rules, &rules);
                self.metrics.rules_loaded.set(rules.rules().len() as i64);
                self.rules.send_replace(Arc::new(shown(&rules, None)));
                reference.rules = Arc::new(rules);
                Some(reference.clone())
            }
            Err(error) => {
                tracing::error!(folder = %folder.display(), "the rules stay as they were: failed to {error}");
                self.rules.send_replace(Arc::new(shown(&reference.rules, Some(error.to_string()))));
                None
            }
        }
    }

    fn register(&self, entity: Entity, rows: &[serde_json::Value]) -> Result<ImportSummary, RegistryError> {
        let result = self.take(entity, rows);
        self.metrics.count_registry_reload(result.is_ok());
        result
    }

    fn take(&self, entity: Entity, rows: &[serde_json::Value]) -> Result<ImportSummary, RegistryError> {
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        let summary = book.upsert(entity, rows, now())?;
        let registry = Arc::new(book.load()?);
        let mut reference = self.reference.lock().unwrap_or_else(PoisonError::into_inner);
        reference.registry = Arc::clone(&registry);
        // Called where blocking is allowed. Nobody there any more: the process is ending.
        _ = self.orders.blocking_send(Order::Replace(Box::new(reference.clone())));
        self.registry.send_replace(registry);
        Ok(summary)
    }
}

/// What became of each rule whose content changed.
fn tell_changes(before: &RuleSet, after: &RuleSet) {
    let version = |set: &RuleSet, id: &str| set.index_of(id).map(|index| set.rules()[index].version.clone());
    for rule in after.rules() {
        match version(before, &rule.id) {
            None => tracing::info!(rule = %rule.id, "rule added"),
            Some(old) if old != rule.version => tracing::info!(rule = %rule.id, "rule changed"),
            Some(_) => {}
        }
    }
    let gone = before.rules().iter().filter(|rule| after.index_of(&rule.id).is_none());
    gone.for_each(|rule| tracing::info!(rule = %rule.id, "rule removed"));
}

fn shown(rules: &RuleSet, problem: Option<String>) -> RulesShown {
    let summary = |rule: &crate::rules::Rule| RuleSummary {
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

fn fingerprint(folder: &Path) -> Fingerprint {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut files: Fingerprint = entries
        .flatten()
        .filter_map(|entry| {
            let metadata = entry.metadata().ok()?;
            Some((entry.path(), metadata.len(), metadata.modified().ok()))
        })
        .collect();
    files.sort();
    files
}
