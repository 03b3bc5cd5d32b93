//! Signals of the platform's older writers.

use crate::documents::legacy::equity::figure;
use crate::documents::legacy::unreadable::Unreadable;
use crate::firestore::values::{Fields, double, is_null, number, string, text, time, timestamp};
use account_reader::documents::signal::{
    ACTION, ARCHIVED, BUY, CREATED_AT, FLAT, NOTIONAL_USD, PROPOSED_BY, REASON, SELL, STATUS, SYMBOL,
};
use gcloud_sdk::google::firestore::v1::Value;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// What the fields were called, today's name first.
const SYMBOLS: [&str; 2] = [SYMBOL, "ticker"];
const REASONS: [&str; 2] = [REASON, "reasoning"];
const TIMES: [&str; 3] = [CREATED_AT, "timestamp", "createdAt"];

/// Between these, a number of seconds or milliseconds since 1970 is told from the other by its size.
const FIRST_MILLISECOND: i64 = 100_000_000_000;

/// The signal as today's readers need it: archived, with today's names. What nobody knows is left out, and what has no
/// name of today is kept as it is. Only the backend's signals of today say who proposed them.
pub(crate) fn signal_of_today(legacy: &Fields) -> Result<Fields, Unreadable> {
    let mut signal = legacy.clone();
    rename(&mut signal, &SYMBOLS, |value| string(value).map(text)).map_err(|()| Unreadable(SYMBOL))?;
    rename(&mut signal, &REASONS, |value| string(value).map(text)).map_err(|()| Unreadable(REASON))?;
    rename(&mut signal, &TIMES, |value| moment(value).map(timestamp))
        .and_then(|is_there| is_there.then_some(()).ok_or(()))
        .map_err(|()| Unreadable(CREATED_AT))?;
    rename(&mut signal, &[ACTION], |value| action(string(value)?).map(text))
        .map_err(|()| Unreadable(ACTION))?;
    let notional = signal.remove(NOTIONAL_USD).as_ref().and_then(figure);
    signal.extend(notional.map(|notional| (NOTIONAL_USD.to_owned(), double(notional))));
    signal.insert(STATUS.to_owned(), text(ARCHIVED));
    signal.remove(PROPOSED_BY);
    Ok(signal)
}

/// Gives the first of the names that has a value to what that is today; the others stay. Whether there was one.
fn rename(
    fields: &mut Fields,
    names: &[&str],
    of_today: impl Fn(&Value) -> Option<Value>,
) -> Result<bool, ()> {
    let has_value = |name: &&&str| fields.get(**name).is_some_and(|value| !is_null(value));
    let Some(name) = names.iter().find(has_value) else {
        names.iter().for_each(|name| drop(fields.remove(*name)));
        return Ok(false);
    };
    let value = fields.remove(*name).as_ref().and_then(of_today).ok_or(())?;
    fields.insert(names[0].to_owned(), value);
    Ok(true)
}

fn action(text: &str) -> Option<&'static str> {
    match text.trim().to_ascii_lowercase().as_str() {
        "buy" => Some(BUY),
        "sell" => Some(SELL),
        "hold" | "flat" => Some(FLAT),
        _ => None,
    }
}

/// A point in time, as one or another writer wrote it. A text without a zone is of UTC, where all of them ran.
fn moment(value: &Value) -> Option<Timestamp> {
    let of_text = |text: &str| {
        let zoned = text.parse::<Timestamp>().ok();
        let number = || text.parse::<f64>().ok().and_then(since_1970);
        let civil = || Some(text.parse::<DateTime>().ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp());
        zoned.or_else(number).or_else(civil)
    };
    let of_number = || since_1970(number(value)?);
    time(value).or_else(|| of_text(string(value)?.trim())).or_else(of_number)
}

