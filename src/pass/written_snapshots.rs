//! Which accounts have not changed since this process wrote their snapshots: in a loop, those are rewritten
//! only now and then, so that their readers do not call them stale.

use crate::documents::snapshot::Snapshot;
use crate::model::account::Account;
use crate::model::ids::{DocumentId, TenantId};
use crate::model::money::Figure;
use jiff::Timestamp;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Most users who are remembered, with 150 bytes each at most; further ones are written in every pass.
const MOST: usize = 500_000;

/// Stands for everything that a snapshot says but its time. 128 bits under keys that nobody knows: two
/// that are equal by chance will not be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Fingerprint(u64, u64);

/// What this process has written.
#[derive(Debug)]
pub(crate) struct WrittenSnapshots {
    refresh: Duration,
    hashers: [RandomState; 2],
    /// By the user's own fingerprint: what was written, and in which pass.
    snapshots: Mutex<HashMap<Fingerprint, (Fingerprint, Instant)>>,
}

impl WrittenSnapshots {
    /// Nothing yet. Snapshots that are `refresh` old are rewritten.
    #[must_use]
    pub(crate) fn new(refresh: Duration) -> Self {
        Self { refresh, hashers: [RandomState::new(), RandomState::new()], snapshots: Mutex::default() }
    }

    /// The fingerprint of a snapshot that goes to this tenant too, of the user whose document was created then: who is
    /// created again has no snapshot.
    #[must_use]
    pub(crate) fn fingerprint(
        &self,
        snapshot: &Snapshot<'_>,
        created_at: Option<Timestamp>,
        tenant: Option<&TenantId>,
    ) -> Fingerprint {
        let Snapshot { user_id, account, environment, answered_at: _, stands_for, keys, raw } = snapshot;
        let Account {
            external_account_id,
            status,
            currency,
            equity,
            buying_power,
            cash,
            last_equity,
            non_marginable_buying_power,
            multiplier,
            flags,
        } = account;
        let optional = [last_equity, non_marginable_buying_power];
        let optional = optional.map(|figure| figure.as_ref().map(Figure::text));
        let figures = ([equity, buying_power, cash].map(Figure::text), optional);
        let standing = (external_account_id, status, currency, multiplier, flags);
        let keys = keys.map(|(path, version)| (path, version.as_str()));
        // Whatever cannot be shown has never been written either.
        let raw = raw.as_ref().map(|raw| serde_json::to_string(raw).unwrap_or_default());
        let (environment, tenant) = (environment.as_str(), tenant.map(TenantId::as_str));
        let promise = stands_for.as_secs();
        self.hash(&((user_id, created_at, promise), standing, figures, environment, keys, raw, tenant))
    }

    fn hash(&self, value: &impl Hash) -> Fingerprint {
        let [one, other] = &self.hashers;
        Fingerprint(one.hash_one(value), other.hash_one(value))
    }

    /// A pass begins that was due at `due`: forgets what it will rewrite anyway, users who are gone
    /// among it.
    pub(crate) fn begin(&self, due: Instant) {
        self.snapshots().retain(|_, (_, written)| self.is_fresh(*written, due));
    }

    /// Whether that is what the user's snapshot says since a pass that is recent enough.
    ///
    /// Ages are from when one pass was due to when the other was: whether a user came early or late in
    /// either does not decide.
    #[must_use]
    pub(crate) fn is_unchanged(&self, user: &DocumentId, snapshot: Fingerprint, due: Instant) -> bool {
        let user = self.hash(&user);
        let written = self.snapshots().get(&user).copied();
        written.is_some_and(|(what, when)| what == snapshot && self.is_fresh(when, due))
    }

    /// Remembers what the pass that was due at `due` has written for a user.
    pub(crate) fn remember(&self, user: &DocumentId, snapshot: Fingerprint, due: Instant) {
        let user = self.hash(&user);
        let mut snapshots = self.snapshots();
        if snapshots.len() < MOST {
            snapshots.insert(user, (snapshot, due));
        }
    }

    /// Forgets what was written for a user, before something else is.
    pub(crate) fn forget(&self, user: &DocumentId) {
        let user = self.hash(&user);
        self.snapshots().remove(&user);
    }

    /// Forgets what was written for all users, as others may have written since.
    pub(crate) fn forget_all(&self) {
        self.snapshots().clear();
    }

    fn is_fresh(&self, written: Instant, due: Instant) -> bool {
        due.saturating_duration_since(written) < self.refresh
    }

    fn snapshots(&self) -> MutexGuard<'_, HashMap<Fingerprint, (Fingerprint, Instant)>> {
        // Whatever panics while it is locked leaves entries that are whole.
        self.snapshots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::key_version::KeyVersion;
    use crate::model::keys::Environment;
    use crate::model::past::READERS_CALL_STALE_AFTER;

    const REFRESH: Duration = Duration::from_secs(120);

    fn account(change: (&str, serde_json::Value)) -> Account {
        let mut answer = serde_json::json!({
            "id": "a1", "status": "ACTIVE", "currency": "USD", "equity": "1.5", "buying_power": "2", "cash": "-3",
        });
        answer[change.0] = change.1;
        Account::from_answer(answer.to_string().as_bytes()).expect("an account")
    }

    fn user(id: &str) -> DocumentId {
        DocumentId::parse(id).expect("legal")
    }

