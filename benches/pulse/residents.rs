//! Who lives in a town while a loop runs over it, in order and in trouble, and who comes, pauses, leaves and returns.

use crate::Result;
use crate::town::{Town, update};
use alpaca_pulse::firestore::values::{boolean, null, text, timestamp};
use gcloud_sdk::google::firestore::v1::write::Operation;
use gcloud_sdk::google::firestore::v1::{Value, Write};
use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use pulse_sandbox::alpaca::{Alpaca, Keys, Profile};
use pulse_sandbox::secret_manager::VersionState;
use pulse_sandbox::seed::{SECRET_PREFIX, user_id};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

/// Of each kind of trouble.
const TROUBLED: u32 = 4;

/// Of ten healthy users so many have figures that move.
const MOVERS: u32 = 3;

/// What is wrong with some. All but the last are not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    Keyless,
    Malformed,
    Disabled,
    Revoked,
    Onboarding,
    Paused,
    /// Names a tenant of which they are no member.
    Stranger,
}

const TROUBLES: [Trouble; 7] = [
    Trouble::Keyless,
    Trouble::Malformed,
    Trouble::Disabled,
    Trouble::Revoked,
    Trouble::Onboarding,
    Trouble::Paused,
    Trouble::Stranger,
];

/// How a change of a user is made known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// By `keys_updated_at`, as an app should.
    AtOnce,
    /// Not at all: with the next reading of all users.
    Never,
}

/// All of them, and what is to be seen of them.
pub(crate) struct Residents<'a> {
    town: &'a Town<'a>,
    /// Whose snapshot is to be there, and how old it may be at most.
    expected: BTreeMap<String, SignedDuration>,
    /// Who has left: no snapshot of theirs may come back.
    gone: BTreeSet<String>,
    /// The greatest age of a moving account's snapshot, and of a resting one's.
    oldest: (SignedDuration, SignedDuration),
}

/// What was found wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// Users whose snapshot is too old.
    pub(crate) stale: usize,
    /// Users without one.
    pub(crate) lost: usize,
    /// Users who have left and have one.
    pub(crate) risen: usize,
}

impl<'a> Residents<'a> {
    /// So many healthy users, and some in trouble.
    pub(crate) fn settle(
        town: &'a Town<'a>,
        healthy: u32,
        oldest: (SignedDuration, SignedDuration),
    ) -> Result<Self> {
        let mut residents = Self { town, expected: BTreeMap::new(), gone: BTreeSet::new(), oldest };
        // Every eighth is the only member of a tenant.
        let second_members = (1..=healthy).filter(|number| number % 8 == 4).map(user_id);
        town.patch_users(second_members, [("tenant_id", null())])?;
        for number in 1..=healthy {
            let moves = number % 10 < MOVERS;
            if !moves {
                let keys = Alpaca::seeded_keys(number);
                town.sandbox().alpaca().register(&user_id(number), keys, resting(number));
            }
            residents.expected.insert(user_id(number), if moves { oldest.0 } else { oldest.1 });
        }
        for trouble in TROUBLES {
            (0..TROUBLED).try_for_each(|number| residents.add_troubled(trouble, number))?;
        }
        Ok(residents)
    }

    fn add_troubled(&mut self, trouble: Trouble, number: u32) -> Result<()> {
        let user = format!("{trouble:?}-{number}").to_lowercase();
        self.arrive(&user, Told::AtOnce)?;
        let (secrets, secret) = (self.town.sandbox().secrets(), format!("{SECRET_PREFIX}{user}"));
        let register = |profile| self.town.sandbox().alpaca().register(&user, keys_of(&user), profile);
        match trouble {
            Trouble::Keyless => secrets.delete(&secret),
            Trouble::Malformed => {
                secrets.add_version(&secret, "key_id=PK");
            }
            Trouble::Disabled => {
                secrets.set_state(&secret, "latest", VersionState::Disabled);
            }
            Trouble::Revoked => register(Profile::Revoked),
            Trouble::Onboarding => register(Profile::onboarding()),
            Trouble::Paused => self.set(&user, ("sync_enabled", boolean(false)), Told::AtOnce)?,
            Trouble::Stranger => self.set(&user, ("tenant_id", text("tenant-0001")), Told::AtOnce)?,
        }
        if trouble != Trouble::Stranger {
            self.expected.remove(&user);
        }
        Ok(())
    }