/// Seconds or milliseconds. Nobody wrote signals in the first years after 1970.
fn since_1970(number: f64) -> Option<Timestamp> {
    let is_usual = (1e8..1e13).contains(&number);
    let milliseconds = if number < FIRST_MILLISECOND as f64 { number * 1000.0 } else { number };
    let since = SignedDuration::from_millis(is_usual.then_some(milliseconds.round() as i64)?);
    Timestamp::UNIX_EPOCH.checked_add(since).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firestore::values::{boolean, integer, map, null};

    fn fields<const N: usize>(fields: [(&str, Value); N]) -> Fields {
        fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    fn at(text: &str) -> Value {
        timestamp(text.parse().expect("a time"))
    }

    fn noon() -> Value {
        at("2025-01-05T12:00:00Z")
    }

    #[test]
    fn each_form_gets_the_names_of_today_and_keeps_the_rest() {
        for (legacy, expected) in [
            (
                fields([
                    ("signal_id", text("s")),
                    ("symbol", text("SPY")),
                    ("action", text("BUY")),
                    ("reason", text("up")),
                    ("timestamp", at("2025-01-05T11:59:59Z")),
                    ("created_at", noon()),
                    ("did_trade", boolean(true)),
                ]),
                fields([
                    ("signal_id", text("s")),
                    ("symbol", text("SPY")),
                    ("action", text("buy")),
                    ("reason", text("up")),
                    ("timestamp", at("2025-01-05T11:59:59Z")),
                    ("created_at", noon()),
                    ("did_trade", boolean(true)),
                    ("status", text("archived")),
                ]),
            ),
            (
                fields([
                    ("ticker", text("QQQ")),
                    ("action", text("HOLD")),
                    ("reasoning", text("flat")),
                    ("allocation", double(0.25)),
                    ("metadata", map(fields([("a", null())]))),
                    ("timestamp", noon()),
                ]),
                fields([
                    ("symbol", text("QQQ")),
                    ("action", text("flat")),
                    ("reason", text("flat")),
                    ("allocation", double(0.25)),
                    ("metadata", map(fields([("a", null())]))),
                    ("created_at", noon()),
                    ("status", text("archived")),
                ]),
            ),
            (
                fields([("createdAt", noon()), ("userId", text("eve")), ("response", text("sell"))]),
                fields([
                    ("created_at", noon()),
                    ("userId", text("eve")),
                    ("response", text("sell")),
                    ("status", text("archived")),
                ]),
            ),
            (
                fields([
                    ("symbol", null()),
                    ("ticker", text("SPY")),
                    ("createdAt", noon()),
                    ("status", text("proposed")),
                    ("proposed_by", text("backend")),
                    ("action", null()),
                ]),
                fields([("symbol", text("SPY")), ("created_at", noon()), ("status", text("archived"))]),
            ),
        ] {
            assert_eq!(signal_of_today(&legacy), Ok(expected), "{legacy:?}");
        }
    }

    #[test]
    fn an_unknown_figure_is_left_out_and_never_zero() {
        for (notional, expected) in [
            (double(12.5), Some(12.5)),
            (integer(12), Some(12.0)),
            (text("12.50"), Some(12.5)),
            (text("0"), Some(0.0)),
            (text("n/a"), None),
            (text(""), None),
            (null(), None),
            (double(f64::NAN), None),
            (boolean(false), None),
        ] {
            let legacy = fields([("created_at", noon()), ("notional_usd", notional.clone())]);
            let migrated = signal_of_today(&legacy).expect("readable");
            assert_eq!(migrated.get("notional_usd"), expected.map(double).as_ref(), "{notional:?}");
        }
    }

    #[test]
    fn an_action_is_one_of_three_whatever_its_spelling() {
        for (word, expected) in [
            ("BUY", Some("buy")),
            ("Sell ", Some("sell")),
            ("HOLD", Some("flat")),
            ("flat", Some("flat")),
            ("SHORT", None),
            ("", None),
        ] {
            let migrated = signal_of_today(&fields([("created_at", noon()), ("action", text(word))]));
            let found = migrated.as_ref().map(|signal| string(&signal["action"]));
            assert_eq!(found, expected.map(Some).ok_or(&Unreadable("action")), "{word}");
        }
    }

    #[test]
    fn a_time_is_read_as_any_writer_wrote_it() {
        for (time, expected) in [
            (noon(), Some(noon())),
            (text("2025-01-05T12:00:00Z"), Some(noon())),
            (text("2025-01-05T13:00:00+01:00"), Some(noon())),
            (text(" 2025-01-05T12:00:00.000000 "), Some(noon())),
            (text("2025-01-05 12:00:00"), Some(noon())),
            (integer(1_736_078_400), Some(noon())),
            (integer(1_736_078_400_000), Some(noon())),
            (double(1_736_078_400.0), Some(noon())),
            (text("1736078400"), Some(noon())),
            (text("yesterday"), None),
            (integer(0), None),
            (double(f64::NAN), None),
            (boolean(true), None),
            (null(), None),
        ] {
            let migrated = signal_of_today(&fields([("timestamp", time.clone())]));
            let found = migrated.map(|signal| signal["created_at"].clone());
            assert_eq!(found, expected.ok_or(Unreadable("created_at")), "{time:?}");
        }
        assert_eq!(signal_of_today(&Fields::new()), Err(Unreadable("created_at")));
    }

    #[test]
    fn what_a_reader_could_not_read_is_refused_by_its_name() {
        for (name, value, field) in [
            ("ticker", integer(7), "symbol"),
            ("symbol", boolean(true), "symbol"),
            ("reasoning", map(Fields::new()), "reason"),
            ("action", integer(1), "action"),
        ] {
            let legacy = fields([("created_at", noon()), (name, value)]);
            assert_eq!(signal_of_today(&legacy), Err(Unreadable(field)));
        }
    }
}
