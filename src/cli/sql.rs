//! `muckwatch sql`: what was kept, asked in SQL.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use clap::ValueEnum;
use datafusion::catalog::TableProvider;

use super::{
    ledger::{JOURNAL, STORE},
    registry::BOOK,
    serve::block_on,
    simulate::duration,
};
use crate::{
    config::{Config, FILE_VARIABLE, Overrides},
    engine::{Trip, Trips},
    facts,
    history::{self, HistoryError, Parts, Problem, Version},
    journal::Journal,
    model::{
        Alert, Order, Record,
        limits::{self, PAGE_ROWS},
    },
    registry::{Book, Entity, RowVersion},
    store::{AlertFilter, OrderFilter, Page, Reader, StoreError},
};

#[derive(clap::Args)]
pub struct SqlArgs {
    /// The query; `-` reads it from standard input
    #[arg(value_name = "QUERY")]
    query: String,
    /// Where muckwatch keeps its data
    #[arg(long, value_name = "DIR", default_value = "data", env = "MUCKWATCH_DATA")]
    data: PathBuf,
    /// What the answer is written as
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Where it goes instead of standard output; Parquet needs it
    #[arg(long, value_name = "FILE", required_if_eq("format", "parquet"))]
    output: Option<PathBuf>,
    /// How long it may take: 10m, 2h
    #[arg(long, value_name = "D", default_value = "10m", value_parser = duration)]
    timeout: Duration,
    /// Configuration file: its [facts] are what trips are told by
    #[arg(long, value_name = "FILE", env = FILE_VARIABLE)]
    config: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Format {
    #[default]
    /// For people; at most 10,000 rows
    Table,
    /// With a header
    Csv,
    /// An object a line
    Json,
    /// With the types of the columns
    Parquet,
}

impl From<Format> for history::Format {
    fn from(format: Format) -> Self {
        match format {
            Format::Table => Self::Table,
            Format::Csv => Self::Csv,
            Format::Json => Self::Json,
            Format::Parquet => Self::Parquet,
        }
    }
}

/// # Errors
/// When the data folder cannot be read, the query answered, or the answer written.
pub fn run(args: SqlArgs) -> anyhow::Result<ExitCode> {
    let data = args.data;
    anyhow::ensure!(data.exists(), "there is no folder {}: --data says where muckwatch keeps its data", data.display());
    let known = [STORE, BOOK, JOURNAL];
    anyhow::ensure!(
        known.iter().any(|name| data.join(name).exists()),
        "{} is no data folder of muckwatch: none of {} is in it",
        data.display(),
        known.join(", ")
    );
    let loaded = Config::load(args.config.as_deref(), std::env::vars(), &Overrides::default())?;
    let query = match args.query.as_str() {
        "-" => io::read_to_string(io::stdin().lock()).context("failed to read the query from standard input")?,
        query => query.to_owned(),
    };
    let (facts, format, output) = (loaded.config.facts(), args.format.into(), args.output);
    on_deep_stack(move || {
        block_on(async {
            let answer = answer(data, facts, query, format, output);
            tokio::time::timeout(args.timeout, answer).await.unwrap_or_else(|_| {
                let limit = args.timeout;
                Err(anyhow::anyhow!(
                    "the query took longer than {limit:?}: narrow it by event_time, or give it longer with --timeout"
                ))
            })
        })
    })
}

/// Plans are walked by recursion: on a stack that holds the deepest that is allowed.
fn on_deep_stack<T: Send>(work: impl FnOnce() -> anyhow::Result<T> + Send) -> anyhow::Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("query".to_owned()).stack_size(limits::QUERY_STACK_BYTES);
        let thread = thread.spawn_scoped(scope, work).context("failed to start a thread")?;
        thread.join().unwrap_or_else(|_| Err(anyhow::anyhow!("failed to answer the query")))
    })
}

