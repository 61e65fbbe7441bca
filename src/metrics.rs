//! What Prometheus is told. No global state: one [`Metrics`], shared behind an `Arc`.
//!
//! What always holds: received reports and reports by outcome are written and read under one lock, so that every scrape
//! balances; both go on from the kept ledger after a restart. Labels come from closed sets or from loaded rules.

use std::sync::{Mutex, PoisonError};

use prometheus::{
    Encoder, Gauge, GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder, core::Collector,
};

use crate::model::{Alert, Ledger, OrderState, ReplyOutcome};

/// Every metric. The fields that rooms write to directly say in their help what they count.
pub struct Metrics {
    registry: Registry,
    /// Held while the ledger's counters change or are read.
    ledger: Mutex<()>,
    reports_received: IntCounter,
    reports: IntCounterVec,
    alert_changes: IntCounterVec,
    dispatch_orders: IntGaugeVec,
    replies: IntCounterVec,
    /// Seconds from the event time of the report that completes an alert to its commit.
    pub alert_delay_seconds: Histogram,
    pub dead_letters: IntCounter,
    odd_fields: IntCounterVec,
    /// Seconds that a sync of the journal takes.
    pub journal_sync_seconds: Histogram,
    /// 1 while the disk has no room.
    pub journal_disk_full: IntGauge,
    /// 1 while commits fail and are tried again.
    pub store_stuck: IntGauge,
    pub backlog_bytes: IntGauge,
    /// Of what is kept.
    pub damaged_files: IntGauge,
    /// Since all sealed history was last read through.
    pub scrub_age_seconds: Gauge,
    shard_lag_seconds: GaugeVec,
    pub mqtt_connections_up: IntGauge,
    pub mqtt_reconnects: IntCounter,
    /// Connections that another client with the same id takes away again and again.
    pub mqtt_contested: IntGauge,
    /// QoS 0 messages that found no room.
    pub mqtt_dropped: IntCounter,
    /// Messages below our prefix that nobody reads.
    pub unread_messages: IntCounter,
    pub outbox_pending: IntGauge,
    /// Age of the oldest message that waits, seconds.
    pub outbox_oldest_seconds: Gauge,
    pub outbox_delivered: IntCounter,
    pub outbox_failures: IntCounter,
    /// Seconds that a shard takes for facts, rules and alerts over its part of a batch.
    pub evaluation_seconds: Histogram,
    pub rules_loaded: IntGauge,
    rule_reloads: IntCounterVec,
    snapshots: IntCounterVec,
    /// Answers that are unknown because arithmetic failed.
    pub rule_faults: IntCounter,
    registry_reloads: IntCounterVec,
    pub vehicles: IntGauge,
    pub stream_subscribers: IntGauge,
    pub stream_missed: IntCounter,
}

/// From half a millisecond to half a minute.
const LATENCY_BUCKETS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

