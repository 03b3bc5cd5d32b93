//! What Google says about an error beside its code, and what can be shown of it.

use crate::model::clean::acts;
use std::fmt;

/// Longest reason, as `google.rpc.ErrorInfo` defines it.
const MAX_REASON: usize = 63;

/// Most of a server's message that is shown.
const MAX_MESSAGE_CHARS: usize = 300;

/// A run of characters as long as this may be a token; names and ids of documents are shorter.
const TOKEN_CHARS: usize = 40;

/// The `reason` of a `google.rpc.ErrorInfo`, such as `SERVICE_DISABLED`. Shown with what to do about it, where that is
/// known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reason(Box<str>);

impl Reason {
    /// Only what looks like a reason is one: it goes to the log.
    #[must_use]
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let is_word = (1..=MAX_REASON).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
        is_word.then(|| Self(text.into()))
    }

    /// Whether it says that whoever asked lacks a role.
    #[must_use]
    pub(crate) fn is_missing_role(&self) -> bool {
        &*self.0 == "IAM_PERMISSION_DENIED"
    }

    /// Whether it says that the API is not switched on.
    fn is_disabled_service(&self) -> bool {
        &*self.0 == "SERVICE_DISABLED"
    }

    fn advice(&self) -> Option<&'static str> {
        Some(match &*self.0 {
            "SERVICE_DISABLED" => "enable the API in the project",
            "SECURITY_POLICY_VIOLATED" => "let the job into the VPC Service Controls perimeter",
            "USER_PROJECT_DENIED" => "check the quota project of the job's credentials",
            "BILLING_DISABLED" => "enable billing for the project",
            "CONSUMER_INVALID" | "CONSUMER_SUSPENDED" | "RESOURCE_PROJECT_INVALID" => "check the project",
            "ACCESS_TOKEN_SCOPE_INSUFFICIENT" => "give the job's credentials the scope cloud-platform",
            "ACCESS_TOKEN_EXPIRED" | "ACCOUNT_STATE_INVALID" | "CREDENTIALS_MISSING" => {
                "check the job's service account"
            }
            "RATE_LIMIT_EXCEEDED" | "RESOURCE_QUOTA_EXCEEDED" => "check the project's quota",
            _ => return None,
        })
    }
}

/// What a refusal is for, as far as Google says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    /// Whoever asked lacks a role.
    Role,
    /// The API is not enabled in the project.
    Disabled,
    /// Google gives another reason.
    Otherwise,
    /// Nobody says why; it may not even be Google who refuses.
    Unclear,
}

impl Denied {
    /// By Google's reason, if there is one.
    #[must_use]
    pub(crate) fn by(reason: Option<&Reason>) -> Self {
        match reason {
            Some(reason) if reason.is_missing_role() => Self::Role,
            Some(reason) if reason.is_disabled_service() => Self::Disabled,
            Some(_) => Self::Otherwise,
            None => Self::Unclear,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)?;
        self.advice().map_or(Ok(()), |advice| write!(f, ": {advice}"))
    }
}

/// As much of a server's message as can be shown: one line, not too long, and nothing in it that could be a token.
#[must_use]
pub(crate) fn shown(message: &str) -> String {
    let mut line = String::new();
    let mut after_scheme = false;
    for word in message.split(|c: char| c.is_whitespace() || acts(c)).filter(|word| !word.is_empty()) {
        let gap = if line.is_empty() { "" } else { " " };
        line.push_str(gap);
        match after_scheme {
            true => line.push('…'),
            false => without_tokens(word, &mut line),
        }
        after_scheme = ["bearer", "basic", "token"]
            .iter()
            .any(|scheme| word.trim_matches(|c: char| !c.is_alphanumeric()).eq_ignore_ascii_case(scheme));
    }
    match line.char_indices().nth(MAX_MESSAGE_CHARS) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

fn without_tokens(word: &str, line: &mut String) {
    let is_of_token = |c: char| c.is_ascii_alphanumeric() || "-_.+=~".contains(c);
    for part in word.split_inclusive(|c: char| !is_of_token(c)) {
        let run = part.trim_end_matches(|c: char| !is_of_token(c));
        if run.len() >= TOKEN_CHARS || run.starts_with("ya29.") || run.starts_with("eyJ") {
            line.push('…');
            line.push_str(&part[run.len()..]);
        } else {
            line.push_str(part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_reason_is_a_word_and_comes_with_advice_where_there_is_any() {
        let told = |text| Reason::parse(text).map(|reason| reason.to_string());
        assert_eq!(
            told("SERVICE_DISABLED").as_deref(),
            Some("SERVICE_DISABLED: enable the API in the project")
        );
        assert_eq!(told("SOMETHING_NEW").as_deref(), Some("SOMETHING_NEW"));
        for text in ["", "service_disabled", "PK1", "A B", "A\nB", "ÄB", &"A".repeat(64)] {
            assert_eq!(told(text), None, "{text:?}");
        }
    }

    #[test]
    fn only_a_missing_role_says_so() {
        for reason in ["SERVICE_DISABLED", "SECURITY_POLICY_VIOLATED", "BILLING_DISABLED", "SOMETHING_NEW"] {
            let reason = Reason::parse(reason).expect("a word");
            assert!(!reason.is_missing_role() && !reason.to_string().contains("role"), "{reason}");
        }
        assert!(Reason::parse("IAM_PERMISSION_DENIED").expect("a word").is_missing_role());
        let denied = |reason| Denied::by(Reason::parse(reason).as_ref());
        for (reason, expected) in [
            ("IAM_PERMISSION_DENIED", Denied::Role),
            ("SERVICE_DISABLED", Denied::Disabled),
            ("SECURITY_POLICY_VIOLATED", Denied::Otherwise),
            ("", Denied::Unclear),
        ] {
            assert_eq!(denied(reason), expected, "{reason}");
        }
    }

    #[test]
    fn a_message_is_one_line_without_tokens() {
        for (message, expected) in [
            (
                "No document to update: projects/p/documents/users/ana",
                "No document to update: projects/p/documents/users/ana",
            ),
            (" a\r\nb\u{2028}c\u{202e}d\0 \x1b[31me ", "a b c d [31me"),
            ("Authorization: Bearer abc for x", "Authorization: Bearer … for x"),
            ("bad token: hush", "bad token: …"),
            ("\"Bearer\" hush", "\"Bearer\" …"),
            ("got ya29.abc and eyJhbGci.e30.x, sorry", "got … and …, sorry"),
            ("", ""),
        ] {
            assert_eq!(shown(message), expected);
        }
        let key = "x".repeat(TOKEN_CHARS);
        assert_eq!(shown(&format!("key={key}/b {key}")), format!("…/b …"));
        assert_eq!(shown(&"word ".repeat(1000)).chars().count(), MAX_MESSAGE_CHARS + 1);
    }

    proptest! {
        #[test]
        fn any_message_is_a_short_line(message in "\\PC{0,400}|(.|\n){0,400}") {
            let line = shown(&message);
            prop_assert!(line.chars().count() <= MAX_MESSAGE_CHARS + 1);
            prop_assert!(!line.contains(acts), "{:?}", line);
        }

        #[test]
        fn no_long_run_is_shown(run in "[A-Za-z0-9_+=.~-]{40,80}", before in "[ a-z:/\"]{0,20}", after in "[ a-z:/\"]{0,20}") {
            let message = format!("{before}{run}{after}");
            prop_assert!(!shown(&message).contains(&run));
        }
    }
}
