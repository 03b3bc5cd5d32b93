//! `users/{userId}/alpacaAccounts/snapshot`: what Alpaca said of a user's account, and what the job learns from it
//! later. The tenant's document has the same figures.

use crate::documents::tenant::primary_name;
use crate::firestore::values::{Fields, boolean, json_object, number, string, time, timestamp};
use crate::firestore::write::{FieldChange, FieldValue, Precondition, Write, merge_at, merge_at_all};
use crate::firestore::{Store, StoreError};
use crate::limits::retry::Deadline;
use crate::model::account::{Account, Flags};
use crate::model::ids::{Database, DocumentId, TenantId};
use crate::model::key_version::KeyVersion;
use crate::model::keys::Environment;
use crate::model::money::Figure;
use crate::model::past::LastSuccess;
use crate::model::pin::Pin;
use crate::model::tenancy::TenantWrite;
use account_reader::documents::snapshot as field;
use account_reader::time::iso;
use jiff::{SignedDuration, Timestamp};

/// Fields of other writers that would contradict live figures, such as those of a placeholder for a user who had not
/// connected an account yet.
const LEFT_OVERS: [&str; 4] = ["configured", "note", "syncedAt", "account"];

/// Full name of a user's snapshot.
#[must_use]
pub(crate) fn snapshot_name(database: &Database, user: &DocumentId) -> String {
    database.document_around(field::AROUND_USER, user.as_str())
}

/// Full name of the snapshot of the legacy account, which is no user.
#[must_use]
pub(crate) fn legacy_snapshot_name(database: &Database) -> String {
    database.document(format_args!("{}", field::LEGACY_PATH))
}

/// Everything a snapshot is made of.
#[derive(Debug)]
pub(crate) struct Snapshot<'a> {
    /// The user, or the name the legacy account goes by.
    pub(crate) user_id: &'a str,
    /// What Alpaca said.
    pub(crate) account: &'a Account,
    /// Where the account lives.
    pub(crate) environment: Environment,
    /// When Alpaca said it.
    pub(crate) answered_at: Timestamp,
    /// How long it may stand as it is.
    pub(crate) stands_for: SignedDuration,
    /// Path and version of the secret; the legacy account has none.
    pub(crate) keys: Option<(&'a str, &'a KeyVersion)>,
    /// The whole answer, only with `--store-raw`.
    pub(crate) raw: Option<serde_json::Map<String, serde_json::Value>>,
}

impl<'a> Snapshot<'a> {
    /// The write of the document of that full name, which may have to exist already.
    #[must_use]
    pub(crate) fn to_write(&self, name: &str, precondition: &Precondition) -> Write {
        merge_at(name, &self.user_document(), field::UPDATED_AT, precondition)
    }

    /// The demand that the document of that full name exists: a write that changes nothing in it.
    #[must_use]
    pub(crate) fn to_demand(&self, name: &str) -> Write {
        let same = [(field::USER_ID, Some(self.user_id.into()))];
        merge_at_all(name, &same, &[], &Precondition::Unchanged(None))
    }

    /// The write of a tenant's document.
    #[must_use]
    pub(crate) fn to_tenant_write(&self, database: &Database, write: &TenantWrite) -> Write {
        let (tenant, precondition) = (write.tenant(), write.precondition());
        let (name, fields) = (primary_name(database, tenant), self.tenant_document(tenant));
        merge_at(&name, &fields, field::UPDATED_AT, &precondition)
    }

    /// The fields of `users/{userId}/alpacaAccounts/snapshot` that the job owns.
    #[must_use]
    pub(super) fn user_document(&self) -> Vec<FieldChange<'a>> {
        let (path, version) = self.keys.unzip();
        let mut fields = self.figures();
        fields.extend([
            (field::ENCRYPTED_KEY_PATH, path.map(Into::into)),
            (field::KEY_VERSION, version.map(|version| version.as_str().into())),
            // Figures of now beside an answer of then would contradict each other.
            (field::RAW, self.raw.as_ref().map(|raw| json_object(raw).into())),
        ]);
        fields
    }

    /// The fields of `tenants/{tenantId}/accounts/primary` that the job owns.
    #[must_use]
    pub(super) fn tenant_document<'b>(&self, tenant: &'b TenantId) -> Vec<FieldChange<'b>>
    where
        'a: 'b,
    {
        let mut fields: Vec<FieldChange<'b>> = self.figures();
        // No answer of then is kept beside figures of now here either.
        fields.extend([(field::TENANT_ID, Some(tenant.as_str().into())), (field::RAW, None)]);
        fields
    }

    /// What both documents say. Whatever Alpaca did not send is removed: nothing of then stands beside figures of now.
    fn figures(&self) -> Vec<FieldChange<'a>> {
        let Account { external_account_id, status, currency, multiplier, .. } = self.account;
        let (figures, flags) = (figures(self.account), flags(self.account.flags));
        let exact = figures.into_iter().filter_map(|(name, figure)| Some((name, figure?.text())));
        let mut fields = vec![
            (field::BROKER, Some(field::ALPACA.into())),
            (field::USER_ID, Some(self.user_id.into())),
            (field::EXTERNAL_ACCOUNT_ID, Some(external_account_id.as_str().into())),
            (field::STATUS, Some(status.as_str().into())),
            (field::ENVIRONMENT, Some(self.environment.as_str().into())),
            (field::CURRENCY, Some(currency.as_str().into())),
            (field::EXACT, Some(FieldValue::Texts(exact.collect()))),
            (field::MULTIPLIER, multiplier.as_deref().map(Into::into)),
            (field::UPDATED_AT_ISO, Some(iso(self.answered_at).into())),
            (field::FRESH_UNTIL, Some(timestamp(self.fresh_until()).into())),
        ];
        fields.extend(figures.map(|(name, figure)| (name, figure.map(|figure| figure.to_double().into()))));
        fields.extend(flags.map(|(name, flag)| (name, flag.map(|flag| boolean(flag).into()))));
        fields.extend(LEFT_OVERS.map(|field| (field, None)));
        fields
    }

    /// Until when the snapshot may stand: to the millisecond, as its time is written.
    fn fresh_until(&self) -> Timestamp {
        let answered = Timestamp::from_millisecond(self.answered_at.as_millisecond());
        answered.unwrap_or(self.answered_at).saturating_add(self.stands_for).unwrap_or(Timestamp::MAX)
    }
}

