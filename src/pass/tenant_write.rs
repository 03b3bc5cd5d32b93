//! The tenant's question: whether a user's account may be written to their tenant's document too.

use crate::firestore::StoreError;
use crate::limits::deadlines::COMMIT_RESERVE;
use crate::limits::retry::Deadline;
use crate::model::ids::TenantId;
use crate::model::tenancy::{Decision, Inquiry, Pass, Refusal, TenantLookup, TenantWrite, decide};
use crate::model::user::TenantClaim;
use crate::pass::context::{PassContext, ToldTenants};
use crate::pass::user_record::UserRecord;
use crate::telemetry::Chain;
use std::borrow::Cow;
use tracing::{debug, info, warn};

/// What decides about the tenant's document: as it was read with the user's page, unless that was too long ago.
pub(crate) async fn tenant_lookup<'a>(
    pass: &PassContext,
    record: &'a UserRecord,
    deadline: Deadline,
) -> Result<Cow<'a, TenantLookup>, StoreError> {
    match record.fresh_lookup() {
        Some(lookup) => Ok(Cow::Borrowed(lookup)),
        None => Ok(Cow::Owned(read_lookup(pass, record, deadline).await?)),
    }
}

/// The same as it is now; nothing, when the pass does not write that document.
pub(crate) async fn read_lookup(
    pass: &PassContext,
    record: &UserRecord,
    deadline: Deadline,
) -> Result<TenantLookup, StoreError> {
    if !pass.clients.config.legacy_tenant_path.covers(&record.user.tenant) {
        return Ok(TenantLookup::default());
    }
    let question = (record.id().as_str(), &record.user.tenant);
    let lookup = pass.clients.store.tenant_lookups(&[question], deadline).await?.pop().unwrap_or_default();
    if let Some(kept) = &pass.memory.kept {
        kept.note_lookup(record.id(), &lookup);
    }
    Ok(lookup)
}

/// The write of the tenant's document, if the rules permit it. Where they do not, or where it cannot be read what
/// they depend on, the user's own snapshot is written all the same.
pub(crate) async fn tenant_write(
    pass: &PassContext,
    record: &UserRecord,
    lookup: &TenantLookup,
    deadline: Deadline,
) -> Option<TenantWrite> {
    let rules = pass.tenant_rules_of(&record.user.tenant)?;
    let decision = decide(record.id().as_str(), &record.user.tenant, lookup, None, &rules);
    conclude(pass, record, lookup, decision, deadline).await
}

/// The same by a lookup that a loop may have kept. It is enough for the owner, and for who is refused; else it is read
/// again first, unless the answer to the same question is kept too, and is to leave the document alone.
pub(crate) async fn first_tenant_write(
    pass: &PassContext,
    record: &UserRecord,
    lookup: &TenantLookup,
    deadline: Deadline,
) -> Option<TenantWrite> {
    let rules = pass.tenant_rules_of(&record.user.tenant)?;
    let decision = decide(record.id().as_str(), &record.user.tenant, lookup, None, &rules);
    if !record.is_lookup_kept() || decision.is_plain() {
        return conclude(pass, record, lookup, decision, deadline).await;
    }
    if let Some(refusal) = kept_refusal(record, lookup, &rules) {
        tell_refusal(&pass.told, record.id().as_str(), &record.user.tenant, &refusal);
        return None;
    }
    // Boxed, as nearly nobody's sync gets here, and all would have to carry it.
    match Box::pin(read_lookup(pass, record, deadline)).await {
        Ok(lookup) => Box::pin(tenant_write(pass, record, &lookup, deadline)).await,
        Err(err) => {
            tell_unread(record, &err);
            None
        }
    }
}

/// A refusal that follows from what a loop was told before. What else would follow is to be asked anew.
fn kept_refusal(record: &UserRecord, lookup: &TenantLookup, rules: &Pass<'_>) -> Option<Refusal> {
    let found = record.kept_findings()?;
    let decision = decide(record.id().as_str(), &record.user.tenant, lookup, Some(found), rules);
    let is_plain = decision.is_plain();
    match decision {
        Decision::Refuse(refusal) if is_plain => Some(refusal),
        Decision::Refuse(_) | Decision::Write(_) | Decision::Ask(_) => None,
    }
}

