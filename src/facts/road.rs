//! Roads: the one it is on, by matching its way against the network of roads as the fixes come.
//!
//! A hidden Markov model after Newson & Krumm, "Hidden Markov Map Matching Through Noise and Sparseness" (ACM GIS
//! 2009): the states are segments near the fix; how well a state explains the fix falls with its distance as a Gaussian,
//! how well two states follow each other falls exponentially with the difference between the way along the roads and
//! the straight way between the fixes. Theirs looks at the whole track (Viterbi); here a row is judged at once, so
//! only the forward half runs. As theirs, a step is taken only from a fix two sigmas away or more: the errors of
//! fixes nearby are alike, and taking each for a new witness would believe noise. Rows in between are judged from the
//! last such fix and leave nothing.
//!
//! The road of the fix before is told again from this one (forward-backward, one step back): for [`super::settled`].
//!
//! Maps lack links and trucks break rules, so no step is impossible: it costs at most `road_break`. Where nothing
//! leads from what was believed to what is seen, all cost the same, which is to start afresh.

use std::{cell::RefCell, cmp::Ordering};

use serde::{Deserialize, Serialize};

use super::{Settings, exact, settled::SeenRoad};
use crate::{
    model::{Facts, Text, Time, limits},
    registry::{Registry, Road},
    spatial::{LineHit, Piece, Point, Reach, Spot, Walk, distance_m, heading_deg, heading_difference_deg},
};

/// A course against which no road can be told costs no more than this, in units of log-probability.
const MAX_TURN_COST: f64 = 6.0;
/// What it costs to drive against a one-way road, in units of log-probability: 1 in 20. Rare, not impossible, and maps err.
const AGAINST_COST: f64 = 3.0;
/// Roads that explain the fixes nearly as well as the likeliest, in units of log-probability: at least 1 in 20.
const AS_WELL: f64 = 3.0;
/// A road beside the likeliest that leads the same way within this angle, degrees ...
const BESIDE_DEG: f64 = 30.0;
/// ... and lies no more than this much farther from the fix, metres, explains it as well, whatever led there: half a wide
/// road's width and a receiver's error, which is alike over many fixes and so no witness that could be believed.
const BESIDE_M: f64 = 12.0;
/// The straight way between two fixes is a course when they lie so far apart, metres: more than their error, less
/// than streets between two corners.
const CHORD_M: std::ops::RangeInclusive<f64> = 10.0..=60.0;
/// What is less likely than the best by this much (in units of log-probability) is forgotten.
const FORGET: f64 = 10.0;

/// What is believed of the road that it is on.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct OnRoad {
    anchor: Option<Anchor>,
    /// The last fix, while it is not the anchor and somebody asks of it later.
    before: Option<Box<Anchor>>,
}

/// What was found at a fix.
#[derive(Debug, Default)]
pub(super) struct Roads {
    pub here: Option<SeenRoad>,
    /// Of the fix before, as seen from here.
    pub before: Option<SeenRoad>,
}

/// The last fix that counted, and where it may have been then.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Anchor {
    /// When the fix was taken.
    fixed: Time,
    /// When a road was last near.
    seen: Time,
    #[serde(with = "exact::point")]
    spot: Point,
    /// At most [`limits::ROAD_CANDIDATES`].
    beliefs: Vec<Belief>,
}

/// A spot on a road, named so that it is found again in another snapshot of the registry.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Belief {
    road_id: Text,
    /// The road's number in the registry that named it last: a hint.
    #[serde(skip)]
    number: u32,
    /// The segment's number within the road.
    segment: u32,
    #[serde(with = "exact")]
    along_m: f64,
    /// Metres from the fix.
    #[serde(with = "exact")]
    distance_m: f64,
    /// By how much it is less likely than the best, as a difference of logarithms.
    #[serde(with = "exact")]
    cost: f64,
}

/// A spot and, when it moves, its course.
#[derive(Clone, Copy, Debug)]
pub(super) struct Passage {
    pub spot: Point,
    pub at: Time,
    /// Neither standing nor slower than that.
    pub is_moving: bool,
    /// Reported, degrees from north; `None` when it is none.
    pub heading_deg: Option<f64>,
    /// Whether the next fix will ask of this one.
    pub settles: bool,
    /// When the report before was measured, of which this one asks.
    pub unsettled: Option<Time>,
}

/// How well a segment explains a fix.
#[derive(Clone, Copy, Debug)]
struct Fit {
    /// The road's number.
    line: usize,
    cost: f64,
    distance_m: f64,
    heading_deg: f64,
}

