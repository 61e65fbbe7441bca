//! What trucks do wrong on purpose, and how long it takes for a rule of the pack to mind.

/// A way to break a rule. The last few are never planned: they come with others, or with gaps in the reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Offence {
    Overspeed,
    OverspeedSevere,
    RouteDeviation,
    RouteDeviationSevere,
    ForbiddenZone,
    UnpermittedTransport,
    OutsidePermitHours,
    AbnormalStop,
    LiftOutsideSite,
    CoverOpenLoaded,
    TerminalOffline,
    Blacklisted,
    OverspeedUnsealed,
    PermitNotValid,
    TrackGap,
    ContinuousDriving,
    DailyDriving,
    DumpProtectedArea,
    EarlyLoading,
    ClockSkew,
}

/// How long an offence must last, seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// What the rule waits for.
    pub hold_s: f64,
    /// What is added before we call an alert certain.
    pub margin_s: f64,
    /// For so long it may pause without being over.
    pub pause_s: f64,
    /// After it is over, no other alert is certain for so long.
    pub rest_s: f64,
    /// So many reports may pass before the rule's facts have followed.
    pub reports: f64,
}

impl Patience {
    /// For how long an offence that is reported every `interval_s` seconds must last to be certain to come to light: the
    /// hold begins and ends with a report, and no rule is content with fewer than three.
    pub fn certain_s(&self, interval_s: f64) -> f64 {
        (self.hold_s + self.margin_s.max(self.reports * interval_s)).max(3.5 * interval_s)
    }
}

const HOUR_S: f64 = 3_600.0;

impl Offence {
    pub const ALL: &[Self] = &[
        Self::Overspeed,
        Self::OverspeedSevere,
        Self::RouteDeviation,
        Self::RouteDeviationSevere,
        Self::ForbiddenZone,
        Self::UnpermittedTransport,
        Self::OutsidePermitHours,
        Self::AbnormalStop,
        Self::LiftOutsideSite,
        Self::CoverOpenLoaded,
        Self::TerminalOffline,
        Self::Blacklisted,
        Self::OverspeedUnsealed,
        Self::PermitNotValid,
        Self::TrackGap,
        Self::ContinuousDriving,
        Self::DailyDriving,
        Self::DumpProtectedArea,
        Self::EarlyLoading,
        Self::ClockSkew,
    ];

    /// The rule that it breaks.
    pub const fn rule_id(self) -> &'static str {
        match self {
            Self::Overspeed => "overspeed",
            Self::OverspeedSevere => "overspeed-severe",
            Self::RouteDeviation => "route-deviation",
            Self::RouteDeviationSevere => "route-deviation-severe",
            Self::ForbiddenZone => "forbidden-zone",
            Self::UnpermittedTransport => "unpermitted-transport",
            Self::OutsidePermitHours => "outside-permit-hours",
            Self::AbnormalStop => "abnormal-stop",
            Self::LiftOutsideSite => "lift-outside-site",
            Self::CoverOpenLoaded => "cover-open-loaded",
            Self::TerminalOffline => "terminal-offline",
            Self::Blacklisted => "blacklisted",
            Self::OverspeedUnsealed => "overspeed-unsealed",
            Self::PermitNotValid => "permit-not-valid",
            Self::TrackGap => "track-gap",
            Self::ContinuousDriving => "continuous-driving",
            Self::DailyDriving => "daily-driving",
            Self::DumpProtectedArea => "dump-protected-area",
            Self::EarlyLoading => "early-loading",
            Self::ClockSkew => "clock-skew",
        }
    }

    /// Offences that come to light, or nearly, whenever this one is committed.
    pub(super) const fn implies(self) -> &'static [Self] {
        match self {
            Self::OverspeedSevere => &[Self::Overspeed],
            Self::RouteDeviationSevere => &[Self::RouteDeviation],
            Self::LiftOutsideSite => &[Self::DumpProtectedArea],
            Self::ForbiddenZone => &[Self::RouteDeviation, Self::RouteDeviationSevere],
            _ => &[],
        }
    }

    /// Hold, clearing time and cool-down as the first pack has them. What a rule asks of a fact and not of the hold
    /// (15 minutes of standing, 5 of silence) is part of [`super::watch`]'s conditions.
    pub(super) const fn patience(self) -> Patience {
        let (hold_s, margin_s, pause_s, rest_s) = match self {
            Self::Overspeed => (30.0, 14.0, 30.0, 640.0),
            Self::OverspeedSevere => (15.0, 9.0, 0.0, 640.0),
            Self::RouteDeviation | Self::RouteDeviationSevere => (180.0, 30.0, 60.0, 2.0 * HOUR_S + 90.0),
            Self::ForbiddenZone => (60.0, 20.0, 60.0, 2.0 * HOUR_S + 90.0),
            Self::UnpermittedTransport => (120.0, 20.0, 60.0, 25.0 * HOUR_S),
            Self::OutsidePermitHours => (300.0, 30.0, 0.0, 2.0 * HOUR_S + 60.0),
            // Standing is told from when it began; the fix that tells it may come a minute later.
            Self::AbnormalStop => (0.0, 70.0, 0.0, HOUR_S + 60.0),
            Self::LiftOutsideSite => (10.0, 5.0, 10.0, 1_900.0),
            Self::CoverOpenLoaded => (60.0, 15.0, 10.0, 1_900.0),
            // Silence is looked at once a minute.
            Self::TerminalOffline => (0.0, 130.0, 0.0, 25.0 * HOUR_S),
            Self::Blacklisted => (0.0, 5.0, 60.0, 25.0 * HOUR_S),
            Self::OverspeedUnsealed => (30.0, 15.0, 10.0, 1_900.0),
            Self::ClockSkew => (0.0, 60.0, 0.0, 25.0 * HOUR_S),
            // Never certain: a permit may never have been there, a gap may be short of two kilometres, and stands in
            // between are not added up here.
            Self::PermitNotValid => (120.0, f64::INFINITY, 60.0, 0.0),
            Self::TrackGap
            | Self::ContinuousDriving
            | Self::DailyDriving
            | Self::DumpProtectedArea
            | Self::EarlyLoading => (0.0, f64::INFINITY, 0.0, 0.0),
        };
        let reports = match self {
            // Off the route is who was so in three fixes of four.
            Self::RouteDeviation | Self::RouteDeviationSevere => 5.0,
            // Ten, and some that are lost or come twice.
            Self::ClockSkew => 20.0,
            _ => 2.5,
        };
        Patience { hold_s, margin_s, pause_s, rest_s, reports }
    }
}
