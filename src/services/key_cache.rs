//! Keys kept between the passes of a loop, so that most of them cost no access to Secret Manager.

use crate::model::ids::UserId;
use crate::model::sync_state::PreviousState;
use crate::model::user::User;
use crate::services::secret_manager::StoredKeys;
use jiff::{SignedDuration, Timestamp};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::task::AbortOnDropHandle;

/// How often keys whose time is over are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// Keys wiped in one go, so that nobody waits for long.
const WIPED_AT_ONCE: usize = 1_000;

/// Most keys that are kept. With about 300 bytes each they stay below half of Cloud Run's usual 512 MiB;
/// the keys of further users are fetched in every pass.
const MOST: usize = 500_000;

/// `latest` can lag: for so long after a change of a user's keys what it gives may still be the old ones.
const LATEST_MAY_LAG: SignedDuration = SignedDuration::from_mins(5);

/// The keys. They are wiped when their time is over, whether anybody asks for them or not, and when the
/// cache is dropped.
pub(crate) struct KeyCache {
    ttl: Duration,
    kept: Arc<Mutex<Kept>>,
    /// Counts the passes that met everybody.
    round: AtomicU32,
    _sweeping: AbortOnDropHandle<()>,
}

/// What a user's document says of when their keys were last changed, and which document it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LastChange {
    at: Change,
    is_recent: bool,
}

/// When the keys were last changed and the document was created, each to the microsecond, as Firestore stores it, or
/// never: in the least memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Change {
    keys: i64,
    document: i64,
}

fn micros(at: Option<Timestamp>) -> i64 {
    at.map_or(i64::MIN, Timestamp::as_microsecond)
}

impl LastChange {
    /// As it is known now. What lies in the future says nothing.
    #[must_use]
    pub(crate) fn of(user: &User, now: Timestamp) -> Self {
        let at = user.keys_updated_at.filter(|at| *at <= now);
        Self {
            at: Change { keys: micros(at), document: micros(user.created_at) },
            is_recent: at.is_some_and(|at| now.duration_since(at) < LATEST_MAY_LAG),
        }
    }
}

impl KeyCache {
    /// An empty one that keeps keys for `ttl`. Must be called within a runtime.
    #[must_use]
    pub(crate) fn new(ttl: Duration) -> Self {
        let kept = Arc::<Mutex<Kept>>::default();
        let sweeping = AbortOnDropHandle::new(tokio::spawn(sweep(Arc::clone(&kept))));
        Self { ttl, kept, round: AtomicU32::new(0), _sweeping: sweeping }
    }

    /// The user's keys, if they are kept. Those of a user who is, or may be, in trouble, or whose document tells of
    /// another change than when they were read, are forgotten instead: their secret has to be looked at.
    #[must_use]
    pub(crate) fn get(
        &self,
        user: &UserId,
        previous: &PreviousState,
        change: LastChange,
    ) -> Option<Arc<StoredKeys>> {
        let mut kept = lock(&self.kept);
        let entry = kept.keys.get_mut(user.as_str())?;
        entry.round = self.round.load(Ordering::Relaxed);
        if *previous != PreviousState::Clean || entry.changed != change.at {
            kept.keys.remove(user.as_str());
            return None;
        }
        (Instant::now() < entry.until).then(|| Arc::clone(&entry.keys))
    }

    /// Keeps keys that were just fetched, unless a change is so recent that they may be those of before.
    pub(crate) fn keep(&self, user: &UserId, keys: &Arc<StoredKeys>, change: LastChange) {
        if change.is_recent {
            return self.forget(user);
        }
        let (until, round) = (Instant::now() + self.ttl, self.round.load(Ordering::Relaxed));
        lock(&self.kept).keep(user, Entry { keys: Arc::clone(keys), until, changed: change.at, round }, MOST);
    }

    /// A pass has met everybody: forgets the keys that nobody has asked for in it, of users who are gone among them.
    pub(crate) fn end_round(&self) {
        let round = self.round.fetch_add(1, Ordering::Relaxed);
        lock(&self.kept).keys.retain(|_, entry| entry.round == round);
    }

