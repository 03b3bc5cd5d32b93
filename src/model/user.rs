//! A user as the `users` collection has it. The user may write that document, so nothing in it is
//! trusted for authorisation.

use crate::model::ids::{DocumentId, TenantId};
use jiff::Timestamp;

/// One document of `users`, reduced to the fields the job reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct User {
    /// The document's id.
    pub(crate) id: DocumentId,
    /// The tenant the user says to belong to.
    pub(crate) tenant: TenantClaim,
    /// Whether the user is synced.
    pub(crate) sync: Switch,
    /// When the keys, or what else the sync depends on, were last changed. Who writes it may be wrong: it
    /// may lie in the future.
    pub(crate) keys_updated_at: Option<Timestamp>,
    /// When the document was created, to the microsecond: whoever was deleted and created again is somebody else.
    pub(crate) created_at: Option<Timestamp>,
}

/// What `sync_enabled` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Switch {
    /// That the user is synced, or nothing at all.
    On,
    /// That the user is paused.
    Off,
    /// Neither. Somebody meant something by it, and money is not synced on a guess.
    Unreadable,
}

/// What is said about a user's tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TenantClaim {
    /// No `tenant_id`, or null: the user is their own tenant.
    Own,
    /// The user document names it. Counts only with a membership document.
    Of(TenantId),
    /// The user document's `tenant_id` can be no document id.
    Unusable,
    /// The operator names it, in the job's configuration: it needs no membership.
    Assigned(TenantId),
}

impl User {
    /// Whether somebody has paused the user.
    #[must_use]
    pub(crate) fn is_paused(&self) -> bool {
        self.sync == Switch::Off
    }

    /// Whether the user is synced.
    #[must_use]
    pub(crate) fn is_synced(&self) -> bool {
        self.sync == Switch::On
    }
}
