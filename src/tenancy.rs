//! Which tenant's document a user's account may be written to: the rules that keep one tenant's money
//! out of another's document.

use crate::ids::TenantId;
use crate::user::TenantClaim;
use gcloud_sdk::prost_types;

/// What the store knows about a user and the tenant in question.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TenantFacts {
    /// Whether `tenants/{tenant}/users/{user}` exists. Only the backend can create it.
    pub is_member: bool,
    /// `tenants/{tenant}/accounts/primary`, if it exists.
    pub primary: Option<Primary>,
}

/// A tenant's account document.
#[derive(Clone, Debug, PartialEq)]
pub struct Primary {
    /// The user it belongs to; one written before documents had owners belongs to nobody.
    pub owner: Option<String>,
    /// Its version when it was read.
    pub update_time: Option<prost_types::Timestamp>,
}

/// A permitted write, with the precondition that makes it safe.
#[derive(Clone, Debug, PartialEq)]
pub enum TenantWrite {
    /// The first member to arrive creates it: it must not exist.
    Create(TenantId),
    /// The owner's, or nobody's: it must still be the version that was read.
    Replace(TenantId, Option<prost_types::Timestamp>),
}

impl TenantWrite {
    /// The tenant that is written to.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        match self {
            Self::Create(tenant) | Self::Replace(tenant, _) => tenant,
        }
    }
}

/// Why a tenant's document is left alone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The user document names something that can be no tenant.
    #[error("its tenant_id is not a document id")]
    Unusable,
    /// The user document names a tenant that does not know the user.
    #[error("it says tenant {0}, but tenants/{0}/users has no document for it")]
    NotAMember(TenantId),
    /// The document is another member's: normal for the second member of a tenant.
    #[error("the account of tenant {0} belongs to another member")]
    OwnedByAnother(TenantId),
}

/// The tenant whose facts decide, if there is one at all.
///
/// A user without a tenant is their own: the user's id is the tenant's.
#[must_use]
pub fn tenant_in_question(user: &str, claim: &TenantClaim) -> Option<TenantId> {
    match claim {
        TenantClaim::Own => TenantId::parse(user).ok(),
        TenantClaim::Of(tenant) | TenantClaim::Assigned(tenant) => Some(tenant.clone()),
        TenantClaim::Unusable => None,
    }
}

/// Decides where a user's account goes, besides their own snapshot.
pub fn decide(user: &str, claim: &TenantClaim, facts: &TenantFacts) -> Result<TenantWrite, Refusal> {
    let tenant = tenant_in_question(user, claim).ok_or(Refusal::Unusable)?;
    if matches!(claim, TenantClaim::Of(_)) && !facts.is_member {
        return Err(Refusal::NotAMember(tenant));
    }
    match &facts.primary {
        None => Ok(TenantWrite::Create(tenant)),
        Some(Primary { owner: Some(owner), .. }) if owner != user => Err(Refusal::OwnedByAnother(tenant)),
        Some(Primary { update_time, .. }) => Ok(TenantWrite::Replace(tenant, *update_time)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acme() -> TenantId {
        TenantId::parse("acme").expect("legal")
    }

    fn facts(is_member: bool, owner: Option<Option<&str>>) -> TenantFacts {
        let primary =
            owner.map(|owner| Primary { owner: owner.map(str::to_owned), update_time: Some(version()) });
        TenantFacts { is_member, primary }
    }

    fn version() -> prost_types::Timestamp {
        prost_types::Timestamp { seconds: 7, nanos: 0 }
    }

    #[test]
    fn a_claimed_tenant_counts_only_with_membership() {
        let claim = TenantClaim::Of(acme());
        assert_eq!(decide("ana", &claim, &facts(false, None)), Err(Refusal::NotAMember(acme())));
        assert_eq!(decide("ana", &claim, &facts(false, Some(Some("ana")))), Err(Refusal::NotAMember(acme())));
        assert_eq!(decide("ana", &claim, &facts(true, None)), Ok(TenantWrite::Create(acme())));
        assert_eq!(decide("ana", &TenantClaim::Unusable, &facts(true, None)), Err(Refusal::Unusable));
    }

    #[test]
    fn a_tenant_that_the_operator_names_needs_no_membership_but_keeps_its_owner() {
        let claim = TenantClaim::Assigned(acme());
        assert_eq!(decide("legacy:acme", &claim, &facts(false, None)), Ok(TenantWrite::Create(acme())));
        let taken = decide("legacy:acme", &claim, &facts(false, Some(Some("acme"))));
        assert_eq!(taken, Err(Refusal::OwnedByAnother(acme())));
    }

    #[test]
    fn a_user_without_tenant_needs_no_membership_in_their_own() {
        let own = TenantId::parse("ana").expect("legal");
        assert_eq!(decide("ana", &TenantClaim::Own, &facts(false, None)), Ok(TenantWrite::Create(own)));
    }

    #[test]
    fn a_tenants_document_stays_with_the_user_it_belongs_to() {
        for (user, claim) in [("ana", TenantClaim::Of(acme())), ("acme", TenantClaim::Own)] {
            let decide = |owner| decide(user, &claim, &facts(true, Some(owner)));
            assert_eq!(decide(Some(user)), Ok(TenantWrite::Replace(acme(), Some(version()))));
            assert_eq!(decide(Some("ben")), Err(Refusal::OwnedByAnother(acme())));
            assert_eq!(
                decide(None),
                Ok(TenantWrite::Replace(acme(), Some(version()))),
                "nobody's is anybody's"
            );
        }
    }
}
