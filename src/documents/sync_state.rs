//! `users/{userId}/alpacaAccounts/sync`: what keeps a user from being synced, for the app that asks
//! them to reconnect, and for the next pulse.

use crate::firestore::filter;
use crate::firestore::query::{Pages, Query};
use crate::firestore::values::{Fields, integer, string, text, time, timestamp, whole_number};
use crate::firestore::write::{Precondition, Write, merge_at};
use crate::firestore::{Store, StoreError};
use crate::limits::retry::Deadline;
use crate::model::ids::{Database, DocumentId};
use crate::model::key_version::KeyVersion;
use crate::model::outcome::Code;
use crate::model::past::LastSuccess;
use crate::model::selection::IdRange;
use crate::model::sync_state::{State, SyncState};
use account_reader::documents::sync::{
    AROUND_USER, COLLECTION, ERROR, FAILING_SINCE, KEY_VERSION, LAST_SUCCESS_AT, LAST_SUCCESS_KEY_VERSION,
    NEXT_ATTEMPT_AT, REJECTIONS, SINCE, STATE, UPDATED_AT,
};
use gcloud_sdk::google::firestore::v1::{Document, Value};
use jiff::Timestamp;
use std::collections::HashSet;
use std::time::Duration;

/// Everybody waits for the sync states, and the pass can do without.
const PAGE_BUDGET: Duration = Duration::from_secs(14);

/// Full name of the document that holds a user's sync state.
#[must_use]
pub(super) fn sync_state_name(database: &Database, user: &DocumentId) -> String {
    database.document_around(AROUND_USER, user.as_str())
}

/// The user whose sync state a document of that full name holds, if it is one.
fn user_of_sync_state(database: &Database, name: &str) -> Option<DocumentId> {
    let [before, behind] = AROUND_USER;
    let path = name.strip_prefix(&database.document(format_args!("{before}")))?;
    DocumentId::parse(path.strip_suffix(behind)?).ok()
}

impl SyncState {
    /// The fields that the query for users in trouble selects.
    pub(super) const FIELDS: [&str; 9] = [
        STATE,
        ERROR,
        SINCE,
        FAILING_SINCE,
        LAST_SUCCESS_AT,
        LAST_SUCCESS_KEY_VERSION,
        REJECTIONS,
        KEY_VERSION,
        NEXT_ATTEMPT_AT,
    ];

