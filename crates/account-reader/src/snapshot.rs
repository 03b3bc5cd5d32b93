//! What a snapshot is worth at a moment.

use crate::account::{Account, Environment, Source, Standing};
use crate::documents::snapshot as field;
use crate::sync::{LastPulse, Lookup, Sync};
use crate::value::{Fields, Malformed};
use jiff::{SignedDuration, Timestamp};

/// How old a snapshot may be, and `ops/last_pulse` if the snapshot stands by `fresh_until`: 300 s, to the millisecond.
pub const MAX_AGE: SignedDuration = SignedDuration::from_secs(300);

/// How far ahead of the reader's clock a time may be; clocks are not equal. 60 s, to the millisecond.
pub const MAX_AHEAD: SignedDuration = SignedDuration::from_secs(60);

/// The documents that a snapshot is judged by. Read them at one time, or `sync` and `last_pulse` after the snapshot.
#[derive(Clone, Copy, Debug)]
pub struct Documents<'a> {
    /// The document with the figures, `None` if there is none. An answer that failed is not that: it is an error.
    pub snapshot: Option<&'a Fields>,
    /// `users/{user}/alpacaAccounts/sync` of the user whose account it is; of the legacy account [`Lookup::Absent`].
    pub sync: Lookup<'a>,
    /// `ops/last_pulse`. Unread, a snapshot is fresh by its age alone.
    pub last_pulse: Lookup<'a>,
}

/// A snapshot with what speaks for and against it, to be judged at any moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    source: Source,
    sync: Sync,
    last_pulse: Option<LastPulse>,
    content: Content,
}

#[derive(Clone, Debug)]
enum Content {
    Missing,
    Malformed { malformed: Malformed, standing: Option<Standing> },
    Whole(Box<Account>),
}

/// What may be concluded. There is nothing between: what is not fresh is not to be traded on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// The figures are of now.
    Fresh {
        /// How long ago Alpaca gave them; zero if the reader's clock is behind.
        age: SignedDuration,
        /// What they are.
        account: &'a Account,
    },
    /// The figures are of then: to show, with their age, and not to trade on.
    Stale {
        /// How long ago Alpaca gave them.
        age: SignedDuration,
        /// What they were.
        account: &'a Account,
    },
    /// The user never synced.
    Missing,
    /// The document is not one that `pulse` wrote, or somebody wrote over it: no figure of it means anything.
    Malformed {
        /// The first field that is wrong; `exact.cash` for an entry of a map.
        field: &'a str,
    },
}

impl Verdict<'_> {
    /// `fresh`, `stale`, `missing` or `malformed`.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Fresh { .. } => "fresh",
            Self::Stale { .. } => "stale",
            Self::Missing => "missing",
            Self::Malformed { .. } => "malformed",
        }
    }
}

impl Snapshot {
    /// Reads the documents. Never fails: what is wrong with them is the verdict.
    ///
    /// ```
    /// use account_reader::{Documents, Fields, Lookup, Snapshot, Source, Value, Verdict};
    /// let now = "2026-01-05T14:30:00Z".parse()?;
    /// let judge = |snapshot: Option<&Fields>| {
    ///     let documents = Documents { snapshot, sync: Lookup::Absent, last_pulse: Lookup::Unread };
    ///     Snapshot::read(Source::User("ana".to_owned()), documents).verdict(now).as_str()
    /// };
    /// assert_eq!(judge(None), "missing");
    /// // Another writer's placeholder: a text is no figure.
    /// let placeholder = Fields::from([("equity".to_owned(), Value::String("0".to_owned()))]);
    /// assert_eq!(judge(Some(&placeholder)), "malformed");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn read(source: Source, documents: Documents<'_>) -> Self {
        let content = match documents.snapshot {
            None => Content::Missing,
            Some(fields) => Content::of(fields, &source),
        };
        let last_pulse = LastPulse::of(documents.last_pulse);
        Self { source, sync: Sync::of(documents.sync), last_pulse, content }
    }

    /// What may be concluded at that moment of the reader's clock.
    ///
    /// Fresh is a snapshot that is at most [`MAX_AGE`] old; or one whose `fresh_until` is not over, if its user is
    /// known not to fail and the job's last pass is as recent and did not fail. A job that stopped makes nobody's old
    /// money look fresh. A time more than [`MAX_AHEAD`] ahead is malformed.
    #[must_use]
    pub fn verdict(&self, now: Timestamp) -> Verdict<'_> {
        let account = match &self.content {
            Content::Missing => return Verdict::Missing,
            Content::Malformed { malformed, .. } => return Verdict::Malformed { field: &malformed.field },
            Content::Whole(account) => account,
        };
        let age = now.duration_since(account.updated_at);
        if age < -MAX_AHEAD {
            return Verdict::Malformed { field: field::UPDATED_AT_ISO };
        }
        let age = age.max(SignedDuration::ZERO);
        match age <= MAX_AGE || self.may_stand(account, now) {
            true => Verdict::Fresh { age, account },
            false => Verdict::Stale { age, account },
        }
    }

    fn may_stand(&self, account: &Account, now: Timestamp) -> bool {
        let is_recent = |pulse: LastPulse| pulse.is_recent(now, MAX_AGE, MAX_AHEAD);
        let is_promised = account.fresh_until.is_some_and(|until| now < until);
        is_promised && self.sync.is_well() && self.last_pulse.is_some_and(is_recent)
    }

    /// Which document it is from.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Where the account lives, if at least that can be read: also of a document that is otherwise malformed.
    #[must_use]
    pub fn environment(&self) -> Option<Environment> {
        self.standing().map(|standing| standing.environment)
    }

    /// How the user's sync goes.
    #[must_use]
    pub fn sync(&self) -> &Sync {
        &self.sync
    }

    /// The account, however old, unless the document is missing or malformed.
    pub(crate) fn account(&self) -> Option<&Account> {
        match &self.content {
            Content::Whole(account) => Some(account),
            Content::Missing | Content::Malformed { .. } => None,
        }
    }

    /// Whose the account is, where it lives and what blocks it, if at least that can be read.
    pub(crate) fn standing(&self) -> Option<&Standing> {
        match &self.content {
            Content::Missing => None,
            Content::Malformed { standing, .. } => standing.as_ref(),
            Content::Whole(account) => Some(&account.standing),
        }
    }
}

impl Content {
    fn of(fields: &Fields, source: &Source) -> Self {
        match Account::of(fields, source) {
            Ok(account) => Self::Whole(Box::new(account)),
            Err(malformed) => Self::Malformed { malformed, standing: Standing::of(fields, source).ok() },
        }
    }
}
