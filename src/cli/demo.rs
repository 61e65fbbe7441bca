//! `muckwatch demo`: a city in one process. Broker, engine, a fleet that misbehaves, units that answer, HTTP.

use std::{
    collections::HashMap,
    io::IsTerminal,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Arc,
        mpsc::{Receiver, sync_channel},
    },
    time::Duration,
};

use anyhow::Context;

use super::{
    fleet::Fleet,
    now,
    serve::{Service, block_on, stop_signal},
};
use crate::{
    command::News,
    config::{Config, Overrides},
    model::{
        Alert, AlertState, Answer, Offer, OfferState, Order, OrderState, Purpose, Replied, ReplyOutcome, Severity,
        Text, Time, Zone, counted,
    },
    simulate::{City, Settings, Simulation},
};

#[derive(clap::Args)]
pub struct DemoArgs {
    /// Folder of rule files [default: ./rules if it is there, else the first pack]
    #[arg(long, value_name = "DIR")]
    rules: Option<PathBuf>,
    /// Address of the HTTP API; another port is taken when this one is not free
    #[arg(long, default_value = "127.0.0.1:8080")]
    http: SocketAddr,
    /// Address of the broker in this process; another port is taken when this one is not free
    #[arg(long, default_value = "127.0.0.1:1883")]
    mqtt: SocketAddr,
    /// The language in which alerts are told: en or zh
    #[arg(long, default_value = "en", env = "MUCKWATCH_LANGUAGE", value_parser = ["en", "zh"])]
    language: String,
    /// The fleet's seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// End after so many seconds; 0: when you press Ctrl-C
    #[arg(long, value_name = "S", default_value_t = 0)]
    seconds: u64,
}

/// The first pack, for those who start the program alone.
const PACK: &[(&str, &str)] = &[
    ("blacklist.yaml", include_str!("../../rules/blacklist.yaml")),
    ("body.yaml", include_str!("../../rules/body.yaml")),
    ("devices.yaml", include_str!("../../rules/devices.yaml")),
    ("drivers.yaml", include_str!("../../rules/drivers.yaml")),
    ("dumping.yaml", include_str!("../../rules/dumping.yaml")),
    ("fleets.yaml", include_str!("../../rules/fleets.yaml")),
    ("load.yaml", include_str!("../../rules/load.yaml")),
    ("manifests.yaml", include_str!("../../rules/manifests.yaml")),
    ("mute.yaml", include_str!("../../rules/mute.yaml")),
    ("permits.yaml", include_str!("../../rules/permits.yaml")),
    ("repeat.yaml", include_str!("../../rules/repeat.yaml")),
    ("risk.yaml", include_str!("../../rules/risk.yaml")),
    ("route.yaml", include_str!("../../rules/route.yaml")),
    ("sightings.yaml", include_str!("../../rules/sightings.yaml")),
    ("sites.yaml", include_str!("../../rules/sites.yaml")),
    ("speed.yaml", include_str!("../../rules/speed.yaml")),
    ("stops.yaml", include_str!("../../rules/stops.yaml")),
    ("zones.yaml", include_str!("../../rules/zones.yaml")),
];

/// News that wait for the printer.
const NEWS: usize = 10_000;

/// # Errors
/// When something of the demo cannot be started.
pub fn run(args: DemoArgs) -> anyhow::Result<ExitCode> {
    let folder = Scratch::new()?;
    let city = City::demo();
    let registry = folder.0.join("registry");
    std::fs::create_dir_all(&registry)?;
    city.write(&registry)?;
    let rules = rules(&args, &folder.0)?;
    let config = config(&args, &folder.0, &registry, &rules)?;
    let broker = config.broker_listen();
    let zone = config.zone();
    super::serve::log_start(&config)?;
    block_on(async {
        let stop = stop_signal()?;
        let (listener, news) = sync_channel(NEWS);
        let mut service = Service::start(config, Some(listener)).await?;
        service.subscribed().await?;
        greet(&city, &service, &rules);
        let printer =
            std::thread::Builder::new().name("printer".to_owned()).spawn(move || Printer::new(zone).run(&news))?;
        let settings = Settings { seed: args.seed, start: now(), ..Settings::default() };
        let simulation = Simulation::new(Arc::new(city), settings)?;
        let duration = (args.seconds > 0).then(|| Duration::from_secs(args.seconds));
        let fleet = Fleet { broker: broker.to_string().parse()?, prefix: "mw/v1".to_owned(), duration };
        let (drive, driven) = tokio::sync::oneshot::channel::<()>();
        let serving = service.run_until(async { _ = driven.await });
        tokio::pin!(serving);
        tokio::select! {
            // Only a failure ends the service before the fleet.
            served = &mut serving => served?,
            result = fleet.run(simulation, stop) => {
                drop(drive);
                serving.await?;
                result?;
            }
        }
        let said = printer.join().map_err(|_| anyhow::anyhow!("failed to go on printing"))?;
        let (alerts, orders) = (counted(said.alerts, "alert"), counted(said.orders, "order"));
        out!("\nended: {alerts}, {orders}, {} of units", counted(said.answers, "answer"));
        Ok(ExitCode::SUCCESS)
    })
}