/// A segment that it may be on.
#[derive(Clone, Copy, Debug)]
struct Candidate<'a> {
    road: &'a Road,
    hit: LineHit,
    spot: Spot,
    cost: f64,
}

/// Buffers of a thread, used again.
#[derive(Default)]
struct Buffers {
    walk: Walk,
    ways: Vec<f64>,
    /// Of the candidates, and what each costs by this fix alone.
    spots: Vec<Spot>,
    emitted: Vec<f64>,
    /// How well what was believed at a fix explains that and this one, and which fix it was.
    fits: Vec<Fit>,
    fitted: Option<Time>,
}

thread_local! {
    static BUFFERS: RefCell<Buffers> = RefCell::default();
}

impl OnRoad {
    /// Fills `road_*`; gives the road with its limit, km/h: the highest of all roads that explain the fixes about as well, for nobody is accused
    /// of what nobody can know. No road within reach: `None` all.
    pub fn step(&mut self, row: &mut Facts, registry: &Registry, passage: Passage, settings: &Settings) -> Roads {
        if registry.roads().is_empty() {
            return Roads::default();
        }
        let before = self.before.take();
        let last = self.anchor.take().filter(|anchor| passage.at.s_since(anchor.seen) <= settings.max_gap_s);
        let moved_m = last.as_ref().map_or(0.0, |anchor| distance_m(anchor.spot, passage.spot));
        let chord = last.as_ref().map(|anchor| anchor.spot).filter(|_| CHORD_M.contains(&moved_m));
        let mut found = candidates(registry, passage, chord, settings);
        forget_unlikely(&mut found, settings);
        let is_asked = |one: &&Anchor| Some(one.fixed) == passage.unsettled && !found.is_empty();
        let asked = before.as_deref().or(last.as_ref()).filter(is_asked);
        let before = BUFFERS.with_borrow_mut(|buffers| {
            buffers.begin(&found);
            // A single road is the likeliest whatever led there.
            if let Some(anchor) = last.as_ref().filter(|_| found.len() > 1) {
                anchor.follow(&mut found, registry, passage, settings, buffers);
            }
            asked.and_then(|asked| asked.seen_from(registry, passage, settings, buffers))
        });
        found.sort_by(Candidate::order);
        self.anchor = remember(last, &found, passage, moved_m, settings);
        let is_anchor = self.anchor.as_ref().is_some_and(|anchor| anchor.fixed == passage.at);
        let is_kept = passage.settles && !is_anchor && !found.is_empty();
        self.before = is_kept.then(|| Box::new(Anchor::of(&found, passage)));
        Roads { here: tell(row, &found), before }
    }
}

/// Fills `road_*` from the candidates, the likeliest first.
fn tell(row: &mut Facts, found: &[Candidate<'_>]) -> Option<SeenRoad> {
    let best = found.first()?;
    row.road_id = Some(best.road.road_id.clone());
    row.road_name = best.road.name.clone();
    row.road_class = Some(best.road.class.clone());
    row.road_distance_m = Some(best.hit.distance_m);
    let rivals = || found[1..].iter().filter(|other| other.fit().explains_as_well_as(&best.fit()));
    let is_other =
        |other: &Candidate<'_>| other.road.name != best.road.name || other.road.limit_kmh() != best.road.limit_kmh();
    row.road_ambiguous = Some(rivals().any(is_other));
    let weight = |candidate: &Candidate<'_>| (best.cost - candidate.cost).exp();
    row.road_confidence = Some(1.0 / found.iter().map(weight).sum::<f64>());
    let limit_kmh = rivals().map(|other| other.road.limit_kmh()).fold(best.road.limit_kmh(), f64::max);
    Some(SeenRoad { road_id: best.road.road_id.clone(), name: best.road.name.clone(), limit_kmh })
}

impl Candidate<'_> {
    fn fit(&self) -> Fit {
        let LineHit { line, distance_m, heading_deg, .. } = self.hit;
        Fit { line, cost: self.cost, distance_m, heading_deg }
    }

    /// The likelier first; ties go to the nearer, then to the smaller id.
    fn order(&self, other: &Self) -> Ordering {
        let cost = self.cost.total_cmp(&other.cost);
        let order = cost.then(self.hit.distance_m.total_cmp(&other.hit.distance_m));
        order.then_with(|| self.road.road_id.cmp(&other.road.road_id)).then(self.hit.segment.cmp(&other.hit.segment))
    }
}

