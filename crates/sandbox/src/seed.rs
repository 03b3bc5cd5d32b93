//! The users of the sandbox: who they are, what keys they have, and which of them have trouble.

use super::firestore::Firestore;
use bytes::Bytes;
use gcloud_sdk::google::firestore::v1::value::ValueType;
use gcloud_sdk::google::firestore::v1::write::Operation;
use gcloud_sdk::google::firestore::v1::{Document, Value, Write};
use serde_json::json;
use std::collections::HashMap;
use std::fmt;

/// The prefix that turns a user id into the id of the secret with the user's keys.
pub const SECRET_PREFIX: &str = "alpaca-keys-";

/// Writes sent to Firestore at a time.
const BATCH: usize = 500;

/// What is wrong with a seeded user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Trouble {
    /// There is no secret with the user's keys.
    MissingSecret,
    /// Alpaca no longer knows the keys: 401.
    RevokedKeys,
    /// The secret is not JSON.
    MalformedPayload,
    /// The only version of the secret is disabled.
    DisabledVersion,
    /// The account is still in ONBOARDING, without figures.
    Onboarding,
    /// The user document names a tenant that the user is no member of.
    ForeignTenant,
    /// The user has switched the sync off.
    SyncDisabled,
}

impl Trouble {
    /// Every kind; the user numbered 2 has the first one, and so on.
    pub(crate) const ALL: [Self; 7] = [
        Self::MissingSecret,
        Self::RevokedKeys,
        Self::MalformedPayload,
        Self::DisabledVersion,
        Self::Onboarding,
        Self::ForeignTenant,
        Self::SyncDisabled,
    ];
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MissingSecret => "no secret",
            Self::RevokedKeys => "revoked keys",
            Self::MalformedPayload => "a secret that is not JSON",
            Self::DisabledVersion => "a disabled secret version",
            Self::Onboarding => "an account in ONBOARDING",
            Self::ForeignTenant => "a tenant_id without membership",
            Self::SyncDisabled => "sync_enabled: false",
        })
    }
}

/// How many users there are, and whether some have trouble. Everything else about a user follows from the number.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Population {
    users: u32,
    has_trouble: bool,
}

pub(super) struct SeededSecret {
    pub(super) payload: Bytes,
    pub(super) is_disabled: bool,
}

impl Population {
    /// `users` users; with `has_trouble`, one of each [`Trouble`] as far as the users go round.
    pub(crate) fn new(users: u32, has_trouble: bool) -> Self {
        Self { users, has_trouble }
    }

    pub(crate) fn len(self) -> u32 {
        self.users
    }

    /// The users with trouble, in the order of their ids. They are the second user and those who follow.
    pub(crate) fn troubled(self) -> impl Iterator<Item = (String, Trouble)> {
        (1..=self.users.min(20)).filter_map(move |number| Some((user_id(number), self.trouble(number)?)))
    }

    /// The trouble that the user with this number has.
    pub(super) fn trouble(self, number: u32) -> Option<Trouble> {
        let index = usize::try_from(number.checked_sub(2)?).ok()?;
        Trouble::ALL.get(index).copied().filter(|_| self.has_trouble)
    }

    /// The secret seeded under this id.
    pub(super) fn secret(self, secret: &str) -> Option<SeededSecret> {
        let number = self.number_of(user_of_secret(secret)?)?;
        let trouble = self.trouble(number);
        let payload = match trouble {
            Some(Trouble::MissingSecret) => return None,
            Some(Trouble::MalformedPayload) => Bytes::from_static(b"key_id=PKSANDBOX"),
            _ => payload(&key_id(number), &secret_key(number)),
        };
        Some(SeededSecret { payload, is_disabled: trouble == Some(Trouble::DisabledVersion) })
    }

    /// The ids of all secrets that were seeded.
    pub(super) fn secrets(self) -> impl Iterator<Item = String> {
        let has_secret = move |number: &u32| self.trouble(*number) != Some(Trouble::MissingSecret);
        let secret = |number| format!("{SECRET_PREFIX}{}", user_id(number));
        (1..=self.users).filter(has_secret).map(secret)
    }

