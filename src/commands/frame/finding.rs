//! What a check found, and what that makes of the exit code.

use serde::{Serialize, Serializer};

/// How something stands. Never is what could not be looked at taken for one of the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum CheckState {
    /// As it should be.
    Ok,
    /// Not looked at, because another check failed.
    Skipped,
    /// To know, and nobody of ours has to act at once.
    Warning,
    /// It could not be looked at.
    Unknown,
    /// Somebody has to act.
    Failed,
}

impl CheckState {
    /// The word of text and JSON.
    #[must_use]
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Skipped => "skipped",
            Self::Warning => "warning",
            Self::Unknown => "unknown",
            Self::Failed => "failed",
        }
    }

    /// What a command exits with whose worst finding it is.
    #[must_use]
    pub(crate) fn exit_code(self) -> u8 {
        match self {
            Self::Ok | Self::Skipped | Self::Warning => 0,
            Self::Unknown => 1,
            Self::Failed => 3,
        }
    }
}

impl Serialize for CheckState {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// One thing to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// How it stands.
    pub(crate) state: CheckState,
    /// The stable name for programs, in CamelCase.
    pub(crate) reason: &'static str,
    /// The same for people, in one sentence.
    pub(crate) sentence: String,
    /// The exact command that mends it, where one does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mend: Option<String>,
}

impl Finding {
    /// A finding without a command to mend it.
    #[must_use]
    pub(crate) fn new(state: CheckState, reason: &'static str, sentence: impl Into<String>) -> Self {
        Self { state, reason, sentence: sentence.into(), mend: None }
    }

    /// The same with the command that mends it.
    #[must_use]
    pub(crate) fn mended_by(self, command: impl Into<String>) -> Self {
        Self { mend: Some(command.into()), ..self }
    }
}

/// The state of all together: the worst one.
#[must_use]
pub(super) fn worst(findings: &[Finding]) -> CheckState {
    findings.iter().map(|finding| finding.state).max().unwrap_or(CheckState::Ok)
}

#[cfg(test)]
mod tests {
    use super::CheckState::{Failed, Ok, Skipped, Unknown, Warning};
    use super::*;

    #[test]
    fn the_worst_finding_decides_and_each_kind_has_a_code_of_its_own() {
        for (states, expected, code) in [
            (&[][..], Ok, 0),
            (&[Ok, Ok], Ok, 0),
            (&[Ok, Warning], Warning, 0),
            (&[Warning, Unknown], Unknown, 1),
            (&[Ok, Unknown, Skipped], Unknown, 1),
            (&[Failed, Unknown, Skipped, Warning], Failed, 3),
            (&[Skipped, Ok], Skipped, 0),
        ] {
            let findings: Vec<_> = states.iter().map(|state| Finding::new(*state, "X", "x")).collect();
            assert_eq!((worst(&findings), worst(&findings).exit_code()), (expected, code), "{states:?}");
        }
    }

    #[test]
    fn a_finding_is_an_object_with_stable_names() {
        let finding = Finding::new(Failed, "PulseLate", "The last pulse is late.");
        let json = |finding: &Finding| serde_json::to_string(finding).expect("JSON");
        let without = r#"{"state":"failed","reason":"PulseLate","sentence":"The last pulse is late."}"#;
        assert_eq!(json(&finding), without);
        assert!(json(&finding.mended_by("pulse sync")).ends_with(r#","mend":"pulse sync"}"#));
    }
}
