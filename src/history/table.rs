//! Sealed and open segments as one table.

use std::{
    collections::{HashMap, HashSet},
    future,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
};

use datafusion::{
    arrow::datatypes::{DataType, SchemaRef, TimeUnit},
    catalog::{Session, TableProvider},
    common::{DFSchema, ScalarValue},
    datasource::{
        TableType,
        listing::PartitionedFile,
        physical_plan::{
            FileGroup, FileScanConfigBuilder, ParquetSource,
            parquet::{DefaultParquetFileReaderFactory, ParquetFileReaderFactory},
        },
        source::DataSourceExec,
    },
    error::{DataFusionError, Result},
    execution::{SendableRecordBatchStream, TaskContext, object_store::ObjectStoreUrl},
    logical_expr::{BinaryExpr, Expr, Operator, TableProviderFilterPushDown, utils::conjunction},
    object_store,
    parquet::arrow::async_reader::AsyncFileReader,
    physical_plan::{
        ExecutionPlan,
        metrics::ExecutionPlanMetricsSet,
        stream::RecordBatchStreamAdapter,
        streaming::{PartitionStream, StreamingTableExec},
        union::UnionExec,
    },
};
use futures::{TryStreamExt, stream};

use crate::journal::{self, Catalogue, OpenSegment, SealedFile};

const DAY_MS: i64 = 86_400_000;

/// Every record of the journal in `dir`, which need not exist yet. Each query sees the files as they are then.
pub fn journal_table(dir: &Path) -> Arc<dyn TableProvider> {
    Arc::new(JournalTable { dir: dir.into(), schema: journal::schema(), checked: Arc::default() })
}

#[derive(Debug)]
struct JournalTable {
    dir: PathBuf,
    schema: SchemaRef,
    checked: Arc<Mutex<HashSet<object_store::path::Path>>>,
}

type Planned<'a> = Pin<Box<dyn Future<Output = Result<Arc<dyn ExecutionPlan>>> + Send + 'a>>;

impl TableProvider for JournalTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    // Written as `async_trait` expands it: nothing here waits.
    fn scan<'life0, 'life1, 'life2, 'life3, 'async_trait>(
        &'life0 self,
        state: &'life1 dyn Session,
        projection: Option<&'life2 Vec<usize>>,
        filters: &'life3 [Expr],
        limit: Option<usize>,
    ) -> Planned<'async_trait>
    where
        'life0: 'async_trait,
        'life1: 'async_trait,
        'life2: 'async_trait,
        'life3: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(future::ready(self.plan(state, projection, filters, limit)))
    }

    /// Whole days and row groups are left out; what remains is filtered again.
    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }
}

impl JournalTable {
    fn plan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let catalogue = Catalogue::of(&self.dir).map_err(|error| DataFusionError::External(error.into()))?;
        let days = days_asked(filters);
        let mut sealed = catalogue.sealed;
        sealed.retain(|file| file.day.is_none_or(|day| days.contains(&day)));
        let open = self.open_plan(catalogue.open, projection, limit)?;
        if sealed.is_empty() {
            return Ok(open);
        }
        let sealed = self.sealed_plan(state, sealed, projection, filters, limit)?;
        UnionExec::try_new(vec![sealed, open])
    }

    fn sealed_plan(
        &self,
        state: &dyn Session,
        files: Vec<SealedFile>,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let url = ObjectStoreUrl::local_filesystem();
        let readers = CheckedReaders {
            inner: DefaultParquetFileReaderFactory::new(state.runtime_env().object_store(&url)?),
            files: files.iter().map(|file| Ok((location(file)?, file.clone()))).collect::<Result<_>>()?,
            checked: Arc::clone(&self.checked),
        };
        let files = files.iter().map(partitioned_file).collect::<Result<Vec<_>>>()?;
        let mut source = ParquetSource::new(self.schema()).with_parquet_file_reader_factory(Arc::new(readers));
        if let Some(filter) = conjunction(filters.iter().cloned()) {
            let schema = DFSchema::try_from(self.schema())?;
            source = source.with_predicate(state.create_physical_expr(filter, &schema)?);
        }
        let groups = FileGroup::new(files).split_files(state.config().target_partitions());
        let config = FileScanConfigBuilder::new(url, Arc::new(source))
            .with_file_groups(groups)
            .with_projection_indices(projection.cloned())?
            .with_limit(limit)
            .build();
        Ok(DataSourceExec::from_data_source(config))
    }

    fn open_plan(
        &self,
        segments: Vec<OpenSegment>,
        projection: Option<&Vec<usize>>,
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let partition =
            |segment| Arc::new(OpenPartition { segment, schema: self.schema() }) as Arc<dyn PartitionStream>;
        let partitions = segments.into_iter().map(partition).collect();
        Ok(Arc::new(StreamingTableExec::try_new(self.schema(), partitions, projection, [], false, limit)?))
    }
}

