//! What is written for an account: the user's snapshot and the tenant's legacy document.

use crate::firestore::values::json_object;
use crate::firestore::write::{FieldChange, FieldValue};
use crate::model::account::Account;
use crate::model::ids::TenantId;
use crate::model::key_version::KeyVersion;
use crate::model::keys::Environment;
use jiff::Timestamp;

/// Fields of other writers that would contradict live figures, such as those of a placeholder for a user who had not
/// connected an account yet.
const LEFT_OVERS: [&str; 4] = ["configured", "note", "syncedAt", "account"];

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
    /// Path and version of the secret; the legacy account has none.
    pub(crate) keys: Option<(&'a str, &'a KeyVersion)>,
    /// The whole answer, only with `--store-raw`.
    pub(crate) raw: Option<serde_json::Map<String, serde_json::Value>>,
}

impl<'a> Snapshot<'a> {
    /// The fields of `users/{userId}/alpacaAccounts/snapshot` that the job owns.
    #[must_use]
    pub(crate) fn user_document(&self) -> Vec<FieldChange<'a>> {
        let (path, version) = self.keys.unzip();
        let mut fields = self.figures();
        fields.extend([
            ("encrypted_key_path", path.map(Into::into)),
            ("key_version", version.map(|version| version.as_str().into())),
            // Figures of now beside an answer of then would contradict each other.
            ("raw", self.raw.as_ref().map(|raw| json_object(raw).into())),
        ]);
        fields
    }

    /// The fields of `tenants/{tenantId}/accounts/primary` that the job owns.
    #[must_use]
    pub(crate) fn tenant_document<'b>(&self, tenant: &'b TenantId) -> Vec<FieldChange<'b>>
    where
        'a: 'b,
    {
        let mut fields: Vec<FieldChange<'b>> = self.figures();
        // No answer of then is kept beside figures of now here either.
        fields.extend([("tenant_id", Some(tenant.as_str().into())), ("raw", None)]);
        fields
    }

    fn figures(&self) -> Vec<FieldChange<'a>> {
        let Account { external_account_id, status, currency, equity, buying_power, cash } = self.account;
        let exact =
            vec![("equity", equity.text()), ("buying_power", buying_power.text()), ("cash", cash.text())];
        let mut fields = vec![
            ("broker", Some("alpaca".into())),
            ("user_id", Some(self.user_id.into())),
            ("external_account_id", Some(external_account_id.as_str().into())),
            ("status", Some(status.as_str().into())),
            ("environment", Some(self.environment.as_str().into())),
            ("currency", Some(currency.as_str().into())),
            ("equity", Some(equity.to_double().into())),
            ("buying_power", Some(buying_power.to_double().into())),
            ("cash", Some(cash.to_double().into())),
            ("exact", Some(FieldValue::Texts(exact))),
            ("updated_at_iso", Some(iso_millis(self.answered_at).into())),
        ];
        fields.extend(LEFT_OVERS.map(|field| (field, None)));
        fields
    }
}

/// `2026-01-05T14:30:00.123Z`: UTC, exactly milliseconds. Readers parse it with Python's
/// `datetime.fromisoformat`, which before 3.11 took three or six decimals and nothing else.
#[must_use]
pub(crate) fn iso_millis(time: Timestamp) -> String {
    let millis = Timestamp::from_millisecond(time.as_millisecond()).unwrap_or(time);
    format!("{millis:.3}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account() -> Account {
        let body = br#"{"id":"a1","status":"ACTIVE","currency":"USD","equity":"0.10","buying_power":"1e2","cash":"-3"}"#;
        Account::from_answer(body).expect("an account")
    }

    fn snapshot<'a>(account: &'a Account, version: &'a KeyVersion) -> Snapshot<'a> {
        Snapshot {
            user_id: "ana",
            account,
            environment: Environment::Paper,
            answered_at: Timestamp::from_second(0).expect("in range"),
            keys: Some(("projects/p/secrets/alpaca-keys-ana/versions/latest", version)),
            raw: None,
        }
    }

    fn value<'a>(fields: &[FieldChange<'a>], field: &str) -> Option<FieldValue<'a>> {
        fields.iter().find(|(name, _)| *name == field).unwrap_or_else(|| panic!("no {field}")).1.clone()
    }

    #[test]
    fn the_figures_are_numbers_and_exact_texts() {
        let (account, version) = (account(), KeyVersion::parse("7").expect("a number"));
        let fields = snapshot(&account, &version).user_document();
        assert_eq!(value(&fields, "equity"), Some(0.1.into()));
        assert_eq!(value(&fields, "buying_power"), Some(100.0.into()));
        assert_eq!(value(&fields, "cash"), Some((-3.0).into()));
        let exact = vec![("equity", "0.10"), ("buying_power", "1e2"), ("cash", "-3")];
        assert_eq!(value(&fields, "exact"), Some(FieldValue::Texts(exact)));
        assert_eq!(value(&fields, "key_version"), Some("7".into()));
    }

    #[test]
    fn an_old_raw_answer_is_removed_when_none_is_stored() {
        let (account, version) = (account(), KeyVersion::parse("7").expect("a number"));
        assert_eq!(value(&snapshot(&account, &version).user_document(), "raw"), None);
    }

    #[test]
    fn what_would_contradict_the_figures_is_removed_from_both_documents() {
        let (account, version) = (account(), KeyVersion::parse("7").expect("a number"));
        let with_raw = Snapshot { raw: Some(serde_json::Map::new()), ..snapshot(&account, &version) };
        let tenant = TenantId::parse("acme").expect("legal");
        for document in [with_raw.user_document(), with_raw.tenant_document(&tenant)] {
            for field in ["configured", "note", "syncedAt", "account"] {
                assert_eq!(value(&document, field), None, "{field}");
            }
        }
        assert_eq!(value(&with_raw.tenant_document(&tenant), "raw"), None);
        assert!(value(&with_raw.user_document(), "raw").is_some());
    }

    #[test]
    fn both_documents_carry_the_same_figures() {
        let (account, version) = (account(), KeyVersion::parse("7").expect("a number"));
        let snapshot = snapshot(&account, &version);
        let user = snapshot.user_document();
        let tenant = TenantId::parse("acme").expect("legal");
        let tenant = snapshot.tenant_document(&tenant);
        for (field, in_tenant) in tenant.iter().filter(|(field, _)| !["tenant_id", "raw"].contains(field)) {
            assert_eq!(&value(&user, field), in_tenant, "{field}");
        }
        assert_eq!(value(&tenant, "tenant_id"), Some("acme".into()));
        assert!(!tenant.iter().any(|(field, _)| ["encrypted_key_path", "key_version"].contains(field)));
    }

    #[test]
    fn the_iso_time_has_exactly_milliseconds() {
        for (nanos, iso) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (1_767_623_400_123_999_999, "2026-01-05T14:30:00.123Z"),
            (1_767_623_400_000_000_000, "2026-01-05T14:30:00.000Z"),
        ] {
            assert_eq!(iso_millis(Timestamp::from_nanosecond(nanos).expect("in range")), iso);
        }
    }
}
