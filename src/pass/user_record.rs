//! One user, and what is known of them before anything is asked.

use crate::config::LegacyAccount;
use crate::model::ids::{DocumentId, InvalidId, UserId};
use crate::model::outcome::Code;
use crate::model::sync_state::PreviousState;
use crate::model::tenancy::{Findings, TenantLookup};
use crate::model::user::{Switch, TenantClaim, User};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A membership that was revoked must not count for long.
const LOOKUP_MAX_AGE: Duration = Duration::from_secs(30);

/// One user and what is known of them.
#[derive(Clone, Debug)]
pub(crate) struct UserRecord {
    /// The user document.
    pub(crate) user: User,
    /// Where their keys are.
    pub(crate) keys: KeysAt,
    /// What decides about the tenant's document, as far as it was read with the user's page.
    pub(crate) lookup: Option<PageLookup>,
    /// What kept the user from being synced before.
    pub(crate) previous: PreviousState,
    /// Whether the snapshot was written since the user was read: it is there, unless they are gone.
    pub(crate) has_snapshot: bool,
    /// Whether the user was read in this pass, and not only kept by a loop.
    pub(crate) was_read: bool,
}

/// Where a user's keys are.
#[derive(Clone, Debug)]
pub(crate) enum KeysAt {
    /// In the secret that is named after the user.
    Secret(UserId),
    /// Nowhere: no secret can be named after that id.
    Nowhere(InvalidId),
    /// Nowhere: a person named a user who has no document.
    NoSuchUser,
    /// In the configuration: the single account of old deployments, which is treated like a user.
    Configuration(Arc<LegacyAccount>),
}

/// What decided about a tenant's document when the user's page was read.
#[derive(Clone, Debug)]
pub(crate) struct PageLookup {
    /// What decides about the tenant's document.
    pub(crate) lookup: TenantLookup,
    /// When it was read, in this pass; nothing where a loop kept it.
    read_at: Option<Instant>,
    /// What a loop found when it asked more.
    findings: Option<Box<Findings>>,
}

impl PageLookup {
    /// One that was read then.
    #[must_use]
    pub(crate) fn read(lookup: TenantLookup, read_at: Instant) -> Self {
        Self { lookup, read_at: Some(read_at), findings: None }
    }

    /// One that a loop kept, for as long as it keeps users, with what it found when it asked more.
    #[must_use]
    pub(crate) fn kept(lookup: TenantLookup, findings: Option<Box<Findings>>) -> Self {
        Self { lookup, read_at: None, findings }
    }

    /// The lookup, unless it is too old to decide with.
    #[must_use]
    pub(crate) fn fresh(&self) -> Option<&TenantLookup> {
        self.read_at.is_none_or(|read_at| read_at.elapsed() <= LOOKUP_MAX_AGE).then_some(&self.lookup)
    }
}

impl UserRecord {
    /// A user who has a document.
    #[must_use]
    pub(crate) fn new(user: User, previous: PreviousState) -> Self {
        let keys = UserId::parse(user.id.as_str()).map_or_else(KeysAt::Nowhere, KeysAt::Secret);
        Self { user, keys, lookup: None, previous, has_snapshot: false, was_read: false }
    }

    /// The same of one who was read in this pass.
    #[must_use]
    pub(crate) fn read(user: User, previous: PreviousState) -> Self {
        Self { was_read: true, ..Self::new(user, previous) }
    }

    /// A named user without one.
    #[must_use]
    pub(crate) fn missing(id: DocumentId) -> Self {
        Self::beside_users(id, TenantClaim::Own, KeysAt::NoSuchUser)
    }

    /// The single account of old deployments.
    #[must_use]
    pub(crate) fn legacy(account: Arc<LegacyAccount>) -> Self {
        let (id, tenant) = (account.id.clone(), TenantClaim::Assigned(account.tenant.clone()));
        Self::beside_users(id, tenant, KeysAt::Configuration(account))
    }

    fn beside_users(id: DocumentId, tenant: TenantClaim, keys: KeysAt) -> Self {
        let user = User { id, tenant, sync: Switch::On, keys_updated_at: None, created_at: None };
        // They have no state in Firestore, and none is written.
        let previous = PreviousState::Unknown;
        Self { user, keys, lookup: None, previous, has_snapshot: false, was_read: true }
    }

    /// The user's id.
    #[must_use]
    pub(crate) fn id(&self) -> &DocumentId {
        &self.user.id
    }

    /// The id as one of the pass's users, whom the cursor passes when they are finished; the legacy account is none.
    #[must_use]
    pub(crate) fn id_among_users(&self) -> Option<&DocumentId> {
        match &self.keys {
            KeysAt::Configuration(_) => None,
            KeysAt::Secret(_) | KeysAt::Nowhere(_) | KeysAt::NoSuchUser => Some(&self.user.id),
        }
    }

    /// Whether the secret had no keys when it was last looked at, and nobody has said since that it has some.
    #[must_use]
    pub(crate) fn is_known_without_keys(&self) -> bool {
        let PreviousState::Troubled(state) = &self.previous else { return false };
        let is_news = self.user.keys_updated_at.is_some_and(|updated| updated >= state.since);
        state.error == Some(Code::KeysMissing) && !is_news
    }