    /// The fields as they are stored. What does not apply is removed, so that no old value stays behind.
    #[must_use]
    pub(super) fn to_fields(&self) -> [(&'static str, Option<Value>); 9] {
        let Self { state, error, since, failing_since, last_success, .. } = self;
        let Self { rejections, key_version, next_attempt_at, .. } = self;
        let version = |version: &KeyVersion| text(version.as_str());
        let last_version = last_success.as_ref().and_then(|last| last.key_version.as_ref());
        [
            (STATE, Some(text(state.as_str()))),
            (ERROR, error.map(|code| text(code.as_str()))),
            (SINCE, Some(timestamp(*since))),
            (FAILING_SINCE, failing_since.map(timestamp)),
            (LAST_SUCCESS_AT, last_success.as_ref().map(|last| timestamp(last.at))),
            (LAST_SUCCESS_KEY_VERSION, last_version.map(version)),
            (REJECTIONS, Some(integer(i64::from(*rejections)))),
            (KEY_VERSION, key_version.as_ref().map(version)),
            (NEXT_ATTEMPT_AT, next_attempt_at.map(timestamp)),
        ]
    }

    /// Reads the record of a user in trouble, as far as it is plausible; `None` when its state is none of trouble.
    #[must_use]
    pub(super) fn from_fields(fields: &Fields, now: Timestamp) -> Option<Self> {
        let word = |field| fields.get(field).and_then(string);
        let version = |field| word(field).and_then(KeyVersion::parse);
        let moment = |field| fields.get(field).and_then(time);
        let state = State::IN_TROUBLE.into_iter().find(|state| word(STATE) == Some(state.as_str()))?;
        let rejections = fields.get(REJECTIONS).and_then(whole_number).and_then(|n| u32::try_from(n).ok());
        let record = Self {
            state,
            error: word(ERROR).and_then(Code::parse),
            since: moment(SINCE).unwrap_or(now),
            failing_since: moment(FAILING_SINCE),
            last_success: moment(LAST_SUCCESS_AT)
                .map(|at| LastSuccess { at, key_version: version(LAST_SUCCESS_KEY_VERSION) }),
            rejections: rejections.unwrap_or_default(),
            key_version: version(KEY_VERSION),
            next_attempt_at: moment(NEXT_ATTEMPT_AT),
        };
        Some(record.plausible_at(now))
    }
}

/// The write of a user's record. It replaces whatever is there.
#[must_use]
pub(crate) fn sync_state_write(database: &Database, user: &DocumentId, record: &SyncState) -> Write {
    let fields = record.to_fields().map(|(field, value)| (field, value.map(Into::into)));
    merge_at(&sync_state_name(database, user), &fields, UPDATED_AT, &Precondition::Nothing)
}

impl Store {
    /// Those of these users whose records somebody has written after that.
    pub(crate) async fn with_sync_states_after(
        &self,
        at: Timestamp,
        users: impl Iterator<Item = &DocumentId>,
        deadline: Deadline,
    ) -> Result<HashSet<DocumentId>, StoreError> {
        let users: Vec<_> = users.map(|user| (user, sync_state_name(self.database(), user))).collect();
        let names = users.iter().map(|(_, name)| name.clone()).collect();
        let found = self.documents(names, &[STATE], deadline).await?;
        let is_later = |name| found.get(name).and_then(written_at).is_some_and(|written| written > at);
        Ok(users.iter().filter(|(_, name)| is_later(name)).map(|(user, _)| (*user).clone()).collect())
    }
}

fn written_at(document: &Document) -> Option<Timestamp> {
    let time = document.update_time?;
    Timestamp::new(time.seconds, time.nanos).ok()
}

impl Pages<(DocumentId, SyncState)> {
    /// The users of a range who are in trouble: one query over all users' `alpacaAccounts`, in the users' order.
    #[must_use]
    pub(crate) fn of_sync_states(database: &Database, range: &IdRange, now: Timestamp) -> Self {
        let name = |id: &DocumentId| sync_state_name(database, id);
        let states = State::IN_TROUBLE.map(|state| text(state.as_str()));
        let query = Query {
            collection: COLLECTION,
            is_group: true,
            filter: Some(filter::one_of(STATE, states.to_vec())),
            fields: &SyncState::FIELDS,
            after: range.after.as_ref().map(name),
            until: range.until.as_ref().map(name),
            is_empty: range.is_empty(),
        };
        let of = database.clone();
        let record = move |document: Document| {
            let user = user_of_sync_state(&of, &document.name)?;
            Some((user, SyncState::from_fields(&document.fields, now)?))
        };
        Self::new(database, query, PAGE_BUDGET, Box::new(record))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firestore::values::arbitrary::any_fields;
    use crate::model::fleet_guard::Guard;
    use crate::model::recheck::{Recheck, RecheckSchedule, recheck};
    use crate::model::sync_state::{PreviousState, after_failure, after_rejection, after_success};
    use crate::model::user::{Switch, TenantClaim, User};
    use proptest::prelude::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + seconds).expect("in range")
    }

    fn version(number: u32) -> KeyVersion {
        KeyVersion::parse(&number.to_string()).expect("a number")
    }

    fn database() -> Database {
        Database::parse("p", "(default)").expect("legal")
    }

    #[test]
    fn only_a_users_own_sync_document_is_their_sync_state() {
        let ana = DocumentId::parse("ana").expect("legal");
        let name = sync_state_name(&database(), &ana);
        assert_eq!(name, "projects/p/databases/(default)/documents/users/ana/alpacaAccounts/sync");
        assert_eq!(user_of_sync_state(&database(), &name), Some(ana));
        for path in [
            "alpacaAccounts/sync",
            "users/ana/alpacaAccounts/other",
            "users/a/b/c/alpacaAccounts/sync",
            "tenants/ana/alpacaAccounts/sync",
        ] {
            let name = database().document(format_args!("{path}"));
            assert_eq!(user_of_sync_state(&database(), &name), None, "{path}");
        }
    }

