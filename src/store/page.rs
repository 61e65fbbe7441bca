//! Pages of a list, newest first, by an opaque cursor.

use super::StoreError;

/// One page of a list.
#[derive(Clone, Debug, PartialEq)]
pub struct Page<T> {
    pub rows: Vec<T>,
    /// Asks for the next page; `None` when this was the last.
    pub next: Option<String>,
}

/// The place after the last row of a page: rows come by falling `(time, id)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    pub at_ms: i64,
    pub id: String,
}

impl Cursor {
    pub fn parse(text: &str) -> Result<Self, StoreError> {
        let bad = || StoreError::Cursor(text.chars().take(80).collect());
        let (at, id) = text.split_once('.').ok_or_else(bad)?;
        let is_hex = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_hexdigit());
        if !is_hex(at) || !is_hex(id) || id.len() > 64 {
            return Err(bad());
        }
        let at_ms = u64::from_str_radix(at, 16).map_err(|_| bad())? as i64;
        Ok(Self { at_ms, id: id.to_owned() })
    }

    pub fn text(&self) -> String {
        format!("{:x}.{}", self.at_ms as u64, self.id)
    }
}

/// Cuts a list that was asked for with one row too many, and says where the next page begins.
pub(super) fn cut<T>(mut rows: Vec<T>, limit: usize, place: impl Fn(&T) -> Cursor) -> Page<T> {
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = if more { rows.last().map(|row| place(row).text()) } else { None };
    Page { rows, next }
}
