//! The first and the last line of one user, whatever becomes of them. Lines between are where they happen: `account`,
//! `tenant_write`, `snapshot_write`, `state_records`.

use crate::config::choices::UserLines;
use crate::model::ids::{DocumentId, TenantId};
use crate::model::outcome::{Code, Outcome};
use crate::model::sync_state::{PreviousState, State};
use crate::pass::failure::Failure;
use crate::pass::plan::LeftAlone;
use crate::pass::snapshot_write::Written;
use crate::pass::user_record::{KeysAt, UserRecord, UserRef};
use crate::services::clients::Clients;
use crate::services::writer::Writer;
use tokio::time::Instant;
use tracing::{error, info, warn};

/// The sync of a user begins.
pub(crate) fn tell_start(record: &UserRecord, lines: UserLines) {
    let id = record.id();
    if let KeysAt::Configuration(_) = &record.keys {
        warn!(
            "APCA_API_KEY_ID and APCA_API_SECRET_KEY are deprecated: store the keys in Secret Manager as \
             alpaca-keys-<userId> and unset both"
        );
    }
    if lines.tell(false) {
        info!(user_id = id.as_str(), "Syncing Alpaca account for user {id}");
    }
}

/// The user is left alone.
pub(crate) fn tell_left_alone(user: &UserRef, reason: LeftAlone, start: Instant, lines: UserLines) {
    let (id, user_id) = (&user.id, user.id.as_str());
    let asks_to_act = matches!(reason, LeftAlone::UnreadableSwitch | LeftAlone::Missing);
    if !asks_to_act && !lines.tell(reason == LeftAlone::Gone) {
        return;
    }
    match reason {
        LeftAlone::Paused => {
            info!(user_id, "Skipped Alpaca account for user {id}: sync_enabled is false");
        }
        LeftAlone::UnreadableSwitch => warn!(
            user_id,
            "Skipped Alpaca account for user {id}: its sync_enabled is neither true nor false, so it counts as \
             paused: store a boolean"
        ),
        LeftAlone::WaitsForReauth => {
            let (since, next_attempt_at) = rest_of(&user.previous);
            info!(
                user_id,
                since,
                next_attempt_at,
                "Skipped Alpaca account for user {id}: Alpaca rejects its keys, and the user has not stored new ones \
                 yet"
            );
        }
        LeftAlone::Gone => {
            info!(user_id, "Skipped Alpaca account for user {id}: the user was deleted meanwhile");
        }
        LeftAlone::NotLookedAt => info!(
            user_id,
            "Skipped Alpaca account for user {id}: its secret had no keys, and the pass was told to stop before it was \
             looked at again"
        ),
        LeftAlone::WaitsForKeys => tell_waits_for_keys(user),
        LeftAlone::Missing => error!(
            user_id,
            error = Code::UserUnknown.as_str(),
            duration_ms = millis(start),
            "Failed to sync Alpaca account for user {id}: there is no such document in users: check the id, the \
             project and the database"
        ),
    }
}

fn tell_waits_for_keys(user: &UserRef) {
    let (id, user_id) = (&user.id, user.id.as_str());
    let state = user.previous.record();
    let error = state.and_then(|state| state.error).map(Code::as_str);
    let failing_since = state.and_then(|state| state.failing_since).map(|since| since.to_string());
    info!(
        user_id,
        error,
        failing_since,
        "Skipped Alpaca account for user {id}: it has had no keys for over an hour, so they are looked for only \
         once in five minutes"
    );
}

/// The user's documents say what Alpaca says, or would, without a dry run.
pub(crate) fn tell_synced(clients: &Clients, record: &UserRecord, written: &Written, start: Instant) {
    let ends_trouble = matches!(record.previous, PreviousState::Troubled(_));
    // Who asks what would change is told of everybody.
    if written.difference.is_none() && !clients.config.user_lines.tell(ends_trouble) {
        return;
    }
    let (id, tenant_id) = (record.id(), written.tenant.as_ref().map(TenantId::as_str));
    let user_id = id.as_str();
    let (unchanged, duration_ms) = (written.is_unchanged.then_some(true), millis(start));
    match &clients.writer {
        Writer::Commits { .. } => info!(
            user_id,
            tenant_id, unchanged, duration_ms, "Successfully synced Alpaca account for user {id}"
        ),
        Writer::DryRun => match &written.difference {
            None => info!(
                user_id,
                tenant_id, duration_ms, "Would have synced Alpaca account for user {id} (dry run)"
            ),
            // By its fields a terminal knows that somebody has asked for this one.
            Some(compared) => info!(
                user_id,
                tenant_id,
                difference = compared.as_str(),
                changes = compared.changes(),
                duration_ms,
                "Would have synced Alpaca account for user {id} (dry run), {compared}"
            ),
        },
    }
}

/// There is no fresh snapshot of the user, who counts as that: an ERROR only where that is a failure.
pub(crate) fn tell_no_snapshot(
    user: &UserRef,
    failure: &Failure,
    counts_as: Outcome,
    start: Instant,
    lines: UserLines,
) {
    let is_failure = matches!(counts_as, Outcome::Failed(_));
    if !is_failure && !lines.tell(is_newly_incomplete(user, counts_as)) {
        return;
    }
    let (id, code, reason, duration_ms) = (&user.id, failure.code(), failure.reason(), millis(start));
    let (user_id, error) = (id.as_str(), code.as_str());
    match counts_as {
        Outcome::Failed(_) if code.is_about_keys() => {
            error!(user_id, error, duration_ms, "Could not retrieve Alpaca keys for user {id}: {reason}");
        }
        Outcome::Failed(_) => {
            let (since, _) = rest_of(&user.previous);
            error!(
                user_id,
                error, since, duration_ms, "Failed to sync Alpaca account for user {id}: {reason}"
            );
        }
        Outcome::Synced | Outcome::Skipped | Outcome::NeedsReauth => {
            let (since, next_attempt_at) = rest_of(&user.previous);
            info!(
                user_id,
                error, since, next_attempt_at, duration_ms, "Skipped Alpaca account for user {id}: {reason}"
            );
        }
    }
}

/// Of those who are skipped with a failure, only whose account is not open can have come into it by that.
fn is_newly_incomplete(user: &UserRef, counts_as: Outcome) -> bool {
    let was = user.previous.record().map(|record| record.state);
    counts_as == Outcome::Skipped && was != Some(State::Incomplete)
}

/// The user's task panicked.
pub(crate) fn tell_panicked(id: &DocumentId) {
    let (user_id, error) = (id.as_str(), Code::Internal.as_str());
    error!(user_id, error, "Failed to sync Alpaca account for user {id}: its task panicked");
}

/// Since when a user has to reconnect, and when Alpaca is asked again all the same.
fn rest_of(previous: &PreviousState) -> (Option<String>, Option<String>) {
    let state = previous.reauth();
    let next = state.and_then(|state| state.next_attempt_at);
    (state.map(|state| state.since.to_string()), next.map(|next| next.to_string()))
}

pub(crate) fn millis(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX)
}
