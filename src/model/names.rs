//! What people call the things that messages name.

use super::{Text, Time};

/// What has a name beside its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    Company,
    Driver,
    Place,
    Zone,
    District,
    Route,
    Road,
}

/// What a message must know of a zone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NamedZone<'a> {
    /// As in the column `zone_kind`.
    pub kind: &'static str,
    pub tags: &'a [Text],
}

/// Gives the names that held at an instant: the same instant gives the same names, whenever it is asked.
pub trait Names {
    /// The name; `None` where there is none, or nothing of this id.
    fn name(&self, what: Named, id: &str, at: Time) -> Option<&str>;

    /// The zone of this id.
    fn zone(&self, zone_id: &str, at: Time) -> Option<NamedZone<'_>>;
}

/// Knows no names.
impl Names for () {
    fn name(&self, _: Named, _: &str, _: Time) -> Option<&str> {
        None
    }

    fn zone(&self, _: &str, _: Time) -> Option<NamedZone<'_>> {
        None
    }
}
