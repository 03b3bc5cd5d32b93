//! Documents in the form that readers judge by: what an operator is told of a snapshot is what every reader concludes.

use crate::documents::snapshot::snapshot_name;
use crate::documents::user::user_name;
use crate::firestore::values::{Fields, string};
use crate::firestore::{Store, StoreError};
use crate::limits::retry::Deadline;
use crate::model::ids::DocumentId;
use crate::model::sync_state::SyncState;
use crate::model::user::User;
use account_reader::documents::snapshot as field;
use account_reader::{Documents, Fields as ReaderFields, Lookup, Snapshot, Source, Value as ReaderValue};
use gcloud_sdk::google::firestore::v1::Value;
use gcloud_sdk::google::firestore::v1::value::ValueType;
use jiff::Timestamp;

/// All of a snapshot but `raw`, which may be long.
const FIELDS: [&str; 21] = [
    field::BROKER,
    field::USER_ID,
    field::EXTERNAL_ACCOUNT_ID,
    field::STATUS,
    field::ENVIRONMENT,
    field::CURRENCY,
    field::EQUITY,
    field::BUYING_POWER,
    field::CASH,
    field::LAST_EQUITY,
    field::NON_MARGINABLE_BUYING_POWER,
    field::EXACT,
    field::MULTIPLIER,
    field::TRADING_BLOCKED,
    field::ACCOUNT_BLOCKED,
    field::TRADE_SUSPENDED_BY_USER,
    field::TRANSFERS_BLOCKED,
    field::PATTERN_DAY_TRADER,
    field::FRESH_UNTIL,
    field::UPDATED_AT_ISO,
    field::KEY_VERSION,
];

/// A user with all that is known of them.
#[derive(Debug)]
pub(crate) struct UserView {
    /// Who.
    pub(crate) id: DocumentId,
    /// Their document, if there is one.
    pub(crate) user: Option<User>,
    /// What keeps them from being synced, if something does.
    pub(crate) trouble: Option<SyncState>,
    /// What their snapshot is worth.
    pub(crate) snapshot: Snapshot,
    /// The version of the keys that it came from.
    pub(crate) key_version: Option<String>,
}

impl Store {
    /// What is known of these users besides their trouble. Who has no `User` is looked up too.
    pub(crate) async fn views(
        &self,
        known: Vec<(DocumentId, Option<User>, Option<SyncState>)>,
        last_pulse: Lookup<'_>,
        deadline: Deadline,
    ) -> Result<Vec<UserView>, StoreError> {
        let database = self.database();
        let unknown = known.iter().filter(|(_, user, _)| user.is_none());
        let users = unknown.map(|(id, ..)| user_name(database, id));
        let names = users.chain(known.iter().map(|(id, ..)| snapshot_name(database, id))).collect();
        let fields: Vec<&str> = User::FIELDS.into_iter().chain(FIELDS).collect();
        let mut found = self.documents(names, &fields, deadline).await?;
        let mut view = |(id, user, trouble): (DocumentId, Option<User>, Option<SyncState>)| {
            let user = user.or_else(|| {
                let document = found.remove(&user_name(database, &id))?;
                Some(User::read(id.clone(), &document))
            });
            let document = found.remove(&snapshot_name(database, &id));
            let fields = document.as_ref().map(|document| &document.fields);
            UserView::new((id, user, trouble), fields, last_pulse)
        };
        Ok(known.into_iter().map(&mut view).collect())
    }
}

impl UserView {
    fn new(
        (id, user, trouble): (DocumentId, Option<User>, Option<SyncState>),
        snapshot: Option<&Fields>,
        last_pulse: Lookup<'_>,
    ) -> Self {
        let fields = snapshot.map(to_reader);
        let sync = trouble.as_ref().map(of_trouble);
        let documents = Documents {
            snapshot: fields.as_ref(),
            sync: sync.as_ref().map_or(Lookup::Absent, Lookup::Found),
            last_pulse,
        };
        let source = Source::User(id.as_str().to_owned());
        let key_version = snapshot.and_then(|fields| fields.get(field::KEY_VERSION)).and_then(string);
        Self {
            snapshot: Snapshot::read(source, documents),
            key_version: key_version.map(str::to_owned),
            id,
            user,
            trouble,
        }
    }
}

fn of_trouble(trouble: &SyncState) -> ReaderFields {
    let fields = trouble.to_fields().into_iter();
    fields.filter_map(|(name, value)| Some((name.to_owned(), reader_value(&value?)))).collect()
}

/// A document's fields.
#[must_use]
pub(crate) fn to_reader(fields: &Fields) -> ReaderFields {
    fields.iter().map(|(name, value)| (name.clone(), reader_value(value))).collect()
}

fn reader_value(value: &Value) -> ReaderValue {
    match &value.value_type {
        Some(ValueType::NullValue(_)) => ReaderValue::Null,
        Some(ValueType::BooleanValue(switch)) => ReaderValue::Bool(*switch),
        Some(ValueType::IntegerValue(number)) => ReaderValue::Integer(*number),
        Some(ValueType::DoubleValue(number)) => ReaderValue::Double(*number),
        Some(ValueType::TimestampValue(time)) => {
            Timestamp::new(time.seconds, time.nanos).map_or(ReaderValue::Other, ReaderValue::Timestamp)
        }
        Some(ValueType::StringValue(text)) => ReaderValue::String(text.clone()),
        Some(ValueType::ArrayValue(array)) => {
            ReaderValue::Array(array.values.iter().map(reader_value).collect())
        }
        Some(ValueType::MapValue(map)) => ReaderValue::Map(to_reader(&map.fields)),
        _ => ReaderValue::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firestore::values::{array, boolean, double, integer, map, null, text, timestamp};

    #[test]
    fn each_value_is_what_it_is_to_a_reader_too() {
        let time = Timestamp::from_second(1_767_623_400).expect("in range");
        for (value, expected) in [
            (null(), ReaderValue::Null),
            (boolean(true), ReaderValue::Bool(true)),
            (integer(7), ReaderValue::Integer(7)),
            (double(0.5), ReaderValue::Double(0.5)),
            (text("x"), ReaderValue::String("x".into())),
            (timestamp(time), ReaderValue::Timestamp(time)),
            (array(vec![integer(1)]), ReaderValue::Array(vec![ReaderValue::Integer(1)])),
            (
                map([("a".to_owned(), integer(1))].into()),
                ReaderValue::Map([("a".to_owned(), ReaderValue::Integer(1))].into()),
            ),
            (Value { value_type: None }, ReaderValue::Other),
        ] {
            assert_eq!(reader_value(&value), expected);
        }
    }
}
