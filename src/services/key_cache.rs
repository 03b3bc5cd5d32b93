//! Keys kept between the passes of a loop, so that most of them cost no access to Secret Manager.

use crate::model::ids::UserId;
use crate::model::sync_state::PreviousState;
use crate::services::secret_manager::StoredKeys;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::task::AbortOnDropHandle;

/// How often keys whose time is over are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// Keys wiped in one go, so that nobody waits for long.
const SWEEP_AT_ONCE: usize = 1_000;

/// Most keys that are kept. With about 400 bytes each they stay below half of Cloud Run's usual 512 MiB;
/// the keys of further users are fetched in every pass.
const MOST: usize = 500_000;

/// The keys. They are wiped when their time is over, whether anybody asks for them or not, and when the
/// cache is dropped.
pub(crate) struct KeyCache {
    ttl: Duration,
    kept: Arc<Mutex<Kept>>,
    _sweeping: AbortOnDropHandle<()>,
}

impl KeyCache {
    /// An empty one that keeps keys for `ttl`. Must be called within a runtime.
    #[must_use]
    pub(crate) fn new(ttl: Duration) -> Self {
        let kept = Arc::<Mutex<Kept>>::default();
        let sweeping = AbortOnDropHandle::new(tokio::spawn(sweep(Arc::clone(&kept))));
        Self { ttl, kept, _sweeping: sweeping }
    }

    /// The user's keys, if they are kept. Those of a user who is, or may be, in trouble are forgotten
    /// instead: their secret has to be looked at.
    #[must_use]
    pub(crate) fn get(&self, user: &UserId, previous: &PreviousState) -> Option<Arc<StoredKeys>> {
        let mut kept = lock(&self.kept);
        if *previous != PreviousState::Clean {
            kept.keys.remove(user.as_str());
            return None;
        }
        let (keys, until) = kept.keys.get(user.as_str())?;
        (Instant::now() < *until).then(|| Arc::clone(keys))
    }

    /// Keeps keys that were just fetched.
    pub(crate) fn keep(&self, user: &UserId, keys: &Arc<StoredKeys>) {
        lock(&self.kept).keep(user, keys, Instant::now() + self.ttl, MOST);
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

#[derive(Default)]
struct Kept {
    keys: HashMap<Arc<str>, (Arc<StoredKeys>, Instant)>,
    /// The end of each one's time. All are kept equally long, so they end in the order in which they came.
    /// Keys that were forgotten are still in here.
    ends: VecDeque<(Instant, Arc<str>)>,
}

impl Kept {
    fn keep(&mut self, user: &UserId, keys: &Arc<StoredKeys>, until: Instant, most: usize) {
        if self.ends.len() >= most {
            self.keys.remove(user.as_str());
            return;
        }
        let user: Arc<str> = user.as_str().into();
        self.ends.push_back((until, Arc::clone(&user)));
        self.keys.insert(user, (Arc::clone(keys), until));
    }

    /// Wipes keys whose time is over, but not too many at once. Whether there may be more.
    fn wipe(&mut self, now: Instant) -> bool {
        for _ in 0..SWEEP_AT_ONCE {
            let Some((_, user)) = self.ends.pop_front_if(|(end, _)| *end <= now) else { return false };
            // The user may have newer ones by now.
            if self.keys.get(&user).is_some_and(|(_, until)| *until <= now) {
                self.keys.remove(&user);
            }
        }
        true
    }
}

async fn sweep(kept: Arc<Mutex<Kept>>) {
    let mut due = interval(SWEEP_EVERY);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let now = due.tick().await;
        while lock(&kept).wipe(now) {
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
    use crate::model::key_version::KeyVersion;
    use crate::model::keys::AlpacaKeys;
    use std::sync::Weak;
    use tokio::time::sleep;

    const TTL: Duration = Duration::from_secs(600);

    fn user(id: &str) -> UserId {
        UserId::parse(id).expect("legal")
    }

    fn keys(version: u32) -> Arc<StoredKeys> {
        let keys = AlpacaKeys::new("PKTEST".into(), "hush".into(), None).expect("a key pair");
        let version = KeyVersion::parse(&version.to_string()).expect("a number");
        Arc::new(StoredKeys { keys, version })
    }

    /// Keeps keys of which nobody else has a copy; tells whether they still exist.
    fn keep(cache: &KeyCache, id: &str, version: u32) -> Weak<StoredKeys> {
        let keys = keys(version);
        cache.keep(&user(id), &keys);
        Arc::downgrade(&keys)
    }

    fn version(cache: &KeyCache, id: &str) -> Option<String> {
        let keys = cache.get(&user(id), &PreviousState::Clean)?;
        Some(keys.version.as_str().to_owned())
    }

    fn sizes(cache: &KeyCache) -> (usize, usize) {
        let kept = lock(&cache.kept);
        (kept.keys.len(), kept.ends.len())
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
        assert_eq!((version(&cache, "ana"), sizes(&cache)), (None, (1, 1)), "before they are wiped");
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
        assert_eq!(sizes(&cache), (2, 2));
        sleep(Duration::from_secs(60)).await;
        assert!(late.upgrade().is_none() && renewed.upgrade().is_none());
        assert_eq!(sizes(&cache), (0, 0));
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
        assert!(cache.get(&user("ana"), &PreviousState::Unknown).is_none());
        assert!(kept.upgrade().is_none());
        assert_eq!(version(&cache, "ana"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_are_kept_than_there_is_room_for() {
        let mut kept = Kept::default();
        let until = Instant::now() + TTL;
        for id in ["ana", "ben", "cy"] {
            kept.keep(&user(id), &keys(1), until, 2);
        }
        assert!(kept.keys.contains_key("ben") && !kept.keys.contains_key("cy"));
        // Whoever is renewed without room must not go on with the old ones.
        kept.keep(&user("ana"), &keys(2), until, 2);
        assert_eq!((kept.keys.len(), kept.ends.len()), (1, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn no_key_can_be_printed() {
        let cache = KeyCache::new(TTL);
        let _kept = keep(&cache, "ana", 1);
        let shown = format!("{cache:?}");
        assert!(!shown.contains("hush") && !shown.contains("PKTEST") && !shown.contains("ana"), "{shown}");
    }
}