    /// A user with keys and an account that moves, new or back again.
    pub(crate) fn arrive(&mut self, user: &str, told: Told) -> Result<()> {
        let Keys { key_id, secret_key } = keys_of(user);
        let payload = json!({"key_id": key_id, "secret_key": secret_key, "environment": "paper"});
        self.town.sandbox().secrets().add_version(&format!("{SECRET_PREFIX}{user}"), payload.to_string());
        self.town.sandbox().alpaca().register(user, keys_of(user), Profile::active());
        self.set(user, ("locale", text("en-US")), told)?;
        self.gone.remove(user);
        self.expected.insert(user.to_owned(), self.oldest.0);
        Ok(())
    }

    /// Another field of a user's document.
    fn set(&self, user: &str, field: (&str, Value), told: Told) -> Result<()> {
        let name = self.town.name(&format!("users/{user}"));
        let now = timestamp(Timestamp::now());
        self.town.commit(vec![match told {
            Told::AtOnce => update(name, [field, ("keys_updated_at", now)]),
            Told::Never => update(name, [field]),
        }])
    }

    /// Their snapshot may be as old as it will meanwhile.
    pub(crate) fn pause(&mut self, user: &str, told: Told) -> Result<()> {
        self.expected.remove(user);
        self.set(user, ("sync_enabled", boolean(false)), told)
    }

    pub(crate) fn resume(&mut self, user: &str, told: Told) -> Result<()> {
        self.expected.insert(user.to_owned(), self.oldest.0);
        self.set(user, ("sync_enabled", boolean(true)), told)
    }

    /// Deletes all documents of a user, in one commit and without a word.
    pub(crate) fn leave(&mut self, user: &str) -> Result<()> {
        self.expected.remove(user);
        self.gone.insert(user.to_owned());
        let paths = [format!("users/{user}"), format!("users/{user}/alpacaAccounts/snapshot")];
        let delete = |path: &String| Write {
            operation: Some(Operation::Delete(self.town.name(path))),
            ..Write::default()
        };
        self.town.commit(paths.iter().map(delete).collect())
    }

    /// Somebody else writes into the tenant's document of a member.
    pub(crate) fn disturb_tenant(&self, tenant: &str) -> Result<()> {
        let name = self.town.name(&format!("tenants/{tenant}/accounts/primary"));
        self.town.commit(vec![update(name, [("color", text("red"))])])
    }

    /// What is wrong now.
    pub(crate) fn look(&self) -> Found {
        let (shown, now) = (self.town.snapshots(), Timestamp::now());
        let mut found = Found::default();
        for (user, oldest) in &self.expected {
            match shown.get(user) {
                None => found.lost += 1,
                Some(shown) => {
                    let is_old = now.duration_since(shown.updated_at) > *oldest;
                    found.stale += usize::from(is_old || shown.fresh_until < now);
                }
            }
        }
        found.risen = self.gone.iter().filter(|user| shown.contains_key(*user)).count();
        found
    }

    /// How many are to be synced.
    pub(crate) fn expected(&self) -> usize {
        self.expected.len()
    }
}

/// An account that stands still.
fn resting(number: u32) -> Profile {
    let figures = json!({
        "id": Alpaca::seeded_account_id(number), "status": "ACTIVE", "currency": "USD", "multiplier": "2",
        "equity": "100000.12", "buying_power": "200000.24", "cash": "5000.01", "last_equity": "99999.99",
    });
    Profile::Fixed { status: StatusCode::OK, body: figures.to_string().into() }
}

fn keys_of(user: &str) -> Keys {
    Keys { key_id: format!("PK{user}").to_uppercase(), secret_key: "not-a-real-secret".to_owned() }
}
