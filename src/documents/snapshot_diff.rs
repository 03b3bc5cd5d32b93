//! What a snapshot would change of the one that is stored.

use crate::documents::snapshot::Snapshot;
use crate::firestore::values::{Fields, double, map, text};
use crate::firestore::write::{FieldChange, FieldValue};
use crate::firestore::{Store, StoreError};
use crate::limits::retry::Deadline;
use account_reader::documents::snapshot as field;
use gcloud_sdk::google::firestore::v1::Value;
use gcloud_sdk::google::firestore::v1::value::ValueType;
use std::fmt;

/// New with each pulse, or said by another field too.
const NOT_COMPARED: [&str; 4] = [field::UPDATED_AT_ISO, field::FRESH_UNTIL, field::EXACT, field::RAW];

/// What would become of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Difference {
    /// There is none yet.
    New,
    /// These fields would change; never none.
    Changed(Vec<FieldDifference>),
    /// Nothing but its times would.
    Unchanged,
}

/// A field that would change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FieldDifference {
    name: String,
    old: String,
    new: String,
}

impl FieldDifference {
    /// Which field it is.
    #[must_use]
    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

impl Difference {
    /// These fields, whatever their values.
    #[cfg(test)]
    pub(crate) fn changed(names: &[&str]) -> Self {
        let field = |name: &&str| FieldDifference {
            name: (*name).to_owned(),
            old: String::new(),
            new: String::new(),
        };
        Self::Changed(names.iter().map(field).collect())
    }

    /// The word of the log.
    #[must_use]
    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Changed(_) => "changed",
            Self::Unchanged => "unchanged",
        }
    }

    /// The fields that would change, with both values.
    #[must_use]
    pub(crate) fn changes(&self) -> Option<String> {
        let Self::Changed(fields) = self else { return None };
        let shown = fields.iter().map(|FieldDifference { name, old, new }| format!("{name} {old} → {new}"));
        Some(shown.collect::<Vec<_>>().join(", "))
    }

    fn of(changes: &[FieldChange<'_>], stored: Option<&Fields>) -> Self {
        let Some(stored) = stored else { return Self::New };
        let compared = changes.iter().filter(|(name, _)| !NOT_COMPARED.contains(name));
        let differing: Vec<_> = compared.filter_map(|change| differing(change, stored)).collect();
        if differing.is_empty() { Self::Unchanged } else { Self::Changed(differing) }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(self.as_str())?;
        self.changes().map_or(Ok(()), |changes| write!(to, ": {changes}"))
    }
}

fn differing((name, new): &FieldChange<'_>, stored: &Fields) -> Option<FieldDifference> {
    let (old, new) = (stored.get(*name), new.as_ref().map(stored_form));
    let is_same = old == new.as_ref();
    let shown = |value: Option<&Value>| value.map_or_else(|| "nothing".to_owned(), shown);
    (!is_same).then(|| FieldDifference {
        name: (*name).to_owned(),
        old: shown(old),
        new: shown(new.as_ref()),
    })
}

fn stored_form(value: &FieldValue<'_>) -> Value {
    match value {
        FieldValue::Text(string) => text(string.as_ref()),
        FieldValue::Double(number) => double(*number),
        FieldValue::Texts(entries) => {
            map(entries.iter().map(|(name, string)| ((*name).to_owned(), text(*string))).collect())
        }
        FieldValue::Any(value) => value.clone(),
    }
}

/// A text in quotes, so that one with digits is no number.
fn shown(value: &Value) -> String {
    match &value.value_type {
        Some(ValueType::StringValue(text)) => format!("{text:?}"),
        Some(ValueType::DoubleValue(number)) => number.to_string(),
        Some(ValueType::IntegerValue(number)) => number.to_string(),
        Some(ValueType::BooleanValue(switch)) => switch.to_string(),
        Some(ValueType::NullValue(_)) | None => "null".to_owned(),
        Some(_) => "something else".to_owned(),
    }
}

impl Store {
    /// What the snapshot would change of the document of that name: one read.
    pub(crate) async fn difference(
        &self,
        name: &str,
        snapshot: &Snapshot<'_>,
        deadline: Deadline,
    ) -> Result<Difference, StoreError> {
        let changes = snapshot.user_document();
        let fields: Vec<_> = changes.iter().map(|(name, _)| *name).collect();
        let found = self.documents(vec![name.to_owned()], &fields, deadline).await?;
        Ok(Difference::of(&changes, found.get(name).map(|document| &document.fields)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firestore::values::boolean;

    fn told(stored: Option<&[(&str, Value)]>) -> String {
        let changes = [
            (field::EQUITY, Some(101.5.into())),
            (field::STATUS, Some("ACTIVE".into())),
            (field::LAST_EQUITY, None),
            (field::TRADING_BLOCKED, Some(boolean(false).into())),
            (field::UPDATED_AT_ISO, Some("now".into())),
        ];
        let stored: Option<Fields> = stored
            .map(|fields| fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect());
        Difference::of(&changes, stored.as_ref()).to_string()
    }

    #[test]
    fn what_differs_is_told_with_both_values_and_times_do_not_count() {
        let same = [
            (field::EQUITY, double(101.5)),
            (field::STATUS, text("ACTIVE")),
            (field::TRADING_BLOCKED, boolean(false)),
            (field::UPDATED_AT_ISO, text("then")),
        ];
        assert_eq!(told(None), "new");
        assert_eq!(told(Some(&same)), "unchanged");
        let with = |name, value| {
            let others = same.iter().filter(|(other, _)| *other != name).cloned();
            told(Some(&others.chain([(name, value)]).collect::<Vec<_>>()))
        };
        for (name, value, expected) in [
            (field::EQUITY, double(100.0), "changed: equity 100 → 101.5"),
            (field::EQUITY, text("101.5"), "changed: equity \"101.5\" → 101.5"),
            (field::STATUS, text("IN\u{1b}"), "changed: status \"IN\\u{1b}\" → \"ACTIVE\""),
            (field::LAST_EQUITY, double(7.0), "changed: last_equity 7 → nothing"),
            ("other", text("kept"), "unchanged"),
        ] {
            assert_eq!(with(name, value), expected);
        }
    }
}