impl Fit {
    /// Whether nobody can tell it from the likeliest.
    fn explains_as_well_as(&self, best: &Self) -> bool {
        let turn = heading_difference_deg(self.heading_deg, best.heading_deg);
        let is_beside = turn.min(180.0 - turn) <= BESIDE_DEG && self.distance_m <= best.distance_m + BESIDE_M;
        is_beside || self.cost - best.cost <= AS_WELL
    }
}

/// The likeliest segments by distance and course alone, of each road the likeliest. `chord` is where it came from, where
/// that tells a course.
fn candidates<'a>(
    registry: &'a Registry,
    passage: Passage,
    chord: Option<Point>,
    settings: &Settings,
) -> Vec<Candidate<'a>> {
    let network = registry.network();
    let chord = chord.filter(|_| passage.is_moving && passage.heading_deg.is_none());
    let chord_deg = chord.map(|from| heading_deg(from, passage.spot));
    let reported_deg = passage.heading_deg.filter(|_| passage.is_moving);
    let mut found: Vec<Candidate<'a>> = Vec::with_capacity(limits::ROAD_CANDIDATES);
    registry.roads().near(passage.spot, settings.road_radius_m, passage.at, |road, hit| {
        let turn_cost = reported_deg.or(chord_deg).map_or(0.0, |deg| turn_cost(road, hit.heading_deg, deg, settings));
        let Some(spot) = network.spot(&hit) else { return };
        let cost = (hit.distance_m / settings.road_sigma_m).powi(2) / 2.0 + turn_cost;
        add(&mut found, Candidate { road, hit, spot, cost });
    });
    found
}

/// Forgets what no way could make likely enough to be remembered.
fn forget_unlikely(found: &mut Vec<Candidate<'_>>, settings: &Settings) {
    let least = found.iter().map(|candidate| candidate.cost).fold(f64::INFINITY, f64::min);
    found.retain(|candidate| candidate.cost - least <= FORGET + settings.road_break);
}

/// Keeps the likeliest of each road, and of those the likeliest.
fn add<'a>(found: &mut Vec<Candidate<'a>>, candidate: Candidate<'a>) {
    let same = found.iter().position(|known| known.hit.line == candidate.hit.line);
    let full = found.len() >= limits::ROAD_CANDIDATES;
    let worst = || (0..found.len()).max_by(|a, b| found[*a].order(&found[*b]));
    match same.or_else(|| if full { worst() } else { None }) {
        Some(place) if candidate.order(&found[place]).is_lt() => found[place] = candidate,
        Some(_) => {}
        None => found.push(candidate),
    }
}

/// What a course costs on a road that leads another way; against a one-way road some more.
fn turn_cost(road: &Road, heading_deg: f64, course_deg: f64, settings: &Settings) -> f64 {
    let cost = |turn_deg: f64| ((turn_deg / settings.road_course_deg).powi(2) / 2.0).min(MAX_TURN_COST);
    let turn_deg = heading_difference_deg(heading_deg, course_deg);
    let against = cost(180.0 - turn_deg) + if road.oneway { AGAINST_COST } else { 0.0 };
    cost(turn_deg).min(against)
}

