//! A ramp as the ledger of an execution has it.

use crate::firestore::values::{entries, integer, map, time, timestamp, whole_number};
use crate::model::ramp::Ramp;
use gcloud_sdk::google::firestore::v1::Value;

const LIMIT: &str = "limit";
const SINCE: &str = "since";

impl Ramp {
    /// The form that an execution's ledger has it in: a map of `limit` and `since`.
    #[must_use]
    pub(crate) fn to_value(self) -> Value {
        let fields = [(LIMIT, integer(self.limit.into())), (SINCE, timestamp(self.since))];
        map(fields.map(|(name, value)| (name.to_owned(), value)).into())
    }

    /// Reads what [`Ramp::to_value`] wrote; nothing, when it is something else.
    #[must_use]
    pub(crate) fn from_value(value: &Value) -> Option<Self> {
        let fields = entries(value)?;
        let limit = u32::try_from(whole_number(fields.get(LIMIT)?)?).ok()?;
        let since = time(fields.get(SINCE)?)?;
        Some(Self::noted(limit, since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firestore::values::{double, null, text};
    use jiff::Timestamp;
    use proptest::prelude::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    #[test]
    fn what_is_no_ramp_is_none() {
        let of = |fields: Vec<(&str, Value)>| {
            Ramp::from_value(&map(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()))
        };
        assert_eq!(of(vec![("limit", integer(500)), ("since", timestamp(at(7)))]), Some(Ramp::first(at(7))));
        assert_eq!(of(vec![("limit", integer(1)), ("since", timestamp(at(7)))]), Some(Ramp::first(at(7))));
        for limit in [integer(-1), integer(i64::MAX), double(500.0), text("500"), null()] {
            assert_eq!(of(vec![("limit", limit), ("since", timestamp(at(7)))]), None);
        }
        for since in [integer(7), text("1970-01-01T00:00:07Z"), null()] {
            assert_eq!(of(vec![("limit", integer(500)), ("since", since)]), None);
        }
        assert_eq!((of(vec![]), Ramp::from_value(&null())), (None, None));
    }

    proptest! {
        #[test]
        fn a_ramp_survives_the_ledger(limit in 500_u32.., second in -60_000_000_000_i64..200_000_000_000) {
            let ramp = Ramp { limit, since: at(second) };
            prop_assert_eq!(Ramp::from_value(&ramp.to_value()), Some(ramp));
        }
    }
}