async fn answer(
    data: PathBuf,
    settings: facts::Settings,
    query: String,
    format: history::Format,
    output: Option<PathBuf>,
) -> anyhow::Result<ExitCode> {
    let session = history::session(&data.join(JOURNAL)).await.context("failed to open the history")?;
    let failed = |error| anyhow::anyhow!("failed to {error}");
    for (name, table) in tables(&data, &settings) {
        history::add(&session, name, table).map_err(failed)?;
    }
    for attempt in 1.. {
        let answer = history::ask(&session, &query).await.map_err(failed)?;
        // Not before the query is known to be one: a file that was there stays.
        let mut to = Output::open(output.as_deref())?;
        match history::write(answer, format, &mut to).await {
            Ok((rows, is_cut)) => {
                if is_cut {
                    say!("only the first {rows} rows are shown: --format csv, json or parquet writes all of them");
                }
                break;
            }
            Err(error) if is_hang_up(&error) => break,
            Err(error) if error.is_outrun() && attempt < ATTEMPTS && to.can_begin_anew() => {}
            Err(error) => {
                let incomplete = output.as_ref().map(|path| format!("{} is not complete", path.display()));
                let error = failed(error);
                return Err(match incomplete {
                    Some(what) => error.context(what),
                    None => error,
                });
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// How often a query is asked that files go away from under.
const ATTEMPTS: usize = 5;

/// Where the answer goes.
enum Output {
    File(BufWriter<File>),
    /// And whether something has gone there.
    Stdout(BufWriter<io::Stdout>, bool),
}

impl Output {
    fn open(path: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = path else { return Ok(Self::Stdout(BufWriter::new(io::stdout()), false)) };
        let file = File::create(path).with_context(|| format!("failed to write {}", path.display()))?;
        Ok(Self::File(BufWriter::new(file)))
    }

    /// What has been printed stays printed.
    fn can_begin_anew(&self) -> bool {
        !matches!(self, Self::Stdout(_, true))
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::File(to) => to.write(bytes),
            Self::Stdout(to, is_begun) => {
                *is_begun |= !bytes.is_empty();
                to.write(bytes)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::File(to) => to.flush(),
            Self::Stdout(to, _) => to.flush(),
        }
    }
}

/// Whether the reader of our output has gone away.
fn is_hang_up(error: &HistoryError) -> bool {
    let broken = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
    match error {
        HistoryError::Io(error) => broken(error),
        // Arrow keeps of it what it says.
        HistoryError::Arrow(error) => error.to_string().contains("Broken pipe"),
        _ => false,
    }
}

/// What lies beside the journal, as tables.
fn tables(data: &Path, settings: &facts::Settings) -> Vec<(&'static str, Arc<dyn TableProvider>)> {
    let (store, book) = (data.join(STORE), data.join(BOOK));
    let (alerts_of, orders_of, dir, settings) = (store.clone(), store, data.to_owned(), settings.clone());
    let mut tables = vec![
        ("alerts", history::alerts_table(move || alerts(alerts_of.clone()))),
        ("dispatches", history::dispatches_table(move || orders(orders_of.clone()))),
        ("trips", history::trips_table(move || trips(&dir, settings.clone()))),
    ];
    for entity in Entity::ALL.iter().copied() {
        let book = book.clone();
        let parts = move || versions(book.clone(), entity);
        tables.push((entity.name(), history::versions_table(entity.own_column_names(), entity.has_shape(), parts)));
    }
    tables
}

fn alerts(store: PathBuf) -> Parts<Alert> {
    let all = AlertFilter::default();
    stored(store, move |reader, cursor| reader.alerts(&all, PAGE_ROWS, cursor))
}

fn orders(store: PathBuf) -> Parts<Order> {
    let all = OrderFilter::default();
    stored(store, move |reader, cursor| reader.orders(&all, PAGE_ROWS, cursor))
}

/// Pages of the store; none when there is no store yet.
fn stored<T: Send + 'static>(
    store: PathBuf,
    page: impl Fn(&Reader, Option<&str>) -> Result<Page<T>, StoreError> + Send + 'static,
) -> Parts<T> {
    if !store.exists() {
        return Box::new(std::iter::empty());
    }
    let mut reader = None;
    pages(None, move |cursor: Option<String>| {
        let reader = match &reader {
            Some(reader) => reader,
            None => reader.insert(Reader::open(&store)?),
        };
        let page = page(reader, cursor.as_deref())?;
        Ok((page.rows, page.next.map(Some)))
    })
}

/// Every version of an entity's rows; none when nothing was registered yet.
fn versions(book: PathBuf, entity: Entity) -> Parts<Version> {
    if !book.exists() {
        return Box::new(std::iter::empty());
    }
    let mut opened = None;
    pages(0, move |after| {
        let book = match &opened {
            Some(book) => book,
            None => opened.insert(Book::open_to_read(&book)?),
        };
        let (rows, more) = book.versions(entity, after, PAGE_ROWS)?;
        let version = |row: RowVersion| Version { cells: row.cells, geometry: row.geometry, valid: row.valid };
        Ok((rows.into_iter().map(version).collect(), more))
    })
}

/// Trips as the reports in the journal tell them; none when nothing was registered yet, since then nothing is a source.
fn trips(data: &Path, settings: facts::Settings) -> Parts<Trip> {
    let book = data.join(BOOK);
    if !book.exists() {
        return Box::new(std::iter::empty());
    }
    let open = || -> Result<_, Problem> {
        let registry = Arc::new(Book::open_to_read(&book)?.load()?);
        let records = Journal::read(&data.join(JOURNAL), 0)?.filter_map(|entry| match entry {
            Ok((_, record)) => Some(Ok::<Record, Problem>(record)),
            Err(error) => {
                say!("muckwatch: failed to {error}; trips are told without it");
                None
            }
        });
        Ok(Trips::of(registry, settings, records))
    };
    match open() {
        Ok(trips) => pages(trips, |mut trips| {
            let part = trips.by_ref().take(PAGE_ROWS).collect::<Result<Vec<Trip>, Problem>>()?;
            let more = (part.len() == PAGE_ROWS).then_some(trips);
            Ok((part, more))
        }),
        Err(error) => Box::new(std::iter::once(Err(error))),
    }
}

/// Page after page: `fetch` gives one and where the next begins.
fn pages<T: Send + 'static, At: Send + 'static>(
    first: At,
    mut fetch: impl FnMut(At) -> Result<(Vec<T>, Option<At>), Problem> + Send + 'static,
) -> Parts<T> {
    let mut next = Some(first);
    Box::new(std::iter::from_fn(move || {
        let page = fetch(next.take()?);
        Some(page.map(|(rows, more)| {
            next = more;
            rows
        }))
    }))
}
