//! When a user is tried next.

use crate::commands::frame::{in_words, point};
use crate::model::outcome::Code;
use crate::model::sync_state::{State, SyncState};
use crate::model::user::{Switch, User};
use jiff::{SignedDuration, Timestamp};

/// So long missing keys are looked for at every pulse, see `model::recheck`.
const LOOKED_FOR: SignedDuration = SignedDuration::from_hours(1);

/// In words, behind "tried again".
pub(super) fn attempt(user: Option<&User>, trouble: Option<&SyncState>, now: Timestamp) -> String {
    match (user, trouble) {
        (None, _) => "not before there is a document in users".into(),
        (Some(User { sync: Switch::Off | Switch::Unreadable, .. }), _) => "not before that is undone".into(),
        (_, Some(trouble)) if trouble.state == State::NeedsReauth => reauth(trouble, now),
        (_, Some(trouble)) if waits_for_keys(trouble, now) => "once in five minutes".into(),
        _ => "at every pulse".into(),
    }
}

fn reauth(trouble: &SyncState, now: Timestamp) -> String {
    let at = trouble.next_attempt_at.filter(|at| *at > now);
    let at = at.map(|at| format!("in {}, at {},", in_words(at.duration_since(now)), point(at)));
    let at = at.unwrap_or_else(|| "at the next pulse,".into());
    format!("{at} and within five minutes of new keys")
}

fn waits_for_keys(trouble: &SyncState, now: Timestamp) -> bool {
    let is_missing = match trouble.error {
        Some(Code::KeysMissing) => true,
        Some(Code::KeysForbidden) => trouble.last_success.is_none(),
        _ => false,
    };
    is_missing && trouble.failing_since.is_some_and(|since| now.duration_since(since) > LOOKED_FOR)
}