fn figures(account: &Account) -> [(&'static str, Option<&Figure>); 5] {
    [
        (field::EQUITY, Some(&account.equity)),
        (field::BUYING_POWER, Some(&account.buying_power)),
        (field::CASH, Some(&account.cash)),
        (field::LAST_EQUITY, account.last_equity.as_ref()),
        (field::NON_MARGINABLE_BUYING_POWER, account.non_marginable_buying_power.as_ref()),
    ]
}

fn flags(flags: Flags) -> [(&'static str, Option<bool>); 5] {
    [
        (field::TRADING_BLOCKED, flags.trading_blocked),
        (field::ACCOUNT_BLOCKED, flags.account_blocked),
        (field::TRADE_SUSPENDED_BY_USER, flags.trade_suspended_by_user),
        (field::TRANSFERS_BLOCKED, flags.transfers_blocked),
        (field::PATTERN_DAY_TRADER, flags.pattern_day_trader),
    ]
}

/// The figures without which there is no snapshot.
const FIGURES: [&str; 3] = [field::EQUITY, field::BUYING_POWER, field::CASH];

impl LastSuccess {
    /// The fields of the snapshot that tell.
    const FIELDS: [&str; 6] = [
        field::UPDATED_AT_ISO,
        field::UPDATED_AT,
        field::KEY_VERSION,
        field::EQUITY,
        field::BUYING_POWER,
        field::CASH,
    ];

    /// Reads them. A placeholder, without figures or without the time of an answer, is no success.
    #[must_use]
    fn from_snapshot(fields: &Fields) -> Option<Self> {
        let has_figures =
            FIGURES.iter().all(|figure| fields.get(*figure).and_then(number).is_some_and(f64::is_finite));
        let answered: Timestamp = fields.get(field::UPDATED_AT_ISO).and_then(string)?.parse().ok()?;
        // No answer is newer than the commit that stored it, whatever the clock of that time said.
        let written = fields.get(field::UPDATED_AT).and_then(time);
        has_figures.then(|| Self {
            at: written.map_or(answered, |written| written.min(answered)),
            key_version: fields.get(field::KEY_VERSION).and_then(string).and_then(KeyVersion::parse),
        })
    }
}

impl Pin {
    /// The fields of a snapshot that pin an account.
    const FIELDS: [&str; 3] = [field::EXTERNAL_ACCOUNT_ID, field::KEY_VERSION, field::UPDATED_AT];

    /// Reads those fields. A snapshot without figures of ours, such as a placeholder, pins nothing.
    #[must_use]
    fn from_fields(fields: &Fields) -> Option<Self> {
        let text = |name: &str| fields.get(name).and_then(string).filter(|text| !text.is_empty());
        Some(Self {
            account: text(field::EXTERNAL_ACCOUNT_ID)?.to_owned(),
            version: KeyVersion::parse(text(field::KEY_VERSION)?)?,
            updated_at: fields.get(field::UPDATED_AT).and_then(time),
        })
    }
}

impl Store {
    /// When these users last succeeded, as their snapshots tell it.
    pub(crate) async fn last_successes(
        &self,
        users: &[DocumentId],
        deadline: Deadline,
    ) -> Result<Vec<Option<LastSuccess>>, StoreError> {
        let names: Vec<_> = users.iter().map(|user| snapshot_name(self.database(), user)).collect();
        let found = self.documents(names.clone(), &LastSuccess::FIELDS, deadline).await?;
        let last = |name| LastSuccess::from_snapshot(&found.get(name)?.fields);
        Ok(names.iter().map(last).collect())
    }

    /// Which account a user's snapshot is about.
    pub(crate) async fn pin(&self, user: &DocumentId, deadline: Deadline) -> Result<Option<Pin>, StoreError> {
        let name = snapshot_name(self.database(), user);
        let found = self.documents(vec![name.clone()], &Pin::FIELDS, deadline).await?;
        Ok(found.get(&name).and_then(|document| Pin::from_fields(&document.fields)))
    }
}

#[cfg(test)]
mod tests;