    fn snapshot<'a>(account: &'a Account, version: &'a KeyVersion) -> Snapshot<'a> {
        Snapshot {
            user_id: "ana",
            account,
            environment: Environment::Paper,
            answered_at: Timestamp::UNIX_EPOCH,
            stands_for: READERS_CALL_STALE_AFTER,
            keys: Some(("projects/p/secrets/alpaca-keys-ana/versions/latest", version)),
            raw: None,
        }
    }

    #[test]
    fn whatever_a_snapshot_says_makes_a_difference_but_its_time() {
        let (written, version) = (WrittenSnapshots::new(REFRESH), KeyVersion::parse("7").expect("a number"));
        let same = account(("note", "unknown".into()));
        let first = written.fingerprint(&snapshot(&same, &version), None, None);
        let later = Snapshot { answered_at: Timestamp::MAX, ..snapshot(&same, &version) };
        assert_eq!(written.fingerprint(&later, None, None), first);

        for (field, value) in [
            ("id", "a2"),
            ("status", "ACCOUNT_CLOSED"),
            ("currency", "EUR"),
            ("equity", "1.50"),
            ("buying_power", "2.01"),
            ("cash", "3"),
            ("last_equity", "1.5"),
            ("non_marginable_buying_power", "2"),
            ("multiplier", "2"),
        ] {
            let changed = account((field, value.into()));
            assert_ne!(written.fingerprint(&snapshot(&changed, &version), None, None), first, "{field}");
        }
        for flag in [
            "trading_blocked",
            "account_blocked",
            "trade_suspended_by_user",
            "transfers_blocked",
            "pattern_day_trader",
        ] {
            let [no, yes] = [false, true].map(|set| {
                let changed = account((flag, set.into()));
                written.fingerprint(&snapshot(&changed, &version), None, None)
            });
            assert!(no != first && yes != first && no != yes, "{flag}");
        }
        let newer = KeyVersion::parse("8").expect("a number");
        let raw = |text: &str| Some(serde_json::Map::from_iter([("note".to_owned(), text.into())]));
        let others = [
            snapshot(&same, &newer),
            Snapshot { keys: None, ..snapshot(&same, &version) },
            Snapshot { environment: Environment::Live, ..snapshot(&same, &version) },
            Snapshot { stands_for: READERS_CALL_STALE_AFTER * 2, ..snapshot(&same, &version) },
            Snapshot { user_id: "ben", ..snapshot(&same, &version) },
            Snapshot { raw: raw("one"), ..snapshot(&same, &version) },
            Snapshot { raw: raw("two"), ..snapshot(&same, &version) },
        ];
        let created = Some(Timestamp::UNIX_EPOCH);
        let mut seen = vec![first, written.fingerprint(&snapshot(&same, &version), created, None)];
        let tenants = ["acme", "ben"].map(|tenant| TenantId::parse(tenant).expect("legal"));
        seen.extend(others.iter().map(|other| written.fingerprint(other, None, None)));
        seen.extend(
            tenants.iter().map(|tenant| written.fingerprint(&snapshot(&same, &version), None, Some(tenant))),
        );
        let distinct: std::collections::HashSet<_> = seen.iter().collect();
        assert_eq!(distinct.len(), seen.len());
    }

    #[tokio::test(start_paused = true)]
    async fn an_unchanged_snapshot_is_left_alone_until_it_is_old_enough() {
        let (written, due) = (WrittenSnapshots::new(REFRESH), Instant::now());
        let (ana, one, other) = (user("ana"), Fingerprint(1, 1), Fingerprint(1, 2));
        let after = |seconds| due + Duration::from_secs(seconds);
        assert!(!written.is_unchanged(&ana, one, due), "this process has written nothing yet");
        written.remember(&ana, one, due);
        assert!(written.is_unchanged(&ana, one, after(60)));
        assert!(!written.is_unchanged(&ana, other, after(60)));
        assert!(!written.is_unchanged(&user("ben"), one, after(60)));
        assert!(!written.is_unchanged(&ana, one, after(120)), "old enough");
        written.forget(&ana);
        assert!(!written.is_unchanged(&ana, one, after(60)));
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_snapshots_are_remembered_than_there_is_room_for() {
        let (written, due) = (WrittenSnapshots::new(REFRESH), Instant::now());
        let (ana, ben, one) = (user("ana"), user("ben"), Fingerprint(1, 1));
        written.remember(&ana, one, due);
        let others = u64::try_from(MOST).expect("a number") - 1;
        written.snapshots().extend((0..others).map(|user| (Fingerprint(user, user), (one, due))));
        written.remember(&ben, one, due);
        assert_eq!(written.snapshots().len(), MOST);
        assert!(!written.is_unchanged(&ben, one, due), "they are written in every pass");
        // As whoever is written again.
        written.forget(&ana);
        written.remember(&ana, Fingerprint(1, 2), due);
        assert!(written.is_unchanged(&ana, Fingerprint(1, 2), due));
    }

    #[tokio::test(start_paused = true)]
    async fn users_who_are_gone_are_forgotten() {
        let (written, due) = (WrittenSnapshots::new(REFRESH), Instant::now());
        for n in 0..100 {
            written.remember(&user(&format!("user-{n}")), Fingerprint(1, 1), due);
        }
        written.remember(&user("ana"), Fingerprint(1, 1), due + Duration::from_secs(60));
        written.begin(due + Duration::from_secs(60));
        assert_eq!(written.snapshots().len(), 101);
        written.begin(due + REFRESH);
        assert_eq!(written.snapshots().len(), 1);
        written.forget_all();
        assert_eq!(written.snapshots().len(), 0);
    }
}