fn location(file: &SealedFile) -> Result<object_store::path::Path> {
    let path = std::path::absolute(&file.path)?;
    object_store::path::Path::from_absolute_path(path)
        .map_err(|error| DataFusionError::ObjectStore(Box::new(error.into())))
}

fn partitioned_file(file: &SealedFile) -> Result<PartitionedFile> {
    let mut partitioned = PartitionedFile::new("", file.bytes);
    partitioned.object_meta.location = location(file)?;
    Ok(partitioned)
}

/// Opens sealed files, each once it is known to be what was sealed.
#[derive(Debug)]
struct CheckedReaders {
    inner: DefaultParquetFileReaderFactory,
    files: HashMap<object_store::path::Path, SealedFile>,
    /// Those that were; names are never used twice.
    checked: Arc<Mutex<HashSet<object_store::path::Path>>>,
}

impl CheckedReaders {
    fn check(&self, location: &object_store::path::Path) -> Result<()> {
        let checked = || self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(file) = self.files.get(location).filter(|_| !checked().contains(location)) else { return Ok(()) };
        match file.check() {
            // Of a file that has gone meanwhile the reader speaks.
            Err(error) if !error.is_missing() => return Err(DataFusionError::External(error.into())),
            _ => {}
        }
        checked().insert(location.clone());
        Ok(())
    }
}

impl ParquetFileReaderFactory for CheckedReaders {
    fn create_reader(
        &self,
        partition_index: usize,
        file: PartitionedFile,
        metadata_size_hint: Option<usize>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> Result<Box<dyn AsyncFileReader + Send>> {
        self.check(&file.object_meta.location)?;
        self.inner.create_reader(partition_index, file, metadata_size_hint, metrics)
    }
}

/// The UTC days that rows may lie on for all `filters` to hold, as far as comparisons of `event_time` with a constant tell.
fn days_asked(filters: &[Expr]) -> RangeInclusive<i64> {
    let (mut from, mut to) = (i64::MIN, i64::MAX);
    for (operator, at_ms) in filters.iter().filter_map(comparison) {
        let day = at_ms.div_euclid(DAY_MS);
        match operator {
            Operator::Gt | Operator::GtEq => from = from.max(day),
            Operator::Lt | Operator::LtEq => to = to.min(day),
            Operator::Eq => (from, to) = (from.max(day), to.min(day)),
            _ => {}
        }
    }
    from..=to
}

/// `event_time <operator> <milliseconds>`, if the filter says that.
fn comparison(filter: &Expr) -> Option<(Operator, i64)> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = filter else { return None };
    match (&**left, &**right) {
        (Expr::Column(column), Expr::Literal(value, _)) if column.name == "event_time" => Some((*op, millis(value)?)),
        (Expr::Literal(value, _), Expr::Column(column)) if column.name == "event_time" => {
            Some((op.swap()?, millis(value)?))
        }
        _ => None,
    }
}

/// An instant in milliseconds since 1970; what is finer is cut off downwards, which may ask for a day too many, never for
/// one too few.
fn millis(value: &ScalarValue) -> Option<i64> {
    let per_second = |unit: i64, value: i64| value.checked_mul(1000).map(|ms| ms.div_euclid(unit));
    match value {
        ScalarValue::TimestampSecond(Some(t), _) => per_second(1, *t),
        ScalarValue::TimestampMillisecond(Some(t), _) => Some(*t),
        ScalarValue::TimestampMicrosecond(Some(t), _) => Some(t.div_euclid(1_000)),
        ScalarValue::TimestampNanosecond(Some(t), _) => Some(t.div_euclid(1_000_000)),
        other => match other.cast_to(&DataType::Timestamp(TimeUnit::Millisecond, Some("+00:00".into()))).ok()? {
            ScalarValue::TimestampMillisecond(t, _) => t,
            _ => None,
        },
    }
}

#[derive(Debug)]
struct OpenPartition {
    segment: OpenSegment,
    schema: SchemaRef,
}

impl PartitionStream for OpenPartition {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let segment = self.segment.clone();
        let batches = async move { segment.batches().map_err(|error| DataFusionError::External(error.into())) };
        let batches = stream::once(batches).map_ok(|batches| stream::iter(batches.into_iter().map(Ok))).try_flatten();
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), batches))
    }
}
