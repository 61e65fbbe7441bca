//! A data folder, looked back at: what was told, and history judged again by what was in force.

use std::{cell::RefCell, collections::BTreeSet, path::PathBuf, sync::Arc};

use super::{
    Asked, Course, EngineError, Evidence, FoundAgain, LateSettings, Reference, Together, ToldAlert, evidence, find_all,
    only_vehicle,
};
use crate::{
    facts,
    journal::{Catalogue, Devices, Journal, JournalError},
    model::{Alert, Record, Text},
    registry::Book,
    rules::RuleSet,
    store::{InForce, Reader},
};

/// Where to look, and by what settings was judged. Cheap to clone.
#[derive(Clone)]
pub struct Archive {
    pub store: Reader,
    pub journal: PathBuf,
    pub book: PathBuf,
    /// The folder of rules, for what was judged before it was kept by what.
    pub rules: PathBuf,
    pub facts: facts::Settings,
    pub tick_ms: i64,
    pub late: LateSettings,
}

/// Damages of the journal that are told.
const DAMAGES: usize = 10;

impl Archive {
    /// Every alert whose id begins so, as committed, to `each`; and up to which journal position that was.
    ///
    /// # Errors
    /// When the database fails.
    pub fn told(&self, prefix: &str, each: &mut dyn FnMut(ToldAlert)) -> Result<u64, EngineError> {
        let mut give = |alert, json| each(ToldAlert { alert, json });
        Ok(self.store.alerts_as_committed(prefix, &mut give)?.unwrap_or(0))
    }