/// A folder that goes when the demo ends.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> anyhow::Result<Self> {
        let folder = std::env::temp_dir().join(format!("muckwatch-demo-{}", std::process::id()));
        std::fs::create_dir_all(&folder).with_context(|| format!("failed to make {}", folder.display()))?;
        Ok(Self(folder))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays behind lies where such things are cleared away.
        _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The folder of rules: the one named, the one here, or the pack written out.
fn rules(args: &DemoArgs, folder: &Path) -> anyhow::Result<PathBuf> {
    if let Some(rules) = &args.rules {
        return Ok(rules.clone());
    }
    let here = PathBuf::from("rules");
    if here.join("speed.yaml").exists() {
        return Ok(here);
    }
    let rules = folder.join("rules");
    std::fs::create_dir_all(&rules)?;
    PACK.iter().try_for_each(|(name, text)| std::fs::write(rules.join(name), text))?;
    Ok(rules)
}

fn config(args: &DemoArgs, folder: &Path, registry: &Path, rules: &Path) -> anyhow::Result<Config> {
    let broker = free(args.mqtt)?;
    let overrides = Overrides {
        http: Some(free(args.http)?.to_string()),
        mqtt: Some(broker.to_string()),
        data: Some(folder.join("data")),
        registry: Some(registry.to_owned()),
        rules: Some(rules.to_owned()),
        set: vec![("language".to_owned(), args.language.clone())],
        ..Overrides::default()
    };
    let mut config = Config::load(None, [], &overrides)?.config;
    config.broker.enabled = true;
    config.broker.listen = broker.to_string();
    config.log.level = "warn".to_owned();
    Ok(config)
}

/// The address, or one with a free port when somebody else is there.
fn free(wanted: SocketAddr) -> anyhow::Result<SocketAddr> {
    if TcpListener::bind(wanted).is_ok() {
        return Ok(wanted);
    }
    let listener =
        TcpListener::bind((wanted.ip(), 0)).with_context(|| format!("failed to listen on {}", wanted.ip()))?;
    Ok(listener.local_addr()?)
}

fn greet(city: &City, service: &Service, rules: &Path) {
    out!("A city at night: {} muck trucks report once a second, 12 units are on the street.", city.trucks());
    out!(
        "Judged by {} of {}. Some trucks break one on purpose; watch who is sent.",
        counted(service.rules, "rule"),
        rules.display()
    );
    out!("  alerts    http://{0}/api/v1/alerts      live  http://{0}/api/v1/stream", service.http);
    out!("  dispatch  http://{0}/api/v1/dispatch    truth http://{0}/api/v1/ledger", service.http);
    out!("  broker    {}  (listen in: mosquitto_sub -t 'mw/v1/alert/#')", service.broker);
    out!("Ctrl-C ends it; nothing is kept.\n");
}

/// What was printed.
#[derive(Default)]
struct Said {
    alerts: u32,
    orders: u32,
    answers: u32,
}

/// Prints what happens, a line each, plain to a newcomer.
struct Printer {
    zone: Zone,
    is_coloured: bool,
    /// Alerts get short numbers, so that the lines about one are found.
    numbers: HashMap<Text, u32>,
    severities: HashMap<Text, Severity>,
    said: Said,
}

impl Printer {
    fn new(zone: Zone) -> Self {
        let is_coloured = std::io::stdout().is_terminal();
        Self { zone, is_coloured, numbers: HashMap::new(), severities: HashMap::new(), said: Said::default() }
    }

    fn run(mut self, news: &Receiver<News>) -> Said {
        while let Ok(one) = news.recv() {
            match one {
                News::Alert(alert, _) => self.alert(&alert),
                News::Order(order) => self.order(&order),
                News::Offer(offer) => self.offer(&offer),
                News::Reply(reply) => self.reply(&reply),
                News::Unit(_) => {}
            }
        }
        self.said
    }