    /// Forgets a user's keys.
    pub(crate) fn forget(&self, user: &UserId) {
        lock(&self.kept).keys.remove(user.as_str());
    }
}

impl Drop for KeyCache {
    fn drop(&mut self) {
        // The task that sweeps may hold on to them a little longer than the cache.
        *lock(&self.kept) = Kept::default();
    }
}

impl std::fmt::Debug for KeyCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyCache").field("ttl", &self.ttl).finish_non_exhaustive()
    }
}

/// A user's keys.
struct Entry {
    keys: Arc<StoredKeys>,
    /// The end of their time.
    until: Instant,
    /// What the user's document said of the last change when they were read.
    changed: Change,
    /// When they were last asked for.
    round: u32,
}

#[derive(Default)]
struct Kept {
    keys: HashMap<Box<str>, Entry>,
    /// Nobody's time ends before.
    first_end: Option<Instant>,
}

impl Kept {
    fn keep(&mut self, user: &UserId, entry: Entry, most: usize) {
        // Whoever is renewed without room must not go on with the old ones.
        self.keys.remove(user.as_str());
        if self.keys.len() < most {
            self.first_end = Some(self.first_end.map_or(entry.until, |first| first.min(entry.until)));
            self.keys.insert(user.as_str().into(), entry);
        }
    }

    /// Takes out all keys whose time is over, which wipes those that nobody else has once they are dropped. All that are
    /// kept are looked at once, and not at all before the first one's time is over.
    fn take_expired(&mut self, now: Instant) -> Vec<Arc<StoredKeys>> {
        if self.first_end.is_none_or(|first| now < first) {
            return Vec::new();
        }
        let mut first_end = None::<Instant>;
        let is_over = |_: &_, Entry { until, .. }: &mut Entry| {
            let is_over = *until <= now;
            if !is_over {
                first_end = Some(first_end.map_or(*until, |first| first.min(*until)));
            }
            is_over
        };
        let expired = self.keys.extract_if(is_over).map(|(_, entry)| entry.keys).collect();
        self.first_end = first_end;
        expired
    }
}

async fn sweep(kept: Arc<Mutex<Kept>>) {
    let mut due = interval(SWEEP_EVERY);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let now = due.tick().await;
        let mut expired = lock(&kept).take_expired(now);
        while !expired.is_empty() {
            expired.truncate(expired.len().saturating_sub(WIPED_AT_ONCE));
            tokio::task::yield_now().await;
        }
    }
}

