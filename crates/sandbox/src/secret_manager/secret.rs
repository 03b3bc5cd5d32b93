//! A secret and its versions.

use bytes::Bytes;
use jiff::Timestamp;

/// The state of a version, as Google defines it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionState {
    /// The payload may be read.
    Enabled,
    /// The payload may not be read until it is enabled again.
    Disabled,
    /// The payload is gone for good.
    Destroyed,
}

impl VersionState {
    /// The state as the REST API spells it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Enabled => "ENABLED",
            Self::Disabled => "DISABLED",
            Self::Destroyed => "DESTROYED",
        }
    }
}

/// One secret; its versions are numbered from 1 in the order they were added.
#[derive(Clone)]
pub(super) struct Secret {
    pub(super) created: Timestamp,
    pub(super) forbidden: bool,
    versions: Vec<Version>,
}

#[derive(Clone)]
pub(super) struct Version {
    pub(super) created: Timestamp,
    pub(super) destroyed: Option<Timestamp>,
    pub(super) state: VersionState,
    pub(super) payload: Bytes,
}

impl Secret {
    pub(super) fn new(created: Timestamp) -> Self {
        Self { created, forbidden: false, versions: Vec::new() }
    }

    /// Adds an enabled version and gives its number.
    pub(super) fn add(&mut self, payload: Bytes, created: Timestamp) -> usize {
        self.versions.push(Version { created, destroyed: None, state: VersionState::Enabled, payload });
        self.versions.len()
    }

    /// The number that `alias` stands for: `latest` is the version created last, whatever its state.
    pub(super) fn resolve(&self, alias: &str) -> Option<usize> {
        let number = match alias {
            "latest" => self.versions.len(),
            digits => digits.parse().ok()?,
        };
        (1..=self.versions.len()).contains(&number).then_some(number)
    }

    /// The version with this number, counted from 1.
    pub(super) fn version(&self, number: usize) -> Option<&Version> {
        self.versions.get(number.checked_sub(1)?)
    }

    /// All versions with their numbers, the newest first.
    pub(super) fn versions(&self) -> impl Iterator<Item = (usize, &Version)> {
        let numbered = self.versions.iter().enumerate();
        numbered.map(|(index, version)| (index + 1, version)).rev()
    }

    /// Moves a version to `state`; nothing leads out of DESTROYED, where `false` says that nothing changed.
    pub(super) fn set_state(&mut self, number: usize, state: VersionState, now: Timestamp) -> bool {
        let Some(version) = number.checked_sub(1).and_then(|index| self.versions.get_mut(index)) else {
            return false;
        };
        if version.state == VersionState::Destroyed && state != VersionState::Destroyed {
            return false;
        }
        version.state = state;
        if state == VersionState::Destroyed {
            version.payload = Bytes::new();
            version.destroyed.get_or_insert(now);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret_with(versions: usize) -> Secret {
        let mut secret = Secret::new(Timestamp::UNIX_EPOCH);
        for number in 1..=versions {
            assert_eq!(secret.add(Bytes::from_static(b"payload"), Timestamp::UNIX_EPOCH), number);
        }
        secret
    }

    #[test]
    fn latest_is_the_newest_version_even_when_it_is_disabled() {
        let mut secret = secret_with(2);
        assert!(secret.set_state(2, VersionState::Disabled, Timestamp::UNIX_EPOCH));
        assert_eq!(secret.resolve("latest"), Some(2));
    }

    #[test]
    fn only_existing_numbers_resolve() {
        let secret = secret_with(2);
        assert_eq!(secret.resolve("1"), Some(1));
        for alias in ["0", "3", "-1", "newest", ""] {
            assert_eq!(secret.resolve(alias), None, "{alias}");
        }
        assert_eq!(secret_with(0).resolve("latest"), None);
    }

    #[test]
    fn a_destroyed_version_stays_destroyed_and_loses_its_payload() {
        let mut secret = secret_with(1);
        assert!(secret.set_state(1, VersionState::Destroyed, Timestamp::UNIX_EPOCH));
        assert!(!secret.set_state(1, VersionState::Enabled, Timestamp::UNIX_EPOCH));
        let version = secret.version(1).unwrap();
        assert_eq!((version.state, version.payload.len()), (VersionState::Destroyed, 0));
    }
}