    /// The number of the user who was seeded with this key id.
    pub(super) fn number_of_key(self, key: &str) -> Option<u32> {
        let number = key.strip_prefix(KEY_PREFIX)?.parse().ok()?;
        (self.has(number) && key_id(number) == key).then_some(number)
    }

    /// The number of the user whose account this token opens.
    pub(super) fn number_of_token(self, text: &str) -> Option<u32> {
        let number = text.strip_prefix(TOKEN_PREFIX)?.parse().ok()?;
        (self.has(number) && token(number) == text).then_some(number)
    }

    fn number_of(self, user: &str) -> Option<u32> {
        let number = user.strip_prefix("user-")?.parse().ok()?;
        // The comparison refuses other spellings of the same number, such as `user-1`.
        (self.has(number) && user_id(number) == user).then_some(number)
    }

    fn has(self, number: u32) -> bool {
        (1..=self.users).contains(&number)
    }

    pub(super) fn write_documents(self, firestore: &Firestore, database: &str) -> Result<(), tonic::Status> {
        let mut batch = Vec::with_capacity(BATCH + 1);
        for number in 1..=self.users {
            batch.extend(self.documents_of(number, database));
            if batch.len() >= BATCH {
                firestore.commit(database, std::mem::take(&mut batch))?;
            }
        }
        if !batch.is_empty() {
            firestore.commit(database, batch)?;
        }
        Ok(())
    }

    /// The user document, and the membership that backs its `tenant_id`.
    fn documents_of(self, number: u32, database: &str) -> impl Iterator<Item = Write> {
        let user = user_id(number);
        let trouble = self.trouble(number);
        let is_foreign = trouble == Some(Trouble::ForeignTenant);
        let tenant = tenant_of(number).or_else(|| is_foreign.then(|| "tenant-0001".to_owned()));
        let membership = tenant.clone().filter(|_| !is_foreign).map(|tenant| {
            let joined = [("role", ValueType::StringValue("member".to_owned()))];
            update(format!("{database}/documents/tenants/{tenant}/users/{user}"), joined)
        });
        let fields = [
            Some(("display_name", ValueType::StringValue(format!("User {number:04}")))),
            Some(("locale", ValueType::StringValue("en-US".to_owned()))),
            tenant.map(|tenant| ("tenant_id", ValueType::StringValue(tenant))),
            (trouble == Some(Trouble::SyncDisabled))
                .then_some(("sync_enabled", ValueType::BooleanValue(false))),
        ];
        let user = update(format!("{database}/documents/users/{user}"), fields.into_iter().flatten());
        std::iter::once(user).chain(membership)
    }
}

const KEY_PREFIX: &str = "PKSANDBOX";

const TOKEN_PREFIX: &str = "not-a-real-token-";

/// The id of the user with this number, counted from 1.
pub fn user_id(number: u32) -> String {
    format!("user-{number:04}")
}

/// The Alpaca key id seeded for the user with this number.
pub fn key_id(number: u32) -> String {
    format!("{KEY_PREFIX}{number:011}")
}

/// The Alpaca secret key seeded for the user with this number.
pub fn secret_key(number: u32) -> String {
    format!("not-a-real-secret-{number:022}")
}

/// The OAuth token that opens the account of the user with this number, as their keys do.
pub fn token(number: u32) -> String {
    format!("{TOKEN_PREFIX}{number:019}")
}

/// Every fourth user is in a tenant, which two users share.
fn tenant_of(number: u32) -> Option<String> {
    number.is_multiple_of(4).then(|| format!("tenant-{:04}", number / 8))
}

/// The user whose keys the secret holds.
pub(super) fn user_of_secret(secret: &str) -> Option<&str> {
    secret.strip_prefix(SECRET_PREFIX)
}

fn payload(key_id: &str, secret_key: &str) -> Bytes {
    json!({"key_id": key_id, "secret_key": secret_key, "environment": "paper"}).to_string().into()
}