    fn stored(record: &SyncState) -> Fields {
        let fields = record.to_fields().into_iter();
        fields.filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }

    #[test]
    fn what_only_a_wrong_clock_can_have_written_is_not_read() {
        let fields = [
            (STATE, text("needs_reauth")),
            (FAILING_SINCE, timestamp(Timestamp::MAX)),
            (NEXT_ATTEMPT_AT, timestamp(Timestamp::MAX)),
        ];
        let fields = fields.map(|(name, value)| (name.to_owned(), value)).into();
        let read = SyncState::from_fields(&fields, at(0)).expect("in trouble");
        assert_eq!((read.failing_since, read.next_attempt_at, read.since), (None, None, at(0)));
    }

    #[test]
    fn a_record_of_no_trouble_is_none() {
        for state in [Some(text("ok")), Some(text("")), Some(integer(1)), None] {
            let fields = state.clone().map(|state| (STATE.to_owned(), state)).into_iter().collect();
            assert_eq!(SyncState::from_fields(&fields, at(0)), None, "{state:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_a_record_says_its_user_is_asked_about_within_a_day_or_so(
            mut fields in any_fields(&SyncState::FIELDS), user in "[a-z]{1,8}", previous in prop::option::of(any::<i32>()),
            state in prop::sample::select(vec!["needs_reauth", "retrying", "incomplete"]),
            rests in prop::option::of((1_u32..9, -400_000_i64..400_000)),
        ) {
            fields.insert("state".into(), text(state));
            if let Some((number, next)) = rests {
                fields.insert("key_version".into(), text(version(number).as_str()));
                fields.insert("next_attempt_at".into(), timestamp(at(next)));
            }
            let previous = previous.map(|seconds| at(i64::from(seconds)));
            let known = PreviousState::Troubled(SyncState::from_fields(&fields, at(0)).expect("in trouble"));
            let later = RecheckSchedule { previous, now: at(25 * 3600) };
            let id = DocumentId::parse(&user).expect("legal");
            let user = User { id, tenant: TenantClaim::Own, sync: Switch::On, keys_updated_at: None, created_at: None };
            let five_minutes_later = RecheckSchedule { previous: Some(later.now), now: at(25 * 3600 + 300) };
            match recheck(&known, &user, &later) {
                Recheck::WaitForKeys => prop_assert_eq!(recheck(&known, &user, &five_minutes_later), Recheck::Ask),
                asked => prop_assert_eq!(asked, Recheck::Ask),
            }
            let past = known.past().unwrap_or_else(|| known.past_with(None, at(0)));
            // Whatever happens then can be recorded, and keeps nobody for longer than a day and what clocks may be off.
            let longest = at(25 * 3600);
            let records = [
                after_failure(&known, Some(&past), Code::BrokerUnavailable, Some(&version(3)), at(0)),
                after_rejection(&known, Some(&past), &version(3), Guard::Off, at(0)),
                after_rejection(&known, Some(&past), &version(3), Guard::Over, at(0)),
                after_success(&known, &version(3), at(0)),
            ];
            for record in records.into_iter().flatten() {
                prop_assert!(record.next_attempt_at.is_none_or(|next| next <= longest));
            }
        }

        #[test]
        fn a_record_is_read_back_as_it_was_written(
            state in 0_usize..3, code in prop::option::of(0_usize..14), rejections in 0_u32..9,
            key in prop::option::of(0_u32..99), next in prop::option::of(0_i64..99),
            failing in prop::option::of(0_i64..99), last in prop::option::of((0_i64..99, prop::option::of(0_u32..99))),
        ) {
            let codes = [Code::KeysMissing, Code::BrokerRejected, Code::Internal];
            let record = SyncState {
                state: State::IN_TROUBLE[state], error: code.map(|n| codes[n % 3]), since: at(4), rejections,
                failing_since: failing.map(at),
                last_success: last.map(|(second, key)| LastSuccess { at: at(second), key_version: key.map(version) }),
                key_version: key.map(version), next_attempt_at: next.map(at),
            };
            prop_assert_eq!(record.to_fields().map(|(name, _)| name), SyncState::FIELDS);
            prop_assert_eq!(SyncState::from_fields(&stored(&record), at(0)), Some(record));
        }
    }
}
