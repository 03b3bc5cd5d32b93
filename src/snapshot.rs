//! What is written for an account: the user's snapshot and the tenant's legacy document.

use crate::account::Account;
use crate::ids::TenantId;
use crate::keys::Environment;
use crate::secret_manager::KeyVersion;
use crate::store::values::{Fields, double, json_object, map, text};
use gcloud_sdk::google::firestore::v1::Value;
use jiff::Timestamp;

/// Everything a snapshot is made of.
#[derive(Debug)]
pub struct Snapshot<'a> {
    /// The user, or the name the legacy account goes by.
    pub user_id: &'a str,
    /// What Alpaca said.
    pub account: &'a Account,
    /// Where the account lives.
    pub environment: Environment,
    /// When Alpaca said it.
    pub answered_at: Timestamp,
    /// Path and version of the secret; the legacy account has none.
    pub keys: Option<(&'a str, &'a KeyVersion)>,
    /// The whole answer, only with `--store-raw`.
    pub raw: Option<serde_json::Map<String, serde_json::Value>>,
}

/// A field and its new value; `None` removes one that an earlier pulse may have left.
pub type FieldChange = (&'static str, Option<Value>);

/// The field that gets the server's time of the commit.
pub const SERVER_TIME_FIELD: &str = "updated_at";

impl Snapshot<'_> {
    /// The fields of `users/{userId}/alpacaAccounts/snapshot` that the job owns.
    #[must_use]
    pub fn user_document(&self) -> Vec<FieldChange> {
        let (path, version) = self.keys.unzip();
        let mut fields = self.figures();
        fields.extend([
            ("encrypted_key_path", path.map(text)),
            ("key_version", version.map(|version| text(version.as_str()))),
            // Figures of now beside an answer of then would contradict each other.
            ("raw", self.raw.as_ref().map(json_object)),
        ]);
        fields
    }

    /// The fields of `tenants/{tenantId}/accounts/primary` that the job owns.
    #[must_use]
    pub fn tenant_document(&self, tenant: &TenantId) -> Vec<FieldChange> {
        let mut fields = self.figures();
        fields.push(("tenant_id", Some(text(tenant.as_str()))));
        fields
    }

    fn figures(&self) -> Vec<FieldChange> {
        let Account { external_account_id, status, currency, equity, buying_power, cash } = self.account;
        let exact = [("equity", equity), ("buying_power", buying_power), ("cash", cash)];
        let exact: Fields =
            exact.into_iter().map(|(name, figure)| (name.to_owned(), text(figure.text()))).collect();
        vec![
            ("broker", Some(text("alpaca"))),
            ("user_id", Some(text(self.user_id))),
            ("external_account_id", Some(text(external_account_id))),
            ("status", Some(text(status))),
            ("environment", Some(text(self.environment.as_str()))),
            ("currency", Some(text(currency))),
            ("equity", Some(double(equity.to_double()))),
            ("buying_power", Some(double(buying_power.to_double()))),
            ("cash", Some(double(cash.to_double()))),
            ("exact", Some(map(exact))),
            ("updated_at_iso", Some(text(iso_millis(self.answered_at)))),
        ]
    }
}

/// `2026-01-05T14:30:00.123Z`: UTC, exactly milliseconds. Readers parse it with Python's
/// `datetime.fromisoformat`, which before 3.11 took three or six decimals and nothing else.
#[must_use]
pub fn iso_millis(time: Timestamp) -> String {
    let millis = Timestamp::from_millisecond(time.as_millisecond()).unwrap_or(time);
    format!("{millis:.3}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::values::string;

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

    fn value(fields: &[FieldChange], field: &str) -> Option<Value> {
        fields.iter().find(|(name, _)| *name == field).unwrap_or_else(|| panic!("no {field}")).1.clone()
    }

    #[test]
    fn the_figures_are_numbers_and_exact_texts() {
        let (account, version) = (account(), KeyVersion::parse("7").expect("a number"));
        let fields = snapshot(&account, &version).user_document();
        assert_eq!(value(&fields, "equity"), Some(double(0.1)));
        assert_eq!(value(&fields, "buying_power"), Some(double(100.0)));
        assert_eq!(value(&fields, "cash"), Some(double(-3.0)));
        let exact = [("equity", "0.10"), ("buying_power", "1e2"), ("cash", "-3")];
        let exact = exact.into_iter().map(|(name, figure)| (name.to_owned(), text(figure))).collect();
        assert_eq!(value(&fields, "exact"), Some(map(exact)));
        assert_eq!(value(&fields, "key_version").as_ref().and_then(string), Some("7"));
    }

    #[test]
    fn an_old_raw_answer_is_removed_when_none_is_stored() {
        let (account, version) = (account(), KeyVersion::parse("7").expect("a number"));
        assert_eq!(value(&snapshot(&account, &version).user_document(), "raw"), None);
    }

    #[test]
    fn both_documents_carry_the_same_figures() {
        let (account, version) = (account(), KeyVersion::parse("7").expect("a number"));
        let snapshot = snapshot(&account, &version);
        let user = snapshot.user_document();
        let tenant = snapshot.tenant_document(&TenantId::parse("acme").expect("legal"));
        for (field, in_tenant) in tenant.iter().filter(|(field, _)| *field != "tenant_id") {
            assert_eq!(&value(&user, field), in_tenant, "{field}");
        }
        assert_eq!(value(&tenant, "tenant_id"), Some(text("acme")));
        assert!(
            !tenant.iter().any(|(field, _)| ["encrypted_key_path", "key_version", "raw"].contains(field))
        );
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
