//! Which tenant's document a user's account may be written to: the rules that keep one tenant's money
//! out of another's document, and hand a document over when nobody keeps it fresh any more.

use crate::model::ids::TenantId;
use crate::model::recheck::RecheckSchedule;
use crate::model::user::TenantClaim;
use jiff::{SignedDuration, Timestamp};
use std::fmt;

/// What goes before the tenant in the id of a legacy account.
pub(crate) const LEGACY_PREFIX: &str = "legacy:";

/// How often a member rechecks who should own another's document, and stale figures are spoken of.
const RECHECK_EVERY: SignedDuration = SignedDuration::from_hours(1);

/// What the store knows about a user and the tenant in question.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct TenantLookup {
    /// Whether `tenants/{tenant}/users/{user}` exists. Only the backend can create it.
    pub(crate) is_member: bool,
    /// `tenants/{tenant}/accounts/primary`, if it exists.
    pub(crate) primary: Option<Primary>,
}

impl TenantLookup {
    /// Whether the document is the user's, and shows another account than that.
    #[must_use]
    pub(crate) fn show_another(&self, user: &str, account: &str) -> bool {
        self.shown(user).is_some_and(|shown| shown != account)
    }

    /// The account that the document shows, if it is the user's.
    #[must_use]
    pub(crate) fn shown(&self, user: &str) -> Option<&str> {
        let own = self.primary.as_ref().filter(|primary| primary.owner.as_deref() == Some(user))?;
        own.account.as_deref()
    }
}

/// A tenant's account document.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Primary {
    /// The user it belongs to; one written before documents had owners belongs to nobody.
    pub(crate) owner: Option<String>,
    /// Alpaca's id of the account that it shows.
    pub(crate) account: Option<String>,
    /// The server's time when its figures were written.
    pub(crate) updated_at: Option<Timestamp>,
    /// Its revision when it was read.
    pub(crate) revision: Option<Revision>,
}

/// Which revision of a document was read. Only its equality means anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Revision {
    /// Seconds of the server's time of its write.
    pub(crate) seconds: i64,
    /// The rest of it.
    pub(crate) nanos: i32,
}

/// What a decision may hang on besides, and what is read only then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Inquiry {
    /// Whether a tenant is its user's own: see [`Findings::is_free`].
    OwnTenant(TenantId),
    /// Who should own a tenant's document, and whether the one whom it names now is still there.
    Owner(TenantId, Option<String>),
}

/// What came of an [`Inquiry`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    /// Neither `tenants/{tenant}` exists, nor any member but the user: it is nobody else's tenant.
    pub(crate) is_free: bool,
    /// The `owner_uid` of `tenants/{tenant}`, where that names a member who is still there.
    pub(crate) rightful_owner: Option<String>,
    /// Whether the document's owner is still there: a member, and a user.
    pub(crate) owner_remains: bool,
}

/// The pass, as far as tenants' documents depend on it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pass<'a> {
    /// When it takes place, and when the one before did.
    pub(crate) schedule: RecheckSchedule,
    /// Whether an owner can lose a document in it: not in a person's own run.
    pub(crate) takes_over: bool,
    /// What the legacy account goes by, if one is configured.
    pub(crate) legacy_account: Option<&'a str>,
    /// How long the figures of a member whose keys are in order may stand.
    pub(crate) stands_for: SignedDuration,
}

/// What is to become of a tenant's document.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Decision {
    /// The user's account goes there.
    Write(TenantWrite),
    /// That has to be known first.
    Ask(Inquiry),
    /// It is left alone.
    Refuse(Refusal),
}

impl Decision {
    /// Whether it may go by what was known for some minutes: a document that is not as it was refuses the write, and whose
    /// it is, or that it is old, is not decided.
    #[must_use]
    pub(crate) fn is_plain(&self) -> bool {
        match self {
            Self::Write(TenantWrite::Replace(_, revision)) => revision.is_some(),
            Self::Write(TenantWrite::Create(_)) | Self::Ask(_) => false,
            Self::Refuse(refusal) => {
                !matches!(refusal, Refusal::OwnerIsNoMember(..) | Refusal::OwnerIsSilent(..))
            }
        }
    }
}