impl Metrics {
    /// All at zero.
    pub fn new() -> Self {
        let r = &Registry::new();
        let metrics = Self {
            registry: r.clone(),
            ledger: Mutex::new(()),
            reports_received: counter(r, "reports_received_total", "Reports received, readable or not."),
            reports: counters(r, "reports_total", "Reports by what became of them.", &["outcome", "reason"]),
            alert_changes: counters(
                r,
                "alert_changes_total",
                "Alerts opened, raised and cleared, by rule and the severity they then had.",
                &["rule", "severity", "change"],
            ),
            dispatch_orders: gauges(r, "dispatch_orders", "Dispatch orders by state.", &["state"]),
            replies: counters(
                r,
                "replies_total",
                "Replies of units by what they came to; unknown_dispatch is to an order that there is not.",
                &["outcome"],
            ),
            alert_delay_seconds: histogram(
                r,
                "alert_delay_seconds",
                "Time from the event time of the report that completes an alert to its commit.",
            ),
            dead_letters: counter(
                r,
                "dead_letters_total",
                "Messages that could not be read; they are kept, of those over 1 MiB the head.",
            ),
            odd_fields: counters(
                r,
                "odd_fields_total",
                "Fields of reports that made no sense and are unknown; they are kept in ext as they came.",
                &["field"],
            ),
            journal_sync_seconds: histogram(r, "journal_sync_seconds", "Time to write and sync a journal batch."),
            journal_disk_full: gauge(
                r,
                "journal_disk_full",
                "1 while the disk has no room: nothing is acknowledged, nothing is lost.",
            ),
            store_stuck: gauge(
                r,
                "store_stuck",
                "1 while the database cannot be written: nothing is told, what comes waits, nothing is lost.",
            ),
            backlog_bytes: gauge(
                r,
                "backlog_bytes",
                "Messages put aside because more came than could be judged at once; they are kept, and judged in turn.",
            ),
            damaged_files: gauge(
                r,
                "damaged_files",
                "Files of the data folder that are damaged or missing; the log names each, muckwatch verify all of them.",
            ),
            scrub_age_seconds: float_gauge(
                r,
                "scrub_age_seconds",
                "Since all sealed history was last read and compared with its SHA-256.",
            ),
            shard_lag_seconds: float_gauges(
                r,
                "shard_lag_seconds",
                "How long a shard's last batch had waited when the shard took it up.",
                &["shard"],
            ),
            mqtt_connections_up: gauge(r, "mqtt_connections_up", "Connections to the broker that are up."),
            mqtt_reconnects: counter(r, "mqtt_reconnects_total", "Times a connection to the broker was made again."),
            mqtt_contested: gauge(
                r,
                "mqtt_connections_contested",
                "Connections that another client with the same client id seems to take away again and again.",
            ),
            unread_messages: counter(
                r,
                "unread_messages_total",
                "Messages on topics below our prefix that nobody reads; the log names each kind of topic once.",
            ),
            mqtt_dropped: counter(
                r,
                "mqtt_dropped_total",
                "QoS 0 messages that came while there was no room. Use QoS 1 to lose none.",
            ),
            outbox_pending: gauge(r, "outbox_pending", "Messages that wait to be delivered."),
            outbox_oldest_seconds: float_gauge(r, "outbox_oldest_seconds", "Age of the oldest message that waits."),
            outbox_delivered: counter(r, "outbox_delivered_total", "Messages delivered."),
            outbox_failures: counter(r, "outbox_failures_total", "Deliveries that failed and are tried again."),
            evaluation_seconds: histogram(
                r,
                "evaluation_seconds",
                "Time of a shard for facts, rules and alerts over its part of one batch.",
            ),
            rules_loaded: gauge(r, "rules_loaded", "Rules that judge."),
            snapshots: counters(r, "snapshots_total", "Snapshots of the engine's state, by result.", &["result"]),
            rule_reloads: counters(r, "rule_reloads_total", "Loads of the rule folder, by result.", &["result"]),
            rule_faults: counter(
                r,
                "rule_faults_total",
                "Answers of rules that are unknown because their arithmetic failed.",
            ),
            registry_reloads: counters(r, "registry_reloads_total", "Loads of the registry, by result.", &["result"]),
            vehicles: gauge(r, "vehicles", "Vehicles whose state is kept."),
            stream_subscribers: gauge(r, "stream_subscribers", "Subscribers of the event stream."),
            stream_missed: counter(r, "stream_missed_total", "Events that slow subscribers of the stream missed."),
        };
        gauges(r, "build_info", "The version that runs.", &["version"])
            .with_label_values(&[env!("CARGO_PKG_VERSION")])
            .set(1);
        for result in ["ok", "error"] {
            metrics.rule_reloads.with_label_values(&[result]);
            metrics.snapshots.with_label_values(&[result]);
            metrics.registry_reloads.with_label_values(&[result]);
        }
        for outcome in ReplyOutcome::ALL {
            metrics.replies.with_label_values(&[outcome.as_str()]);
        }
        for state in OrderState::ALL {
            metrics.dispatch_orders.with_label_values(&[state.as_str()]);
        }
        metrics
    }