    /// The evidence of an alert that was told, from what was committed up to a position.
    ///
    /// # Errors
    /// When something of it cannot be read, or a rule cannot be evaluated.
    pub fn explain(&self, asked: Asked, until: u64) -> Result<Evidence, EngineError> {
        let mut missing = Vec::new();
        let book = Book::open_to_read(&self.book)?;
        let alert = asked.alert.clone();
        let judge = |course: &Course<'_>, only: Option<Text>, records: &mut dyn Iterator<Item = _>| {
            evidence(course, asked, only, Some(&book), records)
        };
        let mut evidence = self.judged_again(until, Some(&alert), &mut missing, judge)?;
        self.tell_missing(&mut missing)?;
        evidence.missing = missing;
        Ok(evidence)
    }

    /// Every alert that history gives up to a position, and what of it is missing.
    ///
    /// # Errors
    /// As [`Self::explain`].
    pub fn find_all(&self, until: u64) -> Result<(FoundAgain, Vec<String>), EngineError> {
        let mut missing = Vec::new();
        let found = self.judged_again(until, None, &mut missing, |course, _, records| find_all(course, records))?;
        self.tell_missing(&mut missing)?;
        Ok((found, missing))
    }

    /// For one alert only what its vehicle's devices sent is read, where that is enough.
    fn judged_again<T>(
        &self,
        until: u64,
        alert: Option<&Alert>,
        missing: &mut Vec<String>,
        judge: impl FnOnce(
            &Course<'_>,
            Option<Text>,
            &mut dyn Iterator<Item = Result<(u64, Record), EngineError>>,
        ) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        let mut chronicle = self.chronicle(None)?;
        if chronicle.in_force.is_empty() {
            let all = InForce { position: 0, at: Default::default(), rules: "".into(), registry: i64::MAX };
            chronicle.in_force.push(all);
        }
        let reference = |from: &InForce| chronicle.reference(from);
        let course = Course {
            in_force: &chronicle.in_force,
            reference: &reference,
            together: Together::Arrival,
            until: Some(until),
        };
        let mut records = Journal::read(&self.journal, 0)?;
        let only = alert.map(|alert| only_vehicle(&course, alert)).transpose()?.flatten();
        if let Some(vehicle_id) = &only {
            records = records.of_devices(self.devices_of(&BTreeSet::from([&**vehicle_id]))?);
        }
        let mut records = records.filter_map(|entry| match entry {
            Ok(entry) => Some(Ok(entry)),
            // The reading goes on after these.
            Err(error @ (JournalError::Lost { .. } | JournalError::Damaged { .. })) => {
                if missing.len() < DAMAGES {
                    missing.push(format!("failed to {error}"));
                }
                None
            }
            Err(error) => Some(Err(error.into())),
        });
        judge(&course, only, &mut records)
    }

    /// The devices whose reports may be of these vehicles: those that they ever had, and those that no vehicle has.
    ///
    /// # Errors
    /// When the book of the registry cannot be read.
    pub fn devices_of(&self, vehicle_ids: &BTreeSet<&str>) -> Result<Devices, EngineError> {
        let registered = Book::open_to_read(&self.book)?.devices_of(vehicle_ids)?;
        let unregistered = vehicle_ids.iter().map(|id| Text::from(*id));
        Ok(Arc::new(registered.iter().map(|id| Text::from(&**id)).chain(unregistered).collect()))
    }

    /// What was in force when; with what is in force now, where that is known.
    ///
    /// # Errors
    /// When the database fails.
    pub fn chronicle(&self, now: Option<&Reference>) -> Result<Chronicle<'_>, EngineError> {
        let in_force = self.store.in_force()?;
        Ok(Chronicle { archive: self, in_force, now: now.cloned(), last: RefCell::default() })
    }

    /// The rules of then. What is known already is shared, so that the judge knows it again.
    fn rules(&self, from: &InForce, known: &[&Reference]) -> Result<Arc<RuleSet>, EngineError> {
        if let Some(reference) = known.iter().find(|held| *held.rules.digest() == *from.rules) {
            return Ok(Arc::clone(&reference.rules));
        }
        if from.rules.is_empty() {
            return Ok(Arc::new(RuleSet::load(&self.rules)?));
        }
        let files = self.store.rule_files(&from.rules)?;
        let files = files.ok_or_else(|| EngineError::RulesGone(from.rules.clone()))?;
        let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (&**name, &**text)).collect();
        Ok(Arc::new(RuleSet::parse_kept(&files)?))
    }

    /// What judged then.
    fn reference(&self, from: &InForce, known: &[&Reference]) -> Result<Reference, EngineError> {
        let rules = self.rules(from, known)?;
        let registry = match known.iter().find(|held| held.registry.batch() == from.registry) {
            Some(reference) => Arc::clone(&reference.registry),
            None => Arc::new(Book::open_to_read(&self.book)?.load_as_of(from.registry)?),
        };
        Ok(Reference { registry, rules, facts: self.facts.clone(), tick_ms: self.tick_ms, late: self.late })
    }

    fn tell_missing(&self, missing: &mut Vec<String>) -> Result<(), EngineError> {
        let begins = Catalogue::of(&self.journal)?.first_position();
        match begins {
            Some(0) => {}
            Some(position) => missing.push(format!(
                "history begins at position {position}: what came before is not kept, and cannot be judged again"
            )),
            None => missing.push("no report is kept".to_owned()),
        }
        if let Some(first) = self.store.in_force()?.first().filter(|first| first.position > begins.unwrap_or(0)) {
            missing.push(format!(
                "by which rules and registry was judged before position {} is not kept: by those of that position",
                first.position
            ));
        }
        Ok(())
    }
}

/// What was in force when, in a data folder.
pub struct Chronicle<'a> {
    pub archive: &'a Archive,
    /// By position.
    pub in_force: Vec<InForce>,
    now: Option<Reference>,
    /// What was asked for last.
    last: RefCell<Option<Reference>>,
}

impl Chronicle<'_> {
    /// What stands behind one of them.
    ///
    /// # Errors
    /// When rules or registry cannot be read.
    pub fn reference(&self, from: &InForce) -> Result<Reference, EngineError> {
        let reference = {
            let last = self.last.borrow();
            let known: Vec<&Reference> = self.now.iter().chain(last.iter()).collect();
            self.archive.reference(from, &known)?
        };
        self.last.replace(Some(reference.clone()));
        Ok(reference)
    }

    /// The rules of one of them.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn rules(&self, from: &InForce) -> Result<Arc<RuleSet>, EngineError> {
        self.archive.rules(from, &self.now.iter().collect::<Vec<_>>())
    }

    /// By what records from a position on were judged: the first of all holds for what lies before it, too.
    pub fn at(&self, position: u64) -> Option<&InForce> {
        self.in_force.iter().rev().find(|from| from.position <= position).or(self.in_force.first())
    }

    /// What came into force after a position.
    pub fn after(&self, position: u64) -> &[InForce] {
        &self.in_force[self.in_force.partition_point(|from| from.position <= position)..]
    }
}