/// A permitted write, with the precondition that makes it safe.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum TenantWrite {
    /// The first member to arrive creates it: it must not exist.
    Create(TenantId),
    /// The owner's, or taken over: it must still be the revision that was read.
    Replace(TenantId, Option<Revision>),
}

impl TenantWrite {
    /// The tenant that is written to.
    #[must_use]
    pub(crate) fn tenant(&self) -> &TenantId {
        match self {
            Self::Create(tenant) | Self::Replace(tenant, _) => tenant,
        }
    }
}

/// Why a tenant's document is left alone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// The user document names something that can be no tenant.
    #[error("its tenant_id is not a document id")]
    Unusable,
    /// The user document names a tenant that does not know the user.
    #[error("it says tenant {0}, but tenants/{0}/users has no document for it")]
    NotAMember(TenantId),
    /// Whoever signs up under the id of a tenant is not that tenant.
    #[error("it has no tenant_id, and the tenant of its own id, {0}, is somebody else's")]
    SomebodyElses(TenantId),
    /// The document is another's, and stays so: normal for the second member of a tenant.
    #[error("the account of tenant {0} belongs to another member")]
    OwnedByAnother(TenantId),
    /// The same for the time being: the owner is no member, but their figures are not stale yet.
    #[error("the account of tenant {0} belongs to a user who is no member of it")]
    OwnerIsNoMember(TenantId, String),
    /// The same as for any other member, where the figures are stale and it is time to say so.
    #[error("the account of tenant {0} belongs to another member, who is not synced")]
    OwnerIsSilent(TenantId, Silence),
}

/// How long an owner has not been synced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Silence {
    /// The owner, as the document names them.
    pub(crate) owner: String,
    /// The age of the figures, if they say when they were written.
    pub(crate) age: Option<SignedDuration>,
}

impl fmt::Display for Silence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.age {
            Some(age) => write!(f, "its figures are {} s old", age.as_secs()),
            None => f.write_str("its figures do not say how old they are"),
        }
    }
}

/// The tenant whose lookup decides, if there is one at all.
///
/// A user without a tenant is their own: the user's id is the tenant's.
#[must_use]
pub(crate) fn tenant_in_question(user: &str, claim: &TenantClaim) -> Option<TenantId> {
    match claim {
        TenantClaim::Own => TenantId::parse(user).ok(),
        TenantClaim::Of(tenant) | TenantClaim::Assigned(tenant) => Some(tenant.clone()),
        TenantClaim::Unusable => None,
    }
}

/// Decides where a user's account goes, besides their own snapshot. Without `findings` it may ask for
/// them, with them never.
#[must_use]
pub(crate) fn decide(
    user: &str,
    claim: &TenantClaim,
    lookup: &TenantLookup,
    findings: Option<&Findings>,
    pass: &Pass<'_>,
) -> Decision {
    let Some(tenant) = tenant_in_question(user, claim) else {
        return Decision::Refuse(Refusal::Unusable);
    };
    if matches!(claim, TenantClaim::Of(_)) && !lookup.is_member {
        return Decision::Refuse(Refusal::NotAMember(tenant));
    }
    let write = match &lookup.primary {
        None => TenantWrite::Create(tenant),
        Some(primary) => TenantWrite::Replace(tenant, primary.revision),
    };
    match lookup.primary.as_ref().and_then(|primary| Some((primary, primary.owner.as_deref()?))) {
        Some((_, owner)) if owner == user => Decision::Write(write),
        Some((primary, owner)) => {
            let meeting = Meeting { user, primary, owner, pass, write };
            match claim {
                TenantClaim::Own => meeting.of_own(findings),
                TenantClaim::Of(_) => meeting.of_member(findings),
                // The legacy account is no member, whom a document could fall to.
                TenantClaim::Assigned(_) | TenantClaim::Unusable => meeting.leave(),
            }
        }
        None => claim_nobodys(user, claim, findings, write),
    }
}

