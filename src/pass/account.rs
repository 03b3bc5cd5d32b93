//! From a user's keys to the account that Alpaca has for them.

use crate::config::LegacyAccount;
use crate::limits::rate::Permits;
use crate::limits::retry::Deadline;
use crate::model::ids::UserId;
use crate::model::key_version::KeyVersion;
use crate::model::keys::AlpacaKeys;
use crate::model::outcome::Code;
use crate::model::pin::Pin;
use crate::model::tenancy::TenantLookup;
use crate::pass::context::PassContext;
use crate::pass::failure::{Cause, Failure, Tried};
use crate::pass::plan::KeySource;
use crate::pass::user_record::UserRecord;
use crate::services::alpaca::Answer;
use crate::services::clients::Clients;
use crate::services::key_cache::LastChange;
use crate::services::secret_manager::StoredKeys;
use std::sync::Arc;
use tracing::warn;

/// An account, and the keys that it was asked for with.
#[derive(Debug)]
pub(crate) struct AccountFound {
    /// What Alpaca said of it.
    pub(crate) answer: Answer,
    /// The keys that Alpaca was asked with.
    pub(crate) keys: UsedKeys,
}

/// The keys that Alpaca was asked with.
#[derive(Clone, Debug)]
pub(crate) enum UsedKeys {
    /// A version of a user's secret.
    Stored(Arc<StoredKeys>),
    /// The configuration's, for the legacy account.
    Configured(Arc<LegacyAccount>),
}

impl UsedKeys {
    /// Their version, where they have one.
    #[must_use]
    pub(crate) fn version(&self) -> Option<&KeyVersion> {
        match self {
            Self::Stored(stored) => Some(&stored.version),
            Self::Configured(_) => None,
        }
    }

    /// The keys themselves.
    #[must_use]
    pub(crate) fn keys(&self) -> &AlpacaKeys {
        match self {
            Self::Stored(stored) => &stored.keys,
            Self::Configured(account) => &account.keys,
        }
    }

    /// What there is to say of them when something fails.
    #[must_use]
    pub(crate) fn tried(&self) -> Tried {
        Tried { environment: self.keys().environment(), version: self.version().cloned() }
    }
}

/// Gets the keys where the plan says, and asks Alpaca. Nothing when they are still those that it is known to reject.
pub(crate) async fn keys_to_account(
    pass: &PassContext,
    (source, change): (&KeySource, LastChange),
    permits_with_keys: Permits,
    deadline: Deadline,
) -> Result<Option<AccountFound>, Failure> {
    let found = match source {
        KeySource::Configuration(account) => {
            ask(pass, UsedKeys::Configured(Arc::clone(account)), deadline).await
        }
        KeySource::Kept(user, kept) => match kept.upgrade() {
            Some(kept) => ask_with_kept(pass, (user, change), kept, deadline).await,
            // Their time is over.
            None => ask_with(pass, (user, change), newest(pass, user, deadline).await?, deadline).await,
        },
        KeySource::Newest(user) => {
            ask_with(pass, (user, change), newest(pass, user, deadline).await?, deadline).await
        }
        KeySource::NewestUnless(user, rejected) => {
            let newest = newest(pass, user, deadline).await?;
            if newest.version == *rejected {
                return Ok(None);
            }
            // Only now is it known that there is more to do.
            match pass.clients.limits.allow_by(permits_with_keys, deadline).await {
                Ok(()) => ask_with(pass, (user, change), newest, deadline).await,
                Err(used_up) => Err(Failure::of_broker(used_up.into(), UsedKeys::Stored(newest).tried())),
            }
        }
    };
    found.map(Some)
}

async fn newest(pass: &PassContext, user: &UserId, deadline: Deadline) -> Result<Arc<StoredKeys>, Failure> {
    let Clients { secrets, store, .. } = &*pass.clients;
    Ok(Arc::new(secrets.keys(store.database(), user, deadline).await?))
}

/// Kept keys may be old ones: the user may have stored others since.
async fn ask_with_kept(
    pass: &PassContext,
    (user, change): (&UserId, LastChange),
    kept: Arc<StoredKeys>,
    deadline: Deadline,
) -> Result<AccountFound, Failure> {
    let rejection = match ask_and_forget_rejected(pass, user, Arc::clone(&kept), deadline).await {
        Err(rejection @ Failure::KeysRejected(..)) => rejection,
        found => return found,
    };
    let calls = Permits { secret_accesses: 1, ..Permits::ALPACA_CALL };
    if pass.clients.limits.allow_by(calls, deadline).await.is_err() {
        return Err(rejection);
    }
    let newest = newest(pass, user, deadline).await?;
    match newest.version == kept.version {
        true => Err(rejection),
        false => ask_with(pass, (user, change), newest, deadline).await,
    }
}

