//! Who asks.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// A client of Firestore, by what its Firebase Auth token says.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Caller {
    /// Nobody is signed in: there is no token.
    Anonymous,
    /// A user, with a claim and its value where the token has one.
    User(&'static str, Option<(&'static str, Claim)>),
    /// The backend, which rules do not bind.
    Backend,
}

/// What a claim about the tenant holds.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Claim {
    Tenant(&'static str),
    /// Not a text but a list of them, as a careless `in` would accept.
    Tenants(&'static [&'static str]),
}

/// Member of `acme` by both the claim and the membership document.
pub(crate) const ANA: Caller = Caller::User("ana", Some(("tenant_id", Claim::Tenant("acme"))));
/// The same with the other spelling.
pub(crate) const ANA_OF_AN_OLD_TOKEN: Caller = Caller::User("ana", Some(("tenantId", Claim::Tenant("acme"))));
/// Has the membership document but a session that says nothing of it.
pub(crate) const ANA_WITHOUT_CLAIM: Caller = Caller::User("ana", None);
/// Is a member of `acme` alone.
pub(crate) const ANA_CLAIMING_RIVAL: Caller =
    Caller::User("ana", Some(("tenant_id", Claim::Tenant("rival"))));
pub(crate) const ANA_CLAIMING_A_LIST: Caller =
    Caller::User("ana", Some(("tenant_id", Claim::Tenants(&["acme"]))));
/// Has a document without the backend's fields, and no tenant.
pub(crate) const BOB: Caller = Caller::User("bob", None);
/// Has no document yet.
pub(crate) const CY: Caller = Caller::User("cy", None);
/// Member of `rival`, with a claim for `acme`: forged, or older than the end of a membership.
pub(crate) const EVE: Caller = Caller::User("eve", Some(("tenant_id", Claim::Tenant("acme"))));
pub(crate) const EVE_OF_AN_OLD_TOKEN: Caller = Caller::User("eve", Some(("tenantId", Claim::Tenant("acme"))));
/// Member of `rival`, by both.
pub(crate) const EVE_OF_RIVAL: Caller = Caller::User("eve", Some(("tenant_id", Claim::Tenant("rival"))));

impl Caller {
    /// The bearer token: for a user one that nobody signed, which the emulator takes.
    pub(crate) fn token(self) -> Option<String> {
        let (uid, claim) = match self {
            Self::Anonymous => return None,
            Self::Backend => return Some("owner".into()),
            Self::User(uid, claim) => (uid, claim),
        };
        let mut payload = json!({"sub": uid});
        if let Some((name, claim)) = claim {
            payload[name] = match claim {
                Claim::Tenant(tenant) => json!(tenant),
                Claim::Tenants(tenants) => json!(tenants),
            };
        }
        let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
        Some(format!("{}.{}.", encode(&json!({"alg": "none", "typ": "JWT"})), encode(&payload)))
    }
}