    /// Whether it may be that a user who fails with that code is gone: a loop has only kept them, and it is news.
    #[must_use]
    pub(crate) fn may_be_gone(&self, code: Code) -> bool {
        let is_news = self.previous.record().and_then(|state| state.error) != Some(code);
        !self.was_read && is_news && code.is_as_of_deleted()
    }

    /// What is to be known of the user when their sync has ended, whatever became of it.
    #[must_use]
    pub(crate) fn reference(&self) -> UserRef {
        UserRef { id: self.user.id.clone(), previous: self.previous.clone() }
    }

    /// Whether what decides about the tenant's document is some minutes old.
    #[must_use]
    pub(crate) fn is_lookup_kept(&self) -> bool {
        self.lookup.as_ref().is_some_and(|lookup| lookup.read_at.is_none())
    }

    /// What a loop found when it asked more than the kept lookup says.
    #[must_use]
    pub(crate) fn kept_findings(&self) -> Option<&Findings> {
        self.lookup.as_ref().and_then(|lookup| lookup.findings.as_deref())
    }

    /// What decides about the tenant's document, as far as it is known and fresh enough.
    #[must_use]
    pub(crate) fn fresh_lookup(&self) -> Option<&TenantLookup> {
        self.lookup.as_ref().and_then(PageLookup::fresh)
    }
}

/// Whom an outcome is about.
#[derive(Clone, Debug)]
pub(crate) struct UserRef {
    /// The user's id.
    pub(crate) id: DocumentId,
    /// What kept them from being synced before.
    pub(crate) previous: PreviousState,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::past::Past;
    use crate::model::sync_state::after_failure;
    use jiff::Timestamp;

    fn user(id: &str) -> User {
        User {
            id: DocumentId::of_existing(id),
            tenant: TenantClaim::Own,
            sync: Switch::On,
            keys_updated_at: None,
            created_at: None,
        }
    }

    #[test]
    fn an_id_that_names_no_secret_says_why() {
        let keys = |id| UserRecord::new(user(id), PreviousState::Clean).keys;
        assert!(matches!(keys("ana"), KeysAt::Secret(id) if id.as_str() == "ana"));
        assert!(matches!(keys("a.b"), KeysAt::Nowhere(InvalidId::NotASecretName)));
    }

    #[test]
    fn whoever_is_no_user_has_no_state_and_only_users_move_the_cursor() {
        let missing = UserRecord::missing(DocumentId::of_existing("ana"));
        assert_eq!(
            (&missing.previous, missing.id_among_users()),
            (&PreviousState::Unknown, Some(missing.id()))
        );
        let known = UserRecord::new(user("ana"), PreviousState::Clean);
        assert_eq!(
            (known.reference().previous, known.id_among_users()),
            (PreviousState::Clean, Some(known.id()))
        );
    }

    #[test]
    fn only_who_was_kept_and_newly_has_no_keys_may_be_gone_and_costs_a_look() {
        use Code::{BrokerBadAnswer, BrokerRejected, BrokerUnavailable, KeysMalformed, KeysUnavailable};
        use Code::{KeysDisabled, KeysForbidden, KeysMissing, StoreUnavailable};
        let failing = |code| {
            let past = Past { failing_since: Timestamp::UNIX_EPOCH, last_success: None };
            let state = after_failure(&PreviousState::Clean, Some(&past), code, None, past.failing_since);
            PreviousState::Troubled(state.expect("news"))
        };
        for (code, previous, expected) in [
            (KeysMissing, PreviousState::Clean, true),
            (KeysMissing, failing(BrokerRejected), true),
            (KeysMissing, failing(KeysForbidden), true),
            (KeysMissing, failing(KeysMissing), false),
            (KeysForbidden, PreviousState::Clean, true),
            (KeysForbidden, failing(KeysForbidden), false),
            (KeysDisabled, PreviousState::Clean, true),
            (KeysDisabled, failing(KeysDisabled), false),
            (BrokerRejected, PreviousState::Clean, true),
            (BrokerRejected, failing(BrokerRejected), false),
            (KeysMalformed, PreviousState::Clean, false),
            (KeysUnavailable, PreviousState::Clean, false),
            (BrokerUnavailable, PreviousState::Clean, false),
            (BrokerBadAnswer, failing(KeysMissing), false),
            (StoreUnavailable, PreviousState::Clean, false),
        ] {
            let kept = UserRecord::new(user("ana"), previous.clone()).may_be_gone(code);
            let read = UserRecord::read(user("ana"), previous.clone()).may_be_gone(code);
            assert_eq!((kept, read), (expected, false), "{code} {previous:?}");
        }
        let missing = UserRecord::missing(DocumentId::of_existing("ana"));
        assert!(!missing.may_be_gone(KeysMissing), "that is known already");
    }

    #[tokio::test(start_paused = true)]
    async fn a_lookup_counts_for_half_a_minute() {
        let mut record = UserRecord::new(user("ana"), PreviousState::Clean);
        assert_eq!(record.fresh_lookup(), None);
        record.lookup = Some(PageLookup::read(TenantLookup::default(), Instant::now()));
        tokio::time::sleep(LOOKUP_MAX_AGE).await;
        assert!(record.fresh_lookup().is_some());
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!((record.fresh_lookup(), record.is_lookup_kept()), (None, false));
        record.lookup = Some(PageLookup::kept(TenantLookup::default(), None));
        assert!(record.fresh_lookup().is_some() && record.is_lookup_kept());
    }
}
