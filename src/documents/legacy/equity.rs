//! Entries of the single tenant's equity history.

use crate::documents::legacy::unreadable::Unreadable;
use crate::firestore::values::{Fields, double, number, string, time};
use crate::model::money::Figure;
use account_reader::documents::equity_history::{EQUITY, TS};
use gcloud_sdk::google::firestore::v1::Value;

/// The entry as today's readers need it: the figure, which was a text, is a number. All else is kept as it is.
pub(crate) fn entry_of_today(legacy: &Fields) -> Result<Fields, Unreadable> {
    legacy.get(TS).and_then(time).ok_or(Unreadable(TS))?;
    let equity = legacy.get(EQUITY).and_then(figure).ok_or(Unreadable(EQUITY))?;
    let mut entry = legacy.clone();
    entry.insert(EQUITY.to_owned(), double(equity));
    Ok(entry)
}

/// A finite number, or a text that is one.
pub(super) fn figure(value: &Value) -> Option<f64> {
    let of_text = || Some(Figure::parse(string(value)?.trim()).ok()?.to_double());
    number(value).or_else(of_text).filter(|figure| figure.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firestore::values::{array, boolean, integer, null, text, timestamp};
    use jiff::Timestamp;

    fn entry(equity: Option<Value>) -> Fields {
        let equity = equity.map(|equity| (EQUITY.to_owned(), equity));
        let rest = [(TS.to_owned(), timestamp(Timestamp::UNIX_EPOCH)), ("mine".to_owned(), array(vec![]))];
        rest.into_iter().chain(equity).collect()
    }

    #[test]
    fn a_figure_becomes_a_number_and_nothing_is_ever_made_up() {
        for (equity, expected) in [
            (Some(text("103820.56")), Some(103_820.56)),
            (Some(text(" -0.5\n")), Some(-0.5)),
            (Some(text("0")), Some(0.0)),
            (Some(double(1.5)), Some(1.5)),
            (Some(integer(7)), Some(7.0)),
            (None, None),
            (Some(null()), None),
            (Some(text("")), None),
            (Some(text("n/a")), None),
            (Some(text("1,000")), None),
            (Some(text("NaN")), None),
            (Some(text("1e999")), None),
            (Some(double(f64::NAN)), None),
            (Some(double(f64::INFINITY)), None),
            (Some(boolean(true)), None),
        ] {
            let migrated = entry_of_today(&entry(equity.clone()));
            let expected = expected.map(|figure| entry(Some(double(figure)))).ok_or(Unreadable(EQUITY));
            assert_eq!(migrated, expected, "{equity:?}");
        }
    }

    #[test]
    fn an_entry_without_its_time_is_none() {
        for ts in [None, Some(text("2026-01-05T14:30:00Z")), Some(null())] {
            let mut fields = entry(Some(double(1.0)));
            fields.remove(TS);
            fields.extend(ts.map(|ts| (TS.to_owned(), ts)));
            assert_eq!(entry_of_today(&fields), Err(Unreadable(TS)));
        }
    }
}