    fn alert(&mut self, alert: &Alert) {
        let known = self.severities.insert(alert.alert_id.0.clone(), alert.severity);
        let word = match (known, alert.state) {
            (None, _) => "ALERT  ",
            (Some(before), AlertState::Open) if before < alert.severity => "graver ",
            (Some(_), AlertState::Cleared) => "over   ",
            (Some(_), _) => return,
        };
        if known.is_none() {
            self.said.alerts += 1;
        }
        let departments = alert.departments.join(", ");
        let number = self.number(&alert.alert_id.0);
        let colour = colour(alert.severity);
        let text = match alert.state {
            AlertState::Cleared => {
                let lasted_s = alert.cleared_at.map_or(0.0, |at| at.s_since(alert.started_at));
                format!("#{number} {} of {} lasted {lasted_s:.0} s", alert.rule_id, alert.plate)
            }
            _ => format!(
                "#{number} {:<8} {}: {} -> {departments}",
                alert.severity.as_str(),
                alert.rule_id,
                alert.message
            ),
        };
        self.line(word, colour, &text);
    }

    fn order(&mut self, order: &Order) {
        if order.revision == 1 {
            self.said.orders += 1;
        }
        let number = self.number(&order.alert_id.0);
        self.numbers.insert(order.dispatch_id.clone(), number);
        match order.state {
            OrderState::Waiting => {
                self.line("  wait ", "33", &format!("#{number} nobody to send yet: {}", order.reason))
            }
            OrderState::Escalated => {
                self.line("  dept ", "33", &format!("#{number} left to the department: {}", order.reason))
            }
            OrderState::Resolved => {
                let verdict = order.verdict.map_or("?", |verdict| verdict.as_str());
                self.line("  done ", "32", &format!("#{number} closed: {verdict}"));
            }
            OrderState::Listed if order.revision == 1 => {
                self.line("  list ", "2", &format!("#{number} for the list: nobody is sent"))
            }
            _ => {}
        }
    }

    fn offer(&mut self, offer: &Offer) {
        let number = self.number(&offer.dispatch_id);
        let unit = &offer.unit_id;
        match offer.state {
            OfferState::Pending => {
                let far = offer
                    .distance_m
                    .map_or_else(|| "distance unknown".to_owned(), |m| format!("{:.1} km away", m / 1000.0));
                let why = if offer.purpose == Purpose::Reinforce { " as reinforcement" } else { "" };
                let within_s = offer.deadline.s_since(offer.sent_at);
                self.line(
                    "  send ",
                    "36",
                    &format!("#{number} {unit} is asked{why}: {far}, {within_s:.0} s to answer"),
                );
            }
            OfferState::Expired => self.line("  none ", "33", &format!("#{number} {unit} did not answer in time")),
            _ => {}
        }
    }

    fn reply(&mut self, reply: &Replied) {
        if reply.outcome != ReplyOutcome::Taken {
            return;
        }
        self.said.answers += 1;
        let number = self.number(&reply.dispatch_id);
        let text = match reply.answer {
            Answer::Accept => "accepts and is on its way".to_owned(),
            Answer::Decline => format!("declines: {}", reply.reason.as_deref().unwrap_or("no reason given")),
            Answer::Arrived => "has arrived".to_owned(),
            Answer::Reinforce => "asks for reinforcement".to_owned(),
            Answer::Resolved => format!("reports: {}", reply.verdict.map_or("?", |verdict| verdict.as_str())),
        };
        self.line("  unit ", "32", &format!("#{number} {} {text}", reply.unit_id));
    }

    fn number(&mut self, id: &Text) -> u32 {
        if let Some(number) = self.numbers.get(id) {
            return *number;
        }
        let number = self.said.alerts.max(1);
        self.numbers.insert(id.clone(), number);
        number
    }

    fn line(&self, word: &str, colour: &str, text: &str) {
        let clock = clock(&self.zone, now());
        if self.is_coloured {
            out!("\x1b[2m{clock}\x1b[0m \x1b[{colour}m{word}\x1b[0m {text}");
        } else {
            out!("{clock} {word} {text}");
        }
    }
}

fn colour(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "1;31",
        Severity::Major => "31",
        Severity::Minor => "33",
        Severity::Notice => "2",
    }
}

fn clock(zone: &Zone, at: Time) -> String {
    let local = zone.local(at);
    format!("{:02}:{:02}:{:02}", local.hour(), local.minute_of_day % 60, at.as_millis().div_euclid(1000).rem_euclid(60))
}
