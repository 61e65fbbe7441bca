//! One rule, one key: from verdicts to steps.

use serde::{Deserialize, Serialize};

use crate::model::{CountWindow, Severity, Time, Timing, Verdict, limits};

/// What a report changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Opened {
        started_at: Time,
        fired_at: Time,
    },
    /// It became graver.
    Raised(Severity),
    Cleared {
        cleared_at: Time,
    },
}

/// The state of one rule for one key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine(State);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum State {
    /// No alert is open: on the way to one, or kept apart from the last one.
    Closed { progress: Progress, cleared_at: Option<Time> },
    Open {
        fired_at: Time,
        severity: Severity,
        clearing: Option<Hold>,
        /// It ends then, unless something comes that can clear it or keeps it open.
        lapses_at: Time,
    },
}

impl Default for State {
    fn default() -> Self {
        Self::Closed { progress: Progress::None, cleared_at: None }
    }
}

/// How far it is on the way to an alert.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Progress {
    #[default]
    None,
    Hold(Hold),
    /// Times of the latest hits, oldest first, never more than the rule asks for.
    Hits(Vec<Time>),
}

/// A predicate that holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    pub started_at: Time,
    pub last_true_at: Time,
    /// Event time counted so far.
    pub held_ms: i64,
    pub samples: u32,
    /// An unknown came after the last true: the span to the next true does not count.
    pub interrupted: bool,
}

/// How a machine stands, for those who watch a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// No alert is open.
    Closed {
        hold: Option<Hold>,
        /// In the window of a rule that counts.
        hits: usize,
        /// Before this no alert opens.
        cools_until: Option<Time>,
    },
    Open {
        fired_at: Time,
        severity: Severity,
        clearing: Option<Hold>,
    },
}

impl Hold {
    fn begin(at: Time) -> Self {
        Self { started_at: at, last_true_at: at, held_ms: 0, samples: 1, interrupted: false }
    }

    /// Another report that says true; `at` not before the last.
    fn extend(&mut self, at: Time) {
        if !self.interrupted {
            self.held_ms = self.held_ms.saturating_add(at.ms_since(self.last_true_at));
        }
        self.interrupted = false;
        self.last_true_at = at;
        self.samples = self.samples.saturating_add(1);
    }
}

impl Machine {
    /// Whether an alert is open.
    pub fn is_open(&self) -> bool {
        matches!(self.0, State::Open { .. })
    }

    /// Whether it is on the way to an alert.
    pub fn is_holding(&self) -> bool {
        matches!(&self.0, State::Closed { progress, .. } if *progress != Progress::None)
    }

    /// How it stands.
    pub fn phase(&self, timing: &Timing) -> Phase {
        match &self.0 {
            State::Closed { progress, cleared_at } => {
                let (hold, hits) = match progress {
                    Progress::None => (None, 0),
                    Progress::Hold(hold) => (Some(*hold), 0),
                    Progress::Hits(hits) => (None, hits.len()),
                };
                Phase::Closed { hold, hits, cools_until: cleared_at.map(|cleared| cool_from(cleared, timing)) }
            }
            State::Open { fired_at, severity, clearing, .. } => {
                Phase::Open { fired_at: *fired_at, severity: *severity, clearing: *clearing }
            }
        }
    }

    /// Whether its alert is over by `at` because nothing came for too long that could clear it.
    pub fn lapses_by(&self, at: Time) -> bool {
        matches!(self.0, State::Open { lapses_at, .. } if lapses_at < at)
    }

    /// Ends an alert that is over by `at` ([`Machine::lapses_by`]); when it ended.
    pub fn lapse(&mut self, at: Time) -> Option<Time> {
        let State::Open { lapses_at, .. } = self.0 else { return None };
        (lapses_at < at).then(|| {
            self.0 = State::Closed { progress: Progress::None, cleared_at: Some(lapses_at) };
            lapses_at
        })
    }

    /// An open alert is over at `at`.
    pub fn end(&mut self, at: Time) {
        if let State::Open { lapses_at, .. } = &mut self.0 {
            *lapses_at = at;
        }
    }

    /// Whether nothing would be lost by forgetting it as of `at`.
    pub fn is_idle(&self, timing: &Timing, at: Time) -> bool {
        match &self.0 {
            State::Closed { progress: Progress::None, cleared_at } => {
                cleared_at.is_none_or(|cleared| at > cleared && at >= cool_from(cleared, timing))
            }
            _ => false,
        }
    }

