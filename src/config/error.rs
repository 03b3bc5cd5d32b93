//! What is wrong with a configuration.

use std::fmt;

/// Everything that is wrong with the configuration.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ConfigError(pub(super) Vec<String>);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("; "))
    }
}

impl std::error::Error for ConfigError {}

impl ConfigError {
    /// Both, or everything that is wrong with either.
    pub(crate) fn unless_either<A, B>(one: Result<A, Self>, other: Result<B, Self>) -> Result<(A, B), Self> {
        match (one, other) {
            (Ok(one), Ok(other)) => Ok((one, other)),
            (Err(Self(wrong)), Err(Self(more))) => Err(Self([wrong, more].concat())),
            (Err(err), Ok(_)) | (Ok(_), Err(err)) => Err(err),
        }
    }

    /// An error if anything is wrong.
    pub(crate) fn unless_none(wrong: Vec<String>) -> Result<(), Self> {
        if wrong.is_empty() { Ok(()) } else { Err(Self(wrong)) }
    }
}

/// What was checked, unless it is wrong: then that is added to what else is.
pub(super) fn keep<T>(wrong: &mut Vec<String>, checked: Result<T, String>) -> Option<T> {
    checked.map_err(|reason| wrong.push(reason)).ok()
}
