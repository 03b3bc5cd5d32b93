//! The single account of deployments that never had users.

use crate::model::ids::{DocumentId, TenantId};
use crate::model::keys::AlpacaKeys;
use crate::model::tenancy::LEGACY_PREFIX;

/// The single account of deployments that never had users.
#[derive(Debug)]
pub(crate) struct LegacyAccount {
    /// Its keys.
    pub(crate) keys: AlpacaKeys,
    /// `TENANT_ID`, else `local`.
    pub(crate) tenant: TenantId,
    /// `legacy:{tenant}`, where users have an id. The colon keeps it from ever being a user's with keys.
    pub(crate) id: DocumentId,
}

impl LegacyAccount {
    /// The account of the environment, if it has one.
    pub(super) fn from_lookup(lookup: &impl Fn(&str) -> Option<String>) -> Result<Option<Self>, String> {
        let (key_id, secret_key) = match (lookup("APCA_API_KEY_ID"), lookup("APCA_API_SECRET_KEY")) {
            (None, None) => return Ok(None),
            (Some(key_id), Some(secret_key)) => (key_id, secret_key),
            _ => return Err("APCA_API_KEY_ID and APCA_API_SECRET_KEY must be set together".into()),
        };
        let keys = AlpacaKeys::new(key_id.into(), secret_key.into(), None)
            .map_err(|err| format!("APCA_API_KEY_ID and APCA_API_SECRET_KEY: {err}"))?;
        let tenant = lookup("TENANT_ID").unwrap_or_else(|| "local".into());
        let refused = |err| format!("TENANT_ID {tenant:?} is no tenant id: {err}");
        let id = DocumentId::parse(&format!("{LEGACY_PREFIX}{tenant}")).map_err(refused)?;
        let tenant = TenantId::parse(&tenant).map_err(refused)?;
        Ok(Some(Self { keys, tenant, id }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ids::UserId;

    fn read(variables: &[(&str, &str)]) -> Result<Option<LegacyAccount>, String> {
        LegacyAccount::from_lookup(&|name: &str| {
            variables.iter().find(|(set, _)| *set == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_legacy_account_needs_both_keys_and_never_goes_by_a_users_id() {
        let key_pair = [("APCA_API_KEY_ID", "PK1"), ("APCA_API_SECRET_KEY", "hush")];
        let account = |variables: &[_]| read(variables).expect("usable").expect("an account");
        let local = account(&key_pair);
        assert_eq!((local.tenant.as_str(), local.id.as_str()), ("local", "legacy:local"));
        assert!(UserId::parse(local.id.as_str()).is_err());
        let named = [&key_pair[..], &[("TENANT_ID", "acme")]].concat();
        assert_eq!(account(&named).tenant.as_str(), "acme");
        let refused = read(&[key_pair[0], ("APCA_API_SECRET_KEY", "hush\n")]).expect_err("refused");
        assert!(!refused.contains("hush"), "{refused}");
        assert!(read(&key_pair[..1]).is_err() && read(&key_pair[1..]).is_err());
        assert!(read(&[("TENANT_ID", "acme")]).expect("usable").is_none());
        assert!(read(&[&key_pair[..], &[("TENANT_ID", "a/b")]].concat()).is_err());
    }
}
