//! What comes of a legacy document, and why.

use crate::documents::legacy::Unreadable;
use serde::Serialize;

/// What comes of a legacy document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Class {
    /// Something is written for it.
    Copy,
    /// All is there already.
    Same,
    /// Its target was changed since: it is left as it is.
    NewerTarget,
    /// It is not known what belongs where.
    Ambiguous,
    /// A field is not what its reader needs.
    Malformed,
    /// It holds keys.
    Secret,
    /// Nothing is made of it, and the clean-up deletes it.
    Cleanup,
}

impl Class {
    pub(crate) const ALL: [Self; 7] = [
        Self::Copy,
        Self::Same,
        Self::NewerTarget,
        Self::Ambiguous,
        Self::Malformed,
        Self::Secret,
        Self::Cleanup,
    ];

    /// Those in which a document waits for the operator.
    pub(crate) const OPEN: [Self; 3] = [Self::NewerTarget, Self::Ambiguous, Self::Malformed];

    /// The word of text and JSON.
    #[must_use]
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Copy => "copy",
            Self::Same => "same",
            Self::NewerTarget => "newer_target",
            Self::Ambiguous => "ambiguous",
            Self::Malformed => "malformed",
            Self::Secret => "secret",
            Self::Cleanup => "cleanup",
        }
    }
}

/// Why a document is of its class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Reason {
    /// Its target does not exist.
    NotThere,
    /// A tenant's document gets its owner.
    WithoutOwner,
    /// A user gets today's name of their tenant.
    OlderTenantId,
    /// It has no figures, and a reader would take it for an account.
    Placeholder,
    /// The target is what would be written.
    AlreadyThere,
    /// Another document of the same content is taken for this target.
    Duplicate,
    /// The target was written after it.
    TargetIsNewer,
    /// The target is another document's, written before it.
    TargetDiffers,
    /// Another document of another content is taken for this target.
    IdTaken,
    /// Neither it nor the operator says whose it is.
    NoOwner,
    /// It names two users.
    OwnersContradict,
    /// The tenant has several members, and names no owner.
    SeveralMembers,
    /// The user is no member of that tenant.
    NoMembership,
    /// The user has another tenant by today's name.
    TenantsContradict,
    /// That field is not what its reader needs.
    Malformed(&'static str),
    /// It holds keys, and is no document for keys: they would be copied, into the journal at least.
    KeysInside,
    /// Keys, which are not moved by the same way.
    Keys,
    /// Figures are only ever written by a pulse.
    OldFigures,
    /// It lies below a legacy document, in a collection that nobody listed.
    BelowLegacy,
}

impl From<Unreadable> for Reason {
    fn from(Unreadable(field): Unreadable) -> Self {
        Self::Malformed(field)
    }
}

impl Reason {
    /// The class that it is a reason for.
    #[must_use]
    pub(crate) fn class(self) -> Class {
        match self {
            Self::NotThere | Self::WithoutOwner | Self::OlderTenantId | Self::Placeholder => Class::Copy,
            Self::AlreadyThere | Self::Duplicate => Class::Same,
            Self::TargetIsNewer => Class::NewerTarget,
            Self::TargetDiffers
            | Self::IdTaken
            | Self::NoOwner
            | Self::OwnersContradict
            | Self::SeveralMembers
            | Self::NoMembership
            | Self::TenantsContradict => Class::Ambiguous,
            Self::Malformed(_) | Self::KeysInside => Class::Malformed,
            Self::Keys => Class::Secret,
            Self::OldFigures | Self::BelowLegacy => Class::Cleanup,
        }
    }

    /// Whether the operator may do without such a document.
    #[must_use]
    pub(crate) fn may_be_given_up(self) -> bool {
        self != Self::KeysInside
    }

    /// The stable name for programs.
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::NotThere => "NotThere",
            Self::WithoutOwner => "WithoutOwner",
            Self::OlderTenantId => "OlderTenantId",
            Self::Placeholder => "Placeholder",
            Self::AlreadyThere => "AlreadyThere",
            Self::Duplicate => "Duplicate",
            Self::TargetIsNewer => "TargetIsNewer",
            Self::TargetDiffers => "TargetDiffers",
            Self::IdTaken => "IdTaken",
            Self::NoOwner => "NoOwner",
            Self::OwnersContradict => "OwnersContradict",
            Self::SeveralMembers => "SeveralMembers",
            Self::NoMembership => "NoMembership",
            Self::TenantsContradict => "TenantsContradict",
            Self::Malformed(_) => "Malformed",
            Self::KeysInside => "KeysInside",
            Self::Keys => "Keys",
            Self::OldFigures => "OldFigures",
            Self::BelowLegacy => "BelowLegacy",
        }
    }

    /// The field that it is about.
    #[must_use]
    pub(crate) fn field(self) -> Option<&'static str> {
        match self {
            Self::Malformed(field) => Some(field),
            _ => None,
        }
    }

    /// The same for people, in the middle of a sentence.
    #[must_use]
    pub(crate) fn words(self) -> String {
        let words = match self {
            Self::NotThere => "its target does not exist yet",
            Self::WithoutOwner => "it names no user, and its tenant's owner is known",
            Self::OlderTenantId => "it has the tenant under its older name only",
            Self::Placeholder => "it has no figures, and readers would take it for an account",
            Self::AlreadyThere => "its target is there already",
            Self::Duplicate => "another document of the same content becomes the same target",
            Self::TargetIsNewer => "its target was written after it",
            Self::TargetDiffers => "its target exists with another content",
            Self::IdTaken => "another document with the same id becomes the same target",
            Self::NoOwner => {
                "nobody says whose it is: name the owner by --owner, or that of its tenant by --owners"
            }
            Self::OwnersContradict => "its uid, its user_id and its userId name two users",
            Self::SeveralMembers => {
                "its tenant names no owner, and has not exactly one member: name the owner by --owners"
            }
            Self::NoMembership => "the user is no member of that tenant",
            Self::TenantsContradict => "its tenant_id and its tenantId name two tenants",
            Self::Malformed(field) => return format!("its {field} is not what its readers need"),
            Self::KeysInside => "it holds keys, and is not there for keys: delete their fields",
            Self::Keys => "it holds keys, which Alpaca has to take first",
            Self::BelowLegacy => "it is below an older document: the clean-up deletes it",
            Self::OldFigures => "only a pulse writes figures: the clean-up deletes it",
        };
        words.to_owned()
    }
}