async fn conclude(
    pass: &PassContext,
    record: &UserRecord,
    lookup: &TenantLookup,
    mut decision: Decision,
    deadline: Deadline,
) -> Option<TenantWrite> {
    let rules = pass.tenant_rules_of(&record.user.tenant)?;
    let (user, claim) = (record.id().as_str(), &record.user.tenant);
    if let Decision::Ask(inquiry) = &decision {
        // Whoever has waited for long has time to ask all the same.
        let reserve = COMMIT_RESERVE.min(deadline.left() / 2);
        // Boxed, as nearly nobody's sync gets here, and all would have to carry it.
        let findings = pass.clients.store.findings(user, inquiry, deadline.less(reserve));
        decision = match Box::pin(findings).await {
            Ok(found) => {
                let decision = decide(user, claim, lookup, Some(&found), &rules);
                if let Some(kept) = &pass.memory.kept {
                    kept.note_findings(record.id(), found);
                }
                decision
            }
            Err(err) => {
                tell_undecided(user, inquiry, &err);
                return None;
            }
        };
    }
    match decision {
        Decision::Write(write) => {
            if pass.clients.config.user_lines.tell(true) {
                tell_succession(user, write.tenant(), lookup);
            }
            Some(write)
        }
        Decision::Ask(_) => None,
        Decision::Refuse(refusal) => {
            tell_refusal(&pass.told, user, claim, &refusal);
            None
        }
    }
}

fn tell_refusal(told: &ToldTenants, user_id: &str, claim: &TenantClaim, refusal: &Refusal) {
    match refusal {
        Refusal::OwnerIsSilent(tenant, silence) if told.is_first(tenant) => warn!(
            tenant_id = tenant.as_str(),
            owner = silence.owner,
            age_s = silence.age.map(|age| age.as_secs()),
            "The account of tenant {tenant} is another member's, who is not synced; {silence}: see what keeps that user from being synced, or name another member in \
             tenants/{tenant}.owner_uid"
        ),
        Refusal::OwnerIsNoMember(tenant, owner) if told.is_first(tenant) => warn!(
            tenant_id = tenant.as_str(),
            owner,
            "The account of tenant {tenant} belongs to a user whom tenants/{tenant}/users or users does not \
             have: unless that user stops being synced, name a member in tenants/{tenant}.owner_uid"
        ),
        // Every pass of a second member: not worth a warning, unless the operator named the tenant.
        Refusal::OwnedByAnother(_) | Refusal::OwnerIsSilent(..) | Refusal::OwnerIsNoMember(..)
            if !matches!(claim, TenantClaim::Assigned(_)) =>
        {
            debug!(user_id, "Not writing a tenant document for user {user_id}: {refusal}");
        }
        refusal => warn!(user_id, "Refused the tenant document of user {user_id}: {refusal}"),
    }
}

fn tell_succession(user_id: &str, tenant: &TenantId, lookup: &TenantLookup) {
    let owner = lookup.primary.as_ref().and_then(|primary| primary.owner.as_deref());
    if let Some(owner) = owner.filter(|owner| *owner != user_id) {
        let tenant_id = tenant.as_str();
        info!(user_id, tenant_id, owner, "User {user_id} is to take the account of tenant {tenant} over");
    }
}

/// That no lookup could be read; the user's own snapshot needs nothing of it.
fn tell_unread(record: &UserRecord, err: &StoreError) {
    let user_id = record.id().as_str();
    warn!(
        user_id,
        error = err.code().as_str(),
        "Not writing the document of the tenant of user {user_id}: it could not be read: {}",
        Chain(err)
    );
}

/// The same of what has to be asked besides the lookup.
fn tell_undecided(user_id: &str, inquiry: &Inquiry, err: &StoreError) {
    let (Inquiry::OwnTenant(tenant) | Inquiry::Owner(tenant, _)) = inquiry;
    warn!(
        user_id,
        tenant_id = tenant.as_str(),
        error = err.code().as_str(),
        "Not writing the document of tenant {tenant} for user {user_id}: whose it is could not be read: {}",
        Chain(err)
    );
}