    /// Takes one report's verdicts. `severity` is that of this report; it counts when `when` is true. While `inhibited`, a true
    /// that would begin or go on with a hold counts as unknown.
    pub fn advance(
        &mut self,
        timing: &Timing,
        at: Time,
        when: Verdict,
        clear: Verdict,
        severity: Severity,
        inhibited: bool,
    ) -> Option<Step> {
        match &mut self.0 {
            State::Closed { progress, cleared_at } => {
                if cleared_at.is_some_and(|cleared| at <= cleared) {
                    return None;
                }
                let when = if inhibited && when == Verdict::True { Verdict::Unknown } else { when };
                let started_at = progress.advance(timing, at, when, severity)?;
                if cleared_at.is_some_and(|cleared| at < cool_from(cleared, timing)) {
                    return None;
                }
                let fired_at = at.max(started_at);
                let lapses_at = fired_at.plus_ms(timing.max_open_ms);
                self.0 = State::Open { fired_at, severity, clearing: None, lapses_at };
                Some(Step::Opened { started_at, fired_at })
            }
            State::Open { severity: reached, clearing, lapses_at, .. } if when == Verdict::True => {
                *clearing = None;
                *lapses_at = at.plus_ms(timing.max_open_ms).max(*lapses_at);
                (severity > *reached).then(|| {
                    *reached = severity;
                    Step::Raised(severity)
                })
            }
            State::Open { fired_at, clearing, lapses_at, .. } => {
                let at = at.max(*fired_at);
                if clear != Verdict::Unknown {
                    *lapses_at = at.plus_ms(timing.max_open_ms).max(*lapses_at);
                }
                is_cleared(clearing, timing.clear_ms, at, clear).then(|| {
                    self.0 = State::Closed { progress: Progress::None, cleared_at: Some(at) };
                    Step::Cleared { cleared_at: at }
                })
            }
        }
    }
}

/// The first instant at which the next alert may fire.
fn cool_from(cleared_at: Time, timing: &Timing) -> Time {
    cleared_at.plus_ms(timing.cooldown_ms)
}

/// Moves the clearing hold; whether it is complete.
fn is_cleared(clearing: &mut Option<Hold>, clear_ms: i64, at: Time, clear: Verdict) -> bool {
    match clear {
        Verdict::Unknown => {
            if let Some(hold) = clearing {
                hold.interrupted = true;
            }
            false
        }
        Verdict::False => {
            *clearing = None;
            false
        }
        Verdict::True => {
            match clearing {
                Some(hold) => hold.extend(at.max(hold.last_true_at)),
                None => *clearing = Some(Hold::begin(at)),
            }
            clearing.is_some_and(|hold| hold.held_ms >= clear_ms)
        }
    }
}

impl Progress {
    /// When the alert would have started, if this report completes what the rule asks for. Only a true one does.
    fn advance(&mut self, timing: &Timing, at: Time, when: Verdict, severity: Severity) -> Option<Time> {
        match timing.count {
            Some(window) => self.advance_count(window, at, when, severity),
            None => self.advance_hold(timing, at, when),
        }
    }

    fn advance_hold(&mut self, timing: &Timing, at: Time, when: Verdict) -> Option<Time> {
        match (when, &mut *self) {
            (Verdict::Unknown, Self::Hold(hold)) => {
                hold.interrupted = true;
                return None;
            }
            (Verdict::Unknown, _) => return None,
            (Verdict::False, _) => {
                *self = Self::None;
                return None;
            }
            (Verdict::True, Self::Hold(hold)) if at.ms_since(hold.last_true_at) <= timing.max_gap_ms => {
                hold.extend(at.max(hold.last_true_at));
            }
            (Verdict::True, _) => *self = Self::Hold(Hold::begin(at)),
        }
        let Self::Hold(hold) = self else { return None };
        (hold.held_ms >= timing.hold_ms && hold.samples >= timing.min_samples).then_some(hold.started_at)
    }

    fn advance_count(&mut self, window: CountWindow, at: Time, when: Verdict, severity: Severity) -> Option<Time> {
        let mut hits = match std::mem::take(self) {
            Self::Hits(hits) => hits,
            _ => Vec::new(),
        };
        let at = hits.last().map_or(at, |last| at.max(*last));
        if when == Verdict::True {
            hits.push(at);
        }
        let wanted = window.at_least.clamp(1, limits::COUNT_HITS) as usize;
        let surplus = hits.len().saturating_sub(wanted);
        let stale = hits.iter().take_while(|hit| at.ms_since(**hit) > window.within_ms).count();
        hits.drain(..stale.max(surplus));
        let is_full = hits.len() == wanted || window.at_once.is_some_and(|grave| severity >= grave);
        let started_at = hits.first().copied().filter(|_| when == Verdict::True && is_full);
        *self = if hits.is_empty() { Self::None } else { Self::Hits(hits) };
        started_at
    }
}