/// Of a document that does not exist, or names nobody.
fn claim_nobodys(
    user: &str,
    claim: &TenantClaim,
    findings: Option<&Findings>,
    write: TenantWrite,
) -> Decision {
    let tenant = write.tenant().clone();
    let is_own = *claim == TenantClaim::Own;
    match findings {
        None if is_own => Decision::Ask(Inquiry::OwnTenant(tenant)),
        None => Decision::Ask(Inquiry::Owner(tenant, None)),
        Some(found) if is_own && !found.is_free => Decision::Refuse(Refusal::SomebodyElses(tenant)),
        Some(Findings { rightful_owner: Some(rightful), .. }) if !is_own && rightful != user => {
            Decision::Refuse(Refusal::OwnedByAnother(tenant))
        }
        Some(_) => Decision::Write(write),
    }
}

/// Of a user and a document that belongs to another.
struct Meeting<'a> {
    user: &'a str,
    primary: &'a Primary,
    owner: &'a str,
    pass: &'a Pass<'a>,
    /// What it would be.
    write: TenantWrite,
}

impl Meeting<'_> {
    /// A user without tenant inherits only from the legacy account that they were.
    fn of_own(self, findings: Option<&Findings>) -> Decision {
        let tenant = self.write.tenant().clone();
        if self.owner.strip_prefix(LEGACY_PREFIX) != Some(self.user) {
            return Decision::Refuse(Refusal::SomebodyElses(tenant));
        }
        if !self.pass.takes_over || !self.is_stale() || self.is_configured() {
            return self.leave();
        }
        match findings {
            None => Decision::Ask(Inquiry::OwnTenant(tenant)),
            Some(found) if found.is_free => Decision::Write(self.write),
            Some(_) => Decision::Refuse(Refusal::SomebodyElses(tenant)),
        }
    }

    fn of_member(self, findings: Option<&Findings>) -> Decision {
        let tenant = self.write.tenant();
        if !self.pass.takes_over {
            return self.leave();
        }
        let Some(found) = findings else {
            return match self.is_stale() || self.pass.rechecks(tenant) {
                true => Decision::Ask(Inquiry::Owner(tenant.clone(), self.owning_user())),
                false => self.leave(),
            };
        };
        match found.rightful_owner.as_deref() {
            Some(rightful) if rightful == self.user => Decision::Write(self.write),
            Some(_) => self.leave(),
            None if found.owner_remains || self.is_configured() => self.leave(),
            None if self.is_stale() => Decision::Write(self.write),
            None => Decision::Refuse(Refusal::OwnerIsNoMember(tenant.clone(), self.owner.to_owned())),
        }
    }

    /// Whoever the document names, unless that is a legacy account, which is no user.
    fn owning_user(&self) -> Option<String> {
        Some(self.owner).filter(|owner| !owner.starts_with(LEGACY_PREFIX)).map(str::to_owned)
    }

    fn leave(&self) -> Decision {
        Decision::Refuse(self.pass.refusal(self.write.tenant().clone(), self.owner, self.primary))
    }

    fn is_stale(&self) -> bool {
        self.pass.is_stale(self.primary)
    }

    /// Whether the owner is the legacy account of this very deployment.
    fn is_configured(&self) -> bool {
        self.owner.starts_with(LEGACY_PREFIX) && self.pass.legacy_account == Some(self.owner)
    }
}

