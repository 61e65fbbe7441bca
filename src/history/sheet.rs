//! Things as rows of a table: which columns they have, and how each is filled.

use std::{borrow::Cow, sync::Arc};

use datafusion::arrow::{
    array::{
        ArrayRef, BooleanArray, Float64Array, Int64Array, ListBuilder, RecordBatch, StringBuilder,
        TimestampMillisecondArray,
    },
    datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit},
    error::ArrowError,
};

use crate::model::{Text, Time};

type Fill<T> = Box<dyn Fn(&[T]) -> ArrayRef + Send + Sync>;

/// The columns of a table whose rows are `T`s. Every column may be NULL.
pub(super) struct Sheet<T> {
    columns: Vec<(FieldRef, Fill<T>)>,
}

impl<T> Sheet<T> {
    pub fn new() -> Self {
        Self { columns: Vec::new() }
    }

    pub fn schema(&self) -> SchemaRef {
        Arc::new(Schema::new(self.columns.iter().map(|(field, _)| Arc::clone(field)).collect::<Vec<_>>()))
    }

    pub fn batch(&self, schema: &SchemaRef, rows: &[T]) -> Result<RecordBatch, ArrowError> {
        RecordBatch::try_new(Arc::clone(schema), self.columns.iter().map(|(_, fill)| fill(rows)).collect())
    }

    pub fn text(self, name: &str, get: impl Fn(&T) -> Option<Cow<'_, str>> + Send + Sync + 'static) -> Self {
        self.column(name, DataType::Utf8, move |rows| {
            let mut cells = StringBuilder::with_capacity(rows.len(), rows.len() * 8);
            rows.iter().for_each(|row| cells.append_option(get(row)));
            Arc::new(cells.finish())
        })
    }

    /// Words as a list.
    pub fn words(self, name: &str, get: impl Fn(&T) -> &[Text] + Send + Sync + 'static) -> Self {
        let kind = DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true)));
        self.column(name, kind, move |rows| {
            let mut lists = ListBuilder::with_capacity(StringBuilder::new(), rows.len());
            for row in rows {
                get(row).iter().for_each(|word| lists.values().append_value(word));
                lists.append(true);
            }
            Arc::new(lists.finish())
        })
    }

    pub fn float(self, name: &str, get: impl Fn(&T) -> Option<f64> + Send + Sync + 'static) -> Self {
        self.column(name, DataType::Float64, move |rows| Arc::new(rows.iter().map(&get).collect::<Float64Array>()))
    }

    pub fn int(self, name: &str, get: impl Fn(&T) -> Option<i64> + Send + Sync + 'static) -> Self {
        self.column(name, DataType::Int64, move |rows| Arc::new(rows.iter().map(&get).collect::<Int64Array>()))
    }

    pub fn flag(self, name: &str, get: impl Fn(&T) -> Option<bool> + Send + Sync + 'static) -> Self {
        self.column(name, DataType::Boolean, move |rows| Arc::new(rows.iter().map(&get).collect::<BooleanArray>()))
    }

    /// Milliseconds in UTC, as the journal's times.
    pub fn time(self, name: &str, get: impl Fn(&T) -> Option<Time> + Send + Sync + 'static) -> Self {
        let kind = DataType::Timestamp(TimeUnit::Millisecond, Some("+00:00".into()));
        self.column(name, kind, move |rows| {
            let millis = rows.iter().map(|row| get(row).map(Time::as_millis));
            Arc::new(millis.collect::<TimestampMillisecondArray>().with_timezone("+00:00"))
        })
    }

    fn column(mut self, name: &str, kind: DataType, fill: impl Fn(&[T]) -> ArrayRef + Send + Sync + 'static) -> Self {
        self.columns.push((Arc::new(Field::new(name, kind, true)), Box::new(fill)));
        self
    }
}