fn lock(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    // Whatever panics while it is locked leaves keys that are whole.
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ids::DocumentId;
    use crate::model::key_version::KeyVersion;
    use crate::model::keys::AlpacaKeys;
    use crate::model::user::{Switch, TenantClaim};
    use std::sync::Weak;
    use tokio::time::sleep;

    const TTL: Duration = Duration::from_secs(600);

    /// No change is known.
    const NEVER: LastChange =
        LastChange { at: Change { keys: i64::MIN, document: i64::MIN }, is_recent: false };

    fn user(id: &str) -> UserId {
        UserId::parse(id).expect("legal")
    }

    fn owner(keys_updated_at: Option<Timestamp>, created_at: Option<Timestamp>) -> User {
        let id = DocumentId::of_existing("ana");
        User { id, tenant: TenantClaim::Own, sync: Switch::On, keys_updated_at, created_at }
    }

    fn keys(version: u32) -> Arc<StoredKeys> {
        let keys = AlpacaKeys::new("PKTEST".into(), "hush".into(), None).expect("a key pair");
        let version = KeyVersion::parse(&version.to_string()).expect("a number");
        Arc::new(StoredKeys { keys, version })
    }

    /// Keeps keys of which nobody else has a copy; tells whether they still exist.
    fn keep(cache: &KeyCache, id: &str, version: u32) -> Weak<StoredKeys> {
        let keys = keys(version);
        cache.keep(&user(id), &keys, NEVER);
        Arc::downgrade(&keys)
    }

    fn version(cache: &KeyCache, id: &str) -> Option<String> {
        let keys = cache.get(&user(id), &PreviousState::Clean, NEVER)?;
        Some(keys.version.as_str().to_owned())
    }

    fn number(cache: &KeyCache) -> usize {
        lock(&cache.kept).keys.len()
    }

    #[tokio::test(start_paused = true)]
    async fn keys_are_given_until_their_time_is_over() {
        let cache = KeyCache::new(TTL);
        sleep(SWEEP_EVERY / 2).await;
        let _kept = keep(&cache, "ana", 1);
        assert_eq!((version(&cache, "ana").as_deref(), version(&cache, "ben")), (Some("1"), None));
        sleep(TTL - Duration::from_millis(1)).await;
        assert_eq!(version(&cache, "ana").as_deref(), Some("1"));
        sleep(Duration::from_millis(1)).await;
        assert_eq!((version(&cache, "ana"), number(&cache)), (None, 1), "before they are wiped");
    }

    #[tokio::test(start_paused = true)]
    async fn keys_are_wiped_without_anybody_asking() {
        let cache = KeyCache::new(TTL);
        let early: Vec<_> = (0..2_500).map(|n| keep(&cache, &format!("early-{n}"), 1)).collect();
        sleep(Duration::from_secs(60)).await;
        let late = keep(&cache, "late", 1);
        let renewed = keep(&cache, "early-0", 2);
        sleep(TTL - Duration::from_secs(60) + SWEEP_EVERY).await;
        assert!(early.iter().all(|keys| keys.upgrade().is_none()));
        assert!(late.upgrade().is_some() && renewed.upgrade().is_some());
        assert_eq!(number(&cache), 2);
        sleep(Duration::from_secs(60)).await;
        assert!(late.upgrade().is_none() && renewed.upgrade().is_none());
        assert_eq!((number(&cache), lock(&cache.kept).first_end), (0, None));
    }

    #[tokio::test(start_paused = true)]
    async fn one_look_finds_all_keys_whose_time_is_over_and_whose_is_next() {
        let (mut kept, start) = (Kept::default(), Instant::now());
        let ends = |second: u64| start + Duration::from_secs(second);
        for (number, second) in (0..2_500).map(|n| (n, 1)).chain([(2_500, 3), (2_501, 2)]) {
            let entry = Entry { keys: keys(1), until: ends(second), changed: NEVER.at, round: 0 };
            kept.keep(&user(&format!("user-{number}")), entry, MOST);
        }
        for (now, expired, left, next) in [
            (start, 0, 2_502, Some(ends(1))),
            (ends(1), 2_500, 2, Some(ends(2))),
            (ends(1), 0, 2, Some(ends(2))),
            (ends(2), 1, 1, Some(ends(3))),
            (ends(9), 1, 0, None),
        ] {
            let found = kept.take_expired(now).len();
            assert_eq!((found, kept.keys.len(), kept.first_end), (expired, left, next), "{now:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn forgotten_keys_are_wiped_at_once() {
        let cache = KeyCache::new(TTL);
        let (first, ben) = (keep(&cache, "ana", 1), keep(&cache, "ben", 1));
        cache.forget(&user("ana"));
        assert!(first.upgrade().is_none() && version(&cache, "ana").is_none());
        sleep(Duration::from_secs(300)).await;
        let second = keep(&cache, "ana", 2);
        sleep(Duration::from_secs(301)).await;
        assert!(ben.upgrade().is_none());
        assert_eq!(version(&cache, "ana").as_deref(), Some("2"), "the end of the first is not theirs");
        drop(cache);
        assert!(second.upgrade().is_none(), "nothing outlives the cache");
    }

    #[tokio::test(start_paused = true)]
    async fn a_user_who_is_or_may_be_in_trouble_gets_no_kept_keys_then_or_later() {
        let cache = KeyCache::new(TTL);
        let kept = keep(&cache, "ana", 1);
        assert!(cache.get(&user("ana"), &PreviousState::Unknown, NEVER).is_none());
        assert!(kept.upgrade().is_none());
        assert_eq!(version(&cache, "ana"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_are_kept_than_there_is_room_for() {
        let mut kept = Kept::default();
        let until = Instant::now() + TTL;
        let entry = || Entry { keys: keys(1), until, changed: NEVER.at, round: 0 };
        for id in ["ana", "ben", "cy"] {
            kept.keep(&user(id), entry(), 2);
        }
        assert!(kept.keys.contains_key("ben") && !kept.keys.contains_key("cy"));
        kept.keep(&user("ana"), entry(), 2);
        assert_eq!(kept.keys.len(), 2, "a renewal takes no more room");
        kept.keep(&user("ana"), entry(), 1);
        assert!(!kept.keys.contains_key("ana"), "nobody goes on with old ones");
    }

    #[tokio::test(start_paused = true)]
    async fn another_change_than_was_known_when_they_were_read_ends_them() {
        let at = |second| Timestamp::from_second(1_767_623_400 + second).expect("in range");
        let known =
            |changed: Option<i64>, now| LastChange::of(&owner(changed.map(at), Some(at(-900))), at(now));
        for (before, after, is_given) in [
            (known(None, 0), known(None, 60), true),
            (known(Some(-600), 0), known(Some(-600), 60), true),
            (known(None, 0), known(Some(30), 60), false),
            (known(Some(-600), 0), known(Some(30), 60), false),
            (known(Some(-600), 0), known(None, 60), false),
            // The future says nothing, until it is there.
            (known(None, 0), known(Some(90), 60), true),
            (known(Some(90), 0), known(Some(90), 120), false),
            // What `latest` gives so soon may be what it gave before: it is asked again at the next pass.
            (known(Some(-299), 0), known(Some(-299), 60), false),
            (known(Some(-300), 0), known(Some(-300), 60), true),
        ] {
            let cache = KeyCache::new(TTL);
            let _older = keep(&cache, "ana", 1);
            cache.keep(&user("ana"), &keys(2), before);
            let given = cache.get(&user("ana"), &PreviousState::Clean, after);
            assert_eq!(given.is_some(), is_given, "{before:?} {after:?}");
            assert_eq!(number(&cache), usize::from(is_given), "{before:?} {after:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn keys_of_a_user_who_was_created_again_are_not_the_new_ones() {
        let at = |second: i64| Timestamp::from_second(1_767_623_400 + second).expect("in range");
        let cache = KeyCache::new(TTL);
        let [before, after] = [0, 60].map(|second| LastChange::of(&owner(None, Some(at(second))), at(90)));
        cache.keep(&user("ana"), &keys(1), before);
        assert!(cache.get(&user("ana"), &PreviousState::Clean, before).is_some());
        assert!(cache.get(&user("ana"), &PreviousState::Clean, after).is_none());
        assert_eq!(number(&cache), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn keys_that_nobody_asks_for_in_a_pass_over_everybody_are_wiped() {
        let cache = KeyCache::new(TTL);
        let [ana, ben] = ["ana", "ben"].map(|id| keep(&cache, id, 1));
        cache.end_round();
        assert!(ana.upgrade().is_some() && ben.upgrade().is_some(), "they were just read");
        assert_eq!(version(&cache, "ana").as_deref(), Some("1"));
        cache.end_round();
        assert!(ana.upgrade().is_some() && ben.upgrade().is_none(), "ben is gone");
    }

    #[tokio::test(start_paused = true)]
    async fn no_key_can_be_printed() {
        let cache = KeyCache::new(TTL);
        let _kept = keep(&cache, "ana", 1);
        let shown = format!("{cache:?}");
        assert!(!shown.contains("hush") && !shown.contains("PKTEST") && !shown.contains("ana"), "{shown}");
    }
}