impl Pass<'_> {
    /// A member whose keys are in order has newer figures.
    fn is_stale(&self, primary: &Primary) -> bool {
        self.age(primary).is_none_or(|age| age >= self.stands_for)
    }

    fn age(&self, primary: &Primary) -> Option<SignedDuration> {
        Some(self.schedule.now.duration_since(primary.updated_at?))
    }

    /// Whether it is the first pass of an hour of the tenant's own: not all come in the same pass.
    fn rechecks(&self, tenant: &TenantId) -> bool {
        self.turns_hour(SignedDuration::from_secs(crc32c::crc32c(tenant.as_str().as_bytes()).into()))
    }

    /// Whether one of the hours that begin so long after the epoch's has begun since the pass before.
    fn turns_hour(&self, shift: SignedDuration) -> bool {
        let RecheckSchedule { previous, now } = self.schedule;
        let hour = |time: Timestamp| (time.as_second() - shift.as_secs()).div_euclid(RECHECK_EVERY.as_secs());
        previous.is_none_or(|previous| hour(previous) != hour(now))
    }

    /// Stale figures are spoken of when they become so, and every hour from then on.
    fn refusal(&self, tenant: TenantId, owner: &str, primary: &Primary) -> Refusal {
        let tells = match primary.updated_at {
            Some(at) => self.turns_hour(SignedDuration::from_secs(at.as_second()) + self.stands_for),
            None => self.rechecks(&tenant),
        };
        match self.is_stale(primary) && tells {
            true => {
                Refusal::OwnerIsSilent(tenant, Silence { owner: owner.to_owned(), age: self.age(primary) })
            }
            false => Refusal::OwnedByAnother(tenant),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_767_623_400;

    fn acme() -> TenantId {
        TenantId::parse("acme").expect("legal")
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    fn revision() -> Option<Revision> {
        Some(Revision { seconds: 7, nanos: 0 })
    }

    /// A pass a minute after the one before, in which no tenant's hour turns.
    fn pass() -> Pass<'static> {
        let shift = i64::from(crc32c::crc32c(b"acme"));
        let now = (NOW - shift).div_euclid(3600) * 3600 + shift + 1800;
        let schedule = RecheckSchedule { previous: Some(at(now - 60)), now: at(now) };
        Pass { schedule, takes_over: true, legacy_account: None, stands_for: SignedDuration::from_mins(5) }
    }

    /// The same pass without one before it.
    fn rechecking() -> Pass<'static> {
        let schedule = RecheckSchedule { previous: None, ..pass().schedule };
        Pass { schedule, ..pass() }
    }

    fn aged(owner: &str, age: Option<i64>) -> Option<Primary> {
        let updated_at = age.map(|age| pass().schedule.now - SignedDuration::from_secs(age));
        let owner = Some(owner.to_owned()).filter(|owner| !owner.is_empty());
        Some(Primary { owner, account: None, updated_at, revision: revision() })
    }

    fn lookup(primary: Option<Primary>) -> TenantLookup {
        TenantLookup { is_member: true, primary }
    }

    fn found(is_free: bool, rightful: Option<&str>, owner_remains: bool) -> Findings {
        Findings { is_free, rightful_owner: rightful.map(str::to_owned), owner_remains }
    }

    fn create() -> Decision {
        Decision::Write(TenantWrite::Create(acme()))
    }

    fn replace() -> Decision {
        Decision::Write(TenantWrite::Replace(acme(), revision()))
    }

    fn anothers() -> Decision {
        Decision::Refuse(Refusal::OwnedByAnother(acme()))
    }

    fn silent(owner: &str, age: Option<i64>) -> Decision {
        let silence = Silence { owner: owner.into(), age: age.map(SignedDuration::from_secs) };
        Decision::Refuse(Refusal::OwnerIsSilent(acme(), silence))
    }

    fn somebody_elses() -> Decision {
        Decision::Refuse(Refusal::SomebodyElses(acme()))
    }

    fn asks(owner: Option<&str>) -> Decision {
        Decision::Ask(Inquiry::Owner(acme(), owner.map(str::to_owned)))
    }

    #[test]
    fn a_claimed_tenant_counts_only_with_membership() {
        let claim = TenantClaim::Of(acme());
        let stranger = Decision::Refuse(Refusal::NotAMember(acme()));
        for primary in [None, aged("", None), aged("ana", Some(0)), aged("ben", None)] {
            let lookup = TenantLookup { is_member: false, primary };
            assert_eq!(decide("ana", &claim, &lookup, None, &rechecking()), stranger);
            let found = found(true, Some("ana"), false);
            assert_eq!(decide("ana", &claim, &lookup, Some(&found), &rechecking()), stranger);
        }
        let unusable = Decision::Refuse(Refusal::Unusable);
        assert_eq!(decide("ana", &TenantClaim::Unusable, &lookup(None), None, &pass()), unusable);
    }

    #[test]
    fn a_document_that_names_the_user_is_theirs_without_a_question() {
        for (user, claim) in [
            ("ana", TenantClaim::Of(acme())),
            ("acme", TenantClaim::Own),
            ("legacy:acme", TenantClaim::Assigned(acme())),
        ] {
            for age in [None, Some(0), Some(9_000)] {
                assert_eq!(
                    decide(user, &claim, &lookup(aged(user, age)), None, &rechecking()),
                    replace(),
                    "{user}"
                );
            }
        }
    }

    #[test]
    fn a_user_without_tenant_gets_the_document_of_their_id_only_where_the_tenant_is_nobody_elses() {
        let asks = Decision::Ask(Inquiry::OwnTenant(acme()));
        for (primary, free) in [(None, create()), (aged("", Some(0)), replace()), (aged("", None), replace())]
        {
            let decide = |found: Option<Findings>| {
                let lookup = lookup(primary.clone());
                decide("acme", &TenantClaim::Own, &lookup, found.as_ref(), &pass())
            };
            assert_eq!(decide(None), asks);
            assert_eq!(decide(Some(found(true, None, false))), free);
            assert_eq!(decide(Some(found(false, None, false))), somebody_elses());
            assert_eq!(decide(Some(found(false, Some("acme"), true))), somebody_elses());
        }
        for owner in ["ana", "legacy:other", "legacy:", "legacy:acme2", "tenants/acme"] {
            for age in [None, Some(0), Some(9_000)] {
                let lookup = lookup(aged(owner, age));
                let decision = decide("acme", &TenantClaim::Own, &lookup, None, &rechecking());
                assert_eq!(decision, somebody_elses(), "{owner}");
            }
        }
    }

    #[test]
    fn a_user_without_tenant_inherits_from_the_legacy_account_that_they_were() {
        let configured = Pass { legacy_account: Some("legacy:acme"), ..pass() };
        let named = Pass { takes_over: false, ..pass() };
        for (age, pass, free, decision) in [
            (Some(600), pass(), None, Decision::Ask(Inquiry::OwnTenant(acme()))),
            (None, pass(), Some(true), replace()),
            (Some(600), pass(), Some(true), replace()),
            (Some(600), pass(), Some(false), somebody_elses()),
            (Some(299), pass(), Some(true), anothers()),
            (Some(600), configured, Some(true), anothers()),
            (Some(600), named, Some(true), anothers()),
        ] {
            let findings = free.map(|free| found(free, None, false));
            let lookup = lookup(aged("legacy:acme", age));
            assert_eq!(
                decide("acme", &TenantClaim::Own, &lookup, findings.as_ref(), &pass),
                decision,
                "{age:?}"
            );
        }
    }

    #[test]
    fn the_first_member_creates_the_document_unless_another_is_to_own_it() {
        for (user, claim) in
            [("ana", TenantClaim::Of(acme())), ("legacy:acme", TenantClaim::Assigned(acme()))]
        {
            for (primary, write) in [(None, create()), (aged("", Some(0)), replace())] {
                let decide = |found: Option<Findings>| {
                    let lookup = lookup(primary.clone());
                    decide(user, &claim, &lookup, found.as_ref(), &pass())
                };
                assert_eq!(decide(None), asks(None), "{user}");
                assert_eq!(decide(Some(found(false, None, false))), write, "{user}");
                assert_eq!(decide(Some(found(false, Some(user), false))), write, "{user}");
                assert_eq!(decide(Some(found(true, Some("ben"), true))), anothers(), "{user}");
            }
        }
    }

    #[test]
    fn a_member_rechecks_anothers_document_when_it_is_stale_or_once_an_hour() {
        let decide =
            |age, pass| decide("ana", &TenantClaim::Of(acme()), &lookup(aged("ben", age)), None, &pass);
        for age in [Some(300), Some(9_000), None] {
            assert_eq!(decide(age, pass()), asks(Some("ben")), "{age:?}");
        }
        for age in [Some(299), Some(0), Some(-60)] {
            assert_eq!(decide(age, pass()), anothers(), "{age:?}");
            assert_eq!(decide(age, rechecking()), asks(Some("ben")), "{age:?}");
        }
        let named = Pass { takes_over: false, ..pass() };
        assert_eq!(decide(Some(9_000), named), anothers(), "a person's own run takes nothing over");
    }

    #[test]
    fn an_owner_loses_the_document_by_being_gone_and_stale_or_by_the_backends_word() {
        let legacy = Some("legacy:acme");
        let no_member = Decision::Refuse(Refusal::OwnerIsNoMember(acme(), "ben".into()));
        for (owner, age, configured, rightful, remains, decision) in [
            ("ben", Some(300), None, None, false, replace()),
            ("ben", None, None, None, false, replace()),
            ("ben", Some(299), None, None, false, no_member),
            ("ben", Some(400), None, None, true, anothers()),
            ("ben", Some(400), None, Some("ben"), true, anothers()),
            ("ben", Some(400), None, Some("cy"), false, anothers()),
            ("ben", Some(0), None, Some("ana"), true, replace()),
            ("ben", Some(400), None, Some("ana"), false, replace()),
            ("legacy:acme", Some(400), None, None, false, replace()),
            ("legacy:acme", Some(400), Some("legacy:other"), None, false, replace()),
            ("legacy:acme", Some(400), legacy, None, false, anothers()),
            ("legacy:acme", Some(0), legacy, None, false, anothers()),
            ("legacy:acme", Some(0), legacy, Some("ana"), false, replace()),
        ] {
            let (lookup, pass) = (lookup(aged(owner, age)), Pass { legacy_account: configured, ..pass() });
            let found = found(false, rightful, remains);
            let decided = decide("ana", &TenantClaim::Of(acme()), &lookup, Some(&found), &pass);
            assert_eq!(decided, decision, "{owner} {age:?} {configured:?} {rightful:?} {remains}");
        }
    }

    #[test]
    fn a_silent_owner_is_spoken_of_at_once_and_then_every_hour() {
        let told = |age: Option<i64>, previous: Option<i64>| {
            let previous = previous.map(|ago| pass().schedule.now - SignedDuration::from_secs(ago));
            let pass = Pass { schedule: RecheckSchedule { previous, ..pass().schedule }, ..pass() };
            let found = found(false, None, true);
            decide("ana", &TenantClaim::Of(acme()), &lookup(aged("ben", age)), Some(&found), &pass)
        };
        for age in [300, 359, 3_900, 3_959, 300 + 24 * 3600] {
            assert_eq!(told(Some(age), Some(60)), silent("ben", Some(age)), "{age}");
        }
        for age in [0, 299, 360, 3_899, 3_960, 299 + 24 * 3600] {
            assert_eq!(told(Some(age), Some(60)), anothers(), "{age}");
        }
        assert_eq!(told(Some(1_000), None), silent("ben", Some(1_000)), "there was no pass before");
        assert_eq!(told(Some(299), None), anothers());
        assert_eq!(told(None, None), silent("ben", None));
        assert_eq!(told(None, Some(60)), anothers());
        assert_eq!(told(None, Some(3_600)), silent("ben", None));
    }

    #[test]
    fn figures_are_stale_when_their_own_promise_is_over() {
        let claim = TenantClaim::Of(acme());
        let shift = SignedDuration::from_secs(60);
        for stands_for in [300, 240, 1_020, 1_200] {
            let at = Pass { stands_for: SignedDuration::from_secs(stands_for), ..pass() };
            let decide = |age, found: Option<&Findings>, pass: &Pass<'_>| {
                super::decide("ana", &claim, &lookup(aged("ben", Some(age))), found, pass)
            };
            let (gone, silent_one) = (found(false, None, false), found(false, None, true));
            let not_yet = Decision::Refuse(Refusal::OwnerIsNoMember(acme(), "ben".into()));
            for (age, is_stale) in [(stands_for - 1, false), (stands_for, true)] {
                let asked = if is_stale { asks(Some("ben")) } else { anothers() };
                assert_eq!(decide(age, None, &at), asked, "{stands_for} {age}");
                let taken = if is_stale { replace() } else { not_yet.clone() };
                assert_eq!(decide(age, Some(&gone), &at), taken, "{stands_for} {age}");
            }
            // Told by the pass in which they become so, and by none before or after.
            for (age, is_told) in [(-1, false), (0, true), (59, true), (60, false)] {
                let age = stands_for + age;
                let expected = if is_told { silent("ben", Some(age)) } else { anothers() };
                let previous = Some(at.schedule.now - shift);
                let a_minute_later = Pass { schedule: RecheckSchedule { previous, ..at.schedule }, ..at };
                assert_eq!(decide(age, Some(&silent_one), &a_minute_later), expected, "{stands_for} {age}");
            }
            let by_id = TenantClaim::Own;
            let legacy = |age| lookup(aged("legacy:acme", Some(age)));
            let decided = [stands_for - 1, stands_for]
                .map(|age| super::decide("acme", &by_id, &legacy(age), None, &at));
            let asks_own = Decision::Ask(Inquiry::OwnTenant(acme()));
            assert_eq!(decided, [anothers(), asks_own], "{stands_for}");
        }
    }

    #[test]
    fn the_tenant_in_question_is_the_one_that_is_claimed_or_the_users_own() {
        let ana = TenantId::parse("ana").expect("legal");
        for (user, claim, expected) in [
            ("ana", TenantClaim::Own, Some(ana)),
            ("ana", TenantClaim::Of(acme()), Some(acme())),
            ("legacy:acme", TenantClaim::Assigned(acme()), Some(acme())),
            ("ana", TenantClaim::Unusable, None),
            ("", TenantClaim::Own, None),
        ] {
            assert_eq!(tenant_in_question(user, &claim), expected, "{user} {claim:?}");
        }
    }

    #[test]
    fn only_the_users_own_document_of_another_account_shows_another() {
        let shows = |owner: Option<&str>, account: Option<&str>| {
            let [owner, account] = [owner, account].map(|text| text.map(str::to_owned));
            let lookup = lookup(Some(Primary { owner, account, ..Primary::default() }));
            lookup.show_another("ana", "a1")
        };
        for (owner, account, expected) in [
            (Some("ana"), Some("a2"), true),
            (Some("ana"), Some("a1"), false),
            (Some("ana"), None, false),
            (Some("ben"), Some("a2"), false),
            (None, Some("a2"), false),
        ] {
            assert_eq!(shows(owner, account), expected, "{owner:?} {account:?}");
        }
        assert!(!lookup(None).show_another("ana", "a1"));
    }

    #[test]
    fn an_owners_silence_is_told_in_seconds() {
        let told = |age: Option<i64>| {
            Silence { owner: "ben".into(), age: age.map(SignedDuration::from_secs) }.to_string()
        };
        assert_eq!(told(Some(301)), "its figures are 301 s old");
        assert_eq!(told(None), "its figures do not say how old they are");
    }
    /// Every combination of what is known, against the rules rather than against single cases.
    #[test]
    fn no_combination_of_facts_breaks_a_rule() {
        let claims =
            [TenantClaim::Own, TenantClaim::Of(acme()), TenantClaim::Assigned(acme()), TenantClaim::Unusable];
        let owners = [None, Some(""), Some("acme"), Some("ben"), Some("legacy:acme"), Some("legacy:b")];
        let mut findings = vec![None];
        for (is_free, remains) in [(false, false), (false, true), (true, false), (true, true)] {
            findings.extend([None, Some("acme"), Some("ben")].map(|uid| Some(found(is_free, uid, remains))));
        }
        let mut combinations = 0;
        for (claim, owner) in claims.iter().flat_map(|claim| owners.map(|owner| (claim, owner))) {
            for (age, found) in
                [None, Some(0), Some(400)].iter().flat_map(|age| findings.iter().map(move |f| (*age, f)))
            {
                for bits in 0..16 {
                    let [is_member, takes_over, rechecks, configured] =
                        [1, 2, 4, 8].map(|bit| bits & bit > 0);
                    let legacy_account = configured.then_some("legacy:acme");
                    let at = if rechecks { rechecking() } else { pass() };
                    let pass = Pass { takes_over, legacy_account, ..at };
                    let primary = owner.and_then(|owner| aged(owner, age));
                    let lookup = TenantLookup { is_member, primary };
                    let decision = decide("acme", claim, &lookup, found.as_ref(), &pass);
                    let case = format!("{claim:?} {owner:?} {age:?} {found:?} {pass:?} {decision:?}");
                    assert_rules(claim, owner, age, found.as_ref(), is_member, &pass, &decision, &case);
                    combinations += 1;
                }
            }
        }
        assert_eq!(combinations, 4 * 6 * 3 * 13 * 16);
    }

    #[expect(clippy::too_many_arguments, reason = "a case of the table")]
    fn assert_rules(
        claim: &TenantClaim,
        owner: Option<&str>,
        age: Option<i64>,
        found: Option<&Findings>,
        is_member: bool,
        pass: &Pass<'_>,
        decision: &Decision,
        case: &str,
    ) {
        let named = owner.filter(|owner| !owner.is_empty());
        let is_anothers = named.is_some_and(|owner| owner != "acme");
        let is_own = *claim == TenantClaim::Own;
        let rightful = found.and_then(|found| found.rightful_owner.as_deref());
        if let Decision::Ask(_) = decision {
            assert!(found.is_none(), "nothing is asked twice: {case}");
            assert!(named != Some("acme"), "one's own needs no question: {case}");
        }
        if let Decision::Write(write) = decision {
            assert_eq!(matches!(write, TenantWrite::Create(_)), owner.is_none(), "{case}");
            assert!(is_own || is_member || matches!(claim, TenantClaim::Assigned(_)), "{case}");
            assert!(named == Some("acme") || found.is_some(), "no other without a question: {case}");
            assert!(!is_own || named == Some("acme") || found.is_some_and(|found| found.is_free), "{case}");
            assert!(is_own || named == Some("acme") || rightful != Some("ben"), "the backend's word: {case}");
            if is_anothers {
                assert!(pass.takes_over, "a named run takes nothing over: {case}");
                assert!(rightful == Some("acme") || age != Some(0), "nothing fresh is taken over: {case}");
                assert!(!matches!(claim, TenantClaim::Assigned(_)), "{case}");
            }
        }
        if matches!(decision, Decision::Refuse(Refusal::OwnerIsSilent(..))) {
            assert!(is_anothers && age != Some(0), "{case}");
        }
    }
}
