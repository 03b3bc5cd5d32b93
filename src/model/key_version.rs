//! Which version of a user's secret their keys came from.

use std::fmt;

/// Longest number: as many digits as 64 bits have.
const MAX_DIGITS: usize = 19;

/// The number of a secret version, such as `7`. It takes no memory elsewhere: a loop keeps one for each user.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct KeyVersion {
    /// Its digits, and then zeros.
    digits: [u8; MAX_DIGITS],
    number_of_digits: u8,
}

impl KeyVersion {
    /// A version is a whole number; `latest` is none.
    #[must_use]
    pub(crate) fn parse(number: &str) -> Option<Self> {
        let is_whole = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
        let mut digits = [0; MAX_DIGITS];
        digits.get_mut(..number.len()).filter(|_| is_whole)?.copy_from_slice(number.as_bytes());
        Some(Self { digits, number_of_digits: u8::try_from(number.len()).ok()? })
    }

    /// Reads the number off a version's resource name, `projects/…/secrets/…/versions/7`, if it is one of this
    /// secret: the project is named by its id, or by a number that nobody here knows.
    pub(crate) fn of(name: &str, project: &str, secret: &str) -> Option<Self> {
        let (of_project, rest) = name.strip_prefix("projects/")?.split_once("/secrets/")?;
        let (of_secret, number) = rest.split_once("/versions/")?;
        let is_number = !of_project.is_empty() && of_project.bytes().all(|b| b.is_ascii_digit());
        let is_ours = (is_number || of_project == project) && of_secret == secret;
        Self::parse(number).filter(|_| is_ours)
    }

    /// The number itself. Versions are counted from 1 in the order in which they were added.
    #[must_use]
    pub(crate) fn number(&self) -> u64 {
        self.as_str().parse().unwrap_or_default() // 19 digits at most
    }

    /// The number as text.
    #[must_use]
    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.digits[..self.number_of_digits.into()]).unwrap_or_default() // digits are
    }
}

impl fmt::Debug for KeyVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyVersion({})", self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_a_whole_number_of_at_most_64_bits() {
        let (longest, longer) = ("9".repeat(19), "9".repeat(20));
        for (text, is_one) in [
            ("7", true),
            ("0", true),
            (longest.as_str(), true),
            (longer.as_str(), false),
            ("", false),
            ("latest", false),
            ("-1", false),
            ("+1", false),
            (" 1", false),
            ("1.0", false),
            ("١", false),
        ] {
            let version = KeyVersion::parse(text);
            assert_eq!(version.as_ref().map(KeyVersion::as_str), is_one.then_some(text), "{text:?}");
        }
    }
}