impl Buffers {
    fn begin(&mut self, found: &[Candidate<'_>]) {
        let Self { spots, emitted, fits, fitted, .. } = self;
        spots.clear();
        spots.extend(found.iter().map(|candidate| candidate.spot));
        emitted.clear();
        emitted.extend(found.iter().map(|candidate| candidate.cost));
        fits.clear();
        *fitted = None;
    }
}

impl Anchor {
    fn of(found: &[Candidate<'_>], passage: Passage) -> Self {
        let least = found.first().map_or(0.0, |best| best.cost);
        let likely = found.iter().filter(|candidate| candidate.cost - least <= FORGET);
        let beliefs = likely.map(|candidate| Belief {
            road_id: candidate.road.road_id.clone(),
            number: candidate.hit.line as u32,
            segment: candidate.hit.segment as u32,
            along_m: candidate.spot.along_m,
            distance_m: candidate.hit.distance_m,
            cost: candidate.cost - least,
        });
        Self { fixed: passage.at, seen: passage.at, spot: passage.spot, beliefs: beliefs.collect() }
    }

    /// Adds to each candidate what it costs to have come there from what was believed.
    fn follow(
        &self,
        found: &mut [Candidate<'_>],
        registry: &Registry,
        passage: Passage,
        settings: &Settings,
        buffers: &mut Buffers,
    ) {
        let mut likelihoods = vec![0.0; found.len()];
        self.lead(registry, passage, settings, buffers, |belief, costs| {
            let led = likelihoods.iter_mut().zip(costs);
            led.for_each(|(likelihood, cost)| *likelihood += (-belief.cost - cost).exp());
        });
        for (candidate, likelihood) in found.iter_mut().zip(likelihoods) {
            // None of what was believed is there any more: all begin alike.
            candidate.cost -= if likelihood > 0.0 { likelihood.ln() } else { 0.0 };
        }
    }

    /// The likeliest road that it was on at its fix, now that it is known where that led.
    fn seen_from(
        &self,
        registry: &Registry,
        passage: Passage,
        settings: &Settings,
        buffers: &mut Buffers,
    ) -> Option<SeenRoad> {
        if buffers.fitted != Some(self.fixed) {
            self.lead(registry, passage, settings, buffers, |_, _| {});
        }
        let fits = &buffers.fits;
        let order = |a: &Fit, b: &Fit| a.cost.total_cmp(&b.cost).then(a.distance_m.total_cmp(&b.distance_m));
        let best = fits.iter().min_by(|a, b| order(a, b).then(a.line.cmp(&b.line)))?;
        let limit = |fit: &Fit| registry.roads().get(fit.line).limit_kmh();
        let road = registry.roads().get(best.line);
        let alike = fits.iter().filter(|fit| fit.explains_as_well_as(best));
        let limit_kmh = alike.map(limit).fold(limit(best), f64::max);
        Some(SeenRoad { road_id: road.road_id.clone(), name: road.name.clone(), limit_kmh })
    }

    /// Tells for each belief that is still there what it costs to get from it to each candidate, and keeps how well each explains
    /// its own fix and this one.
    fn lead(
        &self,
        registry: &Registry,
        passage: Passage,
        settings: &Settings,
        buffers: &mut Buffers,
        mut told: impl FnMut(&Belief, &[f64]),
    ) {
        let network = registry.network();
        let straight_m = distance_m(self.spot, passage.spot);
        let detour = |s: f64| settings.road_detour_m + settings.road_detour_mps * s;
        let detour_m = detour(passage.at.s_since(self.seen).max(0.0));
        let reach = Reach {
            limit_m: straight_m + settings.road_break * detour_m,
            turn_m: settings.road_turn_m * (detour_m / detour(1.0)).sqrt(),
            nodes: limits::ROAD_NODES,
        };
        let Buffers { walk, ways, spots, emitted, fits, fitted } = buffers;
        let passable = |piece: Piece| registry.is_open(piece, passage.at);
        fits.clear();
        *fitted = Some(self.fixed);
        for belief in &self.beliefs {
            let Some((line, from)) = belief.spot(registry, passage.at) else { continue };
            walk.measure(network, from, spots, reach, passable, ways);
            ways.iter_mut().for_each(|way_m| {
                *way_m = ((*way_m - straight_m).abs() / detour_m).min(settings.road_break);
            });
            told(belief, ways);
            let onward: f64 = emitted.iter().zip(&*ways).map(|(emitted, cost)| (-emitted - cost).exp()).sum();
            let cost = belief.cost - onward.max(f64::MIN_POSITIVE).ln();
            let heading_deg = network.heading_deg(from.segment);
            fits.push(Fit { line, cost, distance_m: belief.distance_m, heading_deg });
        }
    }
}

impl Belief {
    /// With its road's number; `None` when the registry no longer has it.
    fn spot(&self, registry: &Registry, at: Time) -> Option<(usize, Spot)> {
        let hint = registry.roads().all().get(self.number as usize);
        let is_it = hint.is_some_and(|road| Text::ptr_eq(&road.road_id, &self.road_id) && road.valid.contains(at));
        let line = if is_it { self.number as usize } else { registry.road_number(&self.road_id, at)? };
        let network = registry.network();
        let segment = network.segment(line, self.segment as usize)?;
        Some((line, Spot { segment, along_m: self.along_m.min(network.length_m(segment)) }))
    }
}

/// What the next row is judged from: this fix, or the last that counted while this one is near it or near no road.
fn remember(
    last: Option<Anchor>,
    found: &[Candidate<'_>],
    passage: Passage,
    moved_m: f64,
    settings: &Settings,
) -> Option<Anchor> {
    if found.is_empty() {
        return last;
    }
    match last {
        Some(anchor) if moved_m < 2.0 * settings.road_sigma_m => Some(Anchor { seen: passage.at, ..anchor }),
        _ => Some(Anchor::of(found, passage)),
    }
}