/// Asks with keys that were just read, and keeps them for the next pass of a loop.
async fn ask_with(
    pass: &PassContext,
    (user, change): (&UserId, LastChange),
    newest: Arc<StoredKeys>,
    deadline: Deadline,
) -> Result<AccountFound, Failure> {
    if let Some(cache) = &pass.clients.key_cache {
        cache.keep(user, &newest, change);
    }
    ask_and_forget_rejected(pass, user, newest, deadline).await
}

/// Keys that Alpaca rejects are not kept.
async fn ask_and_forget_rejected(
    pass: &PassContext,
    user: &UserId,
    stored: Arc<StoredKeys>,
    deadline: Deadline,
) -> Result<AccountFound, Failure> {
    let found = ask(pass, UsedKeys::Stored(stored), deadline).await;
    if let (Err(Failure::KeysRejected(..)), Some(cache)) = (&found, &pass.clients.key_cache) {
        cache.forget(user);
    }
    found
}

async fn ask(pass: &PassContext, keys: UsedKeys, deadline: Deadline) -> Result<AccountFound, Failure> {
    match pass.clients.alpaca.account(keys.keys(), deadline).await {
        Ok(answer) => Ok(AccountFound { answer, keys }),
        Err(err) => Err(Failure::of_broker(err, keys.tried())),
    }
}

/// What is wrong with an answer.
enum Suspicion {
    /// The user's snapshot shows another account for the same keys.
    AnotherThan(Pin),
    /// The tenant's document shows another account than the configuration's keys have. They have no version: whether
    /// they were changed, nobody knows. But a second answer is nobody else's.
    OfConfigured,
}

/// The answer, if it is about the account that these keys are known to have; where it is not, what Alpaca says when
/// it is asked once more, over another connection. If that is about another account too, the user fails.
pub(crate) async fn same_account(
    pass: &PassContext,
    record: &UserRecord,
    lookup: &TenantLookup,
    found: AccountFound,
    deadline: Deadline,
) -> Result<AccountFound, Failure> {
    let account = &found.answer.account.external_account_id;
    let shows_another = lookup.show_another(record.id().as_str(), account);
    let seen = pass.memory.accounts.as_ref();
    let is_suspect = shows_another
        || pass.clients.config.pin_accounts
        || seen.is_some_and(|seen| seen.contradict(record.id(), account));
    let suspicion = match found.keys.version() {
        None => shows_another.then_some(Suspicion::OfConfigured),
        // Boxed, as nearly nobody's sync gets here, and all would have to carry it; as is what follows.
        Some(version) if is_suspect => Box::pin(suspicion(pass, record, version, &found, deadline)).await?,
        Some(_) => None,
    };
    match suspicion {
        None => Ok(found),
        Some(suspicion) => Box::pin(asked_again(pass, record, suspicion, found.keys, deadline)).await,
    }
}

async fn asked_again(
    pass: &PassContext,
    record: &UserRecord,
    suspicion: Suspicion,
    keys: UsedKeys,
    deadline: Deadline,
) -> Result<AccountFound, Failure> {
    let broker = |err| Failure::of_broker(err, keys.tried());
    let allowed = pass.clients.limits.allow_by(Permits::ALPACA_CALL, deadline).await;
    allowed.map_err(|used_up| broker(used_up.into()))?;
    let again =
        pass.clients.alpaca.account_over_new_connection(keys.keys(), deadline).await.map_err(broker)?;
    if let Suspicion::AnotherThan(pin) = suspicion {
        if again.account.external_account_id != pin.account {
            return Err(Failure::KeysAccepted(Cause::OtherAccount(pin.version), keys.tried()));
        }
        let (id, user_id, error) = (record.id(), record.id().as_str(), Code::BrokerOtherAccount.as_str());
        warn!(
            user_id,
            error, "Alpaca's first answer for user {id} was about another account: the second one is used"
        );
    }
    Ok(AccountFound { answer: again, keys })
}

/// Whether the snapshot names another account than these keys have now, without a reason to.
async fn suspicion(
    pass: &PassContext,
    record: &UserRecord,
    version: &KeyVersion,
    found: &AccountFound,
    deadline: Deadline,
) -> Result<Option<Suspicion>, Failure> {
    let pin = pass.clients.store.pin(record.id(), deadline).await;
    let pin = pin.map_err(|err| Failure::KeysAccepted(Cause::Store(err), found.keys.tried()))?;
    let (now, account) = (pass.clients.store.clock().now(), &found.answer.account.external_account_id);
    let forbids = |pin: &Pin| pin.forbids(account, version, record.user.keys_updated_at, now);
    Ok(pin.filter(forbids).map(Suspicion::AnotherThan))
}
