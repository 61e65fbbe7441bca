//! The functions that a predicate may call, as people read about them.

use std::sync::{Arc, LazyLock};

use datafusion::{
    arrow::{array::StringArray, datatypes::DataType},
    common::cast::as_string_array,
    logical_expr::{ColumnarValue, ScalarUDF, Volatility, create_udf},
};

use super::{RuleErrors, compile::Compiler};
use crate::model::plate;

/// The name of [`NORMAL`].
pub(super) const NORMAL_PLATE: &str = "normal_plate";

/// A plate in its normal form. No rule calls it: it is put around the column `plate` where that is compared. One for all, so that
/// equal conditions are equal.
pub(super) static NORMAL: LazyLock<ScalarUDF> = LazyLock::new(|| {
    let normal = |values: &[ColumnarValue]| {
        let values = ColumnarValue::values_to_arrays(values)?;
        let written = as_string_array(&values[0])?;
        let normal: StringArray = written.iter().map(|plate| plate.map(plate::plate)).collect();
        Ok(ColumnarValue::Array(Arc::new(normal)))
    };
    create_udf(NORMAL_PLATE, vec![DataType::Utf8], DataType::Utf8, Volatility::Immutable, Arc::new(normal))
});

/// One function.
pub(super) struct Function {
    pub name: String,
    pub aliases: Vec<String>,
    /// How it is called: its name with its arguments.
    pub form: String,
    /// What it gives, in a sentence.
    pub doc: String,
    /// A call with values, where there is one.
    pub example: Option<String>,
}

/// Every function by name: those that give the same answer for the same row.
pub(super) fn functions() -> Result<Vec<Function>, RuleErrors> {
    let described = |function: &datafusion::logical_expr::ScalarUDF| {
        let documentation = function.documentation()?;
        let mut aliases = function.aliases().to_vec();
        aliases.sort();
        Some(Function {
            name: function.name().to_owned(),
            aliases,
            form: one_line(&documentation.syntax_example),
            doc: first_sentence(&documentation.description),
            example: documentation.sql_example.as_deref().and_then(example),
        })
    };
    Ok(Compiler::new()?.functions().iter().filter_map(|function| described(function)).collect())
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn first_sentence(text: &str) -> String {
    let paragraph = one_line(text.trim().split("\n\n").next().unwrap_or_default());
    match paragraph.split_once(". ") {
        Some((first, _)) => format!("{first}."),
        None => paragraph,
    }
}

/// The call in a session's first line, such as `> SELECT abs(-5);`.
fn example(session: &str) -> Option<String> {
    let line = session.lines().map(str::trim).find_map(|line| line.strip_prefix('>'))?.trim();
    let (verb, call) = line.split_at_checked("select ".len())?;
    let call = call.trim().strip_suffix(';')?;
    let plain = verb.eq_ignore_ascii_case("select ") && !call.to_ascii_lowercase().contains(" from ");
    (plain && call.ends_with(')')).then(|| call.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_of_the_row_are_there_and_those_of_the_moment_are_not() {
        let functions = functions().unwrap();
        let named = |name: &str| functions.iter().find(|function| function.name == name);
        for name in ["abs", "coalesce", "array_has", "starts_with", "greatest"] {
            assert!(named(name).is_some_and(|f| !f.form.is_empty() && !f.doc.is_empty()), "{name}");
        }
        for name in ["now", "random", "uuid", "current_date"] {
            assert!(named(name).is_none(), "{name}");
        }
    }

    #[test]
    fn an_example_is_a_call_without_its_session() {
        for (session, call) in [
            ("```sql\n> SELECT abs(-5);\n+---+", Some("abs(-5)")),
            ("> select round(1.5);", Some("round(1.5)")),
            ("> select a from b;", None),
            ("> select abs(-5) as five;", None),
            ("> select", None),
            ("", None),
        ] {
            assert_eq!(example(session).as_deref(), call, "{session}");
        }
        assert_eq!(first_sentence("One. Two."), "One.");
        assert_eq!(first_sentence("\nOne\n two\n\nThree."), "One two");
    }
}
