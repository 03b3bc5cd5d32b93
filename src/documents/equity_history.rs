//! `users/{userId}/alpacaAccounts/snapshot/equity_history/{YYYYMMDDHHMM}`: what a user's account was worth, once in each
//! slot. The platform's loss guards read it.

use crate::firestore::values::timestamp;
use crate::firestore::write::{FieldChange, Precondition, Write, merge_at_all};
use crate::model::account::Account;
use crate::model::equity_slot::EquitySlot;
use crate::model::ids::{Database, DocumentId};
use account_reader::documents::equity_history::{COLLECTION, EQUITY, EXPIRES_AT, TS};
use account_reader::documents::snapshot::AROUND_USER;
use jiff::{SignedDuration, Timestamp};

/// How long an entry is kept.
const KEPT_FOR: SignedDuration = SignedDuration::from_hours(30 * 24);

/// The fields of an entry about an account that Alpaca told of then.
pub(super) fn entry(account: &Account, answered_at: Timestamp) -> [FieldChange<'static>; 3] {
    let expires_at = answered_at.saturating_add(KEPT_FOR).unwrap_or(Timestamp::MAX);
    [
        (TS, Some(timestamp(answered_at).into())),
        (EQUITY, Some(account.equity.to_double().into())),
        (EXPIRES_AT, Some(timestamp(expires_at).into())),
    ]
}

/// The write of a user's entry in a slot. Done again, it changes nothing.
#[must_use]
pub(crate) fn entry_write(
    database: &Database,
    user: &DocumentId,
    slot: EquitySlot,
    account: &Account,
    answered_at: Timestamp,
) -> Write {
    let [before, behind] = AROUND_USER;
    let (user, slot) = (user.as_str(), slot.id());
    let name = database.document(format_args!("{before}{user}{behind}/{COLLECTION}/{slot}"));
    merge_at_all(&name, &entry(account, answered_at), &[], &Precondition::Nothing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documents::written::Written;
    use crate::firestore::values::double;
    use crate::model::equity_slot::EquitySlots;
    use crate::model::recheck::RecheckSchedule;
    use std::time::Duration;

    #[test]
    fn an_entry_is_a_number_a_time_and_when_it_may_go() {
        let body = br#"{"id":"a1","status":"ACTIVE","currency":"USD","equity":"123346.110","buying_power":"2","cash":"3"}"#;
        let account = Account::from_answer(body).expect("an account");
        let time = |text: &str| text.parse::<Timestamp>().expect("a time");
        let slots = EquitySlots::of(Duration::from_mins(3)).expect("such a length");
        let slot = slots.of_pass(&RecheckSchedule { previous: None, now: time("2026-01-05T14:34:59Z") });
        let database = Database::parse("p", "(default)").expect("legal");
        let ana = DocumentId::parse("ana").expect("legal");
        let write = entry_write(&database, &ana, slot, &account, time("2026-01-05T14:35:01.5Z"));
        let write = Written::of(&write);
        let path = account_reader::documents::equity_history::path("ana", "202601051433").expect("legal");
        assert_eq!((write.path, write.precondition, write.server_times), (path, None, vec![]));
        let expected = [
            ("ts", timestamp(time("2026-01-05T14:35:01.5Z"))),
            ("equity", double(123_346.11)),
            ("expires_at", timestamp(time("2026-02-04T14:35:01.5Z"))),
        ];
        assert_eq!(write.fields, expected.map(|(name, value)| (name.to_owned(), value)).into());
        assert_eq!(write.mask, ["ts", "equity", "expires_at"]);
    }
}