    /// Counts fields that made no sense.
    pub fn odd_fields(&self, fields: impl IntoIterator<Item = (&'static str, u64)>) {
        for (field, count) in fields {
            self.odd_fields.with_label_values(&[field]).inc_by(count);
        }
    }

    /// Brings the counters of reports to what the ledger says. A ledger never counts down.
    pub fn set_ledger(&self, ledger: &Ledger) {
        let _held = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        raise_to(&self.reports_received, ledger.received());
        for (outcome, reason, count) in ledger.rows() {
            raise_to(&self.reports.with_label_values(&[outcome, reason]), count);
        }
    }

    /// Counts a change to an alert: `opened`, `raised`, `cleared` or `withdrawn`.
    pub fn count_alert(&self, alert: &Alert, change: &str) {
        self.alert_changes.with_label_values(&[&*alert.rule_id, alert.severity.as_str(), change]).inc();
    }

    /// Counts a reply of a unit.
    pub fn count_reply(&self, outcome: ReplyOutcome) {
        self.replies.with_label_values(&[outcome.as_str()]).inc();
    }

    /// How many orders are in each state now; states that are not given have none.
    pub fn set_orders(&self, counts: &[(OrderState, u64)]) {
        for state in OrderState::ALL {
            let count = counts.iter().find(|(counted, _)| counted == state).map_or(0, |(_, count)| *count);
            self.dispatch_orders.with_label_values(&[state.as_str()]).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// How long a shard's last batch had waited when the shard took it up.
    pub fn set_shard_lag(&self, shard: usize, seconds: f64) {
        self.shard_lag_seconds.with_label_values(&[&shard.to_string()]).set(seconds);
    }

    /// Counts a snapshot that was written, or not.
    pub fn count_snapshot(&self, succeeded: bool) {
        self.snapshots.with_label_values(&[result(succeeded)]).inc();
    }

    /// The rule folder was loaded, or was not.
    pub fn count_rule_reload(&self, succeeded: bool) {
        self.rule_reloads.with_label_values(&[result(succeeded)]).inc();
    }

    /// The registry was loaded, or was not.
    pub fn count_registry_reload(&self, succeeded: bool) {
        self.registry_reloads.with_label_values(&[result(succeeded)]).inc();
    }

    /// All of it in Prometheus' text format.
    ///
    /// # Errors
    /// When a metric cannot be written: a fault of ours.
    pub fn text(&self) -> Result<String, prometheus::Error> {
        let families = {
            let _held = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
            self.registry.gather()
        };
        let mut bytes = Vec::new();
        TextEncoder::new().encode(&families, &mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

fn result(succeeded: bool) -> &'static str {
    if succeeded { "ok" } else { "error" }
}

/// Brings a counter to a count kept elsewhere; a counter never goes down.
pub fn raise_to(counter: &IntCounter, count: u64) {
    counter.inc_by(count.saturating_sub(counter.get()));
}

fn register<C: Collector + Clone + 'static>(registry: &Registry, metric: Result<C, prometheus::Error>) -> C {
    let metric = metric.expect("name, help and labels are well-formed");
    registry.register(Box::new(metric.clone())).expect("names are unique");
    metric
}

fn opts(name: &str, help: &str) -> Opts {
    Opts::new(format!("muckwatch_{name}"), help)
}

fn counter(registry: &Registry, name: &str, help: &str) -> IntCounter {
    register(registry, IntCounter::with_opts(opts(name, help)))
}

fn counters(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    register(registry, IntCounterVec::new(opts(name, help), labels))
}

fn gauge(registry: &Registry, name: &str, help: &str) -> IntGauge {
    register(registry, IntGauge::with_opts(opts(name, help)))
}

fn gauges(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    register(registry, IntGaugeVec::new(opts(name, help), labels))
}

fn float_gauge(registry: &Registry, name: &str, help: &str) -> Gauge {
    register(registry, Gauge::with_opts(opts(name, help)))
}

fn float_gauges(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> GaugeVec {
    register(registry, GaugeVec::new(opts(name, help), labels))
}

fn histogram(registry: &Registry, name: &str, help: &str) -> Histogram {
    let opts = HistogramOpts::new(format!("muckwatch_{name}"), help).buckets(LATENCY_BUCKETS.to_vec());
    register(registry, Histogram::with_opts(opts))
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        process::{Command, Stdio},
    };

    use super::*;
    use crate::model::{Body, DeviceReport, Outcome, Reason, Record, Time};

    fn record(outcome: Outcome, reason: Reason) -> Record {
        let body = Body::Device(DeviceReport::default());
        Record { outcome, reason, ..Record::clock(body, Time::from_millis(0)) }
    }

    fn value(text: &str, series: &str) -> Option<f64> {
        text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
    }

    #[test]
    fn every_scrape_balances_and_goes_on_after_a_restart() {
        let mut ledger = Ledger::default();
        ledger.count(&record(Outcome::Evaluated, Reason::Ok));
        ledger.count(&record(Outcome::Filtered, Reason::ImplausibleJump));
        let metrics = Metrics::new();
        metrics.set_ledger(&ledger);
        ledger.count(&record(Outcome::Evaluated, Reason::Ok));
        for _ in 0..2 {
            metrics.set_ledger(&ledger);
            let text = metrics.text().unwrap();
            assert_eq!(value(&text, "muckwatch_reports_received_total"), Some(3.0));
            let evaluated = value(&text, "muckwatch_reports_total{outcome=\"evaluated\",reason=\"ok\"}");
            let filtered = value(&text, "muckwatch_reports_total{outcome=\"filtered\",reason=\"implausible_jump\"}");
            assert_eq!((evaluated, filtered), (Some(2.0), Some(1.0)));
        }
    }

    #[test]
    fn orders_of_a_state_that_is_left_go_to_zero() {
        let metrics = Metrics::new();
        metrics.set_orders(&[(OrderState::Offered, 3)]);
        metrics.set_orders(&[(OrderState::Accepted, 2)]);
        let text = metrics.text().unwrap();
        assert_eq!(value(&text, "muckwatch_dispatch_orders{state=\"offered\"}"), Some(0.0));
        assert_eq!(value(&text, "muckwatch_dispatch_orders{state=\"accepted\"}"), Some(2.0));
    }

    #[test]
    fn names_and_help_pass_promtool() {
        let metrics = Metrics::new();
        let mut ledger = Ledger::default();
        ledger.count(&record(Outcome::Evaluated, Reason::Ok));
        metrics.set_ledger(&ledger);
        metrics.set_shard_lag(0, 0.25);
        metrics.journal_sync_seconds.observe(0.001);
        metrics.alert_changes.with_label_values(&["overspeed", "minor", "opened"]).inc();
        let text = metrics.text().unwrap();
        assert!(text.lines().filter(|line| line.starts_with("# HELP")).count() >= 25);
        let promtool = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let Ok(mut promtool) = promtool else {
            println!("promtool is not installed: names are not checked");
            return;
        };
        promtool.stdin.take().expect("piped").write_all(text.as_bytes()).expect("taken");
        let output = promtool.wait_with_output().expect("ended");
        assert!(
            output.status.success(),
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