fn update(name: String, fields: impl IntoIterator<Item = (&'static str, ValueType)>) -> Write {
    let fields: HashMap<String, Value> = fields
        .into_iter()
        .map(|(field, value)| (field.to_owned(), Value { value_type: Some(value) }))
        .collect();
    let document = Document { name, fields, ..Document::default() };
    Write { operation: Some(Operation::Update(document)), ..Write::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(population: Population, number: u32) -> Vec<String> {
        let writes = population.documents_of(number, "d");
        writes
            .filter_map(|write| match write.operation {
                Some(Operation::Update(document)) => Some(document.name),
                _ => None,
            })
            .collect()
    }

    fn fields(population: Population, number: u32) -> Vec<String> {
        let Some(Operation::Update(user)) = population.documents_of(number, "d").next().unwrap().operation
        else {
            panic!("seeding only updates");
        };
        let mut fields: Vec<_> = user.fields.into_keys().collect();
        fields.sort();
        fields
    }

    #[test]
    fn eight_users_have_one_of_each_trouble() {
        let troubled: Vec<_> = Population::new(8, true).troubled().collect();
        assert_eq!(troubled.iter().map(|(_, trouble)| *trouble).collect::<Vec<_>>(), Trouble::ALL);
        assert_eq!(troubled[0].0, "user-0002");
        assert_eq!(Population::new(1_000_000, true).troubled().count(), 7);
        assert_eq!(Population::new(1_000_000, false).troubled().count(), 0);
    }

    #[test]
    fn only_seeded_users_have_secrets_and_keys() {
        let population = Population::new(3, false);
        assert!(population.secret("alpaca-keys-user-0003").is_some());
        for secret in
            ["alpaca-keys-user-0004", "alpaca-keys-user-0000", "alpaca-keys-user-3", "other-user-0003"]
        {
            assert!(population.secret(secret).is_none(), "{secret}");
        }
        let listed = |has_trouble| Population::new(3, has_trouble).secrets().collect::<Vec<_>>();
        assert_eq!(
            listed(false),
            ["alpaca-keys-user-0001", "alpaca-keys-user-0002", "alpaca-keys-user-0003"]
        );
        assert_eq!(listed(true), ["alpaca-keys-user-0001", "alpaca-keys-user-0003"], "one has none");
        assert_eq!(population.number_of_key(&key_id(3)), Some(3));
        assert_eq!(population.number_of_key(&key_id(4)), None);
        assert_eq!(population.number_of_key("PKSANDBOX3"), None);
    }

    #[test]
    fn a_secret_holds_the_keys_of_its_user() {
        let secret = Population::new(1, false).secret("alpaca-keys-user-0001").unwrap();
        let expected = json!({"key_id": key_id(1), "secret_key": secret_key(1), "environment": "paper"});
        assert_eq!(serde_json::from_slice::<serde_json::Value>(&secret.payload).unwrap(), expected);
        assert_eq!(key_id(1).len(), 20);
        assert_eq!(secret_key(1).len(), 40);
    }

    #[test]
    fn a_tenant_comes_with_a_membership_unless_it_is_foreign() {
        let population = Population::new(16, true);
        assert_eq!(names(population, 1), ["d/documents/users/user-0001"]);
        assert_eq!(
            names(population, 12),
            ["d/documents/users/user-0012", "d/documents/tenants/tenant-0001/users/user-0012"]
        );
        let (foreign, _) =
            population.troubled().find(|(_, trouble)| *trouble == Trouble::ForeignTenant).unwrap();
        assert_eq!(foreign, "user-0007");
        assert_eq!(names(population, 7), ["d/documents/users/user-0007"]);
        assert_eq!(fields(population, 7), ["display_name", "locale", "tenant_id"]);
    }

    #[test]
    fn the_sync_is_switched_off_for_one_user() {
        let population = Population::new(8, true);
        assert_eq!(fields(population, 8), ["display_name", "locale", "sync_enabled", "tenant_id"]);
        assert_eq!(fields(population, 1), ["display_name", "locale"]);
    }
}
